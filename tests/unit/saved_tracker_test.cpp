// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/saved_tracker.h"

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "base/text.h"
#include "catch.h"
#include "core/stacking.h"
#include "errors.h"
#include "fake_system.h"
#include "temporary_directory.h"

namespace diffsnap {
namespace {

namespace fs = std::filesystem;

constexpr DeviceId vdb{252, 16};
const std::string generation = "0198c0de-0000-7000-8000-00000000abcd";

/** A logical volume whose tracker has something to tell. */
struct Saved : test::FakeSystem {
  test::TemporaryDirectory directory;
  std::string trackers = directory / "trackers";
  DeviceId lv;

  Saved() {
    devices.add(vdb, "vdb", 1 << 20);
    lv = dm.add_device("vg-root", "LVM-abcdef", {dm::LinearTable{0, 8192, vdb, 2048}.line()});
    devices.evidence[lv] = {"boot/7", "10/80/0/0", "LVM-abcdef", "ext4 as it was"};
  }

  AttachResult attached() {
    AttachOptions options;
    options.tracker_directory = trackers;
    options.patience = std::chrono::milliseconds(0);
    return attach(env, lv, options);
  }
  DetachResult detached() {
    DetachOptions options;
    options.tracker_directory = trackers;
    options.patience = std::chrono::milliseconds(0);
    return detach(env, lv, options);
  }
  /** Attaches it, has it make 3 snapshots, and detaches it again. */
  void save(std::vector<std::string> answers = {"512 0+128:1 256+128:4", "- 512+128:2"}) {
    attached();
    auto &origin = dm.device("vg-root");
    origin.newest = {generation, 3};
    origin.answers = std::move(answers);
    const auto result = detached();
    REQUIRE_FALSE(result.tracker_lost);
    // What the module would make of the next table.
    dm.device("vg-root").newest = {"0198c0de-0000-7000-8000-000000000000", 0};
    log.clear();
  }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    std::error_code error;
    for (const auto &entry : fs::directory_iterator(trackers, error)) {
      names.push_back(entry.path().filename());
    }
    return names;
  }
  std::string file() const { return trackers + '/' + generation; }
  const ChangeId &newest() { return dm.device("vg-root").newest; }
  /** Of the messages that were sent. */
  std::vector<std::string> told() const {
    std::vector<std::string> texts;
    const std::string prefix = "message vg-root ";
    for (const std::string &line : log) {
      if (starts_with(line, prefix)) {
        texts.push_back(line.substr(prefix.size()));
      }
    }
    return texts;
  }
  void require_lost(const AttachResult &result, int error, const std::string &reason) {
    REQUIRE(result.tracker_lost);
    CHECK(result.tracker_lost->error_number() == error);
    CHECK(result.tracker_lost->reason() == reason);
    CHECK(result.tracker_lost->hint() == "Its next backup is a full one.");
    CHECK(newest().generation != generation);
    CHECK(files().empty());
  }
};

TEST_CASE_METHOD(Saved, "a tracker goes on after detach and attach, once", "[saved_tracker]") {
  save();
  CHECK(files() == std::vector<std::string>{generation});
  const auto result = attached();
  CHECK_FALSE(result.tracker_lost);
  CHECK(newest() == ChangeId{generation, 3});
  CHECK(told() == std::vector<std::string>{"restore " + generation + " 3", "load 0+128:1 256+128:4",
                                           "load 512+128:2", "restored"});
  CHECK(dm::OriginTable::parse(dm.device("vg-root").live[0])->tracking_block == Sectors{128});
  CHECK(files().empty());
}

TEST_CASE_METHOD(Saved, "nothing is read of a suspended device", "[saved_tracker]") {
  save();
  devices.evidence_looked_at = 0;
  dm.device("vg-root").info.suspended = true;
  CHECK(test::errno_of([&] { return attached(); }) == EBUSY);
  CHECK(devices.evidence_looked_at == 0);
  CHECK(files() == std::vector<std::string>{generation});
}

TEST_CASE_METHOD(Saved, "many ranges go in several messages", "[saved_tracker]") {
  std::string answer = "-";
  for (unsigned i = 0; i < 100; ++i) {
    answer += ' ' + std::to_string(i * 256) + "+128:1";
  }
  save({answer});
  attached();
  const auto texts = told();
  REQUIRE(texts.size() == 4);
  CHECK(split_words(texts[1]).size() == 65);
  CHECK(split_words(texts[2]).size() == 37);
}

TEST_CASE_METHOD(Saved, "one that knows of no snapshot is not worth a file", "[saved_tracker]") {
  attached();
  CHECK_FALSE(detached().tracker_lost);
  CHECK(files().empty());
}

TEST_CASE_METHOD(Saved, "one whose device stays in use is not kept", "[saved_tracker]") {
  attached();
  dm.device("vg-root").newest = {generation, 3};
  dm.device("vg-root").info.open_count = 1;
  const auto result = detached();
  REQUIRE(result.tracker_lost);
  CHECK(result.tracker_lost->error_number() == EBUSY);
  CHECK(files().empty());
  CHECK_FALSE(dm.exists("vg-root-diffsnap"));
}

TEST_CASE_METHOD(Saved, "a detach that fails leaves no state while the origin is attached, at whichever step",
                 "[saved_tracker]") {
  attached();
  dm.device("vg-root").newest = {generation, 3};
  unsigned failed = 0;
  for (int call = 1;; ++call) {
    CAPTURE(call);
    dm.device("vg-root").answers = {"-"};
    faults.fail_at(call, EIO);
    try {
      const auto result = detached();
      // Either the state could not be read, or what is left to do does not concern it.
      CHECK(files().empty() == result.tracker_lost.has_value());
      break;
    } catch (const Error &) {
      // Kept if and only if no write is seen any more: what failed then was to clear up.
      const bool out = dm.device("vg-root").live[0].target != dm::OriginTable::target;
      CHECK(files().empty() == !out);
      ++failed;
      if (out) {
        break;
      }
    }
  }
  CHECK_FALSE(dm.any_suspended());
  CHECK(failed + faults.triggered() > 0);
}

TEST_CASE_METHOD(Saved, "an answer that is not understood is not kept", "[saved_tracker]") {
  attached();
  dm.device("vg-root").newest = {generation, 3};
  dm.device("vg-root").answers = {GENERATE("", "x 0+128:1", "0 0+128:1")};
  const auto result = detached();
  REQUIRE(result.tracker_lost);
  CHECK(result.tracker_lost->error_number() == EPROTO);
  CHECK(files().empty());
}

TEST_CASE_METHOD(Saved, "a tracker that changes while it is read is not kept", "[saved_tracker]") {
  attached();
  dm.device("vg-root").newest = {generation, 3};
  dm.device("vg-root").answers = {"512 0+128:1", "- 512+128:2"};
  SECTION("its generation") {
    dm.device("vg-root").newest_then = ChangeId{"0198c0de-0000-7000-8000-00000000ffff", 0};
  }
  SECTION("its number") {
    dm.device("vg-root").newest_then = ChangeId{generation, 4};
  }
  const auto result = detached();
  REQUIRE(result.tracker_lost);
  CHECK(result.tracker_lost->error_number() == EAGAIN);
  CHECK(files().empty());
}

TEST_CASE_METHOD(Saved, "whatever was written in between ends the generation", "[saved_tracker]") {
  save();
  devices.evidence[lv].writes = "11/88/0/0";
  require_lost(attached(), ESTALE, "the device was written to since it was detached");
}

TEST_CASE_METHOD(Saved, "writes that are not counted may have been", "[saved_tracker]") {
  SECTION("then") {
    devices.evidence[lv].writes.clear();
    save();
    devices.evidence[lv].writes = "10/80/0/0";
  }
  SECTION("or now") {
    save();
    devices.evidence[lv].writes.clear();
  }
  require_lost(attached(), ESTALE, "the kernel does not count all that is written to the device");
}

TEST_CASE_METHOD(Saved, "a device with another table may have other contents", "[saved_tracker]") {
  const DeviceId pv = dm.add_device("pv", "mpath", {dm::LinearTable{0, 1 << 20, vdb, 0}.line()});
  dm.device("vg-root").live = {dm::LinearTable{0, 8192, pv, 2048}.line()};
  save();
  SECTION("of its own") {
    dm.device("vg-root").live = {dm::LinearTable{0, 8192, pv, 4096}.line()};
  }
  SECTION("or of what it lies on") {
    dm.device("pv").live = {dm::LinearTable{0, 1 << 20, vdb, 8}.line()};
  }
  require_lost(attached(), ESTALE, "the device was given another table since it was detached");
}

TEST_CASE_METHOD(Saved, "what was merged into a volume was not written through it", "[saved_tracker]") {
  save();
  devices.evidence[lv].superblock = GENERATE("ext4 mounted again", "");
  require_lost(attached(), ESTALE, "its contents were changed since it was detached");
}

TEST_CASE_METHOD(Saved, "where others write for a device, its counters say nothing", "[saved_tracker]") {
  SECTION("a snapshot that is merged into it") {
    dm.device("vg-root").live = {{0, 8192, "snapshot-origin", vdb.to_string()}};
  }
  SECTION("the same, further down") {
    const DeviceId pv = dm.add_device("pv", "x", {{0, 8192, "snapshot-merge", vdb.to_string()}});
    dm.device("vg-root").live = {dm::LinearTable{0, 4096, pv, 2048}.line()};
  }
  SECTION("the file of a loop device") {
    devices.known[vdb].loop_file = "/srv/disk.img";
  }
  save();
  require_lost(attached(), ESTALE, "the kernel does not count all that is written to the device");
}

TEST_CASE_METHOD(Saved, "of a device that was made anew its file system is asked", "[saved_tracker]") {
  save();
  devices.evidence[lv].incarnation = "another boot/3";
  devices.evidence[lv].writes = "0/0/0/0";
  SECTION("which is as it was") {
    CHECK_FALSE(attached().tracker_lost);
    CHECK(newest() == ChangeId{generation, 3});
  }
  SECTION("which was used") {
    devices.evidence[lv].superblock = "ext4 mounted again";
    require_lost(attached(), ESTALE, "its file system was in use since it was detached");
  }
  SECTION("which is not there any more") {
    devices.evidence[lv].superblock.clear();
    require_lost(attached(), ESTALE,
                 "nothing on the device shows whether it was written to since it was detached");
  }
}

TEST_CASE_METHOD(Saved, "what somebody has open may be written to", "[saved_tracker]") {
  save();
  SECTION("in the same boot") {}
  SECTION("in another one") {
    devices.evidence[lv].incarnation = "another boot/3";
  }
  // No mount that could be seen: another namespace's, or a virtual machine.
  dm.device("vg-root").info.open_count = 1;
  require_lost(attached(), ESTALE,
               "the device is in use, and may have been written to before it was attached");
}

TEST_CASE_METHOD(Saved, "another device's state is let alone", "[saved_tracker]") {
  save();
  devices.evidence[lv].incarnation = "another boot/3";
  devices.evidence[lv].identity = GENERATE("LVM-other", "");
  CHECK_FALSE(attached().tracker_lost);
  CHECK(newest().generation != generation);
  CHECK(files() == std::vector<std::string>{generation});
}

/** Another volume, of the same identity. */
struct Twins : Saved {
  // First in the order of names.
  const std::string its_generation = "0198c0de-0000-7000-8000-00000000aaaa";
  DeviceId twin;
  AttachOptions attach_options;
  DetachOptions detach_options;

  Twins() {
    twin = dm.add_device("vg-twin", "LVM-other", {dm::LinearTable{0, 8192, vdb, 16384}.line()});
    devices.evidence[twin] = {"boot/8", "20/160/0/0", "LVM-abcdef", "ext4 as it was"};
    devices.present = {"boot/7", "boot/8"};
    attach_options.tracker_directory = trackers;
    attach_options.patience = std::chrono::milliseconds(0);
    detach_options.tracker_directory = trackers;
    detach_options.patience = std::chrono::milliseconds(0);
  }
  const ChangeId &newest_of_twin() { return dm.device("vg-twin").newest; }
  void save_twin() {
    attach(env, twin, attach_options);
    dm.device("vg-twin").newest = {its_generation, 5};
    dm.device("vg-twin").answers = {"-"};
    REQUIRE_FALSE(detach(env, twin, detach_options).tracker_lost);
    dm.device("vg-twin").newest = {"0198c0de-0000-7000-8000-000000000000", 0};
  }
};

TEST_CASE_METHOD(Twins, "of two devices of the same serial number each has its own state",
                 "[saved_tracker]") {
  save();
  CHECK_FALSE(attach(env, twin, attach_options).tracker_lost);
  CHECK(newest_of_twin().generation != generation);
  CHECK(files() == std::vector<std::string>{generation});
  detach(env, twin, detach_options);
  // It had nothing to keep, and nothing of its own to remove.
  CHECK(files() == std::vector<std::string>{generation});
  save_twin();
  CHECK(files().size() == 2);
  CHECK_FALSE(attached().tracker_lost);
  CHECK(newest() == ChangeId{generation, 3});
  CHECK(files() == std::vector<std::string>{its_generation});
  CHECK_FALSE(attach(env, twin, attach_options).tracker_lost);
  CHECK(newest_of_twin() == ChangeId{its_generation, 5});
  CHECK(files().empty());
}

TEST_CASE_METHOD(Twins, "what is known to be a device's comes before what may be", "[saved_tracker]") {
  save();
  save_twin();
  // It was unplugged, and may come back as anything.
  devices.present.erase("boot/8");
  CHECK_FALSE(attached().tracker_lost);
  CHECK(newest() == ChangeId{generation, 3});
  CHECK(files() == std::vector<std::string>{its_generation});
  devices.evidence[twin].incarnation = "boot/9";
  CHECK_FALSE(attach(env, twin, attach_options).tracker_lost);
  CHECK(newest_of_twin() == ChangeId{its_generation, 5});
}

TEST_CASE_METHOD(Saved, "a device that has changed its form does not go on", "[saved_tracker]") {
  save();
  SECTION("another size") {
    devices.evidence[lv].incarnation = "another boot/3";
    dm.device("vg-root").live = {dm::LinearTable{0, 16384, vdb, 2048}.line()};
    require_lost(attached(), EINVAL, "it had another size");
  }
  SECTION("another tracking block, asked for") {
    AttachOptions options;
    options.tracker_directory = trackers;
    options.tracking_block = 8;
    dm.device("vg-root").tracking_block = 8;  // as the module would have it then
    require_lost(attach(env, lv, options), EINVAL, "it had another tracking block");
  }
}

TEST_CASE_METHOD(Saved, "a file that was damaged is not believed", "[saved_tracker]") {
  save();
  std::string text = test::read_file(file());
  SECTION("a number changed") {
    text.replace(text.find(":4"), 2, ":1");
  }
  SECTION("a line lost") {
    const auto at = text.find("512+128:2\n");
    text.erase(at, 10);
  }
  SECTION("the end lost") {
    text.erase(text.find("end "));
  }
  SECTION("something added") {
    text += "0+128:1\n";
  }
  test::write_file(file(), text);
  const auto result = attached();
  REQUIRE(result.tracker_lost);
  CHECK(result.tracker_lost->error_number() == ESTALE);
  CHECK(newest().generation != generation);
  CHECK(files().empty());
}

TEST_CASE_METHOD(Saved, "what is no state at all is let alone", "[saved_tracker]") {
  fs::create_directories(trackers);
  test::write_file(trackers + "/README",
                   GENERATE("", "hello\n", "diffsnap tracker 1\n\n", "diffsnap tracker 2\nsize 3\n"));
  CHECK_FALSE(attached().tracker_lost);
  CHECK(files() == std::vector<std::string>{"README"});
}

TEST_CASE_METHOD(Saved, "a state is taken up whole or not at all, at whichever step that fails",
                 "[saved_tracker]") {
  save();
  unsigned kept = 0, lost = 0;
  for (int call = 1;; ++call) {
    CAPTURE(call);
    faults.fail_at(call, EIO);
    try {
      const auto result = attached();
      CHECK(files().empty());
      CHECK((newest() == ChangeId{generation, 3}) == !result.tracker_lost);
      if (!faults.triggered()) {
        break;
      }
      faults.fail_at(0, 0);
      lost += result.tracker_lost.has_value();
      detach(env, lv);
      save();
    } catch (const Error &) {
      // Not attached: it can be tried again.
      CHECK(files() == std::vector<std::string>{generation});
      ++kept;
    }
  }
  CHECK(kept > 0);
  CHECK(lost == 4);
}

TEST_CASE_METHOD(Saved, "a newer state takes the place of an older one", "[saved_tracker]") {
  save();
  test::write_file(trackers + "/older", test::read_file(file()));
  attached();
  dm.device("vg-root").answers = {"-"};
  detached();
  CHECK(files() == std::vector<std::string>{generation});
}

TEST_CASE_METHOD(Saved, "what no device will ever ask for is removed", "[saved_tracker]") {
  save();
  const std::string state = test::read_file(file());
  // Only the names in it are looked at, so that its sum need not be right.
  const auto put = [&](const std::string &name, const std::string &incarnation, const std::string &identity) {
    std::string text = state;
    text.replace(text.find("boot/7"), 6, incarnation);
    text.replace(text.find("LVM-abcdef"), 10, identity);
    test::write_file(trackers + '/' + name, text);
  };
  put("another boot, nameless", "earlier/3", "");
  put("another boot, named", "earlier/4", "LVM-other");
  put("this boot, nameless", "boot/9", "");
  attached();
  dm.device("vg-root").answers = {"-"};
  detached();
  auto left = files();
  std::sort(left.begin(), left.end());
  CHECK(left == std::vector<std::string>{generation, "another boot, named", "this boot, nameless"});
}

TEST_CASE_METHOD(Saved, "of a device whose tracker knows nothing no earlier state stays", "[saved_tracker]") {
  save();
  AttachOptions elsewhere;
  elsewhere.tracker_directory = directory / "elsewhere";
  attach(env, lv, elsewhere);
  CHECK(files().size() == 1);
  CHECK_FALSE(detached().tracker_lost);
  CHECK(files().empty());
}

}  // namespace
}  // namespace diffsnap
