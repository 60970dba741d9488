// SPDX-License-Identifier: GPL-2.0-or-later
#include "stream/apply.h"

#include <algorithm>

namespace diffsnap::stream {

namespace {

void copy_data(Reader &reader, Target &target, const Record &record, const Buffer &buffer) {
  std::uint64_t at = record.offset;
  const std::uint64_t end = record.offset + record.length;
  while (at < end) {
    const std::uint64_t room = buffer.size - at % apply_alignment;
    const std::size_t length =
        reader.read_data(buffer.data, static_cast<std::size_t>(std::min(end - at, room)));
    target.write(at, buffer.data, length);
    at += length;
  }
}

}  // namespace

void apply(Reader &reader, Target &target, std::uint64_t zero_from, const Buffer &buffer,
           const std::function<void(std::uint64_t)> &progress) {
  std::uint64_t done = 0;
  std::uint64_t changed = 0;
  const auto zero_gap = [&](std::uint64_t end) {
    const std::uint64_t begin = std::max(done, zero_from);
    if (begin < end) {
      target.zero(begin, end - begin);
      changed += end - begin;
    }
  };
  while (const auto record = reader.next()) {
    zero_gap(record->offset);
    if (record->kind == RecordKind::zero) {
      target.zero(record->offset, record->length);
    } else {
      copy_data(reader, target, *record, buffer);
    }
    done = record->offset + record->length;
    changed += record->length;
    if (progress) {
      progress(changed);
    }
  }
  zero_gap(reader.header().size);
}

}  // namespace diffsnap::stream
