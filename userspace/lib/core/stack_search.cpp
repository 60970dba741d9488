// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/stack_search.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/error.h"

namespace diffsnap {

StackSearch::StackSearch(const Environment &env, std::vector<DeviceId> to_attach)
    : env_(env), to_attach_(std::move(to_attach)), inventory_(read_inventory(env.dm)) {}

StackSearch::Below StackSearch::origin_below(DeviceId device) {
  visits_.clear();
  lost_file_.clear();
  return {walk_down(device, Visit::whole), lost_file_};
}

std::optional<std::string> StackSearch::origin_above(const sys::BlockDeviceFacts &device) {
  for (const OriginInfo &origin : inventory_.origins) {
    if (lie_on({origin.table.real_device}, device)) {
      return origin.name();
    }
  }
  for (const DeviceId origin : to_attach_) {
    if (const auto facts = facts_if_there(origin); facts && lie_on(facts->slaves, device)) {
      return name_of_origin(origin);
    }
  }
  return std::nullopt;
}

std::optional<StackSearch::StoreAbove> StackSearch::store_above(const sys::BlockDeviceFacts &device) {
  std::optional<StoreAbove> possible;
  for (const SnapshotInfo &snapshot : inventory_.snapshots) {
    std::vector<DeviceId> devices;
    for (const dm::LinearTable &range : snapshot.ranges) {
      devices.push_back(range.device);
    }
    if (!snapshot.data) {
      devices.push_back(snapshot.table.device);
    }
    lost_file_.clear();
    if (lie_on(devices, device)) {
      return StoreAbove{snapshot.name, {}};
    }
    if (!lost_file_.empty()) {
      possible = StoreAbove{snapshot.name, lost_file_};
    }
  }
  return possible;
}

bool StackSearch::is_image(DeviceId device) const {
  return std::any_of(inventory_.snapshots.begin(), inventory_.snapshots.end(),
                     [&](const SnapshotInfo &snapshot) {
                       return std::any_of(snapshot.images.begin(), snapshot.images.end(),
                                          [&](const ImageInfo &image) { return image.device.id == device; });
                     });
}

bool StackSearch::lie_on(const std::vector<DeviceId> &devices, const sys::BlockDeviceFacts &device) {
  visits_.clear();
  for (const DeviceId from : devices) {
    static_cast<void>(walk_down(from, Visit::whole));
  }
  const auto is_whole = [&](DeviceId id) {
    const auto visit = visits_.find(id);
    return visit != visits_.end() && visit->second == Visit::whole;
  };
  return visits_.count(device.id) != 0 || (device.disk && is_whole(*device.disk));
}

std::optional<std::string> StackSearch::name_of_origin(DeviceId device) const {
  if (const OriginInfo *origin = inventory_.find_origin(device)) {
    return origin->name();
  }
  if (std::find(to_attach_.begin(), to_attach_.end(), device) != to_attach_.end()) {
    const auto info = env_.dm.info(device);
    return info ? info->name : device.to_string();
  }
  return std::nullopt;
}

std::optional<std::string> StackSearch::walk_down(DeviceId device, Visit how) {
  const auto [visit, first] = visits_.emplace(device, how);
  if (!first) {
    visit->second = std::max(visit->second, how);
    return std::nullopt;
  }
  if (auto origin = name_of_origin(device)) {
    return origin;
  }
  const auto facts = facts_if_there(device);
  if (!facts) {
    return std::nullopt;
  }
  for (const DeviceId slave : facts->slaves) {
    if (auto found = walk_down(slave, Visit::whole)) {
      return found;
    }
  }
  if (facts->disk) {
    if (auto found = walk_down(*facts->disk, Visit::part)) {
      return found;
    }
  }
  return facts->loop_file.empty() ? std::nullopt : walk_down_file(facts->loop_file);
}

std::optional<std::string> StackSearch::walk_down_file(const std::string &path) {
  const auto hosts = env_.devices.devices_below_file(path);
  if (!hosts) {
    lost_file_ = path;
    return std::nullopt;
  }
  for (const DeviceId host : *hosts) {
    if (auto found = walk_down(host, Visit::whole)) {
      return found;
    }
  }
  return std::nullopt;
}

/** An origin may outlive its disk, and must not be in the way of all others then. */
std::optional<sys::BlockDeviceFacts> StackSearch::facts_if_there(DeviceId device) {
  try {
    return env_.devices.facts(device);
  } catch (const Error &error) {
    if (error.error_number() != ENODEV) {
      throw;
    }
    return std::nullopt;
  }
}

}  // namespace diffsnap
