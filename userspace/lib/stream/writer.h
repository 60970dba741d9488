// SPDX-License-Identifier: GPL-2.0-or-later
/** @file Writes a stream, see stream/format.h. */
#ifndef DIFFSNAP_STREAM_WRITER_H
#define DIFFSNAP_STREAM_WRITER_H

#include <cstdint>

#include "stream/format.h"
#include "stream/io.h"

namespace diffsnap::stream {

/**
 * Ranges are given ascending, apart from each other and within the size; anything else throws Error, EINVAL,
 * and nothing of it is written. Zeroes are held back until it is known where they end. A writer that is
 * destroyed before finish() leaves a stream without an end, which readers refuse. For one thread.
 */
class Writer {
 public:
  /** Writes the header. The sink must outlive it. Throws Error. */
  Writer(Sink &sink, const Header &header);

  void data(std::uint64_t offset, const void *data, std::uint64_t length);
  void zero(std::uint64_t offset, std::uint64_t length);
  /** Writes what was held back and the end, and flushes the sink. Nothing may follow. */
  void finish();

  // Bytes of the device that were given so far.
  [[nodiscard]] std::uint64_t data_bytes() const noexcept { return data_bytes_; }
  [[nodiscard]] std::uint64_t zero_bytes() const noexcept { return zero_bytes_; }

 private:
  void check(std::uint64_t offset, std::uint64_t length);
  void write_zeroes();
  void write_record(char tag, std::uint64_t offset, std::uint64_t length);
  void write_name(char tag, const std::string &name);

  Sink &sink_;
  std::uint64_t size_;
  /** Where the last range ended. */
  std::uint64_t end_ = 0;
  /** Zeroes that are held back. */
  std::uint64_t zero_offset_ = 0;
  std::uint64_t zero_length_ = 0;
  std::uint64_t data_bytes_ = 0;
  std::uint64_t zero_bytes_ = 0;
};

}  // namespace diffsnap::stream

#endif
