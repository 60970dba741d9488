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

/** An origin, and what is looked up elsewhere for its row. */
struct OriginRow {
  OriginInfo origin;
  std::string real_device;
  std::optional<Sectors> chunk;
};
using R = OriginRow;

/** A number of the origin's status, nothing if the status is not understood. */
const dm::OriginStatus *status_of(const OriginRow &row) {
  return std::get_if<dm::OriginStatus>(&row.origin.status);
}

const std::vector<Field<OriginRow>> &fields() {
  static const std::vector<Field<OriginRow>> table = {
      {{"name", "Origin", 8, ColumnType::text, "Device-mapper name of the origin."},
       [](const R &r) -> Cell { return r.origin.name(); }},
      {{"device", "Device", 12, ColumnType::text, "The device that users go through."},
       [](const R &r) -> Cell { return "/dev/mapper/" + r.origin.name(); }},
      {{"size", "Size", 7, ColumnType::size, "Size of the origin."},
       [](const R &r) -> Cell { return std::uint64_t{r.origin.table.length} << sector_shift; }},
      {{"real_device", "RealDevice", 10, ColumnType::text, "The device below the origin target."},
       [](const R &r) -> Cell { return r.real_device; }},
      {{"chunk", "Chunk", 6, ColumnType::size, "Unit of copy-on-write of the snapshot that holds it."},
       [](const R &r) -> Cell { return r.chunk ? Cell(std::uint64_t{*r.chunk} << sector_shift) : Cell(); }},
      {{"tracking_block", "TrackBlock", 10, ColumnType::size, "Unit of change tracking."},
       [](const R &r) -> Cell {
         return status_of(r) ? Cell(std::uint64_t{status_of(r)->tracking_block} << sector_shift) : Cell();
       }},
      {{"generation", "Generation", 10, ColumnType::text,
        "Life of its change tracker without a gap; a new one calls for a full backup."},
       [](const R &r) -> Cell { return status_of(r) ? Cell(status_of(r)->newest.generation) : Cell(); }},
      {{"change_number", "Change", 6, ColumnType::number, "Snapshots of it in this generation."},
       [](const R &r) -> Cell { return status_of(r) ? Cell(status_of(r)->newest.number) : Cell(); }},
      {{"snapshot", "Snapshot", 8, ColumnType::text, "The snapshot that holds it."},
       [](const R &r) -> Cell { return r.origin.snapshot ? Cell(*r.origin.snapshot) : Cell(); }},
      {{"state", "State", 7, ColumnType::text, "idle, added, held or invalid."},
       [](const R &r) -> Cell { return r.origin.state(); }},
      {{"stacking", "Stacking", 8, ColumnType::text,
        "live: put on a device-mapper device that was in use; plain: a device of its own."},
       [](const R &r) -> Cell { return std::string(r.origin.live ? "live" : "plain"); }},
      {{"copies", "Copies", 6, ColumnType::number, "Reads of old contents since the device was made."},
       [](const R &r) -> Cell { return status_of(r) ? Cell(status_of(r)->copies) : Cell(); }},
      {{"preserved", "Preserved", 9, ColumnType::size, "What they read."},
       [](const R &r) -> Cell {
         return status_of(r) ? Cell(std::uint64_t{status_of(r)->preserved} << sector_shift) : Cell();
       }},
      {{"held_writes", "HeldWrites", 10, ColumnType::number, "Writes that had to wait for such a read."},
       [](const R &r) -> Cell { return status_of(r) ? Cell(status_of(r)->held_writes) : Cell(); }},
      {{"devno", "DevNo", 7, ColumnType::text, "Major and minor number."},
       [](const R &r) -> Cell { return r.origin.device.id.to_string(); }},
      {{"dm_uuid", "DMUUID", 8, ColumnType::text, "Device-mapper UUID."},
       [](const R &r) -> Cell { return r.origin.device.uuid; }},
  };
  return table;
}

OriginRow row_of(const Inventory &inventory, const OriginInfo &origin) {
  OriginRow row{origin, sys::device_node(origin.table.real_device), std::nullopt};
  if (origin.snapshot) {
    if (const SnapshotInfo *snapshot = inventory.find_snapshot(*origin.snapshot)) {
      row.chunk = snapshot->table.chunk;
    }
  }
  return row;
}

}  // namespace

int run_origins(Context &context, const Invocation &invocation) {
  const Inventory inventory = read_inventory(context.device_mapper());
  std::vector<OriginRow> rows;

  for (const std::string &words : invocation.arguments()) {
    rows.push_back(row_of(inventory, select_origin(inventory, words, "report on")));
  }
  if (invocation.arguments().empty()) {
    for (const OriginInfo &origin : inventory.origins) {
      rows.push_back(row_of(inventory, origin));
    }
  }
  report(invocation, "origin", fields(),
         "name,device,size,real_device,chunk,tracking_block,generation,change_number,snapshot,state", "name",
         rows);
  return exit_done;
}

}  // namespace diffsnap::cli
