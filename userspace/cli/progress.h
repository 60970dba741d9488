// SPDX-License-Identifier: GPL-2.0-or-later
/** @file How far long work has come. */
#ifndef DIFFSNAP_CLI_PROGRESS_H
#define DIFFSNAP_CLI_PROGRESS_H

#include <chrono>
#include <cstdint>
#include <optional>
#include <ostream>
#include <string>

namespace diffsnap::cli {

enum class ProgressStyle {
  none,
  /** One line that is written over, twice a second: for a terminal. */
  terminal,
  /** A line every ten seconds: for a log. */
  lines,
};

/** `terminal` if stderr is one, else `lines` if --progress was given, else `none`. */
[[nodiscard]] ProgressStyle progress_style(bool wanted);

/** Shows bytes, rate and time left. For one thread. */
class Progress {
 public:
  using Clock = std::chrono::steady_clock;

  /** @param total  bytes; nothing if it is not known. The stream must outlive it. */
  Progress(std::ostream &err, ProgressStyle style, std::optional<std::uint64_t> total,
           Clock::time_point now = Clock::now());
  Progress(const Progress &) = delete;
  Progress &operator=(const Progress &) = delete;
  /** Leaves a terminal at the beginning of an empty line. */
  ~Progress();

  void update(std::uint64_t bytes, Clock::time_point now = Clock::now());

 private:
  [[nodiscard]] std::string describe(std::uint64_t bytes, Clock::time_point now) const;

  std::ostream &err_;
  ProgressStyle style_;
  std::optional<std::uint64_t> total_;
  Clock::time_point start_;
  Clock::time_point shown_;
  std::size_t width_ = 0;
};

}  // namespace diffsnap::cli

#endif
