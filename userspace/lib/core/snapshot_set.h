// SPDX-License-Identifier: GPL-2.0-or-later
/** @file A snapshot of a set of origins: made, extended, removed. */
#ifndef DIFFSNAP_CORE_SNAPSHOT_SET_H
#define DIFFSNAP_CORE_SNAPSHOT_SET_H

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "core/environment.h"
#include "core/inventory.h"
#include "core/store_plan.h"
#include "sys/freezer.h"

namespace diffsnap {

struct CreateOptions {
  std::string name;
  /** Devices that have the origin target (see attach()), in the order of the store's members. */
  std::vector<DeviceId> origins;
  StorePlan store;
  Sectors chunk = 8;
  // Absent: the kernel's defaults.
  std::optional<Sectors> low_water;
  std::optional<Sectors> buffer;
  std::optional<std::chrono::milliseconds> store_timeout;
  std::optional<dm::OnFull> on_full;
  /** How long writes in flight may take to end before the cut is given up. */
  std::optional<std::chrono::milliseconds> cut_limit;
  /** Or only make it with its store, and its origins as far as there are some: see take_snapshot(). */
  bool take = true;
  /** Check everything, change nothing. */
  bool dry_run = false;
};

struct CreateResult {
  std::string name;
  std::string id;
  /** Paths of the images, in the order of the origins. */
  std::vector<std::string> images;
  /** How long file systems were frozen, and how long the kernel kept the gates closed. */
  std::chrono::nanoseconds frozen{0};
  std::chrono::nanoseconds closed{0};
};

/**
 * Throws SyntaxError for sizes and times that the kernel would refuse. Looks at nothing but these, so that
 * the words of a command line can be checked before the machine is asked for anything.
 */
void check_limits(const CreateOptions &options);
/** Likewise for what a cut is given. */
void check_cut_limit(std::optional<std::chrono::milliseconds> limit);

/**
 * Makes a snapshot; the steps and their order are those of the design, and each is undone, in reverse, if a
 * later one fails. Throws Error.
 *
 * @param freezer   null: no file system is frozen (--no-freeze); the cut is then as after a power failure
 * @param critical  null only if @p freezer is
 */
CreateResult create_snapshot(const Environment &env, const CreateOptions &options, sys::Freezer *freezer,
                             sys::CriticalSection *critical);

/**
 * Adds origins to a snapshot that was made and not taken. Everything is checked before the first one is
 * added; if the kernel then refuses one, those before it stay added. Throws Error: EBUSY if the snapshot was
 * taken, or another one holds an origin, EEXIST if this one does.
 */
void add_origins(const Environment &env, const std::string &name, const std::vector<DeviceId> &origins,
                 bool dry_run = false);

struct TakeOptions {
  std::string name;
  // As of CreateOptions.
  std::optional<std::chrono::milliseconds> cut_limit;
  bool dry_run = false;
};

/**
 * Cuts a snapshot that was made and not taken, and makes its images. If the cut fails it is as it was. If it
 * was made, and file systems cannot be thawed or an image cannot be made, there are no images, and the
 * snapshot can only be removed; so it can if an origin is gone (ENODEV). Throws Error: EBUSY if it was taken
 * already, EINVAL if it has no origins.
 *
 * @param freezer,critical  as of create_snapshot()
 */
CreateResult take_snapshot(const Environment &env, const TakeOptions &options, sys::Freezer *freezer,
                           sys::CriticalSection *critical);

/**
 * Adds ranges to the end of a snapshot's store while it is held: first the device below is made larger, then
 * the store's own table. What a process that was killed between the two had added below is dropped. Throws
 * Error. @param dry_run  only check @return the new size.
 */
Sectors extend_snapshot(const Environment &env, const std::string &name, const StorePlan &more,
                        bool dry_run = false);

struct RemoveOptions {
  /** Remove images that are in use, too: their users get I/O errors from then on. */
  bool force = false;
  bool dry_run = false;
};

/**
 * Removes a snapshot: images, the snapshot itself, its store, what lies below. Refuses with EBUSY, before
 * anything is changed, if an image is in use; one that is opened after that look ends it with some of the
 * images gone. Also removes what is left of one that was not made or removed to its end; all of it is tried,
 * the first error is thrown at the end.
 */
void remove_snapshot(const Environment &env, const std::string &name, const RemoveOptions &options = {});
/** Likewise, without regard to its name. */
void remove_snapshot_of_id(const Environment &env, const std::string &id);

/** Says that ranges of an image, in bytes, are not needed any more. They are rounded inwards to chunks. */
void release_ranges(const Environment &env, const ImageInfo &image,
                    const std::vector<sys::ByteRange> &ranges);

/** An event of a snapshot. */
struct SnapshotEvent {
  std::uint32_t number = 0;
  SnapshotInfo snapshot;
};

/**
 * Waits for the next event of a snapshot.
 * @param known  the last event number seen; nothing: the present one
 * @return nothing on a time out. Throws Error, ENXIO if the snapshot is removed meanwhile.
 */
[[nodiscard]] std::optional<SnapshotEvent> wait_for_event(const Environment &env, const std::string &name,
                                                          std::optional<std::uint32_t> known,
                                                          std::optional<std::chrono::milliseconds> timeout);

}  // namespace diffsnap

#endif
