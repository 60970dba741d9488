// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/error.h"
#include "base/text.h"
#include "command.h"
#include "context.h"

namespace diffsnap::cli {

int run_version(Context &context, const Invocation &) {
  std::string driver = "not available";
  std::string module;

  // Says what it can find out: the tool's own version is of use without a module, or without permission.
  try {
    dm::DeviceMapper &dm = context.device_mapper();
    driver = dm.driver_version().to_string();
    for (const dm::TargetVersion &target : dm.targets()) {
      if (starts_with(target.name, "diffsnap-")) {
        module += (module.empty() ? "" : ", ") + target.name + " " + target.version.to_string();
      }
    }
    if (module.empty()) {
      module = "not loaded";
    }
  } catch (const InitError &error) {
    driver += " (" + error.reason() + ")";
    module = "unknown";
  }
  context.out() << "  diffsnap version:      " DIFFSNAP_VERSION "\n"
                << "  Kernel module:         " << module << "\n"
                << "  Device-mapper version: " << driver << "\n";
  return exit_done;
}

}  // namespace diffsnap::cli
