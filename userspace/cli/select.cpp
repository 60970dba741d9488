// SPDX-License-Identifier: GPL-2.0-or-later
#include "select.h"

#include <cerrno>

#include "base/error.h"
#include "base/size.h"
#include "core/naming.h"

namespace diffsnap::cli {

std::vector<SnapshotInfo> select_snapshots(const Inventory &inventory,
                                           const std::vector<std::string> &names) {
  if (names.empty()) {
    return inventory.snapshots;
  }
  std::vector<SnapshotInfo> selected;
  for (const std::string &name : names) {
    const SnapshotInfo *snapshot = inventory.find_snapshot(name);
    if (!snapshot) {
      throw Error("find", "snapshot \"" + name + "\"", ENOENT, "there is no such snapshot");
    }
    selected.push_back(*snapshot);
  }
  return selected;
}

std::pair<std::string, std::string> split_image_words(const std::string &words) {
  const std::size_t slash = words.find('/');
  if (slash == std::string::npos || slash == 0 || slash + 1 == words.size()) {
    throw SyntaxError("use", "image \"" + words + "\"", EINVAL, "an image is named SNAPSHOT/ORIGIN");
  }
  return {words.substr(0, slash), words.substr(slash + 1)};
}

std::pair<std::string, std::optional<std::string>> split_snapshot_words(const std::string &words) {
  if (words.find('/') == std::string::npos) {
    return {words, std::nullopt};
  }
  return split_image_words(words);
}

std::vector<StoreSpec> store_specs(const std::vector<std::string> &values) {
  std::vector<StoreSpec> specs;

  for (const std::string &value : values) {
    specs.push_back(parse_store_spec(value, [](std::string_view text) { return parse_size(text, 1); }));
  }
  return specs;
}

}  // namespace diffsnap::cli
