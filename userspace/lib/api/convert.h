// SPDX-License-Identifier: GPL-2.0-or-later
/** @file From the library's own types to the public ones, and back. Internal to lib/api. */
#ifndef DIFFSNAP_API_CONVERT_H
#define DIFFSNAP_API_CONVERT_H

#include <cstdint>
#include <string>
#include <vector>

#include "core/inventory.h"
#include "core/store_plan.h"
#include "diffsnap/diffsnap.h"

namespace diffsnap::api {

[[nodiscard]] v0::Origin to_public(const OriginInfo &origin);
[[nodiscard]] v0::Image to_public(const Inventory &inventory, const ImageInfo &image);
/** @param inventory  tells what its origins are at; need not be the one that the snapshot is from */
[[nodiscard]] v0::Snapshot to_public(const Inventory &inventory, const SnapshotInfo &snapshot);

[[nodiscard]] std::vector<StoreSpec> to_internal(const std::vector<v0::Store> &stores);
/** Throws SyntaxError for what is no multiple of a sector. @param what  for the message: "chunk size" */
[[nodiscard]] Sectors to_sectors(std::uint64_t bytes, const std::string &what);

}  // namespace diffsnap::api

#endif
