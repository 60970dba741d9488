// SPDX-License-Identifier: GPL-2.0-or-later
#include "sys/fiemap.h"

#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "base/error.h"
#include "base/unique_fd.h"

namespace diffsnap::sys {

namespace {

// linux/magic.h lacks it in some versions.
constexpr long xfs_magic = 0x58465342;

constexpr std::array<std::pair<std::uint32_t, const char *>, 6> troubles{{
    {FIEMAP_EXTENT_DATA_INLINE, "a part of it lies inside the file system's metadata (inline)"},
    {FIEMAP_EXTENT_DATA_TAIL, "a part of it shares a block with other files (tail)"},
    {FIEMAP_EXTENT_DATA_ENCRYPTED, "it is encrypted by the file system"},
    {FIEMAP_EXTENT_ENCODED, "it is compressed or encrypted by the file system"},
    {FIEMAP_EXTENT_DELALLOC, "a part of it has no place on the device yet"},
    {FIEMAP_EXTENT_UNKNOWN, "the file system does not know where a part of it lies"},
}};

[[noreturn]] void refuse(const std::string &path, int error, std::string reason = {}, std::string hint = {}) {
  throw Error("find", "the blocks of " + path, error, std::move(reason), std::move(hint));
}

/** Others answer with addresses of their own (btrfs), or with places on one of several devices (f2fs). */
void check_file_system(const std::string &path, int fd) {
  struct statfs fs {};
  if (::fstatfs(fd, &fs) != 0) {
    refuse(path, errno);
  }
  const auto type = static_cast<long>(fs.f_type);
  if (type != EXT4_SUPER_MAGIC && type != xfs_magic) {
    refuse(path, EOPNOTSUPP, "its file system is none of ext2, ext3, ext4 and XFS",
           "Mark ranges of the device instead.");
  }
  struct fsxattr attributes {};
  if (type == xfs_magic && ::ioctl(fd, FS_IOC_FSGETXATTR, &attributes) == 0 &&
      (attributes.fsx_xflags & FS_XFLAG_REALTIME) != 0) {
    refuse(path, EOPNOTSUPP, "it lies on the file system's realtime device");
  }
}

/** A struct fiemap with room for some extents behind it. */
struct Request {
  static constexpr std::size_t room = 256;
  alignas(fiemap) std::array<unsigned char, sizeof(fiemap) + room * sizeof(fiemap_extent)> bytes{};

  [[nodiscard]] fiemap *head() noexcept { return static_cast<fiemap *>(static_cast<void *>(bytes.data())); }
  [[nodiscard]] fiemap_extent extent(std::size_t index) const noexcept {
    fiemap_extent result{};
    std::memcpy(&result, bytes.data() + sizeof(fiemap) + index * sizeof(fiemap_extent), sizeof(result));
    return result;
  }
};

void add(std::vector<ByteRange> &ranges, const ByteRange &range) {
  if (!ranges.empty() && ranges.back().offset + ranges.back().length == range.offset) {
    ranges.back().length += range.length;
  } else {
    ranges.push_back(range);
  }
}

}  // namespace

std::string trouble_with_extent(std::uint32_t flags) {
  for (const auto &[flag, why] : troubles) {
    if ((flags & flag) != 0) {
      return why;
    }
  }
  // Of what is set beside the causes above: the place is not on a block of the device.
  return (flags & FIEMAP_EXTENT_NOT_ALIGNED) != 0 ? "a part of it is not aligned to blocks" : "";
}

std::vector<ByteRange> file_extents(const std::string &path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat st {};
  if (!fd || ::fstat(fd.get(), &st) != 0) {
    refuse(path, errno);
  }
  if (!S_ISREG(st.st_mode)) {
    refuse(path, EINVAL, "it is no regular file");
  }
  check_file_system(path, fd.get());

  std::vector<ByteRange> ranges;
  Request request;
  std::uint64_t from = 0;
  while (true) {
    fiemap *head = request.head();
    *head = {};
    head->fm_start = from;
    head->fm_length = std::numeric_limits<std::uint64_t>::max() - from;
    head->fm_flags = FIEMAP_FLAG_SYNC;
    head->fm_extent_count = Request::room;
    if (::ioctl(fd.get(), FS_IOC_FIEMAP, head) != 0) {
      refuse(path, errno);
    }
    const std::size_t count = head->fm_mapped_extents;
    for (std::size_t i = 0; i < count; ++i) {
      const fiemap_extent extent = request.extent(i);
      if (const std::string why = trouble_with_extent(extent.fe_flags); !why.empty()) {
        refuse(path, EOPNOTSUPP, why, "Mark ranges of the device instead.");
      }
      // Without a step forwards this would never end.
      if (extent.fe_length == 0 || extent.fe_logical + extent.fe_length <= from) {
        refuse(path, EIO, "the file system's answer makes no sense");
      }
      add(ranges, {extent.fe_physical, extent.fe_length});
      from = extent.fe_logical + extent.fe_length;
      if ((extent.fe_flags & FIEMAP_EXTENT_LAST) != 0) {
        return ranges;
      }
    }
    // Holes only up to the end: a file need not have a last extent.
    if (count == 0) {
      return ranges;
    }
  }
}

}  // namespace diffsnap::sys
