// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/stacking.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>
#include <memory>

#include "base/size.h"
#include "core/left_alone.h"
#include "core/naming.h"
#include "core/saved_tracker.h"
#include "core/stack_search.h"
#include "core/steps.h"
#include "core/table_copy.h"
#include "dm/limits.h"
#include "sys/block_device.h"

namespace diffsnap {

namespace {

// A layer goes in between by a second device with a copy of the table, and both are live for a moment. That
// is harmless only for targets that keep nothing of their own: two instances of raid, cache or integrity
// would both believe that their metadata is theirs.
constexpr std::array<std::string_view, 12> stateless_targets{
    "linear", "striped", "crypt", "thin", "snapshot-origin", "unstriped", "error",
    "zero",   "flakey",  "delay", "dust", "switch"};

[[noreturn]] void refuse(const std::string &verb, DeviceId device, int error, std::string reason,
                         std::string hint = {}) {
  throw Error(verb, sys::device_node(device), error, std::move(reason), std::move(hint));
}

bool is_stateless(const dm::TableLine &line) {
  return std::find(stateless_targets.begin(), stateless_targets.end(), line.target) !=
         stateless_targets.end();
}

/** Refuses what cannot be an origin, stacked live or not. */
void check_device(const Environment &env, const sys::BlockDeviceFacts &facts) {
  const Inventory inventory = read_inventory(env.dm);
  if (const OriginInfo *origin = inventory.find_origin_on(facts.id)) {
    refuse("attach", facts.id, EEXIST, "it is attached already, as \"" + origin->name() + '"');
  }
  if (facts.zoned) {
    refuse("attach", facts.id, EOPNOTSUPP, "zoned devices cannot be origins");
  }
  if (facts.dax) {
    refuse("attach", facts.id, EOPNOTSUPP, "devices with direct access (DAX) cannot be origins");
  }
  if (facts.size == 0) {
    refuse("attach", facts.id, ENXIO, "it has no size");
  }
  // A store must never be written through an origin, see check_store_origins().
  if (const auto store = StackSearch(env).store_above(facts)) {
    const std::string object = "the store of the snapshot \"" + store->snapshot + '"';
    if (store->lost_file.empty()) {
      refuse("attach", facts.id, EDEADLK, object + " lies on it");
    }
    // No file system with that file can be on any other device, which must not be in use.
    if (env.dm.info(facts.id)) {
      refuse("attach", facts.id, EDEADLK,
             object + " may lie on it: on which device the loop device's file " + store->lost_file +
                 " lies cannot be told");
    }
  }
}

/** Refuses dm devices that cannot be stacked on. */
void check_live(const dm::DeviceInfo &device, const dm::Table &table) {
  const auto uuid = DeviceUuid::parse(device.uuid);
  if (uuid && uuid->kind != DeviceKind::origin) {
    refuse("attach", device.id, EINVAL, "it is a part of diffsnap itself");
  }
  // Someone is at work there, most likely LVM; to load a table now would destroy theirs.
  if (device.suspended) {
    refuse("attach", device.id, EBUSY, "it is suspended");
  }
  if (device.inactive_table) {
    refuse("attach", device.id, EBUSY, "another table is loaded into it",
           "If nobody is about to use it: `dmsetup clear`.");
  }
  for (const dm::TableLine &line : table) {
    if (line.target == "multipath" || line.target == "thin-pool") {
      refuse("attach", device.id, EOPNOTSUPP,
             "the kernel does not let its target \"" + line.target + "\" be replaced",
             "Attach what lies on it instead.");
    }
    if (!is_stateless(line)) {
      refuse("attach", device.id, EOPNOTSUPP,
             "its target \"" + line.target + "\" keeps state of its own and cannot be stacked on live",
             "Attach what lies below or on it instead.");
    }
  }
  if (table.empty()) {
    refuse("attach", device.id, ENXIO, "it has no table");
  }
}

/** A real device of that name that nobody uses, from an origin target that was taken out by someone else. */
void remove_stale(const Environment &env, const std::string &name) {
  const auto stale = env.dm.info(name);
  if (!stale) {
    return;
  }
  const auto uuid = DeviceUuid::parse(stale->uuid);
  if (!uuid || uuid->kind != DeviceKind::real || stale->open_count > 0) {
    throw Error("create", name, EEXIST, "a device of that name exists and is in use");
  }
  const auto cookie = env.dm.make_cookie();
  env.dm.remove(name, *cookie);
  cookie->wait();
}

/**
 * Throws EAGAIN if somebody else has changed a device since its table was looked at, or is about to: LVM asks
 * nobody. To be called again and again, for what is loaded or resumed then would be theirs.
 * @param loaded  whether a table of ours is in the inactive slot
 */
void check_untouched(const Environment &env, const std::string &verb, const dm::DeviceInfo &device,
                     const dm::Table &before, bool loaded) {
  const auto now = env.dm.info(device.name);
  if (!now || now->id != device.id || now->suspended || now->inactive_table != loaded ||
      !(env.dm.table(device.name) == before)) {
    refuse(verb, device.id, EAGAIN, "its table was changed by somebody else meanwhile");
  }
}

AttachResult attach_live(const Environment &env, const dm::DeviceInfo &device, const AttachOptions &options) {
  const dm::Table before = env.dm.table(device.name);
  check_live(device, before);
  const std::string real = real_name(device.name);
  const AttachResult result{device.name, device.id, true, {}};
  if (options.dry_run) {
    return result;
  }
  remove_stale(env, real);

  Steps steps;
  DeviceId real_id;
  steps.run([&] { real_id = create_copy(env, device, real); },
            [&] {
              const auto cookie = env.dm.make_cookie();
              env.dm.remove(real, *cookie);
            });
  // Before the swap: making one takes memory and a semaphore.
  const auto cookie = env.dm.make_cookie();
  const dm::Table table{dm::OriginTable{dm::table_length(before), real_id, options.tracking_block}.line()};
  check_untouched(env, "attach", device, before, false);
  steps.run([&] { env.dm.load(device.name, table, device.read_only); }, [&] { env.dm.clear(device.name); });
  check_untouched(env, "attach", device, before, true);
  steps.run([&] { swap_table(env, device.name, *cookie, [&] { load_copy(env, real, device); }); });
  steps.finish();
  cookie->wait();
  return result;
}

AttachResult attach_plain(const Environment &env, const sys::BlockDeviceFacts &facts,
                          const AttachOptions &options) {
  std::string name = options.name;
  if (name.empty()) {
    name = facts.name;
    std::replace(name.begin(), name.end(), '/', '_');
  }
  check_name(name);
  if (env.dm.info(name)) {
    refuse("attach", facts.id, EEXIST, "there is a device-mapper device named \"" + name + '"',
           "Give another name with -n.");
  }
  if (const auto usage = env.devices.usage(facts.id)) {
    refuse("attach", facts.id, EBUSY, "it is " + *usage,
           "Only a device-mapper device can be attached in use.");
  }
  if (!facts.holders.empty()) {
    refuse("attach", facts.id, EBUSY, "it is in use by " + sys::device_node(facts.holders.front()),
           "Attach what lies on it instead.");
  }
  if (!env.devices.can_open_exclusively(facts.id)) {
    refuse("attach", facts.id, EBUSY, "it is in use", "Only a device-mapper device can be attached in use.");
  }
  AttachResult result{name, {}, false, {}};
  if (options.dry_run) {
    return result;
  }
  dm::CreateRequest request;
  request.name = name;
  request.uuid = DeviceUuid{DeviceKind::origin, new_id(), 0}.to_string();
  request.table = {dm::OriginTable{facts.size, facts.id, options.tracking_block}.line()};
  request.read_only = facts.read_only;
  const auto cookie = env.dm.make_cookie();
  result.origin = env.dm.create(request, *cookie);
  cookie->wait();
  return result;
}

/** What is to be done as soon as the origin target sees no writes any more. Does not throw. */
using WhenOut = std::function<void()>;

// Once it is out, what is left to do may fail, and what depends on it must be done all the same.
void detach_live(const Environment &env, const OriginInfo &origin, const WhenOut &when_out) {
  const std::string &name = origin.name();
  const std::string &real = *origin.real_name;
  const auto cookie = env.dm.make_cookie();
  const dm::Table before = env.dm.table(name);
  if (before.size() != 1 || !(dm::OriginTable::parse(before.front()) == origin.table)) {
    refuse("detach", origin.device.id, EAGAIN, "its table was changed by somebody else meanwhile");
  }
  {
    Steps steps;
    check_untouched(env, "detach", origin.device, before, false);
    steps.run([&] { load_copy(env, real, origin.device); }, [&] { env.dm.clear(name); });
    check_untouched(env, "detach", origin.device, before, true);
    steps.run(
        [&] { swap_table(env, name, *cookie, [&] { env.dm.load(name, before, origin.device.read_only); }); });
    steps.finish();
  }
  when_out();
  cookie->wait();
  const auto real_cookie = env.dm.make_cookie();
  env.dm.remove(real, *real_cookie);
  real_cookie->wait();
}

void detach_plain(const Environment &env, const OriginInfo &origin, const WhenOut &when_out) {
  const auto cookie = env.dm.make_cookie();
  env.dm.remove(origin.name(), *cookie);
  when_out();
  cookie->wait();
}

/** As attach(), and whatever the tracker was is of no interest. */
AttachResult attach_anew(const Environment &env, const sys::BlockDeviceFacts &facts,
                         const AttachOptions &options) {
  if (const auto info = env.dm.info(facts.id)) {
    if (!options.name.empty() && options.name != info->name) {
      refuse("attach", facts.id, EINVAL, "a device-mapper device keeps its name, \"" + info->name + '"');
    }
    return attach_live(env, *info, options);
  }
  return attach_plain(env, facts, options);
}

/** What attach() would be given to get an origin back. */
DeviceId device_to_attach(const OriginInfo &origin) {
  return origin.live ? origin.device.id : origin.table.real_device;
}

/** Leaves the tracker of an origin that is about to be detached; null, and why, if that cannot be. */
std::unique_ptr<TrackerSave> save_tracker(const Environment &env, const OriginInfo &origin,
                                          const DetachOptions &options, DetachResult &result) {
  try {
    if (!is_left_alone(env, origin.name(), options.patience)) {
      throw Error("keep", "the change tracker of \"" + origin.name() + '"', EBUSY,
                  "the device is in use, and may be written to without it", "Its next backup is a full one.");
    }
    return std::make_unique<TrackerSave>(env, origin, device_to_attach(origin), options.tracker_directory);
  } catch (const Error &error) {
    result.tracker_lost = error;
    return nullptr;
  }
}

}  // namespace

void check_tracking_block(std::optional<Sectors> block) {
  if (block &&
      (*block < dm::min_tracking_block || *block > dm::max_tracking_block || (*block & (*block - 1)) != 0)) {
    throw SyntaxError("use", "a tracking block of " + format_size(*block << sector_shift, 'h'), EINVAL,
                      "it is a power of two from 4k to 16m");
  }
}

AttachResult attach(const Environment &env, DeviceId device, const AttachOptions &options) {
  check_tracking_block(options.tracking_block);
  const sys::BlockDeviceFacts facts = env.devices.facts(device);
  check_device(env, facts);
  if (options.dry_run || options.tracker_directory.empty()) {
    return attach_anew(env, facts, options);
  }
  if (const auto live = env.dm.info(device)) {
    // Of a saved tracker's device something is read, which would wait for as long as that is suspended.
    check_live(*live, env.dm.table(live->name));
  }
  AttachOptions as_before = options;
  const auto saved = find_saved_tracker(env, device, options.tracker_directory);
  if (saved && !options.tracking_block) {
    as_before.tracking_block = saved->tracking_block;
  }
  AttachResult result = attach_anew(env, facts, as_before);
  if (saved) {
    // Now, since from here on no write can be missed.
    try {
      restore_tracker(env, *saved, result.origin, device, options.patience);
    } catch (const Error &error) {
      result.tracker_lost = error;
    }
  }
  return result;
}

void check_attach_live(const Environment &env, DeviceId device) {
  const auto info = env.dm.info(device);
  if (!info) {
    refuse("attach", device, EOPNOTSUPP, "only a device-mapper device can be attached while it is in use",
           "Attach it when nobody uses it, and use /dev/mapper/NAME from then on.");
  }
  check_device(env, env.devices.facts(device));
  check_live(*info, env.dm.table(info->name));
}

DetachResult detach(const Environment &env, DeviceId device, const DetachOptions &options) {
  const Inventory inventory = read_inventory(env.dm);
  const OriginInfo *origin = inventory.find_origin_on(device);
  if (origin == nullptr) {
    refuse("detach", device, ENODEV, "it is not attached", "`diffsnap origins` shows what is.");
  }
  const auto *status = std::get_if<dm::OriginStatus>(&origin->status);
  if (status == nullptr) {
    refuse("detach", device, EPROTO, "its status is not understood");
  }
  if (status->state != dm::OriginState::idle) {
    const std::string name = origin->snapshot.value_or("of an unknown name");
    refuse("detach", device, EBUSY, "the snapshot \"" + name + "\" holds it",
           "`diffsnap remove " + name + "` releases it.");
  }
  if (origin->device.suspended || origin->device.inactive_table) {
    refuse("detach", device, EBUSY, "somebody else is changing its table");
  }
  if (!origin->live) {
    if (const auto usage = env.devices.usage(origin->device.id)) {
      refuse("detach", device, EBUSY, "it is " + *usage);
    }
    if (!is_left_alone(env, origin->name(), options.patience)) {
      refuse("detach", device, EBUSY, "it is in use");
    }
  }
  DetachResult result;
  if (options.dry_run) {
    return result;
  }
  const DeviceId again = device_to_attach(*origin);
  const bool knows_something = status->newest.number > 0;
  std::unique_ptr<TrackerSave> save;
  if (!options.tracker_directory.empty() && knows_something) {
    save = save_tracker(env, *origin, options, result);
  }
  const auto keep = [&] {
    try {
      if (save) {
        save->keep();
      } else if (!options.tracker_directory.empty() && !knows_something) {
        forget_trackers(env, again, options.tracker_directory);
      }
    } catch (const Error &error) {
      result.tracker_lost = error;
    }
  };
  if (origin->live) {
    detach_live(env, *origin, keep);
  } else {
    detach_plain(env, *origin, keep);
  }
  return result;
}

}  // namespace diffsnap
