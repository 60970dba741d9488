// SPDX-License-Identifier: GPL-2.0-or-later
#include "sys/target_file.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "base/aligned_buffer.h"
#include "base/error.h"

namespace diffsnap::sys {

namespace {

bool is_aligned(std::uint64_t value) {
  return value % direct_alignment == 0;
}

/** A file beside another, of a name that nothing had; removed at the end unless it was renamed. */
class NewFile {
 public:
  explicit NewFile(const std::string &beside)
      : path_(beside + ".XXXXXX"), fd_(::mkostemp(path_.data(), O_CLOEXEC)) {
    if (!fd_) {
      throw Error("make", "a file beside " + beside, errno);
    }
  }
  NewFile(const NewFile &) = delete;
  NewFile &operator=(const NewFile &) = delete;
  ~NewFile() {
    if (!path_.empty()) {
      ::unlink(path_.c_str());
    }
  }

  /** Returns when it outlives a power failure. */
  void write(const std::string &contents) const {
    std::size_t done = 0;
    while (done < contents.size()) {
      const ssize_t written = ::write(fd_.get(), contents.data() + done, contents.size() - done);
      if (written < 0 && errno != EINTR) {
        break;
      }
      done += written > 0 ? static_cast<std::size_t>(written) : 0;
    }
    if (done < contents.size() || ::fsync(fd_.get()) != 0) {
      throw Error("write", path_, errno);
    }
  }

  void rename(const std::string &to) {
    if (::rename(path_.c_str(), to.c_str()) != 0) {
      throw Error("write", to, errno);
    }
    path_.clear();
  }

 private:
  std::string path_;
  UniqueFd fd_;
};

}  // namespace

TargetFile::TargetFile(std::string path) : path_(std::move(path)) {
  struct stat st {};
  if (::stat(path_.c_str(), &st) != 0) {
    if (errno == ENOENT) {
      return;
    }
    fail("open");
  }
  device_ = S_ISBLK(st.st_mode);
  if (!device_ && !S_ISREG(st.st_mode)) {
    throw Error("receive into", path_, EINVAL, "it is neither a regular file nor a block device");
  }
  open(device_ ? O_EXCL : 0);
}

std::uint64_t TargetFile::size() const {
  if (!exists()) {
    return 0;
  }
  const off_t end = ::lseek(cached_.get(), 0, SEEK_END);
  if (end < 0) {
    fail("look at");
  }
  return static_cast<std::uint64_t>(end);
}

void TargetFile::create() {
  open(O_CREAT | O_EXCL);
  created_ = true;
}

void TargetFile::resize(std::uint64_t size) {
  if (::ftruncate(cached_.get(), static_cast<off_t>(size)) != 0) {
    fail("resize");
  }
}

void TargetFile::write(std::uint64_t offset, const void *data, std::size_t length) {
  const auto *bytes = static_cast<const unsigned char *>(data);
  // Whole pages are written directly and parts of pages through the cache, so that the two never meet in one.
  const bool direct = direct_ && is_aligned(offset) && is_aligned(reinterpret_cast<std::uintptr_t>(data));
  const std::size_t whole = direct ? length / direct_alignment * direct_alignment : 0;
  if (whole > 0) {
    write_all(direct_.get(), offset, bytes, whole);
  }
  write_all(cached_.get(), offset + whole, bytes + whole, length - whole);
}

void TargetFile::zero(std::uint64_t offset, std::uint64_t length) {
  if (device_) {
    // A device's zeroes are asked for in whole blocks; what is left at the edges is less than two of them.
    const std::uint64_t first = (offset + direct_alignment - 1) / direct_alignment * direct_alignment;
    const std::uint64_t end = (offset + length) / direct_alignment * direct_alignment;
    std::array<std::uint64_t, 2> range{first, end - first};
    if (first < end && ::ioctl(cached_.get(), BLKZEROOUT, range.data()) == 0) {
      write_zeroes(offset, first - offset);
      write_zeroes(end, offset + length - end);
      return;
    }
  } else if (::fallocate(cached_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                         static_cast<off_t>(offset), static_cast<off_t>(length)) == 0) {
    return;
  }
  write_zeroes(offset, length);
}

void TargetFile::sync() {
  if (::fsync(cached_.get()) != 0) {
    fail("write out");
  }
  if (created_) {
    sync_directory_of(path_);
  }
}

void TargetFile::open(int flags) {
  constexpr mode_t mode = S_IRUSR | S_IWUSR;
  cached_.reset(::open(path_.c_str(), O_RDWR | O_CLOEXEC | flags, mode));
  if (!cached_) {
    fail("open");
  }
  lock();
  // Once is exclusive enough, and a second time would fail.
  direct_.reset(::open(path_.c_str(), O_RDWR | O_CLOEXEC | O_DIRECT));
}

void TargetFile::lock() {
  // A device is ours already by O_EXCL. Its lock keeps udev from looking at what is half written; udev itself
  // holds it for moments, which are waited for.
  while (::flock(cached_.get(), device_ ? LOCK_EX : LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) {
      throw Error("open", path_, EBUSY, "somebody else receives into it");
    }
    if (errno != EINTR) {
      fail("lock");
    }
  }
}

void TargetFile::write_all(int fd, std::uint64_t offset, const unsigned char *data, std::size_t length) {
  while (length > 0) {
    const ssize_t written = ::pwrite(fd, data, length, static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) {
      continue;
    }
    // Some file systems let themselves be opened for direct I/O and refuse it then.
    if (written < 0 && errno == EINVAL && fd == direct_.get()) {
      direct_.reset();
      fd = cached_.get();
      continue;
    }
    if (written <= 0) {
      errno = written == 0 ? EIO : errno;
      fail("write to");
    }
    data += written;
    offset += static_cast<std::uint64_t>(written);
    length -= static_cast<std::size_t>(written);
  }
}

void TargetFile::write_zeroes(std::uint64_t offset, std::uint64_t length) {
  static const std::array<unsigned char, 65536> zeroes{};
  while (length > 0) {
    const auto now = static_cast<std::size_t>(std::min<std::uint64_t>(length, zeroes.size()));
    write_all(cached_.get(), offset, zeroes.data(), now);
    offset += now;
    length -= now;
  }
}

void TargetFile::fail(const char *verb) const {
  throw Error(verb, path_, errno);
}

UniqueFd create_afresh(const std::string &path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    throw Error("remove", path, errno);
  }
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR));
  if (!fd) {
    throw Error("make", path, errno);
  }
  return fd;
}

void check_replaceable(const std::string &path) {
  struct stat st {};
  if (::lstat(path.c_str(), &st) != 0) {
    if (errno != ENOENT) {
      throw Error("look at", path, errno);
    }
    return;
  }
  if (!S_ISREG(st.st_mode)) {
    throw Error("replace", path, EINVAL, "it is not a regular file");
  }
}

void replace_file(const std::string &path, const std::string &contents) {
  check_replaceable(path);
  NewFile fresh(path);
  fresh.write(contents);
  fresh.rename(path);
  sync_directory_of(path);
}

void sync_directory_of(const std::string &path) {
  std::string directory = std::filesystem::path(path).parent_path();
  if (directory.empty()) {
    directory = ".";
  }
  const UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || ::fsync(fd.get()) != 0) {
    throw Error("write out", directory, errno);
  }
}

}  // namespace diffsnap::sys
