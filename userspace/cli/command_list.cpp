// SPDX-License-Identifier: GPL-2.0-or-later
#include <array>
#include <chrono>
#include <ctime>

#include "command.h"
#include "context.h"
#include "core/inventory.h"
#include "report_command.h"
#include "select.h"

namespace diffsnap::cli {
namespace {

using dm::Cell;
using dm::ColumnType;
using dm::ShownNumber;

/** Days, hours and minutes as far as they matter. */
std::string age_text(std::uint64_t seconds) {
  const std::uint64_t days = seconds / 86400;
  const std::uint64_t hours = seconds / 3600 % 24;
  const std::uint64_t minutes = seconds / 60 % 60;

  if (days > 0) {
    return std::to_string(days) + "d" + std::to_string(hours) + "h";
  }
  if (hours > 0) {
    return std::to_string(hours) + "h" + std::to_string(minutes) + "m";
  }
  if (minutes > 0) {
    return std::to_string(minutes) + "m" + std::to_string(seconds % 60) + "s";
  }
  return std::to_string(seconds) + "s";
}

Cell read_age(const SnapshotInfo &snapshot) {
  if (!snapshot.created) {
    return {};
  }
  const auto age = std::chrono::system_clock::now() - *snapshot.created;
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(age).count();
  const std::uint64_t value = seconds > 0 ? static_cast<std::uint64_t>(seconds) : 0;
  return ShownNumber{value, age_text(value)};
}

Cell read_created(const SnapshotInfo &snapshot) {
  if (!snapshot.created) {
    return {};
  }
  const std::time_t time = std::chrono::system_clock::to_time_t(*snapshot.created);
  std::tm parts{};
  std::array<char, 64> text{};
  localtime_r(&time, &parts);
  std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S %z", &parts);
  return std::string(text.data());
}

/** A number of the store's status in bytes, nothing if the status is not understood. */
template <typename Read>
Cell read_bytes(const SnapshotInfo &snapshot, Read read) {
  const dm::StoreNumbers *numbers = snapshot.numbers();
  return numbers ? Cell(static_cast<std::uint64_t>(read(*numbers)) << sector_shift) : Cell();
}

Cell read_percent(const SnapshotInfo &snapshot) {
  const dm::StoreNumbers *numbers = snapshot.numbers();
  if (!numbers || numbers->size == 0) {
    return {};
  }
  return 100.0 * static_cast<double>(numbers->used) / static_cast<double>(numbers->size);
}

Cell read_closed(const SnapshotInfo &snapshot) {
  const dm::StoreNumbers *numbers = snapshot.numbers();
  if (!numbers) {
    return {};
  }
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(numbers->closed).count());
}

using S = SnapshotInfo;

const std::vector<Field<SnapshotInfo>> &fields() {
  static const std::vector<Field<SnapshotInfo>> table = {
      {{"name", "Snapshot", 8, ColumnType::text, "Name of the snapshot."},
       [](const S &s) -> Cell { return s.name; }},
      {{"uuid", "UUID", 32, ColumnType::text, "Its identity: 32 hexadecimal digits."},
       [](const S &s) -> Cell { return s.id; }},
      {{"age", "Age", 4, ColumnType::number, "Time since it was made; selected by seconds."}, read_age},
      {{"created", "Created", 25, ColumnType::text, "When it was made."}, read_created},
      {{"state", "State", 8, ColumnType::text, "new, active, low, overflow, invalid or dropped."},
       [](const S &s) -> Cell { return s.state(); }},
      {{"reason", "Reason", 8, ColumnType::text, "Why it was given up."},
       [](const S &s) -> Cell { return s.reason() ? Cell(s.reason()->to_string()) : Cell(); }},
      {{"size", "Size", 7, ColumnType::size, "Size of its store."},
       [](const S &s) { return read_bytes(s, [](const dm::StoreNumbers &n) { return n.size; }); }},
      {{"used", "Used", 7, ColumnType::size, "Space of the store in use."},
       [](const S &s) { return read_bytes(s, [](const dm::StoreNumbers &n) { return n.used; }); }},
      {{"free", "Free", 7, ColumnType::size, "Space of the store that is free."},
       [](const S &s) { return read_bytes(s, [](const dm::StoreNumbers &n) { return n.size - n.used; }); }},
      {{"percent", "Use%", 6, ColumnType::percent, "Space of the store in use, of a hundred."}, read_percent},
      {{"buffered", "Buffer", 7, ColumnType::size, "Old contents in memory, on their way to the store."},
       [](const S &s) { return read_bytes(s, [](const dm::StoreNumbers &n) { return n.buffered; }); }},
      {{"low_water", "LowWater", 8, ColumnType::size, "With less free than this the state is low."},
       [](const S &s) { return read_bytes(s, [](const dm::StoreNumbers &n) { return n.low_water; }); }},
      {{"chunk", "Chunk", 6, ColumnType::size, "Unit of copy-on-write."},
       [](const S &s) -> Cell { return std::uint64_t{s.table.chunk} << sector_shift; }},
      {{"closed", "Closed", 8, ColumnType::number, "Microseconds that writes were held for the cut."},
       read_closed},
      {{"origins", "Origins", 8, ColumnType::list, "Names of its origins."},
       [](const S &s) -> Cell { return s.origin_names; }},
      {{"events", "Events", 6, ColumnType::number, "Number of the last event, for wait --event."},
       [](const S &s) -> Cell { return std::uint64_t{s.device.event_number}; }},
      {{"dm_name", "DMName", 8, ColumnType::text, "Device-mapper name of the store."},
       [](const S &s) -> Cell { return s.device.name; }},
      {{"dm_uuid", "DMUUID", 8, ColumnType::text, "Device-mapper UUID of the store."},
       [](const S &s) -> Cell { return s.device.uuid; }},
  };
  return table;
}

}  // namespace

int run_list(Context &context, const Invocation &invocation) {
  const Inventory inventory = read_inventory(context.device_mapper());
  report(invocation, "snapshot", fields(), "name,uuid,age,state,size,used,percent,origins", "name",
         select_snapshots(inventory, invocation.arguments()));
  return exit_done;
}

}  // namespace diffsnap::cli
