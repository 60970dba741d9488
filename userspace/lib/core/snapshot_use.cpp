// SPDX-License-Identifier: GPL-2.0-or-later
#include <cerrno>

#include "core/snapshot_set.h"
#include "sys/block_device.h"

namespace diffsnap {

void release_ranges(const Environment &env, const ImageInfo &image,
                    const std::vector<sys::ByteRange> &ranges) {
  const SnapshotInfo snapshot = get_snapshot(env.dm, image.snapshot, "release ranges of");
  const std::uint64_t chunk = snapshot.table.chunk << sector_shift;
  const std::uint64_t size = image.table.length << sector_shift;
  std::vector<sys::ByteRange> whole;
  for (const sys::ByteRange &range : ranges) {
    if (range.offset > size || range.length > size - range.offset) {
      throw Error("release", "a range of " + image.path, EINVAL,
                  std::to_string(range.offset) + '+' + std::to_string(range.length) +
                      " ends beyond the end, at " + std::to_string(size) + " bytes");
    }
    // A chunk is released as a whole or not at all; the last one may be short.
    const std::uint64_t end = range.offset + range.length;
    const std::uint64_t first = (range.offset + chunk - 1) / chunk * chunk;
    const std::uint64_t last = end == size ? end : end / chunk * chunk;
    if (first < last) {
      whole.push_back({first, last - first});
    }
  }
  env.devices.discard(image.device.id, whole, [&] {
    const auto now = env.dm.info(image.device.id);
    if (!now || now->uuid != image.device.uuid) {
      throw Error("release", "ranges of " + image.path, ENODEV, "the image was removed meanwhile");
    }
  });
}

std::optional<SnapshotEvent> wait_for_event(const Environment &env, const std::string &name,
                                            std::optional<std::uint32_t> known,
                                            std::optional<std::chrono::milliseconds> timeout) {
  const SnapshotInfo before = get_snapshot(env.dm, name, "wait for");
  const auto number =
      env.dm.wait_event(before.device.name, known.value_or(before.device.event_number), timeout);
  if (!number) {
    return std::nullopt;
  }
  return SnapshotEvent{*number, get_snapshot(env.dm, name, "wait for")};
}

}  // namespace diffsnap
