// SPDX-License-Identifier: GPL-2.0-or-later
/** @file What core works on: interfaces that the tool fills with the machine and the tests with fakes. */
#ifndef DIFFSNAP_CORE_ENVIRONMENT_H
#define DIFFSNAP_CORE_ENVIRONMENT_H

#include "base/device_id.h"
#include "base/error.h"
#include "dm/device_mapper.h"
#include "sys/block_device.h"
#include "sys/memory_locker.h"

namespace diffsnap {

/** References only: everything in it must outlive whatever gets it. */
struct Environment {
  dm::DeviceMapper &dm;
  sys::BlockDevices &devices;
  /** Null: memory is not locked (tests). */
  sys::MemoryLocker *memory = nullptr;
};

}  // namespace diffsnap

#endif
