// SPDX-License-Identifier: GPL-2.0-or-later
/** @file Applies a backup stream to a file or a block device, and keeps account of what is on it. */
#ifndef DIFFSNAP_CORE_RECEIVE_H
#define DIFFSNAP_CORE_RECEIVE_H

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "stream/io.h"
#include "stream/target_state.h"

namespace diffsnap {

struct ReceiveOptions {
  /** A regular file, which may be absent, or a block device. */
  std::string target;
  /** Where the target's state is kept; empty: TARGET.diffsnap, which a device cannot have. */
  std::string state_file;
  /** Take a full stream whatever the target holds. */
  bool force = false;
  /** Check the stream's header and the target's state, change nothing. */
  bool dry_run = false;
  /** May be empty. Called with the bytes that were changed so far, and how many it will be if that is known.
   */
  std::function<void(std::uint64_t, std::optional<std::uint64_t>)> progress;
};

/**
 * Reads a stream to its end and applies it (see stream::check_stream_fits() for what is taken). The target's
 * state says that it is being changed before its first byte is, and where it is at only after all of the
 * stream was found to be in order and was written out. Throws Error; a target that was being changed stays so
 * then.
 *
 * The target's size becomes the stream's; a device keeps its own, and what lies behind the stream's size.
 * Needs no device-mapper. For one thread. @return the target's state.
 */
stream::TargetState receive_stream(stream::Source &source, const ReceiveOptions &options);

}  // namespace diffsnap

#endif
