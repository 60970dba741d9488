// SPDX-License-Identifier: GPL-2.0-or-later
/** @file What a command works with: the machine, and where it writes to. */
#ifndef DIFFSNAP_CLI_CONTEXT_H
#define DIFFSNAP_CLI_CONTEXT_H

#include <memory>
#include <ostream>
#include <string>
#include <string_view>

#include "core/change_lock.h"
#include "core/environment.h"
#include "core/saved_tracker.h"
#include "sys/memlock.h"

namespace diffsnap::cli {

class Invocation;

/**
 * Opens device-mapper and the like when they are first asked for, so that `help` needs neither root nor a
 * kernel. One per run of the tool.
 */
class Context {
 public:
  /** The streams must outlive this object. */
  Context(std::ostream &out, std::ostream &err) : out_(out), err_(err) {}
  /** On something else than this machine, for tests. */
  Context(std::ostream &out, std::ostream &err, dm::DeviceMapper &dm, sys::BlockDevices &devices,
          std::string tracker_directory = {})
      : out_(out),
        err_(err),
        dm_(&dm),
        devices_(&devices),
        tracker_directory_(std::move(tracker_directory)) {}

  /** Takes -q, -v, -t, -f of a command line over. */
  void configure(const Invocation &invocation);

  /** Throws InitError without permission, device-mapper or module. */
  [[nodiscard]] Environment environment();
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
  [[nodiscard]] dm::DeviceMapper &device_mapper();
  [[nodiscard]] sys::ProcessMemory &memory() noexcept { return memory_; }

  /** Where detached origins leave their change trackers; empty: nowhere. */
  [[nodiscard]] const std::string &tracker_directory() const noexcept { return tracker_directory_; }

  [[nodiscard]] bool force() const noexcept { return force_; }
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
  std::unique_ptr<dm::DeviceMapper> own_dm_;
  std::unique_ptr<sys::BlockDevices> own_devices_;
  dm::DeviceMapper *dm_ = nullptr;
  sys::BlockDevices *devices_ = nullptr;
  std::string tracker_directory_ = default_tracker_directory;
  sys::ProcessMemory memory_;
  std::unique_ptr<ChangeLock> lock_;
  bool quiet_ = false;
  bool verbose_ = false;
  bool dry_run_ = false;
  bool force_ = false;
};

/**
 * The whole tool: finds the command, parses, runs, turns exceptions into messages and exit statuses. Writes
 * only to the context's streams, reports excepted, which go to stdout.
 */
int run_tool(Context &context, int argc, const char *const *argv);

}  // namespace diffsnap::cli

#endif
