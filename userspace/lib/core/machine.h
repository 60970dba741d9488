// SPDX-License-Identifier: GPL-2.0-or-later
/** @file The machine that a process of ours works on: what an Environment refers to, opened, owned and
 * locked. */
#ifndef DIFFSNAP_CORE_MACHINE_H
#define DIFFSNAP_CORE_MACHINE_H

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "core/change_lock.h"
#include "core/environment.h"
#include "core/saved_tracker.h"
#include "sys/memlock.h"

namespace diffsnap {

/**
 * Opens device-mapper and the like when they are first asked for, so that what needs none of it needs neither
 * root nor a kernel. Not for several threads.
 */
class Machine {
 public:
  /** This machine. */
  Machine() = default;
  /** Something else, for tests. Both must outlive this object. */
  Machine(dm::DeviceMapper &dm, sys::BlockDevices &devices, std::string tracker_directory = {})
      : dm_(&dm), devices_(&devices), tracker_directory_(std::move(tracker_directory)) {}
  Machine(const Machine &) = delete;
  Machine &operator=(const Machine &) = delete;

  /** Good as long as this object. Throws InitError without permission, device-mapper or module. */
  [[nodiscard]] Environment environment();
  /** As environment(), but the module need not be there. Throws InitError. */
  [[nodiscard]] dm::DeviceMapper &device_mapper();
  [[nodiscard]] sys::ProcessMemory &memory() noexcept { return memory_; }
  /** Where detached origins leave their change trackers; empty, where devices are invented, as the test says.
   */
  [[nodiscard]] const std::string &tracker_directory() const noexcept { return tracker_directory_; }
  /**
   * Waits until no other process changes devices, and keeps them from it as long as the result lives, which
   * must end before this object. Not to be called meanwhile: it would wait for itself. Null where devices are
   * invented: those are nobody else's. Throws Error. @param on_wait  as of LockFile
   */
  [[nodiscard]] std::unique_ptr<ChangeLock> lock_changes(const std::function<void()> &on_wait = {});

 private:
  std::unique_ptr<dm::DeviceMapper> own_dm_;
  std::unique_ptr<sys::BlockDevices> own_devices_;
  dm::DeviceMapper *dm_ = nullptr;
  sys::BlockDevices *devices_ = nullptr;
  std::string tracker_directory_ = default_tracker_directory;
  sys::ProcessMemory memory_;
};

}  // namespace diffsnap

#endif
