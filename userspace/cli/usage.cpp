// SPDX-License-Identifier: GPL-2.0-or-later
#include "usage.h"

#include <algorithm>
#include <string>

#include "base/text.h"

namespace diffsnap::cli {
namespace {

constexpr std::size_t line_width = 80;
constexpr std::size_t help_column = 28;

/** "-n, --name NAME" */
std::string left_side(const Option &option) {
  std::string text = option.letter != '\0' ? std::string{'-', option.letter, ',', ' '} : "    ";
  text += "--" + std::string(option.name);
  if (!option.argument.empty()) {
    text += " " + std::string(option.argument);
  }
  return text;
}

/** Words in lines that begin at help_column; the first one continues `line`. */
void print_wrapped(std::ostream &out, std::string line, std::string_view text) {
  if (line.size() + 2 > help_column) {
    out << line << '\n';
    line.clear();
  }
  line.resize(help_column, ' ');
  for (std::string_view word : split_words(text)) {
    if (line.size() > help_column && line.size() + 1 + word.size() > line_width) {
      out << line << '\n';
      line.assign(help_column, ' ');
    }
    if (line.size() > help_column) {
      line += ' ';
    }
    line += word;
  }
  out << line << '\n';
}

void print_options(std::ostream &out, const std::vector<Option> &options) {
  for (const Option &option : options) {
    print_wrapped(out, "  " + left_side(option), option.help);
  }
}

/** Text for roff: minus signs that can be copied, and no line that is taken for a request. */
std::string roff(std::string_view text) {
  std::string result;

  for (char c : text) {
    if (c == '\\') {
      result += "\\e";
    } else if (c == '-') {
      result += "\\-";
    } else if ((c == '.' || c == '\'') && result.empty()) {
      result += "\\&";
      result += c;
    } else {
      result += c;
    }
  }
  return result;
}

void print_roff_options(std::ostream &out, const std::vector<Option> &options) {
  for (const Option &option : options) {
    out << ".TP\n";
    if (option.letter != '\0') {
      out << "\\fB\\-" << option.letter << "\\fR, ";
    }
    out << "\\fB\\-\\-" << roff(option.name) << "\\fR";
    if (!option.argument.empty()) {
      out << " \\fI" << roff(option.argument) << "\\fR";
    }
    out << '\n' << roff(option.help) << '\n';
    if (option.repeated && !option.argument.empty()) {
      out << "May be given several times.\n";
    }
  }
}

void print_roff_synopsis(std::ostream &out, const Command &command) {
  out << ".B diffsnap " << command.name << "\n[\\fIOPTIONS\\fR]";
  for (const Option &option : *command.options) {
    if (option.name == "store") {
      out << " \\fB\\-s\\fR \\fISTORE\\fR...";
    }
  }
  if (!command.arguments.empty()) {
    out << " \\fI" << roff(command.arguments) << "\\fR";
  }
  out << '\n';
}

void print_roff_exit_status(std::ostream &out) {
  const struct {
    int status;
    const char *meaning;
  } meanings[] = {
      {exit_done, "It is done."},
      {exit_no_such_command, "There is no such command."},
      {exit_bad_command_line, "The command line is wrong: an unknown option, a malformed size or name."},
      {exit_cannot_initialise,
       "The tool cannot start to work: no permission, no device\\-mapper, no kernel module."},
      {exit_failed, "The command failed; a message on stderr says why."},
      {exit_timed_out, "A \\fBwait\\fR timed out."},
  };
  for (const auto &entry : meanings) {
    out << ".TP\n.B " << entry.status << '\n' << entry.meaning << '\n';
  }
}

void replace_all(std::string &line, std::string_view word, std::string_view text) {
  for (std::size_t at = 0; (at = line.find(word, at)) != std::string::npos; at += text.size()) {
    line.replace(at, word.size(), text);
  }
}

/** The words that bash completes an option's name with. */
void print_option_words(std::ostream &out, const std::vector<Option> &options) {
  for (const Option &option : options) {
    out << " --" << option.name;
  }
}

std::string bash_words(Completes completes, std::string_view words) {
  switch (completes) {
    case Completes::device:
      return "$(lsblk --noheadings --paths --list --output name 2>/dev/null)";
    case Completes::snapshot:
      return "$(diffsnap list --noheadings -o name 2>/dev/null)";
    case Completes::image:
      return "$(diffsnap images --noheadings --separator / -o snapshot,origin 2>/dev/null)";
    case Completes::command: {
      std::string names;
      for (const Command &command : commands()) {
        names += (names.empty() ? "" : " ") + std::string(command.name);
      }
      return names;
    }
    case Completes::words:
      return std::string(words);
    case Completes::nothing:
      break;
  }
  return {};
}

void print_bash_option_values(std::ostream &out, const std::vector<Option> &options) {
  for (const Option &option : options) {
    if (option.argument.empty()) {
      continue;
    }
    out << "        " << (option.letter != '\0' ? std::string{'-', option.letter, '|'} : "") << "--"
        << option.name << ") words=\"" << bash_words(option.completes, option.words) << "\" ;;\n";
  }
}

}  // namespace

void print_overview(std::ostream &out) {
  out << "Usage: diffsnap COMMAND [OPTIONS] [ARGUMENTS]\n\nCommands:\n";
  for (const Command &command : commands()) {
    print_wrapped(out, "  " + std::string(command.name), command.summary);
  }
  out << "\nRun `diffsnap help COMMAND' for the options of one. See diffsnap(8).\n";
}

void print_usage(std::ostream &out, const Command &command) {
  out << "diffsnap " << command.name << " - " << command.summary << "\n\nUsage: diffsnap " << command.name
      << " [OPTIONS]";
  if (!command.arguments.empty()) {
    out << ' ' << command.arguments;
  }
  out << '\n';
  if (!command.options->empty()) {
    out << "\nOptions:\n";
    print_options(out, *command.options);
  }
  out << "\nCommon options:\n";
  print_options(out, common_options());
  out << "\nSee diffsnap-" << command.name << "(8).\n";
}

void fill_manual(std::ostream &out, std::istream &page, const Command *command) {
  std::string line;

  while (std::getline(page, line)) {
    if (line == "@SYNOPSIS@" && command) {
      print_roff_synopsis(out, *command);
    } else if (line == "@OPTIONS@" && command) {
      print_roff_options(out, *command->options);
    } else if (line == "@COMMON_OPTIONS@") {
      print_roff_options(out, common_options());
    } else if (line == "@EXIT_STATUS@") {
      print_roff_exit_status(out);
    } else if (line == "@COMMANDS@") {
      for (const Command &each : commands()) {
        out << ".TP\n.BR diffsnap\\-" << each.name << " (8)\n" << roff(each.summary) << '\n';
      }
    } else {
      replace_all(line, "@VERSION@", DIFFSNAP_VERSION);
      out << line << '\n';
    }
  }
}

void print_bash_completion(std::ostream &out) {
  out << "# bash completion for diffsnap; generated, do not edit\n"
         "_diffsnap()\n"
         "{\n"
         "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=\n"
         "    if ((COMP_CWORD == 1)); then\n"
         "        COMPREPLY=($(compgen -W \""
      << bash_words(Completes::command, {})
      << " --help --version\" -- \"$cur\"))\n"
         "        return\n"
         "    fi\n"
         "    case ${COMP_WORDS[1]} in\n";
  for (const Command &command : commands()) {
    out << "    " << command.name << ")\n        case $prev in\n";
    print_bash_option_values(out, *command.options);
    out << "        *)\n            if [[ $cur == -* ]]; then\n                words=\"";
    print_option_words(out, *command.options);
    print_option_words(out, common_options());
    out << "\"\n            else\n                words=\"" << bash_words(command.completes, {})
        << "\"\n            fi ;;\n        esac ;;\n";
  }
  out << "    esac\n"
         "    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
         "} &&\n"
         "complete -o default -F _diffsnap diffsnap\n";
}

}  // namespace diffsnap::cli
