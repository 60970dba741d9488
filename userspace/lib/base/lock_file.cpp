// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/lock_file.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>

#include "base/error.h"

namespace diffsnap {

LockFile::LockFile(const std::string &path)
    : fd_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)) {
  if (!fd_) {
    throw Error("open", path, errno);
  }
  while (::flock(fd_.get(), LOCK_EX) != 0) {
    if (errno != EINTR) {
      throw Error("lock", path, errno);
    }
  }
}

}  // namespace diffsnap
