// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/size.h"
#include "command.h"
#include "context.h"
#include "core/naming.h"
#include "core/stacking.h"

namespace diffsnap::cli {

const std::vector<Option> attach_options = {
    {"name", 'n', "NAME",
     "Device-mapper name of the origin, for a device that is not a device-mapper device itself; the kernel's "
     "name of "
     "the device if not given."},
    {"tracking-block", '\0', "SIZE",
     "Unit in which changes are tracked, a power of two from 4k to 16m; 64k if not given."},
};

int run_attach(Context &context, const Invocation &invocation) {
  AttachOptions options;
  if (invocation.has("name")) {
    options.name = invocation.value("name");
    check_name(options.name);
  }
  if (invocation.has("tracking-block")) {
    options.tracking_block = parse_size(invocation.value("tracking-block")) >> sector_shift;
    check_tracking_block(options.tracking_block);
  }
  options.tracker_directory = context.tracker_directory();
  options.dry_run = context.dry_run();

  const Environment env = context.environment_for_changes();
  const AttachResult result = attach(env, sys::resolve_device(invocation.arguments().front()), options);
  // Data, and therefore in spite of -q: it is what users have to open from now on.
  context.out() << "/dev/mapper/" << result.name << '\n';
  if (!context.dry_run()) {
    if (result.tracker_lost) {
      context.warn(*result.tracker_lost);
    }
    context.explain("Origin \"" + result.name + "\" attached" + (result.live ? ", live." : "."));
  }
  return exit_done;
}

}  // namespace diffsnap::cli
