// SPDX-License-Identifier: GPL-2.0-or-later
/** @file What is mounted where, as proc(5) shows it. */
#ifndef DIFFSNAP_SYS_MOUNTS_H
#define DIFFSNAP_SYS_MOUNTS_H

#include <optional>
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

/**
 * Reads the text of a mountinfo file. Lines that have another form than
 * proc(5) describes are left out.
 */
[[nodiscard]] std::vector<Mount> parse_mountinfo(std::string_view text);

/**
 * The mounts of this process' mount namespace, in the kernel's order. Throws Error.
 */
[[nodiscard]] std::vector<Mount> read_mounts();

/** The mount through which a path leads to its file; nothing if there is no such file. Throws Error. */
[[nodiscard]] std::optional<Mount> mount_of(const std::string &path);

}  // namespace diffsnap::sys

#endif
