// SPDX-License-Identifier: GPL-2.0-or-later
#include <unistd.h>

#include "base/error.h"
#include "command.h"
#include "context.h"
#include "core/fd_stream.h"
#include "core/receive.h"
#include "progress.h"

namespace diffsnap::cli {

const std::vector<Option> receive_options = {
    {"state", '\0', "FILE",
     "Where to keep account of what TARGET is at; TARGET.diffsnap if not given. A device needs one."},
    {"progress", '\0', {}, "Show progress although stderr is no terminal, a line every ten seconds."},
};

int run_receive(Context &context, const Invocation &invocation) {
  ReceiveOptions options;
  options.target = invocation.arguments().front();
  options.force = context.force();
  options.dry_run = context.dry_run();
  if (invocation.has("state")) {
    options.state_file = invocation.value("state");
  }
  std::optional<Progress> progress;
  const ProgressStyle style = progress_style(invocation.has("progress"));
  options.progress = [&](std::uint64_t changed, std::optional<std::uint64_t> total) {
    if (!progress) {
      progress.emplace(context.err(), style, total);
    }
    progress->update(changed);
  };

  FdSource source(STDIN_FILENO, "the stream");
  const stream::TargetState state = receive_stream(source, options);
  progress.reset();
  if (!context.dry_run()) {
    context.done('"' + options.target + "\" is at " + state.at.value_or("a snapshot without a name") + ".");
  }
  return exit_done;
}

}  // namespace diffsnap::cli
