// SPDX-License-Identifier: GPL-2.0-or-later
/** @file The parts that making a snapshot and taking it later have in common. Internal to lib/core. */
#ifndef DIFFSNAP_CORE_SNAPSHOT_TAKE_H
#define DIFFSNAP_CORE_SNAPSHOT_TAKE_H

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "core/snapshot_set.h"
#include "core/steps.h"
#include "sys/memlock.h"

namespace diffsnap {

/** Creates a device whose removal is its undoing. @param before_removal  may be empty */
DeviceId make_device(const Environment &env, Steps &steps, dm::CreateRequest request, dm::UdevCookie &cookie,
                     const Steps::Action &before_removal = {});

/**
 * The origins that are to become members of a snapshot, in this order. Throws Error if one cannot.
 * @param not_attached_yet  dm devices that are no origins pass for such, to check what comes after attach()
 */
[[nodiscard]] std::vector<OriginInfo> check_new_members(const Environment &env, const std::string &snapshot,
                                                        Sectors chunk, const std::vector<DeviceId> &origins,
                                                        bool not_attached_yet = false);

/** Makes origins members of a snapshot. Throws Error. */
void add_members(const Environment &env, const std::string &snapshot, const std::vector<OriginInfo> &origins);

/** A snapshot that is to be cut. */
struct Taking {
  /** For messages: "create". */
  const char *verb;
  std::string name;
  std::string id;
  DeviceId store;
  /** In the order of the store's members. */
  std::vector<OriginInfo> origins;
  std::optional<std::chrono::milliseconds> cut_limit;
};

/** Throws Error, EINTR, if a signal waits that will end the process. */
void check_not_interrupted(const Taking &taking, const sys::SignalBlock &uninterrupted);

/** Freezes, cuts and thaws; says in @p result how long that took. Throws Error; nothing is cut then, unless
 * it is the thaw that failed. Writing out takes as long as it takes: signals are looked at after it. */
void cut(const Environment &env, const Taking &taking, sys::Freezer *freezer, sys::CriticalSection *critical,
         const sys::SignalBlock &uninterrupted, CreateResult &result);

void make_images(const Environment &env, const Taking &taking, Steps &steps);

/** Paths of the images that it will have. */
[[nodiscard]] std::vector<std::string> image_paths(const std::string &snapshot,
                                                   const std::vector<OriginInfo> &origins);

}  // namespace diffsnap

#endif
