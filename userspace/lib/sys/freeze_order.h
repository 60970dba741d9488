// SPDX-License-Identifier: GPL-2.0-or-later
/** @file Which mounted file systems lie on a set of block devices, and in which order they can be frozen. */
#ifndef DIFFSNAP_SYS_FREEZE_ORDER_H
#define DIFFSNAP_SYS_FREEZE_ORDER_H

#include <set>
#include <string>
#include <vector>

#include "base/device_id.h"
#include "sys/device_tree.h"
#include "sys/mounts.h"

namespace diffsnap::sys {

/** A file system, mounted once or several times. */
struct FileSystem {
  DeviceId device;
  std::string fs_type;
  std::vector<Mount> mounts;   // at least one
  std::set<DeviceId> devices;  // the block devices that it uses itself
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
