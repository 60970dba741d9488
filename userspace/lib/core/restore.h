// SPDX-License-Identifier: GPL-2.0-or-later
/** @file Makes ranges of a device equal to another one, writing no more than what differs. */
#ifndef DIFFSNAP_CORE_RESTORE_H
#define DIFFSNAP_CORE_RESTORE_H

#include <cstdint>
#include <functional>
#include <string>

#include "core/read_ahead.h"
#include "sys/target_file.h"

namespace diffsnap {

/** Bytes. */
struct RestoreTotals {
  std::uint64_t compared = 0;
  /** What differed: it was written, or, where nothing is, would have to be. */
  std::uint64_t different = 0;
};

/** Called after each piece with what was done up to then. May be empty. */
using RestoreProgress = std::function<void(const RestoreTotals &)>;

/**
 * Reads ranges of both and compares them block by block of 4 KiB. Throws Error. @param ranges  ascending, in
 * whole such blocks but for the last one, which may end with the devices
 */
RestoreTotals compare_ranges(const std::string &wanted, const std::string &present,
                             const ReadAhead::Ranges &ranges, unsigned threads,
                             const RestoreProgress &progress);

/**
 * Likewise, and writes the blocks of @p wanted that differ. Blocks that are equal are never written: a
 * snapshot that holds the target has no copy of them, and would need room for one.
 *
 * @param present  the path of @p target
 */
RestoreTotals restore_ranges(const std::string &wanted, const std::string &present, sys::TargetFile &target,
                             const ReadAhead::Ranges &ranges, unsigned threads,
                             const RestoreProgress &progress);

}  // namespace diffsnap

#endif
