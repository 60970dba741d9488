// SPDX-License-Identifier: GPL-2.0-or-later
/**
 * @file
 * What is frozen, in memory that the tool and its watchdog process share. Both thaw from it, and each file
 * system is thawed by exactly one of them.
 */
#ifndef DIFFSNAP_SYS_FREEZE_BOARD_H
#define DIFFSNAP_SYS_FREEZE_BOARD_H

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace diffsnap::sys {

/** The two calls to the kernel, so that tests need neither root nor file systems. 0 or an errno value. */
struct FreezeCalls {
  int (*freeze)(int fd) noexcept;
  int (*thaw)(int fd) noexcept;
};

/** FIFREEZE and FITHAW. */
[[nodiscard]] FreezeCalls system_freeze_calls() noexcept;

/** How far a file system has got. */
enum class SlotState : std::uint32_t {
  open,         // not touched
  freezing,     // the call is under way
  frozen,       // by us: to be thawed by whoever moves it on to `thawing`
  foreign,      // somebody else had frozen it: stays as it is
  unsupported,  // it knows no freezing
  thawing,
  thawed,
};

/** How far the whole has got. Only ever moves on. */
enum class FreezePhase : std::uint32_t {
  idle,
  armed,    // freezing has begun; the watchdog's time runs
  fired,    // the watchdog thaws: what was frozen no longer is
  released  // the tool thaws: up to here all that was frozen stayed so
};

/**
 * The shared state. Made by the tool before it forks the watchdog; every function but the constructor and the
 * destructor allocates nothing, throws nothing and makes no calls but FreezeCalls', so that it may run while
 * file systems are frozen, and in a forked child.
 */
class FreezeBoard {
 public:
  /** @param fds  open file of each file system, in the order of freezing; not owned. Throws Error. */
  FreezeBoard(const std::vector<int> &fds, FreezeCalls calls);
  FreezeBoard(const FreezeBoard &) = delete;
  FreezeBoard &operator=(const FreezeBoard &) = delete;
  ~FreezeBoard();

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] SlotState state(std::size_t slot) const noexcept;
  [[nodiscard]] FreezePhase phase() const noexcept;

  /**
   * Moves from idle to armed and freezes all slots in order. When one fails, or the watchdog has fired, those
   * that were frozen are thawed again.
   * @param failed  gets the slot that failed, size() if it was the watchdog
   * @return 0 or an errno value, ETIMEDOUT for the watchdog
   */
  [[nodiscard]] int freeze(std::size_t &failed) noexcept;

  /**
   * The tool's thaw, in reverse order. Once only: a second call finds nothing to do and returns 0.
   * @return ETIMEDOUT if the watchdog had fired before, else 0 or the first errno value met
   */
  [[nodiscard]] int thaw(std::size_t &failed) noexcept;

  /**
   * The watchdog's thaw: of all that is frozen still.
   * @param also_under_way  the tool died, or stands still: what it was just freezing or thawing is thawed,
   * too, after the rest. Waits for a freeze that is under way. Should somebody else have frozen that in the
   * same instant, this undoes it; a system that hangs is worse.
   */
  void rescue(bool also_under_way) noexcept;

 private:
  struct Slot {
    int fd;
    std::atomic<SlotState> state;
  };
  struct Shared {
    std::atomic<FreezePhase> phase;
  };

  int thaw_slots(std::size_t &failed) noexcept;
  void thaw_under_way() noexcept;

  FreezeCalls calls_;
  std::size_t size_;
  std::size_t bytes_;
  Shared *shared_;
  Slot *slots_;
};

}  // namespace diffsnap::sys

#endif
