// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/naming.h"

#include <sys/random.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "dm/device_mapper.h"

namespace diffsnap {

namespace {

constexpr std::string_view uuid_prefix = "DIFFSNAP-";
constexpr std::size_t id_length = 32;
constexpr std::string_view to_be_taken_suffix = "-later";
constexpr std::array<std::pair<std::string_view, DeviceKind>, 5> kinds{{{"origin", DeviceKind::origin},
                                                                        {"real", DeviceKind::real},
                                                                        {"store", DeviceKind::store},
                                                                        {"data", DeviceKind::data},
                                                                        {"image", DeviceKind::image}}};

bool is_id(std::string_view text) noexcept {
  return text.size() == id_length && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

/** Refuses what device-mapper would refuse with a bare EINVAL. */
std::string checked(std::string dm_name, std::string_view of) {
  if (dm_name.size() > dm::max_name_length) {
    throw SyntaxError("use name", '"' + std::string(of) + '"', ENAMETOOLONG,
                      "the device name made from it, \"" + dm_name + "\", has " +
                          std::to_string(dm_name.size()) + " characters, device-mapper allows " +
                          std::to_string(dm::max_name_length));
  }
  return dm_name;
}

/** Splits where a single '-' stands, and makes one '-' of two in the parts. */
std::vector<std::string> split_name(std::string_view dm_name) {
  std::vector<std::string> parts(1);
  for (std::size_t i = 0; i < dm_name.size(); ++i) {
    if (dm_name[i] != '-') {
      parts.back() += dm_name[i];
    } else if (i + 1 < dm_name.size() && dm_name[i + 1] == '-') {
      parts.back() += '-';
      ++i;
    } else {
      parts.emplace_back();
    }
  }
  return parts;
}

}  // namespace

bool is_valid_name(std::string_view name) noexcept {
  constexpr std::string_view allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+_.-";
  return !name.empty() && name.front() != '-' && name != "." && name != ".." &&
         name.size() <= dm::max_name_length && name.find_first_not_of(allowed) == std::string_view::npos;
}

void check_name(std::string_view name) {
  if (name.size() > dm::max_name_length) {
    throw SyntaxError("use name", '"' + std::string(name) + '"', ENAMETOOLONG,
                      "a name has no more than " + std::to_string(dm::max_name_length) + " characters");
  }
  if (!is_valid_name(name)) {
    throw SyntaxError("use name", '"' + std::string(name) + '"', EINVAL,
                      "a name consists of letters, digits and +_.- and does not start with -");
  }
}

std::string mangle(std::string_view text) {
  std::string mangled;
  for (const char c : text) {
    mangled.append(c == '-' ? 2 : 1, c);
  }
  return mangled;
}

std::string store_name(std::string_view snapshot) {
  return checked("diffsnap-" + mangle(snapshot), snapshot);
}

std::string data_name(std::string_view snapshot) {
  return checked("diffsnap--data-" + mangle(snapshot), snapshot);
}

std::string image_name(std::string_view snapshot, std::string_view origin_name) {
  return checked("diffsnap-" + mangle(snapshot) + '-' + mangle(origin_name), snapshot);
}

std::string real_name(std::string_view origin_name) {
  return checked(std::string(origin_name) + "-diffsnap", origin_name);
}

std::string image_path(std::string_view snapshot, std::string_view origin_name) {
  return "/dev/diffsnap/" + std::string(snapshot) + '/' + std::string(origin_name);
}

std::optional<std::string> snapshot_of_store_name(std::string_view dm_name) {
  auto parts = split_name(dm_name);
  if (parts.size() != 2 || parts[0] != "diffsnap" || parts[1].empty()) {
    return std::nullopt;
  }
  return std::move(parts[1]);
}

std::optional<std::string> snapshot_of_data_name(std::string_view dm_name) {
  auto parts = split_name(dm_name);
  if (parts.size() != 2 || parts[0] != "diffsnap-data" || parts[1].empty()) {
    return std::nullopt;
  }
  return std::move(parts[1]);
}

std::optional<ImageName> split_image_name(std::string_view dm_name) {
  auto parts = split_name(dm_name);
  if (parts.size() != 3 || parts[0] != "diffsnap" || parts[1].empty() || parts[2].empty()) {
    return std::nullopt;
  }
  return ImageName{std::move(parts[1]), std::move(parts[2])};
}

std::optional<std::string> snapshot_of_device_name(std::string_view dm_name) {
  if (auto store = snapshot_of_store_name(dm_name)) {
    return store;
  }
  if (auto data = snapshot_of_data_name(dm_name)) {
    return data;
  }
  if (auto image = split_image_name(dm_name)) {
    return std::move(image->snapshot);
  }
  return std::nullopt;
}

std::string new_id() {
  std::array<unsigned char, id_length / 2> bytes{};
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    throw Error("make", "an id", errno);
  }
  const auto now = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::system_clock::now().time_since_epoch());
  auto milliseconds = static_cast<std::uint64_t>(now.count());
  for (std::size_t i = 6; i-- > 0;) {
    bytes[i] = static_cast<unsigned char>(milliseconds & 0xff);
    milliseconds >>= 8;
  }
  // Version 7, variant 2 (RFC 9562).
  bytes[6] = static_cast<unsigned char>(0x70 | (bytes[6] & 0x0f));
  bytes[8] = static_cast<unsigned char>(0x80 | (bytes[8] & 0x3f));

  constexpr std::string_view digits = "0123456789abcdef";
  std::string id;
  for (const unsigned char byte : bytes) {
    id += digits[byte >> 4];
    id += digits[byte & 0x0f];
  }
  return id;
}

std::optional<std::chrono::system_clock::time_point> time_of_id(std::string_view id) {
  if (!is_id(id) || id[12] != '7' || std::string_view("89ab").find(id[16]) == std::string_view::npos) {
    return std::nullopt;
  }
  std::int64_t milliseconds = 0;
  std::from_chars(id.data(), id.data() + 12, milliseconds, 16);
  return std::chrono::system_clock::time_point(std::chrono::milliseconds(milliseconds));
}

std::string DeviceUuid::to_string() const {
  std::string text(uuid_prefix);
  for (const auto &[word, value] : kinds) {
    if (value == kind) {
      text += word;
    }
  }
  text += '-' + id;
  if (kind == DeviceKind::image) {
    text += '-' + std::to_string(index);
  } else if (to_be_taken) {
    text += to_be_taken_suffix;
  }
  return text;
}

std::optional<DeviceUuid> DeviceUuid::parse(std::string_view uuid) {
  if (!starts_with(uuid, uuid_prefix)) {
    return std::nullopt;
  }
  uuid.remove_prefix(uuid_prefix.size());
  for (const auto &[word, kind] : kinds) {
    if (!starts_with(uuid, word) || uuid.substr(word.size(), 1) != "-") {
      continue;
    }
    uuid.remove_prefix(word.size() + 1);
    DeviceUuid parsed{kind, std::string(uuid.substr(0, id_length))};
    const auto rest = uuid.substr(parsed.id.size());
    if (!is_id(parsed.id)) {
      return std::nullopt;
    }
    if (kind == DeviceKind::store && rest == to_be_taken_suffix) {
      parsed.to_be_taken = true;
      return parsed;
    }
    if (kind != DeviceKind::image) {
      return rest.empty() ? std::optional(parsed) : std::nullopt;
    }
    const auto index = parse_number<std::size_t>(rest.substr(rest.empty() ? 0 : 1));
    if (!starts_with(rest, "-") || !index) {
      return std::nullopt;
    }
    parsed.index = *index;
    return parsed;
  }
  return std::nullopt;
}

bool operator==(const DeviceUuid &a, const DeviceUuid &b) noexcept {
  return a.kind == b.kind && a.id == b.id && a.index == b.index && a.to_be_taken == b.to_be_taken;
}

}  // namespace diffsnap
