// SPDX-License-Identifier: GPL-2.0-or-later
/** @file What --help shows, and the same for manual pages and the shell's completion. */
#ifndef DIFFSNAP_CLI_USAGE_H
#define DIFFSNAP_CLI_USAGE_H

#include <istream>
#include <ostream>

#include "command.h"

namespace diffsnap::cli {

/** All commands, one a line. */
void print_overview(std::ostream &out);

/** One command: synopsis and options. */
void print_usage(std::ostream &out, const Command &command);

/**
 * Copies a manual page, putting the synopsis of `command` in the place of a line `@SYNOPSIS@`, its options in
 * that of `@OPTIONS@`, those of all commands in that of `@COMMON_OPTIONS@`, the list of commands in that of
 * `@COMMANDS@`, the exit statuses in that of `@EXIT_STATUS@`, and the version in the place of the word
 * `@VERSION@`.
 *
 * @param command  null for the page of the tool itself
 */
void fill_manual(std::ostream &out, std::istream &page, const Command *command);

/** A completion script for bash. */
void print_bash_completion(std::ostream &out);

}  // namespace diffsnap::cli

#endif
