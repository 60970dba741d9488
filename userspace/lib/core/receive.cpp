// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/receive.h"

#include <cerrno>
#include <fstream>
#include <system_error>

#include "base/aligned_buffer.h"
#include "base/error.h"
#include "stream/apply.h"
#include "stream/reader.h"
#include "sys/target_file.h"

namespace diffsnap {

namespace {

constexpr std::size_t buffer_size = std::size_t{1} << 20;
static_assert(direct_alignment % stream::apply_alignment == 0);

/** More than any state takes: whatever a larger file holds, it is none. */
constexpr std::size_t max_state = 65536;

class FileTarget final : public stream::Target {
 public:
  /** @param blank  it reads as zeroes everywhere */
  FileTarget(sys::TargetFile &file, bool blank) : file_(file), blank_(blank) {}

  void write(std::uint64_t offset, const void *data, std::size_t length) override {
    file_.write(offset, data, length);
  }
  void zero(std::uint64_t offset, std::uint64_t length) override {
    // Records do not come back to where others were.
    if (!blank_) {
      file_.zero(offset, length);
    }
  }

 private:
  sys::TargetFile &file_;
  bool blank_;
};

class Reception {
 public:
  Reception(stream::Source &source, const ReceiveOptions &options)
      : options_(options),
        reader_(source),
        file_(options.target),
        state_file_(options.state_file.empty() ? options.target + ".diffsnap" : options.state_file) {}

  stream::TargetState run() {
    check();
    if (options_.dry_run) {
      return before_.value_or(stream::TargetState{});
    }
    mark_as_changing();
    apply();
    stream::TargetState now;
    now.at = header().to;
    now.size = header().size;
    sys::replace_file(state_file_, now.to_json());
    return now;
  }

 private:
  [[nodiscard]] const stream::Header &header() const noexcept { return reader_.header(); }

  void check() {
    if (file_.is_device() && options_.state_file.empty()) {
      throw SyntaxError("receive into", options_.target, EINVAL,
                        "a device has no place for its state beside it", "Use --state FILE.");
    }
    sys::check_replaceable(state_file_);
    stream::TargetFacts facts;
    facts.name = options_.target;
    facts.exists = file_.exists();
    facts.device = file_.is_device();
    facts.size = file_.size();
    read_state(facts);
    stream::check_stream_fits(header(), facts, before_, options_.force);
  }

  void read_state(stream::TargetFacts &facts) {
    std::ifstream input(state_file_, std::ios::binary);
    if (!input) {
      // Not to be mistaken for a target without a state.
      if (errno != ENOENT) {
        throw Error("read", state_file_, errno);
      }
      return;
    }
    std::string text(max_state, '\0');
    input.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<std::size_t>(input.gcount()));
    before_ = stream::TargetState::parse(text);
    facts.state_broken = !before_;
  }

  void mark_as_changing() {
    stream::TargetState state = before_.value_or(stream::TargetState{});
    state.kind = stream::TargetState::Kind::changing;
    state.stream = header();
    sys::replace_file(state_file_, state.to_json());
  }

  void apply() {
    const bool full = !header().from;
    if (!file_.exists()) {
      file_.create();
    }
    if (!file_.is_device()) {
      // Whatever it held is of no use to a full stream; without it, what the stream leaves out is zeroes.
      if (full) {
        file_.resize(0);
      }
      file_.resize(header().size);
    }
    FileTarget target(file_, full && !file_.is_device());
    // Where a file grows it reads as zeroes; a device has there what was on it.
    std::uint64_t zero_from = stream::zero_nothing;
    if (full) {
      zero_from = 0;
    } else if (file_.is_device() && before_) {
      zero_from = before_->size;
    }
    const AlignedBuffer buffer(buffer_size);
    const auto progress = [this, full](std::uint64_t changed) {
      if (options_.progress) {
        // A full stream changes everything; of an incremental one only its end tells.
        options_.progress(changed, full ? std::optional(header().size) : std::nullopt);
      }
    };
    stream::apply(reader_, target, zero_from, {buffer.data(), buffer.size()}, progress);
    file_.sync();
  }

  const ReceiveOptions &options_;
  stream::Reader reader_;
  sys::TargetFile file_;
  std::string state_file_;
  /** As it was; nothing if nothing is known. */
  std::optional<stream::TargetState> before_;
};

}  // namespace

stream::TargetState receive_stream(stream::Source &source, const ReceiveOptions &options) {
  return Reception(source, options).run();
}

}  // namespace diffsnap
