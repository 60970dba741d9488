// SPDX-License-Identifier: GPL-2.0-or-later
//
// device-mapper's ioctls, just as the kernel takes them: one call is one
// ioctl, so that the oracle knows the moment of each. No udev cookies: with
// udevd or without, nodes are those that devtmpfs makes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace oracle::dm {

struct TableLine {
  std::uint64_t start = 0;
  std::uint64_t length = 0;
  std::string target;
  std::string args;
};

// All throw EnvironmentError with the errno's text, except where they return
// the errno.
int make(const std::string &name);  // without a table
int load(const std::string &name, const std::vector<TableLine> &table);
int clear(const std::string &name);
int activate(const std::string &name);  // the loaded table, if there is one; resume
void create(const std::string &name, const std::vector<TableLine> &table);
void suspend(const std::string &name);
void resume(const std::string &name);
int message(const std::string &name, const std::string &text, std::uint64_t sector = 0);
// A message that is answered.
std::string ask(const std::string &name, const std::string &text);
std::vector<TableLine> status(const std::string &name);
// The lines as given back by the kernel, of the active or of the loaded table.
std::vector<TableLine> table(const std::string &name, bool loaded = false);

// DM_TABLE_STATUS with any flags and so little room as wanted. Throws
// CheckFailure if the kernel wrote behind that room.
struct RawStatus {
  int error = 0;
  bool full = false;  // there was not enough room
  std::vector<TableLine> lines;
};
RawStatus raw_status(const std::string &name, std::uint32_t flags, std::size_t room);

// "/dev/dm-<minor>"
std::string node(const std::string &name);
// "<major>:<minor>"
std::string number(const std::string &name);
bool exists(const std::string &name);
// Waits a while for others to close it (udev's probes); returns errno.
int remove(const std::string &name);

// Devices of which the names begin so.
std::vector<std::string> list(const std::string &prefix);

}  // namespace oracle::dm
