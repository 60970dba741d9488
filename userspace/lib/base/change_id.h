// SPDX-License-Identifier: GPL-2.0-or-later
/** @file The name of a snapshot of one origin, as its change tracker knows it. */
#ifndef DIFFSNAP_BASE_CHANGE_ID_H
#define DIFFSNAP_BASE_CHANGE_ID_H

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace diffsnap {

/** Whether a text is a UUID as trackers name their generations: lower case, with dashes. */
[[nodiscard]] bool is_generation(std::string_view text) noexcept;

/** A snapshot of an origin: the generation of its tracker, and the number in it. A value. */
struct ChangeId {
  std::string generation;
  /** From 1; 0 stands for the beginning of the generation. */
  std::uint64_t number = 0;

  /** "GENERATION:N" */
  [[nodiscard]] std::string to_string() const;
  /** The reverse of to_string(); nothing if the text is anything else. */
  [[nodiscard]] static std::optional<ChangeId> parse(std::string_view text);
};
[[nodiscard]] bool operator==(const ChangeId &a, const ChangeId &b) noexcept;
[[nodiscard]] bool operator!=(const ChangeId &a, const ChangeId &b) noexcept;

}  // namespace diffsnap

#endif
