// SPDX-License-Identifier: GPL-2.0-or-later
#include "fail_nth.h"
#include "held.h"
#include "kernel_log.h"
#include "lines.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <random>
#include <set>
#include <sstream>
#include <stdexcept>

#include <linux/dm-ioctl.h>

using namespace fuzz;
using oracle::CheckFailure;
using oracle::EnvironmentError;

namespace dm = oracle::dm;

namespace {

constexpr int exit_wrong = 1;
constexpr int exit_trouble = 2;
constexpr int exit_skip = 77;

constexpr std::uint64_t origin_sectors = 16384;
constexpr unsigned scratch_devices = 3;
constexpr const char *scratch_prefix = "fuzz-scratch";
// A slow machine takes longer, until each kind has happened so often.
constexpr double slow_factor = 10;
const std::map<std::string, std::uint64_t> kinds = {
    {"tables refused", 50}, {"tables taken", 5},        {"tables resumed", 3},    {"messages refused", 50},
    {"status", 5},          {"status without room", 2}, {"valid operations", 20},
};

const char usage_text[] =
    R"(Usage: fuzz run SECONDS SEED REAL REAL STORE SPARE
       fuzz fail-nth all|SEED REAL REAL STORE SPARE

run       random and broken table lines, messages and status requests to the
          diffsnap targets, with a valid snapshot of both REAL devices held and
          used all the time. Each refusal must have a clean errno, for a table
          also a reason in the kernel's log, and must change nothing; the
          snapshot must be exact in the end. SEED 0: one is chosen.
fail-nth  each step from a table to a used snapshot with its n-th allocation
          failing, for all n or, the greater they are the fewer of them, for some.
          Both its devices must be exact in the end. Needs a kernel with fault
          injection.

All devices are overwritten; SPARE must have 16 MiB.
Status: 0 all was right, 1 something was not, 2 it could not be tried,
77 this kernel has no fault injection.
)";

// What a constructor may say; a table is never "interrupted" or "again".
const std::set<int> load_errors = {
    EINVAL, ENODEV, ENOENT, ENXIO, EBUSY, ENOTBLK, EOVERFLOW, ENAMETOOLONG, EACCES, ENOTDIR, EPERM,
};

const std::set<int> message_errors = {
    EINVAL,    ENODEV,       ENOENT, ENXIO,   EBUSY,  EEXIST, ENOTBLK,
    EOVERFLOW, ENAMETOOLONG, EACCES, ENOTDIR, ERANGE, ESTALE, ENODATA,
};

std::string text_of(const Table &table) {
  std::string text;

  for (const auto &line : table)
    text += "\n  " + std::to_string(line.start) + " " + std::to_string(line.length) + " " + line.target +
            " " + line.args;
  return text;
}

bool same(const Table &a, const Table &b) {
  return text_of(a) == text_of(b);
}

class Scratch {
 public:
  ~Scratch() { remove_all(); }

  // One of them, made if it is not there.
  std::string take(unsigned index) {
    const std::string name = scratch_prefix + std::to_string(index);

    if (!dm::exists(name))
      if (const int error = dm::make(name))
        throw EnvironmentError("cannot create " + name + ": " + std::strerror(error));
    return name;
  }

  std::vector<std::string> present() const { return dm::list(scratch_prefix); }

  // They may lie on each other: until nothing more goes.
  bool remove_all() {
    for (unsigned pass = 0; pass < scratch_devices; pass++)
      for (const std::string &name : present())
        dm::remove(name);
    return present().empty();
  }
};

class Fuzzer {
 public:
  Fuzzer(Random random, const std::vector<std::string> &disks)
      : random_(random),
        disks_(disks),
        held_("fuzz", {disks[0], disks[1]}, origin_sectors, disks[2]),
        lines_(random_, devices(), generations()) {}

  void run(double seconds);
  void print() const;

 private:
  std::vector<Device> devices() const;
  std::vector<std::string> generations() const;

  void load();
  void send();
  void ask();
  void second_snapshot();

  bool all_kinds() const;
  std::string any_name();
  void check_reason(const std::string &what);
  void check_round_trip(const std::string &name);

  Random random_;
  const std::vector<std::string> disks_;
  Held held_;
  Lines lines_;
  KernelLog log_;
  Scratch scratch_;  // removed before what it may lie on
  std::map<std::string, std::uint64_t> counts_;
};

// Scratch devices are not among them: dm lets a table name its own device, and
// whoever reads that, as udev does, is lost in the kernel for good.
std::vector<Device> Fuzzer::devices() const {
  std::vector<Device> result;

  for (const std::string &disk : disks_)
    result.push_back(Device{disk, oracle::open_device(disk)->sectors()});
  for (const std::string &name : held_.names()) {
    const auto sectors = dm::table(name).at(0).length;

    result.push_back(Device{dm::node(name), sectors});
    result.push_back(Device{dm::number(name), sectors});
  }
  return result;
}

std::vector<std::string> Fuzzer::generations() const {
  constexpr std::size_t generation_word = 5;
  std::vector<std::string> result;

  for (const std::string &name : held_.names()) {
    const auto line = dm::status(name).at(0);
    std::istringstream words(line.args);

    if (line.target == "diffsnap-origin")
      result.push_back(*std::next(std::istream_iterator<std::string>(words), generation_word));
  }
  return result;
}

// Each part of the run has happened at least so often.
bool Fuzzer::all_kinds() const {
  return std::all_of(kinds.begin(), kinds.end(), [&](const auto &kind) {
    const auto found = counts_.find(kind.first);

    return found != counts_.end() && found->second >= kind.second;
  });
}

std::string Fuzzer::any_name() {
  auto names = scratch_.present();

  names.insert(names.end(), held_.names().begin(), held_.names().end());
  return names[lines_.below(names.size())];
}

// A refused table has said why: "...: diffsnap-store: Invalid chunk size (-EINVAL)"
void Fuzzer::check_reason(const std::string &what) {
  for (const std::string &line : log_.lines()) {
    if (line.find("device-mapper: ") != 0)
      continue;
    if (line.find("Unknown error") != std::string::npos || line.find("(null)") != std::string::npos)
      throw CheckFailure("no reason for the refusal, only '" + line + "', of" + what);
    return;
  }
  throw CheckFailure("the kernel's log has no reason for the refusal of" + what);
}

// The line that the kernel gives back makes the same table again.
void Fuzzer::check_round_trip(const std::string &name) {
  const Table first = dm::table(name, true);

  if (const int error = dm::load(name, first))
    throw CheckFailure("the kernel refuses its own line: " + std::string(std::strerror(error)) +
                       text_of(first));

  const Table second = dm::table(name, true);

  if (!same(first, second))
    throw CheckFailure("a line is not given back as it is:" + text_of(first) + "\n->" + text_of(second));
}

void Fuzzer::load() {
  const bool to_held = lines_.one_in(4);
  const std::string name = to_held ? held_.names()[lines_.below(held_.names().size())]
                                   : scratch_.take(static_cast<unsigned>(lines_.below(scratch_devices)));
  const Table table = lines_.table();
  const std::string what = " a table for " + name + ":" + text_of(table);
  const std::string before = held_.state();
  const Table active = dm::table(name);

  log_.lines();

  const int error = dm::load(name, table);

  if (held_.state() != before || !same(dm::table(name), active))
    throw CheckFailure("something was changed by" + what);
  if (error) {
    counts_["tables refused"]++;
    if (!load_errors.count(error))
      throw CheckFailure("an odd errno, " + std::string(std::strerror(error)) + ", for" + what);
    check_reason(what);
    return;
  }
  counts_["tables taken"]++;
  check_round_trip(name);
  // The held ones keep theirs.
  if (to_held || lines_.one_in(3)) {
    if (const int clear_error = dm::clear(name))
      throw CheckFailure("clear: " + std::string(std::strerror(clear_error)));
  } else if (dm::activate(name) == 0) {
    counts_["tables resumed"]++;
  }
  if (held_.state() != before)
    throw CheckFailure("something was changed by the resume of" + what);
}

void Fuzzer::send() {
  const std::string name = any_name();
  const std::string text = lines_.message();
  const bool to_held = name == held_.store();

  if (to_held && is_message(text, "drop"))
    return;

  const std::string before = held_.state();
  const int error = dm::message(name, text, lines_.one_in(20) ? random_() : 0);

  if (held_.state() != before)
    throw CheckFailure("something was changed by the message '" + text + "' to " + name);
  counts_[error ? "messages refused" : "messages taken"]++;
  if (error && !message_errors.count(error))
    throw CheckFailure("an odd errno, " + std::string(std::strerror(error)) + ", for the message '" + text +
                       "' to " + name);
  if (!error && to_held && !is_message(text, "low_water") && text.find('@') == std::string::npos)
    throw CheckFailure("the message '" + text + "' was taken by a store that was cut");
}

void Fuzzer::ask() {
  static constexpr std::uint32_t flags[] = {DM_STATUS_TABLE_FLAG, DM_QUERY_INACTIVE_TABLE_FLAG,
                                            DM_NOFLUSH_FLAG, DM_IMA_MEASUREMENT_FLAG};
  const std::string name = any_name();
  std::uint32_t chosen = 0;

  for (const std::uint32_t flag : flags)
    chosen |= lines_.one_in(2) ? flag : 0;

  const auto result = dm::raw_status(name, chosen, lines_.below(lines_.one_in(2) ? 64 : 1024));

  counts_[result.full ? "status without room" : "status"]++;
  if (result.error)
    throw CheckFailure("the status of " + name + ": " + std::strerror(result.error));
  for (const auto &line : result.lines)
    if (line.target.compare(0, 9, "diffsnap-") == 0 && line.args.empty())
      throw CheckFailure("an empty status of " + name);
}

// From nothing to nothing, beside the one that is held.
void Fuzzer::second_snapshot() {
  dm::create("fuzz-room0", {{0, origin_sectors, "linear", disks_[3] + " 0"}});
  dm::create("fuzz-room1", {{0, origin_sectors, "linear", disks_[3] + " " + std::to_string(origin_sectors)}});
  {
    Held second("fuzz-second", {dm::node("fuzz-room0")}, origin_sectors / 2, dm::node("fuzz-room1"));

    for (unsigned i = 0; i < 20; i++)
      second.use(random_);
    second.check_all();
    second.end();
  }
  dm::remove("fuzz-room1");
  dm::remove("fuzz-room0");
  counts_["second snapshots"]++;
}

void Fuzzer::run(double seconds) {
  const auto start = std::chrono::steady_clock::now();
  const auto passed = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  const std::string state = held_.state();

  while (passed() < seconds || (!all_kinds() && passed() < seconds * slow_factor)) {
    switch (lines_.below(10)) {
      case 0:
      case 1:
      case 2:
      case 3:
        load();
        break;
      case 4:
      case 5:
      case 6:
        send();
        break;
      case 7:
        ask();
        break;
      default:
        held_.use(random_);
        counts_["valid operations"]++;
        break;
    }
    if (lines_.one_in(500))
      second_snapshot();
    if (lines_.one_in(200))
      scratch_.remove_all();
  }
  second_snapshot();
  if (!scratch_.remove_all())
    throw CheckFailure("a scratch device cannot be removed");
  if (!all_kinds())
    throw CheckFailure("there was no time for anything");
  if (held_.state() != state)
    throw CheckFailure("the snapshot is not what it was:\n" + state + "->\n" + held_.state());
  held_.check_all();
  held_.end();
}

void Fuzzer::print() const {
  for (const auto &count : counts_)
    std::printf("fuzz: %s: %llu\n", count.first.c_str(), static_cast<unsigned long long>(count.second));
}

Random seeded(std::uint64_t seed) {
  if (!seed)
    seed = std::random_device()();
  std::printf("fuzz: seed %llu\n", static_cast<unsigned long long>(seed));
  return Random(seed);
}

int run_command(double seconds, std::uint64_t seed, const std::vector<std::string> &disks) {
  Fuzzer fuzzer(seeded(seed), disks);

  try {
    fuzzer.run(seconds);
  } catch (const CheckFailure &failure) {
    fuzzer.print();
    std::printf("fuzz: WRONG: %s\n", failure.what());
    return exit_wrong;
  }
  fuzzer.print();
  return 0;
}

int fail_nth_command(bool all, std::uint64_t seed, const std::vector<std::string> &disks) {
  Random random = seeded(seed);

  if (!can_fail_nth()) {
    std::printf("fuzz: this kernel cannot let the n-th allocation fail\n");
    return exit_skip;
  }
  try {
    Held held("fuzz", {disks[0], disks[1]}, origin_sectors, disks[2]);

    dm::create("fuzz-room", {{0, origin_sectors, "linear", disks[3] + " " + std::to_string(origin_sectors)}});
    try {
      fail_each_allocation(held, disks[3], dm::node("fuzz-room"), origin_sectors, all, random);
    } catch (...) {
      dm::remove("fuzz-room");
      throw;
    }
    dm::remove("fuzz-room");
    held.check_all();
    held.end();
  } catch (const CheckFailure &failure) {
    std::printf("fuzz: WRONG: %s\n", failure.what());
    return exit_wrong;
  }
  return 0;
}

}  // namespace

int main(int argc, char **argv) {
  const std::vector<std::string> args(argv + 1, argv + argc);

  // What was said before the machine went down is the most interesting.
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  try {
    if (args.size() == 7 && args[0] == "run")
      return run_command(std::stod(args[1]), std::stoull(args[2]), {args.begin() + 3, args.end()});
    if (args.size() == 6 && args[0] == "fail-nth")
      return fail_nth_command(args[1] == "all", args[1] == "all" ? 0 : std::stoull(args[1]),
                              {args.begin() + 2, args.end()});
    std::fputs(usage_text, args.size() == 1 && args[0] == "--help" ? stdout : stderr);
    return args.size() == 1 && args[0] == "--help" ? 0 : exit_trouble;
  } catch (const std::exception &error) {
    std::fprintf(stderr, "fuzz: %s\n", error.what());
    return exit_trouble;
  }
}
