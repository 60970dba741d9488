// SPDX-License-Identifier: GPL-2.0-or-later
/** @file Reads ranges of a device with several threads, and gives them back in order. */
#ifndef DIFFSNAP_CORE_READ_AHEAD_H
#define DIFFSNAP_CORE_READ_AHEAD_H

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/unique_fd.h"
#include "stream/format.h"
#include "sys/block_device.h"

namespace diffsnap {

/** A part of a range, read. */
struct Piece {
  std::uint64_t offset = 0;
  std::size_t length = 0;
  const unsigned char *data = nullptr;
  /** Which of it is data, and which zeroes. */
  std::vector<stream::Record> records;
};

/**
 * Threads read pieces of up to piece_size, past the cache where that is possible, into a ring of buffers: two
 * for each thread, so that one can be used while another is filled. All calls come from one thread, and the
 * supplier of ranges is called in that thread only.
 */
class ReadAhead {
 public:
  static constexpr std::size_t piece_size = std::size_t{1} << 20;
  using Ranges = std::function<std::optional<sys::ByteRange>()>;

  /**
   * @param ranges  gives the next range, nothing at the end; for direct reads in whole blocks of the device
   * @param threads at least one
   * Throws Error if the device cannot be opened.
   */
  ReadAhead(const std::string &path, Ranges ranges, unsigned threads);
  ReadAhead(const ReadAhead &) = delete;
  ReadAhead &operator=(const ReadAhead &) = delete;
  /** Waits for reads that have begun. */
  ~ReadAhead();

  /**
   * The next piece, null at the end. It is good until the next call. Throws what the supplier throws, or
   * Error where the piece that is due could not be read.
   */
  [[nodiscard]] const Piece *next();

 private:
  enum class Progress { waiting, reading, done };
  struct Slot {
    AlignedBuffer buffer{piece_size};
    Piece piece;
    Progress progress = Progress::done;
    std::exception_ptr error;
  };

  [[nodiscard]] Slot &slot(std::uint64_t number) noexcept { return slots_[number % slots_.size()]; }
  void open(const std::string &path);
  void refill();
  void work() noexcept;
  void read(Slot &slot) const;

  std::string path_;
  UniqueFd fd_;
  Ranges ranges_;
  /** What is left of the range that is cut into pieces; nothing when there is none left. */
  std::optional<sys::ByteRange> range_;
  bool ended_ = false;
  std::vector<Slot> slots_;
  /** The first piece that is not given back, and one more than the last; numbers of all pieces. */
  std::uint64_t first_ = 0;
  std::uint64_t last_ = 0;
  /** The first one belongs to the caller until its next call. */
  bool lent_ = false;

  std::mutex mutex_;
  std::condition_variable work_to_do_;
  std::condition_variable work_done_;
  /** Protected by mutex_, as is Slot::progress: the next piece that no thread has taken, and the end of those
   * that are there. */
  std::uint64_t next_to_read_ = 0;
  std::uint64_t end_to_read_ = 0;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace diffsnap

#endif
