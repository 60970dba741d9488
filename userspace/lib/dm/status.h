// SPDX-License-Identifier: GPL-2.0-or-later
/**
 * @file
 * Status lines of the three targets, parsed. A status is a variant: what works has numbers, what was
 * given up has a reason, and a line that this version does not understand is kept as it is.
 *
 * The format is documented in dm-target/dm-diffsnap.rst. All numbers are sectors unless said otherwise.
 */
#ifndef DIFFSNAP_DM_STATUS_H
#define DIFFSNAP_DM_STATUS_H

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/change_id.h"
#include "base/device_id.h"
#include "dm/table.h"

namespace diffsnap::dm {

/** A status line that does not follow the documented form. */
struct UnknownStatus {
  std::string text;
};

enum class OriginState { idle, added, held, invalid };

/** Status of a `diffsnap-origin`. */
struct OriginStatus {
  OriginState state = OriginState::idle;
  /** The snapshot's store, if there is a snapshot. */
  std::optional<DeviceId> store;
  std::uint64_t copies = 0;
  Sectors preserved = 0;
  std::uint64_t held_writes = 0;
  /** Of its tracker: the generation, and the number of the newest snapshot, 0 before the first. */
  ChangeId newest;
  Sectors tracking_block = 0;
};
using AnyOriginStatus = std::variant<OriginStatus, UnknownStatus>;

/** What happened to a snapshot that was given up: `<what>:<errno>:<origin device or ->`. */
struct FailureReason {
  /** "store-full", "store-write", "store-timeout", "store-gone", "origin-read", "origin-gone", "no-memory" */
  std::string what;
  int error_number = 0;
  std::optional<DeviceId> origin;

  /** For people: "the store could not be written: Input/output error". */
  [[nodiscard]] std::string explain() const;
  /** As in the status line. */
  [[nodiscard]] std::string to_string() const;
  [[nodiscard]] static std::optional<FailureReason> parse(std::string_view text);
};

/** One origin's part in a snapshot. */
struct MemberStatus {
  DeviceId origin;
  Sectors preserved = 0;
  Sectors written = 0;
  Sectors released = 0;
};

/** The numbers of a store, which both a working and a given up one have. */
struct StoreNumbers {
  Sectors used = 0;
  Sectors size = 0;
  Sectors buffered = 0;
  Sectors low_water = 0;
  /** How long the gates were closed for the cut; zero before it. */
  std::chrono::nanoseconds closed{0};
  std::vector<MemberStatus> members;
};

enum class StoreState { fresh, active, low, overflow, invalid, dropped };

/** A store that is of use: new (fresh), active, low. */
struct WorkingStore {
  StoreState state = StoreState::fresh;
  StoreNumbers numbers;
};

/** A store that is at its end: overflow, invalid, dropped. */
struct EndedStore {
  StoreState state = StoreState::invalid;
  /** Absent for one that was dropped while it was in order. */
  std::optional<FailureReason> reason;
  StoreNumbers numbers;
};
using AnyStoreStatus = std::variant<WorkingStore, EndedStore, UnknownStatus>;

enum class ImageState { active, invalid, dropped };

/** Status of a `diffsnap-image`. */
struct ImageStatus {
  ImageState state = ImageState::active;
  Sectors preserved = 0;
  Sectors written = 0;
  Sectors released = 0;
};
using AnyImageStatus = std::variant<ImageStatus, UnknownStatus>;

/** Parse the parameters of a status line; what is not understood becomes UnknownStatus. */
[[nodiscard]] AnyOriginStatus parse_origin_status(std::string_view params);
[[nodiscard]] AnyStoreStatus parse_store_status(std::string_view params);
[[nodiscard]] AnyImageStatus parse_image_status(std::string_view params);

/** The words of the status lines: "idle", "new", ... */
[[nodiscard]] std::string_view to_string(OriginState state) noexcept;
[[nodiscard]] std::string_view to_string(StoreState state) noexcept;
[[nodiscard]] std::string_view to_string(ImageState state) noexcept;

/** The numbers of a store, or null for an unknown status. Valid as long as @p status is. */
[[nodiscard]] const StoreNumbers *numbers(const AnyStoreStatus &status) noexcept;

}  // namespace diffsnap::dm

#endif
