// SPDX-License-Identifier: GPL-2.0-or-later
/** @file SHA-256 of what passes by. */
#ifndef DIFFSNAP_STREAM_SHA256_H
#define DIFFSNAP_STREAM_SHA256_H

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "stream/io.h"

namespace diffsnap::stream {

/** For one thread. */
class Sha256 {
 public:
  /** Throws Error if the library does not work. */
  Sha256();
  Sha256(const Sha256 &) = delete;
  Sha256 &operator=(const Sha256 &) = delete;
  ~Sha256();

  void add(const void *data, std::size_t length) noexcept;
  /** 64 hex digits, of all that was added; nothing may be added any more. */
  [[nodiscard]] std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/** Passes everything on to another sink, which must outlive it, and counts and sums it up. */
class HashingSink final : public Sink {
 public:
  explicit HashingSink(Sink &sink) : sink_(sink) {}
  void write(const void *data, std::size_t length) override;
  void flush() override { sink_.flush(); }

  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }
  /** Of all that was written; nothing may be written any more. */
  [[nodiscard]] std::string sha256() { return sum_.finish(); }

 private:
  Sink &sink_;
  Sha256 sum_;
  std::uint64_t bytes_ = 0;
};

}  // namespace diffsnap::stream

#endif
