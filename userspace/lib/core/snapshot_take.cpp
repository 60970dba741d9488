// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/snapshot_take.h"

#include <cerrno>
#include <set>

#include "core/naming.h"
#include "sys/block_device.h"

namespace diffsnap {

namespace {

std::string quoted(const std::string &snapshot) {
  return "snapshot \"" + snapshot + '"';
}

std::string removes_it(const std::string &snapshot) {
  return "`diffsnap remove " + snapshot + "` removes it.";
}

/** Why the kernel did not take an origin. The words are those of dm-diffsnap.rst. */
[[noreturn]] void rethrow_add(const Error &error, const std::string &origin) {
  std::string reason;
  std::string hint;
  switch (error.error_number()) {
    case EBUSY:
      reason = "another snapshot holds it";
      hint = "`diffsnap origins` shows which.";
      break;
    case EEXIST:
      reason = "it was given twice";
      break;
    case ENODEV:
      reason = "it is not attached";
      break;
    case EINVAL:
      reason =
          "the chunk is smaller than its physical block, or its logical block is smaller than the store's";
      hint = "A larger --chunk, or a store on a device with smaller blocks.";
      break;
    default:
      throw;
  }
  throw Error("add", "origin \"" + origin + '"', error.error_number(), reason, hint);
}

[[noreturn]] void throw_cut(const Taking &taking, int error) {
  const auto refuse = [&](std::string reason, std::string hint = {}) {
    throw Error(taking.verb, quoted(taking.name), error, std::move(reason), std::move(hint));
  };
  switch (error) {
    case ETIMEDOUT:
      refuse("an origin's writes in flight did not end within the limit",
             "The kernel's log names the origin. Nothing was changed.");
      break;
    case ENODEV:
      // Not one that is suspended: that is no obstacle.
      refuse("an origin is gone");
      break;
    default:
      break;
  }
  throw Error(taking.verb, quoted(taking.name), error,
              "the kernel refused the cut (" + std::generic_category().message(error) + ')');
}

void freeze_and_cut(const Taking &taking, dm::PreparedMessage &message, sys::Freezer &freezer,
                    sys::CriticalSection &critical, const sys::SignalBlock &uninterrupted) {
  std::vector<DeviceId> devices;
  for (const OriginInfo &origin : taking.origins) {
    devices.push_back(origin.device.id);
  }
  freezer.prepare(devices);
  freezer.write_out();
  check_not_interrupted(taking, uninterrupted);
  critical.enter();
  // From here to leave(): no memory, no files, no log, no exceptions. What went wrong is told afterwards.
  const int freeze_error = freezer.freeze();
  const int cut_error = freeze_error == 0 ? message.send() : 0;
  const int thaw_error = freeze_error == 0 ? freezer.thaw() : 0;
  critical.leave();

  if (freeze_error != 0 || thaw_error != 0) {
    throw freezer.failure();
  }
  if (cut_error != 0) {
    throw_cut(taking, cut_error);
  }
}

void read_closed_time(const Environment &env, const std::string &store, CreateResult &result) {
  const dm::Table lines = env.dm.status(store);
  if (lines.size() == 1) {
    const auto status = dm::parse_store_status(lines.front().params);
    if (const auto *numbers = dm::numbers(status)) {
      result.closed = numbers->closed;
    }
  }
}

/** The snapshot of that name; throws Error unless it waits for its cut. */
SnapshotInfo get_untaken(const Environment &env, const std::string &name, const std::string &verb,
                         const std::string &object) {
  SnapshotInfo snapshot = get_snapshot(env.dm, name, verb);
  const std::string state = snapshot.state();
  if (state == "active" || state == "low") {
    throw Error(verb, object, EBUSY, "the snapshot was taken already");
  }
  if (state != "new") {
    throw Error(verb, object, EINVAL, "the snapshot is in the state \"" + state + '"', removes_it(name));
  }
  if (snapshot.id.empty()) {
    throw Error(verb, object, EINVAL, "the snapshot was not made by diffsnap");
  }
  return snapshot;
}

std::vector<OriginInfo> members_of(const Environment &env, const SnapshotInfo &snapshot) {
  const Inventory inventory = read_inventory(env.dm);
  std::vector<OriginInfo> origins;
  const dm::StoreNumbers *numbers = snapshot.numbers();
  for (const dm::MemberStatus &member :
       numbers != nullptr ? numbers->members : std::vector<dm::MemberStatus>()) {
    const OriginInfo *origin = inventory.find_origin(member.origin);
    if (origin == nullptr) {
      throw Error("take", quoted(snapshot.name), ENODEV,
                  "its origin " + member.origin.to_string() + " is gone", removes_it(snapshot.name));
    }
    origins.push_back(*origin);
  }
  return origins;
}

}  // namespace

DeviceId make_device(const Environment &env, Steps &steps, dm::CreateRequest request, dm::UdevCookie &cookie,
                     const Steps::Action &before_removal) {
  DeviceId id;
  const std::string name = request.name;
  steps.run([&] { id = env.dm.create(request, cookie); },
            [&env, name, before_removal] {
              if (before_removal) {
                before_removal();
              }
              const auto removal = env.dm.make_cookie();
              env.dm.remove(name, *removal);
            });
  return id;
}

std::vector<OriginInfo> check_new_members(const Environment &env, const std::string &snapshot, Sectors chunk,
                                          const std::vector<DeviceId> &origins, bool not_attached_yet) {
  const Inventory inventory = read_inventory(env.dm);
  std::vector<OriginInfo> found;
  std::set<DeviceId> seen;
  for (const DeviceId id : origins) {
    const OriginInfo *origin = inventory.find_origin(id);
    OriginInfo expected;
    if (const auto device = env.dm.info(id); origin == nullptr && not_attached_yet && device) {
      // Stacked live it keeps its name, and is idle.
      expected.device = *device;
      origin = &expected;
    }
    if (origin == nullptr) {
      throw Error("add", "origin " + sys::device_node(id), ENODEV, "it is not attached",
                  "`diffsnap attach` puts the origin target on it.");
    }
    const std::string object = "origin \"" + origin->name() + '"';
    if (!seen.insert(id).second) {
      throw Error("add", object, EEXIST, "it was given twice");
    }
    if (const auto *status = std::get_if<dm::OriginStatus>(&origin->status);
        status != nullptr && status->state != dm::OriginState::idle) {
      throw Error("add", object, origin->snapshot == snapshot ? EEXIST : EBUSY,
                  "the snapshot \"" + origin->snapshot.value_or("of an unknown name") + "\" holds it");
    }
    const std::string image = image_name(snapshot, origin->name());
    if (env.dm.info(image)) {
      throw Error("add", object, EEXIST, "the device \"" + image + "\" exists");
    }
    const unsigned block = env.devices.facts(id).physical_block;
    if (block > chunk << sector_shift) {
      throw Error("add", object, EINVAL, "the chunk is smaller than its physical block",
                  "Use --chunk " + std::to_string(block) + "b.");
    }
    found.push_back(*origin);
  }
  return found;
}

void add_members(const Environment &env, const std::string &snapshot,
                 const std::vector<OriginInfo> &origins) {
  for (const OriginInfo &origin : origins) {
    try {
      env.dm.message(store_name(snapshot), "add " + origin.device.id.to_string());
    } catch (const Error &error) {
      rethrow_add(error, origin.name());
    }
  }
}

void check_not_interrupted(const Taking &taking, const sys::SignalBlock &uninterrupted) {
  if (uninterrupted.pending()) {
    throw Error(taking.verb, quoted(taking.name), EINTR, "it was interrupted");
  }
}

void cut(const Environment &env, const Taking &taking, sys::Freezer *freezer, sys::CriticalSection *critical,
         const sys::SignalBlock &uninterrupted, CreateResult &result) {
  const std::string store = store_name(taking.name);
  const auto message = env.dm.prepare_message(
      store, taking.cut_limit ? "cut " + std::to_string(taking.cut_limit->count()) : "cut");
  if (freezer == nullptr) {
    if (const int error = message->send()) {
      throw_cut(taking, error);
    }
  } else {
    freeze_and_cut(taking, *message, *freezer, *critical, uninterrupted);
    result.frozen = freezer->frozen_time();
  }
  read_closed_time(env, store, result);
}

void make_images(const Environment &env, const Taking &taking, Steps &steps) {
  // One wait for all of them.
  const auto cookie = env.dm.make_cookie();
  for (std::size_t i = 0; i < taking.origins.size(); ++i) {
    const OriginInfo &origin = taking.origins[i];
    dm::CreateRequest request;
    request.name = image_name(taking.name, origin.name());
    request.uuid = DeviceUuid{DeviceKind::image, taking.id, i}.to_string();
    request.table = {dm::ImageTable{origin.table.length, taking.store, origin.device.id}.line()};
    request.udev = dm::UdevFlags::image();
    make_device(env, steps, std::move(request), *cookie);
  }
  cookie->wait();
}

std::vector<std::string> image_paths(const std::string &snapshot, const std::vector<OriginInfo> &origins) {
  std::vector<std::string> paths;
  for (const OriginInfo &origin : origins) {
    paths.push_back(image_path(snapshot, origin.name()));
  }
  return paths;
}

void add_origins(const Environment &env, const std::string &name, const std::vector<DeviceId> &origins,
                 bool dry_run) {
  const SnapshotInfo snapshot = get_untaken(env, name, "add", "origins to " + quoted(name));
  const std::vector<OriginInfo> members =
      check_new_members(env, name, snapshot.table.chunk, origins, dry_run);
  StorePlan store;
  for (const dm::LinearTable &range : snapshot.ranges) {
    store.ranges.push_back({range.device, range.offset, range.length});
  }
  check_store_origins(env, store);
  if (!dry_run) {
    add_members(env, name, members);
  }
}

CreateResult take_snapshot(const Environment &env, const TakeOptions &options, sys::Freezer *freezer,
                           sys::CriticalSection *critical) {
  check_cut_limit(options.cut_limit);
  const SnapshotInfo snapshot = get_untaken(env, options.name, "take", quoted(options.name));
  const Taking taking{
      "take", options.name, snapshot.id, snapshot.device.id, members_of(env, snapshot), options.cut_limit};
  if (taking.origins.empty()) {
    throw Error("take", quoted(options.name), EINVAL, "it has no origins",
                "`diffsnap add " + options.name + " ORIGIN` adds one.");
  }
  CreateResult result;
  result.name = taking.name;
  result.id = taking.id;
  result.images = image_paths(taking.name, taking.origins);
  if (options.dry_run) {
    return result;
  }
  // A cut cannot be undone here; so it gets its images, whoever ends the command meanwhile.
  const sys::SignalBlock uninterrupted(sys::SignalBlock::Which::termination);
  try {
    cut(env, taking, freezer, critical, uninterrupted, result);
    Steps steps;
    make_images(env, taking, steps);
    steps.finish();
  } catch (const Error &error) {
    const std::string state = get_snapshot(env.dm, options.name, "take").state();
    if (state == "new") {
      throw;
    }
    const bool was_cut = state == "active" || state == "low";
    throw Error(
        error.verb(), error.object(), error.error_number(), error.reason(),
        (was_cut ? "It was cut and has no images: " : "It was given up: ") + removes_it(options.name));
  }
  return result;
}

}  // namespace diffsnap
