// SPDX-License-Identifier: GPL-2.0-or-later
/** @file The process that thaws when the tool cannot. */
#ifndef DIFFSNAP_SYS_WATCHDOG_H
#define DIFFSNAP_SYS_WATCHDOG_H

#include <sys/types.h>

#include <chrono>

#include "base/unique_fd.h"
#include "sys/freeze_board.h"

namespace diffsnap::sys {

/**
 * A forked process, locked in memory, that thaws what a board says is frozen when its parent dies, or when a
 * time limit has passed since arm(). It holds the open files of the board, and runs no code that allocates.
 *
 * Make it from a process with one thread, after the board's files were opened and before the first freeze.
 */
class Watchdog {
 public:
  /** Returns when the process is ready. @p board must outlive this object. Throws Error. */
  Watchdog(FreezeBoard &board, std::chrono::milliseconds limit);
  Watchdog(const Watchdog &) = delete;
  Watchdog &operator=(const Watchdog &) = delete;
  /** Lets the process end, and waits for it. It thaws first if something is frozen still. */
  ~Watchdog();

  /** Starts the time. Allocates nothing. @return 0, or an errno value: there is no watchdog (any more). */
  [[nodiscard]] int arm() noexcept;

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }

 private:
  UniqueFd line_;  // the other end sees its end when this process dies, in whichever way
  pid_t pid_ = -1;
};

}  // namespace diffsnap::sys

#endif
