// SPDX-License-Identifier: GPL-2.0-or-later
#include <cerrno>
#include <set>

#include "catch.h"
#include "core/leftovers.h"
#include "core/snapshot_set.h"
#include "errors.h"
#include "fake_system.h"

namespace diffsnap {
namespace {

using test::errno_of;
using test::error_of;

constexpr DeviceId vdb{252, 16};
constexpr DeviceId vdc{252, 32};
constexpr DeviceId vdd{252, 48};

/** Two origins, and a snapshot that was made for them and not taken. */
struct Made : test::FakeSystem {
  Made() {
    devices.add(vdb, "vdb", 1 << 20);
    devices.add(vdc, "vdc", 1 << 20);
    devices.add(vdd, "vdd", 1 << 20);
    first = dm.add_device("first", "LVM-1", {dm::OriginTable{8192, vdb}.line()});
    second = dm.add_device("second", "LVM-2", {dm::OriginTable{4096, vdd}.line()});
    make("s", 0);
    log.clear();
  }

  void make(const std::string &name, Sectors offset) {
    CreateOptions options;
    options.name = name;
    options.take = false;
    options.store = StorePlan{{{vdc, offset, 65536}}};
    create_snapshot(env, options, nullptr, nullptr);
  }
  int add(const std::vector<DeviceId> &origins, const std::string &name = "s") {
    return errno_of([&] {
      add_origins(env, name, origins);
      return 0;
    });
  }
  CreateResult take(const std::string &name = "s") {
    TakeOptions options;
    options.name = name;
    return take_snapshot(env, options, &freezer, &critical);
  }
  std::string state(const std::string &name = "s") { return get_snapshot(dm, name, "look at").state(); }
  std::size_t images() { return get_snapshot(dm, "s", "look at").images.size(); }

  DeviceId first;
  DeviceId second;
};

TEST_CASE_METHOD(Made, "a snapshot is made, gets its origins, and is taken", "[take]") {
  CHECK(state() == "new");
  CHECK(images() == 0);
  CHECK(add({second}) == 0);
  CHECK(add({first}) == 0);
  CHECK(state() == "new");
  log.clear();
  const CreateResult result = take();
  CHECK(state() == "active");
  CHECK(result.images == std::vector<std::string>{"/dev/diffsnap/s/second", "/dev/diffsnap/s/first"});
  const SnapshotInfo snapshot = get_snapshot(dm, "s", "look at");
  CHECK(snapshot.id == result.id);
  REQUIRE(snapshot.images.size() == 2);
  std::set<std::size_t> places;
  for (const ImageInfo &image : snapshot.images) {
    CHECK(image.snapshot_id == result.id);
    CHECK(image.table.length == (image.origin_name == "first" ? 8192U : 4096U));
    CHECK(image.index == (image.origin_name == "first" ? 1U : 0U));
    places.insert(image.index);
  }
  CHECK(places.size() == 2);
  // As create does it: frozen before the cut, thawed after it, images last.
  const test::Log done = actions();
  CHECK(std::vector<std::string>(done.begin(), done.begin() + 7) ==
        std::vector<std::string>{"prepare", "write out", "enter", "freeze", "message diffsnap-s cut", "thaw",
                                 "leave"});
}

TEST_CASE_METHOD(Made, "what waits to be taken is no leftover", "[take][leftovers]") {
  CHECK(add({first}) == 0);
  CHECK(remove_leftovers(env).empty());
  CHECK(state() == "new");
  CHECK(get_snapshot(dm, "s", "look at").to_be_taken);
  remove_snapshot(env, "s");
  CHECK(dm.names() == std::set<std::string>{"first", "second"});
  CHECK(dm.device("first").origin_state == "idle");
}

TEST_CASE_METHOD(Made, "wrong uses change nothing", "[take]") {
  SECTION("without origins") {
    CHECK(errno_of([&] { return take().id; }) == EINVAL);
    CHECK(state() == "new");
  }
  SECTION("no such snapshot") {
    CHECK(errno_of([&] { return take("t").id; }) == ENOENT);
    CHECK(add({first}, "t") == ENOENT);
  }
  SECTION("twice") {
    CHECK(add({first}) == 0);
    take();
    log.clear();
    CHECK(errno_of([&] { return take().id; }) == EBUSY);
    CHECK(add({second}) == EBUSY);
  }
  SECTION("what is held") {
    make("t", 131072);
    CHECK(add({first}, "t") == 0);
    log.clear();
    CHECK(add({second, first}) == EBUSY);
    CHECK(add({first}, "t") == EEXIST);
    CHECK(add({second, second}) == EEXIST);
    CHECK(dm.device("second").origin_state == "idle");
  }
  SECTION("what the store lies on") {
    const DeviceId below = dm.add_device("below", "LVM-3", {dm::OriginTable{1 << 20, vdc}.line()});
    CHECK(add({below}) != 0);
  }
  SECTION("no origin") {
    CHECK(add({vdb}) == ENODEV);
  }
  SECTION("given up") {
    dm.device("diffsnap-s").store_state = "invalid";
    CHECK(errno_of([&] { return take().id; }) == EINVAL);
    CHECK(add({first}) == EINVAL);
  }
  CHECK(actions().empty());
}

TEST_CASE_METHOD(Made, "a cut that fails leaves the snapshot as it was", "[take]") {
  CHECK(add({first}) == 0);
  for (int call = 1;; ++call) {
    REQUIRE(call < 30);
    faults.fail_at(call, EIO);
    const auto error = error_of([&] { return take().id; });
    CHECK_FALSE(freezer.frozen());
    CHECK_FALSE(critical.entered());
    CHECK(dm.open_cookies.empty());
    if (!faults.triggered()) {
      break;
    }
    if (state() == "active") {
      // Cut, and without images: that cannot be undone, and is said.
      if (error && images() == 0) {
        CHECK(error->hint().find("diffsnap remove s") != std::string::npos);
        remove_snapshot(env, "s");
        make("s", 0);
        CHECK(add({first}) == 0);
      } else {
        break;
      }
    } else {
      REQUIRE(error);
      CHECK(state() == "new");
      CHECK(images() == 0);
    }
  }
  CHECK(state() == "active");
  CHECK(images() == 1);
}

TEST_CASE_METHOD(Made, "a snapshot that lost an origin before the cut can only be removed", "[take]") {
  CHECK(add({first}) == 0);
  SECTION("while it is taken") {
    dm.meanwhile["message diffsnap-s cut"] = [&] {
      dm.device("diffsnap-s").store_state = "invalid";
      faults.fail_at(1, ENODEV);
    };
    const auto error = error_of([&] { return take().id; });
    REQUIRE(error);
    CHECK(error->error_number() == ENODEV);
    CHECK(error->reason() == "an origin is gone");
    CHECK(error->hint() == "It was given up: `diffsnap remove s` removes it.");
  }
  SECTION("or before") {
    dm.device("diffsnap-s").store_state = "invalid";
    const auto error = error_of([&] { return take().id; });
    REQUIRE(error);
    CHECK(error->hint() == "`diffsnap remove s` removes it.");
  }
  CHECK(images() == 0);
}

TEST_CASE_METHOD(Made, "a limit that the kernel would not take is none", "[take]") {
  CHECK(add({first}) == 0);
  log.clear();
  TakeOptions options;
  options.name = "s";
  options.cut_limit = std::chrono::milliseconds(GENERATE(-1, 0, 60001));
  CHECK_THROWS_AS(take_snapshot(env, options, &freezer, &critical), SyntaxError);
  CHECK(actions().empty());
}

TEST_CASE_METHOD(Made, "a check takes nothing", "[take]") {
  CHECK(add({first}) == 0);
  log.clear();
  TakeOptions options;
  options.name = "s";
  options.dry_run = true;
  CHECK(take_snapshot(env, options, &freezer, &critical).images.size() == 1);
  add_origins(env, "s", {second}, true);
  CHECK(actions().empty());
}

}  // namespace
}  // namespace diffsnap
