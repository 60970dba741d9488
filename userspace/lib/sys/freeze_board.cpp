// SPDX-License-Identifier: GPL-2.0-or-later
#include "sys/freeze_board.h"

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <cerrno>
#include <new>

#include "base/error.h"

namespace diffsnap::sys {
namespace {

static_assert(std::atomic<SlotState>::is_always_lock_free && std::atomic<FreezePhase>::is_always_lock_free,
              "two processes use them");

int freeze_call(int fd) noexcept {
  return ioctl(fd, FIFREEZE, 0) == 0 ? 0 : errno;
}

int thaw_call(int fd) noexcept {
  return ioctl(fd, FITHAW, 0) == 0 ? 0 : errno;
}

}  // namespace

FreezeCalls system_freeze_calls() noexcept {
  return {freeze_call, thaw_call};
}

FreezeBoard::FreezeBoard(const std::vector<int> &fds, FreezeCalls calls)
    : calls_(calls), size_(fds.size()), bytes_(sizeof(Shared) + fds.size() * sizeof(Slot)) {
  static_assert(alignof(Slot) <= sizeof(Shared), "slots follow the head");

  void *memory =
      mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) {
    throw Error("share", "memory with the watchdog", errno);
  }
  shared_ = new (memory) Shared{};
  slots_ = reinterpret_cast<Slot *>(shared_ + 1);
  for (std::size_t i = 0; i < size_; ++i) {
    Slot *slot = new (slots_ + i) Slot{};
    slot->fd = fds[i];
  }
}

FreezeBoard::~FreezeBoard() {
  munmap(shared_, bytes_);
}

SlotState FreezeBoard::state(std::size_t slot) const noexcept {
  return slots_[slot].state.load();
}

FreezePhase FreezeBoard::phase() const noexcept {
  return shared_->phase.load();
}

int FreezeBoard::freeze(std::size_t &failed) noexcept {
  FreezePhase expected = FreezePhase::idle;
  failed = size_;
  if (!shared_->phase.compare_exchange_strong(expected, FreezePhase::armed)) {
    return EBUSY;
  }

  for (std::size_t i = 0; i < size_; ++i) {
    Slot &slot = slots_[i];
    slot.state = SlotState::freezing;
    const int error = calls_.freeze(slot.fd);
    switch (error) {
      case 0:
        slot.state = SlotState::frozen;
        break;
      case EBUSY:
        slot.state = SlotState::foreign;
        break;
      case EOPNOTSUPP:
        slot.state = SlotState::unsupported;
        break;
      default:
        slot.state = SlotState::open;
        failed = i;
    }

    // Pairs with rescue(): it sets the phase before it looks at the slots, we set the slot before we look at
    // the phase. So one of us sees the other, and nothing stays frozen behind the watchdog's back.
    const bool fired = shared_->phase == FreezePhase::fired;
    if (fired || failed != size_) {
      std::size_t ignored;
      (void)thaw(ignored);
      if (fired) {
        failed = size_;
      }
      return fired ? ETIMEDOUT : error;
    }
  }
  return 0;
}

int FreezeBoard::thaw(std::size_t &failed) noexcept {
  failed = size_;
  FreezePhase expected = FreezePhase::armed;
  const bool in_time = shared_->phase.compare_exchange_strong(expected, FreezePhase::released);
  const bool fired = !in_time && expected == FreezePhase::fired;

  const int error = thaw_slots(failed);
  if (fired) {
    failed = size_;
  }
  return fired ? ETIMEDOUT : error;
}

void FreezeBoard::rescue(bool also_under_way) noexcept {
  FreezePhase expected = FreezePhase::armed;
  shared_->phase.compare_exchange_strong(expected, FreezePhase::fired);

  std::size_t ignored;
  (void)thaw_slots(ignored);
  if (also_under_way) {
    thaw_under_way();
  }
}

void FreezeBoard::thaw_under_way() noexcept {
  for (std::size_t i = size_; i-- > 0;) {
    Slot &slot = slots_[i];
    SlotState seen = slot.state;
    if (seen != SlotState::freezing && seen != SlotState::thawing) {
      continue;
    }
    // The slot stays the tool's unless there was something to thaw: should its freeze begin only now, it has
    // to thaw that itself, and finds that we have fired.
    if (calls_.thaw(slot.fd) == 0) {
      slot.state.compare_exchange_strong(seen, SlotState::thawed);
    }
  }
}

int FreezeBoard::thaw_slots(std::size_t &failed) noexcept {
  int first_error = 0;

  // From the bottom of the stack: thawing a file system writes to it, and a loop device's file lies on one
  // that was frozen after it.
  for (std::size_t i = size_; i-- > 0;) {
    Slot &slot = slots_[i];
    SlotState expected = SlotState::frozen;
    if (!slot.state.compare_exchange_strong(expected, SlotState::thawing)) {
      continue;
    }
    const int error = calls_.thaw(slot.fd);
    slot.state = SlotState::thawed;
    // EINVAL: not frozen. Somebody was faster (`fsfreeze -u`), or it never was.
    if (error != 0 && error != EINVAL && first_error == 0) {
      first_error = error;
      failed = i;
    }
  }
  return first_error;
}

}  // namespace diffsnap::sys
