// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/snapshot_set.h"

#include <cerrno>
#include <csignal>

#include "catch.h"
#include "core/naming.h"
#include "errors.h"
#include "fake_system.h"
#include "sys/memlock.h"

namespace diffsnap {
namespace {

using test::errno_of;
using test::Log;
using FailedResume = test::FakeDeviceMapper::FailedResume;

constexpr DeviceId vdb{252, 16};
constexpr DeviceId vdc{252, 32};
constexpr DeviceId vdd{252, 48};

struct Set : test::FakeSystem {
  DeviceId root;
  DeviceId home;
  CreateOptions options;

  Set() {
    devices.add(vdb, "vdb", 1 << 20);
    devices.add(vdc, "vdc", 1 << 20);
    devices.add(vdd, "vdd", 1 << 20);
    root = dm.add_device("vg-root", "LVM-1", {dm::OriginTable{8192, vdb}.line()}, 1);
    home = dm.add_device("vg-home", "LVM-2", {dm::OriginTable{16384, vdc}.line()}, 1);
    options.name = "s";
    options.origins = {root, home};
    options.store = StorePlan{{{vdd, 0, 65536}}};
  }
  CreateResult create() { return create_snapshot(env, options, &freezer, &critical); }
  int remove(RemoveOptions remove_options = {}) {
    return errno_of([&] {
      remove_snapshot(env, "s", remove_options);
      return 0;
    });
  }
  [[nodiscard]] bool origins_are_free() {
    return dm.device("vg-root").origin_state == "idle" && dm.device("vg-home").origin_state == "idle";
  }
};

const std::set<std::string> only_origins{"vg-home", "vg-root"};

TEST_CASE_METHOD(Set, "a snapshot is made in the documented order", "[snapshot]") {
  options.cut_limit = std::chrono::milliseconds{500};
  const auto result = create();
  CHECK(actions() == Log{"create diffsnap--data-s", "create diffsnap-s", "message diffsnap-s add 254:0",
                         "message diffsnap-s add 254:1", "prepare", "write out", "enter", "freeze",
                         "message diffsnap-s cut 500", "thaw", "leave", "create diffsnap-s-vg--root",
                         "create diffsnap-s-vg--home"});
  CHECK(result.images == std::vector<std::string>{"/dev/diffsnap/s/vg-root", "/dev/diffsnap/s/vg-home"});
  CHECK(result.frozen == std::chrono::milliseconds{2});
  CHECK(result.closed == std::chrono::nanoseconds{1500});

  const auto &store = dm.device("diffsnap-s");
  CHECK(store.info.uuid == "DIFFSNAP-store-" + result.id);
  const auto &data = dm.device("diffsnap--data-s");
  CHECK(data.info.uuid == "DIFFSNAP-data-" + result.id);
  CHECK(data.live == dm::Table{dm::LinearTable{0, 65536, vdd, 0}.line()});
  CHECK(store.live[0].to_string() == "0 65536 diffsnap-store " + data.info.id.to_string() + " 8");
  const auto &image = dm.device("diffsnap-s-vg--home");
  CHECK(image.info.uuid == "DIFFSNAP-image-" + result.id + "-1");
  CHECK(image.live[0].to_string() == "0 16384 diffsnap-image " + store.info.id.to_string() + " 254:1");
  CHECK(image.udev.low_priority);
  CHECK(image.udev.disable_disk_rules);
}

TEST_CASE_METHOD(Set, "nothing is made between the freeze and the thaw", "[snapshot]") {
  create();
  const auto freeze = std::find(log.begin(), log.end(), "freeze");
  CHECK(std::vector<std::string>(freeze, freeze + 3) == Log{"freeze", "message diffsnap-s cut", "thaw"});
}

TEST_CASE_METHOD(Set, "a snapshot that fails leaves nothing behind, at whichever step", "[snapshot]") {
  int failures = 0;
  for (int call = 1;; ++call) {
    CAPTURE(call);
    faults.fail_at(call, EIO);
    const int error = errno_of([&] { return create(); });
    if (!faults.triggered()) {
      CHECK(error == 0);
      break;
    }
    ++failures;
    CHECK(error == EIO);
    CHECK(dm.names() == only_origins);
    CHECK(origins_are_free());
    CHECK_FALSE(freezer.frozen());
    CHECK_FALSE(critical.entered());
    CHECK_FALSE(dm.any_suspended());
    CHECK_FALSE(dm.any_inactive());
  }
  // Two devices, two members, prepare, write out, enter, freeze, cut, thaw, two images.
  CHECK(failures == 12);
}

volatile std::sig_atomic_t signals_seen = 0;

/** Counts SIGTERM while it lives, which would end the tests. */
class CountedSignals {
 public:
  CountedSignals() : before_(std::signal(SIGTERM, [](int) { signals_seen = signals_seen + 1; })) {
    signals_seen = 0;
  }
  CountedSignals(const CountedSignals &) = delete;
  CountedSignals &operator=(const CountedSignals &) = delete;
  ~CountedSignals() { std::signal(SIGTERM, before_); }

 private:
  void (*before_)(int);
};

TEST_CASE_METHOD(Set, "who ends the command at the cut leaves nothing behind", "[snapshot]") {
  const CountedSignals counted;
  SECTION("while it writes out") {
    freezer.terminated_at = "write out";
    CHECK(errno_of([&] { return create().id; }) == EINTR);
    CHECK(std::find(log.begin(), log.end(), "freeze") == log.end());
  }
  SECTION("right after it") {
    freezer.terminated_at = "thaw";
    CHECK(errno_of([&] { return create().id; }) == EINTR);
  }
  SECTION("while images are made") {
    dm.meanwhile["create diffsnap-s-vg--home"] = [] { raise(SIGTERM); };
    CHECK(errno_of([&] { return create().id; }) == EINTR);
  }
  CHECK(signals_seen == 1);
  CHECK(dm.names() == only_origins);
  CHECK(origins_are_free());
  CHECK(dm.open_cookies.empty());
}

TEST_CASE_METHOD(Set, "signals that end nothing do not undo a snapshot", "[snapshot]") {
  freezer.terminated_at = GENERATE(as<std::string>(), "write out", "thaw");
  SECTION("ignored") {
    void (*const before)(int) = std::signal(SIGTERM, SIG_IGN);
    CHECK(errno_of([&] { return create().id; }) == 0);
    std::signal(SIGTERM, before);
  }
  SECTION("waited for by others") {
    const CountedSignals counted;
    {
      const sys::SignalBlock blocked(sys::SignalBlock::Which::termination);
      CHECK(errno_of([&] { return create().id; }) == 0);
      CHECK(signals_seen == 0);
    }
    CHECK(signals_seen == 1);
  }
  CHECK(dm.device("diffsnap-s").store_state == "active");
}

TEST_CASE_METHOD(Set, "who ends the command before a snapshot is taken can take it later", "[take]") {
  const CountedSignals counted;
  options.take = false;
  create();
  freezer.terminated_at = "write out";
  TakeOptions take;
  take.name = "s";
  CHECK(errno_of([&] { return take_snapshot(env, take, &freezer, &critical).id; }) == EINTR);
  CHECK(signals_seen == 1);
  freezer.terminated_at.clear();
  CHECK(take_snapshot(env, take, &freezer, &critical).images.size() == 2);
}

TEST_CASE_METHOD(Set, "who ends the command when a snapshot is taken gets it all the same", "[take]") {
  const CountedSignals counted;
  options.take = false;
  create();
  freezer.terminated_at = "thaw";
  TakeOptions take;
  take.name = "s";
  CHECK(take_snapshot(env, take, &freezer, &critical).images.size() == 2);
  CHECK(signals_seen == 1);
  CHECK(get_snapshot(dm, "s", "look at").images.size() == 2);
}

TEST_CASE_METHOD(Set, "file systems need not be frozen", "[snapshot]") {
  create_snapshot(env, options, nullptr, nullptr);
  CHECK(std::find(log.begin(), log.end(), "freeze") == log.end());
  CHECK(std::find(log.begin(), log.end(), "enter") == log.end());
  CHECK(dm.device("diffsnap-s").store_state == "active");
}

TEST_CASE_METHOD(Set, "the store's table has what was asked for", "[snapshot]") {
  options.chunk = 16;
  options.low_water = 1024;
  options.buffer = 8192;
  options.on_full = dm::OnFull{std::chrono::milliseconds{100}};
  create();
  const auto table = dm::StoreTable::parse(dm.device("diffsnap-s").live[0]);
  REQUIRE(table);
  CHECK(table->chunk == 16);
  CHECK(table->low_water == 1024);
  CHECK(table->buffer == 8192);
  CHECK(table->on_full->wait == std::chrono::milliseconds{100});
  CHECK_FALSE(table->store_timeout);
}

TEST_CASE_METHOD(Set, "what cannot become a snapshot is refused before anything is done", "[snapshot]") {
  int expected = EINVAL;
  SECTION("a bad name") {
    options.name = "a/b";
  }
  SECTION("no origin") {
    options.origins.clear();
  }
  SECTION("a bad chunk") {
    options.chunk = 12;
  }
  SECTION("a chunk that is too large") {
    options.chunk = 4096;
  }
  SECTION("a buffer that is too small") {
    options.buffer = 4088;
  }
  SECTION("a store that may be silent for too long") {
    options.store_timeout = std::chrono::milliseconds(3600001);
  }
  SECTION("writes that wait for too long") {
    options.on_full = dm::OnFull{std::chrono::milliseconds(60001)};
  }
  SECTION("a cut that waits for too long") {
    options.cut_limit = std::chrono::milliseconds(60001);
  }
  SECTION("a chunk below the physical block") {
    devices.add(root, "dm-0", 8192).physical_block = 8192;
  }
  SECTION("an origin twice") {
    options.origins.push_back(root);
    expected = EEXIST;
  }
  SECTION("a device that is no origin") {
    options.origins.push_back(vdd);
    expected = ENODEV;
  }
  SECTION("no store") {
    options.store.ranges.clear();
    expected = ENOSPC;
  }
  SECTION("a store on an origin") {
    options.store.ranges = {{root, 0, 4096}};
    expected = EDEADLK;
  }
  SECTION("an origin that is held") {
    dm.device("vg-home").origin_state = "held";
    expected = EBUSY;
  }
  SECTION("a name that is taken") {
    dm.add_device("diffsnap--data-s", "", {});
    expected = EEXIST;
  }
  CHECK(errno_of([&] { return create(); }) == expected);
  CHECK(actions().empty());
}

TEST_CASE_METHOD(Set, "a name is free that nothing left of a snapshot has", "[snapshot]") {
  CHECK(free_snapshot_name(dm) == "snap0");
  SECTION("a snapshot") {
    options.name = "snap0";
    create();
    CHECK(free_snapshot_name(dm) == "snap1");
  }
  SECTION("one that was made by hand") {
    dm.add_device("snap0", "", {dm::TableLine{0, 8192, "diffsnap-store", "252:48 8"}});
    CHECK(free_snapshot_name(dm) == "snap1");
  }
  SECTION("an image that is in use") {
    options.name = "snap0";
    create();
    dm.device("diffsnap-snap0-vg--root").info.open_count = 1;
    RemoveOptions by_force;
    by_force.force = true;
    remove_snapshot(env, "snap0", by_force);
    REQUIRE(dm.exists("diffsnap-snap0-vg--root"));
    CHECK(free_snapshot_name(dm) == "snap1");
    options.name = "snap1";
    create();
    CHECK(free_snapshot_name(dm) == "snap2");
  }
  SECTION("somebody else's device") {
    dm.add_device("diffsnap--data-snap0", "", {});
    dm.add_device("diffsnap-snap1", "", {});
    dm.add_device("diffsnap-snap2-x", "", {});
    dm.add_device("diffsnap-snap4", "", {});
    CHECK(free_snapshot_name(dm) == "snap3");
  }
}

TEST_CASE_METHOD(Set, "a dry run tells the paths and changes nothing", "[snapshot]") {
  options.dry_run = true;
  CHECK(create().images.size() == 2);
  CHECK(actions().empty());
}

TEST_CASE_METHOD(Set, "the kernel's reasons are translated", "[snapshot]") {
  faults.fail_at(3, EBUSY);
  CHECK(test::message_of([&] { return create(); }) ==
        "cannot add origin \"vg-root\": another snapshot holds it");
  faults.fail_at(9, ETIMEDOUT);
  CHECK(test::message_of([&] { return create(); }) ==
        "cannot create snapshot \"s\": an origin's writes in flight did not end within the limit");
}

TEST_CASE_METHOD(Set, "the inventory shows what there is", "[inventory]") {
  const auto result = create();
  const Inventory inventory = read_inventory(dm);
  REQUIRE(inventory.snapshots.size() == 1);
  const SnapshotInfo &snapshot = inventory.snapshots[0];
  CHECK(snapshot.name == "s");
  CHECK(snapshot.id == result.id);
  CHECK(snapshot.created);
  CHECK(snapshot.state() == "active");
  CHECK_FALSE(snapshot.reason());
  CHECK(snapshot.origin_names == std::vector<std::string>{"vg-root", "vg-home"});
  REQUIRE(snapshot.data);
  CHECK(snapshot.ranges.size() == 1);
  REQUIRE(snapshot.images.size() == 2);
  CHECK(snapshot.images[0].origin_name == "vg-root");
  CHECK(snapshot.images[1].path == "/dev/diffsnap/s/vg-home");
  CHECK(inventory.find_image("s", "vg-home") == &snapshot.images[1]);
  REQUIRE(inventory.find_origin("vg-root") != nullptr);
  CHECK(inventory.find_origin("vg-root")->snapshot == "s");
  CHECK(inventory.find_origin(home)->state() == "held");
  CHECK(inventory.leftovers.empty());
  CHECK(errno_of([&] { return get_snapshot(dm, "t", "extend"); }) == ENOENT);
}

TEST_CASE_METHOD(Set, "a snapshot is removed in reverse", "[snapshot]") {
  create();
  log.clear();
  CHECK(remove() == 0);
  CHECK(actions() == Log{"remove diffsnap-s-vg--root", "remove diffsnap-s-vg--home",
                         "message diffsnap-s drop", "remove diffsnap-s", "remove diffsnap--data-s"});
  CHECK(dm.names() == only_origins);
  CHECK(origins_are_free());
  CHECK(remove() == ENOENT);
}

TEST_CASE_METHOD(Set, "an image in use keeps the snapshot, unless forced", "[snapshot]") {
  create();
  dm.device("diffsnap-s-vg--home").info.open_count = 1;
  log.clear();
  CHECK(remove() == EBUSY);
  CHECK(actions().empty());

  RemoveOptions force;
  force.force = true;
  CHECK(remove(force) == 0);
  CHECK(dm.names() == std::set<std::string>{"diffsnap-s-vg--home", "vg-home", "vg-root"});
  const auto &image = dm.device("diffsnap-s-vg--home");
  CHECK(image.live[0].target == "error");
  CHECK(image.info.deferred_remove);
  CHECK(origins_are_free());
}

TEST_CASE_METHOD(Set, "removing goes on after an error, and can be repeated", "[snapshot]") {
  create();
  // Two images, then the drop.
  faults.fail_at(3, EIO);
  CHECK(remove() == EIO);
  CHECK(dm.names() == only_origins);
  CHECK(origins_are_free());
}

TEST_CASE_METHOD(Set, "what is left of an unfinished snapshot is removed by its name", "[snapshot]") {
  const std::string id = new_id();
  SECTION("the data device alone") {
    dm.add_device("diffsnap--data-s", DeviceUuid{DeviceKind::data, id, 0}.to_string(),
                  {dm::LinearTable{0, 80, vdd, 0}.line()});
  }
  SECTION("a store without a table") {
    dm.add_device("diffsnap--data-s", DeviceUuid{DeviceKind::data, id, 0}.to_string(),
                  {dm::LinearTable{0, 80, vdd, 0}.line()});
    dm.add_device("diffsnap-s", DeviceUuid{DeviceKind::store, id, 0}.to_string(), {});
  }
  SECTION("an image without a table") {
    create();
    const std::string made = get_snapshot(dm, "s", "x").id;
    dm.add_device("diffsnap-s-vg--third", DeviceUuid{DeviceKind::image, made, 2}.to_string(), {});
  }
  // Another one's is none of its business.
  dm.add_device("diffsnap--data-t", DeviceUuid{DeviceKind::data, new_id(), 0}.to_string(), {});
  CHECK(remove() == 0);
  CHECK(dm.names() == std::set<std::string>{"diffsnap--data-t", "vg-home", "vg-root"});
}

TEST_CASE_METHOD(Set, "a store grows from below", "[snapshot]") {
  create();
  log.clear();
  CHECK(extend_snapshot(env, "s", StorePlan{{{vdd, 131072, 4096}}}) == 69632);
  CHECK(actions() == Log{"load diffsnap--data-s", "lock memory", "resume diffsnap--data-s", "unlock memory",
                         "load diffsnap-s", "lock memory", "resume diffsnap-s", "unlock memory"});
  CHECK(dm.device("diffsnap--data-s").live.size() == 2);
  CHECK(dm.device("diffsnap--data-s").live[1].to_string() == "65536 4096 linear 252:48 131072");
  CHECK(dm.device("diffsnap-s").live[0].length == 69632);
}

TEST_CASE_METHOD(Set, "a store that grew by half grows as if it had not", "[snapshot]") {
  create();
  const StorePlan more{{{vdd, 131072, 4096}}};
  dm::Table data = dm.device("diffsnap--data-s").live;
  for (dm::TableLine &line : more.table(dm::table_length(data))) {
    data.push_back(std::move(line));
  }
  dm.device("diffsnap--data-s").live = data;
  for (const StoreRange &taken : ranges_in_use(dm)) {
    CHECK_FALSE(taken == more.ranges.front());
  }
  CHECK(extend_snapshot(env, "s", more, true) == 69632);
  CHECK(dm.device("diffsnap-s").live[0].length == 65536);
  CHECK(extend_snapshot(env, "s", more) == 69632);
  CHECK(dm.device("diffsnap--data-s").live == data);
  CHECK(dm.device("diffsnap-s").live[0].length == 69632);
}

TEST_CASE_METHOD(Set, "a store that cannot grow stays as it was", "[snapshot]") {
  create();
  const auto data = dm.device("diffsnap--data-s").live;
  const auto store = dm.device("diffsnap-s").live;
  dm.failed_resume = GENERATE(FailedResume::old_table_runs, FailedResume::old_table_suspended);
  for (const int call : {1, 2, 3, 4}) {
    CAPTURE(call);
    faults.fail_at(call, ENOMEM);
    CHECK(errno_of([&] { return extend_snapshot(env, "s", StorePlan{{{vdd, 131072, 4096}}}); }) == ENOMEM);
    CHECK(dm.device("diffsnap--data-s").live == data);
    CHECK(dm.device("diffsnap-s").live == store);
    CHECK_FALSE(dm.any_suspended());
    CHECK_FALSE(dm.any_inactive());
  }
}

TEST_CASE_METHOD(Set, "a store that does not want to grow goes on with its old table", "[snapshot]") {
  create();
  const auto data = dm.device("diffsnap--data-s").live;
  const auto store = dm.device("diffsnap-s").live;
  const bool at_once = GENERATE(true, false);
  dm.failed_resume = FailedResume::new_table_suspended;
  if (at_once) {
    dm.cannot_run = [](const dm::Table &table) {
      return dm::table_length(table) == 69632 && table.size() == 1;
    };
  } else {
    faults.fail_at(4, ENOMEM);
  }
  const int error = errno_of([&] { return extend_snapshot(env, "s", StorePlan{{{vdd, 131072, 4096}}}); });
  CHECK_FALSE(dm.any_suspended());
  CHECK_FALSE(dm.any_inactive());
  if (at_once) {
    CHECK(error == EINVAL);
    CHECK(dm.device("diffsnap--data-s").live == data);
    CHECK(dm.device("diffsnap-s").live == store);
  } else {
    CHECK(error == 0);
    CHECK(dm.device("diffsnap--data-s").live.size() == 2);
    CHECK(dm.device("diffsnap-s").live[0].length == 69632);
  }
}

TEST_CASE_METHOD(Set, "a store does not grow by larger blocks", "[snapshot]") {
  create();
  log.clear();
  devices.known[vdd].logical_block = 4096;
  CHECK(errno_of([&] { return extend_snapshot(env, "s", StorePlan{{{vdd, 131072, 4096}}}); }) == EINVAL);
  CHECK(actions().empty());
}

TEST_CASE_METHOD(Set, "a snapshot that was given up is not extended", "[snapshot]") {
  create();
  dm.device("diffsnap-s").store_state = "overflow";
  const bool dry_run = GENERATE(false, true);
  CHECK(errno_of([&] {
          return extend_snapshot(env, "s", StorePlan{{{vdd, 131072, 4096}}}, dry_run);
        }) == EINVAL);
}

TEST_CASE_METHOD(Set, "ranges are released in whole chunks", "[snapshot]") {
  create();
  const Inventory inventory = read_inventory(dm);
  const ImageInfo &image = *inventory.find_image("s", "vg-root");
  release_ranges(env, image, {{0, 4096}, {100, 8192}, {4097, 4000}, {8192 * 512 - 4096, 4096}});
  REQUIRE(devices.discarded.size() == 3);
  CHECK(devices.discarded[1].offset == 4096);
  CHECK(devices.discarded[1].length == 4096);
  CHECK(errno_of([&] {
          release_ranges(env, image, {{8192 * 512, 4096}});
          return 0;
        }) == EINVAL);
}

TEST_CASE_METHOD(Set, "nothing is released of a device that has an image's number by now", "[snapshot]") {
  create();
  const Inventory inventory = read_inventory(dm);
  const ImageInfo &image = *inventory.find_image("s", "vg-root");
  devices.before_discard = [&] { dm.device(image.device.name).info.uuid = "LVM-another"; };
  CHECK(errno_of([&] {
          release_ranges(env, image, {{0, 4096}});
          return 0;
        }) == ENODEV);
  CHECK(devices.discarded.empty());
}

TEST_CASE_METHOD(Set, "an event is one that the caller has not seen", "[snapshot]") {
  create();
  CHECK_FALSE(wait_for_event(env, "s", std::nullopt, std::chrono::milliseconds{1}));
  dm.device("diffsnap-s").info.event_number = 3;
  const auto event = wait_for_event(env, "s", 2, std::nullopt);
  REQUIRE(event);
  CHECK(event->number == 3);
  CHECK(event->snapshot.name == "s");
}

TEST_CASE_METHOD(Set, "a dry run checks what is still to be attached", "[snapshot]") {
  const DeviceId srv = dm.add_device("vg-srv", "LVM-3", {dm::LinearTable{0, 8192, vdb, 8192}.line()}, 1);
  options.origins = {home, srv};
  CHECK(errno_of([&] { return create(); }) == ENODEV);
  options.dry_run = true;
  SECTION("which is in order") {
    CHECK(create().images == std::vector<std::string>{"/dev/diffsnap/s/vg-home", "/dev/diffsnap/s/vg-srv"});
  }
  SECTION("whose image's name is taken") {
    dm.add_device("diffsnap-s-vg--srv", "x", {});
    CHECK(errno_of([&] { return create(); }) == EEXIST);
  }
  SECTION("and what is attached already") {
    dm.device("vg-home").origin_state = "held";
    CHECK(errno_of([&] { return create(); }) == EBUSY);
  }
  SECTION("but no device that cannot be attached in use") {
    options.origins = {vdc};
    CHECK(errno_of([&] { return create(); }) == ENODEV);
  }
  CHECK(actions().empty());
}

}  // namespace
}  // namespace diffsnap
