// SPDX-License-Identifier: GPL-2.0-or-later
#include <cerrno>

#include "catch.h"
#include "support.h"

using namespace kernel_host;

namespace {

constexpr std::uint64_t max_place = (std::uint64_t{1} << 44) - 2;

/** Chunks, with a region that is not full at the end. */
constexpr std::uint64_t small_origin = 3 * REGION_CHUNKS + 100;

unsigned random_length(Random &random, std::uint64_t chunk, std::uint64_t nr_chunks) {
  const std::uint64_t room =
      std::min<std::uint64_t>(REGION_CHUNKS - chunk % REGION_CHUNKS, nr_chunks - chunk);
  const std::uint64_t want = random.one_in(20) ? 1 + random.below(REGION_CHUNKS) : 1 + random.below(6);
  return static_cast<unsigned>(std::min(want, room));
}

}  // namespace

TEST_CASE("An empty map knows nothing", "[chunk_map]") {
  Map map(small_origin);
  Model model(small_origin);

  for (std::uint64_t chunk = 0; chunk < small_origin; chunk += REGION_CHUNKS) {
    require_equal(map, model, chunk);
  }
  REQUIRE(map.get()->nr_bytes == 0);
  REQUIRE(chunk_map_reserve(map.get(), to_chunk(0), GFP_NOIO) == 0);
  require_equal(map, model, 0);
}

TEST_CASE("A lookup ends with the region, the run and what was asked", "[chunk_map]") {
  Map map(small_origin);

  REQUIRE(map.lookup(5, 10000).nr == REGION_CHUNKS - 5);
  REQUIRE(map.lookup(5, 7).nr == 7);
  map.set(10, preserved(20, 1000));
  REQUIRE(map.lookup(5, 10000).nr == 5);
  REQUIRE(map.lookup(12, 10000).nr == 18);
  REQUIRE(map.lookup(12, 3).nr == 3);
  REQUIRE(from_place(map.lookup(12, 3).place) == 1002);
  REQUIRE(map.lookup(30, 10000).state == RUN_UNSETTLED);
  // The next region goes on at the next place, and is another run nevertheless.
  map.set(REGION_CHUNKS - 1, preserved(1, 5000));
  map.set(REGION_CHUNKS, preserved(1, 5001));
  REQUIRE(map.lookup(REGION_CHUNKS - 1, 2).nr == 1);
}

TEST_CASE("The edges of a region and of the numbers", "[chunk_map]") {
  Map map(small_origin);
  Model model(small_origin);
  const auto set = [&](std::uint64_t chunk, const chunk_run &run) {
    map.set(chunk, run);
    model.set(chunk, run);
    require_equal(map, model, chunk);
  };

  set(REGION_CHUNKS, preserved(REGION_CHUNKS, max_place - REGION_CHUNKS + 1));
  REQUIRE(map.get()->nr_bytes == 0);
  set(REGION_CHUNKS, written(1, 0));
  set(2 * REGION_CHUNKS - 1, written(1, max_place));
  set(REGION_CHUNKS + 1, released(REGION_CHUNKS - 2));
  set(0, released(1));
  set(REGION_CHUNKS - 1, preserved(1, 0));
  set(small_origin - 1, preserved(1, max_place));
  // Over all of them at once, and back to the form without a node.
  set(REGION_CHUNKS, released(REGION_CHUNKS));
  set(0, preserved(REGION_CHUNKS, 0));
  REQUIRE(map.get()->nr_bytes == 0);
}

TEST_CASE("Neighbours merge only where one extent can say both", "[chunk_map]") {
  Map map(small_origin);
  // The bytes of the node tell whether there is more than one extent.
  const auto merges = [&](const chunk_run &left, const chunk_run &right, bool right_first) {
    map.set(0, released(REGION_CHUNKS));
    Map fresh(small_origin);
    fresh.set(right_first ? 10 + left.nr : 10, right_first ? right : left);
    fresh.set(right_first ? 10 : 10 + left.nr, right_first ? left : right);
    return fresh.get()->nr_bytes == 0;
  };

  for (const bool right_first : {false, true}) {
    CAPTURE(right_first);
    CHECK(merges(preserved(3, 7), preserved(2, 10), right_first));
    CHECK(merges(written(3, 7), written(2, 10), right_first));
    CHECK(merges(released(3), released(2), right_first));
    CHECK_FALSE(merges(preserved(3, 7), written(2, 10), right_first));
    CHECK_FALSE(merges(preserved(3, 7), preserved(2, 11), right_first));
    CHECK_FALSE(merges(preserved(3, 7), preserved(2, 9), right_first));
    CHECK_FALSE(merges(written(3, 7), released(2), right_first));
  }

  map.set(100, preserved(2, 10));
  map.set(104, preserved(2, 14));
  map.set(102, preserved(2, 12));
  REQUIRE(map.lookup(100).nr == 6);
}

TEST_CASE("What cannot be set is refused loudly and changes nothing", "[chunk_map]") {
  Map map(small_origin);
  Model model(small_origin);
  const chunk_run first = preserved(4, 100);
  map.set(8, first);
  model.set(8, first);

  const struct {
    std::uint64_t chunk;
    chunk_run run;
  } bad[] = {
      {0, preserved(0, 0)},
      {0, preserved(REGION_CHUNKS + 1, 0)},
      {REGION_CHUNKS - 1, preserved(2, 0)},
      {small_origin - 1, preserved(2, 0)},
      {small_origin, preserved(1, 0)},
      {small_origin + 1, preserved(1, 0)},
      {0, preserved(1, max_place + 1)},
      {0, preserved(2, max_place)},
      {0, written(1, ~std::uint64_t{0})},
      {0, {RUN_UNSETTLED, 1, to_place(0)}},
  };
  for (const auto &[chunk, run] : bad) {
    CAPTURE(chunk, run.nr, from_place(run.place));
    map_spare spare = {};
    shim_expect_warnings(true);
    CHECK(chunk_map_set(map.get(), to_chunk(chunk), &run, &spare) == -EINVAL);
    CHECK(shim_expect_warnings(false) == 1);
    require_equal(map, model, 0);
  }
}

TEST_CASE("Random changes agree with a model", "[chunk_map]") {
  Random random;
  CAPTURE(seed());

  for (int round = 0; round < 12; round++) {
    Map map(small_origin);
    Model model(small_origin);
    for (int step = 0; step < 400; step++) {
      const std::uint64_t chunk = random.below(small_origin);
      const chunk_run run = random_run(random, model, chunk, random_length(random, chunk, small_origin));

      map.set(chunk, run);
      model.set(chunk, run);
      if (step % 4 == 0) {
        require_equal(map, model, chunk);
      }
      const std::uint64_t from = random.below(small_origin);
      const unsigned nr = random_length(random, from, small_origin);
      REQUIRE(map.peek(from, nr) == model.peek(from, nr));
    }
    for (std::uint64_t chunk = 0; chunk < small_origin; chunk += REGION_CHUNKS) {
      require_equal(map, model, chunk);
    }
  }
}

TEST_CASE("Every second chunk, up and down, and then the gaps", "[chunk_map]") {
  for (const bool down : {false, true}) {
    Map map(REGION_CHUNKS);
    Model model(REGION_CHUNKS);
    for (std::uint64_t i = 0; i < REGION_CHUNKS; i += 2) {
      const std::uint64_t chunk = down ? REGION_CHUNKS - 2 - i : i;
      map.set(chunk, preserved(1, chunk));
      model.set(chunk, preserved(1, chunk));
      require_equal(map, model, chunk);
    }
    for (std::uint64_t i = 1; i < REGION_CHUNKS; i += 2) {
      map.set(i, preserved(1, i));
      model.set(i, preserved(1, i));
      require_equal(map, model, i);
    }
    // All filled in is one extent again.
    REQUIRE(map.get()->nr_bytes == 0);
  }
}

TEST_CASE("Setting takes no memory but the spare's", "[chunk_map][memory]") {
  Random random;
  CAPTURE(seed());
  Map map(small_origin);
  Model model(small_origin);
  map_spare spare = {};
  int refused = 0;

  for (int step = 0; step < 1500; step++) {
    const std::uint64_t chunk = random.below(small_origin);
    const chunk_run run = random_run(random, model, chunk, random_length(random, chunk, small_origin));
    REQUIRE(chunk_map_reserve(map.get(), to_chunk(chunk), GFP_NOIO) == 0);

    const std::uint64_t bytes = map.get()->nr_bytes;
    const unsigned long allocations = shim_nr_allocations();
    shim_set_atomic(true);
    int error = chunk_map_set(map.get(), to_chunk(chunk), &run, &spare);
    if (error == -EAGAIN) {
      refused++;
      REQUIRE(spare.needed > spare.size);
      REQUIRE(map.get()->nr_bytes == bytes);
      require_equal(map, model, chunk);

      shim_fail_allocations_after(0);
      REQUIRE(map_spare_fill(&spare, GFP_NOWAIT) == -ENOMEM);
      REQUIRE(chunk_map_set(map.get(), to_chunk(chunk), &run, &spare) == -EAGAIN);
      shim_fail_allocations_after(-1);
      require_equal(map, model, chunk);

      // Too small by one byte is too small.
      const size_t needed = spare.needed;
      spare.needed = needed - 1;
      REQUIRE(map_spare_fill(&spare, GFP_NOWAIT) == 0);
      REQUIRE(chunk_map_set(map.get(), to_chunk(chunk), &run, &spare) == -EAGAIN);
      REQUIRE(spare.needed == needed);
      require_equal(map, model, chunk);

      REQUIRE(map_spare_fill(&spare, GFP_NOWAIT) == 0);
      REQUIRE(spare.size == needed);
      error = chunk_map_set(map.get(), to_chunk(chunk), &run, &spare);
      REQUIRE(spare.node == nullptr);
    } else {
      REQUIRE(shim_nr_allocations() == allocations);
    }
    shim_set_atomic(false);
    REQUIRE(error == 0);
    model.set(chunk, run);
    require_equal(map, model, chunk);
  }
  REQUIRE(refused > 10);
  map_spare_release(&spare);
}

TEST_CASE("A region without a slot", "[chunk_map][memory]") {
  Map map(small_origin);
  Model model(small_origin);
  const chunk_run run = preserved(1, 5);
  map_spare spare = {};

  // However much of the way succeeds, a reservation is there or is not.
  long nr = 0;
  for (;; nr++) {
    shim_fail_allocations_after(nr);
    const int error = chunk_map_reserve(map.get(), to_chunk(0), GFP_NOIO);
    if (error == 0) {
      break;
    }
    REQUIRE(error == -ENOMEM);
    shim_fail_allocations_after(0);
    shim_set_atomic(true);
    REQUIRE(chunk_map_set(map.get(), to_chunk(0), &run, &spare) == -ENOMEM);
    shim_set_atomic(false);
    require_equal(map, model, 0);
  }
  REQUIRE(nr > 0);

  shim_fail_allocations_after(0);
  REQUIRE(chunk_map_set(map.get(), to_chunk(REGION_CHUNKS), &run, &spare) == -ENOMEM);
  require_equal(map, model, REGION_CHUNKS);
  REQUIRE(chunk_map_set(map.get(), to_chunk(0), &run, &spare) == 0);
  model.set(0, run);
  require_equal(map, model, 0);
  // Again, of one that is in use.
  REQUIRE(chunk_map_reserve(map.get(), to_chunk(0), GFP_NOIO) == 0);
  require_equal(map, model, 0);
  shim_fail_allocations_after(-1);
}

TEST_CASE("A spare that is larger than needed is used as it is", "[chunk_map][memory]") {
  constexpr std::size_t largest = 8192;
  Map map(REGION_CHUNKS);
  Model model(REGION_CHUNKS);
  map_spare spare = {};
  spare.needed = largest;
  REQUIRE(chunk_map_reserve(map.get(), to_chunk(0), GFP_NOIO) == 0);
  REQUIRE(map_spare_fill(&spare, GFP_NOIO) == 0);

  // It lasts to the end: the region never needs another.
  for (unsigned chunk = 0; chunk < REGION_CHUNKS; chunk++) {
    const chunk_run run = preserved(1, 1000000 - 10 * chunk);
    REQUIRE(chunk_map_set(map.get(), to_chunk(chunk), &run, &spare) == 0);
    model.set(chunk, run);
  }
  REQUIRE(spare.node == nullptr);
  REQUIRE(map.get()->nr_bytes == largest);
  require_equal(map, model, 0);
}

TEST_CASE("A destroyed map is empty and can be used again", "[chunk_map]") {
  Map map(small_origin);
  for (std::uint64_t i = 0; i < small_origin; i += 3) {
    map.set(i, preserved(1, i));
  }
  REQUIRE(map.get()->nr_bytes > 0);
  chunk_map_destroy(map.get());
  REQUIRE(shim_xarray_bytes() == 0);
  chunk_map_init(map.get(), small_origin);
  require_equal(map, Model(small_origin), 0);
  REQUIRE(map.get()->nr_bytes == 0);
}
