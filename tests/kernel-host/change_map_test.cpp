// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>
#include <iostream>
#include <memory>
#include <vector>

#include "catch.h"
#include "support.h"

using namespace kernel_host;

namespace {

/** Intervals that the map keeps exact. */
constexpr std::uint64_t exact = 127;

/** A change map beside what it should know, block by block. */
class Tested {
 public:
  explicit Tested(std::uint64_t nr_blocks) : now_(nr_blocks) {
    static const int cache = change_map_module_init();
    REQUIRE(cache == 0);
    change_map_init(&map_);
    grow(nr_blocks);
  }
  ~Tested() {
    change_map_destroy(&map_);
    shim_rcu_barrier();
    if (map_.nr_leaves != 0) {
      std::abort();
    }
  }
  Tested(const Tested &) = delete;
  Tested &operator=(const Tested &) = delete;

  change_map *get() { return &map_; }
  std::uint64_t size() const { return now_.size(); }
  std::uint64_t number() const { return map_.number; }

  void grow(std::uint64_t nr_blocks) {
    change_slots *slots = change_slots_alloc(nr_blocks, GFP_KERNEL);
    REQUIRE(slots != nullptr);
    if (change_slots *old = change_map_install(&map_, slots)) {
      change_slots_free_rcu(old);
    }
    now_.resize(nr_blocks);
    if (!view_.empty()) {
      view_.resize(nr_blocks);
    }
  }

  void mark(std::uint64_t first, std::uint64_t last) {
    change_map_mark(&map_, first, last);
    std::fill(now_.begin() + static_cast<long>(first), now_.begin() + static_cast<long>(last) + 1,
              map_.number);
  }

  void mark_view(std::uint64_t first, std::uint64_t last) {
    change_map_mark_view(&map_, first, last);
    std::fill(now_.begin() + static_cast<long>(first), now_.begin() + static_cast<long>(last) + 1,
              map_.number);
    if (!view_.empty()) {
      std::fill(view_.begin() + static_cast<long>(first), view_.begin() + static_cast<long>(last) + 1,
                map_.view);
    }
  }

  void cut() {
    end_view();
    view_ = now_;
    change_map_cut(&map_);
  }

  /** As if so many intervals had been before. */
  void set_past(std::uint64_t nr) { change_map_set_past(&map_, nr); }

  /** @param number  of the past: 1 is its oldest */
  void load(std::uint64_t first, std::uint64_t last, std::uint64_t number) {
    change_map_load(&map_, first, last, map_.forgotten + number);
    for (std::uint64_t block = first; block <= last; block++) {
      now_[block] = std::max(now_[block], map_.forgotten + number);
    }
  }

  void end_view() {
    for (std::uint64_t block = 0; block < change_map_capacity(&map_);) {
      block = change_map_end_view(&map_, block);
    }
    view_.clear();
  }

  void forget() {
    end_view();
    change_map_forget(&map_);
    for (std::uint64_t block = 0; block < change_map_capacity(&map_);) {
      block = change_map_trim(&map_, block);
    }
    std::fill(now_.begin(), now_.end(), 0);
  }

  bool marked(std::uint64_t first, std::uint64_t last) const {
    rcu_read_lock();
    const bool marked = change_map_marked(&map_, first, last);
    rcu_read_unlock();
    return marked;
  }

  /** What the map says of each block. */
  std::vector<std::uint64_t> numbers() const {
    std::vector<std::uint64_t> numbers;
    while (numbers.size() < size()) {
      change_run run;
      change_map_lookup(&map_, numbers.size(), &run);
      if (run.nr == 0) {
        FAIL("an empty run");
      }
      numbers.insert(numbers.end(), std::min(run.nr, size() - numbers.size()), run.number);
    }
    return numbers;
  }

  /** Never too few blocks; and not too many, if @p exactly, after the newest numbers. */
  void require_equal(bool exactly = true) const {
    const std::vector<std::uint64_t> &expected = view_.empty() ? now_ : view_;
    const std::uint64_t newest = view_.empty() ? map_.number : map_.view;
    const std::uint64_t merged = newest > exact ? newest - exact : 0;
    const std::vector<std::uint64_t> found = numbers();
    for (std::uint64_t i = 0; i < size(); i++) {
      const bool right = exactly ? found[i] == expected[i] ||
                                       (found[i] > expected[i] && expected[i] > 0 && found[i] <= merged)
                                 : found[i] >= expected[i] && found[i] <= newest;
      if (!right) {
        CAPTURE(i, found[i], expected[i], newest);
        FAIL("map and model differ");
      }
    }
    if (!view_.empty()) {
      require_newer(exactly);
    }
  }

  /** The same for what was marked after the cut. */
  void require_newer(bool exactly) const {
    for (std::uint64_t block = 0; block < size();) {
      change_run run;
      change_map_lookup_newer(&map_, block, &run);
      if (run.nr == 0) {
        FAIL("an empty run");
      }
      for (const std::uint64_t end = std::min(block + run.nr, size()); block < end; block++) {
        const bool found = run.number != 0;
        const bool expected = now_[block] > map_.view;
        if (exactly ? found != expected : expected && !found) {
          CAPTURE(block, found, now_[block], map_.view);
          FAIL("map and model differ after the cut");
        }
      }
    }
  }

 private:
  change_map map_;
  std::vector<std::uint64_t> now_;
  std::vector<std::uint64_t> view_;
};

constexpr std::uint64_t some_blocks = 5 * LEAF_BLOCKS + 77;

struct Range {
  std::uint64_t first, last;
};

Range random_range(Random &random, std::uint64_t size) {
  const std::uint64_t first = random.below(size);
  const std::uint64_t length = random.one_in(10) ? 1 + random.below(3 * LEAF_BLOCKS) : 1 + random.below(16);
  return {first, std::min(first + length, size) - 1};
}

}  // namespace

TEST_CASE("An empty change map", "[change_map]") {
  Tested map(some_blocks);
  map.require_equal();
  REQUIRE(map.get()->nr_leaves == 0);
  REQUIRE_FALSE(map.marked(0, 0));
  map.cut();
  map.require_equal();
  REQUIRE(map.get()->nr_leaves == 0);
}

TEST_CASE("What is marked twice needs no lock the second time", "[change_map]") {
  Tested map(some_blocks);
  map.mark(5, 9);
  REQUIRE(map.marked(5, 9));
  REQUIRE(map.marked(7, 7));
  REQUIRE_FALSE(map.marked(4, 9));
  REQUIRE_FALSE(map.marked(9, 10));
  map.cut();
  REQUIRE_FALSE(map.marked(5, 9));
  map.mark(5, 5);
  REQUIRE(map.marked(5, 5));
  REQUIRE_FALSE(map.marked(5, 6));
}

TEST_CASE("A large mark takes no memory", "[change_map]") {
  Tested map(some_blocks);
  map.mark(0, 5 * LEAF_BLOCKS - 1);
  REQUIRE(map.get()->nr_leaves == 0);
  REQUIRE(map.marked(LEAF_BLOCKS, LEAF_BLOCKS + 5));
  map.cut();
  map.mark(3, 3);
  map.require_equal();
  map.end_view();
  map.require_equal();
  map.mark(0, 5 * LEAF_BLOCKS - 1);
  map.require_equal();
  REQUIRE(map.get()->nr_leaves == 0);
}

TEST_CASE("The view stays as it was at the cut", "[change_map]") {
  Tested map(some_blocks);
  map.mark(10, 20);
  map.cut();
  const auto before = map.numbers();
  map.mark(15, 3000);
  map.mark(0, some_blocks - 1);
  REQUIRE(map.numbers() == before);
  map.require_equal();
  map.mark_view(100, 101);
  map.mark_view(12, 12);
  map.mark_view(LEAF_BLOCKS - 1, 2 * LEAF_BLOCKS);
  map.require_equal();
  map.end_view();
  map.require_equal();
}

TEST_CASE("Without memory, more is marked, never less", "[change_map]") {
  Tested map(some_blocks);
  map.mark(10, 20);
  map.cut();
  shim_fail_allocations_after(0);
  map.mark(15, 16);
  map.mark(2 * LEAF_BLOCKS, 2 * LEAF_BLOCKS);
  map.mark_view(3 * LEAF_BLOCKS, 3 * LEAF_BLOCKS);
  shim_fail_allocations_after(-1);
  map.require_equal(false);
  REQUIRE(map.numbers()[LEAF_BLOCKS] == 0);
  map.cut();
  map.mark(17, 17);
  map.require_equal(false);
  map.end_view();
  map.require_equal(false);
}

TEST_CASE("Old numbers merge, new ones stay exact", "[change_map]") {
  Tested map(some_blocks);
  for (std::uint64_t i = 0; i < 1000; i++) {
    map.mark(i % 400, i % 400);
    map.mark(LEAF_BLOCKS, LEAF_BLOCKS);
    if (i % 300 == 0) {
      map.mark(3 * LEAF_BLOCKS, 4 * LEAF_BLOCKS - 1);
    }
    map.cut();
    if (i % 10 == 0) {
      map.require_equal();
    }
  }
  REQUIRE(map.get()->nr_leaves <= 4);
}

TEST_CASE("A new generation knows nothing, and gives its memory back", "[change_map]") {
  Tested map(some_blocks);
  map.mark(1, 4000);
  map.cut();
  map.mark(3, 3);
  map.forget();
  map.require_equal();
  REQUIRE(map.get()->nr_leaves == 0);
  map.mark(3, 3);
  map.cut();
  map.mark(4, 4);
  map.require_equal();
}

TEST_CASE("Room that is added was never written", "[change_map]") {
  Tested map(some_blocks);
  map.mark(0, some_blocks - 1);
  map.cut();
  map.mark(1, 1);
  map.grow(some_blocks + 2 * LEAF_BLOCKS);
  map.mark(some_blocks + LEAF_BLOCKS, some_blocks + LEAF_BLOCKS);
  map.end_view();
  map.mark(3, 3);
  const auto numbers = map.numbers();
  REQUIRE(numbers[3] == FIRST_INTERVAL + 1);
  REQUIRE(numbers[some_blocks + LEAF_BLOCKS] == FIRST_INTERVAL + 1);
  REQUIRE(numbers[some_blocks + LEAF_BLOCKS + 1] == 0);
}

TEST_CASE("A past that is loaded", "[change_map]") {
  Tested map(some_blocks);
  map.mark(10, 20);
  map.mark(3 * LEAF_BLOCKS, 4 * LEAF_BLOCKS - 1);
  map.set_past(5);
  map.require_equal();
  REQUIRE(map.numbers()[10] == FIRST_INTERVAL);
  map.load(15, 30, 3);
  map.load(0, 12, 5);
  map.load(31, 31, 6);
  map.load(LEAF_BLOCKS, 3 * LEAF_BLOCKS + 4, 1);
  map.load(2 * LEAF_BLOCKS, 2 * LEAF_BLOCKS, 4);
  map.require_equal();
  REQUIRE(map.numbers()[0] == map.number() - 1);
  REQUIRE(map.marked(15, 20));
  REQUIRE(map.marked(31, 31));
  REQUIRE_FALSE(map.marked(14, 21));
  REQUIRE_FALSE(map.marked(0, 0));
  map.cut();
  map.mark(0, 0);
  map.require_equal();
  map.end_view();
  map.require_equal();
}

TEST_CASE("Of a long past, the newest numbers stay exact", "[change_map]") {
  Tested map(LEAF_BLOCKS);
  map.set_past(1000);
  for (std::uint64_t number = 1; number <= 1000; number++) {
    map.load(number, number, number);
  }
  map.require_equal();
  REQUIRE(map.numbers()[1] > 0);
  REQUIRE(map.numbers()[800] == map.number() - 201);
  map.cut();
  map.mark(0, 0);
  map.end_view();
  map.require_equal();
}

TEST_CASE("A past that there is no memory for is told as newer", "[change_map]") {
  Tested map(some_blocks);
  map.set_past(5);
  map.load(1, 1, 2);
  shim_fail_allocations_after(0);
  map.load(5, 6, 3);
  map.load(LEAF_BLOCKS + 5, LEAF_BLOCKS + 6, 3);
  shim_fail_allocations_after(-1);
  map.load(LEAF_BLOCKS + 9, LEAF_BLOCKS + 9, 3);
  map.mark(2, 2);
  map.require_equal(false);
  REQUIRE(map.numbers()[5] == map.number() - 3);
}

TEST_CASE("A past is loaded while writes are marked", "[change_map]") {
  Random random;
  CAPTURE(seed());
  const bool failing = GENERATE(false, true);
  Tested map(some_blocks);
  const std::uint64_t past = GENERATE(1, 100, 400);
  bool begun = false;
  for (unsigned i = 0; i < 4000; i++) {
    const Range range = random_range(random, map.size());
    if (failing) {
      shim_fail_allocations_after(random.one_in(4) ? 0 : -1);
    }
    if (i == 200) {
      map.set_past(past);
      begun = true;
    }
    if (begun && random.below(4) != 0) {
      map.load(range.first, range.last, 1 + random.below(past + 1));
    } else if (random.one_in(8)) {
      map.mark(range.first, range.last);
    }
    shim_fail_allocations_after(-1);
    const Range asked = random_range(random, map.size());
    if (map.marked(asked.first, asked.last)) {
      const auto numbers = map.numbers();
      REQUIRE(std::all_of(numbers.begin() + static_cast<long>(asked.first),
                          numbers.begin() + static_cast<long>(asked.last) + 1,
                          [&](std::uint64_t number) { return number == map.number(); }));
    }
    if (i % 50 == 0) {
      map.require_equal(!failing);
      shim_rcu_barrier();
    }
  }
  map.cut();
  map.mark(7, 3 * LEAF_BLOCKS);
  map.require_equal(!failing);
  map.end_view();
  map.require_equal(!failing);
}

TEST_CASE("Random marks, cuts and ends agree with the model", "[change_map]") {
  Random random;
  CAPTURE(seed());
  const bool failing = GENERATE(false, true);
  Tested map(some_blocks);
  for (unsigned i = 0; i < 20000; i++) {
    const Range range = random_range(random, map.size());
    if (failing) {
      shim_fail_allocations_after(random.one_in(4) ? 0 : -1);
    }
    switch (random.below(40)) {
      case 0:
        map.cut();
        break;
      case 1:
        map.end_view();
        break;
      case 2:
      case 3:
      case 4:
        map.mark_view(range.first, range.last);
        break;
      default:
        map.mark(range.first, range.last);
        break;
    }
    if (random.one_in(2000)) {
      map.forget();
    }
    shim_fail_allocations_after(-1);
    if (i % 50 == 0) {
      map.require_equal(!failing);
      shim_rcu_barrier();
    }
    // A yes without the lock is never wrong.
    const Range asked = random_range(random, map.size());
    if (map.marked(asked.first, asked.last)) {
      Tested *const self = &map;
      const auto view = self->get()->view;
      self->get()->view = 0;
      const auto numbers = self->numbers();
      self->get()->view = view;
      for (std::uint64_t block = asked.first; block <= asked.last; block++) {
        if (numbers[block] != map.number()) {
          CAPTURE(block, numbers[block], map.number());
          FAIL("marked, it says");
        }
      }
    }
  }
}

TEST_CASE("Memory per device", "[change_map][memory]") {
  Random random;
  // 1 TiB in blocks of 64 KiB, 1 % of them written at random: every leaf is touched.
  constexpr std::uint64_t nr_blocks = (std::uint64_t{1} << 40) >> 16;
  Tested map(nr_blocks);
  for (std::uint64_t i = 0; i < nr_blocks / 100; i++) {
    const std::uint64_t block = random.below(nr_blocks);
    change_map_mark(map.get(), block, block);
  }
  REQUIRE(map.get()->nr_leaves <= nr_blocks / LEAF_BLOCKS);
  std::cout << "change map of 1 TiB, 1 % at random: " << map.get()->nr_leaves << " leaves of "
            << nr_blocks / LEAF_BLOCKS << '\n';
}
