// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/stacking.h"

#include <cerrno>

#include "catch.h"
#include "core/naming.h"
#include "core/table_copy.h"
#include "errors.h"
#include "fake_system.h"

namespace diffsnap {
namespace {

using test::errno_of;
using test::Log;
using FailedResume = test::FakeDeviceMapper::FailedResume;

constexpr DeviceId vdb{252, 16};
constexpr const char *lv_uuid = "LVM-abcdef";

struct Stack : test::FakeSystem {
  dm::Table lv_table{dm::LinearTable{0, 8192, vdb, 2048}.line()};
  DeviceId lv;

  Stack() {
    devices.add(vdb, "vdb", 1 << 20);
    lv = dm.add_device("vg-root", lv_uuid, lv_table, 1);
  }

  /** Why a snapshot could not attach it by itself; 0 if it could. */
  int refusal_to_attach(DeviceId device) {
    return errno_of([&] {
      check_attach_live(env, device);
      return 0;
    });
  }
};

TEST_CASE_METHOD(Stack, "a dm device in use is stacked on live", "[stacking]") {
  const auto result = attach(env, lv);
  CHECK(result.live);
  CHECK(result.name == "vg-root");
  CHECK(result.origin == lv);
  // Nothing is made while the device is suspended.
  CHECK(log == Log{"cookie", "create vg-root-diffsnap", "cookie", "load vg-root", "lock memory", "cookie",
                   "resume vg-root", "unlock memory"});

  const auto &top = dm.device("vg-root");
  CHECK(top.info.uuid == lv_uuid);
  const auto &real = dm.device("vg-root-diffsnap");
  CHECK(real.live == lv_table);
  CHECK(real.udev.disable_disk_rules);
  CHECK(real.udev.disable_other_rules);
  CHECK(DeviceUuid::parse(real.info.uuid)->kind == DeviceKind::real);
  REQUIRE(top.live.size() == 1);
  CHECK(dm::OriginTable::parse(top.live[0]) == dm::OriginTable{8192, real.info.id});
}

TEST_CASE_METHOD(Stack, "the unit of change tracking goes into the table", "[stacking]") {
  AttachOptions options;
  options.tracking_block = GENERATE(Sectors{0}, Sectors{4}, Sectors{24}, Sectors{65536});
  CHECK_THROWS_AS(attach(env, lv, options), SyntaxError);
  CHECK(dm.device("vg-root").live == lv_table);
  options.tracking_block = GENERATE(Sectors{8}, Sectors{32768});
  attach(env, lv, options);
  CHECK(dm::OriginTable::parse(dm.device("vg-root").live[0])->tracking_block == options.tracking_block);
}

TEST_CASE_METHOD(Stack, "an attach that fails leaves nothing behind, at whichever step", "[stacking]") {
  dm.failed_resume = GENERATE(FailedResume::old_table_runs, FailedResume::old_table_suspended);
  int failures = 0;
  for (int call = 1;; ++call) {
    CAPTURE(call);
    faults.fail_at(call, EIO);
    const int error = errno_of([&] { return attach(env, lv); });
    if (!faults.triggered()) {
      CHECK(error == 0);
      break;
    }
    ++failures;
    CHECK(error == EIO);
    CHECK(dm.names() == std::set<std::string>{"vg-root"});
    CHECK(dm.device("vg-root").live == lv_table);
    CHECK_FALSE(dm.any_suspended());
    CHECK_FALSE(dm.any_inactive());
  }
  CHECK(failures == 3);
}

TEST_CASE_METHOD(Stack, "a detach gives the device its table back", "[stacking]") {
  attach(env, lv);
  log.clear();
  detach(env, lv);
  CHECK(actions() ==
        Log{"load vg-root", "lock memory", "resume vg-root", "unlock memory", "remove vg-root-diffsnap"});
  CHECK(dm.names() == std::set<std::string>{"vg-root"});
  CHECK(dm.device("vg-root").live == lv_table);
}

TEST_CASE_METHOD(Stack, "a detach that fails leaves the device working", "[stacking]") {
  attach(env, lv);
  dm.failed_resume = GENERATE(FailedResume::old_table_runs, FailedResume::old_table_suspended);
  const auto attached = dm.device("vg-root").live;
  for (const int call : {1, 2}) {
    CAPTURE(call);
    faults.fail_at(call, EIO);
    CHECK(errno_of([&] {
            detach(env, lv);
            return 0;
          }) == EIO);
    CHECK(dm.device("vg-root").live == attached);
    CHECK_FALSE(dm.any_suspended());
    CHECK_FALSE(dm.any_inactive());
  }
}

TEST_CASE_METHOD(Stack, "a table that goes live at the second try is as good", "[stacking]") {
  dm.failed_resume = FailedResume::new_table_suspended;
  faults.fail_at(3, ENOMEM);
  attach(env, lv);
  CHECK(dm::OriginTable::parse(dm.device("vg-root").live[0]));
  CHECK_FALSE(dm.any_suspended());
  faults.fail_at(2, ENOMEM);
  detach(env, lv);
  CHECK(dm.device("vg-root").live == lv_table);
  CHECK_FALSE(dm.any_suspended());
  CHECK(dm.names() == std::set<std::string>{"vg-root"});
  CHECK(dm.open_cookies.empty());
}

TEST_CASE_METHOD(Stack, "a table that cannot go live gives way to the old one", "[stacking]") {
  const auto is_origin = [](const dm::Table &table) { return dm::OriginTable::parse(table[0]).has_value(); };
  const auto expect_failure = [&](const std::function<void()> &action, const dm::Table &live) {
    CHECK(errno_of([&] {
            action();
            return 0;
          }) == EINVAL);
    CHECK(dm.device("vg-root").live == live);
    CHECK_FALSE(dm.any_suspended());
    CHECK_FALSE(dm.any_inactive());
    CHECK(memory.depth() == 0);
  };
  dm.cannot_run = is_origin;
  expect_failure([&] { attach(env, lv); }, lv_table);
  CHECK(dm.names() == std::set<std::string>{"vg-root"});
  dm.cannot_run = [](const dm::Table &) { return false; };
  attach(env, lv);
  // A crypt device whose key was taken away, for instance.
  dm.cannot_run = [&](const dm::Table &table) { return !is_origin(table); };
  expect_failure([&] { detach(env, lv); }, dm.device("vg-root").live);
}

TEST_CASE_METHOD(Stack, "who changes a table meanwhile keeps it", "[stacking]") {
  const dm::Table longer{dm::LinearTable{0, 16384, vdb, 2048}.line()};
  const std::string step = GENERATE("create vg-root-diffsnap", "load vg-root");
  SECTION("by a swap") {
    dm.meanwhile[step] = [&] { dm.device("vg-root").live = longer; };
    CHECK(errno_of([&] { return attach(env, lv); }) == EAGAIN);
    CHECK(dm.device("vg-root").live == longer);
  }
  SECTION("by a suspend") {
    dm.meanwhile[step] = [&] { dm.device("vg-root").info.suspended = true; };
    CHECK(errno_of([&] { return attach(env, lv); }) == EAGAIN);
    CHECK(dm.device("vg-root").info.suspended);
    CHECK(dm.device("vg-root").live == lv_table);
  }
  CHECK_FALSE(dm.exists("vg-root-diffsnap"));
  CHECK_FALSE(dm.any_inactive());
}

TEST_CASE_METHOD(Stack, "a table that somebody else loads is not ours to resume", "[stacking]") {
  const dm::Table longer{dm::LinearTable{0, 16384, vdb, 2048}.line()};
  dm.meanwhile["create vg-root-diffsnap"] = [&] { dm.load("vg-root", longer, false, false); };
  CHECK(errno_of([&] { return attach(env, lv); }) == EAGAIN);
  CHECK(dm.device("vg-root").inactive == longer);
  CHECK(dm.device("vg-root").live == lv_table);
}

TEST_CASE_METHOD(Stack, "who takes an origin target out meanwhile keeps the table", "[stacking]") {
  attach(env, lv);
  const dm::Table longer{dm::LinearTable{0, 16384, vdb, 2048}.line()};
  dm.meanwhile["load vg-root"] = [&] { dm.device("vg-root").live = longer; };
  CHECK(errno_of([&] {
          detach(env, lv);
          return 0;
        }) == EAGAIN);
  CHECK(dm.device("vg-root").live == longer);
  CHECK_FALSE(dm.any_inactive());
}

TEST_CASE_METHOD(Stack, "a real device that was left over is replaced", "[stacking]") {
  const std::string uuid = DeviceUuid{DeviceKind::real, new_id(), 0}.to_string();
  dm.add_device("vg-root-diffsnap", uuid, lv_table);
  SECTION("by an attach") {
    attach(env, lv);
    CHECK(dm.device("vg-root-diffsnap").info.uuid != uuid);
  }
  SECTION("unless somebody has it open") {
    dm.device("vg-root-diffsnap").info.open_count = 1;
    CHECK(errno_of([&] { return attach(env, lv); }) == EEXIST);
  }
}

TEST_CASE_METHOD(Stack, "a key is read into locked memory only", "[stacking]") {
  const dm::Table crypt{{0, 8192, "crypt", "aes-xts-plain64 5ec4e7 0 252:16 4096"}};
  const DeviceId luks = dm.add_device("luks", "CRYPT-LUKS2-x", crypt, 1);
  attach(env, luks);
  CHECK(actions() == Log{"lock memory", "read key of luks", "create luks-diffsnap", "unlock memory",
                         "load luks", "lock memory", "resume luks", "unlock memory"});
  CHECK(dm.device("luks-diffsnap").live == crypt);
  log.clear();
  detach(env, luks);
  CHECK(dm.device("luks").live == crypt);
  CHECK(memory.depth() == 0);
}

TEST_CASE_METHOD(Stack, "a table is copied without a look at its key before memory is locked", "[stacking]") {
  const dm::Table crypt{{0, 8192, "crypt", "aes-xts-plain64 5ec4e7 0 252:16 4096"}};
  dm.add_device("luks", "CRYPT-LUKS2-x", crypt);
  dm.add_device("other", "CRYPT-LUKS2-y", crypt);
  load_copy(env, "luks", *dm.info("other"));
  CHECK(actions() == Log{"lock memory", "read key of luks", "load other", "unlock memory"});
  CHECK(dm.tables_read.empty());
}

TEST_CASE_METHOD(Stack, "a key in a keyring is explained", "[stacking]") {
  const DeviceId luks =
      dm.add_device("luks", "CRYPT-LUKS2-x",
                    {{0, 8192, "crypt", "aes-xts-plain64 :64:logon:cryptsetup:x-d0 0 252:16 4096"}}, 1);
  faults.fail_at(1, ENOKEY);
  const auto error = test::error_of([&] { return attach(env, luks); });
  REQUIRE(error);
  CHECK(error->hint().find("--disable-keyring") != std::string::npos);
}

TEST_CASE_METHOD(Stack, "what cannot be stacked on is refused before anything is done", "[stacking]") {
  int expected = 0;
  SECTION("multipath") {
    dm.device("vg-root").live = {{0, 8192, "multipath", "0 0 1 1 round-robin 0 1 1 252:16 1000"}};
    expected = EOPNOTSUPP;
  }
  SECTION("raid") {
    dm.device("vg-root").live = {{0, 8192, "raid", "raid1 3 0 region_size 1024 2 252:1 252:2 252:3 252:4"}};
    expected = EOPNOTSUPP;
  }
  SECTION("suspended") {
    dm.device("vg-root").info.suspended = true;
    expected = EBUSY;
  }
  SECTION("about to change") {
    dm.device("vg-root").info.inactive_table = true;
    expected = EBUSY;
  }
  SECTION("zoned") {
    devices.add(lv, "dm-0", 8192).zoned = true;
    expected = EOPNOTSUPP;
  }
  SECTION("direct access") {
    devices.add(lv, "dm-0", 8192).dax = true;
    expected = EOPNOTSUPP;
  }
  SECTION("ours") {
    dm.device("vg-root").info.uuid = DeviceUuid{DeviceKind::data, new_id(), 0}.to_string();
    expected = EINVAL;
  }
  CHECK(refusal_to_attach(lv) == expected);
  CHECK(errno_of([&] { return attach(env, lv); }) == expected);
  CHECK(actions().empty());
}

TEST_CASE_METHOD(Stack, "a device is attached once", "[stacking]") {
  CHECK(refusal_to_attach(lv) == 0);
  attach(env, lv);
  CHECK(refusal_to_attach(lv) == EEXIST);
  CHECK(errno_of([&] { return attach(env, lv); }) == EEXIST);
  CHECK(errno_of([&] { return attach(env, dm.device("vg-root-diffsnap").info.id); }) == EEXIST);
}

TEST_CASE_METHOD(Stack, "a dry run changes nothing", "[stacking]") {
  AttachOptions options;
  options.dry_run = true;
  CHECK(attach(env, lv, options).name == "vg-root");
  CHECK(attach(env, vdb, options).name == "vdb");
  CHECK(actions().empty());
}

TEST_CASE_METHOD(Stack, "a plain device gets a name", "[stacking]") {
  SECTION("its own") {
    CHECK(attach(env, vdb).name == "vdb");
  }
  SECTION("or a given one") {
    AttachOptions options;
    options.name = "data";
    const auto result = attach(env, vdb, options);
    CHECK(result.name == "data");
    CHECK_FALSE(result.live);
    CHECK(dm.device("data").live[0].to_string() == "0 1048576 diffsnap-origin 252:16");
    CHECK(DeviceUuid::parse(dm.device("data").info.uuid)->kind == DeviceKind::origin);
    // By either device.
    detach(env, vdb);
    CHECK_FALSE(dm.exists("data"));
  }
}

TEST_CASE_METHOD(Stack, "a plain device must not be in use", "[stacking]") {
  SECTION("mounted") {
    devices.usages[vdb] = "mounted on /mnt";
  }
  SECTION("held") {
    devices.known[vdb].holders = {lv};
  }
  SECTION("opened") {
    devices.exclusive.insert(vdb);
  }
  CHECK(errno_of([&] { return attach(env, vdb); }) == EBUSY);
  CHECK(refusal_to_attach(vdb) == EOPNOTSUPP);
  CHECK(actions().empty());
}

TEST_CASE_METHOD(Stack, "a device that a store lies on is not attached", "[stacking]") {
  const DeviceId data = dm.add_device(data_name("s"), "", {dm::LinearTable{0, 80, lv, 8}.line()});
  dm::StoreTable table;
  table.length = 80;
  table.chunk = 8;
  SECTION("straight") {
    table.device = lv;
  }
  SECTION("with something between") {
    table.device = data;
    devices.add(data, "dm-9", 80).slaves = {lv};
  }
  SECTION("by a file, or maybe") {
    const DeviceId loop{7, 0};
    devices.add(loop, "loop0", 80).loop_file = "/mnt/store";
    if (GENERATE(false, true)) {
      devices.file_devices["/mnt/store"] = lv;
    }
    table.device = loop;
  }
  dm.add_device(store_name("s"), "", {table.line()});
  CHECK(errno_of([&] { return attach(env, lv); }) == EDEADLK);
  CHECK(refusal_to_attach(lv) == EDEADLK);
  CHECK(errno_of([&] { return attach(env, vdb); }) == 0);
}

TEST_CASE_METHOD(Stack, "an origin that is held or used is not detached", "[stacking]") {
  const auto detached = [&](DeviceId id) {
    DetachOptions options;
    options.patience = std::chrono::milliseconds(0);
    return errno_of([&] { return detach(env, id, options); });
  };
  CHECK(detached(lv) == ENODEV);
  attach(env, lv);
  attach(env, vdb);
  dm.device("vg-root").origin_state = "held";
  CHECK(detached(lv) == EBUSY);
  dm.device("vdb").info.open_count = 1;
  CHECK(detached(vdb) == EBUSY);
  CHECK(dm.exists("vdb"));
}

}  // namespace
}  // namespace diffsnap
