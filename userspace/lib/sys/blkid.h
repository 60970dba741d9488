// SPDX-License-Identifier: GPL-2.0-or-later
/** @file libblkid, which only blkid.cpp includes. */
#ifndef DIFFSNAP_SYS_BLKID_H
#define DIFFSNAP_SYS_BLKID_H

#include <cstdint>
#include <optional>
#include <string>

namespace diffsnap::sys {

/** The type of a file system, RAID or volume manager member, or partition table on a device; nothing if
 * blank. Throws Error if the device cannot be read, or if it holds several signatures that contradict. */
[[nodiscard]] std::optional<std::string> probe_signature(const std::string &node);

/** Overwrites what probe_signature() would recognise if a range were a device: @p offset and @p length in bytes.
 * Throws Error. */
void wipe_signatures(const std::string &node, std::uint64_t offset, std::uint64_t length);

/** The device node for a tag such as "UUID=..." or "LABEL=..."; nothing if no device has it. */
[[nodiscard]] std::optional<std::string> find_by_tag(const std::string &tag);

}  // namespace diffsnap::sys

#endif
