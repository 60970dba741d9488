// SPDX-License-Identifier: GPL-2.0-or-later
#include <cerrno>
#include <exception>
#include <new>

#include "base/error.h"
#include "command.h"
#include "context.h"
#include "usage.h"

namespace diffsnap::cli {
namespace {

/** A command line that names no command: `diffsnap`, `diffsnap --help`. */
int run_without_command(Context &context, const std::string &word) {
  if (word == "--help" || word == "-h") {
    print_overview(context.out());
    return exit_done;
  }
  if (word == "--version" || word == "-V") {
    return run_version(context, Invocation(*find_command("version")));
  }
  if (word.empty()) {
    print_overview(context.err());
    return exit_bad_command_line;
  }
  context.err() << "diffsnap: cannot run \"" << word << "\": no such command\n"
                << "Run `diffsnap help' for a list of commands.\n";
  return exit_no_such_command;
}

int run_command(Context &context, int argc, const char *const *argv) {
  const std::string name = argc > 1 ? argv[1] : "";
  const Command *command = find_command(name);
  if (!command) {
    return run_without_command(context, name);
  }
  const Invocation invocation = parse_command_line(*command, {argv + 2, argv + argc});
  if (invocation.has("help")) {
    print_usage(context.out(), *command);
    return exit_done;
  }
  context.configure(invocation);
  return command->run(context, invocation);
}

void print_error(Context &context, const Error &error) {
  context.err() << "diffsnap: " << error.what() << '\n';
  if (!error.hint().empty()) {
    context.err() << error.hint() << '\n';
  }
}

}  // namespace

int run_tool(Context &context, int argc, const char *const *argv) {
  try {
    const int status = run_command(context, argc, argv);
    context.out().flush();
    if (!context.out()) {
      throw Error("write", "the output", EIO);
    }
    return status;
  } catch (const SyntaxError &error) {
    print_error(context, error);
    return exit_bad_command_line;
  } catch (const InitError &error) {
    print_error(context, error);
    return exit_cannot_initialise;
  } catch (const Error &error) {
    print_error(context, error);
    return exit_failed;
  } catch (const std::bad_alloc &) {
    context.err() << "diffsnap: cannot go on: out of memory\n";
    return exit_failed;
  } catch (const std::exception &error) {
    context.err() << "diffsnap: cannot go on: " << error.what() << '\n';
    return exit_failed;
  }
}

}  // namespace diffsnap::cli
