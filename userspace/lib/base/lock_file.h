// SPDX-License-Identifier: GPL-2.0-or-later
/** @file One change at a time: a lock between processes. */
#ifndef DIFFSNAP_BASE_LOCK_FILE_H
#define DIFFSNAP_BASE_LOCK_FILE_H

#include <functional>
#include <string>

#include "base/unique_fd.h"

namespace diffsnap {

/**
 * Where the tool's commands that change devices meet. On tmpfs, so that it cannot be frozen, and in a
 * directory that only root can write to: in /run/lock any user could make the file first.
 */
inline constexpr const char *default_lock_path = "/run/diffsnap.lock";

/**
 * Holds an exclusive lock (flock) while it lives. Without it one process takes for a leftover what another is
 * about to use. The file itself stays; the kernel frees the lock of a process that dies.
 */
class LockFile {
 public:
  /** Waits until the lock is free. Throws Error if the file cannot be opened or made.
   * @param on_wait  may be empty; called once if another process has the lock */
  explicit LockFile(const std::string &path = default_lock_path, const std::function<void()> &on_wait = {});

  /** The file, open for reading and writing. */
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

 private:
  UniqueFd fd_;
};

}  // namespace diffsnap

#endif
