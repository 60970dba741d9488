// SPDX-License-Identifier: GPL-2.0-or-later
// chunk_map_peek() against changes under way, one exact interleaving after the other.
#include <algorithm>
#include <functional>
#include <optional>

#include "catch.h"
#include "support.h"

using namespace kernel_host;

namespace {

// Few chunks of one region, so that each change meets what is there.
constexpr unsigned nr_chunks = 40;
constexpr unsigned longest = 6;

struct Range {
  std::uint64_t chunk;
  unsigned nr;
};

Range random_range(Random &random) {
  const std::uint64_t chunk = random.below(nr_chunks);
  const std::uint64_t room = std::min<std::uint64_t>(longest, nr_chunks - chunk);
  return {chunk, static_cast<unsigned>(1 + random.below(room))};
}

/**
 * Whether @p answer is true of some moment between @p before and @p after, where nothing becomes
 * unsettled.
 */
bool is_true(settled answer, settled before, settled after) {
  switch (answer) {
    case SETTLED_NONE:
      return before == SETTLED_NONE;
    case SETTLED_ALL:
      return after == SETTLED_ALL;
    default:
      return true;
  }
}

/** Calls a function at accesses to shared memory, as an interrupt would. */
class Interrupt {
 public:
  explicit Interrupt(std::function<void()> handler) : handler_(std::move(handler)) {
    shim_set_interrupt([](void *self) { static_cast<Interrupt *>(self)->handler_(); }, this);
  }
  ~Interrupt() { shim_set_interrupt(nullptr, nullptr); }
  Interrupt(const Interrupt &) = delete;
  Interrupt &operator=(const Interrupt &) = delete;

 private:
  std::function<void()> handler_;
};

struct Change {
  std::uint64_t chunk;
  chunk_run run;
};

Change random_change(Random &random, const Model &model) {
  const Range range = random_range(random);
  return {range.chunk, random_run(random, model, range.chunk, range.nr)};
}

}  // namespace

TEST_CASE("A peek that interrupts a change returns, and tells the truth", "[chunk_map][peek]") {
  Random random;
  CAPTURE(seed());
  unsigned long definite = 0;
  unsigned long unsure_only_for_now = 0;

  for (int round = 0; round < 60; round++) {
    Map map(nr_chunks);
    Model before(nr_chunks);
    for (int step = 0; step < 30; step++) {
      const Change change = random_change(random, before);
      Model after = before;
      after.set(change.chunk, change.run);

      bool lied = false;
      {
        Interrupt interrupt([&] {
          // Another CPU could begin only now: what it can find must not have been retired before.
          shim_rcu_barrier();
          for (int i = 0; i < 4; i++) {
            const Range range = random_range(random);
            const settled was = before.peek(range.chunk, range.nr);
            const settled will_be = after.peek(range.chunk, range.nr);
            const settled answer = map.peek(range.chunk, range.nr);
            lied |= !is_true(answer, was, will_be);
            definite += answer != SETTLED_UNSURE;
            unsure_only_for_now += answer == SETTLED_UNSURE && will_be != SETTLED_UNSURE;
          }
        });
        map.set(change.chunk, change.run);
      }
      REQUIRE_FALSE(lied);
      before = after;
    }
    require_equal(map, before, 0);
  }
  // Both occur, or the test has missed its point.
  REQUIRE(definite > 1000);
  REQUIRE(unsure_only_for_now > 1000);
}

TEST_CASE("A change that comes in anywhere in a peek does not mislead it", "[chunk_map][peek]") {
  Random random;
  CAPTURE(seed());
  unsigned long interleavings = 0;

  for (int round = 0; round < 1200; round++) {
    std::vector<Change> history;
    Model before(nr_chunks);
    const std::uint64_t nr = 1 + random.below(20);
    for (std::uint64_t i = 0; i < nr; i++) {
      history.push_back(random_change(random, before));
      before.set(history.back().chunk, history.back().run);
    }
    // Two, so that a node can be replaced and the next one, too.
    Model after = before;
    std::vector<Change> changes;
    for (int i = 0; i < 2; i++) {
      changes.push_back(random_change(random, after));
      after.set(changes.back().chunk, changes.back().run);
    }
    const Range range = random_range(random);
    const settled was = before.peek(range.chunk, range.nr);
    const settled will_be = after.peek(range.chunk, range.nr);

    bool came_in = true;
    for (unsigned when = 0; came_in; when++) {
      Map map(nr_chunks);
      for (const Change &change : history) {
        map.set(change.chunk, change.run);
      }
      unsigned access = 0;
      came_in = false;
      settled answer;
      {
        Interrupt interrupt([&] {
          if (access++ != when) {
            return;
          }
          came_in = true;
          for (const Change &change : changes) {
            map.set(change.chunk, change.run);
          }
        });
        answer = map.peek(range.chunk, range.nr);
      }
      CAPTURE(round, when, range.chunk, range.nr, was, will_be, answer);
      REQUIRE(is_true(answer, was, will_be));
      interleavings++;
    }
  }
  REQUIRE(interleavings > 5000);
}
