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

}  // namespace

bool udev_is_running() {
  return ::access("/run/udev/control", F_OK) == 0;
}

std::vector<std::string> device_links(DeviceId id) {
  std::vector<std::string> links;
  const std::unique_ptr<udev, UdevDestroyer> context(udev_new());
  if (!context) {
    return links;
  }
  const std::unique_ptr<udev_device, UdevDestroyer> device(
      udev_device_new_from_devnum(context.get(), 'b', id.to_dev_t()));
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
