// SPDX-License-Identifier: GPL-2.0-or-later
/** @file A device-mapper that exists in memory only: it records what it is asked to do and can fail at any
 * call. */
#ifndef DIFFSNAP_TESTS_FAKE_DEVICE_MAPPER_H
#define DIFFSNAP_TESTS_FAKE_DEVICE_MAPPER_H

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/change_id.h"
#include "dm/device_mapper.h"

namespace diffsnap::test {

/** What happened, in order: the fakes of one test share it. */
using Log = std::vector<std::string>;

/**
 * Counts changing calls and lets one of them fail. The fakes of one test share it, so that a test can walk
 * through all steps: fail the first call, the second, and so on until nothing fails any more.
 */
class FaultPlan {
 public:
  void fail_at(int call, int error_number) {
    left_ = call;
    error_ = error_number;
    triggered_ = false;
  }
  /** @return 0, or the errno value to fail with. */
  int next() noexcept {
    if (left_ > 0 && --left_ == 0) {
      triggered_ = true;
      return error_;
    }
    return 0;
  }
  [[nodiscard]] bool triggered() const noexcept { return triggered_; }

 private:
  int left_ = 0;
  int error_ = 0;
  bool triggered_ = false;
};

class FakeDeviceMapper final : public dm::DeviceMapper {
 public:
  struct Device {
    dm::DeviceInfo info;
    dm::Table live;
    dm::Table inactive;
    dm::UdevFlags udev;
    /** Of a store: what it was told. */
    std::vector<DeviceId> members;
    std::string store_state = "new";
    /** Of an origin: the store that it belongs to. */
    DeviceId store;
    std::string origin_state = "idle";
    ChangeId newest{"0198c0de-0000-7000-8000-000000000000", 0};
    Sectors tracking_block = 128;
    std::optional<ChangeId> restoring;
    /** What its newest one is after the next message. */
    std::optional<ChangeId> newest_then;
    /** What it answers to `changes`, `numbers` and `newer`, one after the other, whatever is asked. */
    std::vector<std::string> answers;
  };

  explicit FakeDeviceMapper(Log &log, FaultPlan &faults) : log_(log), faults_(faults) {}
  ~FakeDeviceMapper() override;

  // For tests to arrange and to look at.
  DeviceId add_device(const std::string &name, const std::string &uuid, const dm::Table &table,
                      int open_count = 0);
  [[nodiscard]] Device &device(const std::string &name);
  [[nodiscard]] bool exists(const std::string &name) const { return devices_.count(name) != 0; }
  [[nodiscard]] std::set<std::string> names() const;
  [[nodiscard]] bool any_suspended() const;
  [[nodiscard]] bool any_inactive() const;
  /** What a failing resume leaves, as a failed swap in the kernel may. */
  enum class FailedResume { old_table_runs, old_table_suspended, new_table_suspended };
  FailedResume failed_resume = FailedResume::old_table_runs;
  /** Of live tables, those that stay suspended: their targets do not want to start. */
  std::function<bool(const dm::Table &)> cannot_run = [](const dm::Table &) { return false; };
  /** What somebody else does just before an action, by what the log will say of it. */
  std::map<std::string, std::function<void()>> meanwhile;
  /** Devices whose table was read without keys, in order. */
  std::vector<std::string> tables_read;
  /** Cookies that were made and not waited for, and those that were abandoned. */
  std::vector<std::uint32_t> open_cookies;
  std::vector<std::uint32_t> abandoned_cookies;

  dm::Version driver_version() override { return {4, 47, 0}; }
  std::vector<dm::TargetVersion> targets() override;
  std::vector<dm::DeviceInfo> list() override;
  std::optional<dm::DeviceInfo> info(const std::string &name) override;
  std::optional<dm::DeviceInfo> info(DeviceId id) override;
  dm::Table table(const std::string &name, dm::WhichTable which, bool secure) override;
  dm::Table status(const std::string &name) override;
  std::vector<DeviceId> deps(const std::string &name) override;
  DeviceId create(const dm::CreateRequest &request, dm::UdevCookie &cookie) override;
  void load(const std::string &name, const dm::Table &table, bool read_only, bool secure) override;
  void clear(const std::string &name) override;
  void resume(const std::string &name, dm::UdevCookie &cookie, dm::UdevFlags udev,
              dm::SuspendFlags flags) override;
  void remove(const std::string &name, dm::UdevCookie &cookie, dm::RemoveFlags flags) override;
  std::string message(const std::string &name, const std::string &text) override;
  std::unique_ptr<dm::PreparedMessage> prepare_message(const std::string &name,
                                                       const std::string &text) override;
  std::unique_ptr<dm::UdevCookie> make_cookie() override;
  void keep_ledger(dm::CookieLedger *ledger) override { ledger_ = ledger; }
  void abandon_cookie(std::uint32_t cookie) noexcept override { abandoned_cookies.push_back(cookie); }
  /** For the cookies themselves. */
  void end_cookie(std::uint32_t cookie) noexcept;
  std::optional<std::uint32_t> wait_event(const std::string &name, std::uint32_t known,
                                          std::optional<std::chrono::milliseconds> timeout) override;

  /** The message itself, for the prepared one. @return 0 or an errno value. */
  int deliver(const std::string &name, const std::string &text) noexcept;

 private:
  /** What the tracker of an origin makes of a message. @return 0 or an errno value. */
  static int deliver_to_origin(Device &origin, const std::vector<std::string_view> &words);
  /** Records a changing call. @return 0, or the errno value that it is to fail with. */
  int record(const std::string &what);
  /** Records a changing call, and throws if it is this one's turn to fail. */
  void act(const std::string &what);
  [[nodiscard]] bool used_by_another(const Device &device) const;
  [[nodiscard]] Device *find(DeviceId id);
  void free_members(Device &store);

  Log &log_;
  FaultPlan &faults_;
  std::map<std::string, Device> devices_;
  unsigned next_minor_ = 0;
  dm::CookieLedger *ledger_ = nullptr;
  std::uint32_t next_cookie_ = 1;
};

}  // namespace diffsnap::test

#endif
