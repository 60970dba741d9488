// SPDX-License-Identifier: GPL-2.0-or-later
#include "sys/watchdog.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <csignal>

#include "base/error.h"

namespace diffsnap::sys {
namespace {

constexpr char armed = 'a';

/** In milliseconds: how long the tool may take to see that the watchdog has fired. */
constexpr int grace = 300;

enum class Heard { word, end, nothing };

/** Waits for a word of the tool; @p timeout in milliseconds, -1 without end. */
Heard listen_for_word(int line, int timeout) noexcept {
  pollfd wait = {line, POLLIN, 0};

  for (;;) {
    const int files = poll(&wait, 1, timeout);
    if (files == 0) {
      return Heard::nothing;
    }
    if (files < 0) {
      continue;  // signals are blocked; nothing else can interrupt it
    }
    char word;
    const ssize_t got = read(line, &word, 1);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    return got == 1 ? Heard::word : Heard::end;
  }
}

/** Best effort: none of it is needed on a healthy machine. */
void harden() noexcept {
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null >= 0) {
    // Whoever reads the tool's output shall not wait for this process.
    for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
      (void)dup2(null, fd);
    }
    if (null > STDERR_FILENO) {
      close(null);
    }
  }
  const int oom = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (oom >= 0) {
    (void)!write(oom, "-1000", 5);
    close(oom);
  }
  sched_param priority{};
  priority.sched_priority = 1;
  (void)sched_setscheduler(0, SCHED_FIFO, &priority);
  (void)prctl(PR_SET_NAME, "diffsnap-thaw");
}

/** The life of the watchdog. Only system calls and the board from here on: this is a forked child. */
[[noreturn]] void watch(FreezeBoard &board, int line, int limit) noexcept {
  harden();
  const int error = mlockall(MCL_CURRENT | MCL_FUTURE) == 0 ? 0 : errno;
  if (write(line, &error, sizeof(error)) != sizeof(error) || error != 0) {
    _exit(1);
  }

  Heard heard = listen_for_word(line, -1);
  if (heard == Heard::word) {
    heard = listen_for_word(line, limit);
    if (heard != Heard::end) {
      board.rescue(false);
      // What is being frozen just now is thawed by the tool, which sees that we have fired; or by us, when it
      // has died or stands still.
      while (listen_for_word(line, grace) != Heard::end) {
        board.rescue(true);
      }
    }
  }
  board.rescue(true);
  _exit(0);
}

}  // namespace

Watchdog::Watchdog(FreezeBoard &board, std::chrono::milliseconds limit) {
  std::array<int, 2> ends{};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    throw Error("start", "the watchdog", errno);
  }
  line_.reset(ends[0]);
  UniqueFd other(ends[1]);

  // Blocked before the fork, so that no signal for the whole group can end the child at its start.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &before);
  pid_ = fork();
  if (pid_ == 0) {
    close(line_.get());
    const auto count = limit.count();
    watch(board, other.get(), count > INT_MAX ? INT_MAX : static_cast<int>(count));
  }
  const int fork_error = errno;
  sigprocmask(SIG_SETMASK, &before, nullptr);
  if (pid_ < 0) {
    throw Error("start", "the watchdog", fork_error);
  }
  other.reset();

  int error = ESRCH;  // what remains if the child ends without a word
  const ssize_t got = recv(line_.get(), &error, sizeof(error), MSG_WAITALL);
  if (got != sizeof(error) || error != 0) {
    line_.reset();
    waitpid(pid_, nullptr, 0);
    throw Error("start", "the watchdog", error);
  }
}

Watchdog::~Watchdog() {
  line_.reset();
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

int Watchdog::arm() noexcept {
  return send(line_.get(), &armed, 1, MSG_NOSIGNAL) == 1 ? 0 : errno;
}

}  // namespace diffsnap::sys
