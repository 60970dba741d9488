// SPDX-License-Identifier: GPL-2.0-or-later
/** @file Streams in memory. */
#ifndef DIFFSNAP_TESTS_STREAM_SUPPORT_H
#define DIFFSNAP_TESTS_STREAM_SUPPORT_H

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "base/error.h"
#include "stream/apply.h"
#include "stream/io.h"

namespace diffsnap::test {

class StringSink final : public stream::Sink {
 public:
  std::string text;
  void write(const void *data, std::size_t length) override {
    text.append(static_cast<const char *>(data), length);
  }
  void flush() override {}
};

/** Gives a text in pieces of up to so many bytes. */
class StringSource final : public stream::Source {
 public:
  explicit StringSource(std::string text, std::size_t piece = ~std::size_t{0})
      : text_(std::move(text)), piece_(piece) {}
  std::size_t read(void *data, std::size_t length) override {
    const std::size_t now = std::min({length, piece_, text_.size() - at_});
    std::memcpy(data, text_.data() + at_, now);
    at_ += now;
    return now;
  }

 private:
  std::string text_;
  std::size_t piece_;
  std::size_t at_ = 0;
};

/** A target in memory that can refuse to grow. */
class StringTarget final : public stream::Target {
 public:
  std::string content;

  explicit StringTarget(std::string before) : content(std::move(before)) {}
  void write(std::uint64_t offset, const void *data, std::size_t length) override {
    check(offset, length);
    std::memcpy(content.data() + offset, data, length);
  }
  void zero(std::uint64_t offset, std::uint64_t length) override {
    check(offset, length);
    std::memset(content.data() + offset, 0, length);
  }

 private:
  void check(std::uint64_t offset, std::uint64_t length) const {
    if (offset > content.size() || length > content.size() - offset) {
      throw Error("write to", "the target", ENOSPC);
    }
  }
};

/** A number as streams have it, least byte first. */
inline std::string le(std::uint64_t value, std::size_t bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes; ++i) {
    text += static_cast<char>(value >> (8 * i) & 0xff);
  }
  return text;
}

// Records, made by hand.
inline std::string name_record(char tag, const std::string &name) {
  return tag + le(name.size(), 4) + name;
}
inline std::string size_record(std::uint64_t size) {
  return 's' + le(size, 8);
}
inline std::string data_record(std::uint64_t offset, const std::string &data) {
  return 'w' + le(offset, 8) + le(data.size(), 8) + data;
}
inline std::string zero_record(std::uint64_t offset, std::uint64_t length) {
  return 'z' + le(offset, 8) + le(length, 8);
}

}  // namespace diffsnap::test

#endif
