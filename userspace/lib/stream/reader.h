// SPDX-License-Identifier: GPL-2.0-or-later
/** @file Reads a stream, see stream/format.h. */
#ifndef DIFFSNAP_STREAM_READER_H
#define DIFFSNAP_STREAM_READER_H

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "stream/format.h"
#include "stream/io.h"

namespace diffsnap::stream {

/**
 * Takes nothing on trust and holds no more than a few KiB, whatever the stream says. Every function throws
 * Error, EBADMSG, where a stream is not as it should be, with the place: truncated, of another kind or
 * version, a record that is unknown, twice there, empty, out of order, overlapping or beyond the size, a name
 * that is empty, too long or not printable, bytes after the end. After an error it is of no use. For one
 * thread.
 */
class Reader {
 public:
  /** Reads up to the first record of data. The source must outlive it. */
  explicit Reader(Source &source);

  [[nodiscard]] const Header &header() const noexcept { return header_; }
  /**
   * The next record; what was not read of the last one's data is skipped. Nothing at the end, when it is
   * certain that nothing follows.
   */
  [[nodiscard]] std::optional<Record> next();
  /**
   * Reads on in the data of the record that next() returned.
   * @return the bytes read: @p length, or what is left if that is less; 0 when there is no more.
   */
  [[nodiscard]] std::size_t read_data(void *data, std::size_t length);

 private:
  [[noreturn]] void refuse(const std::string &reason) const;
  void read(void *data, std::size_t length);
  /** Reads some; 0 at the end of the source. */
  [[nodiscard]] std::size_t read_some(void *data, std::size_t length);
  [[nodiscard]] std::uint64_t read_number(std::size_t bytes);
  [[nodiscard]] char read_tag();
  void read_name(char tag, std::optional<std::string> &name);
  void read_header();
  void expect_end_of_source();

  Source &source_;
  Header header_;
  /** The tag that ended the header, until it is used. */
  std::optional<char> tag_;
  /** Where the last record ended. */
  std::uint64_t end_ = 0;
  /** Of the present record's data. */
  std::uint64_t left_ = 0;
  bool ended_ = false;
  /** Bytes taken from the buffer so far, for messages. */
  std::uint64_t position_ = 0;
  std::array<unsigned char, 4096> buffer_{};
  std::size_t buffer_begin_ = 0;
  std::size_t buffer_end_ = 0;
};

}  // namespace diffsnap::stream

#endif
