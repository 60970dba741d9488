// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/size.h"

#include <array>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <limits>

#include "base/device_id.h"
#include "base/error.h"

namespace diffsnap {
namespace {

constexpr std::string_view scale_letters = "kmgtpe";

[[noreturn]] void refuse(std::string_view text, const char *why) {
  throw SyntaxError("read", "size \"" + std::string(text) + "\"", EINVAL, why);
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

char lower(char c) {
  return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
}

/** Bytes that the unit at the end of a size stands for, 0 if there is none such. */
std::uint64_t unit_bytes(std::string_view unit) {
  if (unit.size() == 1 && lower(unit[0]) == 'b') {
    return 1;
  }
  if (unit.size() == 1 && lower(unit[0]) == 's') {
    return sector_size;
  }

  const auto power = scale_letters.find(lower(unit[0]));
  if (power == std::string_view::npos) {
    return 0;
  }

  std::string tail;
  for (char c : unit.substr(1)) {
    tail += lower(c);
  }
  if (!tail.empty() && tail != "b" && tail != "ib") {
    return 0;
  }
  return std::uint64_t{1} << (10 * (power + 1));
}

}  // namespace

std::uint64_t parse_size(std::string_view text, std::uint64_t default_unit) {
  // 128 bits hold 2^64 times any scale, so that overflow is one compare.
  __extension__ typedef unsigned __int128 Wide;
  constexpr Wide limit = std::numeric_limits<std::uint64_t>::max();
  // More digits than any size needs; a longer fraction is noise or a typo.
  constexpr std::size_t max_fraction = 9;

  std::size_t at = 0;
  Wide whole = 0;
  while (at < text.size() && is_digit(text[at])) {
    whole = whole * 10 + static_cast<unsigned>(text[at++] - '0');
    if (whole > limit) {
      refuse(text, "it is too large");
    }
  }
  if (at == 0) {
    refuse(text, "a size is a number and one of b, s, k, m, g, t, p, e");
  }

  Wide fraction = 0;
  Wide divisor = 1;
  if (at < text.size() && text[at] == '.') {
    const std::size_t first = ++at;
    while (at < text.size() && is_digit(text[at])) {
      fraction = fraction * 10 + static_cast<unsigned>(text[at++] - '0');
      divisor *= 10;
      if (at - first > max_fraction) {
        refuse(text, "it has too many digits");
      }
    }
    if (at == first) {
      refuse(text, "a size is a number and one of b, s, k, m, g, t, p, e");
    }
  }

  std::uint64_t unit = default_unit;
  if (at < text.size()) {
    unit = unit_bytes(text.substr(at));
    if (unit == 0) {
      refuse(text, "a size is a number and one of b, s, k, m, g, t, p, e");
    }
  }

  if (whole * unit > limit) {
    refuse(text, "it is too large");
  }
  Wide bytes = whole * unit;
  if (divisor > 1) {
    if (unit == 1 && fraction != 0) {
      refuse(text, "it is no whole number of bytes");
    }
    bytes += (fraction * unit + divisor - 1) / divisor;
    if (unit > 1) {
      bytes = (bytes + sector_size - 1) / sector_size * sector_size;
    }
  }
  if (bytes > limit) {
    refuse(text, "it is too large");
  }
  if (bytes % sector_size != 0) {
    refuse(text, "it is no multiple of 512 bytes");
  }
  return static_cast<std::uint64_t>(bytes);
}

SizeChange parse_size_change(std::string_view text) {
  SizeChange change;
  std::string_view number = text;

  if (!number.empty() && number[0] == '+') {
    change.relative = true;
    number.remove_prefix(1);
  }
  change.bytes = parse_size(number);
  if (change.bytes == 0) {
    refuse(text, "it is zero");
  }
  return change;
}

std::string format_size(std::uint64_t bytes, char unit, bool suffix) {
  std::array<char, 64> text{};
  const auto whole = [&](std::uint64_t value) {
    std::snprintf(text.data(), text.size(), "%llu", static_cast<unsigned long long>(value));
    std::string result = text.data();
    if (suffix) {
      result += static_cast<char>(std::toupper(static_cast<unsigned char>(unit)));
    }
    return result;
  };
  if (lower(unit) == 'b') {
    return whole(bytes);
  }
  if (lower(unit) == 's') {
    return whole(bytes / sector_size);
  }

  const bool decimal = unit >= 'A' && unit <= 'Z' && unit != 'R';
  const unsigned step = decimal ? 1000 : 1024;
  const bool choose = lower(unit) == 'h' || lower(unit) == 'r';
  auto power = scale_letters.find(lower(unit));

  if (!choose && power == std::string_view::npos) {
    throw SyntaxError("print", "sizes", EINVAL, std::string("there is no unit \"") + unit + "\"");
  }
  if (choose) {
    power = 0;
    for (std::uint64_t rest = bytes / step; rest >= step; rest /= step) {
      ++power;
    }
    // So that a store of no size does not read as a fraction of a KiB.
    if (bytes == 0) {
      return "0";
    }
  }

  long double scale = 1;
  for (std::size_t i = 0; i <= power; ++i) {
    scale *= step;
  }
  const long double value = static_cast<long double>(bytes) / scale;

  std::snprintf(text.data(), text.size(), "%.2Lf", value);
  std::string result;
  // Two places round to nearest: say so where the truth is less than it reads.
  if (lower(unit) == 'r' && value < std::stold(text.data())) {
    result = "<";
  }
  result += text.data();
  if (suffix) {
    const char letter = scale_letters[power];
    result += decimal ? static_cast<char>(std::toupper(static_cast<unsigned char>(letter))) : letter;
  }
  return result;
}

}  // namespace diffsnap
