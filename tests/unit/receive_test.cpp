// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/receive.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <random>

#include "base/unique_fd.h"
#include "catch.h"
#include "errors.h"
#include "stream/writer.h"
#include "stream_support.h"
#include "temporary_directory.h"

namespace diffsnap {
namespace {

using stream::TargetState;
using test::data_record;
using test::errno_of;
using test::error_of;
using test::name_record;
using test::size_record;
using test::zero_record;

const std::string start(stream::banner);

struct Received {
  test::TemporaryDirectory directory;
  std::string target = directory / "backup";
  std::string state_file = target + ".diffsnap";

  TargetState receive(const std::string &text, bool force = false, bool dry_run = false) {
    test::StringSource source(text, 5000);
    ReceiveOptions options;
    options.target = target;
    options.force = force;
    options.dry_run = dry_run;
    return receive_stream(source, options);
  }
  int refusal(const std::string &text, bool force = false) {
    return errno_of([&] { return receive(text, force); });
  }
  [[nodiscard]] std::string content() const { return test::read_file(target); }
  [[nodiscard]] std::optional<TargetState> state() const {
    return TargetState::parse(test::read_file(state_file));
  }
  [[nodiscard]] bool is_at(const std::string &name) const {
    const auto now = state();
    return now && now->kind == TargetState::Kind::at && now->at == name && now->size == content().size();
  }
  [[nodiscard]] bool is_changing(const std::optional<std::string> &from, const std::string &to) const {
    const auto now = state();
    return now && now->kind == TargetState::Kind::changing && now->stream.from == from &&
           now->stream.to == to;
  }
};

/** 20000 bytes that no two places have in common. */
std::string pattern(unsigned seed) {
  std::mt19937 random(seed);
  std::string text;
  for (int i = 0; i < 20000; ++i) {
    text += static_cast<char>(random() % 255 + 1);
  }
  return text;
}

const std::string first = pattern(1);
const std::string full_records =
    size_record(20000) + data_record(0, first.substr(0, 9000)) + data_record(9000, first.substr(9000));
const std::string full = start + name_record('t', "g:1") + full_records + 'e';

/** From g:1 to g:2, of several records, aligned and not. */
std::string incremental() {
  return start + name_record('f', "g:1") + name_record('t', "g:2") + size_record(20000) +
         data_record(1, std::string(9000, 'a')) + zero_record(9001, 4000) +
         data_record(16384, std::string(3616, 'b')) + 'e';
}
std::string second() {
  std::string text = first;
  text.replace(1, 9000, 9000, 'a');
  text.replace(9001, 4000, 4000, '\0');
  text.replace(16384, 3616, 3616, 'b');
  return text;
}

TEST_CASE_METHOD(Received, "a full stream makes a file, an incremental one changes it", "[receive]") {
  CHECK(receive(full).at == "g:1");
  CHECK(content() == first);
  CHECK(is_at("g:1"));
  CHECK(receive(incremental()).at == "g:2");
  CHECK(content() == second());
  CHECK(is_at("g:2"));
}

TEST_CASE_METHOD(Received, "an incremental stream fits to its start only", "[receive]") {
  CHECK(refusal(incremental()) == ENOENT);
  CHECK(content().empty());
  test::write_file(target, first);
  // the right contents, but nobody said so
  CHECK(refusal(incremental()) == ESTALE);
  CHECK(refusal(incremental(), true) == ESTALE);
  CHECK(content() == first);
  CHECK_FALSE(std::filesystem::exists(state_file));
  receive(full, true);
  receive(incremental());
  CHECK(refusal(incremental()) == ESTALE);
  CHECK(is_at("g:2"));
  CHECK(content() == second());
}

TEST_CASE_METHOD(Received, "a file that has another size than it had fits to nothing", "[receive]") {
  receive(full);
  test::write_file(target, first + "x");
  CHECK(refusal(incremental()) == ESTALE);
  CHECK(content() == first + "x");
}

TEST_CASE_METHOD(Received, "a full stream replaces nothing without force", "[receive]") {
  SECTION("of unknown contents") {
    test::write_file(target, "precious");
  }
  SECTION("of a former stream") {
    receive(full);
  }
  const std::string before = content();
  CHECK(refusal(full) == EEXIST);
  CHECK(content() == before);
  const std::string small = start + name_record('t', "h:1") + size_record(9) + data_record(4, "x") + 'e';
  receive(small, true);
  CHECK(content() == std::string("\0\0\0\0x\0\0\0\0", 9));
  CHECK(is_at("h:1"));
}

TEST_CASE_METHOD(Received, "an empty file is as good as none", "[receive]") {
  test::write_file(target, "");
  receive(full);
  CHECK(content() == first);
}

TEST_CASE_METHOD(Received, "an incremental stream that breaks off anywhere can be repeated, and nothing else",
                 "[receive]") {
  const std::string whole = incremental();
  const std::string other = start + name_record('f', "g:1") + name_record('t', "g:3") + size_record(20000) +
                            data_record(0, "x") + 'e';
  const std::string header = start + name_record('f', "g:1") + name_record('t', "g:2") + size_record(20000);
  // Where records end, and in the midst of their heads and data.
  std::vector<std::size_t> cuts;
  std::size_t at = header.size();
  for (const std::size_t length : {std::size_t{17 + 9000}, std::size_t{17}, std::size_t{17 + 3616}}) {
    for (const std::size_t part : {std::size_t{1}, std::size_t{9}, length / 2, length}) {
      cuts.push_back(at + part);
    }
    at += length;
  }
  for (const std::size_t cut : cuts) {
    CAPTURE(cut);
    receive(full, true);
    CHECK(refusal(whole.substr(0, cut)) == EBADMSG);
    CHECK(is_changing("g:1", "g:2"));
    CHECK(state()->at == "g:1");
    CHECK(refusal(other) == ESTALE);
    CHECK(refusal(full) == EEXIST);
    CHECK(is_changing("g:1", "g:2"));
    // and once more, broken off earlier
    CHECK(refusal(whole.substr(0, header.size() + 500)) == EBADMSG);
    receive(whole);
    CHECK(content() == second());
    CHECK(is_at("g:2"));
  }
}

TEST_CASE_METHOD(Received, "a stream that breaks off in its header changes nothing", "[receive]") {
  receive(full);
  const std::string header = start + name_record('f', "g:1") + name_record('t', "g:2") + size_record(20000);
  for (std::size_t cut = 0; cut <= header.size(); ++cut) {
    CHECK(refusal(header.substr(0, cut)) == EBADMSG);
  }
  CHECK(is_at("g:1"));
  CHECK(content() == first);
}

TEST_CASE_METHOD(Received, "what is wrong with a stream later leaves the target marked", "[receive]") {
  receive(full);
  std::string bad = incremental();
  bad.back() = 'q';
  CHECK(refusal(bad) == EBADMSG);
  CHECK(is_changing("g:1", "g:2"));
  receive(incremental());
  CHECK(refusal(start + name_record('f', "g:2") + name_record('t', "g:3") + size_record(20000) +
                zero_record(0, 1) + "ee") == EBADMSG);
  CHECK(is_changing("g:2", "g:3"));
}

TEST_CASE_METHOD(Received, "a full stream that breaks off can be followed by any full one", "[receive]") {
  for (const std::size_t cut : {std::size_t{50}, full.size() / 2, full.size() - 1}) {
    CHECK(refusal(full.substr(0, cut), true) == EBADMSG);
    CHECK(is_changing(std::nullopt, "g:1"));
    CHECK(refusal(incremental()) == ESTALE);
    const std::string other =
        start + name_record('t', "h:7") + size_record(20000) + data_record(100, "x") + 'e';
    CHECK(refusal(full.substr(0, cut)) == EBADMSG);
    receive(other);
    CHECK(is_at("h:7"));
    CHECK(content() == std::string(100, '\0') + "x" + std::string(19899, '\0'));
  }
}

TEST_CASE_METHOD(Received, "a stream without a name is applied, but nothing fits to it", "[receive]") {
  const std::string unnamed = start + full_records + 'e';
  CHECK_FALSE(receive(unnamed).at);
  CHECK(content() == first);
  CHECK(refusal(incremental()) == ESTALE);
  receive(full, true);
  const std::string to_nothing = start + name_record('f', "g:1") + size_record(20000) + zero_record(0, 1);
  CHECK(refusal(to_nothing) == EBADMSG);
  // which of all of them it was cannot be known
  CHECK(refusal(to_nothing + 'e') == ESTALE);
}

TEST_CASE_METHOD(Received, "the size follows the stream's", "[receive]") {
  receive(full);
  const auto resized = [](const char *from, const char *to, std::uint64_t size, const std::string &records) {
    return start + name_record('f', from) + name_record('t', to) + size_record(size) + records + 'e';
  };
  receive(resized("g:1", "g:2", 30000, zero_record(20000, 10000)));
  CHECK(content() == first + std::string(10000, '\0'));
  receive(resized("g:2", "g:3", 100, data_record(0, "x")));
  CHECK(content() == "x" + first.substr(1, 99));
  CHECK(is_at("g:3"));
  // Broken off after the size was changed.
  const std::string shrink = resized("g:3", "g:4", 50, data_record(0, "y"));
  CHECK(refusal(shrink.substr(0, shrink.size() - 1)) == EBADMSG);
  receive(shrink);
  CHECK(content() == "y" + first.substr(1, 49));
}

TEST_CASE_METHOD(Received, "zeroes take no room", "[receive]") {
  constexpr std::uint64_t size = std::uint64_t{64} << 20;
  const auto blocks = [this] {
    struct stat st {};
    REQUIRE(::stat(target.c_str(), &st) == 0);
    return static_cast<std::uint64_t>(st.st_blocks) * 512;
  };
  receive(start + name_record('t', "g:1") + size_record(size) + zero_record(0, size / 2) +
          data_record(size / 2, std::string(1 << 20, 'x')) + zero_record(size / 2 + (1 << 20), 1 << 20) +
          'e');
  CHECK(blocks() < (2 << 20));
  receive(start + name_record('f', "g:1") + name_record('t', "g:2") + size_record(size) +
          zero_record(size / 2, 1 << 20) + 'e');
  CHECK(blocks() < (1 << 19));
  CHECK(content() == std::string(size, '\0'));
}

TEST_CASE_METHOD(Received, "a state that is not understood is no state", "[receive]") {
  receive(full);
  test::write_file(state_file, "{\"version\":");
  CHECK(refusal(incremental()) == EBADMSG);
  CHECK(refusal(full) == EEXIST);
  receive(full, true);
  CHECK(is_at("g:1"));
}

TEST_CASE_METHOD(Received, "the state may be kept elsewhere", "[receive]") {
  test::StringSource source(full);
  ReceiveOptions options;
  options.target = target;
  options.state_file = directory / "elsewhere";
  receive_stream(source, options);
  CHECK_FALSE(std::filesystem::exists(state_file));
  CHECK(TargetState::parse(test::read_file(options.state_file))->at == "g:1");
}

TEST_CASE_METHOD(Received, "a dry run checks and changes nothing", "[receive]") {
  receive(full, false, true);
  CHECK_FALSE(std::filesystem::exists(target));
  CHECK_FALSE(std::filesystem::exists(state_file));
  CHECK(errno_of([&] { return receive(incremental(), false, true); }) == ENOENT);
}

TEST_CASE_METHOD(Received, "one at a time receives into a file", "[receive]") {
  receive(full);
  const UniqueFd other(::open(target.c_str(), O_RDONLY | O_CLOEXEC));
  REQUIRE(::flock(other.get(), LOCK_EX | LOCK_NB) == 0);
  CHECK(refusal(incremental()) == EBUSY);
  CHECK(is_at("g:1"));
}

TEST_CASE_METHOD(Received, "only files and block devices are targets", "[receive]") {
  target = "/dev/null";
  CHECK(refusal(full) == EINVAL);
  target = directory / "";
  CHECK(refusal(full) == EINVAL);
  target = directory / "no/such/directory";
  CHECK(refusal(full) == ENOENT);
}

TEST_CASE("a device is large enough, and has its state elsewhere", "[receive]") {
  stream::TargetFacts facts;
  facts.name = "/dev/vdb";
  facts.exists = true;
  facts.device = true;
  facts.size = 8192;
  const auto refusal = [&](const stream::Header &header, const std::optional<TargetState> &state,
                           bool force) {
    return errno_of([&] {
      stream::check_stream_fits(header, facts, state, force);
      return 0;
    });
  };
  const stream::Header full_stream{std::nullopt, "g:1", 4096};
  CHECK(refusal(full_stream, std::nullopt, false) == EEXIST);
  CHECK(refusal(full_stream, std::nullopt, true) == 0);
  CHECK(refusal({std::nullopt, "g:1", 8193}, std::nullopt, true) == ENOSPC);
  TargetState state;
  state.at = "g:1";
  state.size = 4096;
  CHECK(refusal({"g:1", "g:2", 4096}, state, false) == 0);
  CHECK(refusal({"g:1", "g:2", 8192}, state, false) == 0);
  CHECK(refusal({"g:1", "g:2", 8193}, state, false) == ENOSPC);
  CHECK(refusal({"g:0", "g:2", 4096}, state, false) == ESTALE);
  state.size = 8193;
  CHECK(refusal({"g:1", "g:2", 4096}, state, false) == ESTALE);
}

TEST_CASE_METHOD(Received, "a chain of random changes ends at the same contents", "[receive]") {
  std::mt19937 random(42);
  std::string content_now(300000, '\0');
  for (unsigned number = 1; number <= 20; ++number) {
    std::string next = content_now;
    next.resize(250000 + random() % 100000);
    for (int i = 0; i < 20; ++i) {
      const std::size_t at = random() % next.size();
      const std::size_t length = std::min<std::size_t>(random() % 20000, next.size() - at);
      next.replace(at, length, length, static_cast<char>(random() % 3 == 0 ? 0 : random()));
    }
    test::StringSink sink;
    stream::Header header{"g:" + std::to_string(number - 1), "g:" + std::to_string(number), next.size()};
    if (number == 1) {
      header.from.reset();
    }
    stream::Writer writer(sink, header);
    constexpr std::size_t block = 512;
    for (std::size_t at = 0; at < next.size(); at += block) {
      const std::string piece = next.substr(at, block);
      const bool beyond = at + piece.size() > content_now.size();
      if (number == 1 || beyond || content_now.compare(at, piece.size(), piece) != 0) {
        if (piece.find_first_not_of('\0') == std::string::npos) {
          writer.zero(at, piece.size());
        } else {
          writer.data(at, piece.data(), piece.size());
        }
      }
    }
    writer.finish();
    if (number > 1 && random() % 2 == 0) {
      CHECK(refusal(sink.text.substr(0, sink.text.size() / 2)) == EBADMSG);
    }
    receive(sink.text);
    CHECK(content() == next);
    content_now = next;
  }
}

}  // namespace
}  // namespace diffsnap
