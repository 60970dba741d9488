// SPDX-License-Identifier: GPL-2.0-or-later
#include <cerrno>
#include <random>

#include "catch.h"
#include "errors.h"
#include "stream/apply.h"
#include "stream/reader.h"
#include "stream/sha256.h"
#include "stream/target_state.h"
#include "stream/writer.h"
#include "stream/zeroes.h"
#include "stream_support.h"

namespace diffsnap::stream {
namespace {

using test::data_record;
using test::errno_of;
using test::message_of;
using test::name_record;
using test::size_record;
using test::StringSink;
using test::StringSource;
using test::StringTarget;
using test::zero_record;

const std::string start(banner);

/** What a stream makes of a target; throws what the reader throws. */
std::string applied(const std::string &text, std::string before, std::uint64_t zero_from = zero_nothing,
                    std::size_t piece = 7) {
  StringSource source(text, piece);
  Reader reader(source);
  StringTarget target(std::move(before));
  std::vector<char> memory(2 * apply_alignment);
  apply(reader, target, zero_from, {memory.data(), memory.size()});
  return target.content;
}

/** A small stream of everything, made by hand; it leads from 32 'o' to the second text. */
const std::string small_stream = start + name_record('f', "a:1") + name_record('t', "a:2") + size_record(32) +
                                 data_record(0, "first") + zero_record(5, 3) + data_record(16, "second") +
                                 zero_record(30, 2) + 'e';
const std::string small_result =
    "first" + std::string(3, '\0') + "oooooooosecondoooooooo" + std::string(2, '\0');

TEST_CASE("a stream is written as Ceph documents it", "[stream]") {
  StringSink sink;
  Writer writer(sink, {"a:1", "a:2", 32});
  writer.data(0, "first", 5);
  writer.zero(5, 3);
  writer.data(16, "second", 6);
  writer.zero(30, 1);
  writer.zero(31, 1);
  writer.finish();
  CHECK(sink.text == small_stream);
  CHECK(writer.data_bytes() == 11);
  CHECK(writer.zero_bytes() == 5);
}

TEST_CASE("a full stream names no start", "[stream]") {
  StringSink sink;
  Writer(sink, {std::nullopt, std::nullopt, 7}).finish();
  CHECK(sink.text == start + size_record(7) + 'e');
}

TEST_CASE("a writer cuts data, and joins zeroes however many", "[stream]") {
  StringSink sink;
  const std::string large(max_data + 1, 'x');
  Writer writer(sink, {std::nullopt, "t", std::uint64_t{1} << 40});
  writer.data(512, large.data(), large.size());
  const std::uint64_t zeroes = 512 + large.size();
  for (std::uint64_t i = 0; i < 100; ++i) {
    writer.zero(zeroes + (i << 20), 1 << 20);
  }
  writer.finish();
  StringSource source(sink.text);
  Reader reader(source);
  CHECK(reader.next()->length == max_data);
  const auto rest = reader.next();
  CHECK(rest->offset == 512 + max_data);
  CHECK(rest->length == 1);
  const auto zero = reader.next();
  CHECK(zero->kind == RecordKind::zero);
  CHECK(zero->offset == zeroes);
  CHECK(zero->length == std::uint64_t{100} << 20);
  CHECK_FALSE(reader.next());
}

TEST_CASE("a writer refuses what is no stream", "[stream]") {
  StringSink sink;
  Writer writer(sink, {std::nullopt, "t", 100});
  writer.data(10, "0123456789", 10);
  CHECK(errno_of([&] {
          writer.data(19, "x", 1);
          return 0;
        }) == EINVAL);
  CHECK(errno_of([&] {
          writer.zero(0, 1);
          return 0;
        }) == EINVAL);
  CHECK(errno_of([&] {
          writer.zero(99, 2);
          return 0;
        }) == EINVAL);
  CHECK(errno_of([&] {
          writer.zero(101, ~std::uint64_t{0});
          return 0;
        }) == EINVAL);
  CHECK(errno_of([&] { return Writer(sink, {"", "t", 1}).data_bytes(); }) == EINVAL);
  CHECK(errno_of([&] {
          return Writer(sink, {std::nullopt, std::string(4097, 'n'), 1}).data_bytes();
        }) == EINVAL);
}

TEST_CASE("a stream is applied in pieces of any size", "[stream]") {
  for (const std::size_t piece : std::vector<std::size_t>{1, 2, 3, 16, 1000}) {
    CHECK(applied(small_stream, std::string(32, 'o'), zero_nothing, piece) == small_result);
  }
}

TEST_CASE("records of the header may come in any order", "[stream]") {
  const std::string text =
      start + size_record(4) + name_record('t', "b") + name_record('f', "a") + data_record(1, "x") + 'e';
  StringSource source(text);
  Reader reader(source);
  CHECK(reader.header().from == "a");
  CHECK(reader.header().to == "b");
  CHECK(reader.header().size == 4);
  CHECK(applied(text, "oooo") == "oxoo");
}

TEST_CASE("a stream cut anywhere is truncated", "[stream]") {
  for (std::size_t length = 0; length < small_stream.size(); ++length) {
    CAPTURE(length);
    const auto error =
        test::error_of([&] { return applied(small_stream.substr(0, length), std::string(32, 'o')); });
    REQUIRE(error);
    CHECK(error->error_number() == EBADMSG);
    CHECK(error->reason().find("truncated") != std::string::npos);
  }
}

TEST_CASE("malformed streams are refused with the reason", "[stream]") {
  const std::string head = start + size_record(100);
  const std::string huge = test::le(~std::uint64_t{0}, 8);
  const std::vector<std::pair<std::string, const char *>> cases{
      {"rbd image v2\n" + small_stream, "no \"rbd diff\""},
      {"rbd diff v2\n" + small_stream.substr(start.size()), "another version"},
      {std::string(100, '\0'), "no \"rbd diff\""},
      {start + 'e', "size"},
      {start + data_record(0, "x") + 'e', "size"},
      {head + size_record(100) + 'e', "twice"},
      {head + name_record('f', "a") + name_record('f', "a") + 'e', "twice"},
      {head + name_record('t', "a") + name_record('t', "b") + 'e', "twice"},
      {head + name_record('f', "") + 'e', "empty or too long"},
      {head + name_record('t', std::string(4097, 'n')) + 'e', "empty or too long"},
      {head + 'f' + test::le(0xffffffff, 4), "empty or too long"},
      {head + name_record('t', "a\nb") + 'e', "not printable"},
      {head + name_record('t', "a\xff") + 'e', "not printable"},
      {head + name_record('t', "a\xc3") + 'e', "not printable"},
      {head + name_record('t', std::string("a\0b", 3)) + 'e', "not printable"},
      {start + size_record(~std::uint64_t{0}) + 'e', "absurd"},
      {head + 'p', "unknown kind"},
      {head + data_record(0, "x") + 'q', "unknown kind"},
      {head + data_record(0, "x") + name_record('t', "b") + 'e', "after data"},
      {head + zero_record(0, 1) + size_record(100) + 'e', "after data"},
      {head + data_record(10, "x") + data_record(9, "x") + 'e', "not ascending"},
      {head + data_record(10, "xy") + data_record(11, "x") + 'e', "overlap"},
      {head + zero_record(0, 50) + data_record(0, "x") + 'e', "overlap"},
      {head + data_record(0, "") + 'e', "empty"},
      {head + zero_record(3, 0) + 'e', "empty"},
      {head + zero_record(99, 2) + 'e', "beyond the size"},
      {head + zero_record(101, 1) + 'e', "beyond the size"},
      {head + data_record(100, "x") + 'e', "beyond the size"},
      {head + 'z' + test::le(1, 8) + huge + 'e', "beyond the size"},
      {head + 'w' + huge + test::le(1, 8), "beyond the size"},
      {small_stream + 'e', "after its end"},
      {small_stream + std::string(1, '\0'), "after its end"},
      {small_stream + small_stream, "after its end"},
  };
  for (const auto &[text, reason] : cases) {
    CAPTURE(reason, text.size());
    const auto error = test::error_of([&, t = text] { return applied(t, std::string(100, 'o')); });
    REQUIRE(error);
    CHECK(error->error_number() == EBADMSG);
    CHECK(error->reason().find(reason) != std::string::npos);
  }
}

TEST_CASE("names are any text that can be printed", "[stream]") {
  const std::string name = "snap-\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80 \"x\"";
  StringSource source(start + name_record('t', name) + size_record(1) + 'e');
  CHECK(Reader(source).header().to == name);
}

/** Gives a header and then zeroes for ever: a record of any length, which nobody has memory for. */
class EndlessSource final : public Source {
 public:
  explicit EndlessSource(std::string head) : head_(std::move(head)) {}
  std::size_t read(void *data, std::size_t length) override {
    if (!head_.empty()) {
      const std::size_t now = std::min(length, head_.size());
      std::memcpy(data, head_.data(), now);
      head_.erase(0, now);
      return now;
    }
    std::memset(data, 0, length);
    given += length;
    return length;
  }
  std::uint64_t given = 0;

 private:
  std::string head_;
};

TEST_CASE("data of any length takes no memory", "[stream]") {
  const std::uint64_t length = std::uint64_t{1} << 40;
  EndlessSource source(start + size_record(length) + 'w' + test::le(0, 8) + test::le(length, 8));
  Reader reader(source);
  CHECK(reader.next()->length == length);
  std::vector<char> memory(1 << 20);
  for (int i = 0; i < 16; ++i) {
    CHECK(reader.read_data(memory.data(), memory.size()) == memory.size());
  }
  CHECK(source.given <= (16 << 20) + 4096);
}

TEST_CASE("what was not read of a record is skipped", "[stream]") {
  StringSource source(start + size_record(10000) + data_record(0, std::string(5000, 'a')) +
                      data_record(6000, "b") + 'e');
  Reader reader(source);
  CHECK(reader.next());
  char some[3];
  CHECK(reader.read_data(some, 3) == 3);
  CHECK(reader.next()->offset == 6000);
  CHECK(reader.read_data(some, 3) == 1);
  CHECK(some[0] == 'b');
  CHECK(reader.read_data(some, 3) == 0);
  CHECK_FALSE(reader.next());
  CHECK_FALSE(reader.next());
}

TEST_CASE("zeroes are found by blocks of the device", "[stream]") {
  CHECK(is_zero("", 0));
  CHECK(is_zero("\0\0", 2));
  CHECK_FALSE(is_zero("\0x", 2));
  CHECK_FALSE(is_zero("x", 1));
  std::string data(5 * zero_block + 512, '\0');
  const auto kinds = [&](std::uint64_t offset) {
    std::string text;
    for (const Record &record : find_zeroes(offset, data.data(), data.size())) {
      text += (record.kind == RecordKind::zero ? " z" : " w") + std::to_string(record.offset) + '+' +
              std::to_string(record.length);
    }
    return text;
  };
  CHECK(kinds(8192) == " z8192+20992");
  data[2 * zero_block - 1] = 'x';
  CHECK(kinds(0) == " z0+4096 w4096+4096 z8192+12800");
  CHECK(kinds(512) == " z512+7680 w8192+4096 z12288+9216");
  data[data.size() - 1] = 'x';
  CHECK(kinds(0) == " z0+4096 w4096+4096 z8192+12288 w20480+512");
}

/** Some state of a device: runs of data, of zeroes, of what was there before. */
std::string changed(std::mt19937 &random, std::string content, std::size_t size) {
  content.resize(size, '\0');
  for (int i = 0; i < 10; ++i) {
    const std::size_t offset = random() % size;
    const std::size_t length = std::min<std::size_t>(random() % 20000, size - offset);
    const bool zero = random() % 3 == 0;
    for (std::size_t at = offset; at < offset + length; ++at) {
      content[at] = zero ? '\0' : static_cast<char>(random());
    }
  }
  return content;
}

/** What leads from one state to another: by blocks, and by some that did not change as well. */
std::string difference(std::mt19937 &random, const std::string &from, const std::string &to, bool full) {
  constexpr std::size_t block = 512;
  StringSink sink;
  Header header{"a", "b", to.size()};
  if (full) {
    header.from.reset();
  }
  Writer writer(sink, header);
  for (std::size_t at = 0; at < to.size(); at += block) {
    const std::size_t length = std::min(block, to.size() - at);
    const bool same = at + length <= from.size() && to.compare(at, length, from, at, length) == 0;
    if (full || !same || random() % 8 == 0) {
      for (const Record &record : find_zeroes(at, to.data() + at, length)) {
        if (record.kind == RecordKind::zero) {
          writer.zero(record.offset, record.length);
        } else {
          writer.data(record.offset, to.data() + record.offset, record.length);
        }
      }
    }
  }
  writer.finish();
  return sink.text;
}

TEST_CASE("random contents survive the trip", "[stream]") {
  std::mt19937 random(19700101);
  std::string content;
  for (int round = 0; round < 60; ++round) {
    CAPTURE(round);
    const std::size_t size = 1 + random() % 100000;
    const std::string next = changed(random, content, size);
    const std::string full = difference(random, content, next, true);
    CHECK(applied(full, std::string(size, 'x'), 0, 1 + random() % 10000) == next);
    const std::string increment = difference(random, content, next, false);
    std::string before = content;
    before.resize(size, '\0');
    CHECK(applied(increment, before, zero_nothing, 1 + random() % 10000) == next);
    // After any part of it, the same stream leads to the same end.
    const std::size_t cut = random() % increment.size();
    StringTarget target(before);
    StringSource source(increment.substr(0, cut));
    static_cast<void>(errno_of([&] {
      Reader reader(source);
      std::vector<char> memory(apply_alignment);
      apply(reader, target, zero_nothing, {memory.data(), memory.size()});
      return 0;
    }));
    CHECK(applied(increment, target.content) == next);
    content = next;
  }
}

TEST_CASE("what a full stream leaves out is zeroes", "[stream]") {
  const std::string text = start + size_record(12) + data_record(2, "ab") + data_record(6, "cd") + 'e';
  CHECK(applied(text, std::string(12, 'x'), 0) == std::string("\0\0ab\0\0cd\0\0\0\0", 12));
  CHECK(applied(text, std::string(12, 'x')) == "xxabxxcdxxxx");
}

TEST_CASE("what an incremental stream leaves out beyond the former end is zeroes", "[stream]") {
  const std::string text = start + size_record(12) + data_record(2, "ab") + data_record(6, "cd") + 'e';
  CHECK(applied(text, std::string(12, 'x'), 5) == std::string("xxabx\0cd\0\0\0\0", 12));
  CHECK(applied(text, std::string(12, 'x'), 7) == std::string("xxabxxcd\0\0\0\0", 12));
  CHECK(applied(text, std::string(12, 'x'), 11) == std::string("xxabxxcdxxx\0", 12));
  CHECK(applied(text, std::string(12, 'x'), 12) == "xxabxxcdxxxx");
}

TEST_CASE("SHA-256 is what everybody computes", "[stream]") {
  StringSink sink;
  HashingSink hashing(sink);
  hashing.write("ab", 2);
  hashing.write("c", 1);
  CHECK(hashing.bytes() == 3);
  CHECK(sink.text == "abc");
  CHECK(hashing.sha256() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(Sha256().finish() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST_CASE("a target's state is read as it was written", "[stream][state]") {
  TargetState state;
  state.at = "g:1";
  state.size = 4096;
  CHECK(state.to_json() == "{\"version\":1,\"state\":\"at\",\"at\":\"g:1\",\"size\":4096}\n");
  const auto same = [](const TargetState &a, const std::optional<TargetState> &b) {
    return b && a.kind == b->kind && a.at == b->at && a.size == b->size && a.stream.from == b->stream.from &&
           a.stream.to == b->stream.to && a.stream.size == b->stream.size;
  };
  CHECK(same(state, TargetState::parse(state.to_json())));
  state.kind = TargetState::Kind::changing;
  state.at = "with \"quotes\" and \\ and \xc3\xa4";
  state.stream = {"g:1", "g:2", 8192};
  CHECK(same(state, TargetState::parse(state.to_json())));
  state.at.reset();
  state.stream = {std::nullopt, std::nullopt, 8192};
  CHECK(same(state, TargetState::parse(state.to_json())));
  for (const char *text :
       {"", "{}", "[]", "x", "{\"version\":1}", "{\"version\":2,\"state\":\"at\",\"size\":1}",
        "{\"version\":1,\"state\":\"at\",\"at\":\"g:1\"}", "{\"version\":1,\"state\":\"gone\",\"size\":1}",
        "{\"version\":1,\"state\":\"changing\",\"size\":1}", "{\"version\":1,\"state\":\"at\",\"size\":-1}",
        "{\"version\":1,\"state\":\"at\","}) {
    CAPTURE(text);
    CHECK_FALSE(TargetState::parse(text));
  }
}

}  // namespace
}  // namespace diffsnap::stream
