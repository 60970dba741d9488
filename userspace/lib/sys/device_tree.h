// SPDX-License-Identifier: GPL-2.0-or-later
/** @file Which block devices lie below others, below file systems, and below files. */
#ifndef DIFFSNAP_SYS_DEVICE_TREE_H
#define DIFFSNAP_SYS_DEVICE_TREE_H

#include <optional>
#include <set>
#include <string>

#include "base/device_id.h"
#include "sys/mounts.h"

namespace diffsnap::sys {

/**
 * What lies on what, as the kernel tells it. An interface, so that the order
 * of freezing can be tested without devices.
 */
class DeviceTree {
 public:
  virtual ~DeviceTree() = default;

  /**
   * The devices directly below: a device-mapper or md device's parts, a
   * partition's disk, a loop device's if that was given no file. Empty at
   * the bottom, and for an image of a snapshot: what it shows does not change
   * with the devices below it.
   */
  [[nodiscard]] virtual std::set<DeviceId> below(DeviceId device) const = 0;

  /** The file behind a loop device, as the kernel gives its path. */
  [[nodiscard]] virtual std::optional<std::string> backing_file(DeviceId device) const = 0;

  /**
   * The super block's device (Mount::device) of the file system that holds
   * a file; nothing if the file cannot be found.
   */
  [[nodiscard]] virtual std::optional<DeviceId> file_system_of(const std::string &path) const = 0;

  /**
   * The block devices that a mounted file system uses: its device, those
   * of a btrfs, an external journal or log.
   */
  [[nodiscard]] virtual std::set<DeviceId> used_by(const Mount &mount) const = 0;
};

/** DeviceTree out of /sys and /proc. Stateless: every call looks again. */
class SysfsDeviceTree : public DeviceTree {
 public:
  [[nodiscard]] std::set<DeviceId> below(DeviceId device) const override;
  [[nodiscard]] std::optional<std::string> backing_file(DeviceId device) const override;
  [[nodiscard]] std::optional<DeviceId> file_system_of(const std::string &path) const override;
  [[nodiscard]] std::set<DeviceId> used_by(const Mount &mount) const override;
};

}  // namespace diffsnap::sys

#endif
