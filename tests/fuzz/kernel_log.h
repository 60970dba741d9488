// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>
#include <vector>

namespace fuzz {

// What the kernel says from now on.
class KernelLog {
 public:
  KernelLog();
  ~KernelLog();
  KernelLog(const KernelLog &) = delete;
  KernelLog &operator=(const KernelLog &) = delete;

  // The lines since the last call.
  std::vector<std::string> lines();

 private:
  int fd_;
};

}  // namespace fuzz
