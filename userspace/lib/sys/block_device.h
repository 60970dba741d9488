// SPDX-License-Identifier: GPL-2.0-or-later
/** @file What the kernel says about block devices, as an interface so that tests can invent some. */
#ifndef DIFFSNAP_SYS_BLOCK_DEVICE_H
#define DIFFSNAP_SYS_BLOCK_DEVICE_H

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/device_id.h"
#include "sys/write_evidence.h"

namespace diffsnap::sys {

struct BlockDeviceFacts {
  DeviceId id;
  /** The kernel's name: "vdb1", "dm-3". */
  std::string name;
  Sectors size = 0;
  /** Bytes. */
  unsigned logical_block = 512;
  unsigned physical_block = 512;
  bool read_only = false;
  bool zoned = false;
  bool dax = false;
  bool partition = false;
  bool partitioned = false;
  /** Backing file of a loop device, else empty. */
  std::string loop_file;
  /** Devices that lie directly on this one, and that it lies on (sysfs holders and slaves). */
  std::vector<DeviceId> holders;
  std::vector<DeviceId> slaves;
  /** A partition's disk. */
  std::optional<DeviceId> disk;
};

/** A range of a device, in bytes. */
struct ByteRange {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

class BlockDevices {
 public:
  BlockDevices() = default;
  BlockDevices(const BlockDevices &) = delete;
  BlockDevices &operator=(const BlockDevices &) = delete;
  virtual ~BlockDevices() = default;

  /** Throws Error with ENODEV if there is no such device. */
  [[nodiscard]] virtual BlockDeviceFacts facts(DeviceId id) = 0;
  /** Where it is mounted or used as swap, for messages; nothing if it is neither. */
  [[nodiscard]] virtual std::optional<std::string> usage(DeviceId id) = 0;
  /** Whether nobody has it open exclusively (tried with O_EXCL; opens nothing for long). */
  [[nodiscard]] virtual bool can_open_exclusively(DeviceId id) = 0;
  /** What libblkid finds on it ("ext4", "LVM2_member", a partition table's "dos"); nothing if it is blank. */
  [[nodiscard]] virtual std::optional<std::string> signature(DeviceId id) = 0;
  /** Makes libblkid find nothing any more in a range: what it recognises there is overwritten, and nothing
   * else. Throws Error. */
  virtual void wipe_signatures(DeviceId id, const ByteRange &range) = 0;
  /** The block device whose blocks a file has, as file_extents() counts them; nothing for tmpfs, network,
   * btrfs. Throws Error. */
  [[nodiscard]] virtual std::optional<DeviceId> device_of_file(const std::string &path) = 0;
  /** All block devices that the file system of a file uses, or of a block device's node that device; none for
   * memory and network, nothing if that cannot be told: overlay, FUSE, a file that is gone. */
  [[nodiscard]] virtual std::optional<std::vector<DeviceId>> devices_below_file(const std::string &path) = 0;
  /** Where on its device a file's contents lie; see sys/fiemap.h. Throws Error, EOPNOTSUPP if that cannot be
   * told of all of them. */
  [[nodiscard]] virtual std::vector<ByteRange> file_extents(const std::string &path) = 0;
  /**
   * Tells a device that ranges are not needed (BLKDISCARD). Throws Error, EBUSY if somebody has locked the
   * device (flock) because he needs it as it is.
   * @param check  called when the device is open and its number cannot become another one's any more; throws
   * if it is not the right one
   */
  virtual void discard(DeviceId id, const std::vector<ByteRange> &ranges,
                       const std::function<void()> &check) = 0;
  /** Whether it was written to meanwhile; see sys/write_evidence.h. */
  [[nodiscard]] virtual WriteEvidence write_evidence(DeviceId id) = 0;
  /** Whether the device of a WriteEvidence::incarnation is there. */
  [[nodiscard]] virtual bool is_present(const std::string &incarnation) = 0;
};

/** The machine's devices, read from sysfs. */
[[nodiscard]] std::unique_ptr<BlockDevices> system_block_devices();

/**
 * The block device that a user's words name: any path to a device node, a mount point, `UUID=`, `LABEL=`,
 * `PARTUUID=`, `PARTLABEL=`, or "major:minor". Throws Error (ENOENT, ENOTBLK) if there is none.
 */
[[nodiscard]] DeviceId resolve_device(const std::string &words);

/** A node that opens the device: /dev/mapper/NAME, /dev/vdb; /dev/block/MAJOR:MINOR if all else fails. */
[[nodiscard]] std::string device_node(DeviceId id);

}  // namespace diffsnap::sys

#endif
