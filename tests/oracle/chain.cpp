// SPDX-License-Identifier: GPL-2.0-or-later
#include "chain.h"

namespace oracle {

namespace {

std::string describe(const ChainLink &link, std::uint64_t version) {
  return "origin " + std::to_string(link.origin) + " sector " + std::to_string(link.sector) + " with write " +
         std::to_string(version);
}

}  // namespace

std::string check_chain(const std::vector<ChainLink> &links, const std::vector<std::uint64_t> &versions) {
  for (std::size_t i = 1; i < links.size(); i++) {
    if (versions[i] > versions[i - 1])
      return "B without A: the image shows " + describe(links[i], versions[i]) +
             ", which began after the same write to its forerunner was " + "completed, but " +
             describe(links[i - 1], versions[i - 1]);
    if (versions[i] + 1 < versions[0])
      return "lost write: the image shows " + describe(links[0], versions[0]) +
             ", which began after the one before was completed everywhere, but " +
             describe(links[i], versions[i]);
  }
  return {};
}

}  // namespace oracle
