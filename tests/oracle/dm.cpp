// SPDX-License-Identifier: GPL-2.0-or-later
#include "dm.h"

#include "device.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>

#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace oracle::dm {

namespace {

constexpr std::size_t buffer_size = 64 * 1024;
constexpr std::size_t guard_size = 256;
constexpr char guard_byte = 0x5a;

int control() {
  static const int fd = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);

  if (fd < 0)
    throw EnvironmentError(std::string("cannot open /dev/mapper/control: ") + std::strerror(errno));
  return fd;
}

class Task {
 public:
  explicit Task(const std::string &name, std::size_t size = buffer_size) : buffer_(size + guard_size) {
    if (name.size() >= sizeof(header()->name))
      throw EnvironmentError("name too long: " + name);
    header()->version[0] = DM_VERSION_MAJOR;
    std::memset(buffer_.data() + size, guard_byte, guard_size);
    header()->data_size = static_cast<std::uint32_t>(size);
    header()->data_start = sizeof(dm_ioctl);
    std::memcpy(header()->name, name.c_str(), name.size());
  }

  dm_ioctl *header() { return reinterpret_cast<dm_ioctl *>(buffer_.data()); }

  char *data() { return buffer_.data() + header()->data_start; }

  bool guard_is_whole() const {
    return std::all_of(buffer_.end() - guard_size, buffer_.end(), [](char c) { return c == guard_byte; });
  }

  // 0 or errno
  int run(unsigned long request) {
    const int fd = control();
    int result;

    do
      result = ioctl(fd, request, buffer_.data());
    while (result < 0 && errno == EINTR);
    if (result < 0)
      return errno;
    // 6.12 returns 2 for a message to a device without a table, others fail with EINVAL.
    return result ? EINVAL : 0;
  }

 private:
  // aligned as operator new aligns: enough for the header
  std::vector<char> buffer_;
};

void must(int error, const char *verb, const std::string &name) {
  if (error)
    throw EnvironmentError(std::string("cannot ") + verb + " " + name + ": " + std::strerror(error));
}

std::uint64_t device_of(const std::string &name) {
  Task task(name);

  must(task.run(DM_DEV_STATUS), "find", name);
  return task.header()->dev;
}

std::size_t spec_size(const TableLine &line) {
  return (sizeof(dm_target_spec) + line.args.size() + 1 + 7) & ~std::size_t{7};
}

std::vector<TableLine> lines_of(Task &task) {
  std::vector<TableLine> result;
  const char *first = task.data();
  const char *at = first;

  for (unsigned i = 0; i < task.header()->target_count; i++) {
    dm_target_spec spec;
    char target[sizeof(spec.target_type) + 1] = {};

    std::memcpy(&spec, at, sizeof(spec));
    std::memcpy(target, spec.target_type, sizeof(spec.target_type));
    result.push_back(TableLine{spec.sector_start, spec.length, target, at + sizeof(spec)});
    at = first + spec.next;
  }
  return result;
}

}  // namespace

int make(const std::string &name) {
  Task task(name);

  return task.run(DM_DEV_CREATE);
}

int load(const std::string &name, const std::vector<TableLine> &table) {
  std::size_t size = buffer_size;

  for (const TableLine &line : table)
    size += spec_size(line);

  Task task(name, size);
  char *at = task.data();

  for (const TableLine &line : table) {
    auto *spec = reinterpret_cast<dm_target_spec *>(at);

    spec->sector_start = line.start;
    spec->length = line.length;
    spec->next = static_cast<std::uint32_t>(spec_size(line));
    std::snprintf(spec->target_type, sizeof(spec->target_type), "%s", line.target.c_str());
    std::memcpy(at + sizeof(*spec), line.args.c_str(), line.args.size() + 1);
    at += spec_size(line);
  }
  task.header()->target_count = static_cast<std::uint32_t>(table.size());
  return task.run(DM_TABLE_LOAD);
}

int clear(const std::string &name) {
  Task task(name);

  return task.run(DM_TABLE_CLEAR);
}

int activate(const std::string &name) {
  Task task(name);

  return task.run(DM_DEV_SUSPEND);
}

void create(const std::string &name, const std::vector<TableLine> &table) {
  std::string what = "load";

  for (const TableLine &line : table)
    what += " '" + line.target + " " + line.args + "'";
  must(make(name), "create", name);
  try {
    must(load(name, table), (what + " into").c_str(), name);
    resume(name);
  } catch (...) {
    remove(name);
    throw;
  }
}

void suspend(const std::string &name) {
  Task task(name);

  task.header()->flags = DM_SUSPEND_FLAG | DM_SKIP_LOCKFS_FLAG;
  must(task.run(DM_DEV_SUSPEND), "suspend", name);
}

void resume(const std::string &name) {
  must(activate(name), "resume", name);
}

namespace {

Task message_task(const std::string &name, const std::string &text, std::uint64_t sector) {
  Task task(name, buffer_size + text.size());
  auto *target_message = reinterpret_cast<dm_target_msg *>(task.data());

  target_message->sector = sector;
  std::memcpy(target_message->message, text.c_str(), text.size() + 1);
  return task;
}

}  // namespace

int message(const std::string &name, const std::string &text, std::uint64_t sector) {
  return message_task(name, text, sector).run(DM_TARGET_MSG);
}

std::string ask(const std::string &name, const std::string &text) {
  Task task = message_task(name, text, 0);

  must(task.run(DM_TARGET_MSG), ("ask '" + text + "' of").c_str(), name);
  if (!(task.header()->flags & DM_DATA_OUT_FLAG) || task.header()->flags & DM_BUFFER_FULL_FLAG)
    throw CheckFailure("no answer of " + name + " to " + text);
  return task.data();
}

std::vector<TableLine> status(const std::string &name) {
  Task task(name);

  must(task.run(DM_TABLE_STATUS), "get the status of", name);
  return lines_of(task);
}

std::vector<TableLine> table(const std::string &name, bool loaded) {
  Task task(name);

  task.header()->flags = DM_STATUS_TABLE_FLAG | (loaded ? DM_QUERY_INACTIVE_TABLE_FLAG : 0);
  must(task.run(DM_TABLE_STATUS), "get the table of", name);
  return lines_of(task);
}

RawStatus raw_status(const std::string &name, std::uint32_t flags, std::size_t room) {
  Task task(name, sizeof(dm_ioctl) + room);
  RawStatus result;

  task.header()->flags = flags;
  result.error = task.run(DM_TABLE_STATUS);
  if (!task.guard_is_whole())
    throw CheckFailure("the status of " + name + " was written behind its buffer");
  if (result.error)
    return result;
  result.full = task.header()->flags & DM_BUFFER_FULL_FLAG;
  if (!result.full)
    result.lines = lines_of(task);
  return result;
}

std::string node(const std::string &name) {
  return "/dev/dm-" + std::to_string(minor(device_of(name)));
}

std::string number(const std::string &name) {
  const std::uint64_t device = device_of(name);

  return std::to_string(major(device)) + ":" + std::to_string(minor(device));
}

bool exists(const std::string &name) {
  Task task(name);

  return task.run(DM_DEV_STATUS) == 0;
}

int remove(const std::string &name) {
  constexpr int tries = 100;
  int error = 0;

  for (int i = 0; i < tries; i++) {
    Task task(name);

    error = task.run(DM_DEV_REMOVE);
    if (error != EBUSY)
      return error == ENXIO ? 0 : error;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return error;
}

std::vector<std::string> list(const std::string &prefix) {
  Task task("");
  std::vector<std::string> result;

  must(task.run(DM_LIST_DEVICES), "list devices of", "device-mapper");

  const char *at = task.data();
  dm_name_list entry;

  std::memcpy(&entry, at, sizeof(entry));
  if (!entry.dev)
    return result;
  for (;;) {
    const std::string name = at + offsetof(dm_name_list, name);

    std::memcpy(&entry, at, sizeof(entry));
    if (name.compare(0, prefix.size(), prefix) == 0)
      result.push_back(name);
    if (!entry.next)
      break;
    at += entry.next;
  }
  return result;
}

}  // namespace oracle::dm
