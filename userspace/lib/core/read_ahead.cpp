// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/read_ahead.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "base/error.h"
#include "stream/zeroes.h"

namespace diffsnap {

namespace {

/** Rethrows what is being handled, a system's error in our words. */
[[noreturn]] void throw_why_no_thread() {
  try {
    throw;
  } catch (const std::system_error &error) {
    throw Error("start", "a thread", error.code().value());
  }
}

}  // namespace

ReadAhead::ReadAhead(const std::string &path, Ranges ranges, unsigned threads)
    : path_(path), ranges_(std::move(ranges)), slots_(std::size_t{2} * threads) {
  open(path);
  // Before the first one runs: while one does, this constructor must not throw, for nobody would join it.
  threads_.reserve(threads);
  try {
    for (unsigned i = 0; i < threads; ++i) {
      threads_.emplace_back([this] { work(); });
    }
  } catch (...) {
    // No thread or no memory for one. Fewer are slower; without any nothing would ever be read.
    if (threads_.empty()) {
      throw_why_no_thread();
    }
  }
}

ReadAhead::~ReadAhead() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  work_to_do_.notify_all();
  for (std::thread &thread : threads_) {
    thread.join();
  }
}

const Piece *ReadAhead::next() {
  if (lent_) {
    lent_ = false;
    ++first_;
  }
  refill();
  if (first_ == last_) {
    return nullptr;
  }
  Slot &due = slot(first_);
  {
    std::unique_lock<std::mutex> lock(mutex_);
    work_done_.wait(lock, [&due] { return due.progress == Progress::done; });
  }
  if (due.error) {
    std::rethrow_exception(due.error);
  }
  lent_ = true;
  return &due.piece;
}

void ReadAhead::open(const std::string &path) {
  fd_.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT));
  if (!fd_ && errno == EINVAL) {
    fd_.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  }
  if (!fd_) {
    throw Error("open", path, errno);
  }
}

void ReadAhead::refill() {
  while (!ended_ && last_ - first_ < slots_.size()) {
    if (!range_ || range_->length == 0) {
      range_ = ranges_();
      ended_ = !range_;
      continue;
    }
    // Cut at multiples of the size, so that most reads begin at one.
    const std::uint64_t to_boundary = piece_size - range_->offset % piece_size;
    const std::uint64_t length = std::min(range_->length, to_boundary);
    Slot &free = slot(last_);
    free.piece.offset = range_->offset;
    free.piece.length = static_cast<std::size_t>(length);
    free.error = nullptr;
    range_->offset += length;
    range_->length -= length;
    ++last_;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      free.progress = Progress::waiting;
      end_to_read_ = last_;
    }
    work_to_do_.notify_one();
  }
}

void ReadAhead::work() noexcept {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    work_to_do_.wait(lock, [this] { return stop_ || next_to_read_ < end_to_read_; });
    if (stop_) {
      return;
    }
    Slot &taken = slot(next_to_read_++);
    taken.progress = Progress::reading;
    lock.unlock();
    try {
      read(taken);
    } catch (...) {
      taken.error = std::current_exception();
    }
    lock.lock();
    taken.progress = Progress::done;
    work_done_.notify_one();
  }
}

void ReadAhead::read(Slot &slot) const {
  Piece &piece = slot.piece;
  std::size_t done = 0;
  while (done < piece.length) {
    const ssize_t got = ::pread(fd_.get(), slot.buffer.data() + done, piece.length - done,
                                static_cast<off_t>(piece.offset + done));
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got <= 0) {
      throw Error("read", path_ + " at " + std::to_string(piece.offset + done), got < 0 ? errno : EIO,
                  got < 0 ? std::string() : "it ends there");
    }
    done += static_cast<std::size_t>(got);
  }
  piece.data = slot.buffer.data();
  piece.records = stream::find_zeroes(piece.offset, piece.data, piece.length);
}

}  // namespace diffsnap
