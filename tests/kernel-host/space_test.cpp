// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>
#include <cerrno>
#include <optional>
#include <vector>

#include "catch.h"
#include "support.h"

using namespace kernel_host;

namespace {

/** As many freed extents as one allocation looks at, at least. */
constexpr std::size_t within_reach = 32;

class Space {
 public:
  explicit Space(std::uint64_t nr_places) { space_init(&space_, nr_places); }
  ~Space() { space_destroy(&space_); }
  Space(const Space &) = delete;
  Space &operator=(const Space &) = delete;

  space *get() { return &space_; }
  struct Taken {
    std::uint64_t place;
    unsigned nr;
  };
  Taken alloc(unsigned want) {
    place_t place = to_place(~std::uint64_t{0});
    const unsigned nr = space_alloc(&space_, want, &place);
    return {from_place(place), nr};
  }
  void free(std::uint64_t place, unsigned nr) { space_free(&space_, to_place(place), nr); }

 private:
  space space_;
};

enum class Use { never, used, freed, lost };

std::uint64_t count(const std::vector<Use> &places, Use use) {
  return static_cast<std::uint64_t>(std::count(places.begin(), places.end(), use));
}

/** Lengths of the freed extents. */
std::vector<std::uint64_t> freed_lengths(const std::vector<Use> &places) {
  std::vector<std::uint64_t> lengths;
  for (std::size_t i = 0; i < places.size(); i++) {
    if (places[i] != Use::freed) {
      continue;
    }
    if (i == 0 || places[i - 1] != Use::freed) {
      lengths.push_back(0);
    }
    lengths.back()++;
  }
  return lengths;
}

void require_counts(Space &space, const std::vector<Use> &places) {
  REQUIRE(space.get()->nr_freed == count(places, Use::freed));
  REQUIRE(space.get()->nr_lost == count(places, Use::lost));
  REQUIRE(space_available(space.get()) == count(places, Use::freed) + count(places, Use::never));
  REQUIRE(space_used(space.get()) == count(places, Use::used) + count(places, Use::lost));
}

}  // namespace

TEST_CASE("The log is filled from the front, freed or not", "[space]") {
  Space space(100);
  REQUIRE(space.alloc(0).nr == 0);
  for (unsigned i = 0; i < 9; i++) {
    const auto taken = space.alloc(10);
    REQUIRE(taken.nr == 10);
    REQUIRE(taken.place == 10 * i);
    space.free(taken.place, 5);
  }
  // The rest of the log goes before what was freed, even if it is short.
  const auto rest = space.alloc(20);
  REQUIRE(rest.place == 90);
  REQUIRE(rest.nr == 10);
  REQUIRE(space_available(space.get()) == 45);
  REQUIRE(space.alloc(10).nr == 5);
}

TEST_CASE("Freed extents are used again in ascending order", "[space]") {
  Space space(100);
  REQUIRE(space.alloc(100).nr == 100);
  REQUIRE(space.alloc(1).nr == 0);

  for (const std::uint64_t place : {60, 20, 40, 80}) {
    space.free(place, 4);
  }
  REQUIRE(space.alloc(2).place == 20);
  REQUIRE(space.alloc(4).place == 40);
  // Behind the cursor, so not yet.
  space.free(10, 4);
  REQUIRE(space.alloc(4).place == 60);
  REQUIRE(space.alloc(4).place == 80);
  REQUIRE(space.alloc(4).place == 10);
  REQUIRE(space.alloc(4).place == 22);
  REQUIRE(space.alloc(4).nr == 0);
  REQUIRE(space_used(space.get()) == 100);
}

TEST_CASE("The first that is long enough is taken, else the longest", "[space]") {
  Space space(1000);
  REQUIRE(space.alloc(1000).nr == 1000);
  space.free(100, 3);
  space.free(200, 9);
  space.free(300, 12);
  REQUIRE(space.alloc(8).place == 200);
  // Now 100+3, 208+1, 300+12.
  const auto longest = space.alloc(50);
  REQUIRE(longest.place == 300);
  REQUIRE(longest.nr == 12);
  REQUIRE(space.alloc(50).place == 100);
}

TEST_CASE("A crumbled store costs bounded time", "[space]") {
  Space space(100000);
  REQUIRE(space.alloc(100000).nr == 100000);
  for (unsigned i = 0; i < 1000; i++) {
    space.free(10 * i, 1);
  }
  space.free(50000, 8);
  // The long one is out of reach, and comes nearer with each that is taken.
  unsigned nr = 0;
  while (space.alloc(8).nr == 1) {
    nr++;
  }
  REQUIRE(nr > 900);
  REQUIRE(nr < 1000);
}

TEST_CASE("Neighbours merge when they are given back", "[space]") {
  Space space(30);
  REQUIRE(space.alloc(30).nr == 30);
  const unsigned long allocations = shim_nr_allocations();

  space.free(0, 10);
  space.free(20, 10);
  REQUIRE(shim_nr_allocations() == allocations + 2);
  SECTION("both at once") {
    space.free(10, 10);
  }
  SECTION("to the left, then both") {
    space.free(10, 3);
    space.free(13, 7);
  }
  SECTION("to the right, then both") {
    space.free(17, 3);
    space.free(10, 7);
  }
  REQUIRE(shim_nr_allocations() == allocations + 2);
  REQUIRE(space.alloc(30).nr == 30);
}

TEST_CASE("Giving back what is free is warned of and ignored", "[space]") {
  Space space(100);
  REQUIRE(space.alloc(50).nr == 50);
  space.free(10, 10);
  space.free(30, 10);

  const struct {
    std::uint64_t place;
    unsigned nr;
  } bad[] = {{10, 10}, {9, 2}, {19, 1}, {19, 12}, {5, 40}, {49, 2}, {50, 1}, {~std::uint64_t{0}, 2}};
  for (const auto &[place, nr] : bad) {
    CAPTURE(place, nr);
    shim_expect_warnings(true);
    space.free(place, nr);
    CHECK(shim_expect_warnings(false) == 1);
    CHECK(space.get()->nr_freed == 20);
  }
  space.free(20, 0);
  space.free(49, 1);
  space.free(20, 10);
  CHECK(space.get()->nr_freed == 31);
}

TEST_CASE("Without memory the place is lost, and only then", "[space]") {
  Space space(100);
  REQUIRE(space.alloc(100).nr == 100);
  space.free(10, 10);

  shim_set_atomic(true);
  shim_fail_allocations_after(0);
  space.free(50, 5);
  CHECK(space.get()->nr_lost == 5);
  // What touches another extent needs no memory.
  space.free(20, 10);
  space.free(5, 5);
  shim_fail_allocations_after(-1);
  shim_set_atomic(false);

  CHECK(space.get()->nr_lost == 5);
  CHECK(space.get()->nr_freed == 25);
  CHECK(space_available(space.get()) == 25);
  CHECK(space_used(space.get()) == 75);
  CHECK(space.alloc(100).nr == 25);
  CHECK(space.alloc(100).nr == 0);
}

TEST_CASE("A store that grows goes on at its old end", "[space]") {
  Space space(10);
  REQUIRE(space.alloc(10).nr == 10);
  space.free(3, 2);
  REQUIRE(space_grow(space.get(), 9) == -EINVAL);
  REQUIRE(space.get()->nr_places == 10);
  REQUIRE(space_grow(space.get(), 10) == 0);
  REQUIRE(space_grow(space.get(), 20) == 0);
  REQUIRE(space_available(space.get()) == 12);
  const auto taken = space.alloc(15);
  REQUIRE(taken.place == 10);
  REQUIRE(taken.nr == 10);
  REQUIRE(space.alloc(15).place == 3);

  space_destroy(space.get());
  REQUIRE(space_available(space.get()) == 0);
  REQUIRE(space.alloc(1).nr == 0);
}

TEST_CASE("Random use of a store agrees with a model", "[space]") {
  Random random;
  CAPTURE(seed());

  for (int round = 0; round < 40; round++) {
    const std::uint64_t first_size = 1 + random.below(600);
    Space space(first_size);
    std::vector<Use> places(first_size, Use::never);
    const std::uint64_t frees_in_10 = 3 + random.below(5);

    for (int step = 0; step < 500; step++) {
      if (random.one_in(200)) {
        places.resize(places.size() + random.below(50), Use::never);
        REQUIRE(space_grow(space.get(), places.size()) == 0);
      } else if (random.below(10) < frees_in_10) {
        const std::uint64_t place = random.below(places.size());
        std::uint64_t nr = 0;
        while (nr < 20 && place + nr < places.size() && places[place + nr] == Use::used) {
          nr++;
        }
        if (nr == 0) {
          continue;
        }
        const bool fails = random.one_in(50);
        const bool touches = (place > 0 && places[place - 1] == Use::freed) ||
                             (place + nr < places.size() && places[place + nr] == Use::freed);
        shim_fail_allocations_after(fails ? 0 : -1);
        space.free(place, static_cast<unsigned>(nr));
        shim_fail_allocations_after(-1);
        std::fill_n(places.begin() + static_cast<long>(place), nr,
                    fails && !touches ? Use::lost : Use::freed);
      } else {
        const auto want = static_cast<unsigned>(1 + random.below(30));
        const auto lengths = freed_lengths(places);
        const std::uint64_t never = count(places, Use::never);
        const auto taken = space.alloc(want);
        const std::uint64_t longest = lengths.empty() ? 0 : *std::max_element(lengths.begin(), lengths.end());
        if (never > 0) {
          REQUIRE(taken.nr == std::min<std::uint64_t>(want, never));
          REQUIRE(taken.place == places.size() - never);
        } else if (lengths.size() <= within_reach) {
          REQUIRE(taken.nr == std::min<std::uint64_t>(want, longest));
        } else {
          REQUIRE(taken.nr >= 1);
          REQUIRE(taken.nr <= want);
        }
        for (unsigned i = 0; i < taken.nr; i++) {
          const Use use = places.at(taken.place + i);
          REQUIRE((use == Use::never || use == Use::freed));
          places[taken.place + i] = Use::used;
        }
      }
      require_counts(space, places);
    }
  }
}
