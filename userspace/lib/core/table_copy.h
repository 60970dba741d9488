// SPDX-License-Identifier: GPL-2.0-or-later
/** @file Moving a live table from one device to another, keys included. Internal to lib/core. */
#ifndef DIFFSNAP_CORE_TABLE_COPY_H
#define DIFFSNAP_CORE_TABLE_COPY_H

#include <string>

#include "core/environment.h"

namespace diffsnap {

/**
 * Creates a hidden device, `DIFFSNAP-real-<new id>`, with a copy of the live table of @p device. If the table
 * holds keys they are read into locked memory, and wiped. Throws Error. @return the new device.
 */
DeviceId create_copy(const Environment &env, const dm::DeviceInfo &device, const std::string &name);

/** Loads a copy of the live table of @p from into the inactive slot of @p to, with the same care for keys. */
void load_copy(const Environment &env, const std::string &from, const dm::DeviceInfo &to);

/**
 * Makes a loaded table live. The kernel suspends, swaps and resumes in one call; if that fails half-way the
 * device may be left suspended, with its old table: then it is resumed, whatever else happens. Throws Error.
 */
void swap_table(const Environment &env, const std::string &name, dm::UdevCookie &cookie,
                dm::SuspendFlags flags = {});

}  // namespace diffsnap

#endif
