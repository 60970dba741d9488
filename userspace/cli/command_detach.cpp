// SPDX-License-Identifier: GPL-2.0-or-later
#include "command.h"
#include "context.h"
#include "core/inventory.h"
#include "core/stacking.h"

namespace diffsnap::cli {

int run_detach(Context &context, const Invocation &invocation) {
  const Environment env = context.environment_for_changes();

  for (const std::string &words : invocation.arguments()) {
    const Inventory inventory = read_inventory(env.dm);
    // Either the name that `attach` gave it, or any path to the device.
    const OriginInfo *origin = inventory.find_origin(words);
    const DeviceId device = origin ? origin->device.id : sys::resolve_device(words);
    if (!origin) {
      origin = inventory.find_origin_on(device);
    }
    const std::string name = origin ? origin->name() : words;
    DetachOptions options;
    options.tracker_directory = context.tracker_directory();
    options.dry_run = context.dry_run();
    const DetachResult result = detach(env, device, options);
    if (result.tracker_lost) {
      context.warn(*result.tracker_lost);
    }
    if (!context.dry_run()) {
      context.done("Origin \"" + name + "\" detached.");
    }
  }
  return exit_done;
}

}  // namespace diffsnap::cli
