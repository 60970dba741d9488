// SPDX-License-Identifier: GPL-2.0-or-later
#include <variant>

#include "command.h"
#include "context.h"
#include "core/inventory.h"
#include "report_command.h"
#include "select.h"

namespace diffsnap::cli {
namespace {

using dm::Cell;
using dm::ColumnType;
using I = ImageInfo;

/** A number of the image's status in bytes, nothing if the status is not understood. */
Cell read_bytes(const ImageInfo &image, Sectors dm::ImageStatus::*number) {
  const auto *status = std::get_if<dm::ImageStatus>(&image.status);
  return status ? Cell(std::uint64_t{status->*number} << sector_shift) : Cell();
}

const std::vector<Field<ImageInfo>> &fields() {
  static const std::vector<Field<ImageInfo>> table = {
      {{"snapshot", "Snapshot", 8, ColumnType::text, "Name of the snapshot."},
       [](const I &i) -> Cell { return i.snapshot; }},
      {{"origin", "Origin", 8, ColumnType::text, "Name of the origin."},
       [](const I &i) -> Cell { return i.origin_name; }},
      {{"path", "Path", 20, ColumnType::text, "The device to read the image from."},
       [](const I &i) -> Cell { return i.path; }},
      {{"size", "Size", 7, ColumnType::size, "Size of the image."},
       [](const I &i) -> Cell { return std::uint64_t{i.table.length} << sector_shift; }},
      {{"preserved", "Preserved", 9, ColumnType::size, "Old contents that the store keeps."},
       [](const I &i) { return read_bytes(i, &dm::ImageStatus::preserved); }},
      {{"written", "Written", 8, ColumnType::size, "Contents written to the image."},
       [](const I &i) { return read_bytes(i, &dm::ImageStatus::written); }},
      {{"released", "Released", 8, ColumnType::size, "Released by discards: reads as zeroes."},
       [](const I &i) { return read_bytes(i, &dm::ImageStatus::released); }},
      {{"state", "State", 8, ColumnType::text, "active, invalid or dropped."},
       [](const I &i) -> Cell { return i.state(); }},
      {{"open", "Open", 4, ColumnType::number, "How often it is open."},
       [](const I &i) -> Cell {
         return static_cast<std::uint64_t>(i.device.open_count > 0 ? i.device.open_count : 0);
       }},
      {{"devno", "DevNo", 7, ColumnType::text, "Major and minor number."},
       [](const I &i) -> Cell { return i.device.id.to_string(); }},
      {{"dm_name", "DMName", 8, ColumnType::text, "Device-mapper name."},
       [](const I &i) -> Cell { return i.device.name; }},
      {{"dm_uuid", "DMUUID", 8, ColumnType::text, "Device-mapper UUID."},
       [](const I &i) -> Cell { return i.device.uuid; }},
  };
  return table;
}

}  // namespace

int run_images(Context &context, const Invocation &invocation) {
  const Inventory inventory = read_inventory(context.device_mapper());
  std::vector<ImageInfo> images;
  for (const SnapshotInfo &snapshot : select_snapshots(inventory, invocation.arguments())) {
    images.insert(images.end(), snapshot.images.begin(), snapshot.images.end());
  }
  report(invocation, "image", fields(), "snapshot,origin,path,size,preserved,released,state",
         "snapshot,origin", images);
  return exit_done;
}

}  // namespace diffsnap::cli
