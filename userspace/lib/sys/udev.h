// SPDX-License-Identifier: GPL-2.0-or-later
/** @file libudev, which only udev.cpp includes. */
#ifndef DIFFSNAP_SYS_UDEV_H
#define DIFFSNAP_SYS_UDEV_H

#include <chrono>
#include <string>
#include <vector>

#include "base/device_id.h"

namespace diffsnap::sys {

/** Whether udevd runs. */
[[nodiscard]] bool udev_is_running();

/** The links that udev's database holds for a block device, sorted; empty if it knows none. */
[[nodiscard]] std::vector<std::string> device_links(DeviceId id);

/** What udev's database has as the serial number of the device's disk (ID_SERIAL); empty if it knows none. */
[[nodiscard]] std::string device_serial(DeviceId id);

/** Waits until a path exists, @return false on a time out. */
[[nodiscard]] bool wait_for_path(const std::string &path, std::chrono::milliseconds timeout);

}  // namespace diffsnap::sys

#endif
