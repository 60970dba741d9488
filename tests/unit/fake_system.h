// SPDX-License-Identifier: GPL-2.0-or-later
/** @file Invented block devices, file systems and a critical section. */
#ifndef DIFFSNAP_TESTS_FAKE_SYSTEM_H
#define DIFFSNAP_TESTS_FAKE_SYSTEM_H

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "core/environment.h"
#include "fake_device_mapper.h"
#include "sys/freezer.h"

namespace diffsnap::test {

/** Block devices as a test describes them; unknown dm devices get plausible facts. */
class FakeBlockDevices final : public sys::BlockDevices {
 public:
  std::map<DeviceId, sys::BlockDeviceFacts> known;
  std::map<DeviceId, std::string> usages;
  std::map<DeviceId, std::string> signatures;
  std::set<DeviceId> exclusive;
  std::set<DeviceId> gone;
  std::map<std::string, DeviceId> file_devices;
  std::map<std::string, std::vector<sys::ByteRange>> extents;
  std::vector<sys::ByteRange> discarded;
  std::map<DeviceId, sys::WriteEvidence> evidence;
  /** Incarnations that are there. */
  std::set<std::string> present;
  /** How often something was read of a device for it. */
  int evidence_looked_at = 0;

  sys::BlockDeviceFacts &add(DeviceId id, const std::string &name, Sectors size) {
    sys::BlockDeviceFacts facts;
    facts.id = id;
    facts.name = name;
    facts.size = size;
    return known[id] = facts;
  }

  sys::BlockDeviceFacts facts(DeviceId id) override {
    if (gone.count(id) != 0) {
      throw Error("look at", "device " + id.to_string(), ENODEV);
    }
    const auto found = known.find(id);
    if (found != known.end()) {
      return found->second;
    }
    sys::BlockDeviceFacts facts;
    facts.id = id;
    facts.name = "dm-" + std::to_string(id.minor);
    facts.size = 1 << 20;
    return facts;
  }
  std::optional<std::string> usage(DeviceId id) override { return lookup(usages, id); }
  bool can_open_exclusively(DeviceId id) override { return exclusive.count(id) == 0; }
  std::optional<std::string> signature(DeviceId id) override { return lookup(signatures, id); }
  void wipe_signatures(DeviceId id, const sys::ByteRange &) override { signatures.erase(id); }
  std::optional<DeviceId> device_of_file(const std::string &path) override {
    const auto found = file_devices.find(path);
    return found == file_devices.end() ? std::nullopt : std::optional(found->second);
  }
  std::optional<std::vector<DeviceId>> devices_below_file(const std::string &path) override {
    const auto device = device_of_file(path);
    return device ? std::optional(std::vector<DeviceId>{*device}) : std::nullopt;
  }
  std::vector<sys::ByteRange> file_extents(const std::string &path) override { return extents[path]; }
  /** What happens just before a discard. */
  std::function<void()> before_discard = [] {};
  void discard(DeviceId, const std::vector<sys::ByteRange> &ranges,
               const std::function<void()> &check) override {
    before_discard();
    check();
    discarded.insert(discarded.end(), ranges.begin(), ranges.end());
  }
  sys::WriteEvidence write_evidence(DeviceId id) override {
    ++evidence_looked_at;
    return evidence[id];
  }
  bool is_present(const std::string &incarnation) override { return present.count(incarnation) != 0; }

 private:
  static std::optional<std::string> lookup(const std::map<DeviceId, std::string> &map, DeviceId id) {
    const auto found = map.find(id);
    return found == map.end() ? std::nullopt : std::optional(found->second);
  }
};

class FakeFreezer final : public sys::Freezer {
 public:
  FakeFreezer(Log &log, FaultPlan &faults) : log_(log), faults_(faults) {}

  /** Somebody ends the command just then: at "thaw", for instance. */
  std::string terminated_at;

  void prepare(const std::vector<DeviceId> &) override { act("prepare"); }
  void write_out() override { act("write out"); }
  int freeze() noexcept override {
    const int error = record("freeze");
    frozen_ = error == 0;
    return error;
  }
  int thaw() noexcept override {
    // Whether it reports success or not, it tries all.
    frozen_ = false;
    return record("thaw");
  }
  [[nodiscard]] Error failure() const override { return {"freeze", "/mnt", EIO}; }
  [[nodiscard]] std::chrono::nanoseconds frozen_time() const noexcept override {
    return std::chrono::milliseconds{2};
  }
  [[nodiscard]] bool frozen() const noexcept { return frozen_; }

 private:
  int record(const std::string &what) noexcept {
    const int error = faults_.next();
    log_.push_back(error != 0 ? what + " FAILS" : what);
    if (what == terminated_at) {
      raise(SIGTERM);
    }
    return error;
  }
  void act(const std::string &what) {
    if (const int error = record(what)) {
      throw Error("do", what, error);
    }
  }

  Log &log_;
  FaultPlan &faults_;
  bool frozen_ = false;
};

class FakeCriticalSection final : public sys::CriticalSection {
 public:
  FakeCriticalSection(Log &log, FaultPlan &faults) : log_(log), faults_(faults) {}

  void enter() override {
    if (const int error = faults_.next()) {
      log_.push_back("enter FAILS");
      throw Error("do", "enter", error);
    }
    log_.push_back("enter");
    entered_ = true;
  }
  void leave() noexcept override {
    log_.push_back("leave");
    entered_ = false;
  }
  [[nodiscard]] bool entered() const noexcept { return entered_; }

 private:
  Log &log_;
  FaultPlan &faults_;
  bool entered_ = false;
};

class FakeMemoryLocker final : public sys::MemoryLocker {
 public:
  explicit FakeMemoryLocker(Log &log) : log_(log) {}
  void lock() override {
    log_.push_back("lock memory");
    ++depth_;
  }
  void unlock() noexcept override {
    log_.push_back("unlock memory");
    --depth_;
  }
  [[nodiscard]] int depth() const noexcept { return depth_; }

 private:
  Log &log_;
  int depth_ = 0;
};

/** All of them, sharing one log and one plan of faults. */
struct FakeSystem {
  Log log;
  FaultPlan faults;
  FakeDeviceMapper dm{log, faults};
  FakeBlockDevices devices;
  FakeFreezer freezer{log, faults};
  FakeCriticalSection critical{log, faults};
  FakeMemoryLocker memory{log};
  Environment env{dm, devices, &memory};

  /** The log without the making of cookies, which few tests care about. */
  [[nodiscard]] Log actions() const {
    Log result;
    std::copy_if(log.begin(), log.end(), std::back_inserter(result),
                 [](const std::string &entry) { return entry != "cookie"; });
    return result;
  }
};

}  // namespace diffsnap::test

#endif
