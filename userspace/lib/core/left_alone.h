// SPDX-License-Identifier: GPL-2.0-or-later
/** @file Whether somebody uses a device. Internal to lib/core. */
#ifndef DIFFSNAP_CORE_LEFT_ALONE_H
#define DIFFSNAP_CORE_LEFT_ALONE_H

#include <chrono>
#include <string>

#include "core/environment.h"

namespace diffsnap {

/**
 * Whether nobody has a dm device open, in any mount namespace, now or before the patience ends: udev and
 * others who look at devices have them open for moments. Throws Error.
 */
[[nodiscard]] bool is_left_alone(const Environment &env, const std::string &name,
                                 std::chrono::milliseconds patience);

}  // namespace diffsnap

#endif
