// SPDX-License-Identifier: GPL-2.0-or-later
#include "dm/report.h"

#include <libdevmapper.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdarg>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "base/device_id.h"
#include "base/error.h"
#include "base/size.h"

namespace diffsnap::dm {
namespace {

// libdevmapper's levels of messages (its log.h is not public).
constexpr int level_print = 4;
constexpr int level_error = 3;
constexpr int level_mask = 0x0f;
constexpr int level_to_stderr = 0x80;

struct Free {
  void operator()(void *memory) const noexcept { std::free(memory); }
};

/** What the callbacks from C need. libdevmapper has one logging function per process, hence one of these. */
struct Sink {
  bool trim = false;
  std::string help;   // the list of fields, which comes as warnings
  std::string error;  // the first one; the rest only says what to read
  bool lost = false;  // something, for want of memory
};
Sink *sink;

void take_message(int severity, bool to_stderr, char *text) {
  if (severity <= level_error) {
    if (sink->error.empty()) {
      sink->error = text;
    }
    return;
  }
  if (to_stderr) {
    sink->help += text;
    sink->help += '\n';
    return;
  }
  if (sink->trim) {
    std::size_t end = std::strlen(text);
    while (end > 0 && text[end - 1] == ' ') {
      text[--end] = '\0';
    }
  }
  std::puts(text);
}

// libdevmapper calls these, and no exception may pass through its frames. There is none but std::bad_alloc.

/** dm_report prints by logging. Padding behind the last column helps nobody who reads a line in a script. */
__attribute__((format(printf, 5, 6))) void report_log(int level, const char *, int, int, const char *format,
                                                      ...) {
  const int severity = level & level_mask;
  if (!sink || severity > level_print) {
    return;
  }
  char *text = nullptr;
  va_list arguments;
  va_start(arguments, format);
  const int length = vasprintf(&text, format, arguments);
  va_end(arguments);
  if (length < 0) {
    return;
  }
  const std::unique_ptr<char, Free> owner(text);
  try {
    take_message(severity, (level & level_to_stderr) != 0, text);
  } catch (...) {
    // print_report() says 'out of memory' where there is no message.
    sink->lost = true;
  }
}

using ReportFunction = int (*)(dm_report *, dm_pool *, dm_report_field *, const void *, void *);

/** A function for dm_report, which takes 0 for a failure. */
template <ReportFunction function>
int guarded(dm_report *report, dm_pool *pool, dm_report_field *field, const void *data,
            void *private_data) noexcept {
  try {
    return function(report, pool, field, data, private_data);
  } catch (...) {
    return 0;
  }
}

/** Directs libdevmapper's messages to a sink. Afterwards they are discarded, as DeviceMapper has it. */
class LogRedirection {
 public:
  explicit LogRedirection(Sink &target) {
    sink = &target;
    dm_log_with_errno_init(report_log);
  }
  LogRedirection(const LogRedirection &) = delete;
  LogRedirection &operator=(const LogRedirection &) = delete;
  ~LogRedirection() { sink = nullptr; }
};

struct ReportDeleter {
  void operator()(dm_report *report) const noexcept { dm_report_free(report); }
};
using UniqueReport = std::unique_ptr<dm_report, ReportDeleter>;

struct GroupDeleter {
  void operator()(dm_report_group *group) const noexcept { dm_report_group_destroy(group); }
};
using UniqueGroup = std::unique_ptr<dm_report_group, GroupDeleter>;

/** Copies into the report's pool; null without memory. */
template <typename T>
T *pool_copy(dm_pool *pool, const T &value) {
  void *memory = dm_pool_alloc(pool, sizeof(T));
  return memory ? new (memory) T(value) : nullptr;
}

/** @param sort_value  of the type that dm_report expects for the field's */
template <typename Number>
int set_number(dm_pool *pool, dm_report_field *field, const std::string &text, Number sort_value) {
  const char *shown = dm_pool_strdup(pool, text.c_str());
  const Number *sorted = pool_copy(pool, sort_value);
  if (!shown || !sorted) {
    return 0;
  }
  dm_report_field_set_value(field, shown, sorted);
  return 1;
}

int set_text(dm_report *report, dm_report_field *field, const std::string &text) {
  const char *data = text.c_str();
  return dm_report_field_string(report, field, &data);
}

int set_list(dm_report *report, dm_pool *pool, dm_report_field *field,
             const std::vector<std::string> &texts) {
  dm_list head;
  dm_list_init(&head);
  for (const std::string &text : texts) {
    auto *item = static_cast<dm_str_list *>(dm_pool_zalloc(pool, sizeof(dm_str_list)));
    const char *copy = dm_pool_strdup(pool, text.c_str());
    if (!item || !copy) {
      return 0;
    }
    item->str = copy;
    dm_list_add(&head, &item->list);
  }
  return dm_report_field_string_list(report, field, &head, ",");
}

int report_text(dm_report *report, dm_pool *, dm_report_field *field, const void *data, void *) {
  const auto *text = std::get_if<std::string>(static_cast<const Cell *>(data));
  return set_text(report, field, text ? *text : std::string());
}

int report_list(dm_report *report, dm_pool *pool, dm_report_field *field, const void *data, void *) {
  const auto *texts = std::get_if<std::vector<std::string>>(static_cast<const Cell *>(data));
  return set_list(report, pool, field, texts ? *texts : std::vector<std::string>());
}

int report_number(dm_report *, dm_pool *pool, dm_report_field *field, const void *data, void *) {
  const Cell &cell = *static_cast<const Cell *>(data);
  if (const auto *number = std::get_if<std::uint64_t>(&cell)) {
    return set_number(pool, field, std::to_string(*number), *number);
  }
  if (const auto *number = std::get_if<ShownNumber>(&cell)) {
    return set_number(pool, field, number->text, number->value);
  }
  return set_number(pool, field, {}, std::uint64_t{0});
}

int report_size(dm_report *, dm_pool *pool, dm_report_field *field, const void *data, void *private_data) {
  // Sectors, as a double, whatever libdevmapper.h says.
  const auto &options = *static_cast<const ReportOptions *>(private_data);
  const auto *bytes = std::get_if<std::uint64_t>(static_cast<const Cell *>(data));
  if (!bytes) {
    return set_number(pool, field, {}, 0.0);
  }
  return set_number(pool, field, format_size(*bytes, options.units, options.suffix),
                    static_cast<double>(*bytes >> sector_shift));
}

int report_percent(dm_report *report, dm_pool *, dm_report_field *field, const void *data, void *) {
  const auto *percent = std::get_if<double>(static_cast<const Cell *>(data));
  const dm_percent_t value =
      percent ? static_cast<dm_percent_t>(*percent * static_cast<double>(DM_PERCENT_1)) : DM_PERCENT_INVALID;
  return dm_report_field_percent(report, field, &value);
}

struct TypeOfColumn {
  std::uint32_t flags;
  ReportFunction function;
};

/**
 * The type flag alone: with an alignment beside it dm_report cannot parse selections any more. Texts are
 * aligned to the left and numbers to the right as it is.
 */
TypeOfColumn type_of(ColumnType type) {
  switch (type) {
    case ColumnType::list:
      return {DM_REPORT_FIELD_TYPE_STRING_LIST, guarded<report_list>};
    case ColumnType::number:
      return {DM_REPORT_FIELD_TYPE_NUMBER, guarded<report_number>};
    case ColumnType::size:
      return {DM_REPORT_FIELD_TYPE_SIZE, guarded<report_size>};
    case ColumnType::percent:
      return {DM_REPORT_FIELD_TYPE_PERCENT, guarded<report_percent>};
    case ColumnType::text:
      break;
  }
  return {DM_REPORT_FIELD_TYPE_STRING, guarded<report_text>};
}

/** dm_report asks for the object of a row, and adds the field's offset to it. */
void *object_of_row(void *row) {
  return static_cast<Row *>(row)->data();
}

constexpr std::uint32_t row_type = 1;

using FieldTypes = std::unique_ptr<dm_report_field_type, Free>;

/** Fills one of the text arrays of a dm_report_field_type, which C declares const. */
void set_name(dm_report_field_type *entry, std::size_t offset, std::size_t size, const std::string &text) {
  text.copy(reinterpret_cast<char *>(entry) + offset, size - 1);
}

/** The array that dm_report wants, with an all-zero entry at its end. */
FieldTypes field_types(const std::vector<Column> &columns) {
  // Not constructed: its const members leave C++ no constructor for it.
  FieldTypes types(
      static_cast<dm_report_field_type *>(std::calloc(columns.size() + 1, sizeof(dm_report_field_type))));
  if (!types) {
    throw std::bad_alloc();
  }
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const Column &column = columns[i];
    const TypeOfColumn type = type_of(column.type);
    dm_report_field_type *entry = types.get() + i;
    entry->type = row_type;
    entry->flags = type.flags;
    entry->offset = static_cast<std::uint32_t>(i * sizeof(Cell));
    entry->width = static_cast<std::int32_t>(std::max<std::size_t>(column.width, column.heading.size()));
    set_name(entry, offsetof(dm_report_field_type, id), sizeof(entry->id), column.name);
    set_name(entry, offsetof(dm_report_field_type, heading), sizeof(entry->heading), column.heading);
    entry->report_fn = type.function;
    entry->desc = column.help.c_str();
  }
  return types;
}

std::uint32_t output_flags(const ReportOptions &options) {
  std::uint32_t flags = 0;
  flags |= options.aligned ? DM_REPORT_OUTPUT_ALIGNED : 0U;
  flags |= options.buffered ? DM_REPORT_OUTPUT_BUFFERED : 0U;
  flags |= options.headings ? DM_REPORT_OUTPUT_HEADINGS : 0U;
  flags |= options.name_prefixes ? DM_REPORT_OUTPUT_FIELD_NAME_PREFIX : 0U;
  flags |= options.rows ? DM_REPORT_OUTPUT_COLUMNS_AS_ROWS : 0U;
  return flags;
}

/** Now, while it can be told: what stdio cannot get rid of when the process ends is lost in silence. */
void write_out() {
  errno = 0;
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    throw Error("write", "the output", errno != 0 ? errno : EIO);
  }
}

}  // namespace

void print_report(const std::string &object, const std::vector<Column> &columns, const std::vector<Row> &rows,
                  const ReportOptions &options) {
  std::string description = object;  // shown as "Snapshot Fields"
  description.front() = static_cast<char>(std::toupper(static_cast<unsigned char>(description.front())));
  const dm_report_object_type objects[] = {{row_type, description.c_str(), "", object_of_row},
                                           {0, nullptr, nullptr, nullptr}};
  const auto types = field_types(columns);
  ReportOptions options_of_callbacks = options;
  const bool json = options.format == ReportFormat::json;
  Sink messages;
  messages.trim = options.aligned && !json;
  const LogRedirection redirection(messages);

  const auto check = [&](bool good) {
    if (!good || messages.lost) {
      throw Error("report on", object + "s", EINVAL,
                  messages.error.empty() ? "out of memory" : messages.error);
    }
  };

  // dm_report wants a non-zero value here, and leaves in it the types that the fields need.
  std::uint32_t report_types = row_type;
  const UniqueReport report(dm_report_init_with_selection(
      &report_types, objects, types.get(), options.fields.c_str(), options.separator.c_str(),
      output_flags(options), options.sort_keys.c_str(), options.selection.c_str(), nullptr,
      &options_of_callbacks));
  check(report != nullptr);
  // Before anything is written: without a prefix, writing prefixed names crashes.
  check(dm_report_set_output_field_name_prefix(report.get(), "DIFFSNAP_") != 0);
  if (report_types == 0 || options.fields == "help" || options.fields == "?" || options.selection == "help") {
    std::fputs(messages.help.c_str(), stdout);  // asked for: it is data then
    write_out();
    return;
  }

  UniqueGroup group(json ? dm_report_group_create(DM_REPORT_GROUP_JSON, nullptr) : nullptr);
  if (json) {
    check(group != nullptr);
    // The same two levels as lvs has: {"report":[{"snapshot":[...]}]}
    char outer[] = "report";
    check(dm_report_group_push(group.get(), nullptr, outer) != 0);
    check(dm_report_group_push(group.get(), report.get(), const_cast<char *>(object.c_str())) != 0);
  }
  for (Row row : rows) {
    check(dm_report_object(report.get(), &row) != 0);
  }
  if (json) {
    // Writes everything: to call dm_report_output() as well would print the rows twice.
    check(dm_report_group_destroy(group.release()) != 0);
  } else if (options.buffered) {
    check(dm_report_output(report.get()) != 0);
  }
  write_out();
}

}  // namespace diffsnap::dm
