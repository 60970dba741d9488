// SPDX-License-Identifier: GPL-2.0-or-later
//
// Table lines and messages that may be right, nearly right, or nonsense.
#pragma once

#include "dm.h"

#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace fuzz {

using Random = std::mt19937_64;
using Table = std::vector<oracle::dm::TableLine>;

// What lines can name: a device in words that the kernel takes, and its size.
struct Device {
  std::string name;
  std::uint64_t sectors = 0;
};

class Lines {
 public:
  // Generations: of trackers, for messages that must name one.
  Lines(Random &random, std::vector<Device> devices, std::vector<std::string> generations = {})
      : random_(random), devices_(std::move(devices)), generations_(std::move(generations)) {}

  Table table();
  std::string message();

  // A number from 0 to n - 1, and one chance in n.
  std::uint64_t below(std::uint64_t n) { return random_() % n; }

  bool one_in(std::uint64_t n) { return below(n) == 0; }

 private:
  template <typename Container>
  const typename Container::value_type &any(const Container &container) {
    return container[below(container.size())];
  }

  std::string device();
  std::string number();
  std::string range();
  std::string word();
  std::vector<std::string> arguments(const std::string &target, std::uint64_t &length);
  void mutate(std::vector<std::string> &words);
  std::string mutate(std::string text);
  std::string join(const std::vector<std::string> &words);

  Random &random_;
  const std::vector<Device> devices_;
  const std::vector<std::string> generations_;
};

// Whether the kernel will read the message as one of the given word, in whatever
// disguise: with backslashes, in capitals, after spaces.
bool is_message(const std::string &text, const std::string &word);

}  // namespace fuzz
