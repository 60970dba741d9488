// SPDX-License-Identifier: GPL-2.0-or-later
#include <cerrno>
#include <optional>

#include "base/error.h"
#include "base/size.h"
#include "command.h"
#include "context.h"
#include "core/rollback.h"
#include "core/snapshot_set.h"
#include "progress.h"
#include "select.h"

namespace diffsnap::cli {

const std::vector<Option> rollback_options = {
    {"remove", '\0', {}, "Remove the snapshot when all of its origins are rolled back."},
    {"verify", '\0', {}, "Read origins and images once more when an origin is done, and compare them."},
    {"progress", '\0', {}, "Show progress although stderr is no terminal, a line every ten seconds."},
};

namespace {

std::string names_of(const std::vector<TrackedImage> &images) {
  std::string names;
  for (const TrackedImage &image : images) {
    names += (names.empty() ? "\"" : ", \"") + image.origin.name() + '"';
  }
  return (images.size() == 1 ? "origin " : "origins ") + names;
}

void warn_of_writes(Context &context, const std::vector<TrackedImage> &images) {
  for (const TrackedImage &image : images) {
    const auto *status = std::get_if<dm::ImageStatus>(&image.image.status);
    if (status != nullptr && status->written > 0) {
      context.warn("The image " + image.image.path +
                   " was written to: the origin gets what it holds now, not what it held at the cut.");
    }
  }
}

/** What is done cannot be undone by anything; so it is said, and asked, when all else is in order. */
void ask(Context &context, const Rollback &rollback, const std::string &snapshot) {
  const std::string names = names_of(rollback.images());
  warn_of_writes(context, rollback.images());
  context.warn("If the machine goes down on the way, the snapshot is lost and the " + names +
               " left half rolled back.");
  context.confirm("What was written to the " + names + " since the cut will be lost. Go on?", "roll back to",
                  "snapshot \"" + snapshot + '"');
}

}  // namespace

int run_rollback(Context &context, const Invocation &invocation) {
  const std::string &words = invocation.arguments().front();
  const auto [snapshot, origin] = split_snapshot_words(words);
  const bool remove = invocation.has("remove");
  if (remove && origin) {
    throw SyntaxError("use", "--remove with one origin", EINVAL, "the snapshot is of all its origins",
                      "Remove it with `diffsnap remove " + snapshot + "'.");
  }

  const Environment env = context.environment();
  RollbackOptions options;
  options.snapshot = snapshot;
  options.origin = origin;
  options.force = context.force();
  options.verify = invocation.has("verify");
  Rollback rollback(env, options);
  if (context.dry_run()) {
    return exit_done;
  }
  ask(context, rollback, snapshot);

  const ProgressStyle style = progress_style(invocation.has("progress"));
  std::optional<std::uint64_t> total;
  if (style != ProgressStyle::none) {
    total = rollback.measure();
  }
  std::optional<Progress> progress(std::in_place, context.err(), style, total);
  const RestoreTotals totals =
      rollback.run([&](const RestoreTotals &now) { progress->update(now.compared); });
  progress.reset();
  context.done((origin ? "Origin \"" + *origin : "Snapshot \"" + snapshot) +
               "\" rolled back: " + format_size(totals.different, 'h') + " of " +
               format_size(totals.compared, 'h') + " that may have changed differed.");
  if (remove) {
    const Environment locked = context.locked_environment();
    remove_snapshot(locked, snapshot);
    context.clear_up(locked);
    context.done("Snapshot \"" + snapshot + "\" removed.");
  }
  return exit_done;
}

}  // namespace diffsnap::cli
