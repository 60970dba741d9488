// SPDX-License-Identifier: GPL-2.0-or-later
//
// Order across devices. A chain is a list of sectors, on all origins; its one
// writer writes its n-th version to the first, waits until that is completed,
// writes it to the second, and so on, then begins again with n + 1. So at any
// one instant the versions fall along the chain, by one at the most.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace oracle {

struct ChainLink {
  std::size_t origin = 0;
  std::uint64_t sector = 0;
};

// What the images hold along a chain, in the order of writing. Returns an
// empty string, or what is wrong.
std::string check_chain(const std::vector<ChainLink> &links, const std::vector<std::uint64_t> &versions);

}  // namespace oracle
