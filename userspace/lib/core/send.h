// SPDX-License-Identifier: GPL-2.0-or-later
/** @file Writes an image, or what changed of it, as a backup stream. */
#ifndef DIFFSNAP_CORE_SEND_H
#define DIFFSNAP_CORE_SEND_H

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "core/read_ahead.h"
#include "core/tracker.h"
#include "stream/format.h"
#include "stream/io.h"

namespace diffsnap {

/** How much was sent. Bytes. */
struct SendTotals {
  std::uint64_t data = 0;
  std::uint64_t zeroes = 0;
};

struct CopyOptions {
  unsigned threads = 4;
  /** May be empty. Called after each piece with what was sent up to then. */
  std::function<void(const SendTotals &)> progress = {};
  /** May be empty. Called after ranges were written out, ascending, with as much as is good for one call. */
  std::function<void(const sys::ByteRange &)> written_out = {};
  /** May be empty. Called after the last read and before the stream's end; what it throws leaves a stream
   * without one. */
  std::function<void()> before_end = {};
};

/** Reads ranges of a device or file and writes them as a stream. Throws Error. */
SendTotals copy_to_stream(const std::string &path, const ReadAhead::Ranges &ranges,
                          const stream::Header &header, stream::Sink &sink, const CopyOptions &options);

struct SendOptions {
  /** The snapshot that the stream starts from; nothing: a full stream. */
  std::optional<ChangeId> since;
  /** Release what was written out. */
  bool release = false;
  /** Send an image that ranges of were released, and that reads as zeroes there. */
  bool force = false;
  unsigned threads = 4;
  /** As of CopyOptions. */
  std::function<void(const SendTotals &)> progress = {};
};

/** What a manifest says of a stream. */
struct SendResult {
  ChangeId id;
  std::optional<ChangeId> since;
  std::string snapshot;
  std::string origin;
  std::uint64_t size = 0;
  SendTotals totals;
  /** Of the stream itself. */
  std::uint64_t stream_bytes = 0;
  std::string sha256;

  /** One object, with a final newline. */
  [[nodiscard]] std::string to_json() const;
};

/** Throws Error for an image that cannot be sent so. Of one that ranges of were released, EBUSY: they read as
 * zeroes, whatever they held. */
void check_sendable(const TrackedImage &image, const SendOptions &options);

/**
 * Sends an image. It is looked at before each release and once more after the last read: if its snapshot has
 * been given up meanwhile, more was written to it, or others released of it, the stream gets no end. What was
 * written to it before is no matter: trackers mark that for this snapshot and, since it is undone there, for
 * the next one. Throws Error. May not be called from two threads at once.
 */
SendResult send_image(const Environment &env, const TrackedImage &image, const SendOptions &options,
                      stream::Sink &sink);

/** How much send_image() will read. Bytes; asks the kernel for all ranges. Throws Error. */
[[nodiscard]] std::uint64_t measure(dm::DeviceMapper &dm, const TrackedImage &image,
                                    const std::optional<ChangeId> &since);

}  // namespace diffsnap

#endif
