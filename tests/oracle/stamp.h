// SPDX-License-Identifier: GPL-2.0-or-later
//
// Stamps: what the oracle writes into every 512-byte sector, so that any
// sector, read from anywhere, says where it belongs and which write it is of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace oracle {

constexpr std::size_t sector_size = 512;

// What a sector holds, in 64 bits: zero for zeroes, else the version in its
// stamp. A version says who wrote it and which of the writer's writes it was;
// no two writes to a device have the same one.
using Content = std::uint64_t;

constexpr Content content_zero = 0;
// Never a version: several contents are acceptable, see History.
constexpr Content content_ambiguous = ~std::uint64_t{0};
// Never a version: the sector was read while it was written, and holds some of each.
constexpr Content content_mixed = ~std::uint64_t{0} - 1;
// Set in the versions of writes that went to an image, not to an origin.
constexpr Content content_image_bit = std::uint64_t{1} << 63;

constexpr unsigned writer_shift = 40;

inline Content make_version(unsigned writer, std::uint64_t number) {
  return (static_cast<Content>(writer) << writer_shift) | number;
}

inline unsigned version_writer(Content version) {
  return static_cast<unsigned>((version & ~content_image_bit) >> writer_shift);
}

inline std::uint64_t version_number(Content version) {
  return version & ((Content{1} << writer_shift) - 1);
}

// "zeroes", "writer 3 write 17", "image writer 5 write 2"
std::string describe_content(Content content);
// "zeroes or writer 3 write 17"
std::string describe_contents(const std::vector<Content> &contents);

struct Stamp {
  std::uint32_t device = 0;
  std::uint64_t sector = 0;
  Content version = 0;
};

enum class SectorState {
  zero,     // nothing but zeroes
  stamped,  // a whole and right stamp
  torn,     // begins like a stamp, but is not one stamp throughout
  garbage,  // never written by the oracle
};

struct Decoded {
  SectorState state = SectorState::garbage;
  Stamp stamp;  // of a torn sector: what its head says
  std::size_t first_bad_byte = 0;
};

// Fill one sector.
void write_stamp(void *sector, const Stamp &stamp);

// Fill count sectors of one device with one version, from a first sector on.
void write_stamps(void *buffer, std::uint32_t device, std::uint64_t first, std::size_t count,
                  Content version);

Decoded read_stamp(const void *sector);

// Whether each byte of the sector is what one of the stamps has there; a stamp of
// content_zero has zeroes.
bool is_mixture(const void *sector, const std::vector<Stamp> &stamps);

std::string describe_sector(const void *sector);

}  // namespace oracle
