// SPDX-License-Identifier: GPL-2.0-or-later
#include "support.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <iostream>

#include "catch.h"

namespace kernel_host {
namespace {

std::uint64_t choose_seed() {
  const char *text = std::getenv("DIFFSNAP_TEST_SEED");
  const std::uint64_t seed = text ? std::strtoull(text, nullptr, 0) : std::random_device{}();

  std::cout << "DIFFSNAP_TEST_SEED=" << seed << std::endl;
  return seed;
}

bool continues(const Cell &left, const Cell &right) {
  if (left.state != right.state) {
    return false;
  }
  return left.state == RUN_UNSETTLED || left.state == RUN_RELEASED || left.place + 1 == right.place;
}

}  // namespace

std::uint64_t seed() {
  static const std::uint64_t seed = choose_seed();
  return seed;
}

bool operator==(const Cell &a, const Cell &b) {
  return a.state == b.state && a.place == b.place;
}

std::ostream &operator<<(std::ostream &out, const Cell &cell) {
  return out << "state " << cell.state << " place " << cell.place;
}

void Model::set(std::uint64_t chunk, const chunk_run &run) {
  for (unsigned i = 0; i < run.nr; i++) {
    cells_[chunk + i] = {run.state, run.state == RUN_RELEASED ? 0 : from_place(run.place) + i};
  }
}

std::uint64_t Model::count(run_state state) const {
  return static_cast<std::uint64_t>(
      std::count_if(cells_.begin(), cells_.end(), [state](const Cell &cell) { return cell.state == state; }));
}

std::uint64_t Model::run_length(std::uint64_t chunk) const {
  std::uint64_t end = chunk + 1;
  while (end < cells_.size() && end % REGION_CHUNKS != 0 && continues(cells_[end - 1], cells_[end])) {
    end++;
  }
  return end - chunk;
}

std::uint64_t Model::extents(std::uint64_t chunk) const {
  const std::uint64_t begin = chunk - chunk % REGION_CHUNKS;
  const std::uint64_t end = std::min<std::uint64_t>(begin + REGION_CHUNKS, size());
  std::uint64_t nr = 0;
  for (std::uint64_t i = begin; i < end; i += run_length(i)) {
    nr += cells_[i].state != RUN_UNSETTLED;
  }
  return nr;
}

settled Model::peek(std::uint64_t chunk, unsigned nr) const {
  unsigned hits = 0;
  for (unsigned i = 0; i < nr; i++) {
    hits += cells_[chunk + i].state != RUN_UNSETTLED;
  }
  if (hits == 0) {
    return SETTLED_NONE;
  }
  return hits == nr ? SETTLED_ALL : SETTLED_UNSURE;
}

Map::~Map() {
  chunk_map_destroy(&map_);
  shim_rcu_barrier();
}

void Map::set(std::uint64_t chunk, const chunk_run &run) {
  map_spare spare = {};
  int error = chunk_map_reserve(&map_, to_chunk(chunk), GFP_NOIO);
  if (error == 0) {
    error = chunk_map_set(&map_, to_chunk(chunk), &run, &spare);
  }
  if (error == -EAGAIN && map_spare_fill(&spare, GFP_NOIO) == 0) {
    error = chunk_map_set(&map_, to_chunk(chunk), &run, &spare);
  }
  map_spare_release(&spare);
  // Not REQUIRE: this is called by several threads, and very often.
  if (error != 0) {
    std::abort();
  }
}

chunk_run Map::lookup(std::uint64_t chunk, unsigned max_nr) const {
  chunk_run run = {};
  chunk_map_lookup(&map_, to_chunk(chunk), max_nr, &run);
  return run;
}

chunk_run preserved(unsigned nr, std::uint64_t place) {
  return {RUN_PRESERVED, nr, to_place(place)};
}

chunk_run written(unsigned nr, std::uint64_t place) {
  return {RUN_WRITTEN, nr, to_place(place)};
}

chunk_run released(unsigned nr) {
  // What lies in the place of a released run must not matter.
  return {RUN_RELEASED, nr, to_place(12345)};
}

chunk_run random_run(Random &random, const Model &model, std::uint64_t chunk, unsigned nr) {
  const run_state states[] = {RUN_PRESERVED, RUN_PRESERVED, RUN_WRITTEN, RUN_RELEASED};
  chunk_run run = {states[random.below(4)], nr, to_place(random.below(1000000))};
  if (random.one_in(3) && chunk > 0 && model.at(chunk - 1).state != RUN_UNSETTLED) {
    const Cell &left = model.at(chunk - 1);
    run = {left.state, nr, to_place(left.place + 1)};
  } else if (random.one_in(2) && chunk + nr < model.size()) {
    const Cell &right = model.at(chunk + nr);
    if (right.state != RUN_UNSETTLED && right.place >= nr) {
      run = {right.state, nr, to_place(right.place - nr)};
    }
  }
  return run;
}

void require_equal(Map &map, const Model &model, std::uint64_t chunk) {
  REQUIRE(map.get()->nr_preserved == model.count(RUN_PRESERVED));
  REQUIRE(map.get()->nr_written == model.count(RUN_WRITTEN));
  REQUIRE(map.get()->nr_released == model.count(RUN_RELEASED));

  const std::uint64_t begin = chunk - chunk % REGION_CHUNKS;
  const std::uint64_t end = std::min<std::uint64_t>(begin + REGION_CHUNKS, model.size());
  std::uint64_t length = 0;
  for (std::uint64_t i = begin; i < end; i++, length--) {
    if (length == 0) {
      length = model.run_length(i);
    }
    const chunk_run run = map.lookup(i, static_cast<unsigned>(end - i));
    const Cell cell = {run.state, from_place(run.place)};
    const settled alone = map.peek(i, 1);
    // An assertion of the framework per chunk would take most of the time.
    if (!(cell == model.at(i)) || run.nr != length || alone != model.peek(i, 1)) {
      CAPTURE(i, cell, model.at(i), run.nr, length, alone);
      FAIL("map and model differ");
    }
  }
}

}  // namespace kernel_host
