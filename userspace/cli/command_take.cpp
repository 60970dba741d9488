// SPDX-License-Identifier: GPL-2.0-or-later
#include "command.h"
#include "context.h"
#include "core/snapshot_set.h"
#include "cutter.h"

namespace diffsnap::cli {

const std::vector<Option> take_options = {
    {"no-freeze",
     '\0',
     {},
     "Do not freeze the file systems on the origins: images are as after a power failure."},
};

int run_take(Context &context, const Invocation &invocation) {
  TakeOptions options;
  options.name = invocation.arguments().front();
  options.dry_run = context.dry_run();

  const Environment env = context.environment_for_changes();
  Cutter cutter(context, !invocation.has("no-freeze"));
  const CreateResult result = take_snapshot(env, options, cutter.freezer(), cutter.section());
  if (context.dry_run()) {
    return exit_done;
  }
  cutter.tell(result);
  context.done("Snapshot \"" + result.name + "\" taken.");
  return exit_done;
}

}  // namespace diffsnap::cli
