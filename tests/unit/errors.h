// SPDX-License-Identifier: GPL-2.0-or-later
/** @file Catching the library's errors, to look at them. */
#ifndef DIFFSNAP_TESTS_ERRORS_H
#define DIFFSNAP_TESTS_ERRORS_H

#include <optional>
#include <string>

#include "base/error.h"

namespace diffsnap::test {

/** The error that an action throws; nothing if it throws none. */
template <typename Action>
std::optional<Error> error_of(const Action &action) {
  try {
    static_cast<void>(action());
  } catch (const Error &error) {
    return error;
  }
  return std::nullopt;
}

/** The errno value that an action fails with; 0 if it does not. */
template <typename Action>
int errno_of(const Action &action) {
  const auto error = error_of(action);
  return error ? error->error_number() : 0;
}

/** The message that an action fails with; empty if it does not. */
template <typename Action>
std::string message_of(const Action &action) {
  const auto error = error_of(action);
  return error ? error->what() : "";
}

}  // namespace diffsnap::test

#endif
