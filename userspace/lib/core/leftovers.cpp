// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/leftovers.h"

#include <algorithm>

#include "core/inventory.h"
#include "core/naming.h"
#include "core/snapshot_set.h"

namespace diffsnap {

namespace {

class Cleaner {
 public:
  explicit Cleaner(const Environment &env) : env_(env) {}

  std::vector<std::string> run() {
    clear_tables();
    remove_uncut_snapshots();
    // What lies on others first.
    for (const DeviceKind kind :
         {DeviceKind::image, DeviceKind::store, DeviceKind::data, DeviceKind::origin, DeviceKind::real}) {
      remove_devices(kind);
    }
    return std::move(done_);
  }

 private:
  /** Runs a step; what it fails for stays as it is. */
  template <typename Action>
  void attempt(const std::string &name, Action action) {
    try {
      action();
      done_.push_back(name);
    } catch (const Error &) {
      // The command that was asked for may not need it, and says so itself if it does.
    }
  }

  /** By a killed attach: an origin's table over one of our real devices. By a killed detach: the real
   * device's table. */
  [[nodiscard]] bool is_ours(const Inventory &inventory, const dm::DeviceInfo &device) const {
    const dm::Table loaded = env_.dm.table(device.name, dm::WhichTable::inactive);
    if (const auto table = loaded.size() == 1 ? dm::OriginTable::parse(loaded.front()) : std::nullopt) {
      const auto real = env_.dm.info(table->real_device);
      const auto uuid = real ? DeviceUuid::parse(real->uuid) : std::nullopt;
      return uuid && uuid->kind == DeviceKind::real;
    }
    const OriginInfo *origin = inventory.find_origin(device.id);
    return origin != nullptr && origin->live && origin->real_name &&
           loaded == env_.dm.table(*origin->real_name);
  }

  void clear_tables() {
    const Inventory inventory = read_inventory(env_.dm);
    for (const dm::DeviceInfo &device : env_.dm.list()) {
      // One without a live table is removed as a whole; one that is suspended is in somebody else's hands.
      if (!device.inactive_table || !device.live_table || device.suspended) {
        continue;
      }
      bool ours = false;
      try {
        ours = is_ours(inventory, device);
      } catch (const Error &) {
        // It went away.
      }
      if (ours) {
        attempt(device.name, [&] { env_.dm.clear(device.name); });
      }
    }
  }

  void remove_uncut_snapshots() {
    for (const SnapshotInfo &snapshot : read_inventory(env_.dm).snapshots) {
      if (!snapshot.id.empty() && !snapshot.to_be_taken && snapshot.state() == "new") {
        attempt(snapshot.device.name, [&] { remove_snapshot_of_id(env_, snapshot.id); });
      }
    }
  }

  void remove_devices(DeviceKind kind) {
    for (const dm::DeviceInfo &device : read_inventory(env_.dm).leftovers) {
      const auto uuid = DeviceUuid::parse(device.uuid);
      if (!uuid || uuid->kind != kind || device.open_count > 0) {
        continue;
      }
      // An origin that never got its table is half-made; one with another table is somebody's.
      if (kind == DeviceKind::origin && device.live_table) {
        continue;
      }
      attempt(device.name, [&] {
        const auto cookie = env_.dm.make_cookie();
        env_.dm.remove(device.name, *cookie);
        cookie->wait();
      });
    }
  }

  const Environment &env_;
  std::vector<std::string> done_;
};

}  // namespace

std::vector<std::string> remove_leftovers(const Environment &env) {
  return Cleaner(env).run();
}

}  // namespace diffsnap
