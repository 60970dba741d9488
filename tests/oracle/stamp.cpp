// SPDX-License-Identifier: GPL-2.0-or-later
#include "stamp.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>

namespace oracle {

namespace {

constexpr std::size_t words = sector_size / sizeof(std::uint64_t);
constexpr std::size_t head_words = 4;
constexpr std::uint64_t magic = 0x6f7261636c653031;  // "oracle01"

std::uint64_t mix(std::uint64_t x) {
  x ^= x >> 32;
  x *= 0xd6e8feb86659fd93;
  x ^= x >> 32;
  x *= 0xd6e8feb86659fd93;
  x ^= x >> 32;
  return x;
}

// The body follows from the head, so two stamps that were mixed anywhere in
// the sector differ from any single one.
void fill(std::uint64_t *out, const Stamp &stamp) {
  out[0] = magic;
  out[1] = (static_cast<std::uint64_t>(stamp.device) << 32) | version_writer(stamp.version);
  out[2] = stamp.sector;
  out[3] = stamp.version;

  std::uint64_t value = mix(out[1] ^ mix(out[2] ^ mix(out[3])));
  std::uint64_t sum = out[0] + out[1] + out[2] + out[3];

  for (std::size_t i = head_words; i < words - 1; i++) {
    out[i] = value;
    sum += value;
    value += 0x9e3779b97f4a7c15;
  }
  out[words - 1] = mix(sum);
}

}  // namespace

std::string describe_content(Content content) {
  if (content == content_zero)
    return "zeroes";
  if (content == content_ambiguous)
    return "ambiguous";

  char text[96];

  std::snprintf(text, sizeof(text), "%swriter %u write %llu", content & content_image_bit ? "image " : "",
                version_writer(content), static_cast<unsigned long long>(version_number(content)));
  return text;
}

std::string describe_contents(const std::vector<Content> &contents) {
  std::string text;

  for (Content content : contents)
    text += (text.empty() ? "" : " or ") + describe_content(content);
  return text;
}

void write_stamp(void *sector, const Stamp &stamp) {
  std::uint64_t data[words];

  fill(data, stamp);
  std::memcpy(sector, data, sector_size);
}

void write_stamps(void *buffer, std::uint32_t device, std::uint64_t first, std::size_t count,
                  Content version) {
  auto *at = static_cast<unsigned char *>(buffer);

  for (std::size_t i = 0; i < count; i++)
    write_stamp(at + i * sector_size, Stamp{device, first + i, version});
}

Decoded read_stamp(const void *sector) {
  std::uint64_t data[words];
  Decoded result;

  std::memcpy(data, sector, sector_size);
  if (data[0] == 0) {
    std::uint64_t any = 0;

    for (std::uint64_t word : data)
      any |= word;
    if (any == 0) {
      result.state = SectorState::zero;
      return result;
    }
  }

  if (data[0] != magic)
    return result;

  result.stamp.device = static_cast<std::uint32_t>(data[1] >> 32);
  result.stamp.sector = data[2];
  result.stamp.version = data[3];

  std::uint64_t right[words];

  fill(right, result.stamp);
  if (std::memcmp(data, right, sector_size) == 0) {
    result.state = SectorState::stamped;
    return result;
  }

  const auto *have = reinterpret_cast<const unsigned char *>(data);
  const auto *want = reinterpret_cast<const unsigned char *>(right);

  result.state = SectorState::torn;
  while (have[result.first_bad_byte] == want[result.first_bad_byte])
    result.first_bad_byte++;
  return result;
}

bool is_mixture(const void *sector, const std::vector<Stamp> &stamps) {
  const auto *bytes = static_cast<const unsigned char *>(sector);
  std::array<bool, sector_size> known{};

  for (const Stamp &stamp : stamps) {
    std::array<unsigned char, sector_size> whole{};

    if (stamp.version != content_zero)
      write_stamp(whole.data(), stamp);
    for (std::size_t i = 0; i < sector_size; i++)
      known[i] |= bytes[i] == whole[i];
  }
  return std::all_of(known.begin(), known.end(), [](bool is_known) { return is_known; });
}

std::string describe_sector(const void *sector) {
  const Decoded decoded = read_stamp(sector);
  char text[256];

  switch (decoded.state) {
    case SectorState::zero:
      return "zeroes";
    case SectorState::stamped:
      std::snprintf(text, sizeof(text), "device %#x sector %llu: %s", decoded.stamp.device,
                    static_cast<unsigned long long>(decoded.stamp.sector),
                    describe_content(decoded.stamp.version).c_str());
      return text;
    case SectorState::torn:
      std::snprintf(text, sizeof(text), "torn from byte %zu on, head says device %#x sector %llu: %s",
                    decoded.first_bad_byte, decoded.stamp.device,
                    static_cast<unsigned long long>(decoded.stamp.sector),
                    describe_content(decoded.stamp.version).c_str());
      return text;
    case SectorState::garbage:
      break;
  }

  const auto *bytes = static_cast<const unsigned char *>(sector);
  std::string result = "no stamp, begins";

  for (int i = 0; i < 16; i++) {
    std::snprintf(text, sizeof(text), " %02x", bytes[i]);
    result += text;
  }
  return result;
}

}  // namespace oracle
