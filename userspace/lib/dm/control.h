// SPDX-License-Identifier: GPL-2.0-or-later
/**
 * @file
 * The two things that libdevmapper cannot do: send a message without taking memory, and wait for an event
 * with a time limit. They use /dev/mapper/control directly. Internal to lib/dm.
 */
#ifndef DIFFSNAP_DM_CONTROL_H
#define DIFFSNAP_DM_CONTROL_H

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "base/unique_fd.h"
#include "dm/device_mapper.h"

namespace diffsnap::dm {

/** Everything that sending needs is allocated and opened here. Throws InitError, Error. */
[[nodiscard]] std::unique_ptr<PreparedMessage> prepare_control_message(const std::string &name,
                                                                       const std::string &text);

/** Becomes readable when any device-mapper device has an event. */
class EventPoll {
 public:
  /** Throws InitError if the control node cannot be opened. */
  EventPoll();
  /** Forgets past events. Look at the devices after this, so that no event is lost between. Throws Error. */
  void arm();
  /** @return false on a time out or when a signal came. @param timeout nothing: for ever. Throws Error. */
  [[nodiscard]] bool wait(std::optional<std::chrono::milliseconds> timeout);

 private:
  UniqueFd control_;
};

}  // namespace diffsnap::dm

#endif
