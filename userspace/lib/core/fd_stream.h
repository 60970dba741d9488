// SPDX-License-Identifier: GPL-2.0-or-later
/** @file Streams through file descriptors. */
#ifndef DIFFSNAP_CORE_FD_STREAM_H
#define DIFFSNAP_CORE_FD_STREAM_H

#include <cstddef>
#include <string>
#include <vector>

#include "stream/io.h"

namespace diffsnap {

/** Gathers what is small, passes on what is large. Does not own the descriptor. Not flushed when destroyed.
 */
class FdSink final : public stream::Sink {
 public:
  /** @param name  for messages: "the stream" */
  FdSink(int fd, std::string name);
  void write(const void *data, std::size_t length) override;
  void flush() override;
  /** Returns when nothing is held back and a file's contents outlive a power failure; of a pipe or a socket,
   * when it has taken all of them. Throws Error. */
  void sync();

 private:
  void write_out(const void *data, std::size_t length);

  int fd_;
  std::string name_;
  std::vector<unsigned char> held_;
};

/** Does not own the descriptor. */
class FdSource final : public stream::Source {
 public:
  FdSource(int fd, std::string name) : fd_(fd), name_(std::move(name)) {}
  [[nodiscard]] std::size_t read(void *data, std::size_t length) override;

 private:
  int fd_;
  std::string name_;
};

}  // namespace diffsnap

#endif
