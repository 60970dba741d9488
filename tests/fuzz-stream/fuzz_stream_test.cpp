// SPDX-License-Identifier: GPL-2.0-or-later
//
// The corpus, and mutations of it: FUZZ_SEED repeats a run.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "catch.h"
#include "fuzz_one.h"

namespace {

using diffsnap::test::fuzz_one;

constexpr int mutations = 50000;

std::vector<std::string> read_corpus() {
  std::vector<std::filesystem::path> paths;
  for (const auto &entry : std::filesystem::directory_iterator(DIFFSNAP_CORPUS)) {
    paths.push_back(entry.path());
  }
  // The same order everywhere, or a seed would repeat nothing.
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> corpus;
  for (const auto &path : paths) {
    std::ifstream file(path, std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return corpus;
}

bool is_stream(const std::string &text) {
  const std::vector<std::uint8_t> bytes(text.begin(), text.end());
  return fuzz_one(bytes.data(), bytes.size());
}

std::string mutated(std::mt19937 &random, const std::vector<std::string> &corpus) {
  // Values at which something is wont to change.
  constexpr std::uint64_t edges[] = {0,      1,       0x7f,       0xff,  0x1000,
                                     0xffff, 0x10000, 0x7fffffff, ~0ULL, ~0ULL >> 1};
  const auto any = [&](std::size_t count) { return count == 0 ? 0 : random() % count; };
  std::string text = corpus[any(corpus.size())];
  for (std::size_t left = 1 + any(4); left > 0; --left) {
    const std::size_t at = any(text.size());
    switch (any(6)) {
      case 0:
        if (!text.empty()) {
          text[at] = static_cast<char>(random());
        }
        break;
      case 1:
        text.resize(at);
        break;
      case 2:
        text.erase(at, any(40));
        break;
      case 3: {
        const std::string &other = corpus[any(corpus.size())];
        const std::size_t from = any(other.size());
        text.insert(at, other, from, any(60));
        break;
      }
      case 4: {
        const std::uint64_t value = edges[any(std::size(edges))];
        for (std::size_t i = 0; i < 8 && at + i < text.size(); ++i) {
          text[at + i] = static_cast<char>(value >> (8 * i));
        }
        break;
      }
      default:
        text.insert(at, 1, "ftswze"[any(6)]);
    }
  }
  return text;
}

TEST_CASE("the corpus is read without harm", "[fuzz]") {
  const auto corpus = read_corpus();
  REQUIRE(corpus.size() >= 8);
  CHECK(std::count_if(corpus.begin(), corpus.end(), is_stream) >= 4);
}

TEST_CASE("mutations of the corpus are read without harm", "[fuzz]") {
  const char *given = std::getenv("FUZZ_SEED");
  const auto seed =
      given != nullptr ? static_cast<unsigned>(std::strtoul(given, nullptr, 10)) : std::random_device()();
  std::cout << "FUZZ_SEED=" << seed << std::endl;
  std::mt19937 random(seed);
  const auto corpus = read_corpus();
  int streams = 0;
  for (int i = 0; i < mutations; ++i) {
    streams += is_stream(mutated(random, corpus)) ? 1 : 0;
  }
  // Enough of both kinds.
  CHECK(streams > mutations / 100);
  CHECK(streams < mutations);
}

}  // namespace
