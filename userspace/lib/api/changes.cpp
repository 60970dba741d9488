// SPDX-License-Identifier: GPL-2.0-or-later
#include "api/state.h"

namespace diffsnap::v0 {

Changes::Changes(std::unique_ptr<api::ChangesState> state) noexcept : state_(std::move(state)) {}
Changes::Changes(Changes &&other) noexcept = default;
Changes &Changes::operator=(Changes &&other) noexcept = default;
Changes::~Changes() = default;

const Image &Changes::image() const noexcept {
  return state_->image;
}

std::optional<Range> Changes::next() {
  if (state_->ended) {
    return std::nullopt;
  }
  if (const auto range = state_->cursor.next()) {
    return Range{range->offset, range->length};
  }
  // Without the snapshot the kernel answers as of now.
  check_still_in_order(state_->manager->machine.device_mapper(), state_->tracked, "list changes of");
  state_->ended = true;
  return std::nullopt;
}

}  // namespace diffsnap::v0
