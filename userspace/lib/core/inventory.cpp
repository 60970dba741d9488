// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/inventory.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <set>
#include <utility>

#include "base/error.h"
#include "sys/block_device.h"

namespace diffsnap {

namespace {

/** A device and its lines, as far as they could be read before it went. */
struct Candidate {
  dm::DeviceInfo device;
  std::optional<DeviceUuid> uuid;
  dm::Table table;
  dm::Table status;
};

/** Reads table and status; nothing if the device disappeared meanwhile. */
std::optional<Candidate> read_candidate(dm::DeviceMapper &dm, dm::DeviceInfo device) {
  Candidate candidate;
  candidate.uuid = DeviceUuid::parse(device.uuid);
  try {
    if (device.live_table) {
      candidate.table = dm.table(device.name);
      // Other targets' status is of no interest, and may be costly (it can wait for their locks).
      if (candidate.table.size() == 1 && candidate.table.front().target.compare(0, 9, "diffsnap-") == 0) {
        candidate.status = dm.status(device.name);
      }
    }
  } catch (const Error &error) {
    if (error.error_number() == ENXIO || error.error_number() == ENODEV) {
      return std::nullopt;
    }
    throw;
  }
  candidate.device = std::move(device);
  return candidate;
}

std::string status_of(const Candidate &candidate) {
  return candidate.status.size() == 1 ? candidate.status.front().params : std::string();
}

template <typename Table>
std::optional<Table> only_line(const dm::Table &table) {
  return table.size() == 1 ? Table::parse(table.front()) : std::nullopt;
}

class Reader {
 public:
  explicit Reader(dm::DeviceMapper &dm) {
    for (dm::DeviceInfo &device : dm.list()) {
      names_[device.id] = device.name;
      if (auto candidate = read_candidate(dm, std::move(device))) {
        candidates_.push_back(std::move(*candidate));
      }
    }
  }

  Inventory read() {
    // Stores first: the others refer to them.
    for (const Candidate &candidate : candidates_) {
      add_store(candidate);
    }
    name_apart();
    for (const Candidate &candidate : candidates_) {
      add_origin(candidate);
      add_image(candidate);
    }
    for (SnapshotInfo &snapshot : inventory_.snapshots) {
      std::sort(snapshot.images.begin(), snapshot.images.end(),
                [](const ImageInfo &a, const ImageInfo &b) { return a.index < b.index; });
    }
    find_leftovers();
    return std::move(inventory_);
  }

 private:
  void claim(DeviceId id) { claimed_.insert(id); }

  [[nodiscard]] const Candidate *find(DeviceId id) const {
    for (const Candidate &candidate : candidates_) {
      if (candidate.device.id == id) {
        return &candidate;
      }
    }
    return nullptr;
  }

  [[nodiscard]] std::string name_of(DeviceId id) const {
    const auto found = names_.find(id);
    return found != names_.end() ? found->second : id.to_string();
  }

  void add_store(const Candidate &candidate) {
    const auto table = only_line<dm::StoreTable>(candidate.table);
    if (!table) {
      return;
    }
    SnapshotInfo snapshot;
    // Of one that was made by hand under some other name, that name.
    snapshot.name = snapshot_of_store_name(candidate.device.name).value_or(candidate.device.name);
    if (candidate.uuid && candidate.uuid->kind == DeviceKind::store) {
      snapshot.id = candidate.uuid->id;
      snapshot.created = time_of_id(snapshot.id);
      snapshot.to_be_taken = candidate.uuid->to_be_taken;
    }
    snapshot.device = candidate.device;
    snapshot.table = *table;
    snapshot.status = dm::parse_store_status(status_of(candidate));
    if (const auto *numbers = snapshot.numbers()) {
      for (const dm::MemberStatus &member : numbers->members) {
        snapshot.origin_names.push_back(name_of(member.origin));
      }
    }
    claim(candidate.device.id);
    const Candidate *data = find(table->device);
    if (data != nullptr && data->uuid && data->uuid->kind == DeviceKind::data) {
      snapshot.data = data->device;
      dm::Table used = data->table;
      dm::truncate(used, table->length);
      for (const dm::TableLine &line : used) {
        if (const auto range = dm::LinearTable::parse(line)) {
          snapshot.ranges.push_back(*range);
        }
      }
      claim(data->device.id);
    }
    inventory_.snapshots.push_back(std::move(snapshot));
  }

  /** A name is the snapshot's whose store is called after it. One that was made by hand under just that name
   * gets one that no snapshot can have. */
  void name_apart() {
    std::set<std::string> called_after;
    for (const SnapshotInfo &snapshot : inventory_.snapshots) {
      if (snapshot.name != snapshot.device.name) {
        called_after.insert(snapshot.name);
      }
    }
    for (SnapshotInfo &snapshot : inventory_.snapshots) {
      if (snapshot.name == snapshot.device.name && called_after.count(snapshot.name) != 0) {
        snapshot.name = "/dev/mapper/" + snapshot.device.name;
      }
    }
  }

  void add_origin(const Candidate &candidate) {
    const auto table = only_line<dm::OriginTable>(candidate.table);
    if (!table) {
      return;
    }
    OriginInfo origin;
    origin.device = candidate.device;
    origin.table = *table;
    origin.status = dm::parse_origin_status(status_of(candidate));
    if (const Candidate *real = find(table->real_device)) {
      origin.real_name = real->device.name;
      origin.live = real->uuid && real->uuid->kind == DeviceKind::real;
      if (origin.live) {
        claim(real->device.id);
      }
    }
    if (const auto *status = std::get_if<dm::OriginStatus>(&origin.status);
        status != nullptr && status->store) {
      for (const SnapshotInfo &snapshot : inventory_.snapshots) {
        if (snapshot.device.id == *status->store) {
          origin.snapshot = snapshot.name;
        }
      }
    }
    claim(candidate.device.id);
    inventory_.origins.push_back(std::move(origin));
  }

  void add_image(const Candidate &candidate) {
    const auto table = only_line<dm::ImageTable>(candidate.table);
    if (!table) {
      return;
    }
    ImageInfo image;
    image.device = candidate.device;
    image.table = *table;
    image.status = dm::parse_image_status(status_of(candidate));
    if (candidate.uuid && candidate.uuid->kind == DeviceKind::image) {
      image.snapshot_id = candidate.uuid->id;
      image.index = candidate.uuid->index;
    }
    const auto name = split_image_name(candidate.device.name);
    image.origin_name = name ? name->origin : name_of(table->origin);
    for (SnapshotInfo &snapshot : inventory_.snapshots) {
      if (snapshot.device.id == table->store) {
        image.snapshot = snapshot.name;
        image.path = name ? image_path(name->snapshot, name->origin) : "/dev/mapper/" + candidate.device.name;
        claim(candidate.device.id);
        snapshot.images.push_back(std::move(image));
        return;
      }
    }
  }

  void find_leftovers() {
    for (const Candidate &candidate : candidates_) {
      if (candidate.uuid && claimed_.count(candidate.device.id) == 0) {
        inventory_.leftovers.push_back(candidate.device);
      }
    }
  }

  std::vector<Candidate> candidates_;
  std::map<DeviceId, std::string> names_;
  std::set<DeviceId> claimed_;
  Inventory inventory_;
};

}  // namespace

std::string quoted(const OriginInfo &origin) {
  return "origin \"" + origin.name() + '"';
}

std::string quoted(const ImageInfo &image) {
  return "image \"" + image.snapshot + '/' + image.origin_name + '"';
}

std::string OriginInfo::state() const {
  const auto *known = std::get_if<dm::OriginStatus>(&status);
  return known != nullptr ? std::string(dm::to_string(known->state)) : "unknown";
}

std::string ImageInfo::state() const {
  const auto *known = std::get_if<dm::ImageStatus>(&status);
  return known != nullptr ? std::string(dm::to_string(known->state)) : "unknown";
}

std::string SnapshotInfo::state() const {
  if (const auto *working = std::get_if<dm::WorkingStore>(&status)) {
    return std::string(dm::to_string(working->state));
  }
  if (const auto *ended = std::get_if<dm::EndedStore>(&status)) {
    return std::string(dm::to_string(ended->state));
  }
  return "unknown";
}

std::optional<dm::FailureReason> SnapshotInfo::reason() const {
  const auto *ended = std::get_if<dm::EndedStore>(&status);
  return ended != nullptr ? ended->reason : std::nullopt;
}

const SnapshotInfo *Inventory::find_snapshot(std::string_view name) const noexcept {
  for (const SnapshotInfo &snapshot : snapshots) {
    if (snapshot.name == name) {
      return &snapshot;
    }
  }
  return nullptr;
}

const OriginInfo *Inventory::find_origin(DeviceId id) const noexcept {
  for (const OriginInfo &origin : origins) {
    if (origin.device.id == id) {
      return &origin;
    }
  }
  return nullptr;
}

const OriginInfo *Inventory::find_origin(std::string_view dm_name) const noexcept {
  for (const OriginInfo &origin : origins) {
    if (origin.device.name == dm_name) {
      return &origin;
    }
  }
  return nullptr;
}

const OriginInfo *Inventory::find_origin_on(DeviceId id) const noexcept {
  if (const OriginInfo *origin = find_origin(id)) {
    return origin;
  }
  for (const OriginInfo &origin : origins) {
    if (origin.table.real_device == id) {
      return &origin;
    }
  }
  return nullptr;
}

const ImageInfo *Inventory::find_image(std::string_view snapshot,
                                       std::string_view origin_name) const noexcept {
  if (const SnapshotInfo *found = find_snapshot(snapshot)) {
    for (const ImageInfo &image : found->images) {
      if (image.origin_name == origin_name) {
        return &image;
      }
    }
  }
  return nullptr;
}

Inventory read_inventory(dm::DeviceMapper &dm) {
  return Reader(dm).read();
}

SnapshotInfo get_snapshot(dm::DeviceMapper &dm, const std::string &name, const std::string &verb) {
  const Inventory inventory = read_inventory(dm);
  const SnapshotInfo *found = inventory.find_snapshot(name);
  if (found == nullptr) {
    throw Error(verb, "snapshot \"" + name + "\"", ENOENT, "there is no snapshot of that name",
                "`diffsnap list` shows those that there are.");
  }
  return *found;
}

std::string free_snapshot_name(dm::DeviceMapper &dm) {
  std::set<std::string> taken;
  for (const SnapshotInfo &snapshot : read_inventory(dm).snapshots) {
    taken.insert(snapshot.name);
  }
  // An image that was removed by force keeps its name while it is open.
  for (const dm::DeviceInfo &device : dm.list()) {
    if (auto name = snapshot_of_device_name(device.name)) {
      taken.insert(std::move(*name));
    }
  }
  unsigned n = 0;
  while (taken.count("snap" + std::to_string(n)) != 0) {
    ++n;
  }
  return "snap" + std::to_string(n);
}

const OriginInfo &select_origin(const Inventory &inventory, const std::string &words,
                                const std::string &verb) {
  const OriginInfo *origin = inventory.find_origin(words);
  if (!origin) {
    origin = inventory.find_origin_on(sys::resolve_device(words));
  }
  if (!origin) {
    throw Error(verb, words, ENODEV, "it is no origin");
  }
  return *origin;
}

void check_kernel(dm::DeviceMapper &dm) {
  static_cast<void>(dm.driver_version());
  const auto present = dm.targets();
  constexpr std::array<std::string_view, 3> needed{dm::OriginTable::target, dm::StoreTable::target,
                                                   dm::ImageTable::target};
  for (const std::string_view target : needed) {
    const bool found = std::any_of(present.begin(), present.end(),
                                   [&](const dm::TargetVersion &version) { return version.name == target; });
    if (!found) {
      throw InitError("use", "device-mapper", ENODEV,
                      "the kernel has no target \"" + std::string(target) + '"',
                      "Run `modprobe dm-diffsnap`.");
    }
  }
}

}  // namespace diffsnap
