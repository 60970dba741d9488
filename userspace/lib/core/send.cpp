// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/send.h"

#include <cerrno>

#include "core/snapshot_set.h"
#include "stream/sha256.h"
#include "stream/target_state.h"
#include "stream/writer.h"

namespace diffsnap {

namespace {

/** How much is told of as written out at a time: a flush and a discard each. */
constexpr std::uint64_t written_out_step = std::uint64_t{4} << 20;

/** Gathers neighbouring ranges and tells of them when they were written out. */
class WrittenOut {
 public:
  WrittenOut(stream::Sink &sink, const std::function<void(const sys::ByteRange &)> &tell)
      : sink_(sink), tell_(tell) {}

  void add(std::uint64_t offset, std::uint64_t length) {
    if (range_.offset + range_.length != offset || range_.length >= written_out_step) {
      finish();
      range_.offset = offset;
    }
    range_.length += length;
  }

  void finish() {
    if (tell_ && range_.length > 0) {
      sink_.flush();
      tell_(range_);
    }
    range_ = {range_.offset + range_.length, 0};
  }

 private:
  stream::Sink &sink_;
  const std::function<void(const sys::ByteRange &)> &tell_;
  sys::ByteRange range_;
};

dm::ImageStatus status_of(const TrackedImage &image, const dm::AnyImageStatus &any) {
  const auto *status = std::get_if<dm::ImageStatus>(&any);
  if (status == nullptr) {
    throw Error("send", quoted(image.image), EPROTO, "its status is not understood");
  }
  return *status;
}

/**
 * Sees by the amounts in an image's status whether others write to it or release of it while it is sent. A
 * second write to the same chunk changes none.
 */
class ImageWatch {
 public:
  /** From the status in @p image on, by which it was found fit to be sent. */
  ImageWatch(const Environment &env, const TrackedImage &image, bool releases_matter)
      : env_(env),
        image_(image),
        releases_matter_(releases_matter),
        seen_(status_of(image, image.image.status)) {}

  /** Throws Error, EBUSY, if something changed since the last look. */
  void look() const { check(get(), seen_.released); }

  /** As look(), and the last time: what happens to the image from now on is no matter. */
  void look_and_end() {
    look();
    ended_ = true;
  }

  /** Releases whole chunks. What that changes is nobody else's. */
  void release(const sys::ByteRange &range) {
    if (ended_) {
      release_ranges(env_, image_.image, {range});
      return;
    }
    look();
    release_ranges(env_, image_.image, {range});
    const dm::ImageStatus now = get();
    const std::uint64_t chunks = (range.length + image_.chunk - 1) / image_.chunk;
    check(now, seen_.released + (chunks * image_.chunk >> sector_shift));
    // Chunks that had been written to are counted as released only.
    seen_ = now;
  }

 private:
  dm::ImageStatus get() const {
    const dm::Table lines = env_.dm.status(image_.image.device.name);
    return status_of(image_, lines.size() == 1 ? dm::parse_image_status(lines.front().params)
                                               : dm::AnyImageStatus(dm::UnknownStatus()));
  }

  void check(const dm::ImageStatus &now, Sectors released) const {
    if (now.written > seen_.written) {
      throw Error("send", quoted(image_.image), EBUSY, "it was written to meanwhile");
    }
    if (releases_matter_ && now.released != released) {
      throw Error("send", quoted(image_.image), EBUSY, "others released ranges of it meanwhile",
                  "Make another snapshot and send that.");
    }
  }

  const Environment &env_;
  const TrackedImage &image_;
  bool releases_matter_;
  bool ended_ = false;
  dm::ImageStatus seen_;
};

/** Releases ranges in whole chunks; the parts of chunks at their edges wait for their neighbours. */
class Releaser {
 public:
  Releaser(ImageWatch &watch, const TrackedImage &image) : watch_(watch), image_(image) {}

  void add(const sys::ByteRange &range) {
    if (range.offset != end_) {
      begin_ = (range.offset + image_.chunk - 1) / image_.chunk * image_.chunk;
    }
    end_ = range.offset + range.length;
    const std::uint64_t whole = end_ == image_.size ? end_ : end_ / image_.chunk * image_.chunk;
    if (begin_ < whole) {
      watch_.release({begin_, whole - begin_});
      begin_ = whole;
    }
  }

 private:
  ImageWatch &watch_;
  const TrackedImage &image_;
  std::uint64_t begin_ = 0;
  std::uint64_t end_ = 0;
};

std::string json_number(const std::optional<ChangeId> &id) {
  return id ? std::to_string(id->number) : "null";
}

}  // namespace

SendTotals copy_to_stream(const std::string &path, const ReadAhead::Ranges &ranges,
                          const stream::Header &header, stream::Sink &sink, const CopyOptions &options) {
  stream::Writer writer(sink, header);
  WrittenOut written_out(sink, options.written_out);
  ReadAhead reader(path, ranges, options.threads);
  while (const Piece *piece = reader.next()) {
    for (const stream::Record &record : piece->records) {
      if (record.kind == stream::RecordKind::zero) {
        writer.zero(record.offset, record.length);
      } else {
        writer.data(record.offset, piece->data + (record.offset - piece->offset), record.length);
      }
    }
    // Zeroes may still be held back. Once released they read as zeroes all the same.
    written_out.add(piece->offset, piece->length);
    if (options.progress) {
      options.progress({writer.data_bytes(), writer.zero_bytes()});
    }
  }
  if (options.before_end) {
    options.before_end();
  }
  writer.finish();
  written_out.finish();
  return {writer.data_bytes(), writer.zero_bytes()};
}

std::string SendResult::to_json() const {
  return "{\"format\":\"rbd diff v1\",\"generation\":" + stream::json_string(id.generation) +
         ",\"number\":" + std::to_string(id.number) + ",\"since\":" + json_number(since) +
         ",\"snapshot\":" + stream::json_string(snapshot) + ",\"origin\":" + stream::json_string(origin) +
         ",\"size\":" + std::to_string(size) + ",\"data_bytes\":" + std::to_string(totals.data) +
         ",\"zero_bytes\":" + std::to_string(totals.zeroes) +
         ",\"stream_bytes\":" + std::to_string(stream_bytes) + ",\"sha256\":" + stream::json_string(sha256) +
         "}\n";
}

void check_sendable(const TrackedImage &image, const SendOptions &options) {
  if (!options.force && status_of(image, image.image.status).released > 0) {
    throw Error("send", quoted(image.image), EBUSY, "ranges of it were released and read as zeroes",
                "Make another snapshot. With --force the image is sent as it is.");
  }
  if (options.since && options.since->number == 0) {
    throw Error("send", quoted(image.image), EINVAL, "number 0 is no snapshot that anything could be at",
                "A full stream is sent without --since.");
  }
}

SendResult send_image(const Environment &env, const TrackedImage &image, const SendOptions &options,
                      stream::Sink &sink) {
  check_sendable(image, options);
  stream::Header header{std::nullopt, image.id.to_string(), image.size};
  if (options.since) {
    header.from = options.since->to_string();
  }
  ImageWatch watch(env, image, !options.force);
  Releaser releaser(watch, image);
  CopyOptions copy;
  copy.threads = options.threads;
  copy.progress = options.progress;
  copy.before_end = [&] {
    check_still_in_order(env.dm, image, "send");
    watch.look_and_end();
  };
  if (options.release) {
    copy.written_out = [&](const sys::ByteRange &range) { releaser.add(range); };
  }
  stream::HashingSink hashing(sink);
  ChangeCursor cursor(env.dm, image, options.since);
  SendResult result{image.id, options.since, image.image.snapshot, image.image.origin_name, image.size, {}, 0,
                    {}};
  try {
    result.totals = copy_to_stream(
        sys::device_node(image.image.device.id), [&] { return cursor.next(); }, header, hashing, copy);
  } catch (const Error &) {
    // Of a snapshot that was given up, what the reads said is the consequence only.
    check_still_in_order(env.dm, image, "send");
    throw;
  }
  result.stream_bytes = hashing.bytes();
  result.sha256 = hashing.sha256();
  return result;
}

std::uint64_t measure(dm::DeviceMapper &dm, const TrackedImage &image, const std::optional<ChangeId> &since) {
  ChangeCursor cursor(dm, image, since);
  std::uint64_t bytes = 0;
  while (const auto range = cursor.next()) {
    bytes += range->length;
  }
  return bytes;
}

}  // namespace diffsnap
