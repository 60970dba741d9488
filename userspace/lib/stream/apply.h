// SPDX-License-Identifier: GPL-2.0-or-later
/** @file Applies a stream to what it is received into. */
#ifndef DIFFSNAP_STREAM_APPLY_H
#define DIFFSNAP_STREAM_APPLY_H

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>

#include "stream/reader.h"

namespace diffsnap::stream {

/** What a stream is applied to. Every function throws Error. */
class Target {
 public:
  Target() = default;
  Target(const Target &) = delete;
  Target &operator=(const Target &) = delete;
  virtual ~Target() = default;
  /** @param data  at least as aligned as the buffer that apply() was given, if @p offset is */
  virtual void write(std::uint64_t offset, const void *data, std::size_t length) = 0;
  /** Makes a range read as zeroes, best without taking room. */
  virtual void zero(std::uint64_t offset, std::uint64_t length) = 0;
};

/** Where data passes through. Not owned. */
struct Buffer {
  void *data = nullptr;
  /** A multiple of apply_alignment. */
  std::size_t size = 0;
};

/** Data is cut at multiples of this where it does not begin at one, so that the rest can be written directly.
 */
inline constexpr std::size_t apply_alignment = 4096;

/** What no record mentions stays as it is. */
inline constexpr std::uint64_t zero_nothing = std::numeric_limits<std::uint64_t>::max();

/**
 * Applies all records. Each is absolute, so that to apply the same stream again, after any part of it, gives
 * what one time gives. Throws Error: the reader's, which may come after all records were applied, or the
 * target's.
 *
 * @param zero_from  beyond this many bytes, what no record mentions is made zeroes, too: 0 for a full stream,
 * what it held before for a target that grows, on one that is not blank there; see zero_nothing
 * @param progress   may be empty; called with the bytes that were changed so far
 */
void apply(Reader &reader, Target &target, std::uint64_t zero_from, const Buffer &buffer,
           const std::function<void(std::uint64_t)> &progress = {});

}  // namespace diffsnap::stream

#endif
