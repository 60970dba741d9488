// SPDX-License-Identifier: GPL-2.0-or-later
#include "cutter.h"

#include <chrono>
#include <cstdio>
#include <string>

#include <boost/algorithm/string/join.hpp>

namespace diffsnap::cli {

namespace {

std::string in_milliseconds(std::chrono::nanoseconds time) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f ms", std::chrono::duration<double, std::milli>(time).count());
  return text;
}

}  // namespace

void Cutter::tell(const CreateResult &result) {
  if (freeze_) {
    for (const std::string &path : freezer_.unsupported()) {
      context_.warn("The file system on " + path +
                    " cannot be frozen: its image is as after a power failure.");
    }
    const auto frozen = freezer_.frozen();
    context_.explain(frozen.empty() ? "No file system was frozen."
                                    : "File systems were frozen for " + in_milliseconds(result.frozen) +
                                          ": " + boost::algorithm::join(frozen, ", ") + ".");
  }
  context_.explain("Writes were held for " + in_milliseconds(result.closed) + ".");
}

}  // namespace diffsnap::cli
