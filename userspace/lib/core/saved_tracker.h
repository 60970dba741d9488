// SPDX-License-Identifier: GPL-2.0-or-later
/**
 * @file
 * Change trackers in files, from detach() to the next attach() of the same device, across restarts too.
 *
 * A state goes on only if the device shows that it was not written to in between, and only once: it is
 * removed, durably, before the kernel takes it up. Whatever is in doubt begins a new generation.
 */
#ifndef DIFFSNAP_CORE_SAVED_TRACKER_H
#define DIFFSNAP_CORE_SAVED_TRACKER_H

#include <chrono>
#include <optional>
#include <string>

#include "base/change_id.h"
#include "core/environment.h"
#include "core/inventory.h"

namespace diffsnap {

inline constexpr const char *default_tracker_directory = "/var/lib/diffsnap/trackers";

/** What tells whether a device was written to while it was detached. */
struct TrackerEvidence {
  /** With the super block's digest in its place. No writes if they are not all that may change the device. */
  sys::WriteEvidence device;
  /** Digest of the tables that make a device-mapper device of others; empty for any other. */
  std::string tables;
};

/** The state of one tracker, written out but not valid unless keep() is called. */
class TrackerSave {
 public:
  /**
   * Writes what the tracker of @p origin knows to a file in @p directory, which is made if need be. Nobody
   * may be writing to the origin. @param device  what is to be attached again: its writes are looked at.
   * @param env  must outlive this object. Throws Error.
   */
  TrackerSave(const Environment &env, const OriginInfo &origin, DeviceId device, std::string directory);
  TrackerSave(const TrackerSave &) = delete;
  TrackerSave &operator=(const TrackerSave &) = delete;
  ~TrackerSave();

  /** The origin is detached: the state is valid from now on. Others of the device are removed, and those of
   * an earlier boot that no device can be told to be. Throws Error. */
  void keep();

 private:
  void write(const OriginInfo &origin);

  const Environment &env_;
  std::string directory_;
  std::string path_;
  TrackerEvidence evidence_;
};

/** As TrackerSave::keep() for a tracker that knows nothing: what was left of the device earlier is removed.
 */
void forget_trackers(const Environment &env, DeviceId device, const std::string &directory);

/** A state that may be of a device. */
struct SavedTracker {
  std::string path;
  ChangeId newest;
  Sectors tracking_block = 0;
  Sectors size = 0;
  TrackerEvidence evidence;
};

/** The state that was saved for a device; nothing if there is none that can be read. */
[[nodiscard]] std::optional<SavedTracker> find_saved_tracker(const Environment &env, DeviceId device,
                                                             const std::string &directory);

/**
 * Lets a new origin's tracker go on with a saved state, which is gone afterwards, whatever comes of it.
 * @param device  as TrackerSave's
 * @param patience  for those who have the origin open: whoever does so for longer may have written before
 * Throws Error: the tracker has a new generation then, and the reason says why.
 */
void restore_tracker(const Environment &env, const SavedTracker &saved, DeviceId origin, DeviceId device,
                     std::chrono::milliseconds patience);

}  // namespace diffsnap

#endif
