// SPDX-License-Identifier: GPL-2.0-or-later
// The public interface, on an invented machine. What other programs see of it is tested in VMs.
#include "diffsnap/diffsnap.h"

#include <cerrno>
#include <utility>

#include "api/state.h"
#include "catch.h"
#include "core/snapshot_set.h"
#include "fake_system.h"
#include "temporary_directory.h"

namespace diffsnap {
namespace {

constexpr DeviceId vdb{252, 16};
constexpr DeviceId vdc{252, 32};
const std::string generation = "0198c0de-0000-7000-8000-000000000000";
const std::string other_generation = "0198c0de-0000-7000-8000-00000000ffff";

/** As a user of the library catches it: an errno value, 0 if nothing was thrown. */
template <typename Action>
int code_of(const Action &action) {
  try {
    static_cast<void>(action());
  } catch (const std::system_error &error) {
    CHECK(error.code().category() == std::generic_category());
    CHECK(std::string(error.what()).find("cannot ") == 0);
    return error.code().value();
  }
  return 0;
}

/** An origin of 4 MiB in the snapshot "s", its third. */
struct Api : test::FakeSystem {
  v0::Manager manager{std::make_shared<api::ManagerState>(dm, devices)};
  DeviceId origin;

  Api() {
    devices.add(vdb, "vdb", 1 << 20);
    devices.add(vdc, "vdc", 1 << 20);
    origin = dm.add_device("data", "LVM-1", {dm::OriginTable{8192, vdb}.line()});
    dm.device("data").newest.number = 2;
    CreateOptions options;
    options.name = "s";
    options.origins = {origin};
    options.store = StorePlan{{{vdc, 0, 65536}}};
    create_snapshot(env, options, nullptr, nullptr);
    log.clear();
  }

  v0::Image image() { return manager.find_snapshot("s").value().images.at(0); }
  void answer(std::vector<std::string> answers) { dm.device("data").answers = std::move(answers); }
};

/** "offset+length ..." */
std::string list(v0::Changes changes) {
  std::string text;
  while (const auto range = changes.next()) {
    text += (text.empty() ? "" : " ") + std::to_string(range->offset) + '+' + std::to_string(range->length);
  }
  // an end stays one
  CHECK_FALSE(changes.next());
  return text;
}

TEST_CASE("public: an id is kept as a text", "[api]") {
  const v0::ChangeId id{generation, 17};
  CHECK(id.to_string() == generation + ":17");
  CHECK(v0::ChangeId::parse(id.to_string()) == id);
  CHECK(v0::ChangeId::parse(generation + ":18") != id);
  CHECK(code_of([] { return v0::ChangeId::parse("17"); }) == EINVAL);
  CHECK(code_of([] { return v0::ChangeId::parse(""); }) == EINVAL);
}

TEST_CASE_METHOD(Api, "public: versions", "[api]") {
  CHECK(std::string(v0::version()).find('.') != std::string::npos);
  CHECK(manager.kernel_versions().module == "1.0.0");
  CHECK(manager.kernel_versions().device_mapper == "4.47.0");
}

TEST_CASE_METHOD(Api, "public: origins in bytes", "[api]") {
  const auto origins = manager.origins();
  REQUIRE(origins.size() == 1);
  CHECK(origins[0].name == "data");
  CHECK(origins[0].path == "/dev/mapper/data");
  CHECK(origins[0].size == 4 << 20);
  CHECK(origins[0].tracking_block == 64 << 10);
  CHECK(origins[0].newest == v0::ChangeId{generation, 3});
  CHECK(origins[0].snapshot == "s");
  CHECK(manager.find_origin("data").value().name == "data");
  CHECK(code_of([&] { return manager.find_origin("/nowhere"); }) == ENOENT);
  CHECK(code_of([&] { return manager.find_origin("/dev/null"); }) == ENOTBLK);
}

TEST_CASE_METHOD(Api, "public: a snapshot and its images", "[api]") {
  const auto snapshots = manager.snapshots();
  REQUIRE(snapshots.size() == 1);
  CHECK(snapshots[0].name == "s");
  CHECK(snapshots[0].id.size() == 32);
  CHECK(snapshots[0].created);
  CHECK(snapshots[0].state == v0::SnapshotState::active);
  CHECK(snapshots[0].reason.empty());
  CHECK(snapshots[0].store_size == 32 << 20);
  CHECK(snapshots[0].store_used == 0);
  REQUIRE(snapshots[0].images.size() == 1);
  CHECK(image().snapshot == "s");
  CHECK(image().origin == "data");
  CHECK(image().path.find("/dev/") == 0);
  CHECK(image().size == 4 << 20);
  CHECK(image().id == v0::ChangeId{generation, 3});
  CHECK_FALSE(manager.find_snapshot("t"));
}

TEST_CASE_METHOD(Api, "public: a snapshot that was given up says so", "[api]") {
  const std::vector<std::pair<std::string, v0::SnapshotState>> states{
      {"new", v0::SnapshotState::fresh},         {"low", v0::SnapshotState::low},
      {"overflow", v0::SnapshotState::overflow}, {"invalid", v0::SnapshotState::invalid},
      {"dropped", v0::SnapshotState::dropped},   {"odd", v0::SnapshotState::unknown}};
  for (const auto &[word, state] : states) {
    CAPTURE(word);
    dm.device("diffsnap-s").store_state = word;
    CHECK(manager.find_snapshot("s").value().state == state);
  }
  // whatever its number was, the origin's newest one is not it
  dm.device("data").origin_state = "idle";
  CHECK_FALSE(image().id);
}

TEST_CASE_METHOD(Api, "public: changes are pulled", "[api]") {
  const v0::ChangeId first{generation, 1};
  CHECK(list(manager.changes(image())) == "0+4194304");
  answer({"256 0+128 128+128", "512 256+128", "- 2048+6144"});
  CHECK(list(manager.changes(image(), first)) == "0+196608 1048576+3145728");
  answer({"-"});
  CHECK(list(manager.changes(image(), first)).empty());
  CHECK(manager.changes(image(), first).image().id == v0::ChangeId{generation, 3});
}

TEST_CASE_METHOD(Api, "public: changes that cannot be told are an error", "[api]") {
  CHECK(code_of([&] { return manager.changes(image(), v0::ChangeId{other_generation, 1}); }) == ESTALE);
  CHECK(code_of([&] { return manager.changes(image(), v0::ChangeId{generation, 4}); }) == EINVAL);
  v0::Image other = image();
  other.snapshot = "t";
  CHECK(code_of([&] { return manager.changes(other); }) == ENOENT);
  // given up while they are listed: what was listed is no list
  v0::Changes changes = manager.changes(image());
  CHECK(changes.next());
  dm.device("diffsnap-s").store_state = "overflow";
  CHECK(code_of([&] { return changes.next(); }) == EIO);
  CHECK(code_of([&] { return manager.changes(image()); }) == EIO);
}

TEST_CASE_METHOD(Api, "public: changes of a snapshot that was removed have no end", "[api]") {
  v0::Changes changes = manager.changes(image());
  CHECK(changes.next());
  manager.remove("s");
  CHECK(code_of([&] { return changes.next(); }) == ENOENT);
}

TEST_CASE_METHOD(Api, "public: changes outlive what gave them", "[api]") {
  std::optional<v0::Manager> other(std::in_place, std::make_shared<api::ManagerState>(dm, devices));
  v0::Changes first = other->changes(image());
  v0::Changes changes = std::move(first);
  other.reset();
  CHECK(list(std::move(changes)) == "0+4194304");
}

TEST_CASE_METHOD(Api, "public: ranges are marked", "[api]") {
  manager.mark("data", {{0, 4096}, {65536, 1}});
  CHECK(log == test::Log{"message data mark 0+8 128+1"});
  CHECK(code_of([&] {
          manager.mark("data", {{4 << 20, 1}});
          return 0;
        }) == EINVAL);
  CHECK(code_of([&] {
          manager.mark("/nowhere", {{0, 1}});
          return 0;
        }) == ENOENT);
}

TEST_CASE_METHOD(Api, "public: events are waited for by number", "[api]") {
  CHECK_FALSE(manager.wait("s", 0, std::chrono::milliseconds(0)));
  dm.device("diffsnap-s").info.event_number = 7;
  dm.device("diffsnap-s").store_state = "low";
  const auto event = manager.wait("s", 0);
  REQUIRE(event);
  CHECK(event->number == 7);
  CHECK(event->snapshot.event == 7);
  CHECK(event->snapshot.state == v0::SnapshotState::low);
  CHECK_FALSE(manager.wait("s", event->number, std::chrono::milliseconds(0)));
  CHECK(code_of([&] { return manager.wait("t", 0); }) == ENOENT);
}

TEST_CASE_METHOD(Api, "public: a snapshot is removed", "[api]") {
  const auto remove = [&](const std::string &name, bool force = false) {
    return code_of([&] {
      manager.remove(name, force);
      return 0;
    });
  };
  dm.device("diffsnap-s-data").info.open_count = 1;
  CHECK(remove("s") == EBUSY);
  CHECK(log.empty());
  dm.device("diffsnap-s-data").info.open_count = 0;
  CHECK(remove("s") == 0);
  CHECK(dm.names() == std::set<std::string>{"data"});
  CHECK(remove("s") == ENOENT);
  CHECK(manager.origins()[0].snapshot.empty());
}

TEST_CASE_METHOD(Api, "public: an origin that is held stays one", "[api]") {
  const auto detach = [&] {
    return code_of([&] {
      manager.detach("data");
      return 0;
    });
  };
  CHECK(detach() == EBUSY);
  manager.remove("s");
  CHECK(detach() == 0);
  CHECK(dm.names().empty());
  CHECK(code_of([&] { return manager.attach("/nowhere"); }) == ENOENT);
  CHECK(code_of([&] { return manager.attach("/dev/null"); }) == ENOTBLK);
  CHECK(code_of([&] { return manager.attach("/dev/null", {"", 1000}); }) == EINVAL);
}

TEST_CASE_METHOD(Api, "public: a tracker that is lost is no error, but told of", "[api]") {
  const test::TemporaryDirectory trackers;
  v0::Manager keeper(std::make_shared<api::ManagerState>(dm, devices, trackers / "trackers"));
  keeper.remove("s");
  SECTION("lost") {
    answer({"no answer at all"});
    CHECK(keeper.detach("data").tracker_lost.find("cannot save the change tracker of \"data\"") == 0);
  }
  SECTION("kept") {
    answer({"- 0+128:1"});
    CHECK(keeper.detach("data").tracker_lost.empty());
  }
}

TEST_CASE_METHOD(Api, "public: what cannot be created is refused before anything is changed", "[api]") {
  v0::CreateOptions good;
  good.name = "t";
  good.origins = {"data"};
  good.stores = {{"/nowhere"}};
  good.freeze = false;
  const auto create = [&](void (*spoil)(v0::CreateOptions &)) {
    v0::CreateOptions options = good;
    spoil(options);
    return code_of([&] { return manager.create(options); });
  };
  CHECK(create([](auto &) {}) == ENOENT);
  CHECK(create([](auto &options) { options.stores.clear(); }) == ENOSPC);
  CHECK(create([](auto &options) { options.stores = {{"/dev/null"}}; }) == ENOTBLK);
  CHECK(create([](auto &options) { options.origins = {"/nowhere"}; }) == ENOENT);
  CHECK(create([](auto &options) { options.name.clear(); }) == EINVAL);
  CHECK(create([](auto &options) { options.name = "a/b"; }) == EINVAL);
  CHECK(create([](auto &options) { options.name = "s"; }) == EEXIST);
  CHECK(create([](auto &options) { options.chunk = 4097; }) == EINVAL);
  CHECK(create([](auto &options) { options.buffer = 4097; }) == EINVAL);
  CHECK(create([](auto &options) { options.buffer = 1 << 20; }) == EINVAL);
  CHECK(create([](auto &options) { options.full_wait = std::chrono::milliseconds(60001); }) == EINVAL);
  CHECK(create([](auto &options) { options.full_wait = std::chrono::milliseconds(60000); }) == ENOENT);
  CHECK(create([](auto &options) { options.cut_limit = std::chrono::milliseconds(0); }) == EINVAL);
  CHECK(create([](auto &options) { options.cut_limit = std::chrono::milliseconds(60001); }) == EINVAL);
  CHECK(code_of([&] { return manager.extend("t", {{"/nowhere"}}); }) == ENOENT);
  CHECK(code_of([&] { return manager.extend("s", {{"/nowhere"}}); }) == ENOENT);
  CHECK(log.empty());
}

}  // namespace
}  // namespace diffsnap
