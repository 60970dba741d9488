// SPDX-License-Identifier: GPL-2.0-or-later
#include <cerrno>

#include "base/error.h"
#include "base/size.h"
#include "command.h"
#include "context.h"
#include "core/store_plan.h"
#include "core/tracker.h"
#include "select.h"

namespace diffsnap::cli {

namespace {

/** A device whose name looks like this stands before the ranges. */
bool looks_like_a_range(std::string_view word) {
  return !word.empty() && word.front() >= '0' && word.front() <= '9' &&
         word.find('+') != std::string_view::npos && word.find('/') == std::string_view::npos;
}

}  // namespace

const std::vector<Option> mark_options = {
    {"range",
     '\0',
     "OFFSET+LENGTH...",
     "Ranges of the origin, in bytes where no unit is given.",
     true,
     Completes::nothing,
     {},
     looks_like_a_range},
    {"file", '\0', "PATH",
     "The blocks that a file's contents lie in. Its file system, ext2, ext3, ext4 or XFS, must lie directly "
     "on "
     "the origin.",
     true},
};

int run_mark(Context &context, const Invocation &invocation) {
  const std::string &words = invocation.arguments().front();
  std::vector<sys::ByteRange> ranges;
  for (const std::string &text : invocation.values("range")) {
    ranges.push_back(parse_byte_range(text, [](std::string_view size) { return parse_size(size, 1); }));
  }
  if (ranges.empty() && !invocation.has("file")) {
    throw SyntaxError("read", "the command line", EINVAL, "nothing is given to mark",
                      "Use --range OFFSET+LENGTH or --file PATH; see diffsnap-mark(8).");
  }

  // A detach that is at work would save a tracker that is neither the old one nor the new one.
  const Environment env = context.environment_for_changes();
  const Inventory inventory = read_inventory(env.dm);
  const OriginInfo &origin = select_origin(inventory, words, "mark");
  for (const std::string &path : invocation.values("file")) {
    const std::vector<sys::ByteRange> extents = ranges_of_file(env, origin, path);
    ranges.insert(ranges.end(), extents.begin(), extents.end());
  }
  mark_ranges(env.dm, origin, ranges, context.dry_run());
  if (context.dry_run()) {
    return exit_done;
  }
  context.done("Blocks of origin \"" + origin.name() + "\" marked.");
  return exit_done;
}

}  // namespace diffsnap::cli
