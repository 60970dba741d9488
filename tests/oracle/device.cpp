// SPDX-License-Identifier: GPL-2.0-or-later
#include "device.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

namespace oracle {

namespace {

constexpr unsigned sector_shift = 9;

class FileDevice : public BlockDevice {
 public:
  FileDevice(const std::string &path, std::uint64_t sectors) {
    fd_ = open(path.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC);
    if (fd_ < 0)
      throw EnvironmentError("cannot open " + path + ": " + std::strerror(errno));

    std::uint64_t bytes = 0;
    int block = 0;

    if (ioctl(fd_, BLKGETSIZE64, &bytes) || ioctl(fd_, BLKSSZGET, &block)) {
      const std::string reason = std::strerror(errno);

      close(fd_);
      throw EnvironmentError("cannot get the size of " + path + ": " + reason);
    }
    sectors_ = bytes >> sector_shift;
    if (sectors && sectors < sectors_)
      sectors_ = sectors;
    block_sectors_ = static_cast<unsigned>(block) >> sector_shift;
  }

  ~FileDevice() override { close(fd_); }

  FileDevice(const FileDevice &) = delete;
  FileDevice &operator=(const FileDevice &) = delete;

  std::uint64_t sectors() const override { return sectors_; }

  unsigned block_sectors() const override { return block_sectors_; }

  int read(void *buffer, std::uint64_t sector, std::uint64_t count) override {
    auto *at = static_cast<char *>(buffer);
    auto position = static_cast<off_t>(sector << sector_shift);
    std::size_t left = count << sector_shift;

    while (left) {
      const ssize_t done = pread(fd_, at, left, position);

      if (done < 0 && errno == EINTR)
        continue;
      if (done < 0)
        return errno;
      if (done == 0)
        return EIO;
      at += done;
      position += done;
      left -= static_cast<std::size_t>(done);
    }
    return 0;
  }

  int write(const void *buffer, std::uint64_t sector, std::uint64_t count, unsigned flags) override {
    const auto *at = static_cast<const char *>(buffer);
    auto position = static_cast<off_t>(sector << sector_shift);
    std::size_t left = count << sector_shift;
    int rwf = 0;

    if (flags & write_nowait)
      rwf |= RWF_NOWAIT;
    if (flags & write_durable)
      rwf |= RWF_DSYNC;

    while (left) {
      const iovec part{const_cast<char *>(at), left};
      const ssize_t done = pwritev2(fd_, &part, 1, position, rwf);

      if (done < 0 && errno == EINTR)
        continue;
      if (done < 0)
        return errno;
      if (done == 0)
        return EIO;
      at += done;
      position += done;
      left -= static_cast<std::size_t>(done);
    }
    return 0;
  }

  int discard(std::uint64_t sector, std::uint64_t count) override {
    return range_ioctl(BLKDISCARD, sector, count);
  }

  int write_zeroes(std::uint64_t sector, std::uint64_t count) override {
    return range_ioctl(BLKZEROOUT, sector, count);
  }

  int flush() override { return fdatasync(fd_) ? errno : 0; }

 private:
  int range_ioctl(unsigned long request, std::uint64_t sector, std::uint64_t count) {
    std::uint64_t range[2] = {sector << sector_shift, count << sector_shift};

    return ioctl(fd_, request, range) ? errno : 0;
  }

  int fd_ = -1;
  std::uint64_t sectors_ = 0;
  unsigned block_sectors_ = 1;
};

}  // namespace

std::unique_ptr<BlockDevice> open_device(const std::string &path, std::uint64_t sectors) {
  return std::make_unique<FileDevice>(path, sectors);
}

TrackedSnapshot Backend::tracked(std::size_t) {
  throw EnvironmentError("these snapshots have no tracker");
}

std::vector<SectorRange> Backend::changes(std::size_t, const TrackedSnapshot &) {
  throw EnvironmentError("these snapshots have no tracker");
}

}  // namespace oracle
