// SPDX-License-Identifier: GPL-2.0-or-later
// What the design promises about the map's memory.
#include <algorithm>
#include <iostream>
#include <numeric>

#include "catch.h"
#include "support.h"

using namespace kernel_host;

namespace {

constexpr double slot_bytes = sizeof(void *);

}  // namespace

TEST_CASE("Bytes per preserved chunk, at each number of chunks of a region", "[chunk_map][memory]") {
  Random random;
  CAPTURE(seed());
  std::vector<std::uint64_t> order(REGION_CHUNKS);
  std::iota(order.begin(), order.end(), 0);
  for (std::size_t i = order.size(); i > 1; i--) {
    std::swap(order[i - 1], order[random.below(i)]);
  }

  Map map(REGION_CHUNKS);
  double worst_few = 0;
  double worst_many = 0;
  for (unsigned nr = 1; nr <= REGION_CHUNKS; nr++) {
    // Places descend: no two extents merge, the worst that can be.
    map.set(order[nr - 1], preserved(1, 1000000 - 10 * order[nr - 1]));
    const auto bytes = static_cast<double>(map.get()->nr_bytes);
    CAPTURE(nr, bytes);
    if (nr >= 16) {
      REQUIRE(bytes / nr <= 16);
      worst_many = std::max(worst_many, bytes / nr);
    } else {
      REQUIRE((bytes + slot_bytes) / nr <= 48);
      worst_few = std::max(worst_few, (bytes + slot_bytes) / nr);
    }
  }
  REQUIRE(map.get()->nr_preserved == REGION_CHUNKS);
  std::cout << "bytes per chunk, at most: " << worst_many << " where a region holds 16 or more, " << worst_few
            << " where fewer\n";
}

TEST_CASE("Bytes per region that is preserved in sequence", "[chunk_map][memory]") {
  constexpr std::uint64_t nr_regions = 4096;
  Map map(nr_regions * REGION_CHUNKS);

  const std::size_t before = shim_xarray_bytes();
  // By writes of 1 MiB to chunks of 4 KiB.
  for (std::uint64_t chunk = 0; chunk < nr_regions * REGION_CHUNKS; chunk += 256) {
    map.set(chunk, preserved(256, 7 + chunk));
  }
  REQUIRE(map.get()->nr_bytes == 0);
  const double bytes = static_cast<double>(shim_xarray_bytes() - before) / nr_regions;
  REQUIRE(bytes <= 24);
  std::cout << "bytes per sequentially preserved region: " << bytes << '\n';
}

TEST_CASE("A node's bytes are given back when it is replaced", "[chunk_map][memory]") {
  Map map(REGION_CHUNKS);
  const struct {
    unsigned extents;
    std::uint64_t bytes;
  } steps[] = {{1, 0},      {2, 32},     {3, 32},     {4, 64},    {7, 64},     {8, 96},
               {11, 96},    {12, 128},   {15, 128},   {16, 192},  {23, 192},   {24, 256},
               {31, 256},   {32, 512},   {63, 512},   {64, 1024}, {127, 1024}, {128, 2048},
               {255, 2048}, {256, 4096}, {511, 4096}, {512, 8192}};
  unsigned nr = 0;
  for (const auto &[extents, bytes] : steps) {
    for (; nr < extents; nr++) {
      const std::uint64_t before = map.get()->nr_bytes;
      const unsigned long allocations = shim_nr_allocations();
      map.set(nr, preserved(1, 1000000 - 10 * nr));
      // A node is not replaced before it is full. The first chunk takes the slots of the xarray.
      if (nr > 0 && map.get()->nr_bytes == before) {
        REQUIRE(shim_nr_allocations() == allocations);
      }
    }
    CAPTURE(extents);
    CHECK(map.get()->nr_bytes == bytes);
  }
  map.set(0, released(REGION_CHUNKS));
  CHECK(map.get()->nr_bytes == 0);
}
