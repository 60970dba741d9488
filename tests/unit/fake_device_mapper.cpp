// SPDX-License-Identifier: GPL-2.0-or-later
#include "fake_device_mapper.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/error.h"
#include "base/text.h"

namespace diffsnap::test {

namespace {

class FakeCookie final : public dm::UdevCookie {
 public:
  FakeCookie(FakeDeviceMapper &dm, std::uint32_t value) : dm_(dm), value_(value) {}
  ~FakeCookie() override { end(); }
  void wait() override { end(); }

 private:
  void end() noexcept {
    if (value_ != 0) {
      dm_.end_cookie(value_);
    }
    value_ = 0;
  }

  FakeDeviceMapper &dm_;
  std::uint32_t value_;
};

class FakeMessage final : public dm::PreparedMessage {
 public:
  FakeMessage(FakeDeviceMapper &dm, std::string name, std::string text)
      : dm_(dm), name_(std::move(name)), text_(std::move(text)) {}
  int send() noexcept override { return dm_.deliver(name_, text_); }

 private:
  FakeDeviceMapper &dm_;
  std::string name_;
  std::string text_;
};

constexpr unsigned dm_major = 254;

/** The devices that a line names: all words of the form major:minor. */
std::vector<DeviceId> devices_of(const dm::Table &table) {
  std::vector<DeviceId> devices;
  for (const dm::TableLine &line : table) {
    for (const std::string_view word : split_words(line.params)) {
      if (const auto id = DeviceId::parse(word)) {
        devices.push_back(*id);
      }
    }
  }
  return devices;
}

}  // namespace

FakeDeviceMapper::~FakeDeviceMapper() = default;

DeviceId FakeDeviceMapper::add_device(const std::string &name, const std::string &uuid,
                                      const dm::Table &table, int open_count) {
  Device device;
  device.info.name = name;
  device.info.uuid = uuid;
  device.info.id = {dm_major, next_minor_++};
  device.info.live_table = !table.empty();
  device.info.open_count = open_count;
  device.live = table;
  devices_[name] = device;
  return device.info.id;
}

FakeDeviceMapper::Device &FakeDeviceMapper::device(const std::string &name) {
  const auto found = devices_.find(name);
  if (found == devices_.end()) {
    throw Error("find", name, ENXIO);
  }
  return found->second;
}

std::set<std::string> FakeDeviceMapper::names() const {
  std::set<std::string> result;
  for (const auto &entry : devices_) {
    result.insert(entry.first);
  }
  return result;
}

bool FakeDeviceMapper::any_suspended() const {
  return std::any_of(devices_.begin(), devices_.end(),
                     [](const auto &entry) { return entry.second.info.suspended; });
}

bool FakeDeviceMapper::any_inactive() const {
  return std::any_of(devices_.begin(), devices_.end(),
                     [](const auto &entry) { return entry.second.info.inactive_table; });
}

int FakeDeviceMapper::record(const std::string &what) {
  const auto other = meanwhile.find(what);
  if (other != meanwhile.end()) {
    other->second();
  }
  const int error = faults_.next();
  log_.push_back(error != 0 ? what + " FAILS" : what);
  return error;
}

void FakeDeviceMapper::act(const std::string &what) {
  if (const int error = record(what)) {
    throw Error("do", what, error);
  }
}

bool FakeDeviceMapper::used_by_another(const Device &device) const {
  for (const auto &entry : devices_) {
    for (const dm::Table *table : {&entry.second.live, &entry.second.inactive}) {
      const auto used = devices_of(*table);
      if (&entry.second != &device && std::find(used.begin(), used.end(), device.info.id) != used.end()) {
        return true;
      }
    }
  }
  return false;
}

FakeDeviceMapper::Device *FakeDeviceMapper::find(DeviceId id) {
  for (auto &entry : devices_) {
    if (entry.second.info.id == id) {
      return &entry.second;
    }
  }
  return nullptr;
}

void FakeDeviceMapper::free_members(Device &store) {
  for (const DeviceId id : store.members) {
    if (Device *origin = find(id)) {
      origin->origin_state = "idle";
    }
  }
}

std::vector<dm::TargetVersion> FakeDeviceMapper::targets() {
  return {{"linear", {1, 4, 0}},
          {"diffsnap-origin", {1, 0, 0}},
          {"diffsnap-store", {1, 0, 0}},
          {"diffsnap-image", {1, 0, 0}}};
}

std::vector<dm::DeviceInfo> FakeDeviceMapper::list() {
  std::vector<dm::DeviceInfo> result;
  for (const auto &entry : devices_) {
    result.push_back(entry.second.info);
  }
  return result;
}

std::optional<dm::DeviceInfo> FakeDeviceMapper::info(const std::string &name) {
  const auto found = devices_.find(name);
  return found == devices_.end() ? std::nullopt : std::optional(found->second.info);
}

std::optional<dm::DeviceInfo> FakeDeviceMapper::info(DeviceId id) {
  const Device *found = find(id);
  return found == nullptr ? std::nullopt : std::optional(found->info);
}

dm::Table FakeDeviceMapper::table(const std::string &name, dm::WhichTable which, bool secure) {
  const Device &found = device(name);
  dm::Table table = which == dm::WhichTable::live ? found.live : found.inactive;
  for (dm::TableLine &line : table) {
    const auto key = line.params.find("5ec4e7");
    if (!secure && key != std::string::npos) {
      line.params.replace(key, 6, "000000");
    }
  }
  if (secure) {
    log_.push_back("read key of " + name);
  } else {
    tables_read.push_back(name);
  }
  return table;
}

dm::Table FakeDeviceMapper::status(const std::string &name) {
  const Device &found = device(name);
  dm::Table lines = found.live;
  for (dm::TableLine &line : lines) {
    if (line.target == dm::OriginTable::target) {
      line.params = found.origin_state + ' ' +
                    (found.origin_state == "idle" ? std::string("-") : found.store.to_string()) + " 0 0 0 " +
                    found.newest.generation + ' ' + std::to_string(found.newest.number) + ' ' +
                    std::to_string(found.tracking_block);
    } else if (line.target == dm::StoreTable::target) {
      const bool cut = found.store_state == "active";
      line.params = found.store_state + " - 0/" + std::to_string(line.length) + " 0 0 " +
                    (cut ? "1500" : "0") + ' ' + std::to_string(found.members.size());
      for (const DeviceId member : found.members) {
        line.params += ' ' + member.to_string() + " 0 0 0";
      }
    } else if (line.target == dm::ImageTable::target) {
      line.params = "active 0 0 0";
    }
  }
  return lines;
}

std::vector<DeviceId> FakeDeviceMapper::deps(const std::string &name) {
  return devices_of(device(name).live);
}

DeviceId FakeDeviceMapper::create(const dm::CreateRequest &request, dm::UdevCookie &) {
  act("create " + request.name);
  if (exists(request.name)) {
    throw Error("create", request.name, EBUSY);
  }
  const DeviceId id = add_device(request.name, request.uuid, request.table);
  device(request.name).info.read_only = request.read_only;
  device(request.name).udev = request.udev;
  return id;
}

void FakeDeviceMapper::load(const std::string &name, const dm::Table &table, bool, bool) {
  act("load " + name);
  Device &found = device(name);
  found.inactive = table;
  found.info.inactive_table = true;
}

void FakeDeviceMapper::clear(const std::string &name) {
  act("clear " + name);
  Device &found = device(name);
  found.inactive.clear();
  found.info.inactive_table = false;
}

void FakeDeviceMapper::resume(const std::string &name, dm::UdevCookie &, dm::UdevFlags, dm::SuspendFlags) {
  Device &found = device(name);
  const auto swap = [&found] {
    if (found.info.inactive_table) {
      found.live = std::move(found.inactive);
      found.info.live_table = true;
    }
  };
  const auto suspend = [&found] {
    found.info.suspended = true;
    found.info.inactive_table = false;
    found.inactive.clear();
  };
  try {
    act("resume " + name);
  } catch (const Error &) {
    if (failed_resume == FailedResume::new_table_suspended) {
      swap();
    }
    if (failed_resume != FailedResume::old_table_runs) {
      suspend();
    }
    throw;
  }
  swap();
  suspend();
  if (cannot_run(found.live)) {
    throw Error("resume", name, EINVAL);
  }
  found.info.suspended = false;
}

void FakeDeviceMapper::remove(const std::string &name, dm::UdevCookie &, dm::RemoveFlags flags) {
  act("remove " + name + (flags.deferred ? " deferred" : ""));
  Device &found = device(name);
  if (used_by_another(found) || (found.info.open_count > 0 && !flags.deferred)) {
    throw Error("remove", name, EBUSY);
  }
  if (found.info.open_count > 0) {
    found.info.deferred_remove = true;
    return;
  }
  free_members(found);
  devices_.erase(name);
}

int FakeDeviceMapper::deliver_to_origin(Device &origin, const std::vector<std::string_view> &words) {
  if (words[0] == "changes") {
    const auto since = parse_number<std::uint64_t>(words[2]);
    if (words[1] != origin.newest.generation) {
      return ESTALE;
    }
    return since && *since <= origin.newest.number ? 0 : EINVAL;
  }
  if (words[0] == "restore") {
    origin.restoring = ChangeId{std::string(words[1]), *parse_number<std::uint64_t>(words[2])};
  }
  if (words[0] == "restored") {
    origin.newest = *origin.restoring;
  }
  if (words[0] == "reset") {
    if (origin.origin_state != "idle") {
      return EBUSY;
    }
    origin.newest = {"0198c0de-0000-7000-8000-00000000ffff", 0};
  }
  return 0;
}

int FakeDeviceMapper::deliver(const std::string &name, const std::string &text) noexcept {
  if (const int error = record("message " + name + ' ' + text)) {
    return error;
  }
  Device &store = device(name);
  const auto words = split_words(text);
  if (!store.live.empty() && store.live[0].target == dm::OriginTable::target) {
    return deliver_to_origin(store, words);
  }
  if (words[0] == "add") {
    const auto id = DeviceId::parse(words[1]);
    Device *origin = id ? find(*id) : nullptr;
    if (origin == nullptr) {
      return ENODEV;
    }
    if (origin->origin_state != "idle") {
      return EBUSY;
    }
    origin->origin_state = "added";
    origin->store = store.info.id;
    store.members.push_back(*id);
  } else if (words[0] == "cut") {
    store.store_state = "active";
    for (const DeviceId id : store.members) {
      if (Device *origin = find(id)) {
        origin->origin_state = "held";
        ++origin->newest.number;
      }
    }
  } else if (words[0] == "drop") {
    store.store_state = "dropped";
    free_members(store);
  }
  return 0;
}

std::string FakeDeviceMapper::message(const std::string &name, const std::string &text) {
  if (const int error = deliver(name, text)) {
    throw Error("send", text, error);
  }
  std::string answer;
  Device &found = device(name);
  const auto words = split_words(text);
  if ((words[0] == "changes" || words[0] == "numbers" || words[0] == "newer") && !found.answers.empty()) {
    answer = found.answers.front();
    found.answers.erase(found.answers.begin());
  }
  if (found.newest_then) {
    found.newest = *std::exchange(found.newest_then, std::nullopt);
  }
  return answer;
}

std::unique_ptr<dm::PreparedMessage> FakeDeviceMapper::prepare_message(const std::string &name,
                                                                       const std::string &text) {
  return std::make_unique<FakeMessage>(*this, name, text);
}

std::unique_ptr<dm::UdevCookie> FakeDeviceMapper::make_cookie() {
  log_.push_back("cookie");
  const std::uint32_t value = next_cookie_++;
  open_cookies.push_back(value);
  if (ledger_ != nullptr) {
    ledger_->begun(value);
  }
  return std::make_unique<FakeCookie>(*this, value);
}

void FakeDeviceMapper::end_cookie(std::uint32_t cookie) noexcept {
  open_cookies.erase(std::remove(open_cookies.begin(), open_cookies.end(), cookie), open_cookies.end());
  if (ledger_ != nullptr) {
    ledger_->ended(cookie);
  }
}

std::optional<std::uint32_t> FakeDeviceMapper::wait_event(const std::string &name, std::uint32_t known,
                                                          std::optional<std::chrono::milliseconds>) {
  const auto number = device(name).info.event_number;
  return number == known ? std::nullopt : std::optional(number);
}

}  // namespace diffsnap::test
