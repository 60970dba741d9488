// SPDX-License-Identifier: GPL-2.0-or-later
//
// History: which contents a reader of a device may find in each sector.
//
// Every write has two moments, taken from one clock that all threads share:
// before it was submitted and after it was completed. A look at the device is
// an interval, too: [from, until]. It may find the write W in a sector unless
//   - W began after the look ended, or
//   - another write to the sector began after W had ended, and ended itself
//     before the look began: then W was overwritten.
// Writes that overlap in time may be found in any order; that is all that a
// block device promises. It may find a mixture of them, too, even in one sector:
// disks made of memory or of a file's cached pages copy a request byte by byte
// while they serve another.
//
// The cut of a snapshot is such a look, at all sectors of all origins, with
// the interval from before the message was sent until it returned.
#pragma once

#include "stamp.h"

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace oracle {

using Time = std::uint64_t;

constexpr Time time_never = ~Time{0};

// The clock, and who still looks at what was: records that a look in progress
// may need are not forgotten.
class Clock {
 public:
  Time tick() { return now_.fetch_add(1) + 1; }

  // All looks in progress, and all to come, begin at or after this moment.
  Time horizon() const;

 private:
  friend class Look;

  static constexpr std::size_t slots = 1024;

  std::atomic<Time> now_{1};
  std::array<std::atomic<Time>, slots> looks_{};
};

// A look at a device; from its construction until finish().
class Look {
 public:
  explicit Look(Clock &clock);
  ~Look();
  Look(const Look &) = delete;
  Look &operator=(const Look &) = delete;

  Time from() const { return from_; }

  Time until() const { return until_; }

  void finish() { until_ = clock_.tick(); }

 private:
  Clock &clock_;
  std::size_t slot_;
  Time from_;
  Time until_ = time_never;
};

enum class Effect {
  certain,    // after its end, the content is there
  uncertain,  // it may be there, or what was before, sector by sector
};

// A write in flight: what end() needs.
struct Ticket {
  std::uint64_t sector = 0;
  std::uint64_t count = 0;
  Time start = 0;
};

struct Mismatch {
  std::uint64_t sector = 0;
  Content found = 0;
  std::vector<Content> acceptable;
  std::string details;
};

class History {
 public:
  History(Clock &clock, std::uint64_t sectors);

  std::uint64_t sectors() const { return sectors_; }

  // Known contents of a device that nobody writes to: forget all else.
  void set_base(std::uint64_t sector, const Content *contents, std::uint64_t count);
  void set_base(std::uint64_t sector, Content content, std::uint64_t count);

  // To be called before a write is submitted, and after it was completed.
  // first_write marks it for count_overlaps().
  Ticket begin(std::uint64_t sector, std::uint64_t count, Content content, Effect effect = Effect::certain,
               bool first_write = false);
  void end(const Ticket &ticket, bool succeeded = true);

  // Whether contents that were found during the look are acceptable. An
  // ambiguous base is pinned to what was found first: from then on nothing
  // else is acceptable. content_mixed is for the caller to have judged.
  bool check(std::uint64_t sector, const Content *found, std::uint64_t count, const Look &look,
             Mismatch *mismatch);

  // All that a look may find in one sector.
  std::vector<Content> acceptable(std::uint64_t sector, const Look &look) const;

  // What this device may hold during the look becomes the base of another
  // history: of the image, if the look is the cut.
  void fork_to(History &image, const Look &cut) const;

  // Writes to the range that overlapped the look in time.
  struct Overlaps {
    bool any = false;
    bool first = false;
  };
  Overlaps overlaps(std::uint64_t sector, std::uint64_t count, const Look &look) const;

  // Sectors whose base has more than one acceptable content.
  std::uint64_t ambiguous_sectors() const;

 private:
  static constexpr unsigned region_sectors = 128;
  static constexpr std::size_t locks = 512;

  struct Record {
    Time start;
    Time end;
    Content content;
    std::uint8_t first;  // in the region
    std::uint8_t last;   // inclusive
    bool certain;
    bool first_write;
  };

  struct Region {
    std::vector<Record> records;
    std::size_t prune_at = 32;
    // contents of sectors whose base is content_ambiguous
    std::unique_ptr<std::unordered_map<unsigned, std::vector<Content>>> ambiguous;
  };

  using Superseded = std::array<Time, region_sectors>;

  std::mutex &lock_of(std::uint64_t region) const { return locks_[region % locks]; }

  void prune(Region &region);
  static void superseded_before(const Region &region, Time from, Superseded &out);
  void acceptable_locked(std::uint64_t region, unsigned offset, const Superseded &superseded,
                         const Look &look, std::vector<Content> &out) const;
  std::string describe_locked(std::uint64_t region, unsigned offset, const Look &look) const;
  template <typename Function>
  void for_regions(std::uint64_t sector, std::uint64_t count, Function function) const;

  Clock &clock_;
  std::uint64_t sectors_;
  std::vector<Content> base_;
  mutable std::vector<Region> regions_;
  mutable std::array<std::mutex, locks> locks_;
};

}  // namespace oracle
