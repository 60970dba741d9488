// SPDX-License-Identifier: GPL-2.0-or-later
/** @file What the commands need that make a cut. */
#ifndef DIFFSNAP_CLI_CUTTER_H
#define DIFFSNAP_CLI_CUTTER_H

#include <vector>

#include "context.h"
#include "core/snapshot_set.h"
#include "sys/freeze.h"

namespace diffsnap::cli {

/** Freezes the file systems of one cut, or does not, and tells of it. */
class Cutter {
 public:
  /** The context must outlive it. */
  Cutter(Context &context, bool freeze)
      : context_(context), freeze_(freeze), section_(freezer_, context.memory()) {}

  /** Before the lock is taken: writes out what is dirty on the devices, if it is going to be frozen. */
  void write_out_ahead(const std::vector<DeviceId> &origins) const noexcept {
    if (freeze_ && !context_.dry_run()) {
      sys::write_out_ahead(origins);
    }
  }
  [[nodiscard]] sys::Freezer *freezer() noexcept { return freeze_ ? &freezer_ : nullptr; }
  [[nodiscard]] sys::CriticalSection *section() noexcept { return freeze_ ? &section_ : nullptr; }
  /** Of a cut that was made: what was not frozen, and with -v what took how long. */
  void tell(const CreateResult &result);

 private:
  Context &context_;
  bool freeze_;
  sys::FileSystemFreezer freezer_;
  sys::FreezeSection section_;
};

}  // namespace diffsnap::cli

#endif
