// SPDX-License-Identifier: GPL-2.0-or-later
/** @file Attributes of the kernel's: small files of one line, in sysfs and procfs. Internal to lib/sys. */
#ifndef DIFFSNAP_SYS_SYSFS_H
#define DIFFSNAP_SYS_SYSFS_H

#include <filesystem>
#include <fstream>
#include <string>

namespace diffsnap::sys {

/** The first line of an attribute, empty if there is none. */
[[nodiscard]] inline std::string attribute(const std::filesystem::path &path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

}  // namespace diffsnap::sys

#endif
