// SPDX-License-Identifier: GPL-2.0-or-later
#include "sys/freeze_order.h"

#include <algorithm>
#include <map>

namespace diffsnap::sys {
namespace {

/**
 * Puts each file system after all that lie on it. The graph has no cycles,
 * since a file must exist before a loop device is put over it; a visited mark
 * makes sure that the walk ends all the same.
 */
class FreezeSort {
 public:
  FreezeSort(std::map<DeviceId, FileSystem> &all, const std::set<DeviceId> &devices, const DeviceTree &tree)
      : all_(all), devices_(devices), tree_(tree) {}

  std::vector<FileSystem> run(const std::vector<DeviceId> &order) {
    for (DeviceId id : order) {
      look_below(id);
    }

    // Depth first, lower file systems first; frozen from the end.
    for (DeviceId id : order) {
      if (state_[id].affected) {
        place(id);
      }
    }
    std::reverse(sorted_.begin(), sorted_.end());
    return std::move(sorted_);
  }

 private:
  struct State {
    bool affected = false;
    bool looked = false;
    bool placed = false;
    std::set<DeviceId> lies_on; /**< other file systems, through files */
  };

  bool look_below(DeviceId id) {
    State &state = state_[id];
    if (state.looked) {
      return state.affected;
    }
    state.looked = true;

    std::set<DeviceId> seen;
    for (DeviceId device : all_.at(id).devices) {
      descend(state, device, seen);
    }
    return state.affected;
  }

  void descend(State &state, DeviceId device, std::set<DeviceId> &seen) {
    if (!seen.insert(device).second) {
      return;
    }
    if (devices_.count(device) != 0) {
      state.affected = true;
    }
    for (DeviceId lower : tree_.below(device)) {
      descend(state, lower, seen);
    }

    const auto file = tree_.backing_file(device);
    if (!file) {
      return;
    }
    const auto lower = tree_.file_system_of(*file);
    if (!lower || all_.count(*lower) == 0) {
      return;
    }
    state.lies_on.insert(*lower);
    if (look_below(*lower)) {
      state.affected = true;
    }
  }

  void place(DeviceId id) {
    State &state = state_[id];
    if (state.placed) {
      return;
    }
    state.placed = true;
    for (DeviceId lower : state.lies_on) {
      if (state_[lower].affected) {
        place(lower);
      }
    }
    sorted_.push_back(std::move(all_.at(id)));
  }

  std::map<DeviceId, FileSystem> &all_;
  const std::set<DeviceId> &devices_;
  const DeviceTree &tree_;
  std::map<DeviceId, State> state_;
  std::vector<FileSystem> sorted_;
};

}  // namespace

std::vector<FileSystem> freeze_order(const std::vector<Mount> &mounts, const std::set<DeviceId> &devices,
                                     const DeviceTree &tree) {
  std::map<DeviceId, FileSystem> all;
  std::vector<DeviceId> order;

  for (const Mount &mount : mounts) {
    FileSystem &fs = all[mount.device];
    if (fs.mounts.empty()) {
      fs.device = mount.device;
      fs.fs_type = mount.fs_type;
      fs.devices = tree.used_by(mount);
      order.push_back(mount.device);
    }
    fs.mounts.push_back(mount);
  }
  return FreezeSort(all, devices, tree).run(order);
}

}  // namespace diffsnap::sys
