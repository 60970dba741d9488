// SPDX-License-Identifier: GPL-2.0-or-later
#include "origin_arguments.h"

#include <algorithm>
#include <cerrno>

#include "base/error.h"
#include "context.h"
#include "core/stacking.h"
#include "sys/block_device.h"

namespace diffsnap::cli {

Origins find_origins(const Environment &env, const Inventory &inventory,
                     const std::vector<std::string> &arguments) {
  Origins origins;

  for (const std::string &words : arguments) {
    const OriginInfo *origin = inventory.find_origin(words);
    DeviceId device = origin ? origin->device.id : sys::resolve_device(words);
    if (!origin) {
      origin = inventory.find_origin_on(device);
    }
    if (origin) {
      device = origin->device.id;
    }
    if (std::find(origins.all.begin(), origins.all.end(), device) != origins.all.end()) {
      throw Error("snapshot", words, EINVAL, "it was given twice");
    }
    origins.all.push_back(device);
    if (origin) {
      continue;
    }
    try {
      check_attach_live(env, device);
    } catch (const Error &error) {
      throw Error("snapshot", words, error.error_number(),
                  "it is no origin, and cannot be made one: " + error.reason(), error.hint());
    }
    origins.to_attach.push_back(device);
  }
  return origins;
}

void check_attachments(const Environment &env, const Origins &origins) {
  for (const DeviceId device : origins.to_attach) {
    AttachOptions check_only;
    check_only.dry_run = true;
    static_cast<void>(attach(env, device, check_only));
  }
}

Attachments::~Attachments() {
  for (auto origin = origins_.rbegin(); origin != origins_.rend(); ++origin) {
    try {
      DetachOptions options;
      options.tracker_directory = context_.tracker_directory();
      const DetachResult result = detach(env_, *origin, options);
      if (result.tracker_lost) {
        context_.warn(*result.tracker_lost);
      }
    } catch (const std::exception &) {
      // The error that led here counts; `origins` shows what stayed attached, and it does no harm.
    }
  }
}

void Attachments::add(DeviceId device) {
  origins_.reserve(origins_.size() + 1);
  AttachOptions options;
  options.tracker_directory = context_.tracker_directory();
  const AttachResult result = attach(env_, device, options);
  origins_.push_back(result.origin);
  if (result.tracker_lost) {
    context_.warn(*result.tracker_lost);
  }
}

void Attachments::add_all(const Origins &origins) {
  for (const DeviceId device : origins.to_attach) {
    add(device);
  }
}

}  // namespace diffsnap::cli
