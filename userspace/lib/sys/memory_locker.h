// SPDX-License-Identifier: GPL-2.0-or-later
/** @file Locking memory, as an interface so that tests can invent it. */
#ifndef DIFFSNAP_SYS_MEMORY_LOCKER_H
#define DIFFSNAP_SYS_MEMORY_LOCKER_H

namespace diffsnap::sys {

/**
 * Locks the process's memory while it lives, for tables with keys. See sys/memlock.h.
 */
class MemoryLocker {
 public:
  MemoryLocker() = default;
  MemoryLocker(const MemoryLocker &) = delete;
  MemoryLocker &operator=(const MemoryLocker &) = delete;
  virtual ~MemoryLocker() = default;
  /** Locks; calls may nest. Throws Error. */
  virtual void lock() = 0;
  virtual void unlock() noexcept = 0;
};

}  // namespace diffsnap::sys

#endif
