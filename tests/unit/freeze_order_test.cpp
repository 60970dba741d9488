// SPDX-License-Identifier: GPL-2.0-or-later
#include "sys/freeze_order.h"

#include <map>

#include "catch.h"

using namespace diffsnap;
using sys::DeviceTree;
using sys::FileSystem;
using sys::freeze_order;
using sys::Mount;

namespace {

/** A machine out of tables. */
struct InventedTree : DeviceTree {
  std::map<DeviceId, std::set<DeviceId>> lower;
  std::map<DeviceId, std::string> files;
  std::map<std::string, DeviceId> places;
  std::map<DeviceId, std::set<DeviceId>> parts;

  std::set<DeviceId> below(DeviceId device) const override {
    const auto found = lower.find(device);
    return found == lower.end() ? std::set<DeviceId>{} : found->second;
  }
  std::optional<std::string> backing_file(DeviceId device) const override {
    const auto found = files.find(device);
    return found == files.end() ? std::nullopt : std::optional(found->second);
  }
  std::optional<DeviceId> file_system_of(const std::string &path) const override {
    const auto found = places.find(path);
    return found == places.end() ? std::nullopt : std::optional(found->second);
  }
  std::set<DeviceId> used_by(const Mount &mount) const override {
    const auto found = parts.find(mount.device);
    return found == parts.end() ? std::set<DeviceId>{mount.device} : found->second;
  }
};

Mount mount_of(DeviceId device, const std::string &path, int id = 1) {
  Mount mount;
  mount.id = id;
  mount.device = device;
  mount.path = path;
  mount.fs_type = "ext4";
  return mount;
}

std::vector<std::string> paths(const std::vector<FileSystem> &order) {
  std::vector<std::string> result;
  for (const FileSystem &fs : order) {
    result.push_back(fs.mounts.front().path);
  }
  return result;
}

using Paths = std::vector<std::string>;

}  // namespace

TEST_CASE("a file system is found through any number of layers", "[freeze]") {
  const DeviceId origin{253, 0}, lv{253, 5}, other{8, 1};
  InventedTree tree;
  tree.lower[lv] = {{253, 4}};
  tree.lower[{253, 4}] = {origin, {8, 2}};

  const std::vector<Mount> mounts = {mount_of(other, "/"), mount_of(lv, "/data"),
                                     mount_of(origin, "/direct")};
  CHECK(paths(freeze_order(mounts, {origin}, tree)).size() == 2);
  CHECK(paths(freeze_order({mounts[0]}, {origin}, tree)).empty());
  CHECK(paths(freeze_order({mounts[1]}, {origin}, tree)) == Paths{"/data"});
}

TEST_CASE("several mounts of one file system are one", "[freeze]") {
  const DeviceId origin{253, 0};
  const auto order =
      freeze_order({mount_of(origin, "/a", 1), mount_of(origin, "/b", 2)}, {origin}, InventedTree{});
  REQUIRE(order.size() == 1);
  CHECK(order[0].mounts.size() == 2);
}

TEST_CASE("what lies on a file of another is frozen before that one", "[freeze]") {
  const DeviceId origin{253, 0}, loop0{7, 0}, loop1{7, 1};
  InventedTree tree;
  tree.files[loop0] = "/data/image";
  tree.files[loop1] = "/inner/image";
  tree.places["/data/image"] = origin;
  tree.places["/inner/image"] = loop0;

  std::vector<Mount> mounts = {mount_of(origin, "/data"), mount_of(loop0, "/inner"),
                               mount_of(loop1, "/innermost")};
  const Paths expected = {"/innermost", "/inner", "/data"};
  CHECK(paths(freeze_order(mounts, {origin}, tree)) == expected);
  std::swap(mounts[0], mounts[2]);
  CHECK(paths(freeze_order(mounts, {origin}, tree)) == expected);
  std::swap(mounts[1], mounts[2]);
  CHECK(paths(freeze_order(mounts, {origin}, tree)) == expected);

  // Only the inner one is an origin's: the outer need not be frozen.
  CHECK(paths(freeze_order(mounts, {loop0}, tree)) == Paths{"/innermost", "/inner"});
}

TEST_CASE("a loop device on a file elsewhere is left alone", "[freeze]") {
  const DeviceId origin{253, 0}, root{8, 1}, loop0{7, 0};
  InventedTree tree;
  tree.files[loop0] = "/image";
  tree.places["/image"] = root;

  const std::vector<Mount> mounts = {mount_of(root, "/"), mount_of(loop0, "/inner"),
                                     mount_of(origin, "/data")};
  CHECK(paths(freeze_order(mounts, {origin}, tree)) == Paths{"/data"});
}

TEST_CASE("a file system is found by any of its devices", "[freeze]") {
  const DeviceId btrfs{0, 40}, part1{253, 1}, part2{253, 2}, ext4{253, 3}, journal{253, 4};
  InventedTree tree;
  tree.parts[btrfs] = {part1, part2};
  tree.parts[ext4] = {ext4, journal};

  const std::vector<Mount> mounts = {mount_of(btrfs, "/btrfs"), mount_of(ext4, "/ext4")};
  CHECK(paths(freeze_order(mounts, {part2}, tree)) == Paths{"/btrfs"});
  CHECK(paths(freeze_order(mounts, {journal}, tree)) == Paths{"/ext4"});
}

TEST_CASE("a cycle ends the walk instead of the tool", "[freeze]") {
  const DeviceId origin{253, 0}, loop0{7, 0};
  InventedTree tree;
  tree.files[loop0] = "/inner/image";
  tree.places["/inner/image"] = loop0;
  tree.lower[loop0] = {origin};
  tree.lower[origin] = {loop0};

  CHECK(paths(freeze_order({mount_of(loop0, "/inner")}, {origin}, tree)) == Paths{"/inner"});
}
