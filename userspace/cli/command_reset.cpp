// SPDX-License-Identifier: GPL-2.0-or-later
#include "command.h"
#include "context.h"
#include "core/tracker.h"
#include "select.h"

namespace diffsnap::cli {

int run_reset(Context &context, const Invocation &invocation) {
  // A detach that is at work would save a tracker that is neither the old one nor the new one.
  const Environment env = context.environment_for_changes();
  const Inventory inventory = read_inventory(env.dm);

  for (const std::string &words : invocation.arguments()) {
    const OriginInfo &origin = select_origin(inventory, words, "reset");
    reset_tracker(env.dm, origin, context.dry_run());
    if (!context.dry_run()) {
      context.done("New generation of origin \"" + origin.name() + "\" begun.");
    }
  }
  return exit_done;
}

}  // namespace diffsnap::cli
