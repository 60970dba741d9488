// SPDX-License-Identifier: GPL-2.0-or-later
/**
 * @file
 * The table of commands. Parsing, --help, the option parts of the manual pages and the bash completion all
 * come from it, so that they cannot differ.
 */
#ifndef DIFFSNAP_CLI_COMMAND_H
#define DIFFSNAP_CLI_COMMAND_H

#include <string>
#include <string_view>
#include <vector>

namespace diffsnap::cli {

/** Exit statuses; LVM's, and one more. */
enum ExitStatus : int {
  exit_done = 0,
  exit_no_such_command = 2,
  exit_bad_command_line = 3,
  exit_cannot_initialise = 4,
  exit_failed = 5,
  exit_timed_out = 6,
};

/** What the shell can complete a value with. */
enum class Completes { nothing, device, snapshot, image, command, words };

struct Option {
  std::string_view name;           // "name", without the dashes
  char letter = '\0';              // 'n' for -n, 0 for none
  std::string_view argument = {};  // "NAME"; empty: a switch
  std::string_view help = {};      // a sentence or more, for --help and the manual page
  bool repeated = false;           // may be given several times
  Completes completes = Completes::nothing;
  std::string_view words = {};  // for Completes::words, between spaces
  // Says of a word behind a value whether it is one more; null: it never is.
  bool (*is_another)(std::string_view word) = nullptr;
};

class Context;
class Invocation;

struct Command {
  std::string_view name;
  std::string_view arguments;          // "SNAPSHOT RANGE..."; empty: none are taken
  std::string_view summary;            // for lists, no capital, no period
  const std::vector<Option> *options;  // its own; common_options() come on top
  Completes completes;                 // its arguments
  int (*run)(Context &context, const Invocation &invocation);
};

/** -y, -f, -q, -v, -t, -h: every command has them. */
[[nodiscard]] const std::vector<Option> &common_options();

/** The options of report commands. */
[[nodiscard]] const std::vector<Option> &report_options();

/** All commands, in the order of the manual page. */
[[nodiscard]] const std::vector<Command> &commands();

/** Null if there is none of that name; names are not abbreviated. */
[[nodiscard]] const Command *find_command(std::string_view name);

/** A command line, taken apart. */
class Invocation {
 public:
  explicit Invocation(const Command &command) : command_(&command) {}

  [[nodiscard]] const Command &command() const noexcept { return *command_; }
  /** How often an option was given. The name must be one of the table. */
  [[nodiscard]] std::size_t count(std::string_view option) const;
  [[nodiscard]] bool has(std::string_view option) const { return count(option) > 0; }
  /** The value of an option that was given. */
  [[nodiscard]] const std::string &value(std::string_view option) const;
  /** All of them, in the order given; empty for none. */
  [[nodiscard]] std::vector<std::string> values(std::string_view option) const;
  [[nodiscard]] const std::vector<std::string> &arguments() const noexcept { return arguments_; }

 private:
  friend Invocation parse_command_line(const Command &command, const std::vector<std::string> &words);

  struct Given {
    std::string name;
    std::string value;
  };
  const Command *command_;
  std::vector<Given> given_;
  std::vector<std::string> arguments_;
};

/**
 * Parses what follows the command's name. The number of arguments is checked against Command::arguments,
 * unless --help was given. Throws SyntaxError, with a hint to --help.
 */
[[nodiscard]] Invocation parse_command_line(const Command &command, const std::vector<std::string> &words);

// One per file: command_<name>.cpp.
int run_attach(Context &context, const Invocation &invocation);
int run_detach(Context &context, const Invocation &invocation);
int run_create(Context &context, const Invocation &invocation);
int run_add(Context &context, const Invocation &invocation);
int run_take(Context &context, const Invocation &invocation);
int run_extend(Context &context, const Invocation &invocation);
int run_remove(Context &context, const Invocation &invocation);
int run_list(Context &context, const Invocation &invocation);
int run_images(Context &context, const Invocation &invocation);
int run_origins(Context &context, const Invocation &invocation);
int run_wait(Context &context, const Invocation &invocation);
int run_release(Context &context, const Invocation &invocation);
int run_rollback(Context &context, const Invocation &invocation);
int run_changes(Context &context, const Invocation &invocation);
int run_mark(Context &context, const Invocation &invocation);
int run_reset(Context &context, const Invocation &invocation);
int run_send(Context &context, const Invocation &invocation);
int run_receive(Context &context, const Invocation &invocation);
int run_version(Context &context, const Invocation &invocation);
int run_help(Context &context, const Invocation &invocation);

extern const std::vector<Option> create_options;
extern const std::vector<Option> take_options;
extern const std::vector<Option> attach_options;
extern const std::vector<Option> extend_options;
extern const std::vector<Option> wait_options;
extern const std::vector<Option> rollback_options;
extern const std::vector<Option> changes_options;
extern const std::vector<Option> mark_options;
extern const std::vector<Option> send_options;
extern const std::vector<Option> receive_options;

}  // namespace diffsnap::cli

#endif
