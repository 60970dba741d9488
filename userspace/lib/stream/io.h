// SPDX-License-Identifier: GPL-2.0-or-later
/** @file Where a stream comes from and goes to. Nothing here may be used by two threads at once. */
#ifndef DIFFSNAP_STREAM_IO_H
#define DIFFSNAP_STREAM_IO_H

#include <cstddef>

namespace diffsnap::stream {

/** Takes bytes. */
class Sink {
 public:
  Sink() = default;
  Sink(const Sink &) = delete;
  Sink &operator=(const Sink &) = delete;
  virtual ~Sink() = default;
  /** Takes all of it, or throws Error. */
  virtual void write(const void *data, std::size_t length) = 0;
  /** Returns when nothing is held back any more. Throws Error. */
  virtual void flush() = 0;
};

/** Gives bytes. */
class Source {
 public:
  Source() = default;
  Source(const Source &) = delete;
  Source &operator=(const Source &) = delete;
  virtual ~Source() = default;
  /** @return how many there were, at least one; 0 only at the end. Throws Error. */
  [[nodiscard]] virtual std::size_t read(void *data, std::size_t length) = 0;
};

}  // namespace diffsnap::stream

#endif
