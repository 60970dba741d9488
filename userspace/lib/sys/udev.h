// SPDX-License-Identifier: GPL-2.0-or-later
/** @file libudev, which only udev.cpp includes. */
#ifndef DIFFSNAP_SYS_UDEV_H
#define DIFFSNAP_SYS_UDEV_H

#include <string>

#include "base/device_id.h"

namespace diffsnap::sys {

/** What udev's database has as the serial number of the device's disk (ID_SERIAL); empty if it knows none. */
[[nodiscard]] std::string device_serial(DeviceId id);

}  // namespace diffsnap::sys

#endif
