// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuzz_one.h"

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "stream/reader.h"
#include "stream/writer.h"
#include "stream/zeroes.h"
#include "stream_support.h"

namespace diffsnap::test {

namespace {

/** What a stream may make of a target here, whatever size it gives. */
constexpr std::size_t max_content = 65536;

void insist(bool holds, const char *what) {
  if (!holds) {
    std::fprintf(stderr, "it does not hold that %s\n", what);
    std::abort();
  }
}

/** The target after a stream; nothing if the stream was refused. */
std::optional<std::string> applied(const std::string &text, const std::string &before,
                                   std::uint64_t zero_from, std::size_t piece) {
  StringTarget target(before);
  std::vector<char> memory(stream::apply_alignment);
  try {
    StringSource source(text, piece);
    stream::Reader reader(source);
    stream::apply(reader, target, zero_from, {memory.data(), memory.size()});
  } catch (const Error &) {
    return std::nullopt;
  }
  return target.content;
}

/** A full stream of a content. */
std::string written(const std::string &content) {
  StringSink sink;
  stream::Writer writer(sink, {std::nullopt, "t", content.size()});
  for (const stream::Record &record : stream::find_zeroes(0, content.data(), content.size())) {
    if (record.kind == stream::RecordKind::zero) {
      writer.zero(record.offset, record.length);
    } else {
      writer.data(record.offset, content.data() + record.offset, record.length);
    }
  }
  writer.finish();
  return sink.text;
}

/** Ranges are apart from each other, ascending and within the size, also of a stream that breaks off later.
 */
void check_records(const std::string &text) {
  try {
    StringSource source(text);
    stream::Reader reader(source);
    const stream::Header &header = reader.header();
    insist(!header.from || (!header.from->empty() && header.from->size() <= stream::max_name),
           "names are short");
    insist(!header.to || (!header.to->empty() && header.to->size() <= stream::max_name), "names are short");
    std::uint64_t end = 0;
    while (const auto record = reader.next()) {
      insist(record->offset >= end && record->length > 0, "records are ascending");
      insist(record->offset <= header.size && record->length <= header.size - record->offset,
             "records are within the size");
      end = record->offset + record->length;
    }
  } catch (const Error &) {
    // Refused, with a message.
  }
}

}  // namespace

bool fuzz_one(const std::uint8_t *data, std::size_t size) {
  const std::string text(static_cast<const char *>(static_cast<const void *>(data)), size);
  check_records(text);
  const std::string before(max_content, 'o');
  const auto once = applied(text, before, stream::zero_nothing, ~std::size_t{0});
  insist(once == applied(text, before, stream::zero_nothing, 3),
         "the size of what is read at a time does not matter");
  if (!once) {
    return false;
  }
  insist(once == applied(text, *once, stream::zero_nothing, 4096), "a stream may be applied twice");
  insist(applied(written(*once), before, stream::zero_nothing, 1000) == once,
         "a full stream leads to what it was made of");
  const std::size_t grown_from = max_content / 2;
  const auto grown = applied(text, before, grown_from, 4096);
  // A size beyond the target's is refused only where something is written there.
  insist(!grown || grown->compare(0, grown_from, *once, 0, grown_from) == 0,
         "what lies below what is made zeroes is as it would be");
  return true;
}

}  // namespace diffsnap::test
