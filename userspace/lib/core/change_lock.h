// SPDX-License-Identifier: GPL-2.0-or-later
/** @file One change at a time, and an account of what a process that is killed meanwhile leaves with udev. */
#ifndef DIFFSNAP_CORE_CHANGE_LOCK_H
#define DIFFSNAP_CORE_CHANGE_LOCK_H

#include <array>
#include <cstdint>
#include <functional>
#include <string>

#include "base/lock_file.h"
#include "dm/device_mapper.h"

namespace diffsnap {

/**
 * The lock that a command holds while it changes devices. Its file also names the udev cookies that the
 * holder is waiting for: a cookie is a semaphore of the system, which a killed process would leave for ever.
 * Whoever gets the lock next ends them.
 */
class ChangeLock final : private dm::CookieLedger {
 public:
  /** Waits for the lock. Throws Error. @p dm must outlive this object. @param on_wait  as of LockFile */
  explicit ChangeLock(dm::DeviceMapper &dm, const std::string &path = default_lock_path,
                      const std::function<void()> &on_wait = {});
  ChangeLock(const ChangeLock &) = delete;
  ChangeLock &operator=(const ChangeLock &) = delete;
  ~ChangeLock() override;

 private:
  void begun(std::uint32_t cookie) noexcept override;
  void ended(std::uint32_t cookie) noexcept override;
  void replace(std::uint32_t present, std::uint32_t next) noexcept;
  void end_abandoned() noexcept;

  dm::DeviceMapper &dm_;
  LockFile file_;
  // As in the file; 0 is free. No command has so many at a time: what finds no place is not accounted for.
  std::array<std::uint32_t, 16> cookies_{};
};

}  // namespace diffsnap

#endif
