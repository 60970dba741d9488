// SPDX-License-Identifier: GPL-2.0-or-later
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <optional>

#include "base/error.h"
#include "base/size.h"
#include "base/text.h"
#include "command.h"
#include "context.h"
#include "core/fd_stream.h"
#include "core/send.h"
#include "progress.h"
#include "select.h"
#include "sys/target_file.h"

namespace diffsnap::cli {

const std::vector<Option> send_options = {
    {"since", '\0', "[GENERATION:]N",
     "The snapshot that the stream starts from, as `diffsnap origins` shows them. A full stream if not "
     "given."},
    {"release",
     '\0',
     {},
     "Release what was written out: its room in the store is free again. The image can be sent once then."},
    {"threads", 'j', "N", "Threads that read ahead, 1 to 64; 4 if not given."},
    {"manifest", '\0', "FILE", "Write what was sent to a file, as JSON, when all of it was."},
    {"progress", '\0', {}, "Show progress although stderr is no terminal, a line every ten seconds."},
};

namespace {

constexpr unsigned usual_threads = 4;
constexpr unsigned most_threads = 64;

unsigned threads_of(const Invocation &invocation) {
  if (!invocation.has("threads")) {
    return usual_threads;
  }
  const auto number = parse_number<unsigned>(invocation.value("threads"));
  if (!number || *number == 0 || *number > most_threads) {
    throw SyntaxError("use", "--threads \"" + invocation.value("threads") + "\"", EINVAL,
                      "it is a number from 1 to " + std::to_string(most_threads));
  }
  return *number;
}

}  // namespace

int run_send(Context &context, const Invocation &invocation) {
  const std::string &words = invocation.arguments().front();
  const auto [snapshot, origin] = split_image_words(words);
  SendOptions options;
  options.threads = threads_of(invocation);
  options.release = invocation.has("release");
  options.force = context.force();
  std::optional<Since> since;
  if (invocation.has("since")) {
    since = parse_since(invocation.value("since"));
  }
  if (!context.dry_run() && ::isatty(STDOUT_FILENO) != 0) {
    throw SyntaxError("send", "image \"" + words + "\"", EINVAL, "stdout is a terminal",
                      "Redirect it to a file or a pipe.");
  }

  const Environment env = context.environment();
  const TrackedImage image = get_tracked_image(env.dm, snapshot, origin, "send");
  if (since) {
    options.since = resolve_since(image, *since, "send");
  }
  if (context.dry_run()) {
    check_sendable(image, options);
    return exit_done;
  }
  if (invocation.has("manifest")) {
    // Now, and not when a long stream was sent, perhaps with its source released.
    sys::check_replaceable(invocation.value("manifest"));
  }
  const ProgressStyle style = progress_style(invocation.has("progress"));
  std::optional<std::uint64_t> total;
  if (style != ProgressStyle::none) {
    total = measure(env.dm, image, options.since);
  }
  std::optional<Progress> progress(std::in_place, context.err(), style, total);
  options.progress = [&](const SendTotals &totals) { progress->update(totals.data + totals.zeroes); };

  // A reader that goes is an error with a message and a status, not the end of this process.
  std::signal(SIGPIPE, SIG_IGN);
  FdSink sink(STDOUT_FILENO, "the stream");
  const SendResult result = send_image(env, image, options, sink);
  progress.reset();
  sink.sync();
  if (invocation.has("manifest")) {
    sys::replace_file(invocation.value("manifest"), result.to_json());
  }
  context.done_aside("Image \"" + words + "\" sent: " + format_size(result.totals.data, 'h') + " of data, " +
                     format_size(result.totals.zeroes, 'h') + " of zeroes, SHA-256 " + result.sha256);
  return exit_done;
}

}  // namespace diffsnap::cli
