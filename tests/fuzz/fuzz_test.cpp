// SPDX-License-Identifier: GPL-2.0-or-later
#ifdef CATCH2_MAIN_HERE
#define CATCH_CONFIG_MAIN
#endif
#if __has_include(<catch2/catch_test_macros.hpp>)
#include <catch2/catch_test_macros.hpp>
#else
#include <catch2/catch.hpp>
#endif

#include "lines.h"

#include <algorithm>
#include <set>

using namespace fuzz;

namespace {

const std::vector<Device> devices = {{"254:0", 1000}, {"/dev/vda", 2000}};

std::vector<std::string> some(std::uint64_t seed) {
  Random random(seed);
  Lines lines(random, devices);
  std::vector<std::string> result;

  for (unsigned i = 0; i < 2000; i++) {
    for (const auto &line : lines.table())
      result.push_back(std::to_string(line.start) + " " + std::to_string(line.length) + " " + line.target +
                       " " + line.args);
    result.push_back(lines.message());
  }
  return result;
}

bool are_some(const std::vector<std::string> &all, const std::string &wanted) {
  return std::find(all.begin(), all.end(), wanted) != all.end();
}

}  // namespace

TEST_CASE("a seed gives the same lines, another one others") {
  CHECK(some(1) == some(1));
  CHECK(some(1) != some(2));
}

TEST_CASE("among the lines are right ones of each kind") {
  const auto all = some(3);

  CHECK(are_some(all, "0 1000 diffsnap-origin 254:0"));
  CHECK(are_some(all, "0 2000 diffsnap-origin /dev/vda 0"));
  CHECK(are_some(all, "0 2000 diffsnap-image 254:0 /dev/vda"));
  CHECK(are_some(all, "add 254:0"));
  CHECK(are_some(all, "cut"));
  CHECK(are_some(all, "reset"));
  CHECK(are_some(all, "0 1000 diffsnap-origin 254:0 2 tracking_block 8"));
}

TEST_CASE("they differ") {
  const auto all = some(4);
  const std::set<std::string> different(all.begin(), all.end());

  CHECK(different.size() > all.size() / 2);
}

TEST_CASE("a message is recognised in any disguise") {
  CHECK(is_message("drop", "drop"));
  CHECK(is_message("  DrOp x", "drop"));
  CHECK(is_message("\\d\\rop", "drop"));
  CHECK(is_message("\tdrop\n", "drop"));
  CHECK(
      is_message("\xa0"
                 "drop\xa0",
                 "drop"));
  CHECK_FALSE(is_message("dropped", "drop"));
  CHECK_FALSE(is_message("", "drop"));
  CHECK_FALSE(is_message("cut drop", "drop"));
}
