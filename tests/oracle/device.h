// SPDX-License-Identifier: GPL-2.0-or-later
//
// What the oracle needs of a device, and of what makes snapshots of devices.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace oracle {

// Something about the surroundings is wrong, not the data: exit status 2.
struct EnvironmentError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A promise other than that about data was broken: exit status 1.
struct CheckFailure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

enum WriteFlags : unsigned {
  write_plain = 0,
  write_nowait = 1,
  write_durable = 2,
};

// Sectors throughout. Results are 0 or a positive errno. Buffers are aligned
// to 4096 bytes, ranges to the logical block.
class BlockDevice {
 public:
  virtual ~BlockDevice() = default;
  virtual std::uint64_t sectors() const = 0;
  virtual unsigned block_sectors() const = 0;
  virtual int read(void *buffer, std::uint64_t sector, std::uint64_t count) = 0;
  virtual int write(const void *buffer, std::uint64_t sector, std::uint64_t count, unsigned flags) = 0;
  virtual int discard(std::uint64_t sector, std::uint64_t count) = 0;
  virtual int write_zeroes(std::uint64_t sector, std::uint64_t count) = 0;
  virtual int flush() = 0;
};

struct SnapshotStatus {
  bool valid = true;
  std::string text;
  std::uint64_t closed_ns = 0;
};

struct OriginCounters {
  std::uint64_t copies = 0;
  std::uint64_t held = 0;
};

// A snapshot as the origin's tracker counts it.
struct TrackedSnapshot {
  std::string generation;
  std::uint64_t number = 0;
};

struct SectorRange {
  std::uint64_t sector = 0;
  std::uint64_t count = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::size_t origins() const = 0;
  virtual BlockDevice &origin(std::size_t index) = 0;
  virtual BlockDevice &image(std::size_t index) = 0;
  virtual unsigned chunk_sectors() const = 0;
  // A discard of whole chunks of an image makes them read zeroes.
  virtual bool image_discards() const = 0;
  // When one image has become invalid, all of the set have.
  virtual bool invalid_together() const = 0;

  // One snapshot, in this order; end() is right at any point.
  virtual void begin() = 0;
  virtual int cut() = 0;  // 0 or errno
  virtual void make_images() = 0;
  virtual SnapshotStatus status() = 0;
  virtual void end() = 0;

  virtual OriginCounters counters(std::size_t index) = 0;

  // The snapshot that holds the origin, and what changed between an older one
  // and that. Only of what has a tracker.
  virtual TrackedSnapshot tracked(std::size_t index);
  virtual std::vector<SectorRange> changes(std::size_t index, const TrackedSnapshot &since);
};

// A device node or a regular file, with direct I/O where it can be had.
std::unique_ptr<BlockDevice> open_device(const std::string &path, std::uint64_t sectors = 0);

struct FileBackendOptions {
  std::string directory;
  std::size_t origins = 3;
  std::uint64_t sectors = 0;
  unsigned block_sectors = 1;
  unsigned chunk_sectors = 8;
  std::string fault;  // see file_backend.cpp
};

// Regular files with a copy-before-write snapshot of its own: shows that the
// oracle accepts what is right and, with a fault, finds what is wrong.
std::unique_ptr<Backend> make_file_backend(const FileBackendOptions &options);
const std::vector<std::string> &file_backend_faults();

struct DmBackendOptions {
  std::string prefix;
  std::vector<std::string> real;    // the backend puts diffsnap-origin over them
  std::vector<std::string> origin;  // are diffsnap-origin devices already
  std::string store;
  std::uint64_t origin_sectors = 0;  // 0: all of the device
  std::uint64_t store_sectors = 0;
  unsigned chunk_sectors = 8;
  std::string store_args;  // "low_water 100 buffer 4096"
  unsigned cut_limit_ms = 0;
};

std::unique_ptr<Backend> make_diffsnap_backend(const DmBackendOptions &options);
// The kernel's dm-snapshot instead: the oracle's own test on real devices.
std::unique_ptr<Backend> make_dm_snapshot_backend(const DmBackendOptions &options);

}  // namespace oracle
