// SPDX-License-Identifier: GPL-2.0-or-later
/** @file A sequence of steps of which each can be undone. Internal to lib/core. */
#ifndef DIFFSNAP_CORE_STEPS_H
#define DIFFSNAP_CORE_STEPS_H

#include <functional>
#include <utility>
#include <vector>

namespace diffsnap {

/**
 * What was done so far. Unless finish() is called, the destructor undoes it, last first, all of it, and
 * swallows errors of that: the error that led here is the one that counts.
 */
class Steps {
 public:
  using Action = std::function<void()>;

  Steps() = default;
  Steps(const Steps &) = delete;
  Steps &operator=(const Steps &) = delete;
  ~Steps() { undo(); }

  /**
   * Does something, and remembers how to undo it.
   * @param undo  run only if @p action returned; empty: nothing to undo
   */
  void run(const Action &action, Action undo = {}) {
    // The place is made first: once the action is done, remembering it must not fail.
    undo_.emplace_back();
    try {
      action();
    } catch (...) {
      undo_.pop_back();
      throw;
    }
    undo_.back() = std::move(undo);
  }

  /** All is well: nothing will be undone. */
  void finish() noexcept { undo_.clear(); }

 private:
  void undo() noexcept {
    while (!undo_.empty()) {
      const Action action = std::move(undo_.back());
      undo_.pop_back();
      if (!action) {
        continue;
      }
      try {
        action();
      } catch (...) {
        // The remaining steps are undone all the same; what stays is found as a leftover by its UUID.
      }
    }
  }

  std::vector<Action> undo_;
};

}  // namespace diffsnap

#endif
