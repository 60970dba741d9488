// SPDX-License-Identifier: GPL-2.0-or-later
/** @file Puts origins of a snapshot back to what their images show. */
#ifndef DIFFSNAP_CORE_ROLLBACK_H
#define DIFFSNAP_CORE_ROLLBACK_H

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/restore.h"
#include "core/tracker.h"

namespace diffsnap {

struct RollbackOptions {
  std::string snapshot;
  /** Only this one; nothing: all origins of the snapshot. */
  std::optional<std::string> origin;
  /** Take images that ranges of were released, and that read as zeroes there. */
  bool force = false;
  /** Read all of it once more at the end, and compare. */
  bool verify = false;
  unsigned threads = 4;
  /** How long to wait for those who look at a device for a moment only, as udev does. */
  std::chrono::milliseconds patience{3000};
};

/** What is to be said of all origins, in their order, if the rollback of one of them, by index, failed. */
[[nodiscard]] std::string explain_broken_rollback(const std::vector<std::string> &origins,
                                                  std::size_t failed);

/**
 * A rollback: first everything is checked, then run() does it. In between somebody may be asked.
 *
 * An origin gets what its image shows now, so that what was written to the image comes along. Only blocks
 * that differ are written. Their old contents are all in the store, or they would not differ: the snapshot
 * needs no more room, its images stay as they are, and what was broken off can be run again. What is written
 * goes through the origins, whose trackers mark it.
 */
class Rollback {
 public:
  /**
   * Checks everything, and changes nothing. Throws Error: ENOENT if there is no such snapshot or image, EIO
   * if the snapshot is not in order, EBUSY if an origin or an image is in use, or ranges of an image were
   * released. The environment must outlive this object.
   */
  Rollback(const Environment &env, RollbackOptions options);

  /** In the order of the snapshot's origins. */
  [[nodiscard]] const std::vector<TrackedImage> &images() const noexcept { return images_; }
  /** How much run() will compare. Bytes; asks the kernel for all ranges. Throws Error. */
  [[nodiscard]] std::uint64_t measure() const;

  /**
   * Checks once more, keeps everybody else away from origins and images, and puts the origins back, one after
   * the other. When it returns all of it outlives a power failure. Throws Error; if an origin is rolled back
   * in part, with a hint that says so, and what became of the others.
   */
  RestoreTotals run(const RestoreProgress &progress);

 private:
  void check();
  void roll_back(std::size_t index, sys::TargetFile &target, const RestoreProgress &progress);
  void verify(const TrackedImage &image) const;

  const Environment &env_;
  RollbackOptions options_;
  std::vector<TrackedImage> images_;
  /** Of the origins that are done. */
  RestoreTotals done_;
};

}  // namespace diffsnap

#endif
