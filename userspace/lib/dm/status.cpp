// SPDX-License-Identifier: GPL-2.0-or-later
#include "dm/status.h"

#include <array>
#include <system_error>
#include <utility>

#include "base/text.h"

namespace diffsnap::dm {

namespace {

template <typename State>
using Words = std::pair<std::string_view, State>;

constexpr std::array<Words<OriginState>, 4> origin_states{{{"idle", OriginState::idle},
                                                           {"added", OriginState::added},
                                                           {"held", OriginState::held},
                                                           {"invalid", OriginState::invalid}}};
constexpr std::array<Words<StoreState>, 6> store_states{{{"new", StoreState::fresh},
                                                         {"active", StoreState::active},
                                                         {"low", StoreState::low},
                                                         {"overflow", StoreState::overflow},
                                                         {"invalid", StoreState::invalid},
                                                         {"dropped", StoreState::dropped}}};
constexpr std::array<Words<ImageState>, 3> image_states{
    {{"active", ImageState::active}, {"invalid", ImageState::invalid}, {"dropped", ImageState::dropped}}};
// What the kernel says, and what it means.
constexpr std::array<std::pair<std::string_view, const char *>, 7> failures{{
    {"store-full", "the store was full"},
    {"store-write", "the store could not be written"},
    {"store-timeout", "the store did not answer in time"},
    {"store-gone", "the store's device went away"},
    {"origin-read", "old contents of the origin could not be read"},
    {"origin-gone", "the origin target was taken out of its device"},
    {"no-memory", "the kernel ran out of memory"},
}};

template <typename List, typename State>
bool find_state(const List &list, std::string_view word, State &state) {
  for (const auto &[name, value] : list) {
    if (name == word) {
      state = value;
      return true;
    }
  }
  return false;
}

template <typename List, typename State>
std::string_view find_word(const List &list, State state) noexcept {
  for (const auto &[name, value] : list) {
    if (value == state) {
      return name;
    }
  }
  return "unknown";
}

/** Parses a number in place; false if it is none. */
template <typename Number>
bool take(std::string_view word, Number &number) {
  const auto parsed = parse_number<Number>(word);
  if (parsed) {
    number = *parsed;
  }
  return parsed.has_value();
}

/** Words 2 and on of a store's status line. */
bool parse_numbers(const std::vector<std::string_view> &words, StoreNumbers &numbers) {
  constexpr std::size_t first_member = 7;
  constexpr std::size_t words_per_member = 4;
  if (words.size() < first_member) {
    return false;
  }
  const auto slash = words[2].find('/');
  std::int64_t closed = 0;
  std::size_t members = 0;
  if (slash == std::string_view::npos || !take(words[2].substr(0, slash), numbers.used) ||
      !take(words[2].substr(slash + 1), numbers.size) || !take(words[3], numbers.buffered) ||
      !take(words[4], numbers.low_water) || !take(words[5], closed) || !take(words[6], members)) {
    return false;
  }
  // Divided, not multiplied: the count is whatever the line says.
  if ((words.size() - first_member) % words_per_member != 0 ||
      (words.size() - first_member) / words_per_member != members) {
    return false;
  }
  numbers.closed = std::chrono::nanoseconds{closed};
  for (std::size_t i = first_member; i < words.size(); i += words_per_member) {
    const auto origin = DeviceId::parse(words[i]);
    MemberStatus member;
    if (!origin || !take(words[i + 1], member.preserved) || !take(words[i + 2], member.written) ||
        !take(words[i + 3], member.released)) {
      return false;
    }
    member.origin = *origin;
    numbers.members.push_back(member);
  }
  return true;
}

bool has_ended(StoreState state) noexcept {
  return state == StoreState::overflow || state == StoreState::invalid || state == StoreState::dropped;
}

}  // namespace

std::string FailureReason::explain() const {
  std::string text = what;
  for (const auto &[word, meaning] : failures) {
    if (word == what) {
      text = meaning;
    }
  }
  if (origin) {
    text += " (origin " + origin->to_string() + ")";
  }
  // "store was full: No space left on device" says nothing twice as long.
  if (error_number != 0 && what != "store-full" && what != "no-memory") {
    text += ": " + std::generic_category().message(error_number);
  }
  return text;
}

std::string FailureReason::to_string() const {
  return what + ':' + std::to_string(error_number) + ':' + (origin ? origin->to_string() : "-");
}

std::optional<FailureReason> FailureReason::parse(std::string_view text) {
  const auto first = text.find(':');
  const auto second = first == std::string_view::npos ? first : text.find(':', first + 1);
  if (first == 0 || second == std::string_view::npos) {
    return std::nullopt;
  }
  FailureReason reason;
  reason.what = text.substr(0, first);
  const auto where = text.substr(second + 1);
  if (!take(text.substr(first + 1, second - first - 1), reason.error_number)) {
    return std::nullopt;
  }
  if (where != "-") {
    reason.origin = DeviceId::parse(where);
    if (!reason.origin) {
      return std::nullopt;
    }
  }
  return reason;
}

// <state> <store device> <#copies> <preserved sectors> <#held writes> <generation> <change number>
// <tracking block>
AnyOriginStatus parse_origin_status(std::string_view params) {
  const UnknownStatus unknown{std::string(params)};
  const auto words = split_words(params);
  OriginStatus status;
  if (words.size() != 8 || !find_state(origin_states, words[0], status.state) ||
      !take(words[2], status.copies) || !take(words[3], status.preserved) ||
      !take(words[4], status.held_writes) || !is_generation(words[5]) ||
      !take(words[6], status.newest.number) || !take(words[7], status.tracking_block)) {
    return unknown;
  }
  status.newest.generation = words[5];
  if (words[1] != "-") {
    status.store = DeviceId::parse(words[1]);
    if (!status.store) {
      return unknown;
    }
  }
  return status;
}

// <state> <reason> <used>/<size> <buffered> <low water> <closed> <#members> [<origin> <preserved> <written>
// <released>]...
AnyStoreStatus parse_store_status(std::string_view params) {
  const UnknownStatus unknown{std::string(params)};
  const auto words = split_words(params);
  StoreState state{};
  StoreNumbers numbers;
  if (words.size() < 2 || !find_state(store_states, words[0], state) || !parse_numbers(words, numbers)) {
    return unknown;
  }
  std::optional<FailureReason> reason;
  if (words[1] != "-") {
    reason = FailureReason::parse(words[1]);
    if (!reason) {
      return unknown;
    }
  }
  if (has_ended(state)) {
    return EndedStore{state, std::move(reason), std::move(numbers)};
  }
  // One that works has nothing to give a reason for.
  if (reason) {
    return unknown;
  }
  return WorkingStore{state, std::move(numbers)};
}

// <state> <preserved> <written> <released>
AnyImageStatus parse_image_status(std::string_view params) {
  const auto words = split_words(params);
  ImageStatus status;
  if (words.size() != 4 || !find_state(image_states, words[0], status.state) ||
      !take(words[1], status.preserved) || !take(words[2], status.written) ||
      !take(words[3], status.released)) {
    return UnknownStatus{std::string(params)};
  }
  return status;
}

std::string_view to_string(OriginState state) noexcept {
  return find_word(origin_states, state);
}
std::string_view to_string(StoreState state) noexcept {
  return find_word(store_states, state);
}
std::string_view to_string(ImageState state) noexcept {
  return find_word(image_states, state);
}

const StoreNumbers *numbers(const AnyStoreStatus &status) noexcept {
  if (const auto *working = std::get_if<WorkingStore>(&status)) {
    return &working->numbers;
  }
  if (const auto *ended = std::get_if<EndedStore>(&status)) {
    return &ended->numbers;
  }
  return nullptr;
}

}  // namespace diffsnap::dm
