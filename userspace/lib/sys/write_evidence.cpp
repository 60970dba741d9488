// SPDX-License-Identifier: GPL-2.0-or-later
#include "sys/write_evidence.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
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

std::string this_boot() {
  return attribute("/proc/sys/kernel/random/boot_id");
}

std::string incarnation(const fs::path &sysfs, const fs::path &disk) {
  const std::string boot = this_boot();
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
  std::uint64_t reads = 0;
  /** Requests and sectors written, requests and sectors discarded. */
  std::array<std::uint64_t, 4> writes{};
};

std::optional<Counts> read_counts(const fs::path &sysfs) {
  constexpr std::size_t reads = 0, least_fields = 15;
  constexpr std::array<std::size_t, 4> writes_and_discards{4, 6, 11, 13};
  const std::string line = attribute(sysfs / "stat");
  const auto fields = split_words(line);
  if (fields.size() < least_fields) {
    return std::nullopt;
  }
  const auto field = [&](std::size_t at) { return parse_number<std::uint64_t>(fields[at]).value_or(0); };
  Counts counts;
  counts.reads = field(reads);
  std::transform(writes_and_discards.begin(), writes_and_discards.end(), counts.writes.begin(), field);
  return counts;
}

std::string text_of(const std::array<std::uint64_t, 4> &numbers) {
  std::string text;
  for (const std::uint64_t number : numbers) {
    text += (text.empty() ? "" : "/") + std::to_string(number);
  }
  return text;
}

/**
 * What was written to a disk and to none of its partitions, as may be where a partition lies. The kernel
 * counts what goes to a partition for its disk as well. Nothing if the disk is too busy to tell.
 */
std::optional<std::string> writes_past_partitions(const fs::path &disk) {
  constexpr unsigned tries = 20;
  constexpr std::chrono::milliseconds pause{5};
  for (unsigned i = 0; i < tries; ++i) {
    const auto all = read_counts(disk);
    if (!all) {
      return std::nullopt;
    }
    auto rest = all->writes;
    std::error_code error;
    for (const auto &entry : fs::directory_iterator(disk, error)) {
      const auto part = fs::exists(entry.path() / "partition", error) ? read_counts(entry.path()) : Counts{};
      for (std::size_t field = 0; part && field < rest.size(); ++field) {
        rest[field] -= part->writes[field];
      }
    }
    const auto again = read_counts(disk);
    if (again && again->writes == all->writes) {
      return text_of(rest);
    }
    std::this_thread::sleep_for(pause);
  }
  return std::nullopt;
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
      return text_of(now->writes);
    }
    std::this_thread::sleep_for(pause);
  }
  return {};
}

std::string writes(const fs::path &sysfs, const fs::path &disk, const std::string &node) {
  const std::string own = counted_writes(sysfs, node);
  if (own.empty() || sysfs == disk) {
    return own;
  }
  const auto past = writes_past_partitions(disk);
  return past ? own + ' ' + *past : std::string();
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
  return {incarnation(sysfs, disk), writes(sysfs, disk, node), identity(sysfs, disk, id), superblock(node)};
}

bool is_incarnation_present(const std::string &incarnation) {
  const std::string boot = this_boot();
  if (boot.empty() || !starts_with(incarnation, boot + '/')) {
    return false;
  }
  const std::string rest = incarnation.substr(boot.size() + 1);
  const std::string sequence = rest.substr(0, rest.find('/'));
  std::error_code error;
  for (fs::directory_iterator disk("/sys/block", error), end; !error && disk != end; disk.increment(error)) {
    if (attribute(disk->path() / "diskseq") == sequence) {
      return true;
    }
  }
  return false;
}

}  // namespace diffsnap::sys
