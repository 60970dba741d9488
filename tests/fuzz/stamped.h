// SPDX-License-Identifier: GPL-2.0-or-later
//
// A device that must hold what was written to it, whether all of that succeeded or not.
#pragma once

#include "device.h"
#include "history.h"
#include "stamp.h"

#include <cstdint>
#include <memory>
#include <string>

namespace fuzz {

class Stamped {
 public:
  // Its contents are those that stamp() brings, here or to what it is an image of.
  // version_bits: in the versions of what is written.
  Stamped(std::string name, const std::string &path, oracle::Content version_bits = 0);

  void stamp();

  // Return 0 or errno. What was to be written by one that failed may be there,
  // and need not; what was read is looked at.
  int write(std::uint64_t sector, std::uint64_t count);
  int discard(std::uint64_t sector, std::uint64_t count);
  int read(std::uint64_t sector, std::uint64_t count);

  // Reads all of it; throws CheckFailure.
  void check();

 private:
  oracle::Content found_at(std::uint64_t sector, const char *data) const;
  void judge(std::uint64_t sector, std::uint64_t count, const oracle::Look &look);

  const std::string name_;
  const oracle::Content version_bits_;
  const std::unique_ptr<oracle::BlockDevice> device_;
  const std::unique_ptr<char, void (*)(void *)> buffer_;
  oracle::Clock clock_;
  oracle::History history_;
  std::uint64_t versions_ = 1;
};

}  // namespace fuzz
