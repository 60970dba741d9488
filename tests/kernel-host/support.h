// SPDX-License-Identifier: GPL-2.0-or-later
/** @file What the tests of the module's parts share. */
#ifndef DIFFSNAP_TESTS_KERNEL_HOST_SUPPORT_H
#define DIFFSNAP_TESTS_KERNEL_HOST_SUPPORT_H

#include <cstdint>
#include <ostream>
#include <random>
#include <vector>

extern "C" {
#include "change_map.h"
#include "chunk_map.h"
#include "space.h"
}
#include "shim.h"

namespace kernel_host {

/** DIFFSNAP_TEST_SEED, or a new one for each run; printed at its first use. */
std::uint64_t seed();

class Random {
 public:
  Random() : engine_(seed()) {}

  /** A number in [0, limit). */
  std::uint64_t below(std::uint64_t limit) { return engine_() % limit; }
  bool one_in(std::uint64_t n) { return below(n) == 0; }

 private:
  std::mt19937_64 engine_;
};

struct Cell {
  run_state state = RUN_UNSETTLED;
  std::uint64_t place = 0;
};

bool operator==(const Cell &a, const Cell &b);
std::ostream &operator<<(std::ostream &out, const Cell &cell);

/** What a chunk map should know, told chunk by chunk. */
class Model {
 public:
  explicit Model(std::uint64_t nr_chunks) : cells_(nr_chunks) {}

  void set(std::uint64_t chunk, const chunk_run &run);
  std::uint64_t size() const { return cells_.size(); }
  const Cell &at(std::uint64_t chunk) const { return cells_[chunk]; }
  std::uint64_t count(run_state state) const;
  /** How far the run that begins at @p chunk reaches within its region. */
  std::uint64_t run_length(std::uint64_t chunk) const;
  /** Settled runs in the region of @p chunk. */
  std::uint64_t extents(std::uint64_t chunk) const;
  settled peek(std::uint64_t chunk, unsigned nr) const;

 private:
  std::vector<Cell> cells_;
};

/** A chunk map that is used as its callers should. */
class Map {
 public:
  explicit Map(std::uint64_t nr_chunks) { chunk_map_init(&map_, nr_chunks); }
  ~Map();
  Map(const Map &) = delete;
  Map &operator=(const Map &) = delete;

  chunk_map *get() { return &map_; }
  /** Reserves, sets and provides a spare where it takes one. */
  void set(std::uint64_t chunk, const chunk_run &run);
  chunk_run lookup(std::uint64_t chunk, unsigned max_nr = REGION_CHUNKS) const;
  settled peek(std::uint64_t chunk, unsigned nr) const { return chunk_map_peek(&map_, to_chunk(chunk), nr); }

 private:
  chunk_map map_;
};

chunk_run preserved(unsigned nr, std::uint64_t place);
chunk_run written(unsigned nr, std::uint64_t place);
chunk_run released(unsigned nr);

/** A run for [chunk, chunk + nr), often one that merges with what is there. */
chunk_run random_run(Random &random, const Model &model, std::uint64_t chunk, unsigned nr);

/** Requires that @p map agrees with @p model: counters, and all chunks of @p chunk's region. */
void require_equal(Map &map, const Model &model, std::uint64_t chunk);

}  // namespace kernel_host

#endif
