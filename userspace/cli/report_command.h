// SPDX-License-Identifier: GPL-2.0-or-later
/** @file What the report commands have in common: options, and fields that are read from a row's object. */
#ifndef DIFFSNAP_CLI_REPORT_COMMAND_H
#define DIFFSNAP_CLI_REPORT_COMMAND_H

#include <string>
#include <string_view>
#include <vector>

#include "command.h"
#include "dm/report.h"

namespace diffsnap::cli {

/** One entry of a report's field table. */
template <typename Object>
struct Field {
  dm::Column column;
  dm::Cell (*read)(const Object &object);
};

/**
 * Resolves -o: each value replaces the list, adds to it (+) or takes away from it (-), in their order. `all`
 * stands for all columns.
 */
[[nodiscard]] std::string resolve_fields(const std::vector<std::string> &values, std::string_view usual,
                                         const std::vector<dm::Column> &columns);

/** The options of a report's command line. Throws SyntaxError. */
[[nodiscard]] dm::ReportOptions report_options_of(const Invocation &invocation, std::string_view usual_fields,
                                                  std::string_view usual_sort,
                                                  const std::vector<dm::Column> &columns);

/** Prints a report of `objects`, a row each. Throws Error. */
template <typename Object>
void report(const Invocation &invocation, const std::string &name, const std::vector<Field<Object>> &fields,
            std::string_view usual_fields, std::string_view usual_sort, const std::vector<Object> &objects) {
  std::vector<dm::Column> columns;
  for (const Field<Object> &field : fields) {
    columns.push_back(field.column);
  }
  std::vector<dm::Row> rows;
  for (const Object &object : objects) {
    dm::Row &row = rows.emplace_back();
    for (const Field<Object> &field : fields) {
      row.push_back(field.read(object));
    }
  }
  dm::print_report(name, columns, rows, report_options_of(invocation, usual_fields, usual_sort, columns));
}

}  // namespace diffsnap::cli

#endif
