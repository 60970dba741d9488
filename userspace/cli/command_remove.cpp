// SPDX-License-Identifier: GPL-2.0-or-later
#include "command.h"
#include "context.h"
#include "core/snapshot_set.h"

namespace diffsnap::cli {

int run_remove(Context &context, const Invocation &invocation) {
  const Environment env = context.environment_for_changes();
  RemoveOptions options;
  options.force = context.force();
  options.dry_run = context.dry_run();

  for (const std::string &name : invocation.arguments()) {
    remove_snapshot(env, name, options);
    if (!context.dry_run()) {
      context.done("Snapshot \"" + name + "\" removed.");
    }
  }
  return exit_done;
}

}  // namespace diffsnap::cli
