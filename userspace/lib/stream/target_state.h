// SPDX-License-Identifier: GPL-2.0-or-later
/**
 * @file
 * What is known of a target: at which snapshot it is, or between which ones it is being changed. Kept beside
 * it, so that a stream is applied to what it fits only.
 */
#ifndef DIFFSNAP_STREAM_TARGET_STATE_H
#define DIFFSNAP_STREAM_TARGET_STATE_H

#include <cstdint>
#include <optional>
#include <string>

#include "stream/format.h"

namespace diffsnap::stream {

struct TargetState {
  enum class Kind { at, changing };
  Kind kind = Kind::at;

  /**
   * `at`: the snapshot; nothing if the stream named none. `changing`: the last one that it was at for
   * certain.
   */
  std::optional<std::string> at;
  /** Bytes of that snapshot. */
  std::uint64_t size = 0;
  /** `changing`: the header of the stream that is applied. */
  Header stream;

  /** {"version":1,"state":"at","at":"...","size":1048576}, with a final newline. */
  [[nodiscard]] std::string to_json() const;
  /** The reverse of to_json(); nothing if the text is anything else. */
  [[nodiscard]] static std::optional<TargetState> parse(const std::string &text);
};

/** What a target is, beside its state. */
struct TargetFacts {
  /** For messages. */
  std::string name;
  bool exists = false;
  bool device = false;
  /** Bytes; what a device has room for, what a file holds. */
  std::uint64_t size = 0;
  /** What the state file holds is not understood. */
  bool state_broken = false;
};

/**
 * Throws Error unless a stream may be applied.
 *
 * An incremental one: to a target that is at the stream's start, or that the same stream, by both names and
 * the size, was being applied to when that broke off. All its records are absolute, and it has one for
 * whatever the two snapshots differ in, so that it does not matter which of them have been applied before. A
 * stream without an ending name cannot be known again, and is not repeated.
 *
 * A full one: to a file that is absent or empty, to a target that any full stream was being applied to, or to
 * any target with @p force.
 *
 * To a device only if it is large enough.
 */
void check_stream_fits(const Header &header, const TargetFacts &facts,
                       const std::optional<TargetState> &state, bool force);

/** The text in quotes, as JSON has it. */
[[nodiscard]] std::string json_string(const std::string &text);

}  // namespace diffsnap::stream

#endif
