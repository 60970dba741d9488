// SPDX-License-Identifier: GPL-2.0-or-later
#include "device.h"
#include "dm.h"
#include "runner.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <random>

#include <getopt.h>
#include <unistd.h>

using namespace oracle;

namespace {

constexpr int exit_mismatch = 1;
constexpr int exit_trouble = 2;

const char usage_text[] =
    R"(Usage: oracle run OPTION...       load, snapshots, every read checked
       oracle clean --prefix P    remove devices that a killed oracle left

What makes the snapshots:
  --backend diffsnap|dm-snapshot|file   (diffsnap)
  --real DEVICE           an origin's real device, overwritten; may be repeated
  --origin DM-DEVICE      a diffsnap-origin device, overwritten; may be repeated
  --store DEVICE          where the store lies, overwritten
  --origin-sectors N      use only so much of each real device
  --store-sectors N       and of the store's
  --store-args 'WORD...'  feature arguments of the store
  --chunk SECTORS         (8)
  --cut-limit MS          of each cut (10000)
  --prefix NAME           of dm names (oracle-<pid>)
  file: --dir DIR  --origins N (3)  --size SECTORS (16384)  --block SECTORS (1)
        --fault NAME      go wrong, so that the oracle can be seen to notice

How much:
  --rounds N              snapshots, one after the other (1, if no --seconds)
  --seconds S             rounds for so long
  --before S --round S    of load before (0.5, at most) and after (3) each cut
  --qd N | MIN:MAX        writers at a time for each origin, MAX at most 64 (1:8)
  --think S               between two requests of a writer to an origin
  --block-sizes MIN:MAX   of writes, in sectors (1:8192)
  --readers N --image-writers N   for each image (2, 2)
  --chains N              writers of one order across all origins (4)
  --hot SHARE             of requests that chase one chunk (0.3)
  --seed N

What to leave out:
  --no-image-writes --no-discards --no-zeroes --no-nowait
  --changes             what differs between images is what the tracker tells,
                        at least; no discards of images

What may happen:
  --may-be-invalid        the snapshot may fail; then all its reads must
  --expect-invalid        it must, in each round
  --expect-status TEXT    part of the store's status when the load has ended
  --max-write S           a write to an origin may take so long
  --image-no-space        an image's writer may be told ENOSPC
  --image-errors          requests to an image may fail, its snapshot being valid
  --origin-errors         an origin's writer may be told EIO; counted as origin_errors
  --exact-or-invalid      both of --may-be-invalid and --image-errors, until --after
                          was run: then each image is read once more, and must be
                          exact; or the snapshot is invalid, and all reads fail
  --first-cut-fails ERRNO the first cut of each round must fail like this

Commands, given to the shell, in each round:
  --before-cut C  --after-failed-cut C  --during C  --after C

  --request-limit S       a request may take so long (120)
  --verbose

The last line is a JSON object. Status: 0 all was right, 1 something was not,
2 it could not be tried, 128 + N ended by signal N.
)";

struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

std::uint64_t number(const std::string &text) {
  char *end;

  errno = 0;

  const std::uint64_t value = std::strtoull(text.c_str(), &end, 0);

  if (text.empty() || *end || errno || text[0] == '-')
    throw UsageError("not a number: " + text);
  return value;
}

double real_number(const std::string &text) {
  char *end;
  const double value = std::strtod(text.c_str(), &end);

  if (text.empty() || *end || !(value >= 0))
    throw UsageError("not a number: " + text);
  return value;
}

std::pair<std::uint64_t, std::uint64_t> number_range(const std::string &text) {
  const auto colon = text.find(':');

  if (colon == std::string::npos)
    return {number(text), number(text)};

  const auto min = number(text.substr(0, colon));
  const auto max = number(text.substr(colon + 1));

  if (!min || min > max)
    throw UsageError("not a range: " + text);
  return {min, max};
}

int errno_of(const std::string &name) {
  static const std::map<std::string, int> names = {
      {"ETIMEDOUT", ETIMEDOUT}, {"ENODEV", ENODEV}, {"EINVAL", EINVAL}, {"EBUSY", EBUSY}, {"EIO", EIO},
  };
  const auto found = names.find(name);

  if (found == names.end())
    throw UsageError("unknown error " + name);
  return found->second;
}

struct Options {
  std::string backend = "diffsnap";
  DmBackendOptions dm;
  FileBackendOptions file;
  RunOptions run;
};

Options parse(int argc, char **argv) {
  Options options;
  RunOptions &run = options.run;
  using Value = const std::string &;
  struct Entry {
    bool takes_value;
    std::function<void(Value)> set;
  };
  const std::map<std::string, Entry> table = {
      {"backend", {true, [&](Value v) { options.backend = v; }}},
      {"real", {true, [&](Value v) { options.dm.real.push_back(v); }}},
      {"origin", {true, [&](Value v) { options.dm.origin.push_back(v); }}},
      {"store", {true, [&](Value v) { options.dm.store = v; }}},
      {"origin-sectors", {true, [&](Value v) { options.dm.origin_sectors = number(v); }}},
      {"store-sectors", {true, [&](Value v) { options.dm.store_sectors = number(v); }}},
      {"store-args", {true, [&](Value v) { options.dm.store_args = v; }}},
      {"chunk",
       {true,
        [&](Value v) {
          options.dm.chunk_sectors = options.file.chunk_sectors = static_cast<unsigned>(number(v));
        }}},
      {"cut-limit", {true, [&](Value v) { options.dm.cut_limit_ms = static_cast<unsigned>(number(v)); }}},
      {"prefix", {true, [&](Value v) { options.dm.prefix = v; }}},
      {"dir", {true, [&](Value v) { options.file.directory = v; }}},
      {"origins", {true, [&](Value v) { options.file.origins = number(v); }}},
      {"size", {true, [&](Value v) { options.file.sectors = number(v); }}},
      {"block", {true, [&](Value v) { options.file.block_sectors = static_cast<unsigned>(number(v)); }}},
      {"fault", {true, [&](Value v) { options.file.fault = v; }}},
      {"rounds", {true, [&](Value v) { run.rounds = static_cast<unsigned>(number(v)); }}},
      {"seconds", {true, [&](Value v) { run.seconds = real_number(v); }}},
      {"before", {true, [&](Value v) { run.before = real_number(v); }}},
      {"round", {true, [&](Value v) { run.round = real_number(v); }}},
      {"qd",
       {true,
        [&](Value v) {
          const auto range = number_range(v);

          run.min_depth = static_cast<unsigned>(range.first);
          run.max_depth = static_cast<unsigned>(range.second);
          if (run.max_depth > 64)
            throw UsageError("more than 64 writers");
        }}},
      {"block-sizes",
       {true,
        [&](Value v) {
          const auto range = number_range(v);

          run.min_sectors = std::max<std::uint64_t>(range.first, 1);
          run.max_sectors = std::max<std::uint64_t>(range.second, 1);
        }}},
      {"readers", {true, [&](Value v) { run.readers = static_cast<unsigned>(number(v)); }}},
      {"image-writers", {true, [&](Value v) { run.image_writers = static_cast<unsigned>(number(v)); }}},
      {"chains", {true, [&](Value v) { run.chains = static_cast<unsigned>(number(v)); }}},
      {"hot", {true, [&](Value v) { run.hot = real_number(v); }}},
      {"think", {true, [&](Value v) { run.think = real_number(v); }}},
      {"seed", {true, [&](Value v) { run.seed = number(v); }}},
      {"no-image-writes", {false, [&](Value) { run.image_writes = false; }}},
      {"no-discards", {false, [&](Value) { run.discards = false; }}},
      {"no-zeroes", {false, [&](Value) { run.zeroes = false; }}},
      {"no-nowait", {false, [&](Value) { run.nowait = false; }}},
      {"changes", {false, [&](Value) { run.changes = true; }}},
      {"may-be-invalid", {false, [&](Value) { run.invalid = Invalid::may; }}},
      {"expect-invalid", {false, [&](Value) { run.invalid = Invalid::must; }}},
      {"expect-status", {true, [&](Value v) { run.status = v; }}},
      {"max-write", {true, [&](Value v) { run.max_write = real_number(v); }}},
      {"image-no-space", {false, [&](Value) { run.image_no_space = true; }}},
      {"image-errors", {false, [&](Value) { run.image_errors = true; }}},
      {"exact-or-invalid",
       {false,
        [&](Value) {
          run.verdict = true;
          run.invalid = Invalid::may;
        }}},
      {"origin-errors", {false, [&](Value) { run.origin_errors = true; }}},
      {"first-cut-fails", {true, [&](Value v) { run.first_cut_error = errno_of(v); }}},
      {"before-cut", {true, [&](Value v) { run.before_cut = v; }}},
      {"after-failed-cut", {true, [&](Value v) { run.after_failure = v; }}},
      {"during", {true, [&](Value v) { run.during = v; }}},
      {"after", {true, [&](Value v) { run.after = v; }}},
      {"request-limit", {true, [&](Value v) { run.request_limit = real_number(v); }}},
      {"verbose", {false, [&](Value) { run.verbose = true; }}},
  };
  std::vector<option> known;

  run.seed = std::random_device()();
  options.dm.prefix = "oracle-" + std::to_string(getpid());
  options.dm.cut_limit_ms = 10000;
  options.file.sectors = 16384;
  options.file.directory = "/tmp";
  for (const auto &entry : table)
    known.push_back(
        option{entry.first.c_str(), entry.second.takes_value ? required_argument : no_argument, nullptr, 0});
  known.push_back(option{nullptr, 0, nullptr, 0});

  int index = 0;
  int result;

  while ((result = getopt_long(argc, argv, "", known.data(), &index)) != -1) {
    if (result)
      throw UsageError("see oracle --help");
    table.at(known[static_cast<std::size_t>(index)].name).set(optarg ? optarg : "");
  }
  if (optind < argc)
    throw UsageError(std::string("what is ") + argv[optind] + "?");
  if (!run.rounds && run.seconds <= 0)
    run.rounds = 1;
  return options;
}

std::unique_ptr<Backend> make_backend(const Options &options) {
  const unsigned chunk = options.dm.chunk_sectors;

  if (!chunk || chunk & (chunk - 1))
    throw UsageError("the chunk size is no power of two");
  if (options.backend == "file") {
    if (!options.file.origins || !options.file.block_sectors)
      throw UsageError("no origin");
    return make_file_backend(options.file);
  }
  if (options.dm.real.empty() && options.dm.origin.empty())
    throw UsageError("no origin");
  if (options.dm.store.empty())
    throw UsageError("no store");
  if (options.backend == "diffsnap")
    return make_diffsnap_backend(options.dm);
  if (options.backend == "dm-snapshot")
    return make_dm_snapshot_backend(options.dm);
  throw UsageError("unknown backend " + options.backend);
}

std::string quoted(const std::string &text) {
  std::string result = "\"";

  for (char c : text) {
    if (c == '"' || c == '\\')
      result += '\\';
    result += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  }
  return result + "\"";
}

void print_report(const Report &report, const RunOptions &options) {
  const std::pair<const char *, std::uint64_t> numbers[] = {
      {"seed", options.seed},
      {"rounds", report.rounds},
      {"cuts", report.cuts},
      {"cut_timeouts", report.cut_timeouts},
      {"writes", report.writes},
      {"write_sectors", report.write_sectors},
      {"durable_writes", report.durable_writes},
      {"nowait_writes", report.nowait_writes},
      {"nowait_refused", report.nowait_refused},
      {"nowait_unsupported", report.nowait_unsupported},
      {"discards", report.discards},
      {"zeroes", report.zeroes},
      {"flushes", report.flushes},
      {"origin_errors", report.origin_errors},
      {"copies", report.copies},
      {"held", report.held},
      {"image_reads", report.image_reads},
      {"image_read_sectors", report.image_read_sectors},
      {"image_read_errors", report.image_read_errors},
      {"races", report.races},
      {"first_write_races", report.first_write_races},
      {"mixed_sectors", report.mixed_sectors},
      {"image_writes", report.image_writes},
      {"image_write_sectors", report.image_write_sectors},
      {"image_no_space", report.image_no_space},
      {"image_discards", report.image_discards},
      {"image_zeroes", report.image_zeroes},
      {"different_sectors", report.different_sectors},
      {"told_sectors", report.told_sectors},
      {"ambiguous_sectors", report.ambiguous_sectors},
      {"chain_checks", report.chain_checks},
      {"invalid_rounds", report.invalid_rounds},
      {"exact_rounds", report.exact_rounds},
      {"max_closed_ns", report.max_closed_ns},
      {"max_write_us", report.max_write_us},
  };

  std::printf("{\"ok\":%s", report.failure.empty() ? "true" : "false");
  for (const auto &entry : numbers)
    std::printf(",\"%s\":%llu", entry.first, static_cast<unsigned long long>(entry.second));
  if (!report.failure.empty())
    std::printf(",\"failure\":%s", quoted(report.failure).c_str());
  std::printf("}\n");
}

int run_command(int argc, char **argv) {
  const Options options = parse(argc, argv);
  Report report;
  sigset_t set;

  // The runner takes them between two steps, so that all is undone.
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  sigprocmask(SIG_BLOCK, &set, nullptr);

  std::printf("oracle: seed %llu\n", static_cast<unsigned long long>(options.run.seed));
  std::fflush(stdout);
  try {
    const auto backend = make_backend(options);

    run(*backend, options.run, report);
  } catch (const Interrupted &interrupted) {
    std::fprintf(stderr, "oracle: ended by signal %d\n", interrupted.signal);
    return 128 + interrupted.signal;
  } catch (const CheckFailure &failure) {
    report.failure = failure.what();
  }
  if (!report.failure.empty())
    std::printf("oracle: MISMATCH: %s\n", report.failure.c_str());
  print_report(report, options.run);
  return report.failure.empty() ? 0 : exit_mismatch;
}

int clean_command(int argc, char **argv) {
  const std::string prefix = parse(argc, argv).dm.prefix;
  std::vector<std::string> names = dm::list(prefix + "-");

  // What lies on others goes first: try until nothing more goes.
  for (bool progress = true; progress && !names.empty();) {
    progress = false;
    for (auto name = names.begin(); name != names.end();) {
      if (dm::remove(*name)) {
        ++name;
        continue;
      }
      name = names.erase(name);
      progress = true;
    }
  }
  for (const std::string &name : names)
    std::fprintf(stderr, "oracle: cannot remove %s\n", name.c_str());
  return names.empty() ? 0 : exit_trouble;
}

}  // namespace

int main(int argc, char **argv) {
  const std::string command = argc > 1 ? argv[1] : "";

  if (command == "--help" || command == "help") {
    std::fputs(usage_text, stdout);
    return 0;
  }
  try {
    if (command == "run")
      return run_command(argc - 1, argv + 1);
    if (command == "clean")
      return clean_command(argc - 1, argv + 1);
    throw UsageError("see oracle --help");
  } catch (const std::exception &error) {
    std::fprintf(stderr, "oracle: %s\n", error.what());
    return exit_trouble;
  }
}
