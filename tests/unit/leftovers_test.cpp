// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/leftovers.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "base/unique_fd.h"
#include "catch.h"
#include "core/change_lock.h"
#include "core/naming.h"
#include "core/snapshot_set.h"
#include "core/stacking.h"
#include "errors.h"
#include "fake_system.h"

namespace diffsnap {
namespace {

using test::errno_of;
using Names = std::set<std::string>;

constexpr DeviceId vdb{252, 16};
constexpr DeviceId vdc{252, 32};

/** A name of its own; the file is not there yet. */
class LockPath {
 public:
  LockPath() {
    char name[] = "/tmp/diffsnap-lock-XXXXXX";
    UniqueFd(::mkstemp(name)).reset();
    path_ = name;
    std::remove(name);
  }
  LockPath(const LockPath &) = delete;
  LockPath &operator=(const LockPath &) = delete;
  ~LockPath() { std::remove(path_.c_str()); }
  [[nodiscard]] const std::string &path() const noexcept { return path_; }
  [[nodiscard]] bool is_locked() const {
    const UniqueFd fd(::open(path_.c_str(), O_RDWR | O_CLOEXEC));
    return ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0;
  }

 private:
  std::string path_;
};

struct Machine : test::FakeSystem {
  dm::Table lv_table{dm::LinearTable{0, 8192, vdb, 2048}.line()};
  DeviceId lv;

  Machine() {
    devices.add(vdb, "vdb", 1 << 20);
    devices.add(vdc, "vdc", 1 << 20);
    lv = dm.add_device("vg-root", "LVM-abcdef", lv_table, 1);
  }
  static std::string uuid(DeviceKind kind, const std::string &id = new_id()) {
    return DeviceUuid{kind, id, 0}.to_string();
  }
  DeviceId add_real() { return dm.add_device("vg-root-diffsnap", uuid(DeviceKind::real), lv_table); }
  void load(const std::string &name, const dm::Table &table) {
    dm.device(name).inactive = table;
    dm.device(name).info.inactive_table = true;
  }
  /** A snapshot as `create` leaves it when it is killed before the cut. */
  void begin_snapshot(const std::string &name = "s") {
    const std::string id = new_id();
    const DeviceId data =
        dm.add_device(data_name(name), uuid(DeviceKind::data, id), {dm::LinearTable{0, 8192, vdc, 0}.line()});
    dm::StoreTable store;
    store.length = 8192;
    store.device = data;
    store.chunk = 8;
    dm.add_device(store_name(name), uuid(DeviceKind::store, id), {store.line()});
  }
  /** One that dmsetup has made, with nothing but its store. */
  void make_by_hand(const std::string &name) {
    dm::StoreTable store;
    store.length = 8192;
    store.device = vdc;
    dm.add_device(name, "", {store.line()});
    dm.device(name).store_state = "active";
  }
};

TEST_CASE_METHOD(Machine, "the lock is held, and given back", "[leftovers]") {
  const LockPath lock;
  {
    const ChangeLock held(dm, lock.path());
    CHECK(lock.is_locked());
  }
  CHECK_FALSE(lock.is_locked());
}

TEST_CASE_METHOD(Machine, "cookies of a process that died are ended by the next, and no others",
                 "[leftovers]") {
  const LockPath lock;
  std::uint32_t forgotten = 0;
  {
    const ChangeLock held(dm, lock.path());
    const auto first = dm.make_cookie();
    const auto second = dm.make_cookie();
    forgotten = dm.open_cookies.back();
    first->wait();
    // Killed here: the file stays as it is, the destructors do not run.
    std::ostringstream words;
    words << std::ifstream(lock.path(), std::ios::binary).rdbuf();
    second->wait();
    std::ofstream(lock.path(), std::ios::binary) << words.str();
  }
  const ChangeLock next(dm, lock.path());
  CHECK(dm.abandoned_cookies == std::vector<std::uint32_t>{forgotten});
  dm.abandoned_cookies.clear();
  dm.make_cookie()->wait();
  const auto still_open = dm.make_cookie();
  CHECK(dm.open_cookies.size() == 1);
}

TEST_CASE_METHOD(Machine, "cookies that were waited for are not in the lock's file", "[leftovers]") {
  const LockPath lock;
  {
    const ChangeLock held(dm, lock.path());
    dm.make_cookie()->wait();
  }
  const ChangeLock next(dm, lock.path());
  CHECK(dm.abandoned_cookies.empty());
}

TEST_CASE_METHOD(Machine, "a real device without its origin is removed", "[leftovers]") {
  add_real();
  SECTION("if nobody has it open") {
    CHECK(remove_leftovers(env) == std::vector<std::string>{"vg-root-diffsnap"});
    CHECK(dm.names() == Names{"vg-root"});
  }
  SECTION("and kept otherwise") {
    dm.device("vg-root-diffsnap").info.open_count = 1;
    CHECK(remove_leftovers(env).empty());
  }
  SECTION("with an attach killed before its table was made live") {
    const DeviceId real = dm.device("vg-root-diffsnap").info.id;
    load("vg-root", {dm::OriginTable{8192, real}.line()});
    remove_leftovers(env);
    CHECK_FALSE(dm.any_inactive());
    CHECK(dm.names() == Names{"vg-root"});
    CHECK(dm.device("vg-root").live == lv_table);
  }
}

TEST_CASE_METHOD(Machine, "a detach that was killed can be done again", "[leftovers]") {
  attach(env, lv);
  load("vg-root", lv_table);
  CHECK(errno_of([&] {
          detach(env, lv);
          return 0;
        }) == EBUSY);
  CHECK(remove_leftovers(env) == std::vector<std::string>{"vg-root"});
  detach(env, lv);
  CHECK(dm.names() == Names{"vg-root"});
}

TEST_CASE_METHOD(Machine, "tables that somebody else has loaded stay", "[leftovers]") {
  attach(env, lv);
  load("vg-root", {dm::LinearTable{0, 16384, vdb, 2048}.line()});
  dm.add_device("other", "", {dm::LinearTable{0, 8192, vdb, 65536}.line()});
  load("other", {dm::OriginTable{8192, vdb}.line()});
  CHECK(remove_leftovers(env).empty());
  CHECK(dm.device("vg-root").info.inactive_table);
  CHECK(dm.device("other").info.inactive_table);
}

TEST_CASE_METHOD(Machine, "a snapshot that was never cut is removed", "[leftovers]") {
  begin_snapshot();
  SECTION("with its store") {}
  SECTION("without the store's table") {
    dm.device("diffsnap-s").live.clear();
    dm.device("diffsnap-s").info.live_table = false;
  }
  remove_leftovers(env);
  CHECK(dm.names() == Names{"vg-root"});
}

TEST_CASE_METHOD(Machine, "a snapshot that was made by hand is not taken for one of the same name",
                 "[leftovers]") {
  // Device-mapper lists the one first, or the other.
  const std::string name = GENERATE("a", "s");
  begin_snapshot(name);
  make_by_hand(name);
  const Inventory inventory = read_inventory(dm);
  REQUIRE(inventory.find_snapshot(name));
  CHECK(inventory.find_snapshot(name)->device.name == "diffsnap-" + name);
  REQUIRE(inventory.find_snapshot("/dev/mapper/" + name));
  CHECK(inventory.find_snapshot("/dev/mapper/" + name)->device.name == name);
  SECTION("when leftovers are removed") {
    remove_leftovers(env);
    CHECK(dm.names() == Names{name, "vg-root"});
    CHECK(dm.device(name).store_state == "active");
    // Nobody else has that name now.
    CHECK(read_inventory(dm).find_snapshot(name));
  }
  SECTION("when one is removed by name") {
    remove_snapshot(env, name);
    CHECK(dm.names() == Names{name, "vg-root"});
  }
  SECTION("when it is itself removed") {
    remove_snapshot(env, "/dev/mapper/" + name);
    CHECK(dm.names() == Names{data_name(name), store_name(name), "vg-root"});
  }
}

TEST_CASE_METHOD(Machine, "a snapshot that was cut stays", "[leftovers]") {
  attach(env, lv);
  CreateOptions options;
  options.name = "s";
  options.origins = {lv};
  options.store = StorePlan{{{vdc, 0, 65536}}};
  create_snapshot(env, options, nullptr, nullptr);
  const Names before = dm.names();
  CHECK(remove_leftovers(env).empty());
  CHECK(dm.names() == before);
}

TEST_CASE_METHOD(Machine, "an origin that never got its table is removed, one with another table is not",
                 "[leftovers]") {
  dm.add_device("vdb", uuid(DeviceKind::origin), {});
  dm.device("vdb").info.live_table = false;
  dm.add_device("vdc", uuid(DeviceKind::origin), {dm::LinearTable{0, 8192, vdc, 0}.line()});
  remove_leftovers(env);
  CHECK(dm.names() == Names{"vdc", "vg-root"});
}

TEST_CASE_METHOD(Machine, "what cannot be removed stops nothing", "[leftovers]") {
  add_real();
  faults.fail_at(1, EBUSY);
  CHECK(remove_leftovers(env).empty());
}

}  // namespace
}  // namespace diffsnap
