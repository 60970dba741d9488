// SPDX-License-Identifier: GPL-2.0-or-later
#include "stream/target_state.h"

#include <boost/property_tree/json_parser.hpp>
#include <boost/property_tree/ptree.hpp>
#include <cerrno>
#include <cstdio>
#include <sstream>

#include "base/error.h"
#include "base/text.h"

namespace diffsnap::stream {

namespace {

constexpr int version = 1;

using Tree = boost::property_tree::ptree;

std::optional<std::string> text_at(const Tree &tree, const char *key) {
  const auto value = tree.get_optional<std::string>(key);
  return value ? std::optional(*value) : std::nullopt;
}

std::optional<std::uint64_t> number_at(const Tree &tree, const char *key) {
  const auto text = text_at(tree, key);
  return text ? parse_number<std::uint64_t>(*text) : std::nullopt;
}

std::string quoted(const std::optional<std::string> &name) {
  return name ? '"' + *name + '"' : "a snapshot without a name";
}

[[noreturn]] void refuse(const TargetFacts &facts, int error, std::string reason, std::string hint) {
  throw Error("receive into", facts.name, error, std::move(reason), std::move(hint));
}

/** In words: where a target is that an incremental stream does not fit to. */
std::string describe(const std::optional<TargetState> &state) {
  if (!state) {
    return "nothing is known of it";
  }
  if (state->kind == TargetState::Kind::at) {
    return "it is at " + quoted(state->at);
  }
  return "it was being changed " +
         (state->stream.from ? "from " + quoted(state->stream.from) : std::string("by a full stream")) +
         " to " + quoted(state->stream.to);
}

bool is_same_stream(const Header &a, const Header &b) {
  return a.from == b.from && a.to && a.to == b.to && a.size == b.size;
}

void check_incremental(const Header &header, const TargetFacts &facts,
                       const std::optional<TargetState> &state) {
  if (!facts.exists) {
    refuse(facts, ENOENT, "the stream is an incremental one, and there is no such file",
           "Receive a full stream first.");
  }
  if (facts.state_broken) {
    refuse(facts, EBADMSG, "its state file is not understood", "A full stream is taken with --force.");
  }
  if (state && state->kind == TargetState::Kind::changing && is_same_stream(header, state->stream)) {
    return;
  }
  if (!state || state->kind != TargetState::Kind::at || state->at != header.from) {
    refuse(facts, ESTALE, describe(state) + ", the stream starts from " + quoted(header.from),
           "A full stream is taken with --force.");
  }
  // A device may have more room.
  if (facts.device ? facts.size < state->size : facts.size != state->size) {
    refuse(facts, ESTALE,
           "it has " + std::to_string(facts.size) + " bytes and had " + std::to_string(state->size) + " at " +
               quoted(state->at),
           "A full stream is taken with --force.");
  }
}

void check_full(const TargetFacts &facts, const std::optional<TargetState> &state, bool force) {
  const bool blank = !facts.exists || (!facts.device && facts.size == 0);
  const bool unfinished =
      !facts.state_broken && state && state->kind == TargetState::Kind::changing && !state->stream.from;
  if (!blank && !unfinished && !force) {
    refuse(facts, EEXIST, facts.device ? "it is a device, and holds whatever it holds" : "it is not empty",
           "With --force all that it holds is replaced.");
  }
}

}  // namespace

std::string TargetState::to_json() const {
  std::string text = "{\"version\":" + std::to_string(version) + ",\"state\":";
  text += kind == Kind::at ? "\"at\"" : "\"changing\"";
  if (at) {
    text += ",\"at\":" + json_string(*at);
  }
  text += ",\"size\":" + std::to_string(size);
  if (kind == Kind::changing) {
    if (stream.from) {
      text += ",\"from\":" + json_string(*stream.from);
    }
    if (stream.to) {
      text += ",\"to\":" + json_string(*stream.to);
    }
    text += ",\"new_size\":" + std::to_string(stream.size);
  }
  return text + "}\n";
}

std::optional<TargetState> TargetState::parse(const std::string &text) {
  Tree tree;
  std::istringstream input(text);
  try {
    boost::property_tree::read_json(input, tree);
  } catch (const boost::property_tree::json_parser_error &) {
    return std::nullopt;
  }
  TargetState state;
  const auto word = text_at(tree, "state");
  const auto size = number_at(tree, "size");
  if (number_at(tree, "version") != version || !word || !size) {
    return std::nullopt;
  }
  state.at = text_at(tree, "at");
  state.size = *size;
  if (*word == "at") {
    return state;
  }
  const auto new_size = number_at(tree, "new_size");
  if (*word != "changing" || !new_size) {
    return std::nullopt;
  }
  state.kind = Kind::changing;
  state.stream = {text_at(tree, "from"), text_at(tree, "to"), *new_size};
  return state;
}

void check_stream_fits(const Header &header, const TargetFacts &facts,
                       const std::optional<TargetState> &state, bool force) {
  if (header.from) {
    check_incremental(header, facts, state);
  } else {
    check_full(facts, state, force);
  }
  if (facts.device && facts.size < header.size) {
    refuse(facts, ENOSPC,
           "it has " + std::to_string(facts.size) + " bytes, the stream is of a device of " +
               std::to_string(header.size),
           {});
  }
}

std::string json_string(const std::string &text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      result += {'\\', c};
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof(escape), "\\u%04x", static_cast<unsigned>(c));
      result += escape;
    } else {
      result += c;
    }
  }
  return result + '"';
}

}  // namespace diffsnap::stream
