// SPDX-License-Identifier: GPL-2.0-or-later
#include "command.h"
#include "context.h"
#include "usage.h"

namespace diffsnap::cli {

int run_help(Context &context, const Invocation &invocation) {
  if (invocation.arguments().empty()) {
    print_overview(context.out());
    return exit_done;
  }
  const std::string &name = invocation.arguments().front();
  const Command *command = find_command(name);
  if (!command) {
    context.err() << "diffsnap: cannot explain \"" << name << "\": no such command\n"
                  << "Run `diffsnap help' for a list of commands.\n";
    return exit_no_such_command;
  }
  print_usage(context.out(), *command);
  return exit_done;
}

}  // namespace diffsnap::cli
