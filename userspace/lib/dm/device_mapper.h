// SPDX-License-Identifier: GPL-2.0-or-later
/**
 * @file
 * Device-mapper, as an interface: the real one talks to the kernel through libdevmapper, tests use a fake.
 *
 * Every function that fails throws diffsnap::Error with the kernel's errno. None may be called from two
 * threads at once: libdevmapper keeps global state.
 */
#ifndef DIFFSNAP_DM_DEVICE_MAPPER_H
#define DIFFSNAP_DM_DEVICE_MAPPER_H

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/device_id.h"
#include "dm/table.h"

namespace diffsnap::dm {

/** Longest dm name, without the final zero (DM_NAME_LEN - 1). */
inline constexpr std::size_t max_name_length = 127;

/** What udev's rules leave out for a device (DM_UDEV_*_FLAG). Passed with the cookie. */
struct UdevFlags {
  bool disable_subsystem_rules = false;
  bool disable_disk_rules = false;
  bool disable_other_rules = false;
  bool low_priority = false;

  /** Nobody shall scan it or link to it: real devices, stores. */
  [[nodiscard]] static UdevFlags hidden() noexcept { return {true, true, true, false}; }
  /** As hidden, and its links lose against any other: images. */
  [[nodiscard]] static UdevFlags image() noexcept { return {true, true, true, true}; }
};

/**
 * A wait for udev. Make it before a device is suspended (making it takes memory and a semaphore), hand it to
 * any number of operations, and wait() when all of them are done. The destructor waits if nobody did, so that
 * udev is never left with a semaphore that nobody frees.
 */
class UdevCookie {
 public:
  UdevCookie() = default;
  UdevCookie(const UdevCookie &) = delete;
  UdevCookie &operator=(const UdevCookie &) = delete;
  virtual ~UdevCookie() = default;
  /** Returns when udev has processed everything that got this cookie. A second call does nothing. */
  virtual void wait() = 0;
};

/** Told of the cookies of a DeviceMapper, so that those of a killed process can be ended by another one. */
class CookieLedger {
 public:
  CookieLedger() = default;
  CookieLedger(const CookieLedger &) = delete;
  CookieLedger &operator=(const CookieLedger &) = delete;
  virtual ~CookieLedger() = default;
  virtual void begun(std::uint32_t cookie) noexcept = 0;
  virtual void ended(std::uint32_t cookie) noexcept = 0;
};

/** A message made ready so that sending it takes no memory, opens nothing and throws nothing. */
class PreparedMessage {
 public:
  PreparedMessage() = default;
  PreparedMessage(const PreparedMessage &) = delete;
  PreparedMessage &operator=(const PreparedMessage &) = delete;
  virtual ~PreparedMessage() = default;
  /** @return 0, or an errno value. To be sent once. */
  [[nodiscard]] virtual int send() noexcept = 0;
};

struct Version {
  unsigned major = 0;
  unsigned minor = 0;
  unsigned patch = 0;
  /** "1.2.3" */
  [[nodiscard]] std::string to_string() const;
};

struct TargetVersion {
  std::string name;
  Version version;
};

struct DeviceInfo {
  std::string name;
  std::string uuid;
  DeviceId id;
  bool suspended = false;
  bool live_table = false;
  bool inactive_table = false;
  bool read_only = false;
  bool deferred_remove = false;
  int open_count = 0;
  std::uint32_t event_number = 0;
};

struct CreateRequest {
  std::string name;
  std::string uuid;
  Table table;
  UdevFlags udev;
  bool read_only = false;
  /** The table holds keys: the kernel and libdevmapper wipe their copies. */
  bool secure = false;
};

struct SuspendFlags {
  /** Do not wait for I/O in flight, it is queued (needed when a device below does not answer). */
  bool noflush = false;
  /** Do not freeze the file system on it. */
  bool skip_lockfs = false;
};

struct RemoveFlags {
  /** Try for a few seconds: udev or a scanner may hold the device open for a moment. */
  bool retry = true;
  /** The kernel removes it when its last user closes it. */
  bool deferred = false;
};

enum class WhichTable { live, inactive };

class DeviceMapper {
 public:
  DeviceMapper() = default;
  DeviceMapper(const DeviceMapper &) = delete;
  DeviceMapper &operator=(const DeviceMapper &) = delete;
  virtual ~DeviceMapper() = default;

  /** The kernel's interface version. Throws InitError if there is no device-mapper or no permission. */
  [[nodiscard]] virtual Version driver_version() = 0;
  /** All targets that are loaded now. */
  [[nodiscard]] virtual std::vector<TargetVersion> targets() = 0;

  /** All devices, with name, uuid and id; one call for info() of each. */
  [[nodiscard]] virtual std::vector<DeviceInfo> list() = 0;
  /** Nothing if there is no such device. */
  [[nodiscard]] virtual std::optional<DeviceInfo> info(const std::string &name) = 0;
  [[nodiscard]] virtual std::optional<DeviceInfo> info(DeviceId id) = 0;
  /** @param secure  a crypt table's key is in the result: wipe() it, lock memory before. Without, keys are
   * blanked. */
  [[nodiscard]] virtual Table table(const std::string &name, WhichTable which = WhichTable::live,
                                    bool secure = false) = 0;
  /** Status lines; the parameters are the targets' status. Does not flush (DM_NOFLUSH). */
  [[nodiscard]] virtual Table status(const std::string &name) = 0;
  /** The devices that the live table uses. */
  [[nodiscard]] virtual std::vector<DeviceId> deps(const std::string &name) = 0;

  /** Creates, loads and resumes; nothing is left of it if that fails. */
  virtual DeviceId create(const CreateRequest &request, UdevCookie &cookie) = 0;
  /** Loads a table into the inactive slot; changes nothing that is live. */
  virtual void load(const std::string &name, const Table &table, bool read_only = false,
                    bool secure = false) = 0;
  /** Empties the inactive slot. */
  virtual void clear(const std::string &name) = 0;
  /**
   * Resumes. On a device that is not suspended and has an inactive table the kernel suspends, swaps and
   * resumes within this one call, so that a kill cannot leave it suspended. @p flags apply to that suspend.
   */
  virtual void resume(const std::string &name, UdevCookie &cookie, UdevFlags udev = {},
                      SuspendFlags flags = {}) = 0;
  virtual void remove(const std::string &name, UdevCookie &cookie, RemoveFlags flags = {}) = 0;

  /** Sends to sector 0 and returns the answer, empty if there is none. */
  virtual std::string message(const std::string &name, const std::string &text) = 0;
  [[nodiscard]] virtual std::unique_ptr<PreparedMessage> prepare_message(const std::string &name,
                                                                         const std::string &text) = 0;
  [[nodiscard]] virtual std::unique_ptr<UdevCookie> make_cookie() = 0;
  /** The ledger gets every cookie made from now on; null: none does. Not owned; must outlive those cookies.
   */
  virtual void keep_ledger(CookieLedger *ledger) = 0;
  /** Ends a cookie of a process that is no more, if it is there still. */
  virtual void abandon_cookie(std::uint32_t cookie) noexcept = 0;

  /**
   * Waits until the device's event number differs from @p known.
   * @param timeout  nothing: for ever
   * @return the new number; nothing on a time out. Throws Error with ENXIO when the device goes.
   */
  [[nodiscard]] virtual std::optional<std::uint32_t> wait_event(
      const std::string &name, std::uint32_t known,
      std::optional<std::chrono::milliseconds> timeout = std::nullopt) = 0;
};

/** The kernel's device-mapper. One per process is enough; errors of libdevmapper itself are not printed. */
[[nodiscard]] std::unique_ptr<DeviceMapper> open_device_mapper();

}  // namespace diffsnap::dm

#endif
