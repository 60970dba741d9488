// SPDX-License-Identifier: GPL-2.0-or-later
/** @file What stands behind the public classes. Internal to lib/api, and to tests that invent a machine. */
#ifndef DIFFSNAP_API_STATE_H
#define DIFFSNAP_API_STATE_H

#include <memory>
#include <optional>
#include <utility>

#include "core/machine.h"
#include "core/tracker.h"
#include "diffsnap/diffsnap.h"

namespace diffsnap::api {

struct ManagerState {
  ManagerState() = default;
  ManagerState(dm::DeviceMapper &dm, sys::BlockDevices &devices, std::string tracker_directory = {})
      : machine(dm, devices, std::move(tracker_directory)) {}

  Machine machine;
};

struct ChangesState {
  ChangesState(std::shared_ptr<ManagerState> owner, TrackedImage tracked_image,
               const std::optional<ChangeId> &since, v0::Image listed)
      : manager(std::move(owner)),
        tracked(std::move(tracked_image)),
        cursor(manager->machine.device_mapper(), tracked, since),
        image(std::move(listed)) {}

  // In this order: each refers to those before it.
  std::shared_ptr<ManagerState> manager;
  TrackedImage tracked;
  ChangeCursor cursor;
  v0::Image image;
  bool ended = false;
};

}  // namespace diffsnap::api

#endif
