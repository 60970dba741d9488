// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/store_plan.h"

#include <algorithm>
#include <cerrno>
#include <limits>

#include "base/error.h"
#include "base/text.h"
#include "core/inventory.h"
#include "core/stack_search.h"

namespace diffsnap {

namespace {

/** Where a failed probe is not the user's fault the object is the device, by the name that he knows it by. */
std::string describe(const StoreRange &range) {
  return sys::device_node(range.device) + ':' + std::to_string(range.offset << sector_shift) + "b+" +
         std::to_string(range.length << sector_shift) + 'b';
}

[[noreturn]] void refuse(const StoreRange &range, int error, std::string reason, std::string hint = {}) {
  throw Error("use", describe(range) + " as difference storage", error, std::move(reason), std::move(hint));
}

bool overlap(const StoreRange &a, const StoreRange &b) noexcept {
  return a.device == b.device && a.offset < b.offset + b.length && b.offset < a.offset + a.length;
}

void check_geometry(const StoreRange &range, const sys::BlockDeviceFacts &facts) {
  if (range.offset > facts.size || range.length > facts.size - range.offset) {
    refuse(range, EINVAL,
           "it ends beyond the end of the device, which has " + std::to_string(facts.size << sector_shift) +
               " bytes");
  }
  if (facts.read_only) {
    refuse(range, EROFS, "the device is read-only");
  }
  if (facts.zoned) {
    refuse(range, EOPNOTSUPP, "the device is zoned");
  }
  const Sectors block = std::max<Sectors>(facts.logical_block >> sector_shift, 1);
  if (range.offset % block != 0) {
    refuse(range, EINVAL,
           "it does not start at one of the device's blocks of " + std::to_string(facts.logical_block) +
               " bytes");
  }
}

/** Devices that lie on this one and are no part of a store. */
std::vector<DeviceId> foreign_holders(const Environment &env, const sys::BlockDeviceFacts &facts) {
  std::vector<DeviceId> holders;
  for (const DeviceId holder : facts.holders) {
    const auto device = env.dm.info(holder);
    const auto uuid = device ? DeviceUuid::parse(device->uuid) : std::nullopt;
    if (!uuid || uuid->kind != DeviceKind::data) {
      holders.push_back(holder);
    }
  }
  return holders;
}

/** The ranges of a device that a table line uses; nothing if that cannot be told. */
std::optional<std::vector<StoreRange>> ranges_used(const dm::TableLine &line, DeviceId device) {
  const auto words = split_words(line.params);
  std::vector<StoreRange> ranges;
  if (std::find(words.begin(), words.end(), device.to_string()) == words.end()) {
    return ranges;
  }
  if (const auto linear = dm::LinearTable::parse(line)) {
    ranges.push_back({linear->device, linear->offset, linear->length});
    return ranges;
  }
  // <#stripes> <chunk> (<device> <offset>)...
  const auto stripes =
      line.target == "striped" && words.size() > 2 ? parse_number<Sectors>(words[0]) : std::nullopt;
  if (!stripes || *stripes == 0 || words.size() != 2 + 2 * *stripes) {
    return std::nullopt;
  }
  for (std::size_t at = 2; at < words.size(); at += 2) {
    const auto id = DeviceId::parse(words[at]);
    const auto offset = parse_number<Sectors>(words[at + 1]);
    if (!id || !offset) {
      return std::nullopt;
    }
    ranges.push_back({*id, *offset, line.length / *stripes});
  }
  return ranges;
}

/** Throws Error unless a device that lies on the range's device uses only other ranges of it. */
void check_apart(const Environment &env, const StoreRange &range, DeviceId holder) {
  const std::string name = sys::device_node(holder);
  const auto device = env.dm.info(holder);
  if (!device || device->inactive_table) {
    refuse(range, EBUSY, "the device is in use by " + name + ", and which parts of it cannot be told");
  }
  for (const dm::TableLine &line : env.dm.table(device->name)) {
    const auto used = ranges_used(line, range.device);
    if (!used) {
      refuse(range, EBUSY,
             "the device is in use by " + name + ", and which parts of it its target \"" + line.target +
                 "\" uses cannot be told");
    }
    for (const StoreRange &other : *used) {
      if (overlap(range, other)) {
        refuse(range, EBUSY, name + " uses " + describe(other));
      }
    }
  }
}

/** Nobody may be surprised by the loss of what is on the device. */
void check_free(const Environment &env, const StoreRange &range, const sys::BlockDeviceFacts &facts,
                bool force) {
  if (const auto usage = env.devices.usage(range.device)) {
    refuse(range, EBUSY, "the device is " + *usage);
  }
  for (const DeviceId holder : foreign_holders(env, facts)) {
    const bool whole = range.length == facts.size;
    if (!force || whole) {
      refuse(range, EBUSY, "the device is in use by " + sys::device_node(holder),
             whole ? "" : "If nobody uses that range: --force.");
    }
    check_apart(env, range, holder);
  }
  if (!facts.holders.empty()) {
    // Ours already, by other ranges: ranges_in_use() keeps them apart, and what is on it is of our making.
    return;
  }
  if (!env.devices.can_open_exclusively(range.device)) {
    refuse(range, EBUSY, "the device is in use");
  }
  if (force) {
    return;
  }
  if (facts.partitioned) {
    refuse(range, EBUSY, "the device has partitions");
  }
  if (const auto signature = env.devices.signature(range.device)) {
    refuse(range, EEXIST, "it holds data (" + *signature + ')',
           "If that is not needed any more: `wipefs -a`, or --force.");
  }
}

/** What no option allows. */
void check_origins(const StoreRange &range, const sys::BlockDeviceFacts &facts, StackSearch &stacks) {
  // The store must never be written through an origin: each write would preserve old data, in the store.
  const StackSearch::Below below = stacks.origin_below(range.device);
  if (below.origin) {
    refuse(range, EDEADLK, "it lies on the origin \"" + *below.origin + '"',
           "A store needs space that no origin target lies over or under.");
  }
  if (!below.lost_file.empty()) {
    refuse(range, EDEADLK,
           "on which device the loop device's file " + below.lost_file +
               " lies cannot be told: an origin, maybe");
  }
  if (stacks.is_image(range.device)) {
    refuse(range, EINVAL, "it is the image of a snapshot");
  }
  if (const auto origin = stacks.origin_above(facts)) {
    refuse(range, EBUSY, "the origin \"" + *origin + "\" lies on the device");
  }
}

void check_range(const Environment &env, const StoreRange &range, const sys::BlockDeviceFacts &facts,
                 const StorePlanOptions &options, StackSearch &stacks) {
  check_geometry(range, facts);
  check_origins(range, facts, stacks);
  check_free(env, range, facts, options.force);
}

/** Takes what lies at the edges of the device out of a range, and adds it to @p edges. */
StoreRange without_edges(const StoreRange &range, Sectors device_size, std::vector<StoreRange> &edges) {
  const Sectors end = range.offset + range.length;
  const Sectors first = std::min(end, std::max(range.offset, store_edge));
  const Sectors last = std::max(first, std::min(end, device_size - std::min(device_size, store_edge)));
  if (first > range.offset) {
    edges.push_back({range.device, range.offset, first - range.offset});
  }
  if (end > last) {
    edges.push_back({range.device, last, end - last});
  }
  StoreRange inner = range;
  inner.offset = first;
  inner.length = last - first;
  return inner;
}

/** Whole chunks only; the device's end need not be a multiple. */
StoreRange round_inwards(StoreRange range, Sectors chunk) {
  range.length -= range.length % chunk;
  return range;
}

/** Joins ranges that follow each other, both in the list and on the device. */
std::vector<StoreRange> merge(const std::vector<StoreRange> &ranges) {
  std::vector<StoreRange> merged;
  for (const StoreRange &range : ranges) {
    if (!merged.empty() && merged.back().device == range.device &&
        merged.back().offset + merged.back().length == range.offset) {
      merged.back().length += range.length;
    } else {
      merged.push_back(range);
    }
  }
  return merged;
}

std::vector<StoreRange> cut_to(std::vector<StoreRange> ranges, Sectors limit) {
  std::vector<StoreRange> kept;
  for (StoreRange &range : ranges) {
    range.length = std::min(range.length, limit);
    limit -= range.length;
    if (range.length != 0) {
      kept.push_back(range);
    }
  }
  return kept;
}

/** Those of devices that a limit left nothing of: no device-mapper device will lie on these. */
void drop_unused_edges(StorePlan &plan) {
  const auto unused = [&plan](const StoreRange &edge) {
    return std::none_of(plan.ranges.begin(), plan.ranges.end(),
                        [&edge](const StoreRange &range) { return range.device == edge.device; });
  };
  plan.edges.erase(std::remove_if(plan.edges.begin(), plan.edges.end(), unused), plan.edges.end());
}

}  // namespace

sys::ByteRange parse_byte_range(std::string_view text,
                                const std::function<std::uint64_t(std::string_view)> &parse_size) {
  const auto plus = text.find('+');
  if (plus == std::string_view::npos || plus == 0 || plus + 1 == text.size()) {
    throw SyntaxError("use range", '"' + std::string(text) + '"', EINVAL, "a range is OFFSET+LENGTH");
  }
  const sys::ByteRange range{parse_size(text.substr(0, plus)), parse_size(text.substr(plus + 1))};
  if (range.length == 0) {
    throw SyntaxError("use range", '"' + std::string(text) + '"', EINVAL, "its length is 0");
  }
  if (range.offset > std::numeric_limits<std::uint64_t>::max() - range.length) {
    throw SyntaxError("use range", '"' + std::string(text) + '"', EOVERFLOW);
  }
  return range;
}

StoreSpec parse_store_spec(std::string_view text,
                           const std::function<std::uint64_t(std::string_view)> &parse_size) {
  StoreSpec spec;
  spec.device = text;
  const auto colon = text.rfind(':');
  // Only digits and a '+' make a range of it: /dev/disk/by-path/pci-0000:00:1f.2-ata-1 is a device as it
  // stands.
  if (colon == std::string_view::npos || colon == 0 || colon + 1 == text.size() || text[colon + 1] < '0' ||
      text[colon + 1] > '9' || text.find('+', colon) == std::string_view::npos) {
    return spec;
  }
  const sys::ByteRange range = parse_byte_range(text.substr(colon + 1), parse_size);
  spec.device = text.substr(0, colon);
  spec.offset = range.offset;
  spec.length = range.length;
  return spec;
}

bool operator==(const StoreRange &a, const StoreRange &b) noexcept {
  return a.device == b.device && a.offset == b.offset && a.length == b.length;
}

Sectors StorePlan::size() const noexcept {
  Sectors sum = 0;
  for (const StoreRange &range : ranges) {
    sum += range.length;
  }
  return sum;
}

dm::Table StorePlan::table(Sectors start) const {
  dm::Table table;
  for (const StoreRange &range : ranges) {
    table.push_back(dm::LinearTable{start, range.length, range.device, range.offset}.line());
    start += range.length;
  }
  return table;
}

std::vector<StoreRange> resolve_store_specs(const Environment &env, const std::vector<StoreSpec> &specs) {
  std::vector<StoreRange> ranges;
  for (const StoreSpec &spec : specs) {
    const DeviceId device = sys::resolve_device(spec.device);
    if (!spec.offset || !spec.length) {
      ranges.push_back({device, 0, env.devices.facts(device).size});
      continue;
    }
    if (*spec.offset % sector_size != 0 || *spec.length % sector_size != 0) {
      throw SyntaxError(
          "use range",
          '"' + spec.device + ':' + std::to_string(*spec.offset) + '+' + std::to_string(*spec.length) + '"',
          EINVAL, "offset and length are multiples of " + std::to_string(sector_size) + " bytes");
    }
    ranges.push_back({device, *spec.offset >> sector_shift, *spec.length >> sector_shift});
  }
  return ranges;
}

void wipe_edges(const Environment &env, const StorePlan &plan) {
  for (const StoreRange &edge : plan.edges) {
    env.devices.wipe_signatures(edge.device, {edge.offset << sector_shift, edge.length << sector_shift});
  }
}

void check_store_origins(const Environment &env, const StorePlan &plan) {
  StackSearch stacks(env);
  for (const StoreRange &range : plan.ranges) {
    check_origins(range, env.devices.facts(range.device), stacks);
  }
}

StorePlan plan_store(const Environment &env, const std::vector<StoreRange> &ranges,
                     const std::vector<StoreRange> &taken, const StorePlanOptions &options) {
  StackSearch stacks(env, options.to_attach);
  std::vector<StoreRange> accepted;
  std::vector<StoreRange> edges;
  for (const StoreRange &given : ranges) {
    const sys::BlockDeviceFacts facts = env.devices.facts(given.device);
    check_range(env, given, facts, options, stacks);
    std::vector<StoreRange> own_edges;
    const StoreRange range = round_inwards(without_edges(given, facts.size, own_edges), options.chunk);
    if (foreign_holders(env, facts).empty()) {
      edges.insert(edges.end(), own_edges.begin(), own_edges.end());
    }
    if (range.length == 0) {
      refuse(given, EINVAL,
             "without the first and the last MiB of the device it is smaller than a chunk of " +
                 std::to_string(options.chunk << sector_shift) + " bytes");
    }
    for (const StoreRange &other : accepted) {
      if (overlap(range, other)) {
        refuse(range, EINVAL, "it overlaps " + describe(other));
      }
    }
    for (const StoreRange &other : taken) {
      if (overlap(range, other)) {
        refuse(range, EBUSY, "a snapshot uses " + describe(other));
      }
    }
    accepted.push_back(range);
  }
  StorePlan plan{merge(accepted), std::move(edges)};
  if (options.limit) {
    plan.ranges = cut_to(std::move(plan.ranges), *options.limit - *options.limit % options.chunk);
    drop_unused_edges(plan);
  }
  if (plan.ranges.empty()) {
    throw Error("make", "a difference storage", ENOSPC, "no room was given for it");
  }
  return plan;
}

std::vector<StoreRange> ranges_in_use(dm::DeviceMapper &dm) {
  std::vector<StoreRange> ranges;
  const auto add = [&](const dm::Table &table) {
    for (const dm::TableLine &line : table) {
      if (const auto range = dm::LinearTable::parse(line)) {
        ranges.push_back({range->device, range->offset, range->length});
      }
    }
  };
  const Inventory inventory = read_inventory(dm);
  for (const SnapshotInfo &snapshot : inventory.snapshots) {
    for (const dm::LinearTable &range : snapshot.ranges) {
      ranges.push_back({range.device, range.offset, range.length});
    }
    if (!snapshot.data) {
      // Made by hand, straight on a device.
      ranges.push_back({snapshot.table.device, 0, snapshot.table.length});
    }
  }
  for (const dm::DeviceInfo &leftover : inventory.leftovers) {
    const auto uuid = DeviceUuid::parse(leftover.uuid);
    if (uuid && uuid->kind == DeviceKind::data && leftover.live_table) {
      add(dm.table(leftover.name));
    }
  }
  return ranges;
}

}  // namespace diffsnap
