// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "catch.h"
#include "support.h"

using namespace kernel_host;

namespace {

constexpr std::uint64_t nr_regions = 96;
constexpr std::uint64_t nr_chunks = nr_regions * REGION_CHUNKS;
constexpr unsigned sets_per_region = 250;

/** What the writer tells: a chunk may be settled from then on, and it is. */
struct Announced {
  std::vector<std::atomic<bool>> may_be = std::vector<std::atomic<bool>>(nr_chunks);
  std::vector<std::atomic<bool>> is = std::vector<std::atomic<bool>>(nr_chunks);
  std::atomic<std::uint64_t> region{0};
  std::atomic<bool> ended{false};
};

struct Tally {
  unsigned long none = 0;
  unsigned long all = 0;
  unsigned long unsure = 0;
  unsigned long missed = 0;
  unsigned long invented = 0;
};

void write(Map &map, Announced &announced, Random &random) {
  for (std::uint64_t region = 0; region < nr_regions; region++) {
    announced.region = region;
    for (unsigned i = 0; i < sets_per_region; i++) {
      const std::uint64_t in_region = random.below(REGION_CHUNKS);
      const std::uint64_t chunk = region * REGION_CHUNKS + in_region;
      const auto nr =
          static_cast<unsigned>(1 + random.below(std::min<std::uint64_t>(i == sets_per_region - 1 ? 400 : 4,
                                                                         REGION_CHUNKS - in_region)));
      const std::uint64_t place = random.one_in(2) ? chunk : random.below(1000000);
      const chunk_run run = random.one_in(4) ? released(nr) : preserved(nr, place);

      for (unsigned j = 0; j < nr; j++) {
        announced.may_be[chunk + j] = true;
      }
      map.set(chunk, run);
      for (unsigned j = 0; j < nr; j++) {
        announced.is[chunk + j] = true;
      }
    }
    // Frees replaced nodes while readers run.
    shim_rcu_barrier();
  }
  announced.ended = true;
}

void read(const Map &map, const Announced &announced, std::uint64_t reader_seed, Tally &tally) {
  std::mt19937_64 random(reader_seed);
  do {
    const std::uint64_t in_region = random() % REGION_CHUNKS;
    const std::uint64_t chunk = announced.region * REGION_CHUNKS + in_region;
    const auto nr =
        static_cast<unsigned>(1 + random() % std::min<std::uint64_t>(3, REGION_CHUNKS - in_region));

    bool any_was = false;
    for (unsigned i = 0; i < nr; i++) {
      any_was |= announced.is[chunk + i];
    }
    const settled answer = map.peek(chunk, nr);
    bool all_may_be = true;
    for (unsigned i = 0; i < nr; i++) {
      all_may_be &= announced.may_be[chunk + i];
    }

    tally.none += answer == SETTLED_NONE;
    tally.all += answer == SETTLED_ALL;
    tally.unsure += answer == SETTLED_UNSURE;
    tally.missed += answer == SETTLED_NONE && any_was;
    tally.invented += answer == SETTLED_ALL && !all_may_be;
  } while (!announced.ended);
}

}  // namespace

TEST_CASE("Readers without a lock never miss and never invent", "[chunk_map][threads]") {
  Random random;
  CAPTURE(seed());
  Map map(nr_chunks);
  Announced announced;
  Tally tallies[2];

  std::vector<std::thread> readers;
  for (Tally &tally : tallies) {
    readers.emplace_back(
        [&, reader_seed = random.below(~std::uint64_t{0})] { read(map, announced, reader_seed, tally); });
  }
  write(map, announced, random);
  for (std::thread &reader : readers) {
    reader.join();
  }

  for (const Tally &tally : tallies) {
    CAPTURE(tally.none, tally.all, tally.unsure);
    CHECK(tally.missed == 0);
    CHECK(tally.invented == 0);
    CHECK(tally.none + tally.all + tally.unsure > 0);
  }
  // In quiet, a chunk by itself is never a matter of doubt.
  for (std::uint64_t chunk = 0; chunk < nr_chunks; chunk++) {
    const settled expected = announced.is[chunk] ? SETTLED_ALL : SETTLED_NONE;
    if (map.peek(chunk, 1) != expected) {
      CAPTURE(chunk);
      FAIL("map and announcement differ");
    }
  }
}
