// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/table_copy.h"

#include <algorithm>
#include <cerrno>

#include "base/text.h"
#include "core/naming.h"

namespace diffsnap {

namespace {

/** Keeps memory locked while a table with keys is about, or a device suspended. */
class LockedMemory {
 public:
  LockedMemory(sys::MemoryLocker *locker, bool wanted) : locker_(wanted ? locker : nullptr) {
    if (locker_ != nullptr) {
      locker_->lock();
    }
  }
  LockedMemory(const LockedMemory &) = delete;
  LockedMemory &operator=(const LockedMemory &) = delete;
  ~LockedMemory() {
    if (locker_ != nullptr) {
      locker_->unlock();
    }
  }

 private:
  sys::MemoryLocker *locker_;
};

bool is_crypt(const dm::TableLine &line) {
  return line.target == "crypt";
}

/** By the status, for the table has the keys in it already. */
bool may_hold_keys(dm::DeviceMapper &dm, const std::string &name) {
  const dm::Table status = dm.status(name);
  return std::any_of(status.begin(), status.end(), is_crypt);
}

/** Whether the key is only referred to: `<cipher> :<size>:<type>:<description> ...` */
bool refers_to_keyring(const dm::Table &table) {
  return std::any_of(table.begin(), table.end(), [](const dm::TableLine &line) {
    const auto words = split_words(line.params);
    return is_crypt(line) && words.size() > 1 && starts_with(words[1], ":");
  });
}

/** A live table as it is, keys and all: never printed, wiped when the object ends. */
class LiveTable {
 public:
  LiveTable(const Environment &env, const std::string &name)
      : secret_(may_hold_keys(env.dm, name)),
        memory_(env.memory, secret_),
        table_(env.dm.table(name, dm::WhichTable::live, secret_)),
        key_in_keyring_(refers_to_keyring(table_)) {}
  LiveTable(const LiveTable &) = delete;
  LiveTable &operator=(const LiveTable &) = delete;
  // The members' destructors run later: it is wiped while memory is still locked.
  ~LiveTable() { dm::wipe(table_); }

  [[nodiscard]] dm::Table &table() noexcept { return table_; }
  [[nodiscard]] bool secret() const noexcept { return secret_; }
  [[nodiscard]] bool key_in_keyring() const noexcept { return key_in_keyring_; }

 private:
  bool secret_;
  LockedMemory memory_;
  dm::Table table_;
  bool key_in_keyring_;
};

/** Rethrows the error being handled: the kernel's ENOKEY says nothing to those who did not know that there
 * was a key to be found. */
[[noreturn]] void rethrow(const Error &error, const LiveTable &live, const std::string &device) {
  if (live.key_in_keyring()) {
    throw Error("copy", "the table of " + device, error.error_number(),
                "its key is in a kernel keyring that only cryptsetup had",
                "`cryptsetup refresh --disable-keyring " + device + "` puts it where it can be copied.");
  }
  throw;
}

bool is_suspended(const Environment &env, const std::string &name) {
  const auto device = env.dm.info(name);
  return !device || device->suspended;
}

bool try_to_resume(const Environment &env, const std::string &name, dm::UdevCookie &cookie) {
  try {
    env.dm.resume(name, cookie);
    return true;
  } catch (const Error &) {
    return false;
  }
}

}  // namespace

DeviceId create_copy(const Environment &env, const dm::DeviceInfo &device, const std::string &name) {
  LiveTable live(env, device.name);
  dm::CreateRequest request;
  request.name = name;
  request.uuid = DeviceUuid{DeviceKind::real, new_id(), 0}.to_string();
  request.udev = dm::UdevFlags::hidden();
  request.read_only = device.read_only;
  request.secure = live.secret();
  request.table = std::move(live.table());
  const dm::WipeOnExit wipe(request.table);
  const auto cookie = env.dm.make_cookie();
  try {
    const DeviceId id = env.dm.create(request, *cookie);
    cookie->wait();
    return id;
  } catch (const Error &error) {
    rethrow(error, live, device.name);
  }
}

void load_copy(const Environment &env, const std::string &from, const dm::DeviceInfo &to) {
  LiveTable live(env, from);
  try {
    env.dm.load(to.name, live.table(), to.read_only, live.secret());
  } catch (const Error &error) {
    rethrow(error, live, to.name);
  }
}

void swap_table(const Environment &env, const std::string &name, dm::UdevCookie &cookie,
                const std::function<void()> &load_old, InFlight in_flight) {
  // While the device is suspended nothing may be waited for that lies on it: neither a page of this program
  // nor, for memory, the writing out of somebody else's.
  const LockedMemory memory(env.memory, true);
  const auto second_cookie = env.dm.make_cookie();
  const dm::Table old = env.dm.table(name);
  dm::SuspendFlags flags;
  flags.noflush = in_flight == InFlight::requeue;
  flags.skip_lockfs = true;
  try {
    env.dm.resume(name, cookie, {}, flags);
  } catch (const Error &) {
    if (!is_suspended(env, name)) {
      throw;
    }
    if (!try_to_resume(env, name, *second_cookie)) {
      // The new table is live and its target does not want to run.
      load_old();
      env.dm.resume(name, *second_cookie);
    }
    if (env.dm.table(name) == old) {
      throw;
    }
    second_cookie->wait();
  }
}

}  // namespace diffsnap
