// SPDX-License-Identifier: GPL-2.0-or-later
/**
 * @file
 * What the targets take, by dm-target/dm-diffsnap.rst. They refuse anything else with a bare EINVAL, and only
 * when devices were made and written to: so it is checked before.
 */
#ifndef DIFFSNAP_DM_LIMITS_H
#define DIFFSNAP_DM_LIMITS_H

#include <chrono>

#include "base/device_id.h"

namespace diffsnap::dm {

// Powers of two.
inline constexpr Sectors min_chunk = 8;
inline constexpr Sectors max_chunk = 2048;
inline constexpr Sectors min_tracking_block = 8;
inline constexpr Sectors max_tracking_block = 32768;

inline constexpr Sectors min_buffer = 4096;

// All of them at least a millisecond.
inline constexpr std::chrono::milliseconds max_store_timeout{3600000};
inline constexpr std::chrono::milliseconds max_full_wait{60000};
inline constexpr std::chrono::milliseconds max_cut_limit{60000};

}  // namespace diffsnap::dm

#endif
