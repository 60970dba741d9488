// SPDX-License-Identifier: GPL-2.0-or-later
/** @file Freezing the file systems on a set of devices for the moment of the cut. */
#ifndef DIFFSNAP_SYS_FREEZE_H
#define DIFFSNAP_SYS_FREEZE_H

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "sys/freeze_board.h"
#include "sys/freezer.h"
#include "sys/memlock.h"
#include "sys/watchdog.h"

namespace diffsnap::sys {

/**
 * Writes out what is dirty of the file systems on a set of devices, which may take minutes: to be done before
 * locks are taken that others wait for, so that little is left for a cut. Never throws: what is wrong with
 * them, the cut will tell.
 */
void write_out_ahead(const std::vector<DeviceId> &devices) noexcept;

/** How long file systems may stay frozen before the watchdog thaws them; the kernel's limit for a cut is 1 s.
 */
inline constexpr std::chrono::milliseconds default_freeze_limit{2000};

/**
 * Freezer by FIFREEZE and FITHAW on mount points. freeze() refuses to work outside a FreezeSection, whose
 * watchdog it needs. A file system that somebody else froze counts as frozen and is left so; one that knows
 * no freezing (vfat) is only written out, and named by unsupported().
 */
class FileSystemFreezer : public Freezer {
 public:
  explicit FileSystemFreezer(std::chrono::milliseconds limit = default_freeze_limit);
  ~FileSystemFreezer() override;

  void prepare(const std::vector<DeviceId> &origins) override;
  void write_out() override;
  [[nodiscard]] int freeze() noexcept override;
  [[nodiscard]] int thaw() noexcept override;
  [[nodiscard]] Error failure() const override;
  [[nodiscard]] std::chrono::nanoseconds frozen_time() const noexcept override;

  // Mount points, in the order of freezing; valid after a freeze() that succeeded.
  [[nodiscard]] std::vector<std::string> frozen() const { return paths(false); }
  /** Of those that could not be frozen. */
  [[nodiscard]] std::vector<std::string> unsupported() const { return paths(true); }

 private:
  friend class FreezeSection;

  struct Target {
    std::string path;
    std::string fs_type;
    UniqueFd fd;
  };

  std::vector<std::string> paths(bool unsupported) const;

  std::chrono::milliseconds limit_;
  std::vector<Target> targets_;
  std::unique_ptr<FreezeBoard> board_;
  std::unique_ptr<Watchdog> watchdog_;  // made by FreezeSection
  // Of the last freeze() or thaw() that failed.
  std::size_t failed_ = 0;
  int error_ = 0;
  bool freezing_ = true;
  std::chrono::steady_clock::time_point began_;
  std::chrono::nanoseconds frozen_{0};
};

/** CriticalSection: memory locked, signals blocked, the freezer's watchdog running. */
class FreezeSection : public CriticalSection {
 public:
  /** Both must outlive this object. */
  FreezeSection(FileSystemFreezer &freezer, MemoryLocker &memory) : freezer_(freezer), memory_(memory) {}
  ~FreezeSection() override;

  void enter() override;
  void leave() noexcept override;

 private:
  FileSystemFreezer &freezer_;
  MemoryLocker &memory_;
  std::optional<SignalBlock> signals_;
  bool locked_ = false;
};

}  // namespace diffsnap::sys

#endif
