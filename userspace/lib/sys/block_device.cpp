// SPDX-License-Identifier: GPL-2.0-or-later
#include "sys/block_device.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <set>
#include <system_error>

#include "base/error.h"
#include "base/text.h"
#include "base/unique_fd.h"
#include "sys/blkid.h"
#include "sys/device_tree.h"
#include "sys/fiemap.h"
#include "sys/mounts.h"
#include "sys/sysfs.h"

namespace diffsnap::sys {

namespace {

namespace fs = std::filesystem;

template <typename Number>
Number numeric_attribute(const fs::path &path, Number otherwise) {
  return parse_number<Number>(attribute(path)).value_or(otherwise);
}

/** The devices that a directory of links (holders, slaves) names. */
std::vector<DeviceId> linked_devices(const fs::path &directory) {
  std::vector<DeviceId> devices;
  std::error_code error;
  for (const auto &entry : fs::directory_iterator(directory, error)) {
    if (const auto id = DeviceId::parse(attribute(entry.path() / "dev"))) {
      devices.push_back(*id);
    }
  }
  std::sort(devices.begin(), devices.end());
  return devices;
}

bool has_partitions(const fs::path &sysfs) {
  std::error_code error;
  for (const auto &entry : fs::directory_iterator(sysfs, error)) {
    if (fs::exists(entry.path() / "partition", error)) {
      return true;
    }
  }
  return false;
}

/** The device of what is mounted at a path; btrfs has a number of its own there, so its source is asked. */
std::optional<DeviceId> device_of_mount(const std::string &path) {
  std::error_code error;
  const fs::path canonical = fs::canonical(path, error);
  if (error) {
    return std::nullopt;
  }
  std::optional<DeviceId> found;
  for (const Mount &mount : read_mounts()) {
    // The last one covers those before it.
    if (mount.path == canonical) {
      found = mount.device.major != 0 ? std::optional(mount.device) : DeviceId::of_node(mount.source);
    }
  }
  return found;
}

bool is_tag(const std::string &words) {
  constexpr std::array<std::string_view, 4> tags{"UUID=", "LABEL=", "PARTUUID=", "PARTLABEL="};
  return std::any_of(tags.begin(), tags.end(), [&](std::string_view tag) { return starts_with(words, tag); });
}

bool is_swap(DeviceId id) {
  std::ifstream swaps("/proc/swaps");
  std::string line;
  std::getline(swaps, line);  // the heading
  while (std::getline(swaps, line)) {
    if (DeviceId::of_node(line.substr(0, line.find_first_of(" \t"))) == id) {
      return true;
    }
  }
  return false;
}

/** Whether file systems of a type keep nothing on this machine's block devices. */
bool is_elsewhere(std::string_view fs_type) {
  constexpr std::array<std::string_view, 9> types{"tmpfs", "ramfs", "devtmpfs", "nfs", "nfs4",
                                                  "cifs",  "smb3",  "9p",       "ceph"};
  return std::find(types.begin(), types.end(), fs_type) != types.end();
}

class SystemBlockDevices final : public BlockDevices {
 public:
  BlockDeviceFacts facts(DeviceId id) override {
    std::error_code error;
    const fs::path sysfs = fs::canonical("/sys/dev/block/" + id.to_string(), error);
    if (error) {
      throw Error("look at", "device " + id.to_string(), ENODEV);
    }
    BlockDeviceFacts facts;
    facts.id = id;
    facts.name = sysfs.filename();
    std::replace(facts.name.begin(), facts.name.end(), '!', '/');
    facts.size = numeric_attribute<Sectors>(sysfs / "size", 0);
    facts.read_only = numeric_attribute<int>(sysfs / "ro", 0) != 0;
    facts.partition = fs::exists(sysfs / "partition", error);
    facts.partitioned = has_partitions(sysfs);
    // A partition has its disk's queue.
    const fs::path disk = facts.partition ? sysfs.parent_path() : sysfs;
    if (facts.partition) {
      facts.disk = DeviceId::parse(attribute(disk / "dev"));
    }
    facts.logical_block = numeric_attribute<unsigned>(disk / "queue/logical_block_size", 512);
    facts.physical_block =
        numeric_attribute<unsigned>(disk / "queue/physical_block_size", facts.logical_block);
    const std::string zoned = attribute(disk / "queue/zoned");
    facts.zoned = !zoned.empty() && zoned != "none";
    facts.dax = attribute(disk / "queue/dax") == "1";
    facts.loop_file = attribute(disk / "loop/backing_file");
    facts.holders = linked_devices(sysfs / "holders");
    facts.slaves = linked_devices(sysfs / "slaves");
    return facts;
  }

  std::optional<std::string> usage(DeviceId id) override {
    const SysfsDeviceTree tree;
    for (const Mount &mount : read_mounts()) {
      if (tree.used_by(mount).count(id) != 0) {
        return "mounted on " + mount.path;
      }
    }
    if (is_swap(id)) {
      return "used as swap space";
    }
    return std::nullopt;
  }

  bool can_open_exclusively(DeviceId id) override {
    const std::string node = device_node(id);
    const UniqueFd fd(::open(node.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC | O_NONBLOCK));
    if (!fd && errno != EBUSY) {
      throw Error("open", node, errno);
    }
    return static_cast<bool>(fd);
  }

  std::optional<std::string> signature(DeviceId id) override { return probe_signature(device_node(id)); }

  void wipe_signatures(DeviceId id, const ByteRange &range) override {
    sys::wipe_signatures(device_node(id), range.offset, range.length);
  }

  std::optional<DeviceId> device_of_file(const std::string &path) override {
    struct stat st {};
    if (::stat(path.c_str(), &st) != 0) {
      throw Error("look at", path, errno);
    }
    const auto id = DeviceId::from_dev_t(st.st_dev);
    if (id.major == 0) {
      return std::nullopt;
    }
    return id;
  }

  std::optional<std::vector<DeviceId>> devices_below_file(const std::string &path) override {
    if (const auto device = DeviceId::of_node(path)) {
      return std::vector<DeviceId>{*device};
    }
    const auto mount = mount_of(path);
    if (!mount) {
      return std::nullopt;
    }
    const std::set<DeviceId> devices = SysfsDeviceTree().used_by(*mount);
    if (devices.empty() && !is_elsewhere(mount->fs_type)) {
      return std::nullopt;
    }
    return std::vector<DeviceId>(devices.begin(), devices.end());
  }

  std::vector<ByteRange> file_extents(const std::string &path) override { return sys::file_extents(path); }

  void discard(DeviceId id, const std::vector<ByteRange> &ranges,
               const std::function<void()> &check) override {
    const std::string path = device_node(id);
    const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    if (!fd) {
      throw Error("open", path, errno);
    }
    check();
    if (::flock(fd.get(), LOCK_SH | LOCK_NB) != 0) {
      throw Error("discard ranges of", path, errno == EWOULDBLOCK ? EBUSY : errno,
                  "somebody has locked it, as a rollback does");
    }
    for (const ByteRange &range : ranges) {
      std::array<std::uint64_t, 2> argument{range.offset, range.length};
      if (::ioctl(fd.get(), BLKDISCARD, argument.data()) != 0) {
        throw Error("discard", path + " at " + std::to_string(range.offset), errno);
      }
    }
  }

  WriteEvidence write_evidence(DeviceId id) override { return read_write_evidence(id); }
  bool is_present(const std::string &incarnation) override { return is_incarnation_present(incarnation); }
};

}  // namespace

std::unique_ptr<BlockDevices> system_block_devices() {
  return std::make_unique<SystemBlockDevices>();
}

DeviceId resolve_device(const std::string &words) {
  if (const auto id = DeviceId::parse(words)) {
    std::error_code error;
    if (!fs::exists("/sys/dev/block/" + id->to_string(), error)) {
      throw Error("find", "device " + words, ENODEV);
    }
    return *id;
  }
  std::string path = words;
  if (is_tag(words)) {
    const auto node = find_by_tag(words);
    if (!node) {
      throw Error("find", words, ENOENT, "no block device has it");
    }
    path = *node;
  }
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) {
    throw Error("find", words, errno);
  }
  if (S_ISBLK(st.st_mode)) {
    return DeviceId::from_dev_t(st.st_rdev);
  }
  if (S_ISDIR(st.st_mode)) {
    if (const auto id = device_of_mount(path)) {
      return *id;
    }
    throw Error("find", words, ENOTBLK, "not a mount point of a block device");
  }
  throw Error("find", words, ENOTBLK, "not a block device");
}

std::string device_node(DeviceId id) {
  std::error_code error;
  const fs::path sysfs = "/sys/dev/block/" + id.to_string();
  const std::string dm_name = attribute(sysfs / "dm/name");
  const fs::path canonical = fs::canonical(sysfs, error);
  std::string name = error ? std::string() : canonical.filename().string();
  std::replace(name.begin(), name.end(), '!', '/');
  for (const std::string &node : {"/dev/mapper/" + dm_name, "/dev/" + name}) {
    if (DeviceId::of_node(node) == id) {
      return node;
    }
  }
  return "/dev/block/" + id.to_string();
}

}  // namespace diffsnap::sys
