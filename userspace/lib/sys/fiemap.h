// SPDX-License-Identifier: GPL-2.0-or-later
/** @file Where on its device a file's contents lie. */
#ifndef DIFFSNAP_SYS_FIEMAP_H
#define DIFFSNAP_SYS_FIEMAP_H

#include <cstdint>
#include <string>
#include <vector>

#include "sys/block_device.h"

namespace diffsnap::sys {

/**
 * Why an extent with these flags (FIEMAP_EXTENT_*) does not say where contents lie, in words; empty if it
 * does.
 */
[[nodiscard]] std::string trouble_with_extent(std::uint32_t flags);

/**
 * The ranges of the device below, in bytes, that a regular file's contents lie in, in the file's order,
 * neighbours merged. What is dirty is written out first, so that nothing is left without a place. Throws
 * Error: EOPNOTSUPP on a file system whose answers are not places on its one device, or if the place of any
 * part is not told, with the reason.
 */
[[nodiscard]] std::vector<ByteRange> file_extents(const std::string &path);

}  // namespace diffsnap::sys

#endif
