// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/store_plan.h"

#include <cerrno>

#include "base/size.h"
#include "catch.h"
#include "core/naming.h"
#include "errors.h"
#include "fake_system.h"

namespace diffsnap {
namespace {

using test::errno_of;

constexpr DeviceId vdb{252, 16};
constexpr DeviceId vdb1{252, 17};
constexpr DeviceId vdc{252, 32};
// Where a store may begin.
constexpr Sectors edge = store_edge;

std::uint64_t bytes(std::string_view text) {
  return parse_size(text, 1);
}

struct Plan : test::FakeSystem {
  Plan() {
    devices.add(vdb, "vdb", 2 * edge + 100000);
    devices.add(vdc, "vdc", 2 * edge + 50003);
    auto &partition = devices.add(vdb1, "vdb1", 2 * edge + 4096);
    partition.partition = true;
    partition.disk = vdb;
  }
  StorePlan plan(const std::vector<StoreRange> &ranges, const std::vector<StoreRange> &taken = {},
                 StorePlanOptions options = {}) {
    return plan_store(env, ranges, taken, options);
  }
};

TEST_CASE("a store specification is a device, or a range of one", "[store]") {
  const auto whole = parse_store_spec("/dev/vg/lv", bytes);
  CHECK(whole.device == "/dev/vg/lv");
  CHECK_FALSE(whole.offset);

  const auto range = parse_store_spec("/dev/vdb:1048576+4k", bytes);
  CHECK(range.device == "/dev/vdb");
  CHECK(range.offset == 1048576);
  CHECK(range.length == 4096);

  // Colons belong to names as well.
  CHECK(parse_store_spec("/dev/disk/by-path/pci-0000:00:1f.2-ata-1", bytes).device ==
        "/dev/disk/by-path/pci-0000:00:1f.2-ata-1");
  CHECK(parse_store_spec("8:16", bytes).device == "8:16");
  CHECK(parse_store_spec("8:16:0+1M", bytes).device == "8:16");

  CHECK_THROWS_AS(parse_store_spec("/dev/vdb:0+", bytes), SyntaxError);
  CHECK_THROWS_AS(parse_store_spec("/dev/vdb:0+0", bytes), SyntaxError);
  CHECK_THROWS_AS(parse_store_spec("/dev/vdb:0+4q", bytes), SyntaxError);
  CHECK_THROWS_AS(parse_byte_range("4096", bytes), SyntaxError);
  CHECK_THROWS_AS(parse_byte_range("+4096", bytes), SyntaxError);
}

TEST_CASE_METHOD(Plan, "ranges keep their order, neighbours are joined", "[store]") {
  const auto made =
      plan({{vdc, edge + 800, 800}, {vdb, edge, 800}, {vdb, edge + 800, 800}, {vdb, edge + 8000, 80}});
  REQUIRE(made.ranges.size() == 3);
  CHECK(made.ranges[0] == StoreRange{vdc, edge + 800, 800});
  CHECK(made.ranges[1] == StoreRange{vdb, edge, 1600});
  CHECK(made.ranges[2] == StoreRange{vdb, edge + 8000, 80});
  CHECK(made.size() == 2480);

  const auto table = made.table(16);
  REQUIRE(table.size() == 3);
  CHECK(table[0].to_string() == "16 800 linear 252:32 2848");
  CHECK(table[1].to_string() == "816 1600 linear 252:16 2048");
  CHECK(table[2].to_string() == "2416 80 linear 252:16 10048");
}

TEST_CASE_METHOD(Plan, "ranges are rounded inwards to chunks, and cut to a limit", "[store]") {
  CHECK(plan({{vdc, edge, 50003}}).size() == 50000);
  StorePlanOptions options;
  options.chunk = 64;
  CHECK(plan({{vdc, edge, 50003}}, {}, options).size() == 49984);
  CHECK(errno_of([&] { return plan({{vdc, edge, 63}}, {}, options); }) == EINVAL);
  options.limit = 1000;
  const auto limited = plan({{vdc, edge, 640}, {vdb, edge, 640}, {vdb, edge + 6400, 640}}, {}, options);
  REQUIRE(limited.ranges.size() == 2);
  CHECK(limited.size() == 960);
  CHECK(limited.ranges[1] == StoreRange{vdb, edge, 320});
}

TEST_CASE_METHOD(Plan, "overlaps are refused", "[store]") {
  CHECK(errno_of([&] { return plan({{vdb, edge, 800}, {vdb, edge + 792, 8}}); }) == EINVAL);
  CHECK(errno_of([&] { return plan({{vdb, edge, 800}, {vdb, edge, 800}}); }) == EINVAL);
  CHECK(errno_of([&] { return plan({{vdb, edge, 800}}, {{vdb, edge + 400, 8}}); }) == EBUSY);
  CHECK(errno_of([&] { return plan({{vdb, edge, 800}}, {{vdb, edge + 800, 8}}); }) == 0);
}

TEST_CASE_METHOD(Plan, "what does not fit the device is refused", "[store]") {
  CHECK(errno_of([&] { return plan({{vdc, edge, edge + 50004}}); }) == EINVAL);
  CHECK(errno_of([&] { return plan({{vdc, ~Sectors{0} - 7, 16}}); }) == EINVAL);
  devices.known[vdc].read_only = true;
  CHECK(errno_of([&] { return plan({{vdc, edge, 800}}); }) == EROFS);
  devices.known[vdc].read_only = false;
  devices.known[vdc].zoned = true;
  CHECK(errno_of([&] { return plan({{vdc, edge, 800}}); }) == EOPNOTSUPP);
  devices.known[vdc].zoned = false;
  devices.known[vdc].logical_block = 4096;
  CHECK(errno_of([&] { return plan({{vdc, edge + 4, 800}}); }) == EINVAL);
  CHECK(errno_of([&] { return plan({}); }) == ENOSPC);
}

TEST_CASE_METHOD(Plan, "devices that hold something are refused, unless forced", "[store]") {
  StorePlanOptions force;
  force.force = true;
  SECTION("partitioned") {
    devices.known[vdc].partitioned = true;
  }
  SECTION("a file system") {
    devices.signatures[vdc] = "ext4";
  }
  SECTION("a range of one that another device has others of") {
    devices.known[vdc].holders = {
        dm.add_device("other", "", {dm::LinearTable{0, 8, vdc, edge + 800}.line()})};
    devices.exclusive.insert(vdc);
  }
  CHECK(errno_of([&] { return plan({{vdc, edge, 800}}); }) != 0);
  CHECK(errno_of([&] { return plan({{vdc, edge, 800}}, {}, force); }) == 0);
}

TEST_CASE_METHOD(Plan, "devices in use are refused, force or not", "[store]") {
  StorePlanOptions options;
  options.force = GENERATE(false, true);
  const Sectors size = devices.known[vdc].size;
  SECTION("mounted") {
    devices.usages[vdc] = "mounted on /mnt";
    CHECK(errno_of([&] { return plan({{vdc, edge, 800}}, {}, options); }) == EBUSY);
  }
  SECTION("opened") {
    devices.exclusive.insert(vdc);
    CHECK(errno_of([&] { return plan({{vdc, edge, 800}}, {}, options); }) == EBUSY);
  }
  SECTION("below another device, all of it") {
    devices.known[vdc].holders = {vdb};
    CHECK(errno_of([&] { return plan({{vdc, 0, size}}, {}, options); }) == EBUSY);
  }
}

TEST_CASE_METHOD(Plan, "what another device uses is refused, force or not", "[store]") {
  StorePlanOptions force;
  force.force = true;
  const StoreRange wanted{vdc, edge + 800, 800};
  const auto held_by = [&](const char *params, const char *target, bool loaded = false) {
    const DeviceId holder = dm.add_device(std::string("other-") + target + params, "",
                                          {{0, 64, "linear", "252:0 0"}, {64, 1600, target, params}});
    dm.device(std::string("other-") + target + params).info.inactive_table = loaded;
    devices.known[vdc].holders = {holder};
    devices.exclusive.insert(vdc);
    return errno_of([&] { return plan({wanted}, {}, force); });
  };
  REQUIRE(edge == 2048);
  REQUIRE(vdc.to_string() == "252:32");
  CHECK(held_by("252:32 3648", "linear") == 0);
  CHECK(held_by("252:32 1248", "linear") == 0);
  CHECK(held_by("252:32 1249", "linear") == EBUSY);
  CHECK(held_by("252:32 3647", "linear") == EBUSY);
  CHECK(held_by("252:16 3000", "linear") == 0);
  CHECK(held_by("2 8 252:32 2048 252:32 3648", "striped") == 0);
  CHECK(held_by("2 8 252:32 2048 252:32 3640", "striped") == EBUSY);
  CHECK(held_by("2 8 252:32 2048", "striped") == EBUSY);
  CHECK(held_by("0 0 252:32 0", "from-the-future") == EBUSY);
  CHECK(held_by("252:32 3656", "linear", true) == EBUSY);
  // no device-mapper device
  devices.known[vdc].holders = {vdb};
  CHECK(errno_of([&] { return plan({wanted}, {}, force); }) == EBUSY);
}

TEST_CASE_METHOD(Plan, "a device that has a part of a store may give another one", "[store]") {
  const std::string id(32, 'a');
  const DeviceId data =
      dm.add_device("diffsnap--data-s", "DIFFSNAP-data-" + id, {dm::LinearTable{0, 800, vdc, 0}.line()});
  devices.known[vdc].holders = {data};
  devices.exclusive.insert(vdc);
  devices.signatures[vdc] = "ext4";
  CHECK(errno_of([&] { return plan({{vdc, edge + 800, 800}}, {{vdc, edge, 800}}); }) == 0);
  CHECK(errno_of([&] { return plan({{vdc, edge + 792, 800}}, {{vdc, edge, 800}}); }) == EBUSY);
  devices.known[vdc].holders.push_back(dm.add_device("other", "", {dm::LinearTable{0, 8, vdc, 1600}.line()}));
  CHECK(errno_of([&] { return plan({{vdc, edge + 800, 800}}, {{vdc, edge, 800}}); }) == EBUSY);
}

TEST_CASE_METHOD(Plan, "what will be attached counts as an origin", "[store]") {
  const DeviceId below = dm.add_device("below", "", {dm::LinearTable{0, 4096, vdb, 0}.line()});
  const DeviceId lv = dm.add_device("lv", "", {dm::LinearTable{0, 4096, below, 0}.line()});
  devices.add(below, "dm-1", 2 * edge + 4096).slaves = {vdb};
  devices.add(lv, "dm-2", 2 * edge + 4096).slaves = {below};
  StorePlanOptions options;
  CHECK(errno_of([&] { return plan({{lv, edge, 800}}, {}, options); }) == 0);
  options.to_attach = {lv};
  CHECK(errno_of([&] { return plan({{lv, edge, 800}}, {}, options); }) == EDEADLK);
  CHECK(errno_of([&] { return plan({{below, edge, 800}}, {}, options); }) == EBUSY);
  CHECK(errno_of([&] { return plan({{vdc, edge, 800}}, {}, options); }) == 0);
}

TEST_CASE_METHOD(Plan, "a store never lies on an origin, nor under one", "[store]") {
  StorePlanOptions force;
  force.force = true;
  const DeviceId origin = dm.add_device("origin", "", {dm::OriginTable{4096, vdb1}.line()});
  const DeviceId lv = dm.add_device("lv", "", {dm::LinearTable{0, 4096, origin, 0}.line()});
  devices.add(lv, "dm-1", 2 * edge + 4096).slaves = {origin};

  // The origin itself, what lies on it, and a loop device over a file of its file system.
  CHECK(errno_of([&] { return plan({{origin, edge, 800}}, {}, force); }) == EDEADLK);
  CHECK(errno_of([&] { return plan({{lv, edge, 800}}, {}, force); }) == EDEADLK);
  const DeviceId loop{7, 0};
  devices.add(loop, "loop0", 2 * edge + 4096).loop_file = "/mnt/store";
  // Where the file lies cannot be told.
  CHECK(errno_of([&] { return plan({{loop, edge, 800}}, {}, force); }) == EDEADLK);
  devices.file_devices["/mnt/store"] = vdc;
  CHECK(errno_of([&] { return plan({{loop, edge, 800}}, {}, force); }) == 0);
  devices.file_devices["/mnt/store"] = lv;
  CHECK(errno_of([&] { return plan({{loop, edge, 800}}, {}, force); }) == EDEADLK);

  // Its real device, and the disk that this is a partition of.
  CHECK(errno_of([&] { return plan({{vdb1, edge, 800}}, {}, force); }) == EBUSY);
  CHECK(errno_of([&] { return plan({{vdb, edge, 800}}, {}, force); }) == EBUSY);
  // Another partition there is as good as any.
  auto &other = devices.add(DeviceId{252, 18}, "vdb2", 2 * edge + 4096);
  other.partition = true;
  other.disk = vdb;
  CHECK(errno_of([&] { return plan({{other.id, edge, 800}}); }) == 0);
  CHECK(errno_of([&] { return plan({{vdc, edge, 800}}); }) == 0);

  CHECK(errno_of([&] {
          check_store_origins(env, StorePlan{{{lv, edge, 800}}});
          return 0;
        }) == EDEADLK);
}

TEST_CASE_METHOD(Plan, "a partition of an origin's disk is the origin's", "[store]") {
  dm.add_device("origin", "", {dm::OriginTable{4096, vdb}.line()});
  CHECK(errno_of([&] { return plan({{vdb1, edge, 800}}); }) == EBUSY);
}

TEST_CASE_METHOD(Plan, "an origin whose disk is gone is in nobody's way", "[store]") {
  dm.add_device("origin", "", {dm::OriginTable{4096, vdb1}.line()});
  devices.gone.insert(vdb1);
  CHECK(errno_of([&] { return plan({{vdc, edge, 800}}); }) == 0);
  CHECK(errno_of([&] { return plan({{vdb1, edge, 800}}); }) == ENODEV);
}

TEST_CASE_METHOD(Plan, "the edges of a device are left free, and told", "[store]") {
  const Sectors size = devices.known[vdc].size;
  const auto whole = plan({{vdc, 0, size}});
  REQUIRE(whole.ranges.size() == 1);
  CHECK(whole.ranges[0].offset == edge);
  CHECK(whole.ranges[0].length == (size - 2 * edge) / 8 * 8);
  REQUIRE(whole.edges.size() == 2);
  CHECK(whole.edges[0] == StoreRange{vdc, 0, edge});
  CHECK(whole.edges[1] == StoreRange{vdc, size - edge, edge});

  const auto front = plan({{vdc, 8, edge + 800}});
  CHECK(front.ranges.front() == StoreRange{vdc, edge, 808});
  REQUIRE(front.edges.size() == 1);
  CHECK(front.edges[0] == StoreRange{vdc, 8, edge - 8});
  CHECK(plan({{vdc, edge, 800}}).edges.empty());
  CHECK(errno_of([&] { return plan({{vdc, 0, edge}}); }) == EINVAL);
  CHECK(errno_of([&] { return plan({{vdc, size - edge, edge}}); }) == EINVAL);
  devices.known[vdc].size = 2 * edge;
  CHECK(errno_of([&] { return plan({{vdc, 0, 2 * edge}}); }) == EINVAL);
  devices.known[vdc].size = 100;
  CHECK(errno_of([&] { return plan({{vdc, 0, 100}}); }) == EINVAL);
}

TEST_CASE_METHOD(Plan, "signatures at the edges are wiped", "[store]") {
  StorePlanOptions force;
  force.force = true;
  devices.signatures[vdc] = "ext4";
  wipe_edges(env, plan({{vdc, edge, 800}}, {}, force));
  CHECK(devices.signatures.count(vdc) == 1);
  wipe_edges(env, plan({{vdc, 0, devices.known[vdc].size}}, {}, force));
  CHECK(devices.signatures.count(vdc) == 0);
  // A limit leaves nothing to do for the second device.
  devices.signatures[vdc] = "xfs";
  force.limit = 800;
  wipe_edges(env, plan({{vdb, 0, devices.known[vdb].size}, {vdc, 0, devices.known[vdc].size}}, {}, force));
  CHECK(devices.signatures.count(vdc) == 1);
  force.limit.reset();
  // Its first block is somebody else's.
  devices.signatures[vdc] = "LVM2_member";
  devices.known[vdc].holders = {dm.add_device("other", "", {dm::LinearTable{0, 8, vdc, edge + 800}.line()})};
  wipe_edges(env, plan({{vdc, 0, edge + 800}}, {}, force));
  CHECK(devices.signatures.count(vdc) == 1);
}

TEST_CASE_METHOD(Plan, "the ranges of all stores are known, of unfinished ones too", "[store]") {
  const std::string id = new_id();
  dm.add_device(data_name("s"), DeviceUuid{DeviceKind::data, id, 0}.to_string(),
                {dm::LinearTable{0, 80, vdb, 8}.line(), dm::LinearTable{80, 800, vdc, 0}.line()});
  const auto taken = ranges_in_use(dm);
  REQUIRE(taken.size() == 2);
  CHECK(taken[0] == StoreRange{vdb, 8, 80});
  CHECK(taken[1] == StoreRange{vdc, 0, 800});
}

}  // namespace
}  // namespace diffsnap
