// SPDX-License-Identifier: GPL-2.0-or-later
/** @file Freezing file systems for a cut, as interfaces so that tests can invent some. */
#ifndef DIFFSNAP_SYS_FREEZER_H
#define DIFFSNAP_SYS_FREEZER_H

#include <chrono>
#include <vector>

#include "base/device_id.h"
#include "base/error.h"

namespace diffsnap::sys {

/**
 * Freezes the file systems that lie on a set of devices. Used once per cut, in this order:
 * prepare, write_out, freeze, thaw. See sys/freeze.h.
 */
class Freezer {
 public:
  Freezer() = default;
  Freezer(const Freezer &) = delete;
  Freezer &operator=(const Freezer &) = delete;
  virtual ~Freezer() = default;

  /** Finds the mounted file systems on the devices (through stacks, loop devices too), opens them and works
   * out the order. Whatever freeze() and thaw() need is allocated here. Throws Error. */
  virtual void prepare(const std::vector<DeviceId> &origins) = 0;
  /** Writes out dirty data of those file systems, so that little is left to do while they are frozen. */
  virtual void write_out() = 0;
  /** Freezes all, topmost first. When one fails those that were frozen are thawed again before it returns.
   *  Allocates, opens and logs nothing. @return 0 or an errno value; failure() explains it. */
  [[nodiscard]] virtual int freeze() noexcept = 0;
  /** Thaws what freeze() froze, in reverse; what somebody else had frozen stays so. Does nothing a second
   * time. Allocates, opens and logs nothing. @return 0, or the first errno value met; all are tried. */
  [[nodiscard]] virtual int thaw() noexcept = 0;
  /** The error of the last freeze() or thaw() that returned one, for the user. */
  [[nodiscard]] virtual Error failure() const = 0;
  /** From before the first freeze to after the last thaw; zero if nothing was frozen. */
  [[nodiscard]] virtual std::chrono::nanoseconds frozen_time() const noexcept = 0;
};

/**
 * The state of the process in which file systems may be frozen: memory locked, signals blocked, a watchdog
 * process that thaws if this one dies. See sys/freeze.h.
 */
class CriticalSection {
 public:
  CriticalSection() = default;
  CriticalSection(const CriticalSection &) = delete;
  CriticalSection &operator=(const CriticalSection &) = delete;
  virtual ~CriticalSection() = default;

  /** Called after Freezer::prepare(). Throws Error; nothing of it stays then. */
  virtual void enter() = 0;
  /** Undoes enter(); does nothing if it was not entered. */
  virtual void leave() noexcept = 0;
};

}  // namespace diffsnap::sys

#endif
