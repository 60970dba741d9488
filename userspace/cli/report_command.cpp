// SPDX-License-Identifier: GPL-2.0-or-later
#include "report_command.h"

#include <algorithm>
#include <cerrno>

#include "base/error.h"
#include "base/size.h"
#include "base/text.h"

namespace diffsnap::cli {
namespace {

std::vector<std::string> split_fields(std::string text) {
  std::replace(text.begin(), text.end(), ',', ' ');
  std::vector<std::string> fields;

  for (std::string_view word : split_words(text)) {
    fields.emplace_back(word);
  }
  return fields;
}

std::string join(const std::vector<std::string> &words) {
  std::string text;

  for (const std::string &word : words) {
    text += (text.empty() ? "" : ",") + word;
  }
  return text;
}

char parse_units(const std::string &text) {
  if (text.size() == 1) {
    (void)format_size(0, text[0]);  // throws for an unknown one
    return text[0];
  }
  throw SyntaxError("print", "sizes", EINVAL, "there is no unit \"" + text + "\"");
}

}  // namespace

std::string resolve_fields(const std::vector<std::string> &values, std::string_view usual,
                           const std::vector<dm::Column> &columns) {
  std::vector<std::string> fields = split_fields(std::string(usual));

  for (const std::string &value : values) {
    const char sign = value.empty() ? '\0' : value.front();
    const bool changes = sign == '+' || sign == '-';
    std::vector<std::string> named;
    for (const std::string &field : split_fields(changes ? value.substr(1) : value)) {
      if (field != "all") {
        named.push_back(field);
        continue;
      }
      for (const dm::Column &column : columns) {
        named.push_back(column.name);
      }
    }
    if (!changes) {
      fields.clear();
    }
    for (const std::string &field : named) {
      const auto same = std::find(fields.begin(), fields.end(), field);
      if (sign == '-' && same != fields.end()) {
        fields.erase(same);
      } else if (sign != '-' && same == fields.end()) {
        fields.push_back(field);
      }
    }
  }
  return join(fields);
}

dm::ReportOptions report_options_of(const Invocation &invocation, std::string_view usual_fields,
                                    std::string_view usual_sort, const std::vector<dm::Column> &columns) {
  dm::ReportOptions options;

  options.fields = resolve_fields(invocation.values("options"), usual_fields, columns);
  options.sort_keys = invocation.has("sort") ? join(invocation.values("sort")) : std::string(usual_sort);
  if (invocation.has("select")) {
    options.selection = invocation.value("select");
  }
  options.headings = !invocation.has("noheadings");
  options.suffix = !invocation.has("nosuffix");
  options.buffered = !invocation.has("unbuffered");
  options.rows = invocation.has("rows");
  if (invocation.has("nameprefixes")) {
    // As lvs does: a line of assignments, to be evaluated by a shell.
    options.name_prefixes = true;
    options.aligned = false;
    options.headings = false;
  }
  if (invocation.has("separator")) {
    options.separator = invocation.value("separator");
    options.aligned = false;
  }
  if (!options.buffered) {
    options.aligned = false;
  }
  if (invocation.has("units")) {
    options.units = parse_units(invocation.value("units"));
  }
  if (invocation.has("reportformat")) {
    const std::string &format = invocation.value("reportformat");
    if (format == "json") {
      options.format = dm::ReportFormat::json;
    } else if (format != "basic") {
      throw SyntaxError("print", "the report", EINVAL, "there is no format \"" + format + "\"",
                        "The formats are basic and json.");
    }
  }
  return options;
}

}  // namespace diffsnap::cli
