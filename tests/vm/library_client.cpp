// SPDX-License-Identifier: GPL-2.0-or-later
//
// A program as others write it: the public interface on real devices, from attach to detach. Not by the
// tests' own means, so that it sees what they see. usage: library-client DISK OTHER STORE, all of them zeroed
#include <diffsnap/diffsnap.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iostream>

namespace {

using namespace std::chrono_literals;
using diffsnap::SnapshotState;

constexpr std::uint64_t mib = 1 << 20;

void must(bool good, const std::string &what) {
  std::cout << (good ? "good: " : "WRONG: ") << what << std::endl;
  if (!good) {
    throw std::runtime_error(what);
  }
}

/** The errno value that an action fails with; 0 if it does not. */
template <typename Action>
int code_of(const Action &action) {
  try {
    static_cast<void>(action());
  } catch (const std::system_error &error) {
    std::cout << "  " << error.what() << '\n';
    return error.code().value();
  }
  return 0;
}

/** Open as long as it lives. */
class Device {
 public:
  explicit Device(const std::string &path) : fd_(open(path.c_str(), O_RDWR | O_CLOEXEC)) {
    must(fd_ >= 0, "open " + path);
  }
  Device(const Device &) = delete;
  Device &operator=(const Device &) = delete;
  ~Device() { close(fd_); }

  void write(char letter, std::uint64_t offset, std::uint64_t length) {
    const std::vector<char> data(length, letter);
    must(pwrite(fd_, data.data(), length, static_cast<off_t>(offset)) == static_cast<ssize_t>(length) &&
             fsync(fd_) == 0,
         "write");
  }
  bool shows(char letter, std::uint64_t offset, std::uint64_t length) {
    std::vector<char> data(length);
    return pread(fd_, data.data(), length, static_cast<off_t>(offset)) == static_cast<ssize_t>(length) &&
           std::all_of(data.begin(), data.end(), [&](char c) { return c == letter; });
  }
  bool read_fails(std::uint64_t offset, std::uint64_t length) {
    std::vector<char> data(length);
    return pread(fd_, data.data(), length, static_cast<off_t>(offset)) < 0 && errno == EIO;
  }

 private:
  int fd_;
};

/** "offset+length ...", in MiB */
std::string list(diffsnap::Changes changes) {
  std::string text;
  while (const auto range = changes.next()) {
    must(range->offset % mib == 0 && range->length % mib == 0, "whole MiB");
    text += std::to_string(range->offset / mib) + '+' + std::to_string(range->length / mib) + ' ';
  }
  return text;
}

class Scenario {
 public:
  Scenario(const std::string &disk, const std::string &other, const std::string &store)
      : disk_(disk), other_(other), store_(store) {}

  void run() {
    attach();
    first_snapshot();
    second_snapshot();
    detach();
  }

 private:
  diffsnap::CreateOptions options(const std::string &name, std::uint64_t store_size) {
    diffsnap::CreateOptions options;
    options.name = name;
    options.origins = {"data", other_};
    options.stores = {{store_, diffsnap::Range{mib, store_size}}};
    return options;
  }

  void attach() {
    diffsnap::AttachOptions named;
    named.name = "data";
    named.tracking_block = mib;
    const auto attached = manager_.attach(disk_, named);
    const auto &data = attached.origin;
    must(attached.tracker_lost.empty(), "no tracker was there to be lost");
    must(data.path == "/dev/mapper/data" && data.tracking_block == mib && data.newest.number == 0,
         "attached");
    named.name = "other";
    must(manager_.attach(other_, named).origin.snapshot.empty(), "attached the other one");
    must(manager_.origins().size() == 2, "two origins");
    must(manager_.find_origin(disk_).value().name == "data", "found by what is below");
    must(!manager_.find_origin(store_), "a store is no origin");
    must(code_of([&] { return manager_.attach(disk_, named); }) == EEXIST, "attached once only");
    std::cout << "module " << manager_.kernel_versions().module << '\n';
  }

  void first_snapshot() {
    auto wanted = options("first", 8 * mib);
    wanted.low_water = 4 * mib;
    auto wrong = wanted;
    wrong.stores = {{disk_}};
    must(code_of([&] { return manager_.create(wrong); }) == EBUSY, "no store below an origin");
    wrong.stores = {{"/dev/mapper/data"}};
    must(code_of([&] { return manager_.create(wrong); }) == EDEADLK, "no store on an origin");
    const auto made = manager_.create(wanted);
    const auto &snapshot = made.snapshot;
    must(snapshot.state == SnapshotState::active && snapshot.store_size == 8 * mib, "a snapshot");
    must(made.held > 0ns && made.frozen == 0ns && made.not_frozen.empty(), "nothing was there to be frozen");
    must(snapshot.images.size() == 2 && snapshot.images[1].origin == "other", "two images");
    first_ = snapshot.images[0].id;
    must(first_ && first_->number == 1, "the first one");
    must(code_of([&] { return manager_.create(wanted); }) == EEXIST, "made once only");
    must(code_of([&] { return (manager_.detach("data"), 0); }) == EBUSY, "held");

    must(!manager_.wait("first", snapshot.event, 50ms), "no event yet");
    Device image(snapshot.images[0].path);
    Device("/dev/mapper/data").write('x', 10 * mib, 5 * mib);
    const auto event = manager_.wait("first", snapshot.event, 20s);
    must(event && event->snapshot.state == SnapshotState::low, "the store is low");
    must(manager_.extend("first", {{store_, diffsnap::Range{16 * mib, 16 * mib}}}) == 24 * mib, "extended");
    must(!manager_.wait("first", manager_.find_snapshot("first").value().event, 0ms), "no other event");
    must(image.shows('\0', 10 * mib, 5 * mib), "the image is as it was");
    must(list(manager_.changes(snapshot.images[0])) == "0+64 ", "all of it");
    must(code_of([&] { return (manager_.remove("first"), 0); }) == EBUSY, "an image is open");
  }

  void second_snapshot() {
    manager_.remove("first");
    must(code_of([&] { return (manager_.remove("first"), 0); }) == ENOENT, "removed");
    manager_.mark(other_, {{3 * mib + 5, 1}});
    auto wanted = options("second", 4 * mib);
    wanted.freeze = false;
    const auto snapshot = manager_.create(wanted).snapshot;
    must(list(manager_.changes(snapshot.images[0], first_)) == "10+5 ", "what was written");
    must(list(manager_.changes(snapshot.images[1], snapshot.images[1].id)).empty(), "nothing since itself");
    auto since = *snapshot.images[1].id;
    since.number = 1;
    must(list(manager_.changes(snapshot.images[1], since)) == "3+1 ", "what was marked");
    must(code_of([&] { return manager_.changes(snapshot.images[1], first_); }) == ESTALE,
         "another generation");

    auto changes = manager_.changes(snapshot.images[0]);
    Device image(snapshot.images[0].path);
    must(image.shows('x', 10 * mib, mib), "the image before");
    Device("/dev/mapper/data").write('y', 20 * mib, 10 * mib);
    const auto event = manager_.wait("second", snapshot.event, 20s);
    must(event && event->snapshot.state == SnapshotState::overflow, "the store is full");
    must(!event->snapshot.reason.empty() && !event->snapshot.images[0].id, event->snapshot.reason);
    must(image.read_fails(20 * mib, mib), "reads fail");
    must(changes.next() && code_of([&] { return changes.next(); }) == EIO, "a list has no end");
    must(code_of([&] { return manager_.changes(snapshot.images[0]); }) == EIO, "and no beginning");
    manager_.remove("second", true);
    must(manager_.snapshots().empty(), "removed by force");
  }

  void detach() {
    must(manager_.detach("data").tracker_lost.empty(), "its tracker is kept");
    manager_.detach(other_);
    must(manager_.origins().empty(), "detached");
    must(code_of([&] { return (manager_.detach(other_), 0); }) == ENODEV, "once only");
  }

  diffsnap::Manager manager_;
  const std::string disk_;
  const std::string other_;
  const std::string store_;
  std::optional<diffsnap::ChangeId> first_;
};

}  // namespace

int main(int argc, char **argv) try {
  must(argc == 4, "three arguments");
  Scenario(argv[1], argv[2], argv[3]).run();
  return 0;
} catch (const std::exception &error) {
  std::cerr << "library-client: " << error.what() << '\n';
  return 1;
}
