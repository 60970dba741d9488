// SPDX-License-Identifier: GPL-2.0-or-later
/** @file What is done with one input. */
#ifndef DIFFSNAP_TESTS_FUZZ_ONE_H
#define DIFFSNAP_TESTS_FUZZ_ONE_H

#include <cstddef>
#include <cstdint>

namespace diffsnap::test {

/**
 * Reads and applies it as a stream. Aborts if something holds that must not; an input that is refused is
 * fine.
 * @return whether it was a stream.
 */
bool fuzz_one(const std::uint8_t *data, std::size_t size);

}  // namespace diffsnap::test

#endif
