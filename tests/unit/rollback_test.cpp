// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/rollback.h"

#include <cerrno>
#include <deque>
#include <random>
#include <sstream>

#include "catch.h"
#include "command.h"
#include "context.h"
#include "core/restore.h"
#include "core/snapshot_set.h"
#include "errors.h"
#include "fake_system.h"
#include "temporary_directory.h"

namespace diffsnap {
namespace {

using test::errno_of;
using test::message_of;

/** Gives ranges one after the other. */
ReadAhead::Ranges ranges_of(std::deque<sys::ByteRange> ranges) {
  return [ranges = std::move(ranges)]() mutable -> std::optional<sys::ByteRange> {
    if (ranges.empty()) {
      return std::nullopt;
    }
    const sys::ByteRange range = ranges.front();
    ranges.pop_front();
    return range;
  };
}

std::string random_content(std::mt19937 &random, std::size_t size) {
  std::string text(size, '\0');
  for (char &c : text) {
    c = static_cast<char>(random());
  }
  return text;
}

/** Two files in the place of image and origin. */
struct Files {
  test::TemporaryDirectory directory;
  std::string image = directory / "image";
  std::string origin = directory / "origin";

  RestoreTotals restore(std::deque<sys::ByteRange> ranges, unsigned threads = 2) {
    sys::TargetFile target(origin);
    return restore_ranges(image, origin, target, ranges_of(std::move(ranges)), threads, {});
  }
};

TEST_CASE_METHOD(Files, "what differs is made equal, and nothing else is written", "[rollback]") {
  std::mt19937 random(11);
  const std::size_t size = (5 << 20) + 512;
  const std::string wanted = random_content(random, size);
  test::write_file(image, wanted);
  for (const unsigned threads : {1U, 3U}) {
    std::string present = wanted;
    std::uint64_t different = 0;
    for (std::size_t at = 0; at < size; at += 4096) {
      if (random() % 5 == 0) {
        present[at] = static_cast<char>(~present[at]);
        different += std::min<std::size_t>(4096, size - at);
      }
    }
    test::write_file(origin, present);
    const RestoreTotals totals = restore({{0, size}}, threads);
    CHECK(totals.compared == size);
    CHECK(totals.different == different);
    CHECK(test::read_file(origin) == wanted);
    CHECK(restore({{0, size}}, threads).different == 0);
  }
}

TEST_CASE_METHOD(Files, "what lies outside of the ranges stays as it is", "[rollback]") {
  test::write_file(image, std::string(1 << 20, 'i'));
  test::write_file(origin, std::string(2 << 20, 'o'));
  CHECK(restore({{0, 4096}, {65536, 131072}}).different == 4096 + 131072);
  std::string expected(2 << 20, 'o');
  expected.replace(0, 4096, std::string(4096, 'i'));
  expected.replace(65536, 131072, std::string(131072, 'i'));
  CHECK(test::read_file(origin) == expected);
  CHECK(restore({}).compared == 0);
}

TEST_CASE_METHOD(Files, "a comparison writes nothing", "[rollback]") {
  test::write_file(image, std::string(65536, 'i'));
  const std::string present = std::string(8192, 'i') + std::string(65536 - 8192, 'o');
  test::write_file(origin, present);
  std::vector<std::uint64_t> told;
  const RestoreTotals totals =
      compare_ranges(image, origin, ranges_of({{0, 4096}, {4096, 61440}}), 1,
                     [&](const RestoreTotals &now) { told.push_back(now.compared); });
  CHECK(totals.compared == 65536);
  CHECK(totals.different == 65536 - 8192);
  CHECK(told == std::vector<std::uint64_t>{4096, 65536});
  CHECK(test::read_file(origin) == present);
}

TEST_CASE_METHOD(Files, "nothing is written of what cannot be read", "[rollback]") {
  test::write_file(image, std::string(4096, 'i'));
  test::write_file(origin, std::string(8192, 'o'));
  CHECK(errno_of([&] { return restore({{4096, 4096}}).compared; }) == EIO);
  CHECK(test::read_file(origin) == std::string(8192, 'o'));
}

constexpr DeviceId vdb{252, 16};
constexpr DeviceId vdc{252, 32};
constexpr DeviceId vdd{252, 48};

/** A snapshot of two origins, on devices that cannot be read. */
struct Snapshot : test::FakeSystem {
  Snapshot() {
    devices.add(vdb, "vdb", 1 << 20);
    devices.add(vdc, "vdc", 1 << 20);
    devices.add(vdd, "vdd", 1 << 20);
    CreateOptions create;
    create.name = "s";
    create.origins = {dm.add_device("data", "LVM-1", {dm::OriginTable{8192, vdb}.line()}),
                      dm.add_device("more", "LVM-2", {dm::OriginTable{8192, vdd}.line()})};
    create.store = StorePlan{{{vdc, 0, 65536}}};
    create_snapshot(env, create, nullptr, nullptr);
    options.snapshot = "s";
    options.patience = std::chrono::milliseconds(0);
    log.clear();
  }

  [[nodiscard]] std::size_t count() { return Rollback(env, options).images().size(); }
  [[nodiscard]] std::string refusal() {
    const std::string message = message_of([&] { return count(); });
    CHECK(actions().empty());
    return message;
  }

  struct Result {
    int status;
    std::string out;
    std::string err;
  };
  Result run(std::vector<const char *> words) {
    words.insert(words.begin(), "diffsnap");
    std::ostringstream out;
    std::ostringstream err;
    cli::Context context(out, err, dm, devices);
    const int status = cli::run_tool(context, static_cast<int>(words.size()), words.data());
    return {status, out.str(), err.str()};
  }

  RollbackOptions options;
};

TEST_CASE_METHOD(Snapshot, "all origins of a snapshot are rolled back, or one", "[rollback]") {
  CHECK(count() == 2);
  options.origin = "more";
  CHECK(count() == 1);
  CHECK(Rollback(env, options).images()[0].origin.name() == "more");
  CHECK(actions().empty());
}

TEST_CASE_METHOD(Snapshot, "a rollback to what is not there is refused", "[rollback]") {
  SECTION("no snapshot") {
    options.snapshot = "t";
    CHECK(errno_of([&] { return count(); }) == ENOENT);
  }
  SECTION("no origin") {
    options.origin = "other";
    CHECK(errno_of([&] { return count(); }) == ENOENT);
  }
  SECTION("given up") {
    dm.device("diffsnap-s").store_state = "overflow";
    CHECK(errno_of([&] { return count(); }) == EIO);
  }
  CHECK(actions().empty());
}

TEST_CASE_METHOD(Snapshot, "no origin is rolled back that somebody uses", "[rollback]") {
  const DeviceId more = dm.device("more").info.id;
  SECTION("mounted") {
    devices.usages[more] = "mounted on /srv";
    CHECK(refusal() == "cannot roll back origin \"more\": it is mounted on /srv");
  }
  SECTION("below another device") {
    sys::BlockDeviceFacts &facts = devices.add(more, "dm-7", 8192);
    facts.holders = {vdd};
    CHECK(refusal() == "cannot roll back origin \"more\": the device vdd lies on it");
  }
  SECTION("open") {
    dm.device("more").info.open_count = 1;
    CHECK(refusal() == "cannot roll back origin \"more\": somebody has it open");
  }
  SECTION("open exclusively, by what is seen nowhere") {
    devices.exclusive.insert(more);
    CHECK(refusal() == "cannot roll back origin \"more\": somebody uses it");
  }
  SECTION("read-only") {
    devices.add(more, "dm-7", 8192).read_only = true;
    CHECK(refusal().find("cannot roll back origin \"more\": ") == 0);
  }
  SECTION("its image") {
    devices.usages[get_tracked_image(dm, "s", "more", "look at").image.device.id] = "mounted on /mnt";
    CHECK(refusal() == "cannot roll back to image \"s/more\": it is mounted on /mnt");
  }
  // The other one is free.
  options.origin = "data";
  CHECK(count() == 1);
}

TEST_CASE_METHOD(Snapshot, "an origin may have become larger, not smaller", "[rollback]") {
  dm.device("data").live = {dm::OriginTable{16384, vdb}.line()};
  CHECK(count() == 2);
  dm.device("data").live = {dm::OriginTable{4096, vdb}.line()};
  CHECK(errno_of([&] { return count(); }) == ENOSPC);
}

TEST_CASE_METHOD(Snapshot, "what will be compared is what was written after the cut", "[rollback]") {
  dm.device("data").answers = {"512 0+128", "- 1024+128 1280+128"};
  dm.device("more").answers = {"-"};
  CHECK(Rollback(env, options).measure() == 3 * 65536);
}

TEST_CASE("a rollback that fails on the way says what became of each origin", "[rollback]") {
  const std::string again = " While the snapshot is in order, `diffsnap rollback' can be run again.";
  const auto part = [](const std::string &name) {
    return "The origin \"" + name + "\" may be rolled back in part: do not use it as it is.";
  };
  const std::string apart = " They are not of one instant any more.";
  CHECK(explain_broken_rollback({"a"}, 0) == part("a") + again);
  CHECK(explain_broken_rollback({"a", "b", "c"}, 0) ==
        part("a") + " Not touched: the origins \"b\", \"c\"." + apart + again);
  CHECK(explain_broken_rollback({"a", "b", "c"}, 1) ==
        part("b") + " Rolled back: the origin \"a\". Not touched: the origin \"c\"." + apart + again);
  CHECK(explain_broken_rollback({"a", "b", "c"}, 2) ==
        part("c") + " Rolled back: the origins \"a\", \"b\"." + apart + again);
}

TEST_CASE_METHOD(Snapshot, "the command checks before it asks, and asks before it writes",
                 "[rollback][cli]") {
  Result result = run({"rollback", "s", "-t"});
  CHECK(result.status == cli::exit_done);
  CHECK(result.out.empty());
  CHECK(run({"rollback", "s/other", "-y"}).status == cli::exit_failed);
  CHECK(run({"rollback", "s/", "-y"}).status == cli::exit_bad_command_line);
  CHECK(run({"rollback", "s/data", "--remove"}).status == cli::exit_bad_command_line);
  CHECK(run({"rollback"}).status == cli::exit_bad_command_line);
  CHECK(actions().empty());
}

}  // namespace
}  // namespace diffsnap
