// SPDX-License-Identifier: GPL-2.0-or-later
#include <cerrno>

#include "base/error.h"
#include "base/size.h"
#include "command.h"
#include "context.h"
#include "core/snapshot_set.h"
#include "core/store_plan.h"
#include "select.h"

namespace diffsnap::cli {

int run_release(Context &context, const Invocation &invocation) {
  const std::vector<std::string> &arguments = invocation.arguments();
  const auto [snapshot, origin] = split_image_words(arguments.front());
  std::vector<sys::ByteRange> ranges;
  for (std::size_t i = 1; i < arguments.size(); ++i) {
    ranges.push_back(
        parse_byte_range(arguments[i], [](std::string_view text) { return parse_size(text, 1); }));
  }

  const Environment env = context.environment();
  const Inventory inventory = read_inventory(env.dm);
  const ImageInfo *image = inventory.find_image(snapshot, origin);
  const std::string object = "ranges of image \"" + arguments.front() + "\"";
  if (!image) {
    throw Error("release", object, ENOENT, "there is no such image");
  }
  for (const sys::ByteRange &range : ranges) {
    const std::uint64_t size = image->table.length << sector_shift;
    if (range.offset > size || range.length > size - range.offset) {
      throw Error("release", object, EINVAL, "a range ends beyond its end, at " + std::to_string(size));
    }
  }
  if (context.dry_run()) {
    return exit_done;
  }
  release_ranges(env, *image, ranges);
  context.done("Ranges of image \"" + arguments.front() + "\" released.");
  return exit_done;
}

}  // namespace diffsnap::cli
