// SPDX-License-Identifier: GPL-2.0-or-later
#include "sys/mounts.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/text.h"

namespace diffsnap::sys {
namespace {

/** The kernel writes space, tab, newline and backslash as \ooo. */
std::string unescape(std::string_view text) {
  const auto octal = [](char c) { return c >= '0' && c <= '7'; };
  std::string result;

  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && octal(text[i + 1]) && octal(text[i + 2]) &&
        octal(text[i + 3])) {
      result += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      result += text[i];
    }
  }
  return result;
}

std::optional<Mount> parse_line(std::string_view line) {
  // id parent major:minor root path options [tags]... - type source options
  const auto parts = split_words(line);
  const auto dash = std::find(parts.begin(), parts.end(), "-");
  if (dash - parts.begin() < 6 || parts.end() - dash < 4) {
    return std::nullopt;
  }

  const auto id = parse_number<int>(parts[0]);
  const auto device = DeviceId::parse(parts[2]);
  if (!id || !device) {
    return std::nullopt;
  }

  Mount mount;
  mount.id = *id;
  mount.device = *device;
  mount.path = unescape(parts[4]);
  mount.fs_type = std::string(dash[1]);
  mount.source = unescape(dash[2]);
  mount.options = std::string(dash[3]);
  return mount;
}

}  // namespace

std::vector<Mount> parse_mountinfo(std::string_view text) {
  std::vector<Mount> mounts;

  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    if (auto mount = parse_line(text.substr(0, end))) {
      mounts.push_back(std::move(*mount));
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return mounts;
}

std::vector<Mount> read_mounts() {
  std::ifstream file("/proc/self/mountinfo");
  std::ostringstream text;

  text << file.rdbuf();

  if (!file || !text) {
    throw Error("read", "/proc/self/mountinfo", EIO);
  }
  return parse_mountinfo(text.str());
}

std::optional<Mount> mount_of(const std::string &path) {
  struct statx result;

  if (statx(AT_FDCWD, path.c_str(), AT_NO_AUTOMOUNT, STATX_MNT_ID, &result) != 0 ||
      (result.stx_mask & STATX_MNT_ID) == 0) {
    return std::nullopt;
  }
  for (Mount &mount : read_mounts()) {
    if (static_cast<std::uint64_t>(mount.id) == result.stx_mnt_id) {
      return std::move(mount);
    }
  }
  return std::nullopt;
}

}  // namespace diffsnap::sys
