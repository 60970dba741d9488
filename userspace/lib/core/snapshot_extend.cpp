// SPDX-License-Identifier: GPL-2.0-or-later
#include <cerrno>

#include "core/naming.h"
#include "core/snapshot_set.h"
#include "core/steps.h"
#include "core/table_copy.h"
#include "sys/block_device.h"

namespace diffsnap {

namespace {

/** Loads a table and makes it live; afterwards the device has either this one or the one before. */
void replace_table(const Environment &env, const std::string &name, const dm::Table &before,
                   const dm::Table &after, dm::UdevCookie &cookie) {
  Steps steps;
  steps.run([&] { env.dm.load(name, after); }, [&] { env.dm.clear(name); });
  steps.run([&] { swap_table(env, name, cookie, [&] { env.dm.load(name, before); }); });
  steps.finish();
}

/** Places in a store are addressed in blocks of its device, and they are where they are. */
void check_blocks(const Environment &env, const std::string &object, const dm::DeviceInfo &data,
                  const StorePlan &more) {
  const unsigned present = env.devices.facts(data.id).logical_block;
  for (const StoreRange &range : more.ranges) {
    const unsigned block = env.devices.facts(range.device).logical_block;
    if (block > present) {
      throw Error("extend", object, EINVAL,
                  sys::device_node(range.device) + " has blocks of " + std::to_string(block) +
                      " bytes, larger than the " + std::to_string(present) + " of its store");
    }
  }
}

}  // namespace

Sectors extend_snapshot(const Environment &env, const std::string &name, const StorePlan &more,
                        bool dry_run) {
  const SnapshotInfo snapshot = get_snapshot(env.dm, name, "extend");
  const std::string object = "snapshot \"" + name + '"';
  if (!std::holds_alternative<dm::WorkingStore>(snapshot.status)) {
    const auto reason = snapshot.reason();
    throw Error("extend", object, EINVAL,
                "it was given up" + (reason ? ": " + reason->explain() : std::string()),
                "All that can be done is to remove it.");
  }
  if (!snapshot.data) {
    throw Error("extend", object, EINVAL, "its store was made by other means");
  }
  if (more.size() == 0) {
    throw Error("extend", object, ENOSPC, "no room was given");
  }
  check_store_origins(env, more);
  check_blocks(env, object, *snapshot.data, more);

  const std::string &data = snapshot.data->name;
  const dm::Table before = env.dm.table(data);
  // Beyond the store's end there is what one that was killed half-way added: nobody uses it.
  dm::Table after = before;
  dm::truncate(after, snapshot.table.length);
  for (dm::TableLine &line : more.table(dm::table_length(after))) {
    after.push_back(std::move(line));
  }
  const dm::Table store_before = env.dm.table(snapshot.device.name);
  dm::StoreTable store = snapshot.table;
  store.length = dm::table_length(after);
  // The mark may have been changed by a message since; the line's would put the old one back.
  if (const auto *numbers = snapshot.numbers(); numbers->low_water != 0) {
    store.low_water = numbers->low_water;
  }

  if (dry_run) {
    return store.length;
  }

  // Writes may be waiting for the room: udev is waited for when it is there.
  const auto cookie = env.dm.make_cookie();
  Steps steps;
  steps.run([&] { replace_table(env, data, before, after, *cookie); },
            [&] {
              const auto undoing = env.dm.make_cookie();
              replace_table(env, data, after, before, *undoing);
              undoing->wait();
            });
  wipe_edges(env, more);
  steps.run([&] { replace_table(env, snapshot.device.name, store_before, {store.line()}, *cookie); });
  steps.finish();
  cookie->wait();
  return store.length;
}

}  // namespace diffsnap
