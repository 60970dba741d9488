// SPDX-License-Identifier: GPL-2.0-or-later
#include "command.h"

namespace diffsnap::cli {
namespace {

const std::vector<Option> no_options;

}  // namespace

const std::vector<Option> &common_options() {
  static const std::vector<Option> options = {
      {"yes", 'y', {}, "Answer every question with yes."},
      {"force", 'f', {}, "Do what would be refused to protect data or users in need of a device."},
      {"quiet", 'q', {}, "Say nothing about success.", true},
      {"verbose", 'v', {}, "Say more about what is done, on stderr.", true},
      {"test", 't', {}, "Check everything, change nothing."},
      {"help", 'h', {}, "Show this help."},
  };
  return options;
}

const std::vector<Option> &report_options() {
  static const std::vector<Option> options = {
      {"options", 'o', "FIELDS",
       "The fields to show, separated by commas. A leading + adds them to the usual ones, a leading - takes "
       "them "
       "away, all shows all, help lists them.",
       true},
      {"sort", 'O', "FIELDS", "The fields to sort by, separated by commas; a leading - of one reverses it.",
       true},
      {"select", 'S', "SELECTION",
       "Show only what fits an expression, as in lvs(8): state=active && percent>50.", false},
      {"noheadings", '\0', {}, "Leave the line of headings out."},
      {"nosuffix", '\0', {}, "Leave the unit of sizes out."},
      {"units", '\0', "UNIT",
       "Sizes in (b)ytes, (s)ectors, (k), (m), (g), (t), (p), (e) of 1024, in capitals of 1000; (h)uman "
       "readable, "
       "the default; (r) as h, with < before what was rounded up.",
       false, Completes::words, "b s k m g t p e h r B S K M G T P E H R"},
      {"separator", '\0', "TEXT", "What stands between fields; they are not aligned then."},
      {"nameprefixes", '\0', {}, "Write FIELD='value', with DIFFSNAP_ before each name."},
      {"rows", '\0', {}, "Show columns as rows."},
      {"unbuffered", '\0', {}, "Write each line as soon as it is known, neither sorted nor aligned."},
      {"reportformat", '\0', "FORMAT", "basic, or json: all values are strings then.", false,
       Completes::words, "basic json"},
  };
  return options;
}

const std::vector<Command> &commands() {
  static const std::vector<Command> table = {
      {"attach", "DEVICE", "put the origin target on a device", &attach_options, Completes::device,
       run_attach},
      {"detach", "DEVICE...", "take the origin target off again", &no_options, Completes::device, run_detach},
      {"origins", "[DEVICE...]", "report on origins", &report_options(), Completes::device, run_origins},
      {"create", "[ORIGIN...]", "make a snapshot of all origins at one instant", &create_options,
       Completes::device, run_create},
      {"add", "SNAPSHOT ORIGIN...", "add origins to a snapshot that is not taken yet", &no_options,
       Completes::snapshot, run_add},
      {"take", "SNAPSHOT", "cut a snapshot that create --no-take made", &take_options, Completes::snapshot,
       run_take},
      {"extend", "SNAPSHOT", "add room to a snapshot's store", &extend_options, Completes::snapshot,
       run_extend},
      {"list", "[SNAPSHOT...]", "report on snapshots", &report_options(), Completes::snapshot, run_list},
      {"images", "[SNAPSHOT...]", "report on images", &report_options(), Completes::snapshot, run_images},
      {"remove", "SNAPSHOT...", "remove snapshots", &no_options, Completes::snapshot, run_remove},
      {"wait", "SNAPSHOT", "wait for a snapshot's next event", &wait_options, Completes::snapshot, run_wait},
      {"release", "SNAPSHOT/ORIGIN RANGE...", "say that ranges of an image are not needed any more",
       &no_options, Completes::image, run_release},
      {"rollback", "SNAPSHOT[/ORIGIN]", "put origins back to what their images show", &rollback_options,
       Completes::snapshot, run_rollback},
      {"changes", "SNAPSHOT/ORIGIN", "list the ranges that differ from an earlier snapshot", &changes_options,
       Completes::image, run_changes},
      {"mark", "ORIGIN", "mark blocks of an origin as changed", &mark_options, Completes::device, run_mark},
      {"send", "SNAPSHOT/ORIGIN", "write an image, or what changed of it, to stdout as a backup stream",
       &send_options, Completes::image, run_send},
      {"receive", "TARGET", "apply a backup stream from stdin to a file or device", &receive_options,
       Completes::nothing, run_receive},
      {"reset", "ORIGIN...", "begin a new generation of change tracking", &no_options, Completes::device,
       run_reset},
      {"version", "", "show the versions of tool, module and kernel interface", &no_options,
       Completes::nothing, run_version},
      {"help", "[COMMAND]", "show what commands there are, or how one is used", &no_options,
       Completes::command, run_help},
  };
  return table;
}

const Command *find_command(std::string_view name) {
  for (const Command &command : commands()) {
    if (command.name == name) {
      return &command;
    }
  }
  return nullptr;
}

}  // namespace diffsnap::cli
