// SPDX-License-Identifier: GPL-2.0-or-later
#include <cerrno>
#include <iomanip>

#include "base/error.h"
#include "command.h"
#include "context.h"
#include "core/tracker.h"
#include "select.h"

namespace diffsnap::cli {

const std::vector<Option> changes_options = {
    {"since", '\0', "[GENERATION:]N",
     "The snapshot to compare with, as `diffsnap origins` shows them; 0 for the beginning of the generation. "
     "The whole image if not given."},
    {"format", '\0', "FORMAT",
     "text (the default): OFFSET LENGTH; json: as `rbd diff --format json` prints it; rbd: as `rbd diff` "
     "does.",
     false, Completes::words, "text json rbd"},
};

namespace {

/** Writes ranges as they come. */
class RangeWriter {
 public:
  RangeWriter(std::ostream &out, std::string format) : out_(out), format_(std::move(format)) {}

  void write(const sys::ByteRange &range) {
    if (format_ == "json") {
      out_ << (first_ ? "[" : ",") << "{\"offset\":" << range.offset << ",\"length\":" << range.length
           << ",\"exists\":\"true\"}";
    } else if (format_ == "rbd") {
      write_row(range);
    } else {
      out_ << range.offset << ' ' << range.length << '\n';
    }
    first_ = false;
  }

  void finish() {
    if (format_ == "json") {
      out_ << (first_ ? "[]\n" : "]\n");
    }
  }

 private:
  /** Columns of a fixed width: the widest number would be known only after all of them. */
  void write_row(const sys::ByteRange &range) {
    constexpr int width = 20;
    if (first_) {
      out_ << std::left << std::setw(width) << "Offset" << ' ' << std::setw(width) << "Length"
           << " Type\n";
    }
    out_ << std::left << std::setw(width) << range.offset << ' ' << std::setw(width) << range.length
         << " data\n";
  }

  std::ostream &out_;
  std::string format_;
  bool first_ = true;
};

std::string format_of(const Invocation &invocation) {
  const std::string format = invocation.has("format") ? invocation.value("format") : "text";
  if (format != "text" && format != "json" && format != "rbd") {
    throw SyntaxError("use", "--format \"" + format + "\"", EINVAL, "the formats are text, json and rbd");
  }
  return format;
}

}  // namespace

int run_changes(Context &context, const Invocation &invocation) {
  const auto [snapshot, origin] = split_image_words(invocation.arguments().front());
  RangeWriter writer(context.out(), format_of(invocation));
  std::optional<Since> since;
  if (invocation.has("since")) {
    since = parse_since(invocation.value("since"));
  }

  dm::DeviceMapper &dm = context.environment().dm;
  const TrackedImage image = get_tracked_image(dm, snapshot, origin, "list changes of");
  std::optional<ChangeId> from;
  if (since) {
    from = resolve_since(image, *since, "list changes of");
  }
  ChangeCursor cursor(dm, image, from);
  while (const auto range = cursor.next()) {
    writer.write(*range);
  }
  // Without the snapshot the kernel answers as of now.
  check_still_in_order(dm, image, "list changes of");
  writer.finish();
  return exit_done;
}

}  // namespace diffsnap::cli
