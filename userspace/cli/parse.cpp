// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>
#include <boost/program_options/errors.hpp>
#include <boost/program_options/options_description.hpp>
#include <boost/program_options/parsers.hpp>
#include <boost/program_options/positional_options.hpp>
#include <cerrno>
#include <limits>

#include "base/error.h"
#include "base/text.h"
#include "command.h"

namespace diffsnap::cli {
namespace {

namespace po = boost::program_options;

constexpr const char *arguments_key = "arguments";

[[noreturn]] void refuse(const Command &command, const std::string &reason) {
  throw SyntaxError("read", "the command line", EINVAL, reason,
                    "Run `diffsnap help " + std::string(command.name) + "' for more information.");
}

std::vector<Option> all_options(const Command &command) {
  std::vector<Option> options = *command.options;
  options.insert(options.end(), common_options().begin(), common_options().end());
  return options;
}

/** "-n" or "--name", if it takes a value. */
const Option *option_that_wants_a_value(const std::vector<Option> &options, const std::string &word) {
  for (const Option &option : options) {
    const bool named = word == "--" + std::string(option.name) ||
                       (option.letter != '\0' && word == std::string{'-', option.letter});
    if (named && !option.argument.empty()) {
      return &option;
    }
  }
  return nullptr;
}

/**
 * Ties values to their options. `-o -size` is a field to take away, but Boost sees an option where a
 * value is expected.
 */
std::vector<std::string> join_values(const std::vector<Option> &options,
                                     const std::vector<std::string> &words) {
  std::vector<std::string> joined;

  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--") {
      joined.insert(joined.end(), words.begin() + static_cast<std::ptrdiff_t>(i), words.end());
      break;
    }
    const Option *option = option_that_wants_a_value(options, words[i]);
    if (option && i + 1 < words.size()) {
      joined.push_back("--" + std::string(option->name) + "=" + words[i + 1]);
      ++i;
      for (; option->is_another && i + 1 < words.size() && option->is_another(words[i + 1]); ++i) {
        joined.push_back("--" + std::string(option->name) + "=" + words[i + 1]);
      }
    } else {
      joined.push_back(words[i]);
    }
  }
  return joined;
}

void check_argument_count(const Command &command, std::size_t given) {
  std::size_t least = 0;
  std::size_t most = 0;

  for (std::string_view word : split_words(command.arguments)) {
    const bool optional = word.front() == '[';
    const bool repeated = word.find("...") != std::string_view::npos;
    least += optional ? 0 : 1;
    most = repeated ? std::numeric_limits<std::size_t>::max() : most + 1;
  }
  if (given < least) {
    refuse(command,
           "too few arguments: " + std::string(command.name) + " takes " + std::string(command.arguments));
  }
  if (given > most) {
    refuse(command, most == 0 ? std::string(command.name) + " takes no arguments"
                              : "too many arguments: " + std::string(command.name) + " takes " +
                                    std::string(command.arguments));
  }
}

}  // namespace

std::size_t Invocation::count(std::string_view option) const {
  return static_cast<std::size_t>(
      std::count_if(given_.begin(), given_.end(), [&](const Given &given) { return given.name == option; }));
}

const std::string &Invocation::value(std::string_view option) const {
  return std::find_if(given_.begin(), given_.end(), [&](const Given &given) { return given.name == option; })
      ->value;
}

std::vector<std::string> Invocation::values(std::string_view option) const {
  std::vector<std::string> values;

  for (const Given &given : given_) {
    if (given.name == option) {
      values.push_back(given.value);
    }
  }
  return values;
}

Invocation parse_command_line(const Command &command, const std::vector<std::string> &words) {
  const std::vector<Option> options = all_options(command);
  po::options_description description;
  for (const Option &option : options) {
    std::string name(option.name);
    if (option.letter != '\0') {
      name += {',', option.letter};
    }
    if (option.argument.empty()) {
      description.add_options()(name.c_str(), "");
    } else {
      description.add_options()(name.c_str(), po::value<std::string>(), "");
    }
  }
  description.add_options()(arguments_key, po::value<std::vector<std::string>>(), "");
  po::positional_options_description positional;
  positional.add(arguments_key, -1);

  Invocation invocation(command);
  try {
    namespace style = po::command_line_style;
    // Abbreviations would change their meaning when an option is added.
    const auto parsed = po::command_line_parser(join_values(options, words))
                            .options(description)
                            .positional(positional)
                            .style(style::unix_style & ~style::allow_guessing)
                            .run();
    for (const auto &option : parsed.options) {
      if (option.position_key >= 0) {
        invocation.arguments_.push_back(option.value.front());
      } else if (option.string_key == arguments_key) {
        refuse(command, std::string("unrecognised option '--") + arguments_key + "'");
      } else {
        invocation.given_.push_back({option.string_key, option.value.empty() ? "" : option.value.front()});
      }
    }
  } catch (const po::error &error) {
    refuse(command, error.what());
  }

  for (const Option &option : options) {
    if (!option.repeated && !option.argument.empty() && invocation.count(option.name) > 1) {
      refuse(command, "option '--" + std::string(option.name) + "' was given more than once");
    }
  }
  if (!invocation.has("help")) {
    check_argument_count(command, invocation.arguments().size());
  }
  return invocation;
}

}  // namespace diffsnap::cli
