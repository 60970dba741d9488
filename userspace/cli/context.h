// SPDX-License-Identifier: GPL-2.0-or-later
/** @file What a command works with: the machine, and where it writes to. */
#ifndef DIFFSNAP_CLI_CONTEXT_H
#define DIFFSNAP_CLI_CONTEXT_H

#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>

#include "core/machine.h"

namespace diffsnap::cli {

class Invocation;

/** One per run of the tool. What a command does not ask for is not opened: `help` needs no root. */
class Context {
 public:
  /** The streams must outlive this object. */
  Context(std::ostream &out, std::ostream &err) : out_(out), err_(err) {}
  /** On something else than this machine, for tests. */
  Context(std::ostream &out, std::ostream &err, dm::DeviceMapper &dm, sys::BlockDevices &devices,
          std::string tracker_directory = {})
      : out_(out), err_(err), machine_(dm, devices, std::move(tracker_directory)) {}

  /** Takes -y, -f, -q, -v, -t of a command line over. */
  void configure(const Invocation &invocation);

  /** Throws InitError without permission, device-mapper or module. */
  [[nodiscard]] Environment environment() { return machine_.environment(); }
  /**
   * For commands that change devices: one of them at a time, until this object ends. Removes what a killed
   * one has left. With -t, as environment().
   */
  [[nodiscard]] Environment environment_for_changes();
  /** The lock alone: for the command that removes what a killed one has left by name. See clear_up(). */
  [[nodiscard]] Environment locked_environment();
  /** Removes what a killed command has left, if this one holds the lock. */
  void clear_up(const Environment &env);
  /** As environment(), but the module need not be there. Throws InitError. */
  [[nodiscard]] dm::DeviceMapper &device_mapper() { return machine_.device_mapper(); }
  [[nodiscard]] sys::ProcessMemory &memory() noexcept { return machine_.memory(); }

  /** See Machine. */
  [[nodiscard]] const std::string &tracker_directory() const noexcept { return machine_.tracker_directory(); }

  [[nodiscard]] bool force() const noexcept { return force_; }
  /**
   * Asks on stderr whether to go on, unless -y was given. Throws Error with what is asked about if the answer
   * is not yes, or if stdin is no terminal that could give one.
   */
  void confirm(const std::string &question, const std::string &verb, const std::string &object);
  /** -t: check everything, change nothing. */
  [[nodiscard]] bool dry_run() const noexcept { return dry_run_; }

  /** Data, on stdout. */
  [[nodiscard]] std::ostream &out() noexcept { return out_; }
  /** Messages, on stderr. */
  [[nodiscard]] std::ostream &err() noexcept { return err_; }
  /** The one line that tells of success, indented as LVM does it; not with -q. */
  void done(const std::string &line);
  /** The same on stderr, for commands whose stdout is taken by data. */
  void done_aside(const std::string &line);
  /** For -v, on stderr. */
  void explain(const std::string &line);
  /** On stderr, always. */
  void warn(const std::string &line);
  /** Of something that did not keep the command from being done, with its hint. */
  void warn(const Error &error);

 private:
  std::ostream &out_;
  std::ostream &err_;
  Machine machine_;
  std::unique_ptr<ChangeLock> lock_;
  bool quiet_ = false;
  bool verbose_ = false;
  bool dry_run_ = false;
  bool force_ = false;
  bool yes_ = false;
};

/**
 * The whole tool: finds the command, parses, runs, turns exceptions into messages and exit statuses. Writes
 * only to the context's streams, reports excepted, which go to stdout.
 */
int run_tool(Context &context, int argc, const char *const *argv);

}  // namespace diffsnap::cli

#endif
