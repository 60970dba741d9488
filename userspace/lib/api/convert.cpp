// SPDX-License-Identifier: GPL-2.0-or-later
#include "api/convert.h"

#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "sys/block_device.h"

namespace diffsnap::api {

namespace {

v0::ChangeId to_public(const ChangeId &id) {
  return {id.generation, id.number};
}

/** The kernel knows an image's number only as the newest one of the origin that its snapshot holds. */
std::optional<v0::ChangeId> id_of_image(const Inventory &inventory, const ImageInfo &image) {
  const OriginInfo *origin = inventory.find_origin(image.table.origin);
  const auto *status = origin != nullptr ? std::get_if<dm::OriginStatus>(&origin->status) : nullptr;
  if (status == nullptr || status->state != dm::OriginState::held || status->store != image.table.store) {
    return std::nullopt;
  }
  return to_public(status->newest);
}

v0::SnapshotState to_public(dm::StoreState state) {
  switch (state) {
    case dm::StoreState::fresh:
      return v0::SnapshotState::fresh;
    case dm::StoreState::active:
      return v0::SnapshotState::active;
    case dm::StoreState::low:
      return v0::SnapshotState::low;
    case dm::StoreState::overflow:
      return v0::SnapshotState::overflow;
    case dm::StoreState::invalid:
      return v0::SnapshotState::invalid;
    case dm::StoreState::dropped:
      return v0::SnapshotState::dropped;
  }
  return v0::SnapshotState::unknown;
}

v0::SnapshotState state_of(const dm::AnyStoreStatus &status) {
  if (const auto *working = std::get_if<dm::WorkingStore>(&status)) {
    return to_public(working->state);
  }
  if (const auto *ended = std::get_if<dm::EndedStore>(&status)) {
    return to_public(ended->state);
  }
  return v0::SnapshotState::unknown;
}

}  // namespace

v0::Origin to_public(const OriginInfo &origin) {
  v0::Origin result;
  result.name = origin.name();
  result.path = "/dev/mapper/" + origin.name();
  result.size = std::uint64_t{origin.table.length} << sector_shift;
  if (const auto *status = std::get_if<dm::OriginStatus>(&origin.status)) {
    result.tracking_block = status->tracking_block << sector_shift;
    result.newest = to_public(status->newest);
  }
  result.snapshot = origin.snapshot.value_or(std::string());
  return result;
}

v0::Image to_public(const Inventory &inventory, const ImageInfo &image) {
  v0::Image result;
  result.snapshot = image.snapshot;
  result.origin = image.origin_name;
  // The name is udev's work, and there may be no udev.
  result.path = ::access(image.path.c_str(), F_OK) == 0 ? image.path : sys::device_node(image.device.id);
  result.size = std::uint64_t{image.table.length} << sector_shift;
  result.id = id_of_image(inventory, image);
  return result;
}

v0::Snapshot to_public(const Inventory &inventory, const SnapshotInfo &snapshot) {
  v0::Snapshot result;
  result.name = snapshot.name;
  result.id = snapshot.id;
  result.created = snapshot.created;
  result.state = state_of(snapshot.status);
  if (const auto reason = snapshot.reason()) {
    result.reason = reason->explain();
  }
  if (const dm::StoreNumbers *numbers = snapshot.numbers()) {
    result.store_size = numbers->size << sector_shift;
    result.store_used = numbers->used << sector_shift;
  }
  result.event = snapshot.device.event_number;
  for (const ImageInfo &image : snapshot.images) {
    result.images.push_back(to_public(inventory, image));
  }
  return result;
}

std::vector<StoreSpec> to_internal(const std::vector<v0::Store> &stores) {
  std::vector<StoreSpec> specs;
  for (const v0::Store &store : stores) {
    StoreSpec spec;
    spec.device = store.device;
    if (store.range) {
      spec.offset = store.range->offset;
      spec.length = store.range->length;
    }
    specs.push_back(std::move(spec));
  }
  return specs;
}

Sectors to_sectors(std::uint64_t bytes, const std::string &what) {
  if (bytes % sector_size != 0) {
    throw SyntaxError("use " + what, std::to_string(bytes), EINVAL,
                      "it is no multiple of " + std::to_string(sector_size) + " bytes");
  }
  return bytes >> sector_shift;
}

}  // namespace diffsnap::api
