// SPDX-License-Identifier: GPL-2.0-or-later
#include "fail_nth.h"

#include "stamped.h"

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
  Place(std::string name, const std::string &lies_on, std::uint64_t sectors)
      : name_(std::move(name)), plain_{{0, sectors, "linear", lies_on + " 0"}} {
    dm::create(name_, plain_);
  }

  ~Place() {
    if (const int error = dm::remove(name_))
      std::fprintf(stderr, "fuzz: cannot remove %s: %s\n", name_.c_str(), std::strerror(error));
  }

  Place(const Place &) = delete;
  Place &operator=(const Place &) = delete;

  const std::string &name() const { return name_; }

  std::string node() const { return dm::node(name_); }

  void become(const Table &table) const {
    if (const int error = dm::load(name_, table))
      throw CheckFailure("load " + name_ + ": " + std::strerror(error));
    dm::resume(name_);
  }

  // Whatever was made there goes.
  void reset() const { become(plain_); }

 private:
  const std::string name_;
  const Table plain_;
};

class Steps {
 public:
  Steps(Held &held, bool all, Random &random) : held_(held), all_(all), random_(random) {}

  // The request, until nothing more can be made to fail. It must be one that
  // can be repeated when it failed, or is undone. Returns how often it failed.
  // There is none that takes no memory: of a message dm copies the parameters,
  // of a bio it makes one of its own. Where no allocation failed, nothing was tried.
  unsigned step(const std::string &what, const std::function<int()> &request,
                const std::function<void()> &undo = {}) {
    const std::string before = held_.state();
    unsigned injections = 0, failures = 0;

    for (unsigned n = 1; n < most_allocations; n += all_ ? 1 : 1 + random_() % (1 + n / rarer)) {
      fail_.arm(n);

      const int error = request();
      const bool injected = fail_.has_failed();

      if (held_.state() != before)
        throw CheckFailure(what + " without its allocation " + std::to_string(n) +
                           " has changed another snapshot");
      if (error && !injected)
        throw CheckFailure(what + ": " + std::strerror(error) + " with all its memory");
      if (error && error != ENOMEM && error != EAGAIN && error != EIO)
        throw CheckFailure(what + " without its allocation " + std::to_string(n) + ": " +
                           std::strerror(error));
      injections += injected;
      failures += error != 0;
      if (error)
        continue;
      if (injected && undo) {
        undo();
        continue;
      }
      std::printf("fuzz: %s: %s allocation %u, %u made to fail, %u failures\n", what.c_str(),
                  injected ? "done without" : "there is no", n, injections, failures);
      if (!injections)
        throw EnvironmentError(what + ": none of its allocations was made to fail");
      return failures;
    }
    throw CheckFailure(what + ": there is no end to its allocations");
  }

  // One that has memory of its own, and is refused when it gets none.
  void refused_step(const std::string &what, const std::function<int()> &request,
                    const std::function<void()> &undo) {
    if (!step(what, request, undo))
      throw EnvironmentError(what + ": it was never refused, whatever was made to fail");
  }

 private:
  Held &held_;
  const bool all_;
  Random &random_;
  FailNth fail_;
};

void nothing_to_undo() {}

// A snapshot, from the tables of its devices to its end.
class Trial {
 public:
  Trial(Held &held, const std::string &real, const std::string &store, std::uint64_t sectors, bool all,
        Random &random)
      : sectors_(sectors),
        origin_("fuzz-nth-origin", real, sectors),
        store_("fuzz-nth-store", store, sectors),
        image_("fuzz-nth-image", real, sectors),
        origin_table_{{0, sectors, "diffsnap-origin", real}},
        store_table_{{0, sectors, "diffsnap-store", store + " 8 2 low_water 8"}},
        image_table_{{0, sectors, "diffsnap-image", store_.node() + " " + origin_.node()}},
        steps_(held, all, random) {}

  void make();
  void use();
  void end();

 private:
  void load(const Place &place, const Table &table);
  int message(const std::string &text) const { return dm::message(store_.name(), text); }
  void begin_anew() const;
  void expect_valid() const;

  const std::uint64_t sectors_;
  const Place origin_;
  const Place store_;
  const Place image_;
  const Table origin_table_;
  const Table store_table_;
  const Table image_table_;
  std::unique_ptr<Stamped> written_;  // the origin
  Steps steps_;                       // disarmed before the devices are removed
};

void Trial::load(const Place &place, const Table &table) {
  const std::string &target = table[0].target;
  const auto clear = [&] {
    if (const int error = dm::clear(place.name()))
      throw CheckFailure("clear " + place.name() + ": " + std::strerror(error));
  };

  steps_.refused_step(
      "load " + target, [&] { return dm::load(place.name(), table); }, clear);
  clear();

  // The active one goes and the next is begun with, both without memory.
  const auto swap = [&] {
    const int error = dm::load(place.name(), table);

    return error ? error : dm::activate(place.name());
  };
  steps_.refused_step("load and resume " + target, swap, nothing_to_undo);
}

// No message takes an origin out of a snapshot again.
void Trial::begin_anew() const {
  if (const int error = message("drop"))
    throw CheckFailure(std::string("drop: ") + std::strerror(error));
  store_.reset();
  store_.become(store_table_);
}

void Trial::make() {
  const std::string add = "add " + origin_.node();

  load(origin_, origin_table_);
  written_ = std::make_unique<Stamped>("the origin", origin_.node());
  written_->stamp();
  load(store_, store_table_);
  steps_.refused_step(
      "add", [&] { return message(add); }, [&] { begin_anew(); });
  steps_.step("cut", [&] { return message("cut"); });
  load(image_, image_table_);
}

void Trial::expect_valid() const {
  const std::string state = dm::status(store_.name()).at(0).args;

  if (state.compare(0, 4, "low ") != 0 && state.compare(0, 7, "active ") != 0)
    throw CheckFailure("the snapshot became " + state);
}

// Requests: what fails may be the block layer's part, the snapshot goes on.
void Trial::use() {
  Stamped image("the image", image_.node(), oracle::content_image_bit);
  std::uint64_t at = 0;
  const auto next = [&] { return at = (at + block) % sectors_; };

  // Other chunks each time, so that each write is a first one.
  steps_.step(
      "write to the origin", [&] { return written_->write(next(), block); }, nothing_to_undo);
  steps_.step(
      "write to the image", [&] { return image.write(next(), 1); }, nothing_to_undo);
  steps_.step(
      "discard of the image", [&] { return image.discard(next(), block); }, nothing_to_undo);
  steps_.step(
      "read of the image", [&] { return image.read(next(), block); }, nothing_to_undo);
  expect_valid();
  written_->check();
  image.check();
}

void Trial::end() {
  constexpr std::size_t room = 4096;

  steps_.step(
      "status", [&] { return dm::raw_status(store_.name(), 0, room).error; }, nothing_to_undo);
  steps_.step("drop", [&] { return message("drop"); });
  // It names the others, which are to be removed before it.
  image_.reset();
}

}  // namespace

bool can_fail_nth() {
  return access(fail_nth_path, W_OK) == 0 && access("/sys/kernel/debug/failslab", F_OK) == 0 &&
         access("/sys/kernel/debug/fail_page_alloc", F_OK) == 0;
}

void fail_each_allocation(Held &held, const std::string &real, const std::string &store,
                          std::uint64_t sectors, bool all, Random &random) {
  Trial trial(held, real, store, sectors, all, random);

  prepare();
  trial.make();
  trial.use();
  trial.end();
}

}  // namespace fuzz
