// SPDX-License-Identifier: GPL-2.0-or-later
/** @file The number of a block device, and the unit in which the kernel counts. */
#ifndef DIFFSNAP_BASE_DEVICE_ID_H
#define DIFFSNAP_BASE_DEVICE_ID_H

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>

namespace diffsnap {

/** A count of, or an offset in, sectors of 512 bytes, whatever the device's block size is. */
using Sectors = std::uint64_t;

inline constexpr unsigned sector_shift = 9;
inline constexpr std::uint64_t sector_size = std::uint64_t{1} << sector_shift;

/** Major and minor number of a block device. A value; ordered so that it can be a key. */
struct DeviceId {
  unsigned major = 0;
  unsigned minor = 0;

  [[nodiscard]] static DeviceId from_dev_t(dev_t number) noexcept;
  [[nodiscard]] dev_t to_dev_t() const noexcept;
  /** "253:3" */
  [[nodiscard]] std::string to_string() const;
  /** The reverse of to_string(); nothing if the text is anything else. */
  [[nodiscard]] static std::optional<DeviceId> parse(std::string_view text);
  /** The block device whose node a path leads to; nothing if it leads to none. */
  [[nodiscard]] static std::optional<DeviceId> of_node(const std::string &path);

  friend bool operator==(const DeviceId &a, const DeviceId &b) noexcept {
    return a.major == b.major && a.minor == b.minor;
  }
  friend bool operator!=(const DeviceId &a, const DeviceId &b) noexcept { return !(a == b); }
  friend bool operator<(const DeviceId &a, const DeviceId &b) noexcept {
    return std::tie(a.major, a.minor) < std::tie(b.major, b.minor);
  }
};

}  // namespace diffsnap

#endif
