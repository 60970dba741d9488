// SPDX-License-Identifier: GPL-2.0-or-later
#include "sys/freeze.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <exception>
#include <set>

#include "sys/device_tree.h"
#include "sys/freeze_order.h"
#include "sys/mounts.h"

namespace diffsnap::sys {
namespace {

/**
 * Opens a file system at one of its mount points. A path may lead elsewhere, because something else was
 * mounted over it, or nowhere, after a chroot: the number of the mount tells.
 */
UniqueFd open_mounted(const FileSystem &fs, std::string &path) {
  int error = ENOENT;

  for (const Mount &mount : fs.mounts) {
    UniqueFd fd(open(mount.path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    if (!fd) {
      error = errno;
      continue;
    }
    struct statx found {};
    if (statx(fd.get(), "", AT_EMPTY_PATH, STATX_MNT_ID, &found) == 0 &&
        (found.stx_mask & STATX_MNT_ID) != 0 && found.stx_mnt_id != static_cast<std::uint64_t>(mount.id)) {
      continue;
    }
    path = mount.path;
    return fd;
  }
  throw Error("freeze", fs.mounts.front().path, error, "no mount point leads to the file system",
              "Use --no-freeze for a snapshot as after a power failure.");
}

}  // namespace

void write_out_ahead(const std::vector<DeviceId> &devices) noexcept {
  try {
    FileSystemFreezer freezer;
    freezer.prepare(devices);
    freezer.write_out();
  } catch (const std::exception &) {
    // See above.
  }
}

FileSystemFreezer::FileSystemFreezer(std::chrono::milliseconds limit) : limit_(limit) {}

FileSystemFreezer::~FileSystemFreezer() = default;

void FileSystemFreezer::prepare(const std::vector<DeviceId> &origins) {
  const SysfsDeviceTree tree;
  const std::set<DeviceId> devices(origins.begin(), origins.end());
  std::vector<int> fds;

  targets_.clear();
  for (const FileSystem &fs : freeze_order(read_mounts(), devices, tree)) {
    Target target;
    target.fs_type = fs.fs_type;
    target.fd = open_mounted(fs, target.path);
    fds.push_back(target.fd.get());
    targets_.push_back(std::move(target));
  }
  board_ = std::make_unique<FreezeBoard>(fds, system_freeze_calls());
  frozen_ = std::chrono::nanoseconds{0};
  error_ = 0;
}

void FileSystemFreezer::write_out() {
  for (const Target &target : targets_) {
    if (syncfs(target.fd.get()) != 0) {
      throw Error("write out", target.path, errno);
    }
  }
}

int FileSystemFreezer::freeze() noexcept {
  freezing_ = true;
  failed_ = targets_.size();
  if (targets_.empty()) {
    return 0;
  }
  error_ = watchdog_ ? watchdog_->arm() : ESRCH;
  if (error_ != 0) {
    return error_;
  }
  began_ = std::chrono::steady_clock::now();
  error_ = board_->freeze(failed_);
  if (error_ != 0) {
    frozen_ = std::chrono::steady_clock::now() - began_;
  }
  return error_;
}

int FileSystemFreezer::thaw() noexcept {
  if (!board_ || board_->phase() == FreezePhase::idle || frozen_.count() != 0) {
    return 0;
  }
  freezing_ = false;
  error_ = board_->thaw(failed_);
  frozen_ = std::chrono::steady_clock::now() - began_;
  return error_;
}

Error FileSystemFreezer::failure() const {
  if (failed_ < targets_.size()) {
    const Target &target = targets_[failed_];
    return Error(freezing_ ? "freeze" : "thaw", target.path, error_, {},
                 freezing_ ? "Use --no-freeze for a snapshot as after a power failure."
                           : "Try: fsfreeze --unfreeze " + target.path);
  }
  if (error_ == ETIMEDOUT) {
    return Error("keep", "the file systems frozen", error_,
                 "it took longer than " + std::to_string(limit_.count()) + " ms, and they were thawed",
                 "Try again when less is being written, or use --no-freeze.");
  }
  return Error("freeze", "the file systems", error_, "the watchdog is not running");
}

std::chrono::nanoseconds FileSystemFreezer::frozen_time() const noexcept {
  return frozen_;
}

std::vector<std::string> FileSystemFreezer::paths(bool unsupported) const {
  std::vector<std::string> paths;

  for (std::size_t i = 0; i < targets_.size(); ++i) {
    if ((board_->state(i) == SlotState::unsupported) == unsupported) {
      paths.push_back(targets_[i].path);
    }
  }
  return paths;
}

FreezeSection::~FreezeSection() {
  leave();
}

void FreezeSection::enter() {
  // The watchdog first: a fork copies a locked process page by page.
  if (!freezer_.targets_.empty()) {
    freezer_.watchdog_ = std::make_unique<Watchdog>(*freezer_.board_, freezer_.limit_);
  }
  try {
    memory_.lock();
    locked_ = true;
    signals_.emplace();
  } catch (...) {
    leave();
    throw;
  }
}

void FreezeSection::leave() noexcept {
  // Ends the watchdog; should anything be frozen still, it thaws.
  freezer_.watchdog_.reset();
  signals_.reset();
  if (locked_) {
    memory_.unlock();
    locked_ = false;
  }
}

}  // namespace diffsnap::sys
