// SPDX-License-Identifier: GPL-2.0-or-later
#include <cerrno>

#include "base/error.h"
#include "base/size.h"
#include "command.h"
#include "context.h"
#include "core/inventory.h"
#include "core/snapshot_set.h"
#include "core/store_plan.h"
#include "select.h"

namespace diffsnap::cli {

const std::vector<Option> extend_options = {
    {"store", 's', "STORE", "What to add: DEVICE, or DEVICE:OFFSET+LENGTH for a range of one, as for create.",
     true, Completes::device},
    {"size", 'L', "[+]SIZE",
     "Add no more than so much of what -s names, from its front; without the +, no more than makes the store "
     "so large."},
};

int run_extend(Context &context, const Invocation &invocation) {
  const std::string &name = invocation.arguments().front();
  const std::vector<StoreSpec> specs = store_specs(invocation.values("store"));
  if (specs.empty()) {
    throw SyntaxError("read", "the command line", EINVAL, "no store is given",
                      "Use -s STORE; see diffsnap-extend(8).");
  }
  std::optional<SizeChange> change;
  if (invocation.has("size")) {
    change = parse_size_change(invocation.value("size"));
  }

  const Environment env = context.environment_for_changes();
  const SnapshotInfo snapshot = get_snapshot(env.dm, name, "extend");
  StorePlanOptions options;
  options.chunk = snapshot.table.chunk;
  options.force = context.force();
  if (change) {
    const Sectors wanted = change->bytes >> sector_shift;
    if (!change->relative && wanted <= snapshot.table.length) {
      throw Error("extend", "snapshot \"" + name + "\"", EINVAL,
                  "its store has " + format_size(snapshot.table.length << sector_shift, 'h') + " already");
    }
    options.limit = change->relative ? wanted : wanted - snapshot.table.length;
  }
  const StorePlan plan = plan_store(env, resolve_store_specs(env, specs), ranges_in_use(env.dm), options);
  const Sectors size = extend_snapshot(env, name, plan, context.dry_run());
  if (context.dry_run()) {
    return exit_done;
  }
  context.done("Snapshot \"" + name + "\" extended to " + format_size(size << sector_shift, 'h') + ".");
  return exit_done;
}

}  // namespace diffsnap::cli
