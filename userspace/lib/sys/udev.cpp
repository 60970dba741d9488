// SPDX-License-Identifier: GPL-2.0-or-later
//
// The only file that includes libudev.
#include "sys/udev.h"

#include <libudev.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <thread>

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

bool udev_is_running() {
  return ::access("/run/udev/control", F_OK) == 0;
}

std::vector<std::string> device_links(DeviceId id) {
  std::vector<std::string> links;
  const Context context(udev_new());
  const Device device = find_device(context, id);
  if (!device) {
    return links;
  }
  for (udev_list_entry *entry = udev_device_get_devlinks_list_entry(device.get()); entry != nullptr;
       entry = udev_list_entry_get_next(entry)) {
    if (const char *name = udev_list_entry_get_name(entry)) {
      links.emplace_back(name);
    }
  }
  std::sort(links.begin(), links.end());
  return links;
}

std::string device_serial(DeviceId id) {
  const Context context(udev_new());
  const Device device = find_device(context, id);
  const char *serial = device ? udev_device_get_property_value(device.get(), "ID_SERIAL") : nullptr;
  return serial != nullptr ? serial : "";
}

bool wait_for_path(const std::string &path, std::chrono::milliseconds timeout) {
  constexpr std::chrono::milliseconds step{20};
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (::access(path.c_str(), F_OK) != 0) {
    if (std::chrono::steady_clock::now() >= deadline) {
      return false;
    }
    std::this_thread::sleep_for(step);
  }
  return true;
}

}  // namespace diffsnap::sys
