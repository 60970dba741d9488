// SPDX-License-Identifier: GPL-2.0-or-later
//
// What the tracker says against what differs: two images of one origin may
// differ only where the newer one's changes say so.
#pragma once

#include "device.h"

#include <cstdint>
#include <vector>

namespace oracle {

class ChangeCheck {
 public:
  explicit ChangeCheck(Backend &backend);

  // Compares origin's image, which nobody writes to, with the one at the former
  // call, and keeps it for the next. Throws CheckFailure if they differ where
  // no change was told.
  void look(std::size_t origin);

  std::uint64_t different_sectors() const { return different_; }
  std::uint64_t told_sectors() const { return told_; }

 private:
  struct Former {
    TrackedSnapshot snapshot;
    std::vector<char> content;  // empty: none yet
  };

  void compare(std::size_t origin, const Former &former, const std::vector<char> &content);

  Backend &backend_;
  std::vector<Former> former_;
  std::uint64_t different_ = 0;
  std::uint64_t told_ = 0;
};

}  // namespace oracle
