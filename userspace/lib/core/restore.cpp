// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/restore.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>

#include "base/aligned_buffer.h"

namespace diffsnap {

namespace {

/** Gives two readers the same ranges, whichever is ahead: what is asked for only once cannot differ. */
class SharedRanges {
 public:
  explicit SharedRanges(const ReadAhead::Ranges &ranges) : ranges_(ranges) {}

  [[nodiscard]] ReadAhead::Ranges for_reader(std::size_t reader) {
    return [this, reader] { return next(reader); };
  }

 private:
  std::optional<sys::ByteRange> next(std::size_t reader) {
    std::deque<sys::ByteRange> &waiting = waiting_.at(reader);
    if (waiting.empty() && !ended_) {
      const auto range = ranges_();
      ended_ = !range;
      if (range) {
        for (auto &queue : waiting_) {
          queue.push_back(*range);
        }
      }
    }
    if (waiting.empty()) {
      return std::nullopt;
    }
    const sys::ByteRange first = waiting.front();
    waiting.pop_front();
    return first;
  }

  const ReadAhead::Ranges &ranges_;
  std::array<std::deque<sys::ByteRange>, 2> waiting_;
  bool ended_ = false;
};

/** A run of blocks that differ: where it is, and what is wanted there. */
using Difference = std::function<void(std::uint64_t offset, const unsigned char *data, std::size_t length)>;

/** Finds the differences of two pieces that have the same place. @return how many bytes they are */
std::uint64_t find_differences(const Piece &wanted, const Piece &present, const Difference &difference) {
  std::uint64_t bytes = 0;
  std::size_t begin = 0;  // of a run
  std::size_t end = 0;
  const auto finish = [&] {
    if (begin < end) {
      difference(wanted.offset + begin, wanted.data + begin, end - begin);
      bytes += end - begin;
    }
  };
  for (std::size_t at = 0; at < wanted.length; at += direct_alignment) {
    const std::size_t length = std::min(direct_alignment, wanted.length - at);
    if (std::memcmp(wanted.data + at, present.data + at, length) == 0) {
      continue;
    }
    if (end != at) {
      finish();
      begin = at;
    }
    end = at + length;
  }
  finish();
  return bytes;
}

RestoreTotals go_through(const std::string &wanted_path, const std::string &present_path,
                         const ReadAhead::Ranges &ranges, unsigned threads, const Difference &difference,
                         const RestoreProgress &progress) {
  RestoreTotals totals;
  SharedRanges shared(ranges);
  ReadAhead wanted_reader(wanted_path, shared.for_reader(0), threads);
  ReadAhead present_reader(present_path, shared.for_reader(1), threads);
  while (const Piece *wanted = wanted_reader.next()) {
    // Both cut the same ranges in the same way.
    const Piece &present = *present_reader.next();
    totals.different += find_differences(*wanted, present, difference);
    totals.compared += wanted->length;
    if (progress) {
      progress(totals);
    }
  }
  return totals;
}

}  // namespace

RestoreTotals compare_ranges(const std::string &wanted, const std::string &present,
                             const ReadAhead::Ranges &ranges, unsigned threads,
                             const RestoreProgress &progress) {
  const Difference nothing = [](std::uint64_t, const unsigned char *, std::size_t) {};
  return go_through(wanted, present, ranges, threads, nothing, progress);
}

RestoreTotals restore_ranges(const std::string &wanted, const std::string &present, sys::TargetFile &target,
                             const ReadAhead::Ranges &ranges, unsigned threads,
                             const RestoreProgress &progress) {
  const Difference write = [&](std::uint64_t offset, const unsigned char *data, std::size_t length) {
    target.write(offset, data, length);
  };
  return go_through(wanted, present, ranges, threads, write, progress);
}

}  // namespace diffsnap
