// SPDX-License-Identifier: GPL-2.0-or-later
#include "command.h"
#include "context.h"
#include "core/inventory.h"
#include "core/snapshot_set.h"
#include "cutter.h"

namespace diffsnap::cli {

const std::vector<Option> take_options = {
    {"no-freeze",
     '\0',
     {},
     "Do not freeze the file systems on the origins: images are as after a power failure."},
};

namespace {

/** Origins of a snapshot, as far as can be told without the lock. */
std::vector<DeviceId> members_of(const Environment &env, const std::string &name) {
  std::vector<DeviceId> devices;
  const Inventory inventory = read_inventory(env.dm);
  const SnapshotInfo *snapshot = inventory.find_snapshot(name);
  const dm::StoreNumbers *numbers = snapshot != nullptr ? snapshot->numbers() : nullptr;
  for (const dm::MemberStatus &member :
       numbers != nullptr ? numbers->members : std::vector<dm::MemberStatus>()) {
    devices.push_back(member.origin);
  }
  return devices;
}

}  // namespace

int run_take(Context &context, const Invocation &invocation) {
  TakeOptions options;
  options.name = invocation.arguments().front();
  options.dry_run = context.dry_run();

  Cutter cutter(context, !invocation.has("no-freeze"));
  cutter.write_out_ahead(members_of(context.environment(), options.name));
  const Environment env = context.environment_for_changes();
  const CreateResult result = take_snapshot(env, options, cutter.freezer(), cutter.section());
  if (context.dry_run()) {
    return exit_done;
  }
  cutter.tell(result);
  context.done("Snapshot \"" + result.name + "\" taken.");
  return exit_done;
}

}  // namespace diffsnap::cli
