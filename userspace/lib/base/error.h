// SPDX-License-Identifier: GPL-2.0-or-later
/**
 * @file
 * The errors of the library. They are thrown where they are found and caught once, in main().
 */
#ifndef DIFFSNAP_BASE_ERROR_H
#define DIFFSNAP_BASE_ERROR_H

#include <string>
#include <system_error>

namespace diffsnap {

/**
 * Something could not be done. what() is `cannot <verb> <object>: <reason>`, without a final period,
 * ready to be printed after the name of the tool.
 */
class Error : public std::system_error {
 public:
  /**
   * @param verb          what was tried, as an infinitive: "attach"
   * @param object        what it was tried on: "/dev/vg/root", "snapshot \"daily\""
   * @param error_number  an errno value; code() returns it
   * @param reason        in words; empty: the text of the errno
   * @param hint          what the user can do about it, a sentence of its own; may be empty
   */
  Error(std::string verb, std::string object, int error_number, std::string reason = {},
        std::string hint = {});

  [[nodiscard]] const char *what() const noexcept override { return message_.c_str(); }
  [[nodiscard]] const std::string &verb() const noexcept { return verb_; }
  [[nodiscard]] const std::string &object() const noexcept { return object_; }
  [[nodiscard]] const std::string &reason() const noexcept { return reason_; }
  /** A second line for the user, empty if there is none. */
  [[nodiscard]] const std::string &hint() const noexcept { return hint_; }
  [[nodiscard]] int error_number() const noexcept { return code().value(); }

 private:
  std::string verb_;
  std::string object_;
  std::string reason_;
  std::string hint_;
  std::string message_;
};

/** The surroundings are missing: no device-mapper, no module, no permission (exit status 4). */
class InitError : public Error {
 public:
  using Error::Error;
};

/** The user's words cannot be understood: a malformed name, range or size (exit status 3). */
class SyntaxError : public Error {
 public:
  using Error::Error;
};

}  // namespace diffsnap

#endif
