// SPDX-License-Identifier: GPL-2.0-or-later
/** @file Putting the origin target on a device, and taking it off again. */
#ifndef DIFFSNAP_CORE_STACKING_H
#define DIFFSNAP_CORE_STACKING_H

#include <chrono>
#include <optional>
#include <string>

#include "base/device_id.h"
#include "base/error.h"
#include "core/environment.h"
#include "core/inventory.h"

namespace diffsnap {

struct AttachOptions {
  /** dm name for a device that is not stacked live; empty: the kernel's name of the device. */
  std::string name;
  /** Unit of change tracking; nothing: the kernel's default. */
  std::optional<Sectors> tracking_block;
  /** Where detach() has left the change tracker, if it did; empty: it is not looked for. */
  std::string tracker_directory;
  /** How long those who have it open for a moment, as udev has, are waited for before a tracker that was left
   * is given up. */
  std::chrono::milliseconds patience{3000};
  /** Check everything, change nothing. */
  bool dry_run = false;
};

struct AttachResult {
  /** dm name of the origin: users go through /dev/mapper/NAME. */
  std::string name;
  DeviceId origin;
  /** A dm device was stacked live: its name and users stayed. */
  bool live = false;
  /** Why the tracker that was left does not go on; nothing if it does, or none was. */
  std::optional<Error> tracker_lost;
};

/** Throws SyntaxError for a unit of change tracking that the kernel would refuse; looks at nothing else. */
void check_tracking_block(std::optional<Sectors> block);

/**
 * Puts the origin target on a device. A device-mapper device is stacked live, whether it is in use or not;
 * any other device must not be in use. All that was done is undone if a step fails, and whatever may be
 * suspended is resumed. Throws Error: EEXIST if it is attached, EBUSY if it is in use, EDEADLK if a store
 * lies on it, EOPNOTSUPP if it cannot be stacked on.
 */
AttachResult attach(const Environment &env, DeviceId device, const AttachOptions &options = {});

/** Throws Error unless attach() would stack it live, so that `create` may do it by itself. */
void check_attach_live(const Environment &env, DeviceId device);

struct DetachOptions {
  /** Where to leave the change tracker for the next attach(), see core/saved_tracker.h; empty: nowhere. */
  std::string tracker_directory;
  /** How long those who have it open for a moment, as udev has, are waited for. */
  std::chrono::milliseconds patience{3000};
  /** Check everything, change nothing. */
  bool dry_run = false;
};

struct DetachResult {
  /** Why the tracker could not be left; nothing if it was, or if it knows of no snapshot. */
  std::optional<Error> tracker_lost;
};

/**
 * Takes the origin target off again. @p device is the origin, or the device below it. Throws Error: EBUSY if
 * a snapshot holds it, or, of one that was not stacked live, if it is in use; ENODEV if it is not attached.
 */
DetachResult detach(const Environment &env, DeviceId device, const DetachOptions &options = {});

}  // namespace diffsnap

#endif
