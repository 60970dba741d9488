// SPDX-License-Identifier: GPL-2.0-or-later
/** @file A file descriptor that closes itself. */
#ifndef DIFFSNAP_BASE_UNIQUE_FD_H
#define DIFFSNAP_BASE_UNIQUE_FD_H

#include <unistd.h>

#include <utility>

namespace diffsnap {

/** The only owner of a file descriptor. Movable, not copyable. */
class UniqueFd {
 public:
  UniqueFd() noexcept = default;
  /** Takes the descriptor over; -1 means none. */
  explicit UniqueFd(int fd) noexcept : fd_(fd) {}
  UniqueFd(UniqueFd &&other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd &operator=(UniqueFd &&other) noexcept {
    if (this != &other) {
      reset(std::exchange(other.fd_, -1));
    }
    return *this;
  }
  UniqueFd(const UniqueFd &) = delete;
  UniqueFd &operator=(const UniqueFd &) = delete;
  ~UniqueFd() { reset(); }

  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] explicit operator bool() const noexcept { return fd_ >= 0; }
  /** Gives the descriptor away. */
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
  void reset(int fd = -1) noexcept {
    if (fd_ >= 0) {
      ::close(fd_);
    }
    fd_ = fd;
  }

 private:
  int fd_ = -1;
};

}  // namespace diffsnap

#endif
