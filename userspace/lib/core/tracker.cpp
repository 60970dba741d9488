// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/tracker.h"

#include <algorithm>
#include <cerrno>

#include "base/text.h"

namespace diffsnap {

namespace {

constexpr const char *full_backup_hint = "A full backup is due: leave --since out.";

const dm::OriginStatus &status_of(const OriginInfo &origin, const std::string &verb) {
  const auto *status = std::get_if<dm::OriginStatus>(&origin.status);
  if (status == nullptr) {
    throw Error(verb, quoted(origin), EPROTO, "its status is not understood");
  }
  return *status;
}

/** Why a snapshot is of no use for a backup; nothing if it is in order. */
std::optional<std::string> trouble_of(const SnapshotInfo &snapshot) {
  if (const auto reason = snapshot.reason()) {
    return "its snapshot was given up, " + reason->explain();
  }
  const auto *working = std::get_if<dm::WorkingStore>(&snapshot.status);
  if (working == nullptr || working->state == dm::StoreState::fresh) {
    return "its snapshot is in the state \"" + snapshot.state() + '"';
  }
  return std::nullopt;
}

/** Takes `<start>+<length>`; nothing if the word is another. */
std::optional<sys::ByteRange> parse_range(std::string_view word) {
  const auto plus = word.find('+');
  if (plus == std::string_view::npos) {
    return std::nullopt;
  }
  const auto start = parse_number<Sectors>(word.substr(0, plus));
  const auto length = parse_number<Sectors>(word.substr(plus + 1));
  if (!start || !length || *length == 0) {
    return std::nullopt;
  }
  return sys::ByteRange{*start, *length};
}

}  // namespace

TrackedImage get_tracked_image(dm::DeviceMapper &dm, const std::string &snapshot, const std::string &origin,
                               const std::string &verb) {
  const Inventory inventory = read_inventory(dm);
  const std::string object = "image \"" + snapshot + '/' + origin + '"';
  const ImageInfo *image = inventory.find_image(snapshot, origin);
  if (image == nullptr) {
    throw Error(verb, object, ENOENT, "there is no such image",
                "`diffsnap images` shows those that there are.");
  }
  const SnapshotInfo &owner = *inventory.find_snapshot(snapshot);
  if (const auto trouble = trouble_of(owner)) {
    throw Error(verb, object, EIO, *trouble);
  }
  const OriginInfo *tracked = inventory.find_origin(image->table.origin);
  if (tracked == nullptr) {
    throw Error(verb, object, EIO, "its origin is gone");
  }
  const dm::OriginStatus &status = status_of(*tracked, verb);
  if (status.state != dm::OriginState::held || status.store != owner.device.id) {
    throw Error(verb, object, EIO, "its snapshot does not hold the origin any more");
  }
  return {*image, *tracked, status.newest, std::uint64_t{image->table.length} << sector_shift,
          std::uint64_t{owner.table.chunk} << sector_shift};
}

void check_still_in_order(dm::DeviceMapper &dm, const TrackedImage &image, const std::string &verb) {
  const TrackedImage now = get_tracked_image(dm, image.image.snapshot, image.image.origin_name, verb);
  if (now.id != image.id || now.image.device.uuid != image.image.device.uuid ||
      now.image.device.id != image.image.device.id) {
    throw Error(verb, quoted(image.image), EIO, "it was replaced by another one meanwhile");
  }
}

Since parse_since(std::string_view text) {
  if (const auto number = parse_number<std::uint64_t>(text)) {
    return {std::nullopt, *number};
  }
  const auto id = ChangeId::parse(text);
  if (!id) {
    throw SyntaxError("use", "--since \"" + std::string(text) + '"', EINVAL,
                      "it is N or GENERATION:N, as `diffsnap origins` shows them");
  }
  return {id->generation, id->number};
}

ChangeId resolve_since(const TrackedImage &image, const Since &since, const std::string &verb) {
  if (since.generation && *since.generation != image.id.generation) {
    throw Error(verb, quoted(image.image), ESTALE,
                "it is of generation " + image.id.generation + ", not of " + *since.generation,
                full_backup_hint);
  }
  if (since.number > image.id.number) {
    throw Error(verb, quoted(image.image), EINVAL,
                "it is number " + std::to_string(image.id.number) + " of its generation, which " +
                    std::to_string(since.number) + " is not before",
                full_backup_hint);
  }
  return {image.id.generation, since.number};
}

ChangeCursor::ChangeCursor(dm::DeviceMapper &dm, const TrackedImage &image, std::string question)
    : dm_(dm), image_(image), question_(std::move(question)), size_(image.image.table.length), from_(0) {}

ChangeCursor::ChangeCursor(dm::DeviceMapper &dm, const TrackedImage &image,
                           const std::optional<ChangeId> &since)
    : ChangeCursor(
          dm, image,
          since ? "changes " + since->generation + ' ' + std::to_string(since->number) : std::string()) {
  if (!since) {
    from_.reset();
    answer_.push_back({0, size_});
  }
}

ChangeCursor ChangeCursor::after_cut(dm::DeviceMapper &dm, const TrackedImage &image) {
  return {dm, image, std::string("newer")};
}

std::optional<sys::ByteRange> ChangeCursor::next() {
  while (auto range = next_of_answers()) {
    if (pending_ && pending_->offset + pending_->length == range->offset) {
      pending_->length += range->length;
      continue;
    }
    std::swap(pending_, range);
    if (range) {
      return sys::ByteRange{range->offset << sector_shift, range->length << sector_shift};
    }
  }
  if (!pending_) {
    return std::nullopt;
  }
  const sys::ByteRange last = *pending_;
  pending_.reset();
  return sys::ByteRange{last.offset << sector_shift, last.length << sector_shift};
}

std::optional<sys::ByteRange> ChangeCursor::next_of_answers() {
  while (answer_.empty() && from_) {
    ask();
  }
  if (answer_.empty()) {
    return std::nullopt;
  }
  const sys::ByteRange range = answer_.front();
  answer_.pop_front();
  return range;
}

void ChangeCursor::ask() {
  const std::string text = question_ + ' ' + std::to_string(*from_);
  std::string answer;
  try {
    answer = dm_.message(image_.origin.name(), text);
  } catch (const Error &error) {
    if (error.error_number() == ESTALE) {
      throw Error("list changes of", quoted(image_.image), ESTALE,
                  "its origin's tracker began a new generation", full_backup_hint);
    }
    throw Error("list changes of", quoted(image_.image), error.error_number());
  }
  take_answer(answer);
}

// <next> [<start>+<length>]...
void ChangeCursor::take_answer(const std::string &text) {
  const auto refuse = [&] {
    throw Error("list changes of", quoted(image_.image), EPROTO, "the kernel's answer is not understood");
  };
  const auto words = split_words(text);
  if (words.empty()) {
    refuse();
  }
  for (std::size_t i = 1; i < words.size(); ++i) {
    const auto range = parse_range(words[i]);
    // To miss a change is the one thing that must not happen, so that what looks odd is no answer at all.
    if (!range || range->offset < end_ || range->offset < *from_ || range->offset > size_ ||
        range->length > size_ - range->offset) {
      refuse();
    }
    end_ = range->offset + range->length;
    answer_.push_back(*range);
  }
  if (words[0] == "-") {
    from_.reset();
    return;
  }
  const auto next = parse_number<Sectors>(words[0]);
  if (!next || *next <= *from_ || *next < end_) {
    refuse();
  }
  from_ = *next;
}

void send_words(dm::DeviceMapper &dm, const std::string &origin, const std::string &first,
                const std::vector<std::string> &words) {
  constexpr std::size_t words_per_message = 64;
  for (std::size_t at = 0; at < words.size(); at += words_per_message) {
    std::string text = first;
    for (std::size_t i = at; i < std::min(at + words_per_message, words.size()); ++i) {
      text += ' ' + words[i];
    }
    static_cast<void>(dm.message(origin, text));
  }
}

void mark_ranges(dm::DeviceMapper &dm, const OriginInfo &origin, const std::vector<sys::ByteRange> &ranges,
                 bool dry_run) {
  const std::uint64_t size = std::uint64_t{origin.table.length} << sector_shift;
  const std::string object = "ranges of " + quoted(origin);
  for (const sys::ByteRange &range : ranges) {
    if (range.offset > size || range.length > size - range.offset) {
      throw Error("mark", object, EINVAL, "a range ends beyond its end, at " + std::to_string(size));
    }
  }
  if (dry_run) {
    return;
  }
  std::vector<std::string> words;
  for (const sys::ByteRange &range : ranges) {
    // Outwards, since a mark too many costs a few sectors and one too few costs the backup.
    const Sectors first = range.offset >> sector_shift;
    const Sectors end = (range.offset + range.length + sector_size - 1) >> sector_shift;
    words.push_back(std::to_string(first) + '+' + std::to_string(end - first));
  }
  try {
    send_words(dm, origin.name(), "mark", words);
  } catch (const Error &error) {
    throw Error("mark", object, error.error_number());
  }
}

std::vector<sys::ByteRange> ranges_of_file(const Environment &env, const OriginInfo &origin,
                                           const std::string &path) {
  if (env.devices.device_of_file(path) != origin.device.id) {
    throw Error("mark", path, EXDEV,
                "its file system does not lie directly on the origin \"" + origin.name() + '"',
                "Mark ranges of the device instead.");
  }
  return env.devices.file_extents(path);
}

void reset_tracker(dm::DeviceMapper &dm, const OriginInfo &origin, bool dry_run) {
  const std::string object = "the change tracker of \"" + origin.name() + '"';
  const auto refuse_held = [&] {
    const std::string name = origin.snapshot.value_or("of an unknown name");
    throw Error("reset", object, EBUSY, "the snapshot \"" + name + "\" holds its origin",
                "`diffsnap remove " + name + "` releases it.");
  };
  if (dry_run) {
    if (status_of(origin, "reset").state != dm::OriginState::idle) {
      refuse_held();
    }
    return;
  }
  try {
    static_cast<void>(dm.message(origin.name(), "reset"));
  } catch (const Error &error) {
    if (error.error_number() == EBUSY) {
      refuse_held();
    }
    throw Error("reset", object, error.error_number());
  }
}

}  // namespace diffsnap
