// SPDX-License-Identifier: GPL-2.0-or-later
//
// Snapshots of regular files, made in this process. Small and slow, but right,
// unless a fault is asked for.
#include "device.h"

#include "stamp.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <thread>

#include <unistd.h>

namespace oracle {

namespace {

// One in so many chances goes wrong, so that a fault is an exception.
constexpr unsigned fault_rate = 16;

class File {
 public:
  File(const std::string &directory, std::uint64_t bytes) {
    std::string path = directory + "/oracle.XXXXXX";

    fd_ = mkstemp(path.data());
    if (fd_ < 0)
      throw EnvironmentError("cannot make a file in " + directory + ": " + std::strerror(errno));
    unlink(path.c_str());
    if (ftruncate(fd_, static_cast<off_t>(bytes))) {
      const std::string reason = std::strerror(errno);

      close(fd_);
      throw EnvironmentError("cannot size a file in " + directory + ": " + reason);
    }
  }

  ~File() { close(fd_); }

  File(const File &) = delete;
  File &operator=(const File &) = delete;

  int read(void *buffer, std::size_t bytes, std::uint64_t at) const {
    return pread(fd_, buffer, bytes, static_cast<off_t>(at)) == static_cast<ssize_t>(bytes) ? 0 : EIO;
  }

  int write(const void *buffer, std::size_t bytes, std::uint64_t at) const {
    return pwrite(fd_, buffer, bytes, static_cast<off_t>(at)) == static_cast<ssize_t>(bytes) ? 0 : EIO;
  }

 private:
  int fd_ = -1;
};

class FileBackend;

// One origin and its image. Everything happens chunk by chunk, under the
// chunk's lock; the cut waits for whole requests.
class Member {
 public:
  Member(FileBackend &backend, std::size_t index);

  int origin_write(const void *buffer, std::uint64_t sector, std::uint64_t count);
  int origin_read(void *buffer, std::uint64_t sector, std::uint64_t count);
  int image_write(const void *buffer, std::uint64_t sector, std::uint64_t count);
  int image_read(void *buffer, std::uint64_t sector, std::uint64_t count);
  int image_discard(std::uint64_t sector, std::uint64_t count);

  void hold();
  void release();

  std::atomic<std::uint64_t> copies{0};
  std::mutex turnstile;  // the cut comes before new writes
  std::shared_mutex gate;

 private:
  int image_write_part(const void *buffer, std::uint64_t sector, std::uint64_t count, std::size_t begin,
                       std::size_t end);
  template <typename Function>
  int for_chunks(std::uint64_t sector, std::uint64_t count, Function function);
  std::size_t chunk_bytes(std::uint64_t chunk) const;
  int preserve(std::uint64_t chunk);

  FileBackend &backend_;
  std::size_t index_;
  File file_;
  std::atomic<bool> held_{false};
  std::vector<std::mutex> locks_{64};
  // under the chunk's lock
  std::vector<std::uint8_t> settled_;
  std::vector<std::vector<unsigned char>> preserved_;
  std::vector<unsigned char> oldest_;  // of the fault "stale"
};

class FileBackend : public Backend {
 public:
  explicit FileBackend(const FileBackendOptions &options);

  std::size_t origins() const override { return members_.size(); }

  BlockDevice &origin(std::size_t index) override { return *origins_[index]; }

  BlockDevice &image(std::size_t index) override { return *images_[index]; }

  unsigned chunk_sectors() const override { return options.chunk_sectors; }

  bool image_discards() const override { return true; }

  bool invalid_together() const override { return true; }

  void begin() override;
  int cut() override;
  void make_images() override;
  SnapshotStatus status() override;
  void end() override;
  OriginCounters counters(std::size_t index) override;

  bool fault(const char *name) {
    return options.fault == name && fault_counter_++ % fault_rate == fault_rate - 1;
  }

  Member &member(std::size_t index) { return *members_[index]; }

  const FileBackendOptions options;
  std::atomic<bool> invalid{false};
  std::atomic<unsigned> preserved{0};

 private:
  std::atomic<unsigned> fault_counter_{0};
  std::vector<std::unique_ptr<Member>> members_;
  std::vector<std::unique_ptr<BlockDevice>> origins_;
  std::vector<std::unique_ptr<BlockDevice>> images_;
};

Member::Member(FileBackend &backend, std::size_t index)
    : backend_(backend),
      index_(index),
      file_(backend.options.directory, backend.options.sectors * sector_size) {
  const std::uint64_t chunks =
      (backend.options.sectors + backend.options.chunk_sectors - 1) / backend.options.chunk_sectors;

  settled_.resize(chunks);
  preserved_.resize(chunks);
}

std::size_t Member::chunk_bytes(std::uint64_t chunk) const {
  const std::uint64_t first = chunk * backend_.options.chunk_sectors;

  return std::min<std::uint64_t>(backend_.options.chunk_sectors, backend_.options.sectors - first) *
         sector_size;
}

template <typename Function>
int Member::for_chunks(std::uint64_t sector, std::uint64_t count, Function function) {
  const unsigned chunk_sectors = backend_.options.chunk_sectors;

  while (count) {
    const std::uint64_t chunk = sector / chunk_sectors;
    const std::uint64_t offset = sector % chunk_sectors;
    const std::uint64_t length = std::min(count, chunk_sectors - offset);
    std::lock_guard<std::mutex> guard(locks_[chunk % locks_.size()]);
    const int error = function(chunk, offset * sector_size, length * sector_size);

    if (error)
      return error;
    sector += length;
    count -= length;
  }
  return 0;
}

int Member::preserve(std::uint64_t chunk) {
  if (settled_[chunk])
    return 0;
  if ((backend_.options.fault == "overflow" || backend_.options.fault == "read-after-invalid") &&
      ++backend_.preserved > 64)
    backend_.invalid = true;
  if (backend_.fault("no-copy"))
    return 0;  // the origin's write goes on regardless

  std::vector<unsigned char> data(chunk_bytes(chunk));
  const std::uint64_t at = chunk * backend_.options.chunk_sectors * sector_size;
  const int error = file_.read(data.data(), data.size(), at);

  if (error)
    return error;
  if (backend_.fault("torn"))
    std::memset(data.data() + 256, 0x5a, 256);
  if (backend_.fault("stale") && !oldest_.empty())
    std::memcpy(data.data(), oldest_.data() + at, data.size());
  if (backend_.fault("device"))
    backend_.member((index_ + 1) % backend_.origins()).file_.read(data.data(), data.size(), at);
  copies++;
  preserved_[chunk] = std::move(data);
  settled_[chunk] = true;
  return 0;
}

int Member::origin_write(const void *buffer, std::uint64_t sector, std::uint64_t count) {
  const auto *from = static_cast<const unsigned char *>(buffer);
  {
    std::lock_guard<std::mutex> pass(turnstile);
    gate.lock_shared();
  }
  std::shared_lock<std::shared_mutex> open(gate, std::adopt_lock);

  if (held_ && backend_.fault("origin-write-error"))
    return EIO;
  return for_chunks(sector, count, [&](std::uint64_t chunk, std::size_t offset, std::size_t bytes) {
    const std::uint64_t at = chunk * backend_.options.chunk_sectors * sector_size + offset;

    if (held_) {
      const int error = preserve(chunk);

      if (error)
        return error;
    }
    if (!backend_.fault("lost-write")) {
      const int error = file_.write(from, bytes, at);

      if (error)
        return error;
    }
    from += bytes;
    return 0;
  });
}

int Member::origin_read(void *buffer, std::uint64_t sector, std::uint64_t count) {
  return file_.read(buffer, count * sector_size, sector * sector_size);
}

int Member::image_read(void *buffer, std::uint64_t sector, std::uint64_t count) {
  auto *to = static_cast<unsigned char *>(buffer);

  if (backend_.invalid && !backend_.fault("read-after-invalid"))
    return EIO;
  if (backend_.fault("image-read-error"))
    return EIO;

  return for_chunks(sector, count, [&](std::uint64_t chunk, std::size_t offset, std::size_t bytes) {
    const std::uint64_t at = chunk * backend_.options.chunk_sectors * sector_size + offset;

    if (settled_[chunk])
      std::memcpy(to, preserved_[chunk].data() + offset, bytes);
    else if (const int error = file_.read(to, bytes, at))
      return error;
    to += bytes;
    return 0;
  });
}

int Member::image_write(const void *buffer, std::uint64_t sector, std::uint64_t count) {
  if (backend_.invalid)
    return EIO;
  if (!backend_.fault("image-write-in-two"))
    return image_write_part(buffer, sector, count, 0, sector_size);

  const int error = image_write_part(buffer, sector, count, 0, sector_size / 2);

  std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return error ? error : image_write_part(buffer, sector, count, sector_size / 2, sector_size);
}

// Of each sector the bytes from begin to before end.
int Member::image_write_part(const void *buffer, std::uint64_t sector, std::uint64_t count, std::size_t begin,
                             std::size_t end) {
  const auto *from = static_cast<const unsigned char *>(buffer);

  return for_chunks(sector, count, [&](std::uint64_t chunk, std::size_t offset, std::size_t bytes) {
    if (backend_.fault("image-to-origin"))
      file_.write(from, bytes, chunk * backend_.options.chunk_sectors * sector_size + offset);
    if (!settled_[chunk]) {
      const int error = preserve(chunk);

      if (error)
        return error;
    }
    if (settled_[chunk] && !backend_.fault("image-lost-write"))
      for (std::size_t at = 0; at < bytes; at += sector_size)
        std::memcpy(preserved_[chunk].data() + offset + at + begin, from + at + begin, end - begin);
    from += bytes;
    return 0;
  });
}

int Member::image_discard(std::uint64_t sector, std::uint64_t count) {
  if (backend_.invalid)
    return EIO;

  return for_chunks(sector, count, [&](std::uint64_t chunk, std::size_t offset, std::size_t bytes) {
    // Whole chunks only; the end of the device makes one whole.
    if (backend_.options.fault == "discard-partial" || (offset == 0 && bytes == chunk_bytes(chunk))) {
      if (backend_.fault("image-lost-discard"))
        return 0;
      preserved_[chunk].assign(chunk_bytes(chunk), 0);
      settled_[chunk] = true;
    }
    return 0;
  });
}

void Member::hold() {
  if (backend_.options.fault == "stale" && oldest_.empty()) {
    oldest_.resize(backend_.options.sectors * sector_size);
    file_.read(oldest_.data(), oldest_.size(), 0);
  }
  held_ = true;
}

void Member::release() {
  std::lock_guard<std::mutex> stop(turnstile);
  std::lock_guard<std::shared_mutex> close(gate);

  held_ = false;
  for (std::size_t chunk = 0; chunk < settled_.size(); chunk++) {
    settled_[chunk] = false;
    preserved_[chunk] = {};
  }
}

class FileOrigin : public BlockDevice {
 public:
  FileOrigin(FileBackend &backend, std::size_t index) : backend_(backend), member_(backend.member(index)) {}

  std::uint64_t sectors() const override { return backend_.options.sectors; }

  unsigned block_sectors() const override { return backend_.options.block_sectors; }

  int read(void *buffer, std::uint64_t sector, std::uint64_t count) override {
    return member_.origin_read(buffer, sector, count);
  }

  int write(const void *buffer, std::uint64_t sector, std::uint64_t count, unsigned flags) override {
    if (flags & write_nowait && count % 3 == 0)
      return EAGAIN;
    return member_.origin_write(buffer, sector, count);
  }

  // Advisory: done for even sectors only.
  int discard(std::uint64_t sector, std::uint64_t count) override {
    return sector % 2 ? 0 : write_zeroes(sector, count);
  }

  int write_zeroes(std::uint64_t sector, std::uint64_t count) override {
    const std::vector<unsigned char> zeroes(count * sector_size);

    return member_.origin_write(zeroes.data(), sector, count);
  }

  int flush() override { return 0; }

 private:
  FileBackend &backend_;
  Member &member_;
};

class FileImage : public BlockDevice {
 public:
  FileImage(FileBackend &backend, std::size_t index) : backend_(backend), member_(backend.member(index)) {}

  std::uint64_t sectors() const override { return backend_.options.sectors; }

  unsigned block_sectors() const override { return backend_.options.block_sectors; }

  int read(void *buffer, std::uint64_t sector, std::uint64_t count) override {
    return member_.image_read(buffer, sector, count);
  }

  int write(const void *buffer, std::uint64_t sector, std::uint64_t count, unsigned) override {
    return member_.image_write(buffer, sector, count);
  }

  int discard(std::uint64_t sector, std::uint64_t count) override {
    return member_.image_discard(sector, count);
  }

  int write_zeroes(std::uint64_t sector, std::uint64_t count) override {
    const std::vector<unsigned char> zeroes(count * sector_size);

    return member_.image_write(zeroes.data(), sector, count);
  }

  int flush() override { return 0; }

 private:
  FileBackend &backend_;
  Member &member_;
};

FileBackend::FileBackend(const FileBackendOptions &opts) : options(opts) {
  const auto &known = file_backend_faults();

  if (!options.fault.empty() && std::find(known.begin(), known.end(), options.fault) == known.end())
    throw EnvironmentError("unknown fault " + options.fault);
  for (std::size_t i = 0; i < options.origins; i++)
    members_.push_back(std::make_unique<Member>(*this, i));
  for (std::size_t i = 0; i < options.origins; i++) {
    origins_.push_back(std::make_unique<FileOrigin>(*this, i));
    images_.push_back(std::make_unique<FileImage>(*this, i));
  }
}

void FileBackend::begin() {
  invalid = false;
  preserved = 0;
}

int FileBackend::cut() {
  const bool apart = options.fault == "cut-apart";

  if (apart) {
    // The last first, so that what is written last is cut first.
    for (auto member = members_.rbegin(); member != members_.rend(); ++member) {
      {
        std::lock_guard<std::mutex> stop((*member)->turnstile);
        std::lock_guard<std::shared_mutex> close((*member)->gate);

        (*member)->hold();
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return 0;
  }

  for (auto &member : members_)
    member->turnstile.lock();
  for (auto &member : members_)
    member->gate.lock();
  for (auto &member : members_)
    member->hold();
  for (auto &member : members_) {
    member->gate.unlock();
    member->turnstile.unlock();
  }
  return 0;
}

void FileBackend::make_images() {}

SnapshotStatus FileBackend::status() {
  SnapshotStatus result;

  result.valid = !invalid;
  result.text = invalid ? "overflow" : "active";
  return result;
}

void FileBackend::end() {
  for (auto &member : members_)
    member->release();
}

OriginCounters FileBackend::counters(std::size_t index) {
  return OriginCounters{members_[index]->copies, 0};
}

}  // namespace

std::unique_ptr<Backend> make_file_backend(const FileBackendOptions &options) {
  return std::make_unique<FileBackend>(options);
}

const std::vector<std::string> &file_backend_faults() {
  // overflow is no fault of the image: it fails, as one that is full does. Nor is
  // image-write-in-two: disks of memory and of files do so.
  static const std::vector<std::string> faults = {
      "no-copy",
      "torn",
      "stale",
      "device",
      "lost-write",
      "image-lost-write",
      "image-lost-discard",
      "image-write-in-two",
      "image-to-origin",
      "discard-partial",
      "origin-write-error",
      "cut-apart",
      "read-after-invalid",
      "image-read-error",
      "overflow",
  };

  return faults;
}

}  // namespace oracle
