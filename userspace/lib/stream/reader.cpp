// SPDX-License-Identifier: GPL-2.0-or-later
#include "stream/reader.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "base/text.h"

namespace diffsnap::stream {

namespace {

/** What off_t can count. */
constexpr std::uint64_t max_size = std::numeric_limits<std::int64_t>::max();

/** The length of the UTF-8 sequence that a byte begins; 0 if it begins none. */
std::size_t sequence_length(unsigned char byte) noexcept {
  if (byte < 0x80) {
    return 1;
  }
  if (byte >= 0xc2 && byte < 0xe0) {
    return 2;
  }
  if (byte >= 0xe0 && byte < 0xf0) {
    return 3;
  }
  return byte >= 0xf0 && byte < 0xf5 ? 4 : 0;
}

/** Names go to terminals and into JSON: UTF-8 without control characters. */
bool is_printable(const std::string &name) noexcept {
  std::size_t at = 0;
  while (at < name.size()) {
    const auto byte = static_cast<unsigned char>(name[at]);
    const std::size_t length = sequence_length(byte);
    if (byte < 0x20 || byte == 0x7f || length == 0 || length > name.size() - at) {
      return false;
    }
    for (std::size_t i = 1; i < length; ++i) {
      if ((static_cast<unsigned char>(name[at + i]) & 0xc0) != 0x80) {
        return false;
      }
    }
    at += length;
  }
  return true;
}

}  // namespace

Reader::Reader(Source &source) : source_(source) {
  std::string start(banner.size(), '\0');
  read(start.data(), start.size());
  if (start != banner) {
    const bool other_version = starts_with(start, banner.substr(0, banner.find('1')));
    refuse(other_version ? "it is of another version than 1" : "it is no \"rbd diff\"");
  }
  read_header();
}

std::optional<Record> Reader::next() {
  std::array<unsigned char, 1024> skipped{};
  while (left_ > 0) {
    static_cast<void>(read_data(skipped.data(), skipped.size()));
  }
  if (ended_) {
    return std::nullopt;
  }
  const char tag = tag_ ? *tag_ : read_tag();
  tag_.reset();
  if (tag == tag_end) {
    ended_ = true;
    expect_end_of_source();
    return std::nullopt;
  }
  if (tag == tag_from || tag == tag_to || tag == tag_size) {
    refuse("a record of the header comes after data");
  }
  if (tag != tag_data && tag != tag_zero) {
    refuse("there is a record of an unknown kind");
  }
  Record record;
  record.kind = tag == tag_data ? RecordKind::data : RecordKind::zero;
  record.offset = read_number(8);
  record.length = read_number(8);
  // Ceph writes none, and takes none either.
  if (record.length == 0) {
    refuse("a record is empty");
  }
  if (record.offset < end_) {
    refuse("records overlap or are not ascending");
  }
  if (record.offset > header_.size || record.length > header_.size - record.offset) {
    refuse("a record goes beyond the size of " + std::to_string(header_.size) + " bytes");
  }
  end_ = record.offset + record.length;
  left_ = record.kind == RecordKind::data ? record.length : 0;
  return record;
}

std::size_t Reader::read_data(void *data, std::size_t length) {
  const auto now = static_cast<std::size_t>(std::min<std::uint64_t>(length, left_));
  read(data, now);
  left_ -= now;
  return now;
}

void Reader::refuse(const std::string &reason) const {
  throw Error("read", "the stream", EBADMSG, reason + " (at byte " + std::to_string(position_) + ')');
}

void Reader::read(void *data, std::size_t length) {
  auto *to = static_cast<unsigned char *>(data);
  while (length > 0) {
    const std::size_t got = read_some(to, length);
    if (got == 0) {
      refuse("it is truncated");
    }
    to += got;
    length -= got;
  }
}

std::size_t Reader::read_some(void *data, std::size_t length) {
  if (buffer_begin_ == buffer_end_) {
    // Large data goes where it belongs at once.
    if (length >= buffer_.size()) {
      const std::size_t got = source_.read(data, length);
      position_ += got;
      return got;
    }
    buffer_begin_ = 0;
    buffer_end_ = source_.read(buffer_.data(), buffer_.size());
  }
  const std::size_t now = std::min(length, buffer_end_ - buffer_begin_);
  std::memcpy(data, buffer_.data() + buffer_begin_, now);
  buffer_begin_ += now;
  position_ += now;
  return now;
}

std::uint64_t Reader::read_number(std::size_t bytes) {
  std::array<unsigned char, 8> raw{};
  read(raw.data(), bytes);
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < bytes; ++i) {
    value |= std::uint64_t{raw[i]} << (8 * i);
  }
  return value;
}

char Reader::read_tag() {
  char tag = 0;
  read(&tag, 1);
  return tag;
}

void Reader::read_name(char tag, std::optional<std::string> &name) {
  const char *which = tag == tag_from ? "starting" : "ending";
  if (name) {
    refuse(std::string("it names its ") + which + " snapshot twice");
  }
  const std::uint64_t length = read_number(4);
  if (length == 0 || length > max_name) {
    refuse(std::string("the name of its ") + which + " snapshot is empty or too long");
  }
  name.emplace(length, '\0');
  read(name->data(), name->size());
  if (!is_printable(*name)) {
    refuse(std::string("the name of its ") + which + " snapshot is not printable");
  }
}

void Reader::read_header() {
  bool sized = false;
  while (true) {
    const char tag = read_tag();
    switch (tag) {
      case tag_from:
        read_name(tag, header_.from);
        break;
      case tag_to:
        read_name(tag, header_.to);
        break;
      case tag_size:
        if (sized) {
          refuse("it gives its size twice");
        }
        sized = true;
        header_.size = read_number(8);
        if (header_.size > max_size) {
          refuse("its size is absurd");
        }
        break;
      default:
        // Not looked at yet: without a size no range can be judged.
        if (!sized) {
          refuse("it does not give its size");
        }
        tag_ = tag;
        return;
    }
  }
}

void Reader::expect_end_of_source() {
  char more = 0;
  if (read_some(&more, 1) != 0) {
    refuse("there is something after its end");
  }
}

}  // namespace diffsnap::stream
