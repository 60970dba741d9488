// SPDX-License-Identifier: GPL-2.0-or-later
#include "dm/table.h"

#include <string.h>  // explicit_bzero

#include "base/text.h"

namespace diffsnap::dm {

namespace {

/** Parses `wait:<ms>` and `invalidate`. */
std::optional<OnFull> parse_on_full(std::string_view word) {
  if (word == "invalidate") {
    return OnFull{};
  }
  constexpr std::string_view prefix = "wait:";
  if (!starts_with(word, prefix)) {
    return std::nullopt;
  }
  const auto wait = parse_number<std::uint32_t>(word.substr(prefix.size()));
  if (!wait || *wait == 0) {
    return std::nullopt;
  }
  return OnFull{std::chrono::milliseconds{*wait}};
}

std::string print_on_full(const OnFull &on_full) {
  return on_full.wait.count() == 0 ? "invalidate" : "wait:" + std::to_string(on_full.wait.count());
}

/** Takes one feature argument and its value into the table; false if it is none or is not well-formed. */
bool parse_feature(std::string_view name, std::string_view value, OriginTable &table) {
  if (name != "tracking_block") {
    return false;
  }
  table.tracking_block = parse_number<Sectors>(value);
  return table.tracking_block.has_value();
}

/** The same. */
bool parse_feature(std::string_view name, std::string_view value, StoreTable &table) {
  if (name == "on_full") {
    table.on_full = parse_on_full(value);
    return table.on_full.has_value();
  }
  const auto number = parse_number<std::uint64_t>(value);
  if (!number) {
    return false;
  }
  if (name == "low_water") {
    table.low_water = *number;
  } else if (name == "buffer") {
    table.buffer = *number;
  } else if (name == "store_timeout") {
    table.store_timeout = std::chrono::milliseconds{*number};
  } else {
    return false;
  }
  return true;
}

/** Takes `[<#feature args> [<feature arg>]...]`, which begins at a word, into the table. */
template <typename Table>
bool parse_features(const std::vector<std::string_view> &words, std::size_t first, Table &table) {
  if (words.size() == first) {
    return true;
  }
  const auto count = parse_number<std::size_t>(words[first]);
  if (!count || *count != words.size() - first - 1 || *count % 2 != 0) {
    return false;
  }
  for (std::size_t i = first + 1; i < words.size(); i += 2) {
    if (!parse_feature(words[i], words[i + 1], table)) {
      return false;
    }
  }
  return true;
}

/** The reverse, with a space before it; empty for none. */
std::string print_features(const std::vector<std::string> &features) {
  std::string text;
  if (!features.empty()) {
    text += ' ' + std::to_string(features.size());
    for (const std::string &word : features) {
      text += ' ' + word;
    }
  }
  return text;
}

}  // namespace

std::string TableLine::to_string() const {
  return std::to_string(start) + ' ' + std::to_string(length) + ' ' + target +
         (params.empty() ? "" : ' ' + params);
}

std::optional<TableLine> TableLine::parse(std::string_view text) {
  const auto words = split_words(text);
  if (words.size() < 3) {
    return std::nullopt;
  }
  const auto start = parse_number<Sectors>(words[0]);
  const auto length = parse_number<Sectors>(words[1]);
  if (!start || !length) {
    return std::nullopt;
  }
  TableLine line{*start, *length, std::string(words[2]), {}};
  if (words.size() > 3) {
    // From the text, not from the words: spaces inside the parameters are the target's business.
    line.params = text.substr(static_cast<std::size_t>(words[3].data() - text.data()));
  }
  return line;
}

bool operator==(const TableLine &a, const TableLine &b) noexcept {
  return a.start == b.start && a.length == b.length && a.target == b.target && a.params == b.params;
}

Sectors table_length(const Table &table) noexcept {
  return table.empty() ? 0 : table.back().start + table.back().length;
}

void truncate(Table &table, Sectors length) noexcept {
  while (!table.empty() && table.back().start >= length) {
    table.pop_back();
  }
  if (table_length(table) > length) {
    table.back().length = length - table.back().start;
  }
}

void wipe(Table &table) noexcept {
  for (TableLine &line : table) {
    // capacity() counts what a shrunk string may still hold; the standard allows writing up to size() only.
    explicit_bzero(line.params.data(), line.params.size());
    line.params.clear();
  }
}

TableLine OriginTable::line() const {
  std::vector<std::string> features;
  if (tracking_block) {
    features = {"tracking_block", std::to_string(*tracking_block)};
  }
  return {0, length, std::string(target), real_device.to_string() + print_features(features)};
}

std::optional<OriginTable> OriginTable::parse(const TableLine &line) {
  const auto words = split_words(line.params);
  if (line.target != target || line.start != 0 || words.empty()) {
    return std::nullopt;
  }
  const auto device = DeviceId::parse(words[0]);
  if (!device) {
    return std::nullopt;
  }
  OriginTable table{line.length, *device};
  if (!parse_features(words, 1, table)) {
    return std::nullopt;
  }
  return table;
}

TableLine StoreTable::line() const {
  std::vector<std::string> features;
  const auto add = [&features](const char *name, const std::string &value) {
    features.emplace_back(name);
    features.push_back(value);
  };
  if (low_water) {
    add("low_water", std::to_string(*low_water));
  }
  if (buffer) {
    add("buffer", std::to_string(*buffer));
  }
  if (store_timeout) {
    add("store_timeout", std::to_string(store_timeout->count()));
  }
  if (on_full) {
    add("on_full", print_on_full(*on_full));
  }
  const std::string params = device.to_string() + ' ' + std::to_string(chunk) + print_features(features);
  return {0, length, std::string(target), params};
}

std::optional<StoreTable> StoreTable::parse(const TableLine &line) {
  const auto words = split_words(line.params);
  if (line.target != target || line.start != 0 || words.size() < 2) {
    return std::nullopt;
  }
  const auto device = DeviceId::parse(words[0]);
  const auto chunk = parse_number<Sectors>(words[1]);
  if (!device || !chunk) {
    return std::nullopt;
  }
  StoreTable table;
  table.length = line.length;
  table.device = *device;
  table.chunk = *chunk;
  if (!parse_features(words, 2, table)) {
    return std::nullopt;
  }
  return table;
}

TableLine ImageTable::line() const {
  return {0, length, std::string(target), store.to_string() + ' ' + origin.to_string()};
}

std::optional<ImageTable> ImageTable::parse(const TableLine &line) {
  const auto words = split_words(line.params);
  if (line.target != target || line.start != 0 || words.size() != 2) {
    return std::nullopt;
  }
  const auto store = DeviceId::parse(words[0]);
  const auto origin = DeviceId::parse(words[1]);
  if (!store || !origin) {
    return std::nullopt;
  }
  return ImageTable{line.length, *store, *origin};
}

TableLine LinearTable::line() const {
  return {start, length, std::string(target), device.to_string() + ' ' + std::to_string(offset)};
}

std::optional<LinearTable> LinearTable::parse(const TableLine &line) {
  const auto words = split_words(line.params);
  if (line.target != target || words.size() != 2) {
    return std::nullopt;
  }
  const auto device = DeviceId::parse(words[0]);
  const auto offset = parse_number<Sectors>(words[1]);
  if (!device || !offset) {
    return std::nullopt;
  }
  return LinearTable{line.start, line.length, *device, *offset};
}

bool operator==(const OriginTable &a, const OriginTable &b) noexcept {
  return a.line() == b.line();
}
bool operator==(const StoreTable &a, const StoreTable &b) noexcept {
  return a.line() == b.line();
}
bool operator==(const ImageTable &a, const ImageTable &b) noexcept {
  return a.line() == b.line();
}
bool operator==(const LinearTable &a, const LinearTable &b) noexcept {
  return a.line() == b.line();
}

}  // namespace diffsnap::dm
