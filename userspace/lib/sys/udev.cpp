// SPDX-License-Identifier: GPL-2.0-or-later
//
// The only file that includes libudev.
#include "sys/udev.h"

#include <libudev.h>

#include <memory>

namespace diffsnap::sys {

namespace {

struct UdevDestroyer {
  void operator()(udev *context) const noexcept { udev_unref(context); }
  void operator()(udev_device *device) const noexcept { udev_device_unref(device); }
};

using Context = std::unique_ptr<udev, UdevDestroyer>;
using Device = std::unique_ptr<udev_device, UdevDestroyer>;

/** Null if udev does not know it, or there is no @p context. */
Device find_device(const Context &context, DeviceId id) {
  return Device(context ? udev_device_new_from_devnum(context.get(), 'b', id.to_dev_t()) : nullptr);
}

}  // namespace

std::string device_serial(DeviceId id) {
  const Context context(udev_new());
  const Device device = find_device(context, id);
  const char *serial = device ? udev_device_get_property_value(device.get(), "ID_SERIAL") : nullptr;
  return serial != nullptr ? serial : "";
}

}  // namespace diffsnap::sys
