// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/machine.h"

#include "core/inventory.h"

namespace diffsnap {

dm::DeviceMapper &Machine::device_mapper() {
  if (!dm_) {
    own_dm_ = dm::open_device_mapper();
    try {
      static_cast<void>(own_dm_->driver_version());
    } catch (const Error &error) {
      throw InitError("talk to", "device-mapper", error.error_number(), {},
                      "It needs root's permissions and the kernel's dm-mod module.");
    }
    dm_ = own_dm_.get();
  }
  return *dm_;
}

Environment Machine::environment() {
  dm::DeviceMapper &mapper = device_mapper();
  check_kernel(mapper);
  if (!devices_) {
    own_devices_ = sys::system_block_devices();
    devices_ = own_devices_.get();
  }
  return {mapper, *devices_, &memory_};
}

std::unique_ptr<ChangeLock> Machine::lock_changes(const std::function<void()> &on_wait) {
  dm::DeviceMapper &mapper = device_mapper();
  return own_dm_ ? std::make_unique<ChangeLock>(mapper, default_lock_path, on_wait) : nullptr;
}

}  // namespace diffsnap
