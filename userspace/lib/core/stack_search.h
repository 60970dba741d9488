// SPDX-License-Identifier: GPL-2.0-or-later
/** @file What lies over and under a device, however deep. Internal to lib/core. */
#ifndef DIFFSNAP_CORE_STACK_SEARCH_H
#define DIFFSNAP_CORE_STACK_SEARCH_H

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/environment.h"
#include "core/inventory.h"
#include "sys/block_device.h"

namespace diffsnap {

/**
 * Looks for origins and stores over and under devices: through stacks of any kind, partitions, and loop
 * devices with the file systems that their files are on. As things are when the object is made.
 */
class StackSearch {
 public:
  /** @param to_attach  devices that count as origins already. @p env must outlive this object. Throws Error.
   */
  explicit StackSearch(const Environment &env, std::vector<DeviceId> to_attach = {});

  struct Below {
    /** The dm name of an origin that the device is or lies on. */
    std::optional<std::string> origin;
    /** The file of a loop device whose place cannot be told, which may be an origin. */
    std::string lost_file;
  };
  [[nodiscard]] Below origin_below(DeviceId device);
  /** The dm name of an origin that lies on @p device: writing there may hit its contents. */
  [[nodiscard]] std::optional<std::string> origin_above(const sys::BlockDeviceFacts &device);

  struct StoreAbove {
    std::string snapshot;
    /** Not empty: a loop device's file whose place cannot be told, which may be on the device. */
    std::string lost_file;
  };
  /** A snapshot whose store lies on @p device; if there is none, one whose store may. */
  [[nodiscard]] std::optional<StoreAbove> store_above(const sys::BlockDeviceFacts &device);
  [[nodiscard]] bool is_image(DeviceId device) const;

 private:
  /** Whether a device was met as such, or only as the disk of a partition: then the others are not met. */
  enum class Visit { part, whole };

  /** Whether one of @p devices lies on @p device or is it. */
  [[nodiscard]] bool lie_on(const std::vector<DeviceId> &devices, const sys::BlockDeviceFacts &device);
  [[nodiscard]] std::optional<std::string> name_of_origin(DeviceId device) const;
  std::optional<std::string> walk_down(DeviceId device, Visit how);
  std::optional<std::string> walk_down_file(const std::string &path);
  [[nodiscard]] std::optional<sys::BlockDeviceFacts> facts_if_there(DeviceId device);

  const Environment &env_;
  std::vector<DeviceId> to_attach_;
  Inventory inventory_;
  // Of the walk that is going on.
  std::map<DeviceId, Visit> visits_;
  std::string lost_file_;
};

}  // namespace diffsnap

#endif
