// SPDX-License-Identifier: GPL-2.0-or-later
#include "sys/mounts.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <map>
#include <sstream>

#include "base/error.h"
#include "base/text.h"

namespace diffsnap::sys {
namespace {

/** The kernel writes space, tab, newline and backslash as \ooo. */
std::string unescape(std::string_view text) {
  const auto octal = [](char c) { return c >= '0' && c <= '7'; };
  std::string result;

  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && octal(text[i + 1]) && octal(text[i + 2]) &&
        octal(text[i + 3])) {
      result += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      result += text[i];
    }
  }
  return result;
}

std::optional<Mount> parse_line(std::string_view line) {
  // id parent major:minor root path options [tags]... - type source options
  const auto parts = split_words(line);
  const auto dash = std::find(parts.begin(), parts.end(), "-");
  if (dash - parts.begin() < 6 || parts.end() - dash < 4) {
    return std::nullopt;
  }

  const auto id = parse_number<int>(parts[0]);
  const auto device = DeviceId::parse(parts[2]);
  if (!id || !device) {
    return std::nullopt;
  }

  Mount mount;
  mount.id = *id;
  mount.device = *device;
  mount.path = unescape(parts[4]);
  mount.fs_type = std::string(dash[1]);
  mount.source = unescape(dash[2]);
  mount.options = std::string(dash[3]);
  return mount;
}

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

std::vector<Mount> parse_mountinfo(std::string_view text) {
  std::vector<Mount> mounts;

  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    if (auto mount = parse_line(text.substr(0, end))) {
      mounts.push_back(std::move(*mount));
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return mounts;
}

std::vector<Mount> read_mounts() {
  std::ifstream file("/proc/self/mountinfo");
  std::ostringstream text;

  text << file.rdbuf();

  if (!file || !text) {
    throw Error("read", "/proc/self/mountinfo", EIO);
  }
  return parse_mountinfo(text.str());
}

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
