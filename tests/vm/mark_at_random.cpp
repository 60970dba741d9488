// SPDX-License-Identifier: GPL-2.0-or-later
//
// Marks blocks of an origin as changed, chosen at random: what random writes to a device do that is larger
// than any disk at hand. usage: mark-at-random ORIGIN COUNT SEED; prints how many blocks that were, each
// counted once
#include <diffsnap/diffsnap.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <random>
#include <vector>

namespace {

void mark(const std::string &name, std::uint64_t count, std::uint64_t seed) {
  constexpr std::size_t at_once = 65536;
  diffsnap::Manager manager;
  const diffsnap::Origin origin = manager.find_origin(name).value();
  std::mt19937_64 random(seed);
  std::uniform_int_distribution<std::uint64_t> block(0, origin.size / origin.tracking_block - 1);
  std::vector<bool> marked(origin.size / origin.tracking_block);
  for (std::uint64_t done = 0; done < count;) {
    std::vector<diffsnap::Range> ranges;
    for (; done < count && ranges.size() < at_once; ++done) {
      const std::uint64_t chosen = block(random);
      marked[chosen] = true;
      ranges.push_back({chosen * origin.tracking_block, 4096});
    }
    manager.mark(name, ranges);
  }
  std::cout << std::count(marked.begin(), marked.end(), true) << '\n';
}

}  // namespace

int main(int argc, char **argv) {
  try {
    if (argc != 4) {
      throw std::runtime_error("wrong number of arguments");
    }
    mark(argv[1], std::strtoull(argv[2], nullptr, 10), std::strtoull(argv[3], nullptr, 10));
  } catch (const std::exception &error) {
    std::cerr << "mark-at-random: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
