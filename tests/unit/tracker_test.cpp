// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/tracker.h"

#include <linux/fiemap.h>

#include <cerrno>
#include <iterator>
#include <random>
#include <sstream>

#include "catch.h"
#include "command.h"
#include "context.h"
#include "core/snapshot_set.h"
#include "errors.h"
#include "fake_system.h"
#include "sys/fiemap.h"

namespace diffsnap {
namespace {

using test::errno_of;
using test::error_of;

constexpr DeviceId vdb{252, 16};
constexpr DeviceId vdc{252, 32};
const std::string generation = "0198c0de-0000-7000-8000-000000000000";
const std::string other_generation = "0198c0de-0000-7000-8000-00000000ffff";

/** An origin of 4 MiB in the snapshot "s", its third. */
struct Tracked : test::FakeSystem {
  DeviceId origin;

  Tracked() {
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

  void answer(std::vector<std::string> answers) { dm.device("data").answers = std::move(answers); }
  TrackedImage image() { return get_tracked_image(dm, "s", "data", "list changes of"); }

  /** "offset+length ..." in bytes */
  std::string changes(std::optional<ChangeId> since = ChangeId{generation, 1}) {
    const TrackedImage tracked = image();
    ChangeCursor cursor(dm, tracked, since);
    std::string text;
    while (const auto range = cursor.next()) {
      text += (text.empty() ? "" : " ") + std::to_string(range->offset) + '+' + std::to_string(range->length);
    }
    return text;
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
};

TEST_CASE("a snapshot's name is a generation and a number", "[tracker]") {
  const ChangeId id{generation, 17};
  CHECK(id.to_string() == generation + ":17");
  CHECK(ChangeId::parse(id.to_string()) == id);
  const std::vector<std::string> others{"",   generation,
                                        ":1", generation + ':',
                                        "x",  generation + ":-1",
                                        "::", generation.substr(1) + ":1",
                                        "1",  'x' + generation.substr(1) + ":1"};
  for (const std::string &text : others) {
    CAPTURE(text);
    CHECK_FALSE(ChangeId::parse(text));
  }
}

TEST_CASE("since: a number, or a generation and a number", "[tracker]") {
  CHECK(parse_since("7").number == 7);
  CHECK_FALSE(parse_since("7").generation);
  CHECK(parse_since(generation + ":7").number == 7);
  CHECK(parse_since(generation + ":7").generation == generation);
  for (const char *text : {"", "x", "-1", "7:", "7:7", "18446744073709551616"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(parse_since(text), SyntaxError);
  }
}

TEST_CASE_METHOD(Tracked, "an image is known by its tracker's number", "[tracker]") {
  const TrackedImage tracked = image();
  CHECK(tracked.id == ChangeId{generation, 3});
  CHECK(tracked.size == 4 << 20);
  CHECK(tracked.chunk == 4096);
  CHECK(errno_of([&] { return get_tracked_image(dm, "s", "other", "send"); }) == ENOENT);
  CHECK(errno_of([&] { return get_tracked_image(dm, "t", "data", "send"); }) == ENOENT);
  for (const char *state : {"invalid", "overflow", "dropped", "new"}) {
    CAPTURE(state);
    dm.device("diffsnap-s").store_state = state;
    CHECK(errno_of([&] { return get_tracked_image(dm, "s", "data", "send"); }) == EIO);
    CHECK(errno_of([&] {
            check_still_in_order(dm, tracked, "send");
            return 0;
          }) == EIO);
  }
  dm.device("diffsnap-s").store_state = "active";
  dm.device("data").origin_state = "idle";
  CHECK(errno_of([&] { return get_tracked_image(dm, "s", "data", "send"); }) == EIO);
}

TEST_CASE_METHOD(Tracked, "an image that was replaced is another one", "[tracker]") {
  const TrackedImage tracked = image();
  check_still_in_order(dm, tracked, "send");
  dm.device("data").newest.number = 4;
  CHECK(errno_of([&] {
          check_still_in_order(dm, tracked, "send");
          return 0;
        }) == EIO);
}

TEST_CASE_METHOD(Tracked, "only an older snapshot of the same generation can be compared with", "[tracker]") {
  const TrackedImage tracked = image();
  CHECK(resolve_since(tracked, {std::nullopt, 0}, "send") == ChangeId{generation, 0});
  CHECK(resolve_since(tracked, {generation, 3}, "send") == ChangeId{generation, 3});
  CHECK(errno_of([&] { return resolve_since(tracked, {std::nullopt, 4}, "send"); }) == EINVAL);
  const auto error = error_of([&] { return resolve_since(tracked, {other_generation, 1}, "send"); });
  REQUIRE(error);
  CHECK(error->error_number() == ESTALE);
  CHECK(error->hint().find("full backup") != std::string::npos);
}

TEST_CASE_METHOD(Tracked, "without --since the whole image is one range", "[tracker]") {
  CHECK(changes(std::nullopt) == "0+4194304");
  CHECK(log.empty());
}

TEST_CASE_METHOD(Tracked, "ranges are merged within an answer and over answers", "[tracker]") {
  answer({"-"});
  CHECK(changes().empty());
  answer({"- 0+128 128+128 512+128"});
  CHECK(changes() == "0+131072 262144+65536");
  answer({"256 0+128 128+128", "512 256+128", "1024", "2048 1024+1024", "- 2048+6144"});
  CHECK(changes() == "0+196608 524288+3670016");
  answer({"128 0+128", "- 256+128"});
  CHECK(changes() == "0+65536 131072+65536");
  // the last block of a device is cut off at its end
  answer({"8191 8064+127", "- 8191+1"});
  CHECK(changes() == "4128768+65536");
}

TEST_CASE_METHOD(Tracked, "the kernel is asked from where it stopped", "[tracker]") {
  answer({"4096 0+128", "- 4096+128"});
  CHECK(changes() == "0+65536 2097152+65536");
  CHECK(log == test::Log{"message data changes " + generation + " 1 0",
                         "message data changes " + generation + " 1 4096"});
}

TEST_CASE_METHOD(Tracked, "random ranges come out as they are, however they are cut into answers",
                 "[tracker]") {
  std::mt19937 random(20240817);
  for (int round = 0; round < 200; ++round) {
    // A bit for each block of 128 sectors, and cuts between some of them.
    std::vector<std::string> answers;
    std::string now;
    std::string expected;
    std::uint64_t begin = 0;
    bool inside = false;
    for (std::uint64_t block = 0; block < 64; ++block) {
      const bool changed = random() % 2 == 0;
      if (changed) {
        now += ' ' + std::to_string(block * 128) + "+128";
      }
      if (changed != inside) {
        if (inside) {
          expected += (expected.empty() ? "" : " ") + std::to_string(begin * 65536) + '+' +
                      std::to_string((block - begin) * 65536);
        }
        begin = block;
        inside = changed;
      }
      if (block < 63 && random() % 4 == 0) {
        answers.push_back(std::to_string((block + 1) * 128) + now);
        now.clear();
      }
    }
    if (inside) {
      expected += (expected.empty() ? "" : " ") + std::to_string(begin * 65536) + '+' +
                  std::to_string((64 - begin) * 65536);
    }
    answers.push_back('-' + now);
    answer(answers);
    CHECK(changes() == expected);
  }
}

TEST_CASE_METHOD(Tracked, "an answer that is not understood is none", "[tracker]") {
  for (const char *text : {"", "x", "0", "- 0", "- 0+", "- +128", "- 0+0", "- 0+x", "- -1+128",
                           "- 128+128 0+128", "- 0+128 64+128", "- 8192+1", "- 8191+2",
                           "- 0+18446744073709551615", "64 0+128", "128 0+128 128+128", "9000 0+128 +"}) {
    CAPTURE(text);
    answer({text});
    CHECK(errno_of([&] { return changes(); }) == EPROTO);
  }
  // backwards over answers, and on the same spot
  answer({"128 0+128", "- 64+128"});
  CHECK(errno_of([&] { return changes(); }) == EPROTO);
  answer({"128 0+128", "128"});
  CHECK(errno_of([&] { return changes(); }) == EPROTO);
}

TEST_CASE_METHOD(Tracked, "a generation that ends meanwhile calls for a full backup", "[tracker]") {
  const auto error = error_of([&] { return changes(ChangeId{other_generation, 1}); });
  REQUIRE(error);
  CHECK(error->error_number() == ESTALE);
  CHECK(error->hint().find("full backup") != std::string::npos);
}

TEST_CASE_METHOD(Tracked, "ranges are marked in messages of bounded length", "[tracker]") {
  std::vector<sys::ByteRange> ranges;
  for (std::uint64_t i = 0; i < 65; ++i) {
    ranges.push_back({i * 8192, 4096});
  }
  mark_ranges(dm, image().origin, ranges);
  REQUIRE(log.size() == 2);
  CHECK(log[0].find("message data mark 0+8 16+8 ") == 0);
  CHECK(log[1] == "message data mark 1024+8");
  log.clear();
  mark_ranges(dm, image().origin, {{100, 1000}, {(4 << 20) - 512, 512}});
  CHECK(log == test::Log{"message data mark 0+3 8191+1"});
  CHECK(errno_of([&] {
          mark_ranges(dm, image().origin, {{0, 512}, {4 << 20, 512}});
          return 0;
        }) == EINVAL);
  CHECK(log.size() == 1);
}

TEST_CASE_METHOD(Tracked, "a file's ranges are those of the origin it lies on directly", "[tracker]") {
  devices.file_devices["/srv/here"] = origin;
  devices.file_devices["/srv/there"] = vdb;
  devices.extents["/srv/here"] = {{4096, 8192}};
  const auto ranges = ranges_of_file(env, image().origin, "/srv/here");
  REQUIRE(ranges.size() == 1);
  CHECK(ranges[0].offset == 4096);
  CHECK(errno_of([&] { return ranges_of_file(env, image().origin, "/srv/there"); }) == EXDEV);
  CHECK(errno_of([&] { return ranges_of_file(env, image().origin, "/nowhere"); }) == EXDEV);
}

TEST_CASE("an extent that does not say where contents lie is refused by name", "[tracker][fiemap]") {
  CHECK(sys::trouble_with_extent(0).empty());
  CHECK(sys::trouble_with_extent(FIEMAP_EXTENT_LAST | FIEMAP_EXTENT_UNWRITTEN | FIEMAP_EXTENT_MERGED |
                                 FIEMAP_EXTENT_SHARED)
            .empty());
  const auto says = [](std::uint32_t flags, const char *word) {
    return sys::trouble_with_extent(flags).find(word) != std::string::npos;
  };
  CHECK(says(FIEMAP_EXTENT_DATA_INLINE | FIEMAP_EXTENT_NOT_ALIGNED, "inline"));
  CHECK(says(FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_UNKNOWN, "no place"));
  CHECK(says(FIEMAP_EXTENT_UNKNOWN, "does not know"));
  CHECK(says(FIEMAP_EXTENT_ENCODED, "compressed"));
  CHECK(says(FIEMAP_EXTENT_DATA_ENCRYPTED | FIEMAP_EXTENT_ENCODED, "encrypted"));
  CHECK(says(FIEMAP_EXTENT_DATA_TAIL | FIEMAP_EXTENT_NOT_ALIGNED, "tail"));
  CHECK(says(FIEMAP_EXTENT_NOT_ALIGNED, "aligned"));
}

TEST_CASE("what is no regular file has no extents", "[tracker][fiemap]") {
  CHECK(errno_of([] { return sys::file_extents("/"); }) == EINVAL);
  CHECK(errno_of([] { return sys::file_extents("/nowhere/at/all"); }) == ENOENT);
  CHECK(errno_of([] { return sys::file_extents("/proc/self/status"); }) == EOPNOTSUPP);
}

TEST_CASE_METHOD(Tracked, "changes are printed in three formats", "[tracker][cli]") {
  const std::vector<std::string> answers{"256 0+128 128+128", "- 512+128"};
  answer(answers);
  const Result text = run({"changes", "s/data", "--since", "1"});
  CHECK(text.err.empty());
  CHECK(text.status == cli::exit_done);
  CHECK(text.out == "0 131072\n262144 65536\n");
  answer(answers);
  CHECK(run({"changes", "s/data", "--since", "1", "--format", "json"}).out ==
        "[{\"offset\":0,\"length\":131072,\"exists\":\"true\"},"
        "{\"offset\":262144,\"length\":65536,\"exists\":\"true\"}]\n");
  answer(answers);
  const std::string table = run({"changes", "s/data", "--since", "1", "--format", "rbd"}).out;
  std::istringstream lines(table);
  std::vector<std::string> words{std::istream_iterator<std::string>(lines), {}};
  CHECK(words == std::vector<std::string>{"Offset", "Length", "Type", "0", "131072", "data", "262144",
                                          "65536", "data"});
  for (const auto &[format, nothing] :
       std::vector<std::pair<const char *, const char *>>{{"text", ""}, {"json", "[]\n"}, {"rbd", ""}}) {
    answer({"-"});
    CHECK(run({"changes", "s/data", "--since", "3", "--format", format}).out == nothing);
  }
  CHECK(run({"changes", "s/data"}).out == "0 4194304\n");
}

TEST_CASE_METHOD(Tracked, "changes that cannot be told are an error, never an empty list", "[tracker][cli]") {
  const Result stale = run({"changes", "s/data", "--since", (other_generation + ":1").c_str()});
  CHECK(stale.status == cli::exit_failed);
  CHECK(stale.out.empty());
  CHECK(stale.err.find("full backup is due") != std::string::npos);
  CHECK(run({"changes", "s/data", "--since", "4"}).status == cli::exit_failed);
  CHECK(run({"changes", "s/data", "--since", "x"}).status == cli::exit_bad_command_line);
  CHECK(run({"changes", "s/data", "--format", "xml"}).status == cli::exit_bad_command_line);
  CHECK(run({"changes", "data"}).status == cli::exit_bad_command_line);
  CHECK(run({"changes", "s/nowhere"}).status == cli::exit_failed);
  dm.device("diffsnap-s").store_state = "overflow";
  CHECK(run({"changes", "s/data"}).status == cli::exit_failed);
}

TEST_CASE_METHOD(Tracked, "mark and reset send what they say", "[tracker][cli]") {
  devices.file_devices["/srv/here"] = origin;
  devices.extents["/srv/here"] = {{4096, 8192}};
  CHECK(run({"mark", "data", "--range", "0+4k", "--file", "/srv/here", "--range", "1m+512b"}).status == 0);
  CHECK(log == test::Log{"message data mark 0+8 2048+1 8+16"});
  CHECK(run({"mark", "data"}).status == cli::exit_bad_command_line);
  CHECK(run({"mark", "data", "--range", "4k"}).status == cli::exit_bad_command_line);
  CHECK(run({"mark", "data", "--range", "4m+4k"}).status == cli::exit_failed);
  CHECK(run({"mark", "-t", "data", "--range", "4m+4k"}).status == cli::exit_failed);
  CHECK(run({"mark", "-t", "data", "--range", "0+4m"}).status == cli::exit_done);
  CHECK(log.size() == 1);
  log.clear();
  const Result held = run({"reset", "data"});
  CHECK(held.status == cli::exit_failed);
  CHECK(held.err.find("\"s\" holds") != std::string::npos);
  dm.device("data").origin_state = "idle";
  CHECK(run({"reset", "-t", "data"}).status == cli::exit_done);
  CHECK(dm.device("data").newest.number == 3);
  CHECK(run({"reset", "data"}).status == cli::exit_done);
  CHECK(dm.device("data").newest.number == 0);
}

TEST_CASE("a generation is begun only while no snapshot holds the origin", "[tracker]") {
  test::FakeSystem system;
  system.devices.add({252, 16}, "vdb", 1 << 20);
  const DeviceId id = system.dm.add_device("data", "LVM-1", {dm::OriginTable{8192, {252, 16}}.line()});
  auto &device = system.dm.device("data");
  const ChangeId before = device.newest;
  const bool dry_run = GENERATE(false, true);
  const auto reset = [&] {
    return test::errno_of([&] {
      reset_tracker(system.dm, *read_inventory(system.dm).find_origin(id), dry_run);
      return 0;
    });
  };
  device.origin_state = "held";
  CHECK(reset() == EBUSY);
  CHECK(device.newest == before);
  device.origin_state = "idle";
  CHECK(reset() == 0);
  CHECK((device.newest == before) == dry_run);
}

}  // namespace
}  // namespace diffsnap
