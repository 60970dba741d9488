// SPDX-License-Identifier: GPL-2.0-or-later
/**
 * @file
 * Ceph's `rbd diff v1`: what two snapshots of a device differ in, or all of one snapshot.
 *
 *   "rbd diff v1\n"
 *   'f' le32 length, name     the snapshot that it starts from; absent: a full stream
 *   't' le32 length, name     the snapshot that it leads to
 *   's' le64                  the size of that snapshot in bytes
 *   'w' le64 offset, le64 length, data
 *   'z' le64 offset, le64 length
 *   'e'
 *
 * The first three kinds in any order, then any number of 'w' and 'z', ascending and apart from each other.
 * What a full stream has no record of is zeroes; what an incremental one has none of is as it was.
 */
#ifndef DIFFSNAP_STREAM_FORMAT_H
#define DIFFSNAP_STREAM_FORMAT_H

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace diffsnap::stream {

inline constexpr std::string_view banner = "rbd diff v1\n";
inline constexpr char tag_from = 'f';
inline constexpr char tag_to = 't';
inline constexpr char tag_size = 's';
inline constexpr char tag_data = 'w';
inline constexpr char tag_zero = 'z';
inline constexpr char tag_end = 'e';

/** Bytes of a name. The limit of Ceph's own reader. */
inline constexpr std::size_t max_name = 4096;
/** Bytes of data in one record that is written. Readers take any length: they hold none of it. */
inline constexpr std::uint64_t max_data = std::uint64_t{4} << 20;

/** What comes before the data. */
struct Header {
  /** Nothing: a full stream. */
  std::optional<std::string> from;
  /** Nothing: it leads to no snapshot, but to a device as it was at the time (Ceph writes such ones). */
  std::optional<std::string> to;
  /** Bytes. */
  std::uint64_t size = 0;
};

enum class RecordKind { data, zero };

/** A range, in bytes, that has data or is zeroes. */
struct Record {
  RecordKind kind = RecordKind::data;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

}  // namespace diffsnap::stream

#endif
