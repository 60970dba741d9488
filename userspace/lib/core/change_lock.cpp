// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/change_lock.h"

#include <unistd.h>

#include <algorithm>

namespace diffsnap {

ChangeLock::ChangeLock(dm::DeviceMapper &dm, const std::string &path, const std::function<void()> &on_wait)
    : dm_(dm), file_(path, on_wait) {
  end_abandoned();
  dm_.keep_ledger(this);
}

ChangeLock::~ChangeLock() {
  dm_.keep_ledger(nullptr);
}

void ChangeLock::begun(std::uint32_t cookie) noexcept {
  replace(0, cookie);
}

void ChangeLock::ended(std::uint32_t cookie) noexcept {
  replace(cookie, 0);
}

void ChangeLock::replace(std::uint32_t present, std::uint32_t next) noexcept {
  const auto found = std::find(cookies_.begin(), cookies_.end(), present);
  if (found == cookies_.end()) {
    return;
  }
  *found = next;
  const auto offset = (found - cookies_.begin()) * static_cast<off_t>(sizeof(next));
  // If it cannot be written, a kill would leave a semaphore: nothing that a command should fail for.
  static_cast<void>(!::pwrite(file_.fd(), &next, sizeof(next), offset));
}

void ChangeLock::end_abandoned() noexcept {
  std::array<std::uint32_t, 16> left{};
  const ssize_t got = ::pread(file_.fd(), left.data(), sizeof(left), 0);
  for (std::size_t i = 0; got > 0 && i < static_cast<std::size_t>(got) / sizeof(left[0]); ++i) {
    if (left[i] != 0) {
      dm_.abandon_cookie(left[i]);
    }
  }
  static_cast<void>(!::ftruncate(file_.fd(), 0));
}

}  // namespace diffsnap
