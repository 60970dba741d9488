// SPDX-License-Identifier: GPL-2.0-or-later
/**
 * @file
 * Table lines as device-mapper has them, and a value type for each target that diffsnap loads. Each
 * both prints and parses its line: parse(print(x)) == x.
 *
 * The format of the lines is documented in dm-target/dm-diffsnap.rst.
 */
#ifndef DIFFSNAP_DM_TABLE_H
#define DIFFSNAP_DM_TABLE_H

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/device_id.h"

namespace diffsnap::dm {

/** One line of a table or of a status: `<start> <length> <target> <params>`. */
struct TableLine {
  Sectors start = 0;
  Sectors length = 0;
  std::string target;
  std::string params;

  /** As dmsetup prints it. May hold a key if the table was read so: not for logs. */
  [[nodiscard]] std::string to_string() const;
  /** The reverse of to_string(); nothing if the text is no table line. */
  [[nodiscard]] static std::optional<TableLine> parse(std::string_view text);
};
[[nodiscard]] bool operator==(const TableLine &a, const TableLine &b) noexcept;

/** The lines of a device, ascending and without gaps. */
using Table = std::vector<TableLine>;

/** The sectors that a table maps, from 0 to the end of its last line. */
[[nodiscard]] Sectors table_length(const Table &table) noexcept;

/** Drops what a table maps beyond @p length. Of the line there, its target must be one that a shorter line
 * needs no other parameters for, as linear. */
void truncate(Table &table, Sectors length) noexcept;

/** Overwrites the parameters of all lines, for tables that hold keys. Never throws. */
void wipe(Table &table) noexcept;

/** Wipes a table when the scope ends, in whichever way. Holds a reference only. */
class WipeOnExit {
 public:
  explicit WipeOnExit(Table &table) noexcept : table_(table) {}
  WipeOnExit(const WipeOnExit &) = delete;
  WipeOnExit &operator=(const WipeOnExit &) = delete;
  ~WipeOnExit() { wipe(table_); }

 private:
  Table &table_;
};

/** `diffsnap-origin <real device> [<#feature args> [<feature arg>]...]` */
struct OriginTable {
  static constexpr std::string_view target = "diffsnap-origin";
  Sectors length = 0;
  DeviceId real_device;
  /** Unit of change tracking. Absent: the kernel's default, and nothing in the line. */
  std::optional<Sectors> tracking_block = std::nullopt;

  [[nodiscard]] TableLine line() const;
  /** Nothing if the line is of another target or malformed. The same for all types below. */
  [[nodiscard]] static std::optional<OriginTable> parse(const TableLine &line);
};

/** What becomes of first writes when the store is full. */
struct OnFull {
  /** How long they are held, waiting for growth; zero: the snapshot is given up at once. */
  std::chrono::milliseconds wait{0};
};

/** `diffsnap-store <device> <chunk size> [<#feature args> [<feature arg>]...]` */
struct StoreTable {
  static constexpr std::string_view target = "diffsnap-store";
  Sectors length = 0;
  DeviceId device;
  Sectors chunk = 8;
  // Absent means: the kernel's default, and nothing in the line.
  std::optional<Sectors> low_water;
  std::optional<Sectors> buffer;
  std::optional<std::chrono::milliseconds> store_timeout;
  std::optional<OnFull> on_full;

  [[nodiscard]] TableLine line() const;
  [[nodiscard]] static std::optional<StoreTable> parse(const TableLine &line);
};

/** `diffsnap-image <store device> <origin device>` */
struct ImageTable {
  static constexpr std::string_view target = "diffsnap-image";
  Sectors length = 0;
  DeviceId store;
  DeviceId origin;

  [[nodiscard]] TableLine line() const;
  [[nodiscard]] static std::optional<ImageTable> parse(const TableLine &line);
};

/** `linear <device> <offset>`, one range of a store's data device. */
struct LinearTable {
  static constexpr std::string_view target = "linear";
  Sectors start = 0;
  Sectors length = 0;
  DeviceId device;
  Sectors offset = 0;

  [[nodiscard]] TableLine line() const;
  [[nodiscard]] static std::optional<LinearTable> parse(const TableLine &line);
};

[[nodiscard]] bool operator==(const OriginTable &a, const OriginTable &b) noexcept;
[[nodiscard]] bool operator==(const StoreTable &a, const StoreTable &b) noexcept;
[[nodiscard]] bool operator==(const ImageTable &a, const ImageTable &b) noexcept;
[[nodiscard]] bool operator==(const LinearTable &a, const LinearTable &b) noexcept;

}  // namespace diffsnap::dm

#endif
