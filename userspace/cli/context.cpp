// SPDX-License-Identifier: GPL-2.0-or-later
#include "context.h"

#include <unistd.h>

#include <cerrno>
#include <iostream>

#include "base/error.h"
#include "command.h"
#include "core/leftovers.h"

namespace diffsnap::cli {

void Context::configure(const Invocation &invocation) {
  quiet_ = invocation.has("quiet");
  verbose_ = invocation.has("verbose");
  dry_run_ = invocation.has("test");
  force_ = invocation.has("force");
  yes_ = invocation.has("yes");
  if (dry_run_) {
    err_ << "  TEST MODE: everything is checked, nothing will be changed.\n";
  }
}

Environment Context::locked_environment() {
  const Environment env = environment();
  if (!dry_run_ && !lock_) {
    lock_ = machine_.lock_changes([this] {
      if (!quiet_) {
        err_ << "  Waiting for another command that changes devices." << std::endl;
      }
    });
  }
  return env;
}

void Context::clear_up(const Environment &env) {
  if (!lock_) {
    return;
  }
  for (const std::string &name : remove_leftovers(env)) {
    explain("Removed what an interrupted command left of \"" + name + "\".");
  }
}

Environment Context::environment_for_changes() {
  const Environment env = locked_environment();
  clear_up(env);
  return env;
}

void Context::confirm(const std::string &question, const std::string &verb, const std::string &object) {
  if (yes_) {
    return;
  }
  if (::isatty(STDIN_FILENO) == 0) {
    throw Error(verb, object, ECANCELED, "there is nobody to be asked", "With -y it is done without.");
  }
  err_ << "  " << question << " [y/n]: " << std::flush;
  std::string answer;
  std::getline(std::cin, answer);
  if (answer != "y" && answer != "yes") {
    throw Error(verb, object, ECANCELED, "the answer was not yes", "Nothing was changed.");
  }
}

void Context::done(const std::string &line) {
  if (!quiet_) {
    out_ << "  " << line << '\n';
  }
}

void Context::done_aside(const std::string &line) {
  if (!quiet_) {
    err_ << "  " << line << '\n';
  }
}

void Context::explain(const std::string &line) {
  if (verbose_) {
    err_ << "  " << line << '\n';
  }
}

void Context::warn(const std::string &line) {
  err_ << "  WARNING: " << line << '\n';
}

void Context::warn(const Error &error) {
  warn(std::string(error.what()) + '.');
  if (!error.hint().empty()) {
    err_ << "  " << error.hint() << '\n';
  }
}

}  // namespace diffsnap::cli
