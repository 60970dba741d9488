// SPDX-License-Identifier: GPL-2.0-or-later
#include <cerrno>
#include <chrono>

#include "base/error.h"
#include "base/size.h"
#include "base/text.h"
#include "command.h"
#include "context.h"
#include "core/inventory.h"
#include "core/naming.h"
#include "core/snapshot_set.h"
#include "core/store_plan.h"
#include "cutter.h"
#include "origin_arguments.h"
#include "select.h"

namespace diffsnap::cli {

const std::vector<Option> create_options = {
    {"name", 'n', "NAME", "Name of the snapshot; snapN with the lowest free N if not given."},
    {"store", 's', "STORE",
     "Where old contents are kept: DEVICE, or DEVICE:OFFSET+LENGTH for a range of one, in bytes where no "
     "unit is "
     "given. What is there is overwritten. It must not lie on an origin.",
     true, Completes::device},
    {"size", 'L', "SIZE", "Use no more than so much of what -s names, from its front."},
    {"chunk", '\0', "SIZE", "Unit of copy-on-write: a power of two from 4k (the default) to 1m."},
    {"on-full", '\0', "ACTION",
     "What becomes of the snapshot when its store is full: invalidate (the default) gives it up at once, "
     "wait:MS "
     "holds first writes to the origins for at most so many milliseconds, up to 60000, waiting for extend.",
     false, Completes::words, "invalidate wait:"},
    {"low-water", '\0', "SIZE", "Raise an event, see wait, when less than so much of the store is free."},
    {"buffer", '\0', "SIZE",
     "Limit of the memory for old contents on their way to the store, at least 2m; 32m by default."},
    {"no-freeze",
     '\0',
     {},
     "Do not freeze the file systems on the origins: images are as after a power failure."},
    {"no-take",
     '\0',
     {},
     "Only make the snapshot with its store, and its origins if some are given; take makes the cut."},
};

namespace {

using std::chrono::milliseconds;

dm::OnFull parse_on_full(const std::string &text) {
  if (text == "invalidate") {
    return {};
  }
  if (starts_with(text, "wait:")) {
    const auto wait = parse_number<unsigned>(std::string_view(text).substr(5));
    if (wait && *wait > 0) {
      return {milliseconds(*wait)};
    }
  }
  throw SyntaxError("use", "--on-full \"" + text + "\"", EINVAL,
                    "it is neither invalidate nor wait:MILLISECONDS");
}

/** What origins are named, as far as can be told without the lock. */
std::vector<DeviceId> devices_of(const Environment &env, const std::vector<std::string> &arguments) {
  try {
    return find_origins(env, read_inventory(env.dm), arguments).all;
  } catch (const Error &) {
    // Perhaps for what a killed command has left: with the lock that is cleared up first.
    return {};
  }
}

CreateOptions parse_options(const Invocation &invocation) {
  CreateOptions options;

  if (invocation.has("chunk")) {
    options.chunk = parse_size(invocation.value("chunk")) >> sector_shift;
  }
  if (invocation.has("low-water")) {
    options.low_water = parse_size(invocation.value("low-water")) >> sector_shift;
  }
  if (invocation.has("buffer")) {
    options.buffer = parse_size(invocation.value("buffer")) >> sector_shift;
  }
  if (invocation.has("on-full")) {
    options.on_full = parse_on_full(invocation.value("on-full"));
  }
  check_limits(options);
  if (!invocation.has("store")) {
    throw SyntaxError("read", "the command line", EINVAL, "no store is given",
                      "Use -s STORE; see diffsnap-create(8).");
  }
  if (invocation.arguments().empty() && !invocation.has("no-take")) {
    throw SyntaxError("read", "the command line", EINVAL, "no origin is given",
                      "Name an ORIGIN, or use --no-take; see diffsnap-create(8).");
  }
  return options;
}

}  // namespace

int run_create(Context &context, const Invocation &invocation) {
  // Everything that can be wrong with the words comes before anything is asked of the machine.
  CreateOptions options = parse_options(invocation);
  const std::vector<StoreSpec> specs = store_specs(invocation.values("store"));
  StorePlanOptions plan_options;
  plan_options.chunk = options.chunk;
  plan_options.force = context.force();
  if (invocation.has("size")) {
    plan_options.limit = parse_size(invocation.value("size")) >> sector_shift;
  }
  if (invocation.has("name")) {
    options.name = invocation.value("name");
    check_name(options.name);
  }

  options.take = !invocation.has("no-take");
  options.dry_run = context.dry_run();

  Cutter cutter(context, options.take && !invocation.has("no-freeze"));
  cutter.write_out_ahead(devices_of(context.environment(), invocation.arguments()));
  const Environment env = context.environment_for_changes();
  const Inventory inventory = read_inventory(env.dm);
  if (options.name.empty()) {
    options.name = free_snapshot_name(env.dm);
  } else if (inventory.find_snapshot(options.name)) {
    throw Error("create", "snapshot \"" + options.name + "\"", EEXIST,
                "there is a snapshot of that name already");
  }
  const Origins origins = find_origins(env, inventory, invocation.arguments());
  options.origins = origins.all;

  Attachments attachments(context, env);
  if (context.dry_run()) {
    check_attachments(env, origins);
    plan_options.to_attach = origins.to_attach;
  } else {
    attachments.add_all(origins);
  }
  // After attaching, so that a store on one of the origins is seen as such.
  options.store = plan_store(env, resolve_store_specs(env, specs), ranges_in_use(env.dm), plan_options);

  const CreateResult result = create_snapshot(env, options, cutter.freezer(), cutter.section());
  attachments.keep();
  if (context.dry_run()) {
    return exit_done;
  }
  if (options.take) {
    cutter.tell(result);
  }
  context.done("Snapshot \"" + result.name + "\" created" + (options.take ? "." : ", not taken yet."));
  return exit_done;
}

}  // namespace diffsnap::cli
