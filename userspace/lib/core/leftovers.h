// SPDX-License-Identifier: GPL-2.0-or-later
/** @file What commands have left that were killed, and origins that somebody else took out. */
#ifndef DIFFSNAP_CORE_LEFTOVERS_H
#define DIFFSNAP_CORE_LEFTOVERS_H

#include <string>
#include <vector>

#include "core/environment.h"

namespace diffsnap {

/**
 * Takes away what belongs to nothing: snapshots that a create never cut, parts of snapshots that are no more,
 * tables of ours that were loaded and not made live, real devices whose origin target is gone. A snapshot
 * that was cut stays, however incomplete: that is for its owner to remove.
 *
 * Only under a ChangeLock: what another process is about to use looks the same. What cannot be taken away
 * stays; no command fails for it.
 *
 * @return dm names of what was removed or cleared
 */
std::vector<std::string> remove_leftovers(const Environment &env);

}  // namespace diffsnap

#endif
