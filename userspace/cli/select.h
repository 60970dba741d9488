// SPDX-License-Identifier: GPL-2.0-or-later
/** @file Finding what arguments name. */
#ifndef DIFFSNAP_CLI_SELECT_H
#define DIFFSNAP_CLI_SELECT_H

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/inventory.h"
#include "core/store_plan.h"

namespace diffsnap::cli {

/** The snapshots of these names, all for none. Throws Error with ENOENT. */
[[nodiscard]] std::vector<SnapshotInfo> select_snapshots(const Inventory &inventory,
                                                         const std::vector<std::string> &names);

/** Takes SNAPSHOT/ORIGIN apart. Throws SyntaxError. */
[[nodiscard]] std::pair<std::string, std::string> split_image_words(const std::string &words);

/** Likewise, and SNAPSHOT alone. */
[[nodiscard]] std::pair<std::string, std::optional<std::string>> split_snapshot_words(
    const std::string &words);

/** What -s options name, with sizes in bytes where they have no unit. Throws SyntaxError. */
[[nodiscard]] std::vector<StoreSpec> store_specs(const std::vector<std::string> &values);

}  // namespace diffsnap::cli

#endif
