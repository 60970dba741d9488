// SPDX-License-Identifier: GPL-2.0-or-later
/** @file Small parsing helpers for the kernel's lines: decimal numbers and words between single spaces. */
#ifndef DIFFSNAP_BASE_TEXT_H
#define DIFFSNAP_BASE_TEXT_H

#include <charconv>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace diffsnap {

/** A decimal number and nothing else: no sign, no space, no overflow. */
template <typename Number>
[[nodiscard]] std::optional<Number> parse_number(std::string_view text) noexcept {
  Number value{};
  const char *end = text.data() + text.size();
  if (text.empty() || text.front() < '0' || text.front() > '9') {
    return std::nullopt;
  }
  const auto result = std::from_chars(text.data(), end, value);
  if (result.ec != std::errc{} || result.ptr != end) {
    return std::nullopt;
  }
  return value;
}

/** The words between spaces; several spaces count as one, for the kernel may end a line with one. */
[[nodiscard]] inline std::vector<std::string_view> split_words(std::string_view text) {
  std::vector<std::string_view> words;
  while (true) {
    const auto begin = text.find_first_not_of(' ');
    if (begin == std::string_view::npos) {
      return words;
    }
    const auto end = text.find(' ', begin);
    words.push_back(text.substr(begin, end - begin));
    if (end == std::string_view::npos) {
      return words;
    }
    text.remove_prefix(end);
  }
}

[[nodiscard]] inline bool starts_with(std::string_view text, std::string_view prefix) noexcept {
  return text.substr(0, prefix.size()) == prefix;
}

}  // namespace diffsnap

#endif
