// SPDX-License-Identifier: GPL-2.0-or-later
#include <set>
#include <sstream>

#include "base/error.h"
#include "catch.h"
#include "command.h"
#include "context.h"
#include "report_command.h"
#include "select.h"
#include "usage.h"

using namespace diffsnap;
using namespace diffsnap::cli;

namespace {

struct Result {
  int status;
  std::string out;
  std::string err;
};

Result run(std::vector<const char *> words) {
  words.insert(words.begin(), "diffsnap");
  std::ostringstream out;
  std::ostringstream err;
  Context context(out, err);
  const int status = run_tool(context, static_cast<int>(words.size()), words.data());
  return {status, out.str(), err.str()};
}

Invocation parse(const char *command, const std::vector<std::string> &words) {
  return parse_command_line(*find_command(command), words);
}

}  // namespace

TEST_CASE("the table of commands is sound", "[cli]") {
  std::set<std::string_view> names;
  for (const Command &command : commands()) {
    CAPTURE(command.name);
    CHECK(names.insert(command.name).second);
    CHECK_FALSE(command.summary.empty());
    CHECK(command.run != nullptr);

    std::set<std::string> used;
    std::vector<Option> options = *command.options;
    options.insert(options.end(), common_options().begin(), common_options().end());
    for (const Option &option : options) {
      CAPTURE(option.name);
      CHECK(used.insert(std::string(option.name)).second);
      CHECK((option.letter == '\0' || used.insert(std::string{option.letter}).second));
      CHECK_FALSE(option.help.empty());
      CHECK(option.help.back() == '.');
    }
  }
}

TEST_CASE("exit statuses are LVM's", "[cli]") {
  CHECK(run({}).status == exit_bad_command_line);
  CHECK(run({"nonsense"}).status == exit_no_such_command);
  CHECK(run({"help", "nonsense"}).status == exit_no_such_command);
  CHECK(run({"cre"}).status == exit_no_such_command);
  CHECK(run({"create", "--nonsense", "x"}).status == exit_bad_command_line);
  CHECK(run({"create", "--stor", "x", "y"}).status == exit_bad_command_line);
  CHECK(run({"create", "x"}).status == exit_bad_command_line);
  CHECK(run({"create", "-s", "/dev/x:1x+4k", "x"}).status == exit_bad_command_line);
  CHECK(run({"create", "-s", "/dev/x", "-L", "5Q", "x"}).status == exit_bad_command_line);
  CHECK(run({"create", "-s", "/dev/x", "-n", "a/b", "x"}).status == exit_bad_command_line);
  CHECK(run({"create", "-s", "/dev/x", "--chunk", "3k", "x"}).status == exit_bad_command_line);
  CHECK(run({"create", "-s", "/dev/x", "--on-full", "wait", "x"}).status == exit_bad_command_line);
  CHECK(run({"create", "-s", "/dev/x", "--on-full", "wait:0", "x"}).status == exit_bad_command_line);
  CHECK(run({"create", "-s", "/dev/x", "--on-full", "wait:60001", "x"}).status == exit_bad_command_line);
  CHECK(run({"create", "-s", "/dev/x", "--buffer", "1m", "x"}).status == exit_bad_command_line);
  CHECK(run({"create", "-s", "/dev/x", "--skip-free", "x"}).status == exit_bad_command_line);
  CHECK(run({"wait", "x", "--timeout", "soon"}).status == exit_bad_command_line);
  CHECK(run({"release", "daily", "0+4k"}).status == exit_bad_command_line);
  CHECK(run({"attach", "--tracking-block", "64Q", "x"}).status == exit_bad_command_line);
  // Without a unit these are MiB.
  CHECK(run({"attach", "--tracking-block", "64", "x"}).status == exit_bad_command_line);
  CHECK(run({"attach", "--tracking-block", "32m", "x"}).status == exit_bad_command_line);
  CHECK(run({"changes", "daily"}).status == exit_bad_command_line);
  CHECK(run({"changes", "daily/x", "--since", "-1"}).status == exit_bad_command_line);
  CHECK(run({"changes", "daily/x", "--format", "xml"}).status == exit_bad_command_line);
  CHECK(run({"mark", "x"}).status == exit_bad_command_line);
  CHECK(run({"mark", "x", "--range", "4k"}).status == exit_bad_command_line);
  CHECK(run({"reset"}).status == exit_bad_command_line);
  CHECK(run({"send", "daily"}).status == exit_bad_command_line);
  CHECK(run({"send", "daily/x", "-j", "0"}).status == exit_bad_command_line);
  CHECK(run({"send", "daily/x", "-j", "65"}).status == exit_bad_command_line);
  CHECK(run({"send", "daily/x", "-j", "many"}).status == exit_bad_command_line);
  CHECK(run({"send", "daily/x", "--since", "0198c0de:1"}).status == exit_bad_command_line);
  CHECK(run({"receive"}).status == exit_bad_command_line);
  CHECK(run({"receive", "x", "y"}).status == exit_bad_command_line);
  CHECK(run({"remove"}).status == exit_bad_command_line);
  CHECK(run({"help"}).status == exit_done);
  CHECK(run({"--help"}).status == exit_done);
  CHECK(run({"--version"}).status == exit_done);
  CHECK(run({"create", "--help"}).status == exit_done);
}

TEST_CASE("data is on stdout, messages are on stderr", "[cli]") {
  const Result help = run({"create", "--help"});
  CHECK(help.out.find("--no-freeze") != std::string::npos);
  CHECK(help.err.empty());

  const Result wrong = run({"create", "--nonsense"});
  CHECK(wrong.out.empty());
  CHECK(wrong.err.rfind("diffsnap: cannot read the command line: ", 0) == 0);
  CHECK(wrong.err.find("diffsnap help create") != std::string::npos);
}

TEST_CASE("values may look like options", "[cli]") {
  CHECK(parse("list", {"-o", "-size"}).value("options") == "-size");
  CHECK(parse("list", {"-o", "-origins"}).value("options") == "-origins");
  // An option may take all words that look like its values.
  const Invocation mark =
      parse("mark", {"--range", "0+4k", "1m+2m", "data", "--file", "a+b", "--range", "8m+1"});
  CHECK(mark.values("range") == std::vector<std::string>{"0+4k", "1m+2m", "8m+1"});
  CHECK(mark.arguments() == std::vector<std::string>{"data"});
  CHECK(parse("list", {"--options=+uuid", "-O-age"}).value("sort") == "-age");
  CHECK(parse("extend", {"daily", "-s", "/dev/x", "-L", "+1G"}).value("size") == "+1G");
  CHECK(parse("detach", {"--", "-x"}).arguments() == std::vector<std::string>{"-x"});
}

TEST_CASE("options and arguments may be mixed", "[cli]") {
  const Invocation invocation =
      parse("create", {"/dev/a", "-s", "/dev/x", "-n", "daily", "/dev/b", "-s/dev/y", "-qq", "-vt"});
  CHECK(invocation.arguments() == std::vector<std::string>{"/dev/a", "/dev/b"});
  CHECK(invocation.values("store") == std::vector<std::string>{"/dev/x", "/dev/y"});
  CHECK(invocation.value("name") == "daily");
  CHECK(invocation.count("quiet") == 2);
  CHECK(invocation.has("verbose"));
  CHECK(invocation.has("test"));
  CHECK_THROWS_AS(parse("create", {"x", "-n", "a", "-n", "b"}), SyntaxError);
  CHECK_THROWS_AS(parse("create", {"x", "-n"}), SyntaxError);
  CHECK_THROWS_AS(parse("create", {"x", "--arguments", "y"}), SyntaxError);
}

TEST_CASE("a list of fields replaces, adds and takes away", "[cli]") {
  const std::vector<dm::Column> columns = {
      {"a", "A", 1, {}, ""}, {"b", "B", 1, {}, ""}, {"c", "C", 1, {}, ""}};
  CHECK(resolve_fields({}, "a,b", columns) == "a,b");
  CHECK(resolve_fields({"c"}, "a,b", columns) == "c");
  CHECK(resolve_fields({"+c"}, "a,b", columns) == "a,b,c");
  CHECK(resolve_fields({"-a"}, "a,b", columns) == "b");
  CHECK(resolve_fields({"+c", "-b"}, "a,b", columns) == "a,c");
  CHECK(resolve_fields({"all", "-b"}, "a", columns) == "a,c");
  CHECK(resolve_fields({"help"}, "a", columns) == "help");
}

TEST_CASE("an image is named by snapshot and origin", "[cli]") {
  CHECK(split_image_words("daily/vg-root") == std::pair<std::string, std::string>("daily", "vg-root"));
  CHECK_THROWS_AS(split_image_words("daily"), SyntaxError);
  CHECK_THROWS_AS(split_image_words("/x"), SyntaxError);
  CHECK_THROWS_AS(split_image_words("x/"), SyntaxError);
}

TEST_CASE("pages and completion know every option", "[cli]") {
  std::ostringstream completion;
  print_bash_completion(completion);
  for (const Command &command : commands()) {
    std::istringstream page("@SYNOPSIS@\n@OPTIONS@\n");
    std::ostringstream filled;
    fill_manual(filled, page, &command);
    for (const Option &option : *command.options) {
      CAPTURE(command.name, option.name);
      CHECK(completion.str().find("--" + std::string(option.name)) != std::string::npos);
      CHECK((option.letter == '\0' ||
             filled.str().find(std::string("\\fB\\-") + option.letter) != std::string::npos));
    }
  }
}
