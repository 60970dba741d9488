// SPDX-License-Identifier: GPL-2.0-or-later
/** @file Which ranges of which devices make a difference storage. */
#ifndef DIFFSNAP_CORE_STORE_PLAN_H
#define DIFFSNAP_CORE_STORE_PLAN_H

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/device_id.h"
#include "core/environment.h"
#include "dm/table.h"

namespace diffsnap {

/** `DEVICE` or `DEVICE:OFFSET+LENGTH` as the user wrote it. */
struct StoreSpec {
  /** The words that name the device, not resolved. */
  std::string device;
  /** Bytes; both or none. */
  std::optional<std::uint64_t> offset;
  std::optional<std::uint64_t> length;
};

/**
 * Takes a specification apart. The last ':' counts only if OFFSET+LENGTH follows it, for device names may
 * hold colons.
 * @param parse_size  turns "4M" or "512b" into bytes; throws SyntaxError
 */
[[nodiscard]] StoreSpec parse_store_spec(std::string_view text,
                                         const std::function<std::uint64_t(std::string_view)> &parse_size);

/** Parses `OFFSET+LENGTH` into bytes; throws SyntaxError. */
[[nodiscard]] sys::ByteRange parse_byte_range(
    std::string_view text, const std::function<std::uint64_t(std::string_view)> &parse_size);

/** A range to take for a store. */
struct StoreRange {
  DeviceId device;
  Sectors offset = 0;
  Sectors length = 0;
};
[[nodiscard]] bool operator==(const StoreRange &a, const StoreRange &b) noexcept;

struct StorePlanOptions {
  Sectors chunk = 8;
  /** Take devices that hold a known signature or partitions, and a range, but not all, of a device that other
   * device-mapper devices lie on: the free space of a volume group, say. Never what is mounted, used as swap
   * or otherwise open, nor what belongs to an origin. */
  bool force = false;
  /** What will be attached before the store is used, for a check without doing so: a store is refused as if
   * it were. */
  std::vector<DeviceId> to_attach;
  /** Use no more than so much, taken from the front; nothing: all. */
  std::optional<Sectors> limit;
};

/**
 * What is left free at the beginning and the end of each device. What is preserved first is often an origin's
 * super block: at the edge of a device it would be taken for a file system, by its UUID for the origin's own,
 * after a power failure in which nobody tidied up. All that libblkid knows lies nearer to an edge than that.
 */
inline constexpr Sectors store_edge = 2048;

struct StorePlan {
  /** In the order given, neighbours merged, each a multiple of the chunk. */
  std::vector<StoreRange> ranges;
  /** What was given and is left free, see store_edge, of devices that the ranges lie on and nobody else uses.
   * To be wiped of signatures: they would outlive the rest. */
  std::vector<StoreRange> edges = {};

  [[nodiscard]] Sectors size() const noexcept;
  /** The data device's table; @p start is where the first range goes. */
  [[nodiscard]] dm::Table table(Sectors start = 0) const;
};

/** Resolves specifications; a device without a range is taken as a whole. Throws Error. */
[[nodiscard]] std::vector<StoreRange> resolve_store_specs(const Environment &env,
                                                          const std::vector<StoreSpec> &specs);

/**
 * Checks ranges and makes a plan of them. Refused: overlaps, with each other and with @p taken; ranges beyond
 * the device's end; less than a chunk; read-only and zoned devices; devices in use or with a signature (see
 * force); anything on or below an origin target, for the store must never be written through one. The edges
 * of devices are left out, and ends rounded inwards to chunks.
 *
 * @param taken  what other stores use, for instance of this one before it grows
 */
[[nodiscard]] StorePlan plan_store(const Environment &env, const std::vector<StoreRange> &ranges,
                                   const std::vector<StoreRange> &taken, const StorePlanOptions &options);

/**
 * Wipes the signatures of the plan's edges. To be done when a device-mapper device lies on the ranges: that
 * the kernel let it take them is the proof that they are nobody else's. Throws Error.
 */
void wipe_edges(const Environment &env, const StorePlan &plan);

/** Looks again for origins above and below: for plans that were made before an origin was attached. Throws
 * Error. */
void check_store_origins(const Environment &env, const StorePlan &plan);

/** The ranges that all stores that exist use. */
[[nodiscard]] std::vector<StoreRange> ranges_in_use(dm::DeviceMapper &dm);

}  // namespace diffsnap

#endif
