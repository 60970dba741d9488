// SPDX-License-Identifier: GPL-2.0-or-later
#include <atomic>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <vector>

#include "catch.h"
#include "support.h"

using namespace kernel_host;

namespace {

constexpr std::uint64_t nr_blocks = 3 * LEAF_BLOCKS;
constexpr unsigned nr_cuts = 300;

/** Writers pass it together, the cut alone: the gate. */
struct Shared {
  change_map map;
  std::mutex lock;
  std::shared_mutex gate;
  /** The newest interval in which each block was written. */
  std::vector<std::atomic<std::uint64_t>> written = std::vector<std::atomic<std::uint64_t>>(nr_blocks);
  std::atomic<bool> ended{false};
};

/** As an origin's writes do: a look without the lock, then the lock. */
void write(Shared &shared, std::uint64_t writer_seed, unsigned long &fast) {
  std::mt19937_64 random(writer_seed);
  while (!shared.ended) {
    const std::uint64_t first = random() % nr_blocks;
    const std::uint64_t last = std::min(first + random() % 4, nr_blocks - 1);
    const std::shared_lock let_in(shared.gate);
    rcu_read_lock();
    const bool marked = change_map_marked(&shared.map, first, last);
    rcu_read_unlock();
    if (!marked) {
      const std::lock_guard lock(shared.lock);
      change_map_mark(&shared.map, first, last);
    }
    fast += marked;
    for (std::uint64_t block = first; block <= last; block++) {
      shared.written[block] = shared.map.number;
    }
  }
}

/** Tells of intervals before, as the tool does after the device is in use already. */
void load_past(Shared &shared, Random &random) {
  constexpr std::uint64_t past = 300;
  {
    const std::lock_guard lock(shared.lock);
    change_map_set_past(&shared.map, past);
  }
  for (unsigned i = 0; i < 20000; i++) {
    const std::uint64_t first = random.below(nr_blocks);
    const std::lock_guard lock(shared.lock);
    change_map_load(&shared.map, first, std::min(first + random.below(8), nr_blocks - 1),
                    shared.map.forgotten + 1 + random.below(past));
  }
}

}  // namespace

TEST_CASE("Writers that look without a lock leave no block unmarked", "[change_map][threads]") {
  Random random;
  CAPTURE(seed());
  static const int cache = change_map_module_init();
  REQUIRE(cache == 0);
  Shared shared;
  change_map_init(&shared.map);
  REQUIRE(change_map_install(&shared.map, change_slots_alloc(nr_blocks, GFP_KERNEL)) == nullptr);

  unsigned long fast[2] = {};
  std::vector<std::thread> writers;
  for (unsigned long &counter : fast) {
    writers.emplace_back(
        [&, writer_seed = random.below(~std::uint64_t{0})] { write(shared, writer_seed, counter); });
  }
  load_past(shared, random);
  unsigned long missed = 0;
  for (unsigned i = 0; i < nr_cuts; i++) {
    std::this_thread::yield();
    std::vector<std::uint64_t> written(nr_blocks);
    {
      const std::unique_lock closed(shared.gate);
      for (std::uint64_t block = 0; block < nr_blocks; block++) {
        written[block] = shared.written[block];
      }
      change_map_cut(&shared.map);
    }
    for (std::uint64_t block = 0; block < nr_blocks;) {
      const std::lock_guard lock(shared.lock);
      change_run run;
      change_map_lookup(&shared.map, block, &run);
      for (std::uint64_t end = std::min(block + run.nr, nr_blocks); block < end; block++) {
        missed += run.number < written[block];
      }
    }
    const std::lock_guard lock(shared.lock);
    REQUIRE(change_map_end_view(&shared.map, 0) == change_map_capacity(&shared.map));
  }
  shared.ended = true;
  for (std::thread &writer : writers) {
    writer.join();
  }
  CHECK(missed == 0);
  CHECK(fast[0] + fast[1] > 0);
  change_map_destroy(&shared.map);
  shim_rcu_barrier();
}
