// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/change_id.h"

#include <cerrno>

#include "base/error.h"
#include "diffsnap/diffsnap.h"

namespace diffsnap::v0 {

std::string ChangeId::to_string() const {
  return diffsnap::ChangeId{generation, number}.to_string();
}

ChangeId ChangeId::parse(std::string_view text) {
  const auto id = diffsnap::ChangeId::parse(text);
  if (!id) {
    throw SyntaxError("read", '"' + std::string(text) + '"', EINVAL, "it is not GENERATION:N");
  }
  return {id->generation, id->number};
}

bool operator==(const ChangeId &a, const ChangeId &b) noexcept {
  return a.generation == b.generation && a.number == b.number;
}

bool operator!=(const ChangeId &a, const ChangeId &b) noexcept {
  return !(a == b);
}

}  // namespace diffsnap::v0
