// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/device_id.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/text.h"

namespace diffsnap {

DeviceId DeviceId::from_dev_t(dev_t number) noexcept {
  return {major(number), minor(number)};
}

dev_t DeviceId::to_dev_t() const noexcept {
  return makedev(major, minor);
}

std::string DeviceId::to_string() const {
  return std::to_string(major) + ":" + std::to_string(minor);
}

std::optional<DeviceId> DeviceId::parse(std::string_view text) {
  const auto colon = text.find(':');
  if (colon == std::string_view::npos) {
    return std::nullopt;
  }
  const auto major_number = parse_number<unsigned>(text.substr(0, colon));
  const auto minor_number = parse_number<unsigned>(text.substr(colon + 1));
  if (!major_number || !minor_number) {
    return std::nullopt;
  }
  return DeviceId{*major_number, *minor_number};
}

std::optional<DeviceId> DeviceId::of_node(const std::string &path) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0 || !S_ISBLK(st.st_mode)) {
    return std::nullopt;
  }
  return from_dev_t(st.st_rdev);
}

}  // namespace diffsnap
