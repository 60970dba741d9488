// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/rollback.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <cstddef>
#include <thread>

#include "base/unique_fd.h"
#include "sys/block_device.h"

namespace diffsnap {

namespace {

constexpr const char *verb = "roll back";
constexpr const char *verb_to = "roll back to";

/** Between two looks at whether a device can be had. */
constexpr std::chrono::milliseconds pause{50};

std::vector<TrackedImage> find_images(dm::DeviceMapper &dm, const RollbackOptions &options) {
  if (options.origin) {
    return {get_tracked_image(dm, options.snapshot, *options.origin, verb_to)};
  }
  const SnapshotInfo snapshot = get_snapshot(dm, options.snapshot, verb_to);
  std::vector<TrackedImage> images;
  for (const std::string &name : snapshot.origin_names) {
    images.push_back(get_tracked_image(dm, options.snapshot, name, verb_to));
  }
  if (images.empty()) {
    throw Error(verb_to, "snapshot \"" + options.snapshot + '"', EINVAL, "it has no origins");
  }
  return images;
}

void check_nothing_released(const TrackedImage &image) {
  const auto *status = std::get_if<dm::ImageStatus>(&image.image.status);
  if (status == nullptr) {
    throw Error(verb_to, quoted(image.image), EPROTO, "its status is not understood");
  }
  if (status->released > 0) {
    throw Error(verb_to, quoted(image.image), EBUSY, "ranges of it were released and read as zeroes",
                "With --force the origin has zeroes there, too, where it was written to since the cut.");
  }
}

void check_origin_fits(const Environment &env, const TrackedImage &image) {
  if (image.origin.table.length < image.image.table.length) {
    throw Error(verb, quoted(image.origin), ENOSPC, "it is smaller than it was at the cut");
  }
  if (env.devices.facts(image.origin.device.id).read_only) {
    throw Error(verb, quoted(image.origin), EROFS);
  }
}

/** Who has a device for longer than a moment; nothing if nobody does. */
std::optional<std::string> owner_of(const Environment &env, const dm::DeviceInfo &device) {
  if (const auto usage = env.devices.usage(device.id)) {
    return "it is " + *usage;
  }
  const sys::BlockDeviceFacts facts = env.devices.facts(device.id);
  if (!facts.holders.empty()) {
    return "the device " + env.devices.facts(facts.holders.front()).name + " lies on it";
  }
  return std::nullopt;
}

/** Why a device cannot be had alone, although nobody is known to own it; nothing if it can. */
std::optional<std::string> user_of(const Environment &env, const dm::DeviceInfo &device) {
  // Asked before it is opened here.
  const auto now = env.dm.info(device.name);
  if (now && now->open_count > 0) {
    return "somebody has it open";
  }
  if (!env.devices.can_open_exclusively(device.id)) {
    return "somebody uses it";
  }
  return std::nullopt;
}

/** Waits while the device is in use, but no longer than until then. */
void check_unused(const Environment &env, const dm::DeviceInfo &device, const char *what_is_done,
                  const std::string &object, std::chrono::steady_clock::time_point until) {
  if (const auto reason = owner_of(env, device)) {
    throw Error(what_is_done, object, EBUSY, *reason, "Nothing was changed.");
  }
  while (const auto reason = user_of(env, device)) {
    if (std::chrono::steady_clock::now() >= until) {
      throw Error(what_is_done, object, EBUSY, *reason, "Nothing was changed.");
    }
    std::this_thread::sleep_for(pause);
  }
}

/** Keeps mounts and other exclusive users away from an image, and by a lock those who release ranges of it;
 * who reads it is no matter. udev has such a lock for moments. */
UniqueFd hold(const ImageInfo &image, std::chrono::milliseconds patience) {
  const auto until = std::chrono::steady_clock::now() + patience;
  const std::string node = sys::device_node(image.device.id);
  UniqueFd fd(::open(node.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC));
  if (!fd) {
    throw Error("open", node, errno);
  }
  while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) {
      throw Error("lock", node, errno);
    }
    if (std::chrono::steady_clock::now() >= until) {
      throw Error(verb_to, quoted(image), EBUSY, "somebody has locked it", "Nothing was changed.");
    }
    std::this_thread::sleep_for(pause);
  }
  return fd;
}

ReadAhead::Ranges ranges_of(ChangeCursor &cursor) {
  return [&cursor] { return cursor.next(); };
}

using Names = std::vector<std::string>::const_iterator;

std::string quoted(Names first, Names last) {
  std::string text = last - first == 1 ? "the origin " : "the origins ";
  for (Names name = first; name != last; ++name) {
    text += (name == first ? "\"" : ", \"") + *name + '"';
  }
  return text;
}

}  // namespace

std::string explain_broken_rollback(const std::vector<std::string> &origins, std::size_t failed) {
  const Names at = origins.begin() + static_cast<std::ptrdiff_t>(failed);
  std::string text = "The origin \"" + *at + "\" may be rolled back in part: do not use it as it is.";
  if (at != origins.begin()) {
    text += " Rolled back: " + quoted(origins.begin(), at) + '.';
  }
  if (at + 1 != origins.end()) {
    text += " Not touched: " + quoted(at + 1, origins.end()) + '.';
  }
  if (origins.size() > 1) {
    text += " They are not of one instant any more.";
  }
  return text + " While the snapshot is in order, `diffsnap rollback' can be run again.";
}

Rollback::Rollback(const Environment &env, RollbackOptions options)
    : env_(env), options_(std::move(options)), images_(find_images(env.dm, options_)) {
  check();
}

void Rollback::check() {
  const auto until = std::chrono::steady_clock::now() + options_.patience;
  for (TrackedImage &image : images_) {
    check_still_in_order(env_.dm, image, verb_to);
    image = get_tracked_image(env_.dm, image.image.snapshot, image.image.origin_name, verb_to);
    if (!options_.force) {
      check_nothing_released(image);
    }
    check_origin_fits(env_, image);
    check_unused(env_, image.origin.device, verb, quoted(image.origin), until);
    check_unused(env_, image.image.device, verb_to, quoted(image.image), until);
  }
}

std::uint64_t Rollback::measure() const {
  std::uint64_t bytes = 0;
  for (const TrackedImage &image : images_) {
    ChangeCursor cursor = ChangeCursor::after_cut(env_.dm, image);
    while (const auto range = cursor.next()) {
      bytes += range->length;
    }
  }
  return bytes;
}

RestoreTotals Rollback::run(const RestoreProgress &progress) {
  check();
  std::vector<UniqueFd> held;
  std::vector<sys::TargetFile> targets;
  for (const TrackedImage &image : images_) {
    held.push_back(hold(image.image, options_.patience));
    targets.emplace_back(sys::device_node(image.origin.device.id));
  }
  for (std::size_t i = 0; i < images_.size(); ++i) {
    roll_back(i, targets[i], progress);
  }
  return done_;
}

void Rollback::roll_back(std::size_t index, sys::TargetFile &target, const RestoreProgress &progress) {
  const TrackedImage &image = images_[index];
  RestoreTotals totals = done_;
  const auto tell = [&](const RestoreTotals &now) {
    totals = {done_.compared + now.compared, done_.different + now.different};
    if (progress) {
      progress(totals);
    }
  };
  try {
    try {
      // What is still to be written out has not been marked yet.
      target.sync();
      ChangeCursor cursor = ChangeCursor::after_cut(env_.dm, image);
      restore_ranges(sys::device_node(image.image.device.id), sys::device_node(image.origin.device.id),
                     target, ranges_of(cursor), options_.threads, tell);
      target.sync();
      check_still_in_order(env_.dm, image, verb_to);
      // The lock keeps away who asks for it.
      if (!options_.force) {
        check_nothing_released(
            get_tracked_image(env_.dm, image.image.snapshot, image.image.origin_name, verb_to));
      }
    } catch (const Error &) {
      // Of a snapshot that was given up, what the reads said is the consequence only.
      check_still_in_order(env_.dm, image, verb_to);
      throw;
    }
    if (options_.verify) {
      verify(image);
    }
  } catch (const Error &error) {
    std::vector<std::string> origins;
    for (const TrackedImage &each : images_) {
      origins.push_back(each.origin.name());
    }
    throw Error(error.verb(), error.object(), error.error_number(), error.reason(),
                explain_broken_rollback(origins, index));
  }
  done_ = totals;
}

void Rollback::verify(const TrackedImage &image) const {
  ChangeCursor cursor = ChangeCursor::after_cut(env_.dm, image);
  const RestoreTotals found =
      compare_ranges(sys::device_node(image.image.device.id), sys::device_node(image.origin.device.id),
                     ranges_of(cursor), options_.threads, {});
  if (found.different > 0) {
    throw Error("verify", quoted(image.origin), EIO,
                std::to_string(found.different) + " bytes of it are not what was written");
  }
}

}  // namespace diffsnap
