// SPDX-License-Identifier: GPL-2.0-or-later
#include "command.h"
#include "context.h"
#include "core/snapshot_set.h"

namespace diffsnap::cli {

int run_remove(Context &context, const Invocation &invocation) {
  // Clearing up comes last: a snapshot that was never finished is to be found by its name.
  const Environment env = context.locked_environment();
  RemoveOptions options;
  options.force = context.force();
  options.dry_run = context.dry_run();

  for (const std::string &name : invocation.arguments()) {
    remove_snapshot(env, name, options);
    if (!context.dry_run()) {
      context.done("Snapshot \"" + name + "\" removed.");
    }
  }
  context.clear_up(env);
  return exit_done;
}

}  // namespace diffsnap::cli
