// SPDX-License-Identifier: GPL-2.0-or-later
/** @file Sizes as people who know LVM write and read them. */
#ifndef DIFFSNAP_BASE_SIZE_H
#define DIFFSNAP_BASE_SIZE_H

#include <cstdint>
#include <string>
#include <string_view>

namespace diffsnap {

inline constexpr std::uint64_t mebibyte = 1024 * 1024;

/** What `-L` of extend says: the new size, or how much more. */
struct SizeChange {
  bool relative = false;
  std::uint64_t bytes = 0;
};

/**
 * Reads a size as LVM's -L does: a decimal number, with a fraction if wanted,
 * then b, s (sectors), k, m, g, t, p or e, in either case always in powers of
 * 1024, the latter six also as kB or KiB.
 *
 * `default_unit` is the number of bytes that a number without a unit counts:
 * one mebibyte for -L, 1 for offsets and lengths. A fraction is rounded up to
 * a whole sector.
 *
 * Returns bytes, a multiple of 512. Throws SyntaxError.
 */
[[nodiscard]] std::uint64_t parse_size(std::string_view text, std::uint64_t default_unit = mebibyte);

/** parse_size() with an optional leading `+`. */
[[nodiscard]] SizeChange parse_size_change(std::string_view text);

/**
 * Writes a size in the unit that one character of LVM's --units names: b, s,
 * k, m, g, t, p, e in powers of 1024, capitals in powers of 1000 (B and S like
 * b and s), h and H for the largest unit that leaves at least 1, r as h with a
 * `<` before a value that was rounded up.
 *
 * `suffix` appends the unit. Throws SyntaxError if there is no such unit.
 */
[[nodiscard]] std::string format_size(std::uint64_t bytes, char unit, bool suffix = true);

}  // namespace diffsnap

#endif
