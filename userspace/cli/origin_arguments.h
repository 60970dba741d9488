// SPDX-License-Identifier: GPL-2.0-or-later
/** @file The origins that a command line names for a snapshot, attached or still to be attached. */
#ifndef DIFFSNAP_CLI_ORIGIN_ARGUMENTS_H
#define DIFFSNAP_CLI_ORIGIN_ARGUMENTS_H

#include <string>
#include <vector>

#include "core/environment.h"
#include "core/inventory.h"

namespace diffsnap::cli {

class Context;

/** The devices that arguments name, split by what has to be done with them. */
struct Origins {
  std::vector<DeviceId> all;  // each once; what is attached by the number of its origin
  std::vector<DeviceId> to_attach;
};

/** Throws Error: EINVAL if one was given twice, and, if one is no origin, for what it cannot be made one. */
[[nodiscard]] Origins find_origins(const Environment &env, const Inventory &inventory,
                                   const std::vector<std::string> &arguments);

/** Whether all could be attached. Throws Error. */
void check_attachments(const Environment &env, const Origins &origins);

/** Takes the origin target off again what it was put on for a snapshot that then did not get it. */
class Attachments {
 public:
  /** Both must outlive it. */
  Attachments(Context &context, const Environment &env) : context_(context), env_(env) {}
  Attachments(const Attachments &) = delete;
  Attachments &operator=(const Attachments &) = delete;
  ~Attachments();

  void add(DeviceId device);
  /** What of them is no origin yet. */
  void add_all(const Origins &origins);
  void keep() noexcept { origins_.clear(); }

 private:
  Context &context_;
  const Environment &env_;
  std::vector<DeviceId> origins_;
};

}  // namespace diffsnap::cli

#endif
