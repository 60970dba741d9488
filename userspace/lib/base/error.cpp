// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/error.h"

#include <utility>

namespace diffsnap {

Error::Error(std::string verb, std::string object, int error_number, std::string reason, std::string hint)
    : std::system_error(error_number, std::generic_category()),
      verb_(std::move(verb)),
      object_(std::move(object)),
      reason_(reason.empty() ? std::generic_category().message(error_number) : std::move(reason)),
      hint_(std::move(hint)),
      message_("cannot " + verb_ + (object_.empty() ? "" : " " + object_) + ": " + reason_) {}

}  // namespace diffsnap
