// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/send.h"

#include <cerrno>
#include <deque>
#include <random>
#include <sstream>

#include "catch.h"
#include "command.h"
#include "context.h"
#include "core/receive.h"
#include "core/snapshot_set.h"
#include "errors.h"
#include "fake_system.h"
#include "progress.h"
#include "stream/reader.h"
#include "stream/sha256.h"
#include "stream_support.h"
#include "temporary_directory.h"

namespace diffsnap {
namespace {

using test::errno_of;

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

/** Data and zeroes in runs of random lengths. */
std::string random_content(std::mt19937 &random, std::size_t size) {
  std::string text;
  while (text.size() < size) {
    const std::size_t length = random() % 300000;
    if (random() % 2 == 0) {
      text.append(length, '\0');
    } else {
      for (std::size_t i = 0; i < length; ++i) {
        text += static_cast<char>(random());
      }
    }
  }
  text.resize(size);
  return text;
}

struct Sent {
  test::TemporaryDirectory directory;
  std::string image = directory / "image";
  std::string copy = directory / "copy";

  std::string receive(const std::string &text) {
    test::StringSource source(text);
    ReceiveOptions options;
    options.target = copy;
    receive_stream(source, options);
    return test::read_file(copy);
  }
};

TEST_CASE_METHOD(Sent, "what is sent arrives, with any number of threads", "[send]") {
  std::mt19937 random(7);
  const std::size_t size = (5 << 20) + 512;
  const std::string content = random_content(random, size);
  test::write_file(image, content);
  std::string stream;
  for (const unsigned threads : {1U, 2U, 7U}) {
    test::StringSink sink;
    CopyOptions options;
    options.threads = threads;
    const SendTotals totals =
        copy_to_stream(image, ranges_of({{0, size}}), {std::nullopt, "g:1", size}, sink, options);
    CHECK(totals.data + totals.zeroes == size);
    CHECK(totals.zeroes > 0);
    CHECK((stream.empty() || sink.text == stream));
    stream = sink.text;
  }
  CHECK(receive(stream) == content);
  // Ranges of it, over an older state.
  std::string next = content;
  std::deque<sys::ByteRange> ranges;
  for (std::size_t at = 0; at + 65536 < size; at += 65536 * (1 + random() % 8)) {
    next.replace(at, 65536, random_content(random, 65536));
    ranges.push_back({at, 65536});
  }
  test::write_file(image, next);
  test::StringSink sink;
  copy_to_stream(image, ranges_of(ranges), {"g:1", "g:2", size}, sink, {});
  CHECK(receive(sink.text) == next);
}

TEST_CASE_METHOD(Sent, "nothing changed is a stream, too", "[send]") {
  test::write_file(image, std::string(8192, 'x'));
  test::StringSink sink;
  copy_to_stream(image, ranges_of({}), {"g:1", "g:2", 8192}, sink, {});
  test::StringSource source(sink.text);
  stream::Reader reader(source);
  CHECK_FALSE(reader.next());
}

TEST_CASE_METHOD(Sent, "zeroes are one record, however long they are", "[send]") {
  const std::uint64_t size = 20 << 20;
  test::write_file(image, "");
  std::filesystem::resize_file(image, size);
  test::StringSink sink;
  CHECK(copy_to_stream(image, ranges_of({{0, size}}), {std::nullopt, "g:1", size}, sink, {}).zeroes == size);
  test::StringSource source(sink.text);
  stream::Reader reader(source);
  const auto record = reader.next();
  CHECK(record->kind == stream::RecordKind::zero);
  CHECK(record->length == size);
  CHECK_FALSE(reader.next());
}

TEST_CASE_METHOD(Sent, "what was written out is told of in order, all of it", "[send]") {
  const std::uint64_t size = 11 << 20;
  test::write_file(image, std::string(size, 'x'));
  test::StringSink sink;
  CopyOptions options;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> told;
  std::vector<std::size_t> written;
  options.written_out = [&](const sys::ByteRange &range) {
    told.emplace_back(range.offset, range.length);
    written.push_back(sink.text.size());
  };
  copy_to_stream(image, ranges_of({{0, 5 << 20}, {6 << 20, 5 << 20}}), {"g:1", "g:2", size}, sink, options);
  const std::uint64_t mib = 1 << 20;
  CHECK(told == std::vector<std::pair<std::uint64_t, std::uint64_t>>{
                    {0, 4 * mib}, {4 * mib, mib}, {6 * mib, 4 * mib}, {10 * mib, mib}});
  CHECK(written[0] >= 4 * mib);
  CHECK(written[2] >= 9 * mib);
}

TEST_CASE_METHOD(Sent, "a failure leaves a stream without an end", "[send]") {
  const std::uint64_t size = 3 << 20;
  test::write_file(image, std::string(size, 'x'));
  test::StringSink sink;
  CopyOptions options;
  const auto is_truncated = [&] { return errno_of([&] { return receive(sink.text); }) == EBADMSG; };
  SECTION("of the check before the end") {
    options.before_end = [] { throw Error("send", "image", EIO); };
    CHECK(errno_of([&] {
            return copy_to_stream(image, ranges_of({{0, size}}), {std::nullopt, "g:1", size}, sink, options)
                .data;
          }) == EIO);
  }
  SECTION("of a read") {
    CHECK(errno_of([&] {
            return copy_to_stream(image, ranges_of({{0, size + 4096}}), {std::nullopt, "g:1", size + 4096},
                                  sink, options)
                .data;
          }) == EIO);
  }
  SECTION("of what gives the ranges") {
    int calls = 0;
    const ReadAhead::Ranges ranges = [&]() -> std::optional<sys::ByteRange> {
      if (calls++ > 0) {
        throw Error("list changes of", "image", ESTALE);
      }
      return sys::ByteRange{0, 4096};
    };
    CHECK(errno_of([&] {
            return copy_to_stream(image, ranges, {std::nullopt, "g:1", size}, sink, options).data;
          }) == ESTALE);
  }
  CHECK(is_truncated());
}

TEST_CASE_METHOD(Sent, "a device that cannot be opened is an error", "[send]") {
  test::StringSink sink;
  CHECK(errno_of([&] {
          return copy_to_stream(directory / "none", ranges_of({}), {std::nullopt, "g:1", 1}, sink, {}).data;
        }) == ENOENT);
}

constexpr DeviceId vdb{252, 16};
constexpr DeviceId vdc{252, 32};
const std::string generation = "0198c0de-0000-7000-8000-000000000000";

/** An image in a snapshot, of devices that cannot be read. */
struct Imaged : test::FakeSystem {
  Imaged() {
    devices.add(vdb, "vdb", 1 << 20);
    devices.add(vdc, "vdc", 1 << 20);
    CreateOptions options;
    options.name = "s";
    options.origins = {dm.add_device("data", "LVM-1", {dm::OriginTable{8192, vdb}.line()})};
    options.store = StorePlan{{{vdc, 0, 65536}}};
    create_snapshot(env, options, nullptr, nullptr);
  }
  TrackedImage image() { return get_tracked_image(dm, "s", "data", "send"); }
};

TEST_CASE_METHOD(Imaged, "an image that ranges of were released is not sent", "[send]") {
  TrackedImage tracked = image();
  const auto refusal = [&](const char *params) {
    tracked.image.status = dm::parse_image_status(params);
    return errno_of([&] {
      check_sendable(tracked, {});
      return 0;
    });
  };
  CHECK(refusal("active 8 0 0") == 0);
  CHECK(refusal("active 0 8 0") == 0);
  CHECK(refusal("active 0 0 8") == EBUSY);
  CHECK(refusal("from the future") == EPROTO);
}

TEST_CASE_METHOD(Imaged, "no stream starts from number 0", "[send]") {
  test::StringSink sink;
  SendOptions options;
  options.since = ChangeId{generation, 0};
  CHECK(errno_of([&] { return send_image(env, image(), options, sink).size; }) == EINVAL);
  CHECK(sink.text.empty());
}

TEST_CASE_METHOD(Imaged, "what will be read is known before", "[send]") {
  CHECK(measure(dm, image(), std::nullopt) == 4 << 20);
  dm.device("data").answers = {"512 0+128", "- 1024+128 1280+128"};
  CHECK(measure(dm, image(), ChangeId{generation, 1}) == 3 * 65536);
}

TEST_CASE("a manifest says what was sent", "[send]") {
  SendResult result;
  result.id = {generation, 7};
  result.snapshot = "daily";
  result.origin = "vg-root";
  result.size = 4096;
  result.totals = {1024, 3072};
  result.stream_bytes = 1100;
  result.sha256 = "ab";
  CHECK(result.to_json() ==
        "{\"format\":\"rbd diff v1\",\"generation\":\"" + generation +
            "\",\"number\":7,\"since\":null,\"snapshot\":\"daily\",\"origin\":\"vg-root\",\"size\":4096,"
            "\"data_bytes\":1024,\"zero_bytes\":3072,\"stream_bytes\":1100,\"sha256\":\"ab\"}\n");
  result.since = ChangeId{generation, 5};
  CHECK(result.to_json().find("\"since\":5,") != std::string::npos);
}

TEST_CASE("progress shows bytes, rate and time left", "[cli][progress]") {
  using namespace std::chrono_literals;
  using cli::Progress;
  using cli::ProgressStyle;
  const Progress::Clock::time_point start{};
  std::ostringstream err;
  {
    Progress progress(err, ProgressStyle::none, 100, start);
    progress.update(50, start + 1h);
  }
  CHECK(err.str().empty());
  {
    Progress progress(err, ProgressStyle::lines, std::uint64_t{1} << 30, start);
    progress.update(1 << 20, start + 9s);
    CHECK(err.str().empty());
    progress.update(512 << 20, start + 64s);
    progress.update(513 << 20, start + 65s);
  }
  CHECK(err.str() == "  512.00m of 1.00g (50.0%), 8.00m/s, 1:04 left\n");
  err.str("");
  {
    Progress progress(err, ProgressStyle::terminal, std::nullopt, start);
    progress.update(1 << 20, start + 1s);
  }
  CHECK(err.str().find("\r  1.00m, 1.00m/s") == 0);
  CHECK(err.str().back() == '\r');
}

}  // namespace
}  // namespace diffsnap
