// SPDX-License-Identifier: GPL-2.0-or-later
#include "stream/writer.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/error.h"

namespace diffsnap::stream {

namespace {

[[noreturn]] void refuse(std::string reason) {
  throw Error("write", "the stream", EINVAL, std::move(reason));
}

/** Puts a number of the given width, least byte first. */
void put(unsigned char *to, std::uint64_t value, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; ++i) {
    to[i] = static_cast<unsigned char>(value >> (8 * i));
  }
}

}  // namespace

Writer::Writer(Sink &sink, const Header &header) : sink_(sink), size_(header.size) {
  sink_.write(banner.data(), banner.size());
  if (header.from) {
    write_name(tag_from, *header.from);
  }
  if (header.to) {
    write_name(tag_to, *header.to);
  }
  std::array<unsigned char, 9> record{tag_size};
  put(&record[1], header.size, 8);
  sink_.write(record.data(), record.size());
}

void Writer::data(std::uint64_t offset, const void *data, std::uint64_t length) {
  check(offset, length);
  write_zeroes();
  const auto *bytes = static_cast<const unsigned char *>(data);
  end_ = offset + length;
  data_bytes_ += length;
  while (length > 0) {
    const std::uint64_t now = std::min(length, max_data);
    write_record(tag_data, offset, now);
    sink_.write(bytes, now);
    bytes += now;
    offset += now;
    length -= now;
  }
}

void Writer::zero(std::uint64_t offset, std::uint64_t length) {
  check(offset, length);
  if (zero_offset_ + zero_length_ != offset) {
    write_zeroes();
  }
  if (zero_length_ == 0) {
    zero_offset_ = offset;
  }
  zero_length_ += length;
  zero_bytes_ += length;
  end_ = offset + length;
}

void Writer::finish() {
  write_zeroes();
  sink_.write(&tag_end, 1);
  sink_.flush();
}

void Writer::check(std::uint64_t offset, std::uint64_t length) {
  if (offset < end_) {
    refuse("ranges are not ascending");
  }
  if (offset > size_ || length > size_ - offset) {
    refuse("a range ends beyond the size");
  }
}

void Writer::write_zeroes() {
  if (zero_length_ > 0) {
    write_record(tag_zero, zero_offset_, zero_length_);
    zero_length_ = 0;
  }
}

void Writer::write_record(char tag, std::uint64_t offset, std::uint64_t length) {
  std::array<unsigned char, 17> record{static_cast<unsigned char>(tag)};
  put(&record[1], offset, 8);
  put(&record[9], length, 8);
  sink_.write(record.data(), record.size());
}

void Writer::write_name(char tag, const std::string &name) {
  if (name.empty() || name.size() > max_name) {
    refuse("the name of a snapshot is empty or too long");
  }
  std::array<unsigned char, 5> record{static_cast<unsigned char>(tag)};
  put(&record[1], name.size(), 4);
  sink_.write(record.data(), record.size());
  sink_.write(name.data(), name.size());
}

}  // namespace diffsnap::stream
