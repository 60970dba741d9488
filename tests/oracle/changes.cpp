// SPDX-License-Identifier: GPL-2.0-or-later
#include "changes.h"

#include "stamp.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>

namespace oracle {

namespace {

constexpr std::size_t alignment = 4096;
constexpr std::uint64_t step_sectors = 1024;

std::vector<char> read_all(BlockDevice &device) {
  std::vector<char> content(device.sectors() * sector_size);
  std::vector<char> space(step_sectors * sector_size + alignment);
  void *buffer = space.data();
  std::size_t room = space.size();

  std::align(alignment, step_sectors * sector_size, buffer, room);
  for (std::uint64_t at = 0; at < device.sectors(); at += step_sectors) {
    const std::uint64_t count = std::min(step_sectors, device.sectors() - at);

    if (const int error = device.read(buffer, at, count))
      throw CheckFailure(std::string("an image cannot be read: ") + std::strerror(error));
    std::memcpy(content.data() + at * sector_size, buffer, count * sector_size);
  }
  return content;
}

}  // namespace

ChangeCheck::ChangeCheck(Backend &backend) : backend_(backend), former_(backend.origins()) {}

void ChangeCheck::compare(std::size_t origin, const Former &former, const std::vector<char> &content) {
  const std::vector<SectorRange> ranges = backend_.changes(origin, former.snapshot);
  auto range = ranges.begin();

  for (const SectorRange &each : ranges)
    told_ += each.count;
  for (std::uint64_t sector = 0; sector < content.size() / sector_size; sector++) {
    const std::size_t at = sector * sector_size;

    if (!std::memcmp(content.data() + at, former.content.data() + at, sector_size))
      continue;
    different_++;
    while (range != ranges.end() && range->sector + range->count <= sector)
      ++range;
    if (range == ranges.end() || range->sector > sector)
      throw CheckFailure("MISSED CHANGE: origin " + std::to_string(origin) + " sector " + std::to_string(sector) +
                         " differs from snapshot " + std::to_string(former.snapshot.number) + " of " +
                         former.snapshot.generation);
  }
}

void ChangeCheck::look(std::size_t origin) {
  Former now{backend_.tracked(origin), read_all(backend_.image(origin))};
  Former &former = former_[origin];

  if (!former.content.empty())
    compare(origin, former, now.content);
  former = std::move(now);
}

}  // namespace oracle
