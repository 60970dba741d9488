// SPDX-License-Identifier: GPL-2.0-or-later
#include "sys/write_evidence.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <optional>
#include <string_view>
#include <system_error>
#include <thread>

#include "base/aligned_buffer.h"
#include "base/error.h"
#include "base/text.h"
#include "base/unique_fd.h"
#include "sys/blkid.h"
#include "sys/block_device.h"
#include "sys/sysfs.h"
#include "sys/udev.h"

namespace diffsnap::sys {

namespace {

namespace fs = std::filesystem;

/** Where a partition lies on its disk; empty for a disk. */
std::string place(const fs::path &sysfs) {
  std::error_code error;
  if (!fs::exists(sysfs / "partition", error)) {
    return {};
  }
  return '/' + attribute(sysfs / "start") + '+' + attribute(sysfs / "size");
}

std::string incarnation(const fs::path &sysfs, const fs::path &disk) {
  const std::string boot = attribute("/proc/sys/kernel/random/boot_id");
  const std::string sequence = attribute(disk / "diskseq");
  return boot.empty() || sequence.empty() ? std::string() : boot + '/' + sequence + place(sysfs);
}

std::string identity(const fs::path &sysfs, const fs::path &disk, DeviceId id) {
  const std::string uuid = attribute(disk / "dm/uuid");
  const std::string name = uuid.empty() ? device_serial(id) : uuid;
  return name.empty() ? name : name + place(sysfs);
}

/** The start of a device, past the page cache; nothing if it cannot be read. */
std::optional<std::string> read_directly(const std::string &node, std::size_t offset, std::size_t length) {
  const UniqueFd fd(::open(node.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC | O_NONBLOCK));
  const AlignedBuffer buffer(direct_alignment);
  const std::size_t start = offset / direct_alignment * direct_alignment;
  const std::size_t wanted = offset - start + length;
  if (!fd || ::pread(fd.get(), buffer.data(), buffer.size(), static_cast<off_t>(start)) <
                 static_cast<ssize_t>(wanted)) {
    return std::nullopt;
  }
  return std::string(reinterpret_cast<const char *>(buffer.data()) + offset - start, length);
}

// Fields of a device's "stat" as the kernel's Documentation/block/stat.rst has them, counted from 0.
struct Counts {
  std::string reads, writes;
};

std::optional<Counts> read_counts(const fs::path &sysfs) {
  constexpr std::size_t reads = 0, least_fields = 15;
  constexpr std::array<std::size_t, 4> writes_and_discards{4, 6, 11, 13};
  const std::string line = attribute(sysfs / "stat");
  const auto fields = split_words(line);
  if (fields.size() < least_fields) {
    return std::nullopt;
  }
  Counts counts{std::string(fields[reads]), {}};
  for (const std::size_t field : writes_and_discards) {
    counts.writes += (counts.writes.empty() ? "" : "/") + std::string(fields[field]);
  }
  return counts;
}

// queue/iostats does not tell: older kernels count for dm devices whatever it says. So a read must be seen to
// be counted; that of a request is only after who waits for it was woken.
std::string counted_writes(const fs::path &sysfs, const std::string &node) {
  constexpr unsigned tries = 20;
  constexpr std::chrono::milliseconds pause{5};
  const auto before = read_counts(sysfs);
  if (!before || !read_directly(node, 0, sector_size)) {
    return {};
  }
  for (unsigned i = 0; i < tries; ++i) {
    const auto now = read_counts(sysfs);
    if (now && now->reads != before->reads) {
      return now->writes;
    }
    std::this_thread::sleep_for(pause);
  }
  return {};
}

struct SuperblockPlace {
  std::string_view type;
  std::size_t offset, length;
};

// ext: s_mtime and s_mnt_count are on the disk before a writable mount returns. A journal is replayed by a
// read-only mount too, and that ends needs_recovery.
// Not XFS, which writes its super block only when it is unmounted, and not btrfs, which writes over the
// blocks of a file without copy-on-write before the commit that tells of it: after a crash both look as if
// nothing had been written. Nor FAT, which is the same again after a clean unmount.
constexpr std::array<SuperblockPlace, 3> superblocks{
    {{"ext2", 1024, 1024}, {"ext3", 1024, 1024}, {"ext4", 1024, 1024}}};

std::string superblock(const std::string &node) {
  std::optional<std::string> type;
  try {
    type = probe_signature(node);
  } catch (const Error &) {
    return {};
  }
  for (const SuperblockPlace &place : superblocks) {
    if (type == place.type) {
      const auto bytes = read_directly(node, place.offset, place.length);
      return bytes ? std::string(place.type) + ' ' + *bytes : std::string();
    }
  }
  return {};
}

}  // namespace

WriteEvidence read_write_evidence(DeviceId id) {
  std::error_code error;
  const fs::path sysfs = fs::canonical("/sys/dev/block/" + id.to_string(), error);
  if (error) {
    return {};
  }
  const fs::path disk = fs::exists(sysfs / "partition", error) ? sysfs.parent_path() : sysfs;
  const std::string node = device_node(id);
  return {incarnation(sysfs, disk), counted_writes(sysfs, node), identity(sysfs, disk, id), superblock(node)};
}

}  // namespace diffsnap::sys
