// SPDX-License-Identifier: GPL-2.0-or-later
#include "lines.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <limits>
#include <sstream>

namespace fuzz {

namespace {

constexpr std::uint64_t max_u64 = std::numeric_limits<std::uint64_t>::max();
constexpr std::size_t long_text = 5000;

const std::vector<std::string> targets = {"diffsnap-origin", "diffsnap-store", "diffsnap-image"};

const std::vector<std::string> other_targets = {
    "", "diffsnap", "diffsnap-orig", "diffsnap-origi", "DIFFSNAP-STORE", "linear", "error", "zero",
};

const std::vector<std::string> features = {"low_water", "buffer", "store_timeout", "on_full"};

const std::vector<std::string> messages = {"add",   "cut",  "drop",  "low_water", "changes", "numbers",
                                           "newer", "mark", "reset", "restore",   "load",    "restored"};

const std::vector<std::string> odd_numbers = {
    "0",
    "1",
    "2",
    "7",
    "8",
    "9",
    "16",
    "2048",
    "4096",
    "60000",
    "60001",
    "3600000",
    "3600001",
    "-1",
    "-8",
    "+8",
    "08",
    "0x8",
    "8k",
    "1e3",
    "",
    " ",
    "8.0",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "4294967304",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999",
    "eight",
};

const std::vector<std::string> odd_devices = {
    "",
    "0:0",
    "1:3",
    "1:999",
    "999:999",
    "-1:2",
    "4095:1048575",
    "4096:0",
    "0:1048576",
    "4294967295:4294967295",
    "18446744073709551616:1",
    "254",
    "254:",
    ":0",
    "254:0:0",
    "254:0 ",
    "8:0x",
    "/dev",
    "/dev/null",
    "/dev/tty",
    "/nonexistent",
    "/proc/self/exe",
    "relative/path",
    "%s%n%p",
};

const std::vector<std::string> odd_words = {
    "",
    "-",
    "\\",
    "\\\\",
    "\\ ",
    "wait",
    "wait:",
    "wait:0",
    "wait:1",
    "wait:60000",
    "wait:60001",
    "wait:-1",
    "wait:x",
    "invalidate",
    "INVALIDATE",
    "invalidate ",
    "low_water",
    "Low_Water",
    "buffer",
    "tracking_block",
    "0+1",
    "1+0",
    "+",
    "1+",
    "+1",
    "8+18446744073709551615",
    "18446744073709551615+18446744073709551615",
    "00000000-0000-4000-8000-000000000000",
    "00000000-0000-4000-8000-00000000000",
    "gggggggg-0000-4000-8000-000000000000",
    "#",
    "\"",
    "'",
    "@cancel_deferred_remove",
    "@",
    "\t",
    "\n",
    "\x7f",
    "\xff\xfe",
    "%d",
    "help",
};

}  // namespace

std::string Lines::device() {
  if (one_in(3))
    return any(odd_devices);
  return any(devices_).name;
}

std::string Lines::number() {
  switch (below(4)) {
    case 0:
      return any(odd_numbers);
    case 1:
      return std::to_string(random_());
    case 2:
      return std::to_string(std::uint64_t{1} << below(64));
    default:
      return std::to_string(below(100000));
  }
}

std::string Lines::range() {
  return number() + "+" + number();
}

std::string Lines::word() {
  switch (below(8)) {
    case 0:
      return device();
    case 1:
      return number();
    case 2:
      return any(features);
    case 3:
      return any(messages);
    case 4:
      return std::string(below(long_text), static_cast<char>('!' + below(90)));
    case 5:
      return range();
    default:
      return any(odd_words);
  }
}

// As they should be, mostly; length is that of a table line that would fit.
std::vector<std::string> Lines::arguments(const std::string &target, std::uint64_t &length) {
  const Device &first = any(devices_);
  std::vector<std::string> words = {first.name};

  length = first.sectors;
  if (target == "diffsnap-origin") {
    if (one_in(4)) {
      words.push_back("0");
    } else if (one_in(3)) {
      words.push_back("2");
      words.push_back("tracking_block");
      words.push_back(std::to_string(std::uint64_t{8} << below(13)));
    }
  } else if (target == "diffsnap-store") {
    const auto pairs = below(features.size() + 1);

    words.push_back(std::to_string(std::uint64_t{8} << below(9)));
    if (pairs || one_in(2))
      words.push_back(std::to_string(2 * pairs));
    for (std::uint64_t i = 0; i < pairs; i++) {
      const std::string &feature = any(features);

      words.push_back(feature);
      if (feature != "on_full")
        words.push_back(std::to_string(4096 + below(100000)));
      else
        words.push_back(one_in(2) ? "invalidate" : "wait:" + std::to_string(1 + below(60000)));
    }
    if (one_in(3))
      length = std::max<std::uint64_t>(1, length / (1 + below(4)));
  } else {
    const Device &second = any(devices_);

    words.push_back(second.name);
    length = second.sectors;
  }
  return words;
}

void Lines::mutate(std::vector<std::string> &words) {
  const auto at = words.empty() ? 0 : below(words.size());
  const auto position = words.begin() + static_cast<std::ptrdiff_t>(at);

  switch (below(6)) {
    case 0:
      if (!words.empty())
        words.erase(position);
      break;
    case 1:
      words.insert(position, word());
      break;
    case 2:
      if (!words.empty())
        words.insert(position, words[at]);
      break;
    case 3:
      if (!words.empty())
        std::swap(words[at], words[below(words.size())]);
      break;
    case 4:
      if (!words.empty())
        words[at] = mutate(words[at]);
      break;
    default:
      if (!words.empty())
        words[at] = one_in(2) ? number() : word();
      break;
  }
}

std::string Lines::mutate(std::string text) {
  const auto at = text.empty() ? 0 : below(text.size());

  switch (below(4)) {
    case 0:
      text.insert(at, 1, static_cast<char>(1 + below(255)));
      break;
    case 1:
      if (!text.empty())
        text.erase(at, 1);
      break;
    case 2:
      if (!text.empty())
        text[at] = static_cast<char>(1 + below(255));
      break;
    default:
      if (!text.empty())
        text[at] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[at])));
      break;
  }
  return text;
}

std::string Lines::join(const std::vector<std::string> &words) {
  static const std::array<const char *, 4> gaps = {"  ", "\t", "\n", " \\"};
  std::string text;

  for (const std::string &part : words) {
    if (!text.empty())
      text += one_in(50) ? any(gaps) : " ";
    text += part;
  }
  return text;
}

Table Lines::table() {
  Table table;
  const auto count = one_in(12) ? 2 + below(2) : 1;
  std::uint64_t start = 0;

  for (std::uint64_t i = 0; i < count; i++) {
    oracle::dm::TableLine line;

    line.target = one_in(20) || (i && one_in(2)) ? any(other_targets) : any(targets);

    auto words = arguments(line.target, line.length);

    for (auto changes = below(4); changes; changes--)
      mutate(words);
    line.args = join(words);
    if (one_in(8)) {
      const std::array<std::uint64_t, 8> lengths = {
          0, 1, 7, line.length + 1, line.length + 8, std::uint64_t{1} << 40, std::uint64_t{1} << 62, max_u64};

      line.length = any(lengths);
    }
    line.start = one_in(40) ? below(100000) : start;
    start += line.length;
    table.push_back(line);
  }
  return table;
}

std::string Lines::message() {
  std::vector<std::string> words = {any(messages)};

  if (words[0] == "add")
    words.push_back(device());
  else if (words[0] == "low_water")
    words.push_back(number());
  else if (words[0] == "cut" && one_in(2))
    words.push_back(number());
  else if (words[0] == "numbers" || words[0] == "newer")
    words.push_back(std::to_string(below(100000)));
  else if (words[0] == "changes")
    words = {words[0], generations_.empty() ? "-" : any(generations_), std::to_string(below(3)),
             std::to_string(below(100000))};
  else if (words[0] == "restore")
    words = {words[0], generations_.empty() ? "-" : any(generations_), number()};
  else if (words[0] == "load")
    for (auto ranges = 1 + below(4); ranges; ranges--)
      words.push_back(
          (one_in(4) ? range() : std::to_string(below(10000)) + "+" + std::to_string(1 + below(5000))) + ":" +
          std::to_string(below(9)));
  else if (words[0] == "mark")
    for (auto ranges = 1 + below(4); ranges; ranges--)
      words.push_back(one_in(2) ? range()
                                : std::to_string(below(10000)) + "+" + std::to_string(1 + below(5000)));
  for (auto changes = below(3); changes; changes--)
    mutate(words);
  return join(words);
}

bool is_message(const std::string &text, const std::string &word) {
  std::string plain;

  for (char c : text)
    if (c == '\xa0')  // a space to the kernel
      plain += ' ';
    else if (c != '\\')
      plain += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));

  std::istringstream stream(plain);
  std::string first;

  stream >> first;
  return first == word;
}

}  // namespace fuzz
