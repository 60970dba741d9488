// SPDX-License-Identifier: GPL-2.0-or-later
#include "sys/device_tree.h"

#include "base/unique_fd.h"
#include "sys/sysfs.h"

#include <algorithm>
#include <array>
#include <climits>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace diffsnap::sys {
namespace {

namespace fs = std::filesystem;

fs::path sysfs_of(DeviceId device) {
  return "/sys/dev/block/" + device.to_string();
}

void insert_device(std::set<DeviceId> &devices, const fs::path &sysfs_directory) {
  const std::string text = attribute(sysfs_directory / "dev");

  if (const auto device = DeviceId::parse(text)) {
    devices.insert(*device);
  }
}

/** A btrfs has an anonymous device; its parts stand in sysfs under its UUID. */
std::set<DeviceId> btrfs_devices(DeviceId member) {
  std::error_code error;

  for (const auto &uuid : fs::directory_iterator("/sys/fs/btrfs", error)) {
    std::set<DeviceId> devices;
    for (const auto &entry : fs::directory_iterator(uuid.path() / "devices", error)) {
      insert_device(devices, entry.path());
    }
    if (devices.count(member) != 0) {
      return devices;
    }
  }
  return {member};
}

/** The value of an option like `logdev=/dev/sdc1` among those of a super block. */
std::optional<std::string> option(const std::string &options, const std::string &name) {
  std::size_t at = 0;

  while (at < options.size()) {
    const std::size_t end = std::min(options.find(',', at), options.size());
    if (options.compare(at, name.size() + 1, name + "=") == 0) {
      return options.substr(at + name.size() + 1, end - at - name.size() - 1);
    }
    at = end + 1;
  }
  return std::nullopt;
}

/** An external journal is named nowhere but in ext4's super block. */
std::optional<DeviceId> ext4_journal(const std::string &node) {
  constexpr off_t super_block = 1024;
  constexpr std::size_t magic_at = 0x38;
  constexpr std::size_t compat_at = 0x5c;
  constexpr std::size_t journal_inode_at = 0xe0;
  constexpr std::size_t journal_device_at = 0xe4;
  constexpr std::uint32_t has_journal = 0x4;

  std::array<unsigned char, 256> block{};
  const auto little_endian = [&](std::size_t at, int bytes) {
    std::uint32_t value = 0;
    for (int i = bytes - 1; i >= 0; --i) {
      value = value << 8 | block[at + static_cast<std::size_t>(i)];
    }
    return value;
  };

  const UniqueFd fd(open(node.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) {
    return std::nullopt;
  }
  if (pread(fd.get(), block.data(), block.size(), super_block) != static_cast<ssize_t>(block.size()) ||
      little_endian(magic_at, 2) != 0xef53 || (little_endian(compat_at, 4) & has_journal) == 0 ||
      little_endian(journal_inode_at, 4) != 0) {
    return std::nullopt;
  }

  // The kernel's 'new' encoding of a device number.
  const std::uint32_t number = little_endian(journal_device_at, 4);
  if (number == 0) {
    return std::nullopt;
  }
  return DeviceId{(number & 0xfff00) >> 8, (number & 0xff) | ((number >> 12) & 0xfff00)};
}

}  // namespace

std::set<DeviceId> SysfsDeviceTree::below(DeviceId device) const {
  const fs::path directory = sysfs_of(device);
  std::set<DeviceId> devices;
  std::error_code error;

  if (attribute(directory / "dm/uuid").rfind("DIFFSNAP-image-", 0) == 0) {
    return devices;
  }
  for (const auto &entry : fs::directory_iterator(directory / "slaves", error)) {
    insert_device(devices, entry.path());
  }
  if (fs::exists(directory / "partition", error)) {
    const fs::path disk = fs::canonical(directory, error).parent_path();
    if (!error) {
      insert_device(devices, disk);
    }
  }
  // Else the file lies on a file system, see backing_file().
  if (const auto lower = DeviceId::of_node(attribute(directory / "loop/backing_file"))) {
    devices.insert(*lower);
  }
  return devices;
}

std::optional<std::string> SysfsDeviceTree::backing_file(DeviceId device) const {
  const std::string path = attribute(sysfs_of(device) / "loop/backing_file");

  if (path.empty()) {
    return std::nullopt;
  }
  return path;
}

std::optional<DeviceId> SysfsDeviceTree::file_system_of(const std::string &path) const {
  // st_dev of a file on btrfs is its subvolume's, mountinfo has the super
  // block's: only the mount's number leads from one to the other.
  const auto mount = mount_of(path);
  if (mount) {
    return mount->device;
  }
  struct stat st;
  return stat(path.c_str(), &st) == 0 ? std::optional(DeviceId::from_dev_t(st.st_dev)) : std::nullopt;
}

std::set<DeviceId> SysfsDeviceTree::used_by(const Mount &mount) const {
  std::set<DeviceId> devices;

  if (mount.fs_type == "btrfs") {
    if (const auto member = DeviceId::of_node(mount.source)) {
      devices = btrfs_devices(*member);
    }
    return devices;
  }
  // Anonymous: nothing below that is a block device of this machine.
  if (mount.device.major == 0) {
    return devices;
  }

  devices.insert(mount.device);
  if (mount.fs_type == "ext4") {
    if (const auto journal = ext4_journal(mount.source)) {
      devices.insert(*journal);
    }
  }
  for (const char *name : {"logdev", "rtdev"}) {
    if (const auto path = option(mount.options, name)) {
      if (const auto device = DeviceId::of_node(*path)) {
        devices.insert(*device);
      }
    }
  }
  return devices;
}

}  // namespace diffsnap::sys
