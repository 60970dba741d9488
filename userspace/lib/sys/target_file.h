// SPDX-License-Identifier: GPL-2.0-or-later
/** @file A regular file or a block device that is written to directly, past the cache. */
#ifndef DIFFSNAP_SYS_TARGET_FILE_H
#define DIFFSNAP_SYS_TARGET_FILE_H

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/unique_fd.h"

namespace diffsnap::sys {

/**
 * Locked against other TargetFiles while it lives (flock), a device also against mounts and other exclusive
 * users. Offsets and lengths are bytes. Every function but the getters throws Error. For one thread.
 */
class TargetFile {
 public:
  /** Opens it if it is there; an absent file is none yet. EBUSY if somebody uses it. */
  explicit TargetFile(std::string path);

  [[nodiscard]] bool exists() const noexcept { return static_cast<bool>(cached_); }
  [[nodiscard]] bool is_device() const noexcept { return device_; }
  /** Of a file what it holds, of a device what it has room for. */
  [[nodiscard]] std::uint64_t size() const;

  /** Makes an absent file, empty. */
  void create();
  /** Of a file only. What is added reads as zeroes. */
  void resize(std::uint64_t size);
  /** Directly as far as offset, length and memory are multiples of direct_alignment, and the rest of it
   * through the cache. */
  void write(std::uint64_t offset, const void *data, std::size_t length);
  /** Makes a range read as zeroes: a hole where that is possible, else zeroes are written. */
  void zero(std::uint64_t offset, std::uint64_t length);
  /** Returns when all of it, and a new file's name, outlives a power failure. */
  void sync();

 private:
  void open(int flags);
  void lock();
  void write_all(int fd, std::uint64_t offset, const unsigned char *data, std::size_t length);
  void write_zeroes(std::uint64_t offset, std::uint64_t length);
  [[noreturn]] void fail(const char *verb) const;

  std::string path_;
  bool device_ = false;
  bool created_ = false;
  UniqueFd cached_;
  /** None where the file system knows no direct I/O. */
  UniqueFd direct_;
};

/**
 * Makes a file that was not there; what has its name is removed. A link that somebody else has put there,
 * into a directory that all may write to, leads nowhere. Throws Error.
 */
[[nodiscard]] UniqueFd create_afresh(const std::string &path);

/**
 * That a name is free or a regular file's, for replace_file(): nobody wants to lose /dev/null, or what a link
 * leads to. Throws Error, EINVAL if it is anything else.
 */
void check_replaceable(const std::string &path);

/**
 * Replaces a file's contents so that it has the old ones or the new ones at any time, power failures
 * included. They are written beside it first, to a name that nothing has. Throws Error; see
 * check_replaceable().
 */
void replace_file(const std::string &path, const std::string &contents);

/** Makes the names in the directory of a file outlive a power failure. Throws Error. */
void sync_directory_of(const std::string &path);

}  // namespace diffsnap::sys

#endif
