// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "held.h"

#include <cstdint>
#include <string>

namespace fuzz {

// Whether this kernel can let the n-th allocation of a task fail.
bool can_fail_nth();

// Makes an origin, a store, a snapshot and an image, each step again and again:
// first with its first allocation failing, then with its second ... until there
// is none left to fail. Each failure must be clean. Throws CheckFailure.
// Without all, more and more of them are left out, at random: a constructor that
// fills its reserves has hundreds.
void fail_each_allocation(Held &held, const std::string &real, const std::string &store,
                          std::uint64_t sectors, bool all, Random &random);

}  // namespace fuzz
