// SPDX-License-Identifier: GPL-2.0-or-later
/** @file Finds what is nothing but zeroes. */
#ifndef DIFFSNAP_STREAM_ZEROES_H
#define DIFFSNAP_STREAM_ZEROES_H

#include <cstddef>
#include <cstdint>
#include <vector>

#include "stream/format.h"

namespace diffsnap::stream {

/** Zeroes are looked for in blocks of this size, at multiples of it. */
inline constexpr std::size_t zero_block = 4096;

[[nodiscard]] bool is_zero(const void *data, std::size_t length) noexcept;

/**
 * Takes a range of a device apart into data and zeroes, ascending, neighbours of one kind merged.
 * @param offset  where the range begins on the device
 */
[[nodiscard]] std::vector<Record> find_zeroes(std::uint64_t offset, const void *data, std::size_t length);

}  // namespace diffsnap::stream

#endif
