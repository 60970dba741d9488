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

void apply(Reader &reader, Target &target, bool zero_gaps, const Buffer &buffer,
           const std::function<void(std::uint64_t)> &progress) {
  std::uint64_t done = 0;
  std::uint64_t changed = 0;
  while (const auto record = reader.next()) {
    if (zero_gaps && record->offset > done) {
      target.zero(done, record->offset - done);
      changed += record->offset - done;
    }
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
  if (zero_gaps && done < reader.header().size) {
    target.zero(done, reader.header().size - done);
  }
}

}  // namespace diffsnap::stream
