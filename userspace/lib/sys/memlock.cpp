// SPDX-License-Identifier: GPL-2.0-or-later
#include "sys/memlock.h"

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <initializer_list>

#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>

#include "base/error.h"

namespace diffsnap::sys {
namespace {

// Far more than the critical section's calls need: a few frames and an ioctl.
constexpr std::size_t stack_reserve = 128 * 1024;
constexpr std::size_t heap_reserve = 1024 * 1024;
constexpr std::size_t page = 4096;

/** The stack grows by page faults. Those are taken here. */
__attribute__((noinline)) void touch_stack() {
  volatile unsigned char stretch[stack_reserve];

  for (std::size_t at = 0; at < sizeof(stretch); at += page) {
    stretch[at] = 0;
  }
  // Keeps the compiler from making the array smaller than it is.
  stretch[sizeof(stretch) - 1] = stretch[0];
}

/**
 * Nothing is allocated in the critical section that we know of; should a library
 * do so all the same, it finds room in the heap that is there, without asking the
 * kernel.
 */
void grow_heap() {
  mallopt(M_TRIM_THRESHOLD, 2 * static_cast<int>(heap_reserve));
  mallopt(M_TOP_PAD, static_cast<int>(heap_reserve));
  mallopt(M_MMAP_THRESHOLD, 2 * static_cast<int>(heap_reserve));

  void *reserve = std::malloc(heap_reserve);
  if (!reserve) {
    throw Error("reserve", "memory", ENOMEM);
  }
  for (std::size_t at = 0; at < heap_reserve; at += page) {
    static_cast<volatile unsigned char *>(reserve)[at] = 0;
  }
  std::free(reserve);
}

/** Such a signal, too, waits while it is blocked: it may no longer be ignored when it is not. */
bool is_ignored(int signal) noexcept {
  struct sigaction action {};
  return sigaction(signal, nullptr, &action) == 0 && (action.sa_flags & SA_SIGINFO) == 0 &&
         action.sa_handler == SIG_IGN;
}

}  // namespace

ProcessMemory::~ProcessMemory() {
  if (depth_ > 0) {
    munlockall();
  }
}

void ProcessMemory::lock() {
  if (depth_ == 0) {
    grow_heap();
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
      throw Error("lock", "memory", errno);
    }
    touch_stack();
  }
  ++depth_;
}

void ProcessMemory::unlock() noexcept {
  if (depth_ > 0 && --depth_ == 0) {
    munlockall();
  }
}

SignalBlock::SignalBlock(Which which) {
  if (which == Which::all) {
    sigfillset(&blocked_);
  } else {
    sigemptyset(&blocked_);
    for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGTERM}) {
      sigaddset(&blocked_, signal);
    }
  }
  const int err = pthread_sigmask(SIG_BLOCK, &blocked_, &before_);
  if (err != 0) {
    throw Error("block", "signals", err);
  }
}

SignalBlock::~SignalBlock() {
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

bool SignalBlock::pending() const noexcept {
  sigset_t waiting;

  sigemptyset(&waiting);
  sigpending(&waiting);
  for (int signal = 1; signal < NSIG; ++signal) {
    if (sigismember(&waiting, signal) == 1 && sigismember(&blocked_, signal) == 1 &&
        sigismember(&before_, signal) != 1 && !is_ignored(signal)) {
      return true;
    }
  }
  return false;
}

}  // namespace diffsnap::sys
