// SPDX-License-Identifier: GPL-2.0-or-later
#include <cerrno>

#include "api/convert.h"
#include "api/state.h"
#include "base/error.h"
#include "core/inventory.h"
#include "core/leftovers.h"
#include "core/naming.h"
#include "core/snapshot_set.h"
#include "core/stacking.h"
#include "core/store_plan.h"
#include "sys/freeze.h"

namespace diffsnap::v0 {

namespace {

/** For the time of a call that changes devices: nobody else does. */
class Change {
 public:
  explicit Change(Machine &machine) : env(machine.environment()), lock_(machine.lock_changes()) {}

  /** Removes what a killed process has left. Invented devices have no lock, and nothing of that. */
  void clear_up() const {
    if (lock_) {
      static_cast<void>(remove_leftovers(env));
    }
  }

  const Environment env;

 private:
  std::unique_ptr<ChangeLock> lock_;
};

/** For what is no reason to fail. */
std::string words_of(const std::optional<Error> &error) {
  return error ? error->what() : std::string();
}

Snapshot find_made(dm::DeviceMapper &dm, const std::string &name) {
  const Inventory inventory = read_inventory(dm);
  const SnapshotInfo *snapshot = inventory.find_snapshot(name);
  if (snapshot == nullptr) {
    throw Error("create", "snapshot \"" + name + '"', ENOENT, "somebody else has removed it already");
  }
  return api::to_public(inventory, *snapshot);
}

diffsnap::CreateOptions to_internal(const CreateOptions &options) {
  check_name(options.name);
  diffsnap::CreateOptions result;
  result.name = options.name;
  result.chunk = api::to_sectors(options.chunk, "chunk size");
  if (options.low_water) {
    result.low_water = api::to_sectors(*options.low_water, "low-water mark");
  }
  if (options.buffer) {
    result.buffer = api::to_sectors(*options.buffer, "buffer size");
  }
  if (options.full_wait.count() > 0) {
    result.on_full = dm::OnFull{options.full_wait};
  }
  result.cut_limit = options.cut_limit;
  check_limits(result);
  return result;
}

/** As far as can be told without the lock. */
std::vector<DeviceId> devices_of(const Environment &env, const std::vector<std::string> &origins) {
  std::vector<DeviceId> devices;
  const Inventory inventory = read_inventory(env.dm);
  for (const std::string &words : origins) {
    if (const OriginInfo *origin = inventory.find_origin(words)) {
      devices.push_back(origin->device.id);
    }
  }
  return devices;
}

StorePlan plan(const Environment &env, const std::vector<Store> &stores, const StorePlanOptions &options) {
  return plan_store(env, resolve_store_specs(env, api::to_internal(stores)), ranges_in_use(env.dm), options);
}

}  // namespace

const char *version() noexcept {
  return DIFFSNAP_VERSION;
}

Manager::Manager() : Manager(std::make_shared<api::ManagerState>()) {
  static_cast<void>(state_->machine.environment());
}

Manager::Manager(std::shared_ptr<api::ManagerState> state) noexcept : state_(std::move(state)) {}
Manager::Manager(Manager &&other) noexcept = default;
Manager &Manager::operator=(Manager &&other) noexcept = default;
Manager::~Manager() = default;

KernelVersions Manager::kernel_versions() {
  const Environment env = state_->machine.environment();
  KernelVersions versions;
  versions.device_mapper = env.dm.driver_version().to_string();
  for (const dm::TargetVersion &target : env.dm.targets()) {
    if (target.name == dm::OriginTable::target) {
      versions.module = target.version.to_string();
    }
  }
  return versions;
}

AttachResult Manager::attach(const std::string &device, const AttachOptions &options) {
  diffsnap::AttachOptions attachment;
  attachment.name = options.name;
  if (options.tracking_block) {
    attachment.tracking_block = api::to_sectors(*options.tracking_block, "tracking block");
  }
  attachment.tracker_directory = state_->machine.tracker_directory();
  const Change change(state_->machine);
  change.clear_up();
  const diffsnap::AttachResult result = diffsnap::attach(change.env, sys::resolve_device(device), attachment);
  return {api::to_public(select_origin(read_inventory(change.env.dm), result.name, "attach")),
          words_of(result.tracker_lost)};
}

DetachResult Manager::detach(const std::string &origin) {
  const Change change(state_->machine);
  change.clear_up();
  const Inventory inventory = read_inventory(change.env.dm);
  DetachOptions options;
  options.tracker_directory = state_->machine.tracker_directory();
  const diffsnap::DetachResult result =
      diffsnap::detach(change.env, select_origin(inventory, origin, "detach").device.id, options);
  return {words_of(result.tracker_lost)};
}

std::vector<Origin> Manager::origins() {
  std::vector<Origin> origins;
  for (const OriginInfo &origin : read_inventory(state_->machine.environment().dm).origins) {
    origins.push_back(api::to_public(origin));
  }
  return origins;
}

std::optional<Origin> Manager::find_origin(const std::string &origin) {
  const Inventory inventory = read_inventory(state_->machine.environment().dm);
  const OriginInfo *found = inventory.find_origin(origin);
  if (found == nullptr) {
    found = inventory.find_origin_on(sys::resolve_device(origin));
  }
  return found != nullptr ? std::optional(api::to_public(*found)) : std::nullopt;
}

void Manager::mark(const std::string &origin, const std::vector<Range> &ranges) {
  std::vector<sys::ByteRange> marked;
  for (const Range &range : ranges) {
    marked.push_back({range.offset, range.length});
  }
  const Change change(state_->machine);
  const Inventory inventory = read_inventory(change.env.dm);
  mark_ranges(change.env.dm, select_origin(inventory, origin, "mark"), marked);
}

CreateResult Manager::create(const CreateOptions &options) {
  diffsnap::CreateOptions creation = to_internal(options);
  StorePlanOptions plan_options;
  plan_options.chunk = creation.chunk;
  plan_options.force = options.force;
  if (options.store_limit) {
    plan_options.limit = api::to_sectors(*options.store_limit, "store limit");
  }

  if (options.freeze) {
    sys::write_out_ahead(devices_of(state_->machine.environment(), options.origins));
  }
  const Change change(state_->machine);
  change.clear_up();
  const Environment &env = change.env;
  const Inventory inventory = read_inventory(env.dm);
  // Before anything that its own store would be a reason to refuse.
  if (inventory.find_snapshot(options.name) != nullptr) {
    throw Error("create", "snapshot \"" + options.name + '"', EEXIST,
                "there is a snapshot of that name already");
  }
  for (const std::string &origin : options.origins) {
    creation.origins.push_back(select_origin(inventory, origin, "snapshot").device.id);
  }
  creation.store = plan(env, options.stores, plan_options);

  sys::FileSystemFreezer freezer;
  sys::FreezeSection section(freezer, state_->machine.memory());
  const diffsnap::CreateResult made = create_snapshot(env, creation, options.freeze ? &freezer : nullptr,
                                                      options.freeze ? &section : nullptr);
  CreateResult result;
  result.snapshot = find_made(env.dm, made.name);
  result.frozen = made.frozen;
  result.held = made.closed;
  if (options.freeze) {
    result.not_frozen = freezer.unsupported();
  }
  return result;
}

std::uint64_t Manager::extend(const std::string &snapshot, const std::vector<Store> &stores, bool force) {
  const Change change(state_->machine);
  change.clear_up();
  StorePlanOptions options;
  options.chunk = get_snapshot(change.env.dm, snapshot, "extend").table.chunk;
  options.force = force;
  return extend_snapshot(change.env, snapshot, plan(change.env, stores, options)) << sector_shift;
}

std::vector<Snapshot> Manager::snapshots() {
  const Inventory inventory = read_inventory(state_->machine.environment().dm);
  std::vector<Snapshot> snapshots;
  for (const SnapshotInfo &snapshot : inventory.snapshots) {
    snapshots.push_back(api::to_public(inventory, snapshot));
  }
  return snapshots;
}

std::optional<Snapshot> Manager::find_snapshot(const std::string &name) {
  const Inventory inventory = read_inventory(state_->machine.environment().dm);
  const SnapshotInfo *snapshot = inventory.find_snapshot(name);
  return snapshot != nullptr ? std::optional(api::to_public(inventory, *snapshot)) : std::nullopt;
}

Changes Manager::changes(const Image &image, const std::optional<ChangeId> &since) {
  constexpr const char *verb = "list changes of";
  dm::DeviceMapper &dm = state_->machine.environment().dm;
  const TrackedImage tracked = get_tracked_image(dm, image.snapshot, image.origin, verb);
  std::optional<diffsnap::ChangeId> from;
  if (since) {
    from = resolve_since(tracked, {since->generation, since->number}, verb);
  }
  Image listed = api::to_public(read_inventory(dm), tracked.image);
  // The one that the ranges are asked for, whatever has happened since.
  listed.id = ChangeId{tracked.id.generation, tracked.id.number};
  return Changes(std::make_unique<api::ChangesState>(state_, tracked, from, std::move(listed)));
}

std::optional<Event> Manager::wait(const std::string &snapshot, std::uint32_t known,
                                   std::optional<std::chrono::milliseconds> timeout) {
  const Environment env = state_->machine.environment();
  const auto event = wait_for_event(env, snapshot, known, timeout);
  if (!event) {
    return std::nullopt;
  }
  return Event{event->number, api::to_public(read_inventory(env.dm), event->snapshot)};
}

void Manager::remove(const std::string &snapshot, bool force) {
  // Clearing up comes last: a snapshot that was never finished is to be found by its name.
  const Change change(state_->machine);
  RemoveOptions options;
  options.force = force;
  remove_snapshot(change.env, snapshot, options);
  change.clear_up();
}

}  // namespace diffsnap::v0
