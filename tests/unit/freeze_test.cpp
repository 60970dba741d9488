// SPDX-License-Identifier: GPL-2.0-or-later
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <thread>

#include "catch.h"
#include "sys/freeze_board.h"
#include "sys/watchdog.h"

using namespace diffsnap::sys;
using namespace std::chrono_literals;

namespace {

constexpr int files = 4;

/** What the invented kernel knows of each 'file system'; shared, since the watchdog is another process. */
struct Kernel {
  struct {
    std::atomic<int> error;   // of the next freeze
    std::atomic<int> delay;   // ms that a freeze takes
    std::atomic<int> frozen;  // 1 while it is
    std::atomic<int> freezes;
    std::atomic<int> thaws;
    std::atomic<int> thaw_order;
    std::atomic<int> thawed_by;
    std::atomic<int> stuck_freezing;  // process whose freeze never returns
    std::atomic<int> stuck_thawing;   // process whose thaw never begins
  } fs[files];
  std::atomic<int> clock;
};

Kernel *kernel() {
  static Kernel *shared = static_cast<Kernel *>(
      mmap(nullptr, sizeof(Kernel), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  return shared;
}

int freeze_call(int fd) noexcept {
  auto &fs = kernel()->fs[fd];
  if (fs.error != 0) {
    return fs.error;
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(fs.delay));
  ++fs.freezes;
  fs.frozen = 1;
  while (fs.stuck_freezing == getpid()) {
    pause();
  }
  return 0;
}

int thaw_call(int fd) noexcept {
  auto &fs = kernel()->fs[fd];
  while (fs.stuck_thawing == getpid()) {
    pause();
  }
  if (fs.frozen == 0) {
    return EINVAL;
  }
  fs.frozen = 0;
  ++fs.thaws;
  fs.thaw_order = ++kernel()->clock;
  fs.thawed_by = getpid();
  return 0;
}

/** A new kernel and a board of all its file systems. */
struct Fixture {
  Fixture() {
    for (auto &fs : kernel()->fs) {
      fs.error = fs.delay = fs.frozen = fs.freezes = fs.thaws = fs.thaw_order = fs.thawed_by = 0;
      fs.stuck_freezing = fs.stuck_thawing = 0;
    }
    kernel()->clock = 0;
  }

  FreezeBoard board{{0, 1, 2, 3}, {freeze_call, thaw_call}};
  std::size_t failed = 99;
};

int frozen_count() {
  int count = 0;
  for (auto &fs : kernel()->fs) {
    count += fs.frozen;
  }
  return count;
}

bool soon(bool (*condition)()) {
  for (int i = 0; i < 500; ++i) {
    if (condition()) {
      return true;
    }
    std::this_thread::sleep_for(10ms);
  }
  return false;
}

}  // namespace

TEST_CASE_METHOD(Fixture, "all is frozen and thawed in reverse", "[freeze]") {
  REQUIRE(board.freeze(failed) == 0);
  CHECK(frozen_count() == files);
  CHECK(board.phase() == FreezePhase::armed);
  REQUIRE(board.thaw(failed) == 0);
  CHECK(frozen_count() == 0);
  for (int i = 0; i < files; ++i) {
    CHECK(kernel()->fs[i].thaw_order == files - i);
  }
  CHECK(board.thaw(failed) == 0);
  CHECK(kernel()->fs[0].thaws == 1);
}

TEST_CASE_METHOD(Fixture, "what somebody else froze stays frozen", "[freeze]") {
  kernel()->fs[1].error = EBUSY;
  kernel()->fs[1].frozen = 1;
  REQUIRE(board.freeze(failed) == 0);
  REQUIRE(board.thaw(failed) == 0);
  CHECK(kernel()->fs[1].frozen == 1);
  CHECK(board.state(1) == SlotState::foreign);
  CHECK(frozen_count() == 1);
}

TEST_CASE_METHOD(Fixture, "a file system that knows no freezing is no failure", "[freeze]") {
  kernel()->fs[2].error = EOPNOTSUPP;
  REQUIRE(board.freeze(failed) == 0);
  CHECK(board.state(2) == SlotState::unsupported);
  REQUIRE(board.thaw(failed) == 0);
}

TEST_CASE_METHOD(Fixture, "a failed freeze thaws what was frozen", "[freeze]") {
  kernel()->fs[2].error = EIO;
  CHECK(board.freeze(failed) == EIO);
  CHECK(failed == 2);
  CHECK(frozen_count() == 0);
  CHECK(kernel()->fs[0].thaws == 1);
  CHECK(kernel()->fs[3].freezes == 0);
  CHECK(board.thaw(failed) == 0);
}

TEST_CASE_METHOD(Fixture, "a board is used once", "[freeze]") {
  REQUIRE(board.freeze(failed) == 0);
  REQUIRE(board.thaw(failed) == 0);
  CHECK(board.freeze(failed) == EBUSY);
  CHECK(frozen_count() == 0);
}

TEST_CASE_METHOD(Fixture, "the tool notices that the watchdog thawed", "[freeze]") {
  REQUIRE(board.freeze(failed) == 0);
  board.rescue(false);
  CHECK(frozen_count() == 0);
  CHECK(board.thaw(failed) == ETIMEDOUT);
  CHECK(failed == board.size());
}

TEST_CASE_METHOD(Fixture, "a watchdog that comes after the thaw changes nothing", "[freeze]") {
  REQUIRE(board.freeze(failed) == 0);
  REQUIRE(board.thaw(failed) == 0);
  board.rescue(true);
  CHECK(board.phase() == FreezePhase::released);
  CHECK(kernel()->fs[0].thaws == 1);
}

TEST_CASE_METHOD(Fixture, "the watchdog thaws when its time has passed", "[freeze]") {
  Watchdog watchdog(board, 50ms);
  REQUIRE(watchdog.arm() == 0);
  REQUIRE(board.freeze(failed) == 0);
  CHECK(soon([] { return frozen_count() == 0; }));
  CHECK(kernel()->fs[0].thawed_by == watchdog.pid());
  CHECK(board.thaw(failed) == ETIMEDOUT);
}

TEST_CASE_METHOD(Fixture, "a freeze that takes too long ends thawed", "[freeze]") {
  kernel()->fs[2].delay = 500;
  Watchdog watchdog(board, 50ms);
  REQUIRE(watchdog.arm() == 0);
  CHECK(board.freeze(failed) == ETIMEDOUT);
  CHECK(failed == board.size());
  CHECK(soon([] { return frozen_count() == 0; }));
  CHECK(kernel()->fs[0].thawed_by == watchdog.pid());
  CHECK(kernel()->fs[3].freezes == 0);
}

TEST_CASE_METHOD(Fixture, "nothing is thawed before the time has come", "[freeze]") {
  Watchdog watchdog(board, 10s);
  REQUIRE(watchdog.arm() == 0);
  REQUIRE(board.freeze(failed) == 0);
  std::this_thread::sleep_for(100ms);
  CHECK(frozen_count() == files);
  REQUIRE(board.thaw(failed) == 0);
  CHECK(kernel()->fs[0].thawed_by == getpid());
}

TEST_CASE_METHOD(Fixture, "the watchdog thaws when the tool is killed", "[freeze]") {
  const bool in_a_freeze = GENERATE(false, true);
  CAPTURE(in_a_freeze);
  if (in_a_freeze) {
    kernel()->fs[3].delay = 60000;
  }

  const pid_t tool = fork();
  if (tool == 0) {
    Watchdog watchdog(board, 60s);
    if (watchdog.arm() != 0 || board.freeze(failed) != 0) {
      _exit(1);
    }
    pause();
    _exit(1);
  }
  REQUIRE(tool > 0);
  const int expected = in_a_freeze ? files - 1 : files;
  for (int i = 0; i < 500 && frozen_count() != expected; ++i) {
    std::this_thread::sleep_for(10ms);
  }
  REQUIRE(frozen_count() == expected);
  kill(tool, SIGKILL);
  int status = 0;
  REQUIRE(waitpid(tool, &status, 0) == tool);
  CHECK(WIFSIGNALED(status));
  CHECK(soon([] { return frozen_count() == 0; }));
}

TEST_CASE_METHOD(Fixture, "the watchdog thaws what the tool was at when it died or stood still", "[freeze]") {
  const bool in_a_thaw = GENERATE(false, true);
  const bool killed = GENERATE(false, true);
  CAPTURE(in_a_thaw, killed);

  const pid_t tool = fork();
  if (tool == 0) {
    (in_a_thaw ? kernel()->fs[1].stuck_thawing : kernel()->fs[3].stuck_freezing) = getpid();
    Watchdog watchdog(board, killed ? 60s : 1s);
    if (watchdog.arm() == 0 && board.freeze(failed) == 0) {
      (void)board.thaw(failed);
    }
    _exit(1);
  }
  REQUIRE(tool > 0);
  CHECK(soon([] { return kernel()->fs[3].freezes == 1; }));
  if (in_a_thaw) {
    CHECK(soon([] { return kernel()->fs[2].thaws == 1; }));
  }
  if (killed) {
    kill(tool, SIGKILL);
  }
  CHECK(soon([] { return frozen_count() == 0; }));
  kill(tool, SIGKILL);
  CHECK(waitpid(tool, nullptr, 0) == tool);
}

TEST_CASE_METHOD(Fixture, "a watchdog that is gone is noticed before anything is frozen", "[freeze]") {
  Watchdog watchdog(board, 10s);
  kill(watchdog.pid(), SIGKILL);
  bool noticed = false;
  for (int i = 0; i < 500 && !noticed; ++i) {
    std::this_thread::sleep_for(10ms);
    noticed = watchdog.arm() == EPIPE;
  }
  CHECK(noticed);
}
