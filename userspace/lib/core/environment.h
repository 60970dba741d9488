// SPDX-License-Identifier: GPL-2.0-or-later
/** @file What core works on: interfaces that the tool fills with the machine and the tests with fakes. */
#ifndef DIFFSNAP_CORE_ENVIRONMENT_H
#define DIFFSNAP_CORE_ENVIRONMENT_H

#include <chrono>
#include <vector>

#include "base/device_id.h"
#include "base/error.h"
#include "dm/device_mapper.h"
#include "sys/block_device.h"

namespace diffsnap {

/**
 * Freezes the file systems that lie on a set of devices. Used once per cut, in this order:
 * prepare, write_out, freeze, thaw. Implemented in lib/sys.
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
 * process that thaws if this one dies. Implemented in lib/sys.
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

/**
 * Locks the process's memory while it lives, for tables with keys. Implemented in lib/sys; a null pointer in
 * Environment means that memory is not locked (tests).
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

/** References only: everything in it must outlive whatever gets it. */
struct Environment {
  dm::DeviceMapper &dm;
  sys::BlockDevices &devices;
  MemoryLocker *memory = nullptr;
};

}  // namespace diffsnap

#endif
