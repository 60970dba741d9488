// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/change_id.h"

#include "base/text.h"

namespace diffsnap {

bool is_generation(std::string_view text) noexcept {
  constexpr std::string_view form = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
  if (text.size() != form.size()) {
    return false;
  }
  for (std::size_t i = 0; i < form.size(); ++i) {
    const char c = text[i];
    const bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
    if (form[i] == '-' ? c != '-' : !hex) {
      return false;
    }
  }
  return true;
}

std::string ChangeId::to_string() const {
  return generation + ':' + std::to_string(number);
}

std::optional<ChangeId> ChangeId::parse(std::string_view text) {
  const auto colon = text.find(':');
  if (colon == std::string_view::npos || !is_generation(text.substr(0, colon))) {
    return std::nullopt;
  }
  const auto number = parse_number<std::uint64_t>(text.substr(colon + 1));
  if (!number) {
    return std::nullopt;
  }
  return ChangeId{std::string(text.substr(0, colon)), *number};
}

bool operator==(const ChangeId &a, const ChangeId &b) noexcept {
  return a.generation == b.generation && a.number == b.number;
}

bool operator!=(const ChangeId &a, const ChangeId &b) noexcept {
  return !(a == b);
}

}  // namespace diffsnap
