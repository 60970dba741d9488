// SPDX-License-Identifier: GPL-2.0-or-later
/** @file Holding the process still: while file systems are frozen, and while it holds keys. */
#ifndef DIFFSNAP_SYS_MEMLOCK_H
#define DIFFSNAP_SYS_MEMLOCK_H

#include <csignal>

#include "sys/memory_locker.h"

namespace diffsnap::sys {

/**
 * Locks the process in memory: everything mapped now and later, a stretch of stack and a reserve of heap, all
 * touched, so that nothing between the first freeze and the last thaw waits for a page from a frozen file
 * system, and no key is swapped out. One object per process; not for several threads.
 */
class ProcessMemory : public MemoryLocker {
 public:
  ~ProcessMemory() override;

  /** Throws Error (EPERM, ENOMEM) if the memory cannot be locked. */
  void lock() override;
  void unlock() noexcept override;

 private:
  unsigned depth_ = 0;
};

/**
 * Blocks signals for the calling thread. Those that arrive meanwhile are delivered when the object ends. May
 * nest.
 */
class SignalBlock {
 public:
  enum class Which {
    all,          // that can be blocked
    termination,  // those by which people and machines end a command: HUP, INT, QUIT, TERM
  };

  /** Throws Error. */
  explicit SignalBlock(Which which = Which::all);
  SignalBlock(const SignalBlock &) = delete;
  SignalBlock &operator=(const SignalBlock &) = delete;
  ~SignalBlock();

  /** Whether one of those has arrived and waits, for this thread or the process, to be delivered at the
   * object's end: neither one that is ignored nor one that the thread had blocked before. */
  [[nodiscard]] bool pending() const noexcept;

 private:
  sigset_t blocked_;
  sigset_t before_;
};

}  // namespace diffsnap::sys

#endif
