// SPDX-License-Identifier: GPL-2.0-or-later
//
// The only file that includes libdevmapper for its ioctls. A Task is one ioctl, a Cookie is one wait for
// udev.
#include "dm/device_mapper.h"

#include <libdevmapper.h>
#include <sys/ipc.h>
#include <sys/sem.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "dm/control.h"

namespace diffsnap::dm {

namespace {

struct TaskDestroyer {
  void operator()(dm_task *task) const noexcept { dm_task_destroy(task); }
};

// libdevmapper prints to stderr unless told otherwise; our errors carry all there is to say.
extern "C" void discard_log(int, const char *, int, int, const char *, ...) {}

std::uint16_t to_library(const UdevFlags &flags) noexcept {
  unsigned bits = 0;
  bits |= flags.disable_subsystem_rules ? DM_UDEV_DISABLE_SUBSYSTEM_RULES_FLAG : 0U;
  bits |= flags.disable_disk_rules ? DM_UDEV_DISABLE_DISK_RULES_FLAG : 0U;
  bits |= flags.disable_other_rules ? DM_UDEV_DISABLE_OTHER_RULES_FLAG : 0U;
  bits |= flags.low_priority ? DM_UDEV_LOW_PRIORITY_FLAG : 0U;
  return static_cast<std::uint16_t>(bits);
}

class Cookie final : public UdevCookie {
 public:
  explicit Cookie(CookieLedger *ledger) : ledger_(ledger) {
    if (dm_udev_create_cookie(&value_) == 0) {
      throw Error("make", "a udev cookie", errno != 0 ? errno : ENOMEM, {},
                  "`dmsetup udevcookies` lists forgotten ones, `dmsetup udevcomplete_all` ends them.");
    }
    // Without udev there is none.
    if (ledger_ != nullptr && value_ != 0) {
      ledger_->begun(value_);
    }
  }
  ~Cookie() override { finish(); }

  void wait() override {
    if (!finish()) {
      throw Error("wait for", "udev", errno != 0 ? errno : EIO);
    }
  }

  /** For dm_task_set_cookie(); without udev it stays 0 and the library makes the nodes. */
  [[nodiscard]] std::uint32_t &value() noexcept { return value_; }

 private:
  bool finish() noexcept {
    if (std::exchange(done_, true)) {
      return true;
    }
    const bool good = dm_udev_wait(value_) != 0;
    if (ledger_ != nullptr && value_ != 0) {
      ledger_->ended(value_);
    }
    return good;
  }

  CookieLedger *ledger_;
  std::uint32_t value_ = 0;
  bool done_ = false;
};

/** One ioctl: made, filled, run, asked. */
class Task {
 public:
  /** @param verb, object  for messages of errors */
  Task(int type, std::string verb, std::string object)
      : task_(dm_task_create(type)), verb_(std::move(verb)), object_(std::move(object)) {
    check(task_ != nullptr);
  }
  /** On a device, by name. */
  Task(int type, std::string verb, const std::string &name, std::nullptr_t)
      : Task(type, std::move(verb), name) {
    check(dm_task_set_name(get(), name.c_str()));
  }

  [[nodiscard]] dm_task *get() const noexcept { return task_.get(); }

  /** For the library's setters, which return 0 for 'no'. */
  void check(int result) const {
    if (result == 0) {
      throw Error(verb_, object_, errno != 0 ? errno : ENOMEM);
    }
  }
  void check(bool result) const { check(result ? 1 : 0); }

  void add(const Table &table) const {
    for (const TableLine &line : table) {
      check(dm_task_add_target(get(), line.start, line.length, line.target.c_str(), line.params.c_str()));
    }
  }

  void set_cookie(UdevCookie &cookie, std::uint16_t flags) const {
    // Only this file makes cookies for this DeviceMapper.
    check(dm_task_set_cookie(get(), &static_cast<Cookie &>(cookie).value(), flags));
  }

  void run() const {
    if (const int error = try_run()) {
      throw Error(verb_, object_, error);
    }
  }

  /** @return 0 or an errno value. */
  [[nodiscard]] int try_run() const {
    errno = 0;
    if (dm_task_run(get()) != 0) {
      return 0;
    }
    if (const int error = dm_task_get_errno(get())) {
      return error;
    }
    return errno != 0 ? errno : EIO;
  }

  [[nodiscard]] dm_info info() const {
    dm_info answer{};
    check(dm_task_get_info(get(), &answer));
    return answer;
  }

  [[nodiscard]] Table lines() const {
    Table table;
    void *next = nullptr;
    do {
      std::uint64_t start = 0;
      std::uint64_t length = 0;
      char *target = nullptr;
      char *params = nullptr;
      next = dm_get_next_target(get(), next, &start, &length, &target, &params);
      if (target != nullptr) {
        table.push_back({start, length, target, params != nullptr ? params : ""});
      }
    } while (next != nullptr);
    return table;
  }

 private:
  std::unique_ptr<dm_task, TaskDestroyer> task_;
  std::string verb_;
  std::string object_;
};

DeviceInfo to_info(const Task &task, const dm_info &answer) {
  DeviceInfo info;
  const char *name = dm_task_get_name(task.get());
  const char *uuid = dm_task_get_uuid(task.get());
  info.name = name != nullptr ? name : "";
  info.uuid = uuid != nullptr ? uuid : "";
  info.id = {answer.major, answer.minor};
  info.suspended = answer.suspended != 0;
  info.live_table = answer.live_table != 0;
  info.inactive_table = answer.inactive_table != 0;
  info.read_only = answer.read_only != 0;
  info.deferred_remove = answer.deferred_remove != 0;
  info.open_count = answer.open_count;
  info.event_number = answer.event_nr;
  return info;
}

class KernelDeviceMapper final : public DeviceMapper {
 public:
  KernelDeviceMapper() {
    dm_log_with_errno_init(discard_log);
    // The control node stays open between ioctls, so that none has to open it at a bad moment.
    dm_hold_control_dev(1);
  }
  ~KernelDeviceMapper() override { dm_lib_release(); }

  Version driver_version() override {
    const Task task(DM_DEVICE_VERSION, "talk to", "device-mapper");
    if (const int error = task.try_run()) {
      throw InitError(
          "talk to", "device-mapper", error, {},
          error == EACCES || error == EPERM ? "This needs root's rights." : "Is the module dm_mod loaded?");
    }
    char text[64] = "";
    task.check(dm_task_get_driver_version(task.get(), text, sizeof(text)));
    return parse_version(text);
  }

  std::vector<TargetVersion> targets() override {
    const Task task(DM_DEVICE_LIST_VERSIONS, "list", "the targets of device-mapper");
    task.run();
    std::vector<TargetVersion> result;
    const dm_versions *entry = dm_task_get_versions(task.get());
    while (entry != nullptr) {
      result.push_back({entry->name, {entry->version[0], entry->version[1], entry->version[2]}});
      entry = entry->next != 0 ? advance(entry, entry->next) : nullptr;
    }
    return result;
  }

  std::vector<DeviceInfo> list() override {
    const Task task(DM_DEVICE_LIST, "list", "device-mapper devices");
    if (const int error = task.try_run()) {
      throw InitError("list", "device-mapper devices", error);
    }
    std::vector<DeviceInfo> result;
    const dm_names *entry = dm_task_get_names(task.get());
    // An empty list is one entry without a device.
    while (entry != nullptr && entry->dev != 0) {
      if (auto device = info(DeviceId::from_dev_t(entry->dev))) {
        result.push_back(std::move(*device));
      }
      entry = entry->next != 0 ? advance(entry, entry->next) : nullptr;
    }
    return result;
  }

  std::optional<DeviceInfo> info(const std::string &name) override {
    return info_of(Task(DM_DEVICE_INFO, "look at", name, nullptr));
  }

  std::optional<DeviceInfo> info(DeviceId id) override {
    const Task task(DM_DEVICE_INFO, "look at", id.to_string());
    task.check(
        dm_task_set_major_minor(task.get(), static_cast<int>(id.major), static_cast<int>(id.minor), 0));
    return info_of(task);
  }

  Table table(const std::string &name, WhichTable which, bool secure) override {
    const Task task(DM_DEVICE_TABLE, "read the table of", name, nullptr);
    task.check(dm_task_no_flush(task.get()));
    if (which == WhichTable::inactive) {
      task.check(dm_task_query_inactive_table(task.get()));
    }
    // The kernel puts keys into its answer whatever becomes of them here: the library and the kernel wipe it.
    task.check(dm_task_secure_data(task.get()));
    task.run();
    Table table = task.lines();
    if (!secure) {
      blank_keys(table);
    }
    return table;
  }

  Table status(const std::string &name) override {
    const Task task(DM_DEVICE_STATUS, "read the status of", name, nullptr);
    task.check(dm_task_no_flush(task.get()));
    task.run();
    return task.lines();
  }

  std::vector<DeviceId> deps(const std::string &name) override {
    const Task task(DM_DEVICE_DEPS, "read the dependencies of", name, nullptr);
    task.run();
    std::vector<DeviceId> result;
    if (const dm_deps *deps = dm_task_get_deps(task.get())) {
      for (std::uint32_t i = 0; i < deps->count; ++i) {
        result.push_back(DeviceId::from_dev_t(deps->device[i]));
      }
    }
    return result;
  }

  DeviceId create(const CreateRequest &request, UdevCookie &cookie) override {
    // Three ioctls of our own: the library's combined task loses the errno of the one that failed.
    const Task task(DM_DEVICE_CREATE, "create", request.name, nullptr);
    task.check(dm_task_set_uuid(task.get(), request.uuid.c_str()));
    task.run();
    const dm_info made = task.info();
    try {
      load_as("create", request.name, request.table, request.read_only, request.secure);
      resume_as("create", request.name, cookie, request.udev, {});
    } catch (...) {
      remove_quietly(request.name);
      throw;
    }
    return {made.major, made.minor};
  }

  void load(const std::string &name, const Table &table, bool read_only, bool secure) override {
    load_as("load a table into", name, table, read_only, secure);
  }

  void clear(const std::string &name) override {
    Task(DM_DEVICE_CLEAR, "clear the inactive table of", name, nullptr).run();
  }

  void resume(const std::string &name, UdevCookie &cookie, UdevFlags udev, SuspendFlags flags) override {
    resume_as("resume", name, cookie, udev, flags);
  }

  void remove(const std::string &name, UdevCookie &cookie, RemoveFlags flags) override {
    const Task task(DM_DEVICE_REMOVE, "remove", name, nullptr);
    if (flags.retry) {
      task.check(dm_task_retry_remove(task.get()));
    }
    if (flags.deferred) {
      task.check(dm_task_deferred_remove(task.get()));
    }
    task.set_cookie(cookie, 0);
    task.run();
  }

  std::string message(const std::string &name, const std::string &text) override {
    const Task task(DM_DEVICE_TARGET_MSG, "send \"" + text + "\" to", name, nullptr);
    task.check(dm_task_set_sector(task.get(), 0));
    task.check(dm_task_set_message(task.get(), text.c_str()));
    task.run();
    const char *answer = dm_task_get_message_response(task.get());
    return answer != nullptr ? answer : "";
  }

  std::unique_ptr<PreparedMessage> prepare_message(const std::string &name,
                                                   const std::string &text) override {
    return prepare_control_message(name, text);
  }

  std::unique_ptr<UdevCookie> make_cookie() override { return std::make_unique<Cookie>(ledger_); }

  void keep_ledger(CookieLedger *ledger) override { ledger_ = ledger; }

  void abandon_cookie(std::uint32_t cookie) noexcept override {
    // As `dmsetup udevcomplete_all` does. What looks different is no cookie: dm-ioctl's magic is in the upper
    // half.
    if (cookie >> 16 != DM_COOKIE_MAGIC) {
      return;
    }
    const int id = ::semget(static_cast<key_t>(cookie), 1, 0);
    if (id >= 0) {
      static_cast<void>(::semctl(id, 0, IPC_RMID));
    }
  }

  std::optional<std::uint32_t> wait_event(const std::string &name, std::uint32_t known,
                                          std::optional<std::chrono::milliseconds> timeout) override {
    using Clock = std::chrono::steady_clock;
    const auto start = Clock::now();
    EventPoll poll;
    while (true) {
      // Armed before the number is read: an event in between makes the descriptor readable.
      poll.arm();
      const auto device = info(name);
      if (!device) {
        throw Error("wait for events of", name, ENXIO, "the device is gone");
      }
      if (device->event_number != known) {
        return device->event_number;
      }
      auto left = timeout;
      if (left) {
        // Rounded up, or the last fraction of a millisecond would be spent spinning.
        const auto passed = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start);
        if (passed >= *timeout) {
          return std::nullopt;
        }
        *left -= passed;
      }
      // Which device it was, the loop finds out.
      static_cast<void>(poll.wait(left));
    }
  }

 private:
  CookieLedger *ledger_ = nullptr;

  template <typename Entry>
  static const Entry *advance(const Entry *entry, std::uint32_t bytes) noexcept {
    // The kernel aligns the entries of its lists.
    return static_cast<const Entry *>(
        static_cast<const void *>(static_cast<const char *>(static_cast<const void *>(entry)) + bytes));
  }

  static Version parse_version(std::string_view text) {
    Version version;
    unsigned *const parts[] = {&version.major, &version.minor, &version.patch};
    for (unsigned *part : parts) {
      const auto dot = text.find('.');
      *part = parse_number<unsigned>(text.substr(0, dot)).value_or(0);
      text.remove_prefix(dot == std::string_view::npos ? text.size() : dot + 1);
    }
    return version;
  }

  static std::optional<DeviceInfo> info_of(const Task &task) {
    task.run();
    const dm_info answer = task.info();
    if (answer.exists == 0) {
      return std::nullopt;
    }
    return to_info(task, answer);
  }

  /** `dmsetup table` does the same: the kernel gives the key to whoever may ask, nobody shall see it by
   * accident. */
  static void blank_keys(Table &table) {
    for (TableLine &line : table) {
      if (line.target != "crypt" || line.params.empty()) {
        continue;
      }
      const auto key = line.params.find(' ') + 1;
      const auto end = line.params.find(' ', key);
      // A reference to the kernel's keyring is no secret.
      if (end != std::string::npos && line.params[key] != ':') {
        std::fill(line.params.begin() + static_cast<std::string::difference_type>(key),
                  line.params.begin() + static_cast<std::string::difference_type>(end), '0');
      }
    }
  }

  static void set_suspend_flags(const Task &task, SuspendFlags flags) {
    if (flags.noflush) {
      task.check(dm_task_no_flush(task.get()));
    }
    if (flags.skip_lockfs) {
      task.check(dm_task_skip_lockfs(task.get()));
    }
  }

  static void load_as(const char *verb, const std::string &name, const Table &table, bool read_only,
                      bool secure) {
    const Task task(DM_DEVICE_RELOAD, verb, name, nullptr);
    task.add(table);
    if (read_only) {
      task.check(dm_task_set_ro(task.get()));
    }
    if (secure) {
      task.check(dm_task_secure_data(task.get()));
    }
    task.run();
  }

  static void resume_as(const char *verb, const std::string &name, UdevCookie &cookie, UdevFlags udev,
                        SuspendFlags flags) {
    const Task task(DM_DEVICE_RESUME, verb, name, nullptr);
    set_suspend_flags(task, flags);
    task.set_cookie(cookie, to_library(udev));
    task.run();
  }

  /** For the way back from an error, whose message counts. */
  void remove_quietly(const std::string &name) noexcept {
    try {
      Cookie cookie(ledger_);
      remove(name, cookie, RemoveFlags{});
    } catch (const std::exception &) {
      // It stays as a leftover that the next remove or create finds by its UUID.
    }
  }
};

}  // namespace

std::string Version::to_string() const {
  return std::to_string(major) + '.' + std::to_string(minor) + '.' + std::to_string(patch);
}

std::unique_ptr<DeviceMapper> open_device_mapper() {
  return std::make_unique<KernelDeviceMapper>();
}

}  // namespace diffsnap::dm
