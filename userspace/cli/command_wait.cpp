// SPDX-License-Identifier: GPL-2.0-or-later
#include <cerrno>
#include <chrono>

#include "base/error.h"
#include "base/text.h"
#include "command.h"
#include "context.h"
#include "core/snapshot_set.h"

namespace diffsnap::cli {

const std::vector<Option> wait_options = {
    {"timeout", '\0', "MS", "Give up after so many milliseconds, with status 6."},
    {"event", '\0', "N",
     "Return at once if the number of the last event is another one: nothing between two calls is missed "
     "then."},
    {"format", '\0', "FORMAT", "text (the default), or json.", false, Completes::words, "text json"},
};

namespace {

/** Names of options and events need no quoting in JSON; names of snapshots neither, by their alphabet. */
void print_event(std::ostream &out, const SnapshotEvent &event, bool json) {
  const SnapshotInfo &snapshot = event.snapshot;
  const auto reason = snapshot.reason();
  const dm::StoreNumbers *numbers = snapshot.numbers();
  const std::string words = reason ? reason->to_string() : "-";
  const Sectors used = numbers ? numbers->used : 0;
  const Sectors size = numbers ? numbers->size : 0;

  if (json) {
    out << "{\"snapshot\":\"" << snapshot.name << "\",\"event\":" << event.number << ",\"state\":\""
        << snapshot.state() << "\",\"reason\":\"" << words << "\",\"used\":" << (used << sector_shift)
        << ",\"size\":" << (size << sector_shift) << "}\n";
  } else {
    out << "snapshot=" << snapshot.name << " event=" << event.number << " state=" << snapshot.state()
        << " reason=" << words << " used=" << (used << sector_shift) << " size=" << (size << sector_shift)
        << '\n';
  }
}

template <typename Number>
std::optional<Number> number_option(const Invocation &invocation, const char *name) {
  if (!invocation.has(name)) {
    return std::nullopt;
  }
  const auto number = parse_number<Number>(invocation.value(name));
  if (!number) {
    throw SyntaxError("use", std::string("--") + name + " \"" + invocation.value(name) + "\"", EINVAL,
                      "it is no number");
  }
  return number;
}

}  // namespace

int run_wait(Context &context, const Invocation &invocation) {
  const auto timeout_ms = number_option<std::uint32_t>(invocation, "timeout");
  const auto known = number_option<std::uint32_t>(invocation, "event");
  const std::string format = invocation.has("format") ? invocation.value("format") : "text";
  if (format != "text" && format != "json") {
    throw SyntaxError("use", "--format \"" + format + "\"", EINVAL, "the formats are text and json");
  }
  std::optional<std::chrono::milliseconds> timeout;
  if (timeout_ms) {
    timeout = std::chrono::milliseconds(*timeout_ms);
  }

  const Environment env = context.environment();
  const std::string &name = invocation.arguments().front();
  if (context.dry_run()) {
    static_cast<void>(get_snapshot(env.dm, name, "wait for"));
    return exit_done;
  }
  const auto event = wait_for_event(env, name, known, timeout);
  if (!event) {
    return exit_timed_out;
  }
  print_event(context.out(), *event, format == "json");
  return exit_done;
}

}  // namespace diffsnap::cli
