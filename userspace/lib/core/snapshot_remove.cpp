// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>
#include <cerrno>
#include <exception>
#include <functional>

#include "core/naming.h"
#include "core/snapshot_set.h"
#include "core/table_copy.h"
#include "sys/block_device.h"

namespace diffsnap {

namespace {

/** All devices of one snapshot, finished or not. */
struct Parts {
  std::vector<dm::DeviceInfo> images;
  std::optional<dm::DeviceInfo> store;
  std::optional<dm::DeviceInfo> data;

  [[nodiscard]] bool empty() const noexcept { return images.empty() && !store && !data; }
};

/** The id that leftovers of a snapshot without a store have in common; empty if there are none. */
std::string id_of_leftovers(const Inventory &inventory, const std::string &name) {
  for (const dm::DeviceInfo &device : inventory.leftovers) {
    const auto uuid = DeviceUuid::parse(device.uuid);
    if (uuid && snapshot_of_device_name(device.name) == name) {
      return uuid->id;
    }
  }
  return {};
}

/**
 * @param snapshot  null: its store is gone, or has no table
 * @param id        empty: it was made by hand, without one
 */
Parts find_parts(const Inventory &inventory, const SnapshotInfo *snapshot, const std::string &id) {
  Parts parts;
  if (snapshot != nullptr) {
    parts.store = snapshot->device;
    parts.data = snapshot->data;
    for (const ImageInfo &image : snapshot->images) {
      parts.images.push_back(image.device);
    }
  }
  if (id.empty()) {
    return parts;
  }
  for (const dm::DeviceInfo &device : inventory.leftovers) {
    const auto uuid = DeviceUuid::parse(device.uuid);
    if (!uuid || uuid->id != id) {
      continue;
    }
    if (uuid->kind == DeviceKind::image) {
      parts.images.push_back(device);
    } else if (uuid->kind == DeviceKind::store) {
      // Created, but without a table of ours: the tool died in between.
      parts.store = device;
    } else if (uuid->kind == DeviceKind::data) {
      parts.data = device;
    }
  }
  return parts;
}

void remove_device(const Environment &env, const std::string &name, bool deferred = false) {
  const auto cookie = env.dm.make_cookie();
  dm::RemoveFlags flags;
  flags.retry = !deferred;
  flags.deferred = deferred;
  env.dm.remove(name, *cookie, flags);
  cookie->wait();
}

/** As `dmsetup remove --force`: its users get errors at once, the device goes with the last of them. */
void remove_used_image(const Environment &env, const dm::DeviceInfo &image) {
  const dm::Table table = env.dm.table(image.name);
  env.dm.load(image.name, {{0, dm::table_length(table), "error", {}}});
  const auto cookie = env.dm.make_cookie();
  swap_table(
      env, image.name, *cookie, [&] { env.dm.load(image.name, table); }, InFlight::requeue);
  cookie->wait();
  remove_device(env, image.name, true);
}

std::string describe_use(const Environment &env, const dm::DeviceInfo &image) {
  const auto usage = env.devices.usage(image.id);
  return usage ? *usage : "in use";
}

void remove_parts(const Environment &env, const Parts &parts, const std::string &object,
                  const RemoveOptions &options) {
  for (const dm::DeviceInfo &image : parts.images) {
    if (image.open_count > 0 && !options.force) {
      throw Error("remove", object, EBUSY, "its image \"" + image.name + "\" is " + describe_use(env, image),
                  "--force removes it all the same; its users get I/O errors then.");
    }
  }
  if (options.dry_run) {
    return;
  }

  // Without these the snapshot stays whole: an image that was opened just now is a reason to stop.
  for (const dm::DeviceInfo &image : parts.images) {
    if (image.open_count > 0) {
      remove_used_image(env, image);
    } else {
      remove_device(env, image.name);
    }
  }

  // From here on as much as possible: the origins shall be free even if the rest does not go.
  std::exception_ptr first;
  const auto attempt = [&first](const std::function<void()> &action) {
    try {
      action();
    } catch (const Error &) {
      first = first ? first : std::current_exception();
    }
  };
  if (parts.store) {
    if (parts.store->live_table) {
      attempt([&] { env.dm.message(parts.store->name, "drop"); });
    }
    attempt([&] { remove_device(env, parts.store->name); });
  }
  if (parts.data) {
    attempt([&] { remove_device(env, parts.data->name); });
  }
  if (first) {
    std::rethrow_exception(first);
  }
}

}  // namespace

void remove_snapshot(const Environment &env, const std::string &name, const RemoveOptions &options) {
  const Inventory inventory = read_inventory(env.dm);
  const SnapshotInfo *snapshot = inventory.find_snapshot(name);
  const Parts parts =
      find_parts(inventory, snapshot, snapshot != nullptr ? snapshot->id : id_of_leftovers(inventory, name));
  if (parts.empty()) {
    static_cast<void>(get_snapshot(env.dm, name, "remove"));
    return;
  }
  remove_parts(env, parts, "snapshot \"" + name + '"', options);
}

void remove_snapshot_of_id(const Environment &env, const std::string &id) {
  const Inventory inventory = read_inventory(env.dm);
  const auto found = std::find_if(inventory.snapshots.begin(), inventory.snapshots.end(),
                                  [&](const SnapshotInfo &snapshot) { return snapshot.id == id; });
  const SnapshotInfo *snapshot = found != inventory.snapshots.end() ? &*found : nullptr;
  remove_parts(env, find_parts(inventory, snapshot, id), "snapshot " + id, {});
}

}  // namespace diffsnap
