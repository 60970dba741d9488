// SPDX-License-Identifier: GPL-2.0-or-later
/**
 * @file
 * Reports as LVM's tools print them, through libdevmapper's dm_report. The caller gives columns and the
 * values of each row; selection, sorting and every form of output are dm_report's.
 */
#ifndef DIFFSNAP_DM_REPORT_H
#define DIFFSNAP_DM_REPORT_H

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace diffsnap::dm {

enum class ColumnType {
  text,
  list,  // of texts, shown between commas; `-S 'origins={vdb}'` looks at each
  number,
  size,     // selected and sorted by its bytes, shown in --units
  percent,  // 0 to 100
};

struct Column {
  std::string name;     // for -o, -O, -S: at most 31 characters
  std::string heading;  // at most 31 characters
  unsigned width = 0;   // at least
  ColumnType type = ColumnType::text;
  std::string help;
};

/** A number that is shown as something else than its digits. */
struct ShownNumber {
  std::uint64_t value = 0;
  std::string text;
};

/**
 * text: string; list: vector; number: uint64_t or ShownNumber; size: uint64_t, in bytes; percent: double. A
 * monostate is shown as nothing.
 */
using Cell =
    std::variant<std::monostate, std::string, std::vector<std::string>, std::uint64_t, ShownNumber, double>;

/** A cell for each column, in their order. */
using Row = std::vector<Cell>;

enum class ReportFormat { basic, json };

struct ReportOptions {
  std::string fields;     // as of -o, with every + and - resolved; "help" lists the columns
  std::string sort_keys;  // as of -O
  std::string selection;  // as of -S; empty: all
  bool headings = true;
  bool aligned = true;
  bool buffered = true;
  bool name_prefixes = false;
  bool rows = false;  // columns as rows
  std::string separator = " ";
  char units = 'h';  // see format_size()
  bool suffix = true;
  ReportFormat format = ReportFormat::basic;
};

/**
 * Prints a report to stdout.
 * @param object   what a row is, in JSON and for help: "snapshot"
 * @param columns  all there are; not empty
 * Throws Error with EINVAL and libdevmapper's words for an unknown field or a selection that is none; with
 * what write() said if stdout could not take all of it.
 */
void print_report(const std::string &object, const std::vector<Column> &columns, const std::vector<Row> &rows,
                  const ReportOptions &options);

}  // namespace diffsnap::dm

#endif
