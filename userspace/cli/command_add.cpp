// SPDX-License-Identifier: GPL-2.0-or-later
#include "command.h"
#include "context.h"
#include "core/snapshot_set.h"
#include "origin_arguments.h"

namespace diffsnap::cli {

int run_add(Context &context, const Invocation &invocation) {
  const std::string &name = invocation.arguments().front();
  const std::vector<std::string> words(invocation.arguments().begin() + 1, invocation.arguments().end());

  const Environment env = context.environment_for_changes();
  // What is wrong with the snapshot comes before anything is attached for it.
  add_origins(env, name, {}, true);
  const Origins origins = find_origins(env, read_inventory(env.dm), words);
  Attachments attachments(context, env);
  if (context.dry_run()) {
    check_attachments(env, origins);
  } else {
    attachments.add_all(origins);
  }
  add_origins(env, name, origins.all, context.dry_run());
  attachments.keep();
  if (!context.dry_run()) {
    context.done("Snapshot \"" + name + "\" has " + std::to_string(origins.all.size()) +
                 (origins.all.size() == 1 ? " origin more." : " origins more."));
  }
  return exit_done;
}

}  // namespace diffsnap::cli
