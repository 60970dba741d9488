// SPDX-License-Identifier: GPL-2.0-or-later
/** @file Moving live tables: from one device to another, keys included, and in place of each other. Internal
 * to lib/core. */
#ifndef DIFFSNAP_CORE_TABLE_COPY_H
#define DIFFSNAP_CORE_TABLE_COPY_H

#include <functional>
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

/** What happens to I/O in flight when a table is swapped. */
enum class InFlight {
  /** It ends before the swap. */
  wait,
  /** It is queued and goes through the new table: the old one may not answer. */
  requeue,
};

/**
 * Makes a loaded table live. A file system on the device is not frozen: its data is the same below either
 * table, to freeze it would mean to write out all that is dirty, and it fails if somebody else has frozen it.
 *
 * The kernel suspends, swaps and resumes in one call. If that fails half-way the device may be left
 * suspended, with the old table, or with the new one whose target did not want to start. It is resumed then,
 * and if it cannot be, @p load_old, which loads the old table again, is called and it is resumed with that.
 * @return with the new table live. Throws Error: the old one is, or nothing helped and the device is
 * suspended.
 */
void swap_table(const Environment &env, const std::string &name, dm::UdevCookie &cookie,
                const std::function<void()> &load_old, InFlight in_flight = InFlight::wait);

}  // namespace diffsnap

#endif
