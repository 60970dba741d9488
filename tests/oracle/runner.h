// SPDX-License-Identifier: GPL-2.0-or-later
//
// Writers, readers, snapshots: rounds of load with every read checked.
#pragma once

#include "device.h"

#include <cstdint>
#include <string>

namespace oracle {

enum class Invalid {
  never,  // an invalid snapshot is a failure
  may,
  must,  // in each round
};

struct RunOptions {
  std::uint64_t seed = 0;
  unsigned rounds = 0;     // 0: as many as the time allows
  double seconds = 0;      // 0: as long as the rounds take
  double before = 0.5;     // seconds of writes before the cut, at most
  double round = 3;        // seconds of load after the cut
  double think = 0;        // seconds between two requests of an origin's writer
  unsigned min_depth = 1;  // writers to an origin at a time
  unsigned max_depth = 8;
  std::uint64_t min_sectors = 1;  // of a write
  std::uint64_t max_sectors = 8192;
  unsigned readers = 2;        // for each image
  unsigned image_writers = 2;  // for each image
  unsigned chains = 4;
  double hot = 0.3;  // share of requests that chase the hot chunk
  bool image_writes = true;
  bool discards = true;
  bool zeroes = true;
  bool nowait = true;
  bool changes = false;  // images that follow each other are compared by what the tracker says
  bool image_no_space = false;  // ENOSPC to an image's writer is no failure
  bool image_errors = false;    // a request to an image may fail with the snapshot valid
  bool verdict = false;         // after the last command: image exact, or all its reads fail
  bool origin_errors = false;   // EIO to an origin's writer is no failure
  std::string status;           // must be part of the status in the end
  double max_write = 0;         // seconds that a write to an origin may take; 0: request_limit
  Invalid invalid = Invalid::never;
  int first_cut_error = 0;     // the first cut of each round must fail so
  std::string before_cut;      // commands
  std::string after_failure;   // after that failed cut, before the next
  std::string during;          // while images are read
  std::string after;           // when the load has ended
  double request_limit = 120;  // seconds that one request may take
  bool verbose = false;
};

struct Report {
  std::uint64_t rounds = 0;
  std::uint64_t cuts = 0;
  std::uint64_t cut_timeouts = 0;
  std::uint64_t writes = 0;
  std::uint64_t write_sectors = 0;
  std::uint64_t durable_writes = 0;
  std::uint64_t nowait_writes = 0;
  std::uint64_t nowait_refused = 0;      // EAGAIN
  std::uint64_t nowait_unsupported = 0;  // EOPNOTSUPP
  std::uint64_t discards = 0;
  std::uint64_t zeroes = 0;
  std::uint64_t flushes = 0;
  std::uint64_t origin_errors = 0;  // of requests, whether they may fail or not
  std::uint64_t copies = 0;
  std::uint64_t held = 0;
  std::uint64_t image_reads = 0;
  std::uint64_t image_read_sectors = 0;
  std::uint64_t image_read_errors = 0;
  std::uint64_t races = 0;
  std::uint64_t first_write_races = 0;
  std::uint64_t mixed_sectors = 0;  // read while they were written, and some of each
  std::uint64_t image_writes = 0;
  std::uint64_t image_write_sectors = 0;
  std::uint64_t image_no_space = 0;
  std::uint64_t image_discards = 0;
  std::uint64_t image_zeroes = 0;
  std::uint64_t ambiguous_sectors = 0;
  std::uint64_t chain_checks = 0;
  std::uint64_t invalid_rounds = 0;
  std::uint64_t exact_rounds = 0;  // by RunOptions::verdict
  std::uint64_t different_sectors = 0;  // between images, by RunOptions::changes
  std::uint64_t told_sectors = 0;       // of what the tracker told
  std::uint64_t max_closed_ns = 0;
  std::uint64_t max_write_us = 0;
  std::string failure;  // empty: all was right
};

// Raised by SIGINT and SIGTERM, which main blocks.
struct Interrupted {
  int signal;
};

// Returns with report.failure set when something was found; throws
// EnvironmentError and Interrupted.
void run(Backend &backend, const RunOptions &options, Report &report);

}  // namespace oracle
