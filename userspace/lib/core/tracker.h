// SPDX-License-Identifier: GPL-2.0-or-later
/**
 * @file
 * The change tracker of an origin: what changed between two snapshots, marking by hand, a new generation.
 *
 * Offsets and lengths are bytes. Nothing here may be called from two threads at once (see
 * dm/device_mapper.h). Every function throws Error.
 */
#ifndef DIFFSNAP_CORE_TRACKER_H
#define DIFFSNAP_CORE_TRACKER_H

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/change_id.h"
#include "core/environment.h"
#include "core/inventory.h"
#include "sys/block_device.h"

namespace diffsnap {

/** An image as it is read for a backup, and what its tracker says of it. */
struct TrackedImage {
  ImageInfo image;
  OriginInfo origin;
  /** Of the snapshot that the image belongs to. */
  ChangeId id;
  std::uint64_t size = 0;
  std::uint64_t chunk = 0;
};

/**
 * The image of an origin in a snapshot that is in order. Throws Error: ENOENT if there is none, EIO if the
 * snapshot was given up or its origin has gone. @param verb for the message: "send".
 */
[[nodiscard]] TrackedImage get_tracked_image(dm::DeviceMapper &dm, const std::string &snapshot,
                                             const std::string &origin, const std::string &verb);

/** Throws Error, EIO, unless the image is still there, the same one, and its snapshot in order. */
void check_still_in_order(dm::DeviceMapper &dm, const TrackedImage &image, const std::string &verb);

/** What --since says: a number, and the generation that it belongs to if that was given. */
struct Since {
  std::optional<std::string> generation;
  std::uint64_t number = 0;
};

/** Reads `N` or `GENERATION:N`. Throws SyntaxError. */
[[nodiscard]] Since parse_since(std::string_view text);

/**
 * The snapshot that --since names, checked against an image. Throws Error: ESTALE for another generation (a
 * full backup is due), EINVAL for a number after the image's own.
 */
[[nodiscard]] ChangeId resolve_since(const TrackedImage &image, const Since &since, const std::string &verb);

/**
 * The ranges of an image that differ from an earlier snapshot, one after the other, ascending, apart from
 * each other. Asks the kernel as it goes and holds one answer at a time, however large the device is.
 *
 * The kernel answers as of the snapshot that holds the origin, so that all of it is meaningless if that goes
 * meanwhile: check_still_in_order() afterwards.
 */
class ChangeCursor {
 public:
  /** Both references must outlive it. @param since  nothing: the whole image is one range */
  ChangeCursor(dm::DeviceMapper &dm, const TrackedImage &image, const std::optional<ChangeId> &since);

  /** Instead, the ranges in which the origin may differ from the image by now: what was written to either
   * after the cut. */
  [[nodiscard]] static ChangeCursor after_cut(dm::DeviceMapper &dm, const TrackedImage &image);

  /** Nothing at the end. Throws Error; ESTALE if the generation ended meanwhile, EPROTO if an answer is not
   * understood. */
  [[nodiscard]] std::optional<sys::ByteRange> next();

 private:
  ChangeCursor(dm::DeviceMapper &dm, const TrackedImage &image, std::string question);

  /** One range of the kernel's, in sectors; nothing at the end. */
  [[nodiscard]] std::optional<sys::ByteRange> next_of_answers();
  void ask();
  void take_answer(const std::string &text);

  dm::DeviceMapper &dm_;
  const TrackedImage &image_;
  /** The message without its last word, the sector to answer from. */
  std::string question_;
  Sectors size_;
  /** Where to ask from; nothing when there is no more. */
  std::optional<Sectors> from_;
  /** Of the last answer, in sectors. */
  std::deque<sys::ByteRange> answer_;
  /** The end of the last range of all answers. */
  Sectors end_ = 0;
  /** Begun, but the next answer may go on with it. */
  std::optional<sys::ByteRange> pending_;
};

/**
 * Sends an origin a message of a word and any number of others, in several messages if need be: each is a
 * line that the kernel takes apart as a whole. Throws Error; some may have been sent then.
 */
void send_words(dm::DeviceMapper &dm, const std::string &origin, const std::string &first,
                const std::vector<std::string> &words);

/** Marks ranges of an origin as changed now. Throws Error, EINVAL, before the first if one ends beyond it.
 * @param dry_run  check only */
void mark_ranges(dm::DeviceMapper &dm, const OriginInfo &origin, const std::vector<sys::ByteRange> &ranges,
                 bool dry_run = false);

/**
 * The ranges of an origin that a file's contents lie in. Throws Error: EXDEV if the file system does not lie
 * directly on the origin, EOPNOTSUPP if it does not say where contents lie, or not of all of them.
 */
[[nodiscard]] std::vector<sys::ByteRange> ranges_of_file(const Environment &env, const OriginInfo &origin,
                                                         const std::string &path);

/** Begins a new generation. Throws Error, EBUSY while a snapshot holds the origin. @param dry_run  check only
 */
void reset_tracker(dm::DeviceMapper &dm, const OriginInfo &origin, bool dry_run = false);

}  // namespace diffsnap

#endif
