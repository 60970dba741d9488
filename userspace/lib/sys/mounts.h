// SPDX-License-Identifier: GPL-2.0-or-later
/** @file Which mounted file systems lie on a set of block devices, and in which order they can be frozen. */
#ifndef DIFFSNAP_SYS_MOUNTS_H
#define DIFFSNAP_SYS_MOUNTS_H

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/device_id.h"

namespace diffsnap::sys {

/** One line of mountinfo. */
struct Mount {
  int id = 0;           // as statx() gives it in stx_mnt_id
  DeviceId device;      // of the super block; anonymous for btrfs
  std::string path;     // where it is mounted, unescaped
  std::string fs_type;  // "ext4", "xfs", ...
  std::string source;   // usually a device node
  std::string options;  // of the super block
};

/** A file system, mounted once or several times. */
struct FileSystem {
  DeviceId device;
  std::string fs_type;
  std::vector<Mount> mounts;   // at least one
  std::set<DeviceId> devices;  // the block devices that it uses itself
};

/**
 * Reads the text of a mountinfo file. Lines that have another form than
 * proc(5) describes are left out.
 */
[[nodiscard]] std::vector<Mount> parse_mountinfo(std::string_view text);

/**
 * The mounts of this process' mount namespace, in the kernel's order. Throws Error.
 */
[[nodiscard]] std::vector<Mount> read_mounts();

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

  /** The mount through which a path leads to its file; nothing if there is no such file. */
  [[nodiscard]] std::optional<Mount> mount_of(const std::string &path) const;
};

/**
 * Finds the file systems that lie on any of `devices`, through however many
 * layers (logical volumes, partitions, loop devices on their files), and sorts
 * them in the order in which they must be frozen: one that lies, through a loop
 * device, on another's file comes before that one. They are thawed in the
 * reverse order.
 *
 * File systems mounted only in other mount namespaces are not seen.
 */
[[nodiscard]] std::vector<FileSystem> freeze_order(const std::vector<Mount> &mounts,
                                                   const std::set<DeviceId> &devices, const DeviceTree &tree);

}  // namespace diffsnap::sys

#endif
