// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/fd_stream.h"

#include <unistd.h>

#include <cerrno>

#include "base/error.h"

namespace diffsnap {

namespace {

constexpr std::size_t gathered = 65536;

}  // namespace

FdSink::FdSink(int fd, std::string name) : fd_(fd), name_(std::move(name)) {
  held_.reserve(gathered);
}

void FdSink::write(const void *data, std::size_t length) {
  if (held_.size() + length > gathered) {
    flush();
  }
  if (length > gathered) {
    write_out(data, length);
    return;
  }
  const auto *bytes = static_cast<const unsigned char *>(data);
  held_.insert(held_.end(), bytes, bytes + length);
}

void FdSink::flush() {
  write_out(held_.data(), held_.size());
  held_.clear();
}

void FdSink::sync() {
  flush();
  // What has nothing to write out says so by one of these.
  if (::fsync(fd_) != 0 && errno != EINVAL && errno != EROFS && errno != ENOTSUP) {
    throw Error("write out", name_, errno);
  }
}

void FdSink::write_out(const void *data, std::size_t length) {
  const auto *bytes = static_cast<const unsigned char *>(data);
  while (length > 0) {
    const ssize_t written = ::write(fd_, bytes, length);
    if (written < 0) {
      if (errno == EINTR) {
        continue;
      }
      throw Error("write", name_, errno);
    }
    bytes += written;
    length -= static_cast<std::size_t>(written);
  }
}

std::size_t FdSource::read(void *data, std::size_t length) {
  while (true) {
    const ssize_t got = ::read(fd_, data, length);
    if (got >= 0) {
      return static_cast<std::size_t>(got);
    }
    if (errno != EINTR) {
      throw Error("read", name_, errno);
    }
  }
}

}  // namespace diffsnap
