// SPDX-License-Identifier: GPL-2.0-or-later
/**
 * @file
 * What there is: origins, snapshots, images and leftovers, read from device-mapper's names, UUIDs, tables and
 * status lines each time it is asked for.
 */
#ifndef DIFFSNAP_CORE_INVENTORY_H
#define DIFFSNAP_CORE_INVENTORY_H

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/device_id.h"
#include "core/naming.h"
#include "dm/device_mapper.h"
#include "dm/status.h"
#include "dm/table.h"

namespace diffsnap {

/** A device that has the origin target. */
struct OriginInfo {
  /** dm name, UUID, number, event number. */
  dm::DeviceInfo device;
  dm::OriginTable table;
  dm::AnyOriginStatus status;
  /** Stacked on a dm device that was in use: what was its table is now `real_device`. */
  bool live = false;
  /** The dm name of the real device, if it is a dm device. */
  std::optional<std::string> real_name;
  /** Name of the snapshot that it belongs to, if any. */
  std::optional<std::string> snapshot;

  [[nodiscard]] const std::string &name() const noexcept { return device.name; }
  /** "idle", "added", "held", "invalid"; "unknown" for a status that is not understood. */
  [[nodiscard]] std::string state() const;
};

/** A device that shows an origin as it was. */
struct ImageInfo {
  dm::DeviceInfo device;
  dm::ImageTable table;
  dm::AnyImageStatus status;
  std::string snapshot;
  std::string snapshot_id;
  std::size_t index = 0;
  /** dm name of the origin as of the cut. */
  std::string origin_name;
  /** /dev/diffsnap/SNAPSHOT/ORIGIN */
  std::string path;

  [[nodiscard]] std::string state() const;
  [[nodiscard]] bool in_use() const noexcept { return device.open_count > 0; }
};

/** A snapshot: the device of its store, and what belongs to it. */
struct SnapshotInfo {
  /** Of one that was made by hand its device's name, or, if another snapshot has that, its path. */
  std::string name;
  /** 32 hex digits; empty for one that was made by hand without one. */
  std::string id;
  std::optional<std::chrono::system_clock::time_point> created;
  /** Made without a cut, on purpose: while it is new it is no leftover. */
  bool to_be_taken = false;
  dm::DeviceInfo device;
  dm::StoreTable table;
  dm::AnyStoreStatus status;
  /** The device below the store, if it is one of ours, and the ranges of it that the store uses: one that was
   * extended by half has more. */
  std::optional<dm::DeviceInfo> data;
  std::vector<dm::LinearTable> ranges;
  /** Members' dm names in the order of the status line; "major:minor" where the device has gone. */
  std::vector<std::string> origin_names;
  std::vector<ImageInfo> images;

  /** "new", "active", "low", "overflow", "invalid", "dropped", "unknown". */
  [[nodiscard]] std::string state() const;
  /** Null if the status is not understood. */
  [[nodiscard]] const dm::StoreNumbers *numbers() const noexcept { return dm::numbers(status); }
  /** Why it was given up; nothing if it was not. */
  [[nodiscard]] std::optional<dm::FailureReason> reason() const;
};

// For messages: `origin "data"`, `image "daily/data"`.
[[nodiscard]] std::string quoted(const OriginInfo &origin);
[[nodiscard]] std::string quoted(const ImageInfo &image);

/** Everything of ours that device-mapper holds, as of one moment (devices may come and go while it is read).
 */
struct Inventory {
  std::vector<OriginInfo> origins;
  std::vector<SnapshotInfo> snapshots;
  /** Devices of ours that belong to nothing: parts of half-made snapshots, real devices whose origin target
   * was taken out. See core/leftovers.h for what removes them. */
  std::vector<dm::DeviceInfo> leftovers;

  [[nodiscard]] const SnapshotInfo *find_snapshot(std::string_view name) const noexcept;
  [[nodiscard]] const OriginInfo *find_origin(DeviceId id) const noexcept;
  [[nodiscard]] const OriginInfo *find_origin(std::string_view dm_name) const noexcept;
  /** The origin that a device is or lies under; null if it is neither. */
  [[nodiscard]] const OriginInfo *find_origin_on(DeviceId id) const noexcept;
  /** By snapshot name and origin name. */
  [[nodiscard]] const ImageInfo *find_image(std::string_view snapshot,
                                            std::string_view origin_name) const noexcept;
};

/** Reads it all. Devices that disappear in between are left out. Throws Error. */
[[nodiscard]] Inventory read_inventory(dm::DeviceMapper &dm);

/** The snapshot of that name; throws Error with ENOENT. @param verb for the message: "extend". */
[[nodiscard]] SnapshotInfo get_snapshot(dm::DeviceMapper &dm, const std::string &name,
                                        const std::string &verb);

/** A name for a snapshot, snap0 or higher, that no snapshot has, and no device that is left of one. */
[[nodiscard]] std::string free_snapshot_name(dm::DeviceMapper &dm);

/**
 * The origin of that dm name, or that a device, named by any words, is or lies under. Throws Error: ENODEV if
 * there is none, ENOENT or ENOTBLK for words that name no device. @param verb  for the message: "mark".
 */
[[nodiscard]] const OriginInfo &select_origin(const Inventory &inventory, const std::string &words,
                                              const std::string &verb);

/** Throws InitError unless device-mapper answers and the three targets are there. */
void check_kernel(dm::DeviceMapper &dm);

}  // namespace diffsnap

#endif
