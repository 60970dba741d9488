// SPDX-License-Identifier: GPL-2.0-or-later
#include "stream/zeroes.h"

#include <algorithm>
#include <cstring>

namespace diffsnap::stream {

bool is_zero(const void *data, std::size_t length) noexcept {
  const auto *bytes = static_cast<const unsigned char *>(data);
  // All bytes equal the one before them, and the first one is zero: memcmp() is as fast as the machine is.
  return length == 0 || (bytes[0] == 0 && std::memcmp(bytes, bytes + 1, length - 1) == 0);
}

std::vector<Record> find_zeroes(std::uint64_t offset, const void *data, std::size_t length) {
  const auto *bytes = static_cast<const unsigned char *>(data);
  std::vector<Record> records;
  std::size_t at = 0;
  while (at < length) {
    const auto to_boundary = static_cast<std::size_t>(zero_block - (offset + at) % zero_block);
    const std::size_t now = std::min(to_boundary, length - at);
    const RecordKind kind = is_zero(bytes + at, now) ? RecordKind::zero : RecordKind::data;
    if (!records.empty() && records.back().kind == kind) {
      records.back().length += now;
    } else {
      records.push_back({kind, offset + at, now});
    }
    at += now;
  }
  return records;
}

}  // namespace diffsnap::stream
