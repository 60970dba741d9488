// SPDX-License-Identifier: GPL-2.0-or-later
//
// A file: a line that says what it is, lines "NAME VALUE", an empty line, then the kernel's answers to
// `numbers` without their first words, and at last the SHA-256 of all lines before.
#include "core/saved_tracker.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <system_error>

#include "base/text.h"
#include "base/unique_fd.h"
#include "core/fd_stream.h"
#include "core/left_alone.h"
#include "core/tracker.h"
#include "stream/sha256.h"
#include "sys/target_file.h"

namespace diffsnap {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view title = "diffsnap tracker 1";
constexpr std::string_view end_word = "end ";
constexpr std::string_view unfinished = ".new";

[[noreturn]] void refuse_answer(const OriginInfo &origin) {
  throw Error("save", "the change tracker of \"" + origin.name() + '"', EPROTO,
              "the kernel's answer is not understood");
}

std::string digest(const std::string &bytes) {
  if (bytes.empty()) {
    return {};
  }
  stream::Sha256 sum;
  sum.add(bytes.data(), bytes.size());
  return sum.finish();
}

// What is on devices of these targets changes by writes to them, which they count, and by nothing else but
// writes to what they lie on, which they have to themselves. The origin of a snapshot changes when that is
// merged into it; thin volumes, mirrors and caches have others that write for them.
constexpr std::array<std::string_view, 3> plain_targets{"linear", "striped", "crypt"};

bool is_plain(const dm::TableLine &line) {
  return std::find(plain_targets.begin(), plain_targets.end(), line.target) != plain_targets.end();
}

/**
 * Adds the tables by which a device lies on others, all the way down, to a text; origin targets are left out,
 * since they come and go.
 * @return false if what is on the device may change without writes to it.
 */
bool add_tables(const Environment &env, DeviceId device, std::string &text) {
  const auto info = env.dm.info(device);
  if (!info) {
    // Whoever may write to the file of a loop device changes the device.
    return env.devices.facts(device).loop_file.empty();
  }
  for (const dm::TableLine &line : env.dm.table(info->name)) {
    if (line.target == dm::OriginTable::target) {
      continue;
    }
    if (!is_plain(line)) {
      return false;
    }
    text += line.to_string() + '\n';
  }
  const auto below = env.dm.deps(info->name);
  return std::all_of(below.begin(), below.end(), [&](DeviceId id) { return add_tables(env, id, text); });
}

TrackerEvidence evidence_of(const Environment &env, DeviceId device) {
  TrackerEvidence evidence{env.devices.write_evidence(device), {}};
  evidence.device.superblock = digest(evidence.device.superblock);
  std::string tables;
  if (!add_tables(env, device, tables)) {
    evidence.device.writes.clear();
  }
  evidence.tables = digest(tables);
  return evidence;
}

bool is_known_as(const std::string &a, const std::string &b) {
  return !a.empty() && a == b;
}

/** Disks of the same serial number are about: a state of one that is there is not another one's. */
bool is_same_device(const Environment &env, const sys::WriteEvidence &saved, const sys::WriteEvidence &now) {
  return is_known_as(saved.incarnation, now.incarnation) ||
         (is_known_as(saved.identity, now.identity) && !env.devices.is_present(saved.incarnation));
}

/** The boot that an incarnation is of; empty if it is not known. */
std::string boot_of(const std::string &incarnation) {
  return incarnation.substr(0, incarnation.find('/'));
}

/** Whether nothing can tell any more which device a state is of. */
bool is_orphaned(const sys::WriteEvidence &saved, const sys::WriteEvidence &now) {
  const std::string boot = boot_of(now.incarnation);
  return saved.identity.empty() && !boot.empty() && boot_of(saved.incarnation) != boot;
}

/** Why a device may have been written to between two looks; empty if it was not. */
std::string reason_for_doubt(const Environment &env, const TrackerEvidence &saved, DeviceId device) {
  const TrackerEvidence found = evidence_of(env, device);
  const sys::WriteEvidence &before = saved.device, &now = found.device;
  if (is_known_as(before.incarnation, now.incarnation)) {
    if (before.writes.empty() || now.writes.empty()) {
      return "the kernel does not count all that is written to the device";
    }
    if (saved.tables != found.tables) {
      return "the device was given another table since it was detached";
    }
    if (before.writes != now.writes) {
      return "the device was written to since it was detached";
    }
    // LVM's snapshots can come and go meanwhile: what is merged into a volume is not written through it.
    return before.superblock == now.superblock ? "" : "its contents were changed since it was detached";
  }
  if (before.superblock.empty() || now.superblock.empty()) {
    return "nothing on the device shows whether it was written to since it was detached";
  }
  return before.superblock == now.superblock ? "" : "its file system was in use since it was detached";
}

void require_unchanged(dm::DeviceMapper &dm, const OriginInfo &origin, const ChangeId &newest) {
  const Inventory inventory = read_inventory(dm);
  const OriginInfo *now = inventory.find_origin(origin.device.id);
  const auto *status = now ? std::get_if<dm::OriginStatus>(&now->status) : nullptr;
  if (status == nullptr || status->newest != newest) {
    throw Error("save", "the change tracker of \"" + origin.name() + '"', EAGAIN,
                "it was changed by somebody else meanwhile", "Its next backup is a full one.");
  }
}

/** The lines of a file in turn, and whether the last one vouches for them. */
class Lines {
 public:
  explicit Lines(const std::string &path) : file_(path, std::ios::binary) {}

  /** Nothing at the end, which is the line with the sum. */
  [[nodiscard]] std::optional<std::string> next() {
    std::string line;
    if (!std::getline(file_, line)) {
      return std::nullopt;
    }
    if (starts_with(line, end_word)) {
      whole_ =
          line.substr(end_word.size()) == sum_.finish() && file_.peek() == std::ifstream::traits_type::eof();
      return std::nullopt;
    }
    sum_.add(line.data(), line.size());
    sum_.add("\n", 1);
    return line;
  }
  /** After the end. */
  [[nodiscard]] bool whole() const noexcept { return whole_; }

 private:
  std::ifstream file_;
  stream::Sha256 sum_;
  bool whole_ = false;
};

/** The named values up to the empty line; nothing if it is another kind of file. */
std::optional<std::map<std::string, std::string>> read_values(Lines &lines) {
  std::map<std::string, std::string> values;
  if (lines.next() != title) {
    return std::nullopt;
  }
  while (const auto line = lines.next()) {
    if (line->empty()) {
      return values;
    }
    const auto space = line->find(' ');
    if (space == std::string::npos) {
      return std::nullopt;
    }
    values[line->substr(0, space)] = line->substr(space + 1);
  }
  return std::nullopt;
}

std::optional<SavedTracker> read_saved(const std::string &path) {
  Lines lines(path);
  auto values = read_values(lines);
  if (!values) {
    return std::nullopt;
  }
  const auto newest = ChangeId::parse((*values)["newest"]);
  const auto block = parse_number<Sectors>((*values)["tracking_block"]);
  const auto size = parse_number<Sectors>((*values)["size"]);
  if (!newest || !block || !size) {
    return std::nullopt;
  }
  return SavedTracker{
      path,
      *newest,
      *block,
      *size,
      {{(*values)["incarnation"], (*values)["writes"], (*values)["identity"], (*values)["superblock"]},
       (*values)["tables"]}};
}

/** All files in a directory, those that are being written left out. */
std::vector<std::string> files_in(const std::string &directory) {
  std::vector<std::string> files;
  std::error_code error;
  for (const auto &entry : fs::directory_iterator(directory, error)) {
    if (entry.path().extension() != unfinished) {
      files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

void remove_file(const std::string &path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    throw Error("remove", path, errno);
  }
  sys::sync_directory_of(path);
}

/** Removes the states of a device, one excepted, and those that no device will ever ask for. */
void remove_others(const Environment &env, const std::string &directory, const sys::WriteEvidence &now,
                   const std::string &kept) {
  for (const std::string &path : files_in(directory)) {
    const auto saved = path == kept ? std::nullopt : read_saved(path);
    if (saved &&
        (is_same_device(env, saved->evidence.device, now) || is_orphaned(saved->evidence.device, now))) {
      ::unlink(path.c_str());
    }
  }
}

void require_whole(const SavedTracker &saved) {
  Lines lines(saved.path);
  while (lines.next()) {
  }
  if (!lines.whole()) {
    throw Error("read", saved.path, EBADMSG, "it is not what was saved");
  }
}

/** Tells the kernel what the file says. */
void load(dm::DeviceMapper &dm, const std::string &origin, Lines &lines) {
  while (const auto line = lines.next()) {
    const auto words = split_words(*line);
    send_words(dm, origin, "load", {words.begin(), words.end()});
  }
}

}  // namespace

TrackerSave::TrackerSave(const Environment &env, const OriginInfo &origin, DeviceId device,
                         std::string directory)
    : env_(env), directory_(std::move(directory)), evidence_(evidence_of(env, device)) {
  std::error_code error;
  fs::create_directories(directory_, error);
  if (error) {
    throw Error("make", directory_, error.value());
  }
  const auto *status = std::get_if<dm::OriginStatus>(&origin.status);
  if (status == nullptr) {
    refuse_answer(origin);
  }
  path_ = directory_ + '/' + status->newest.generation;
  try {
    write(origin);
  } catch (...) {
    ::unlink((path_ + std::string(unfinished)).c_str());
    throw;
  }
}

TrackerSave::~TrackerSave() {
  if (!path_.empty()) {
    ::unlink((path_ + std::string(unfinished)).c_str());
  }
}

void TrackerSave::write(const OriginInfo &origin) {
  const auto &status = std::get<dm::OriginStatus>(origin.status);
  const std::string path = path_ + std::string(unfinished);
  const UniqueFd fd = sys::create_afresh(path);
  FdSink file(fd.get(), path);
  stream::HashingSink sink(file);
  const auto put = [](stream::Sink &to, const std::string &line) {
    to.write((line + '\n').data(), line.size() + 1);
  };
  put(sink, std::string(title));
  put(sink, "newest " + status.newest.to_string());
  put(sink, "tracking_block " + std::to_string(status.tracking_block));
  put(sink, "size " + std::to_string(origin.table.length));
  put(sink, "incarnation " + evidence_.device.incarnation);
  put(sink, "writes " + evidence_.device.writes);
  put(sink, "tables " + evidence_.tables);
  put(sink, "identity " + evidence_.device.identity);
  put(sink, "superblock " + evidence_.device.superblock);
  put(sink, "");
  for (std::optional<Sectors> from = 0; from;) {
    const std::string answer = env_.dm.message(origin.name(), "numbers " + std::to_string(*from));
    const auto space = answer.find(' ');
    const std::string next = answer.substr(0, space);
    if (space != std::string::npos && space + 1 < answer.size()) {
      put(sink, answer.substr(space + 1));
    }
    const auto number = parse_number<Sectors>(next);
    if (next != "-" && (!number || *number <= *from)) {
      refuse_answer(origin);
    }
    from = number;
  }
  // Our own commands wait for each other. A message that dmsetup sends may begin a new generation meanwhile.
  require_unchanged(env_.dm, origin, status.newest);
  put(file, std::string(end_word) + sink.sha256());
  file.sync();
}

void TrackerSave::keep() {
  if (::rename((path_ + std::string(unfinished)).c_str(), path_.c_str()) != 0) {
    throw Error("write", path_, errno);
  }
  remove_others(env_, directory_, evidence_.device, path_);
  sys::sync_directory_of(path_);
  path_.clear();
}

void forget_trackers(const Environment &env, DeviceId device, const std::string &directory) {
  if (!files_in(directory).empty()) {
    remove_others(env, directory, env.devices.write_evidence(device), {});
  }
}

std::optional<SavedTracker> find_saved_tracker(const Environment &env, DeviceId device,
                                               const std::string &directory) {
  const auto files = files_in(directory);
  if (files.empty()) {
    return std::nullopt;
  }
  const sys::WriteEvidence now = env.devices.write_evidence(device);
  std::optional<SavedTracker> found;
  for (const std::string &path : files) {
    auto saved = read_saved(path);
    if (!saved || !is_same_device(env, saved->evidence.device, now)) {
      continue;
    }
    if (is_known_as(saved->evidence.device.incarnation, now.incarnation)) {
      return saved;
    }
    // Another one may be known better.
    if (!found) {
      found = std::move(saved);
    }
  }
  return found;
}

void restore_tracker(const Environment &env, const SavedTracker &saved, DeviceId origin, DeviceId device,
                     std::chrono::milliseconds patience) {
  const Inventory inventory = read_inventory(env.dm);
  const OriginInfo *found = inventory.find_origin(origin);
  const std::string name = found ? found->name() : origin.to_string();
  const auto refuse = [&](int error, const std::string &reason) {
    throw Error("go on with", "the change tracker of \"" + name + '"', error, reason,
                "Its next backup is a full one.");
  };
  // Opened before it is removed, so that nothing can be taken from it twice.
  Lines lines(saved.path);
  std::string doubt;
  try {
    require_whole(saved);
    doubt = reason_for_doubt(env, saved.evidence, device);
    // A device that was not stacked live was ours alone before. The list of mounts would not do: it is that
    // of one namespace, and virtual machines mount nothing.
    if (doubt.empty() && found && !is_left_alone(env, name, patience)) {
      doubt = "the device is in use, and may have been written to before it was attached";
    }
  } catch (const Error &error) {
    doubt = error.what();
  }
  remove_file(saved.path);
  if (!doubt.empty()) {
    refuse(ESTALE, doubt);
  }
  const auto *status = found ? std::get_if<dm::OriginStatus>(&found->status) : nullptr;
  if (status == nullptr) {
    refuse(EPROTO, "its status is not understood");
  }
  if (status->tracking_block != saved.tracking_block) {
    refuse(EINVAL, "it had another tracking block");
  }
  if (found->table.length != saved.size) {
    refuse(EINVAL, "it had another size");
  }
  static_cast<void>(read_values(lines));
  try {
    static_cast<void>(env.dm.message(
        name, "restore " + saved.newest.generation + ' ' + std::to_string(saved.newest.number)));
    load(env.dm, name, lines);
    static_cast<void>(env.dm.message(name, "restored"));
  } catch (const Error &error) {
    refuse(error.error_number(), {});
  }
}

}  // namespace diffsnap
