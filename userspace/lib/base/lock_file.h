// SPDX-License-Identifier: GPL-2.0-or-later
/** @file One change at a time: a lock between processes. */
#ifndef DIFFSNAP_BASE_LOCK_FILE_H
#define DIFFSNAP_BASE_LOCK_FILE_H

#include <string>

#include "base/unique_fd.h"

namespace diffsnap {

/** Where the tool's commands that change devices meet. On tmpfs, so that it cannot be frozen. */
inline constexpr const char *default_lock_path = "/run/lock/diffsnap";

/**
 * Holds an exclusive lock (flock) while it lives. Without it one process takes for a leftover what another is
 * about to use. The file itself stays; the kernel frees the lock of a process that dies.
 */
class LockFile {
 public:
  /** Waits until the lock is free. Throws Error if the file cannot be opened or made. */
  explicit LockFile(const std::string &path = default_lock_path);

 private:
  UniqueFd fd_;
};

}  // namespace diffsnap

#endif
