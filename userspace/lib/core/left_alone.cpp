// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/left_alone.h"

#include <thread>

namespace diffsnap {

bool is_left_alone(const Environment &env, const std::string &name, std::chrono::milliseconds patience) {
  constexpr std::chrono::milliseconds pause{50};
  const auto until = std::chrono::steady_clock::now() + patience;
  while (true) {
    const auto device = env.dm.info(name);
    if (!device || device->open_count == 0) {
      return true;
    }
    if (env.devices.usage(device->id) || std::chrono::steady_clock::now() >= until) {
      return false;
    }
    std::this_thread::sleep_for(pause);
  }
}

}  // namespace diffsnap
