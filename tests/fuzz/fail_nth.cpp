// SPDX-License-Identifier: GPL-2.0-or-later
#include "fail_nth.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>

#include <fcntl.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

namespace fuzz {

using oracle::CheckFailure;
using oracle::EnvironmentError;

namespace dm = oracle::dm;

namespace {

constexpr const char *fail_nth_path = "/proc/thread-self/fail-nth";
constexpr unsigned most_allocations = 10000;
constexpr unsigned rarer = 8;
constexpr int heap_size = 16 << 20;
constexpr std::uint64_t block = 8;

class FailNth {
 public:
  FailNth() : fd_(open(fail_nth_path, O_RDWR | O_CLOEXEC)) {
    if (fd_ < 0)
      throw EnvironmentError(std::string("cannot open ") + fail_nth_path + ": " + std::strerror(errno));
  }

  ~FailNth() {
    // Whatever happens next is to have its memory.
    if (pwrite(fd_, "0", 1, 0) != 1)
      std::perror("fuzz: cannot disarm fail-nth");
    close(fd_);
  }

  FailNth(const FailNth &) = delete;
  FailNth &operator=(const FailNth &) = delete;

  void arm(unsigned n) {
    const std::string text = std::to_string(n);

    if (pwrite(fd_, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()))
      throw EnvironmentError(std::string("cannot set fail-nth: ") + std::strerror(errno));
  }

  // Disarms; true if it has happened.
  bool has_failed() {
    char text[32] = {};
    const ssize_t length = pread(fd_, text, sizeof(text) - 1, 0);

    arm(0);
    return length > 0 && std::atoi(text) == 0;
  }

 private:
  int fd_;
};

void set(const std::string &file, const char *value) {
  std::ofstream stream(file);

  if (!(stream << value << std::flush))
    throw EnvironmentError("cannot write " + file);
}

// All allocations in the kernel count, also those that may sleep, and no stack is
// printed. This process itself has all that it will need.
void prepare() {
  mallopt(M_TRIM_THRESHOLD, heap_size);
  mallopt(M_MMAP_THRESHOLD, heap_size);
  mallopt(M_TOP_PAD, heap_size);
  std::free(std::malloc(heap_size / 2));
  if (mlockall(MCL_CURRENT | MCL_FUTURE))
    throw EnvironmentError(std::string("cannot lock memory: ") + std::strerror(errno));

  const std::string slab = "/sys/kernel/debug/failslab/";
  const std::string pages = "/sys/kernel/debug/fail_page_alloc/";

  for (const std::string &directory : {slab, pages}) {
    set(directory + "probability", "0");
    set(directory + "verbose", "0");
    set(directory + "ignore-gfp-wait", "N");
  }
  set(slab + "cache-filter", "N");
  set(pages + "min-order", "0");
}

// A device that is there: what the block layer allocates for it is not ours.
class Place {
 public:
  Place(std::string name, const std::string &lies_on, std::uint64_t sectors) : name_(std::move(name)) {
    dm::create(name_, {{0, sectors, "linear", lies_on + " 0"}});
  }

  ~Place() {
    if (const int error = dm::remove(name_))
      std::fprintf(stderr, "fuzz: cannot remove %s: %s\n", name_.c_str(), std::strerror(error));
  }

  Place(const Place &) = delete;
  Place &operator=(const Place &) = delete;

  const std::string &name() const { return name_; }

 private:
  const std::string name_;
};

class Steps {
 public:
  Steps(Held &held, bool all, Random &random) : held_(held), all_(all), random_(random) {}

  // The request, until nothing more can be made to fail. It must be one that
  // can be repeated when it failed, or is undone.
  void step(const std::string &what, const std::function<int()> &request,
            const std::function<void()> &undo = {}) {
    const std::string before = held_.state();
    unsigned failures = 0;

    for (unsigned n = 1; n < most_allocations; n += all_ ? 1 : 1 + random_() % (1 + n / rarer)) {
      fail_.arm(n);

      const int error = request();
      const bool failed = fail_.has_failed();

      if (held_.state() != before)
        throw CheckFailure(what + " without its allocation " + std::to_string(n) +
                           " has changed another snapshot");
      if (error && !failed)
        throw CheckFailure(what + ": " + std::strerror(error) + " with all its memory");
      if (error && error != ENOMEM && error != EAGAIN && error != EIO)
        throw CheckFailure(what + " without its allocation " + std::to_string(n) + ": " +
                           std::strerror(error));
      failures += error != 0;
      if (error)
        continue;
      if (!failed) {
        std::printf("fuzz: %s: at most %u allocations, %u failures\n", what.c_str(), n - 1, failures);
        return;
      }
      if (!undo) {
        std::printf("fuzz: %s: done without allocation %u, %u failures\n", what.c_str(), n, failures);
        return;
      }
      undo();
    }
    throw CheckFailure(what + ": there is no end to its allocations");
  }

 private:
  Held &held_;
  const bool all_;
  Random &random_;
  FailNth fail_;
};

void nothing_to_undo() {}

}  // namespace

bool can_fail_nth() {
  return access(fail_nth_path, W_OK) == 0 && access("/sys/kernel/debug/failslab", F_OK) == 0 &&
         access("/sys/kernel/debug/fail_page_alloc", F_OK) == 0;
}

void fail_each_allocation(Held &held, const std::string &real, const std::string &store,
                          std::uint64_t sectors, bool all, Random &random) {
  const Place origin("fuzz-nth-origin", real, sectors);
  const Place snapshot("fuzz-nth-store", store, sectors);
  const Place image("fuzz-nth-image", real, sectors);
  const std::string origin_node = dm::node(origin.name());
  const Table origin_table = {{0, sectors, "diffsnap-origin", real}};
  const Table store_table = {{0, sectors, "diffsnap-store", store + " 8 2 low_water 8"}};
  const Table image_table = {{0, sectors, "diffsnap-image", dm::node(snapshot.name()) + " " + origin_node}};
  Steps steps(held, all, random);

  prepare();

  const auto load = [&](const Place &device, const Table &table) {
    const auto clear = [&] {
      if (const int error = dm::clear(device.name()))
        throw CheckFailure("clear " + device.name() + ": " + std::strerror(error));
    };

    steps.step(
        "load " + table[0].target, [&] { return dm::load(device.name(), table); }, clear);
    clear();

    // The active one goes and the next is begun with, both without memory.
    const auto swap = [&] {
      const int error = dm::load(device.name(), table);

      return error ? error : dm::activate(device.name());
    };
    steps.step("load and resume " + table[0].target, swap, nothing_to_undo);
  };

  load(origin, origin_table);
  load(snapshot, store_table);
  steps.step("add", [&] { return dm::message(snapshot.name(), "add " + origin_node); });
  steps.step("cut", [&] { return dm::message(snapshot.name(), "cut"); });
  load(image, image_table);

  // Requests: what fails may be the block layer's part, the snapshot goes on.
  {
    const auto origin_device = oracle::open_device(origin_node);
    const auto image_device = oracle::open_device(dm::node(image.name()));
    std::unique_ptr<void, void (*)(void *)> buffer(std::aligned_alloc(4096, block * oracle::sector_size),
                                                   std::free);
    std::uint64_t at = 0;
    const auto next = [&] { return at = (at + block) % sectors; };

    std::memset(buffer.get(), 1, block * oracle::sector_size);
    // Other chunks each time, so that each write is a first one.
    steps.step(
        "write to the origin", [&] { return origin_device->write(buffer.get(), next(), block, 0); },
        nothing_to_undo);
    steps.step(
        "write to the image", [&] { return image_device->write(buffer.get(), next(), 1, 0); },
        nothing_to_undo);
    steps.step(
        "discard of the image", [&] { return image_device->discard(next(), block); }, nothing_to_undo);
    steps.step(
        "read of the image", [&] { return image_device->read(buffer.get(), next(), block); },
        nothing_to_undo);
  }
  const std::string state = dm::status(snapshot.name()).at(0).args;

  if (state.compare(0, 4, "low ") != 0 && state.compare(0, 7, "active ") != 0)
    throw CheckFailure("the snapshot became " + state);
  steps.step(
      "status",
      [&] {
        const auto result = dm::raw_status(snapshot.name(), 0, 4096);

        return result.error;
      },
      nothing_to_undo);
  steps.step("drop", [&] { return dm::message(snapshot.name(), "drop"); });
  // It names the others, which are to be removed before it.
  const Table plain = {{0, sectors, "linear", real + " 0"}};

  if (const int error = dm::load(image.name(), plain))
    throw CheckFailure(std::string("replace the image: ") + std::strerror(error));
  dm::resume(image.name());
}

}  // namespace fuzz
