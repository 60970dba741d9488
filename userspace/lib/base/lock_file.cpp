// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/lock_file.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>

#include "base/error.h"

namespace diffsnap {

LockFile::LockFile(const std::string &path, const std::function<void()> &on_wait)
    : fd_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)) {
  if (!fd_) {
    throw Error("open", path, errno);
  }
  int operation = LOCK_EX | LOCK_NB;
  while (::flock(fd_.get(), operation) != 0) {
    if (errno == EWOULDBLOCK) {
      operation = LOCK_EX;
      if (on_wait) {
        on_wait();
      }
    } else if (errno != EINTR) {
      throw Error("lock", path, errno);
    }
  }
}

}  // namespace diffsnap
