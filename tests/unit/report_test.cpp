// SPDX-License-Identifier: GPL-2.0-or-later
#include "dm/report.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "base/error.h"
#include "base/unique_fd.h"
#include "catch.h"
#include "errors.h"
#include "temporary_directory.h"

using namespace diffsnap;
using dm::Cell;
using dm::Column;
using dm::ColumnType;
using dm::ReportOptions;
using dm::Row;

namespace {

const std::vector<Column> columns = {
    {"name", "Name", 4, ColumnType::text, "Name."},      {"size", "Size", 4, ColumnType::size, "Size."},
    {"age", "Age", 3, ColumnType::number, "Age."},       {"percent", "Use%", 4, ColumnType::percent, "Use."},
    {"origins", "Origins", 7, ColumnType::list, "All."},
};

const std::vector<Row> rows = {
    {std::string("b"), std::uint64_t{1} << 30, dm::ShownNumber{90, "1m30s"}, 12.5,
     std::vector<std::string>{"vdb", "vdc"}},
    {std::string("a"), std::uint64_t{1} << 20, dm::ShownNumber{5, "5s"}, 99.0,
     std::vector<std::string>{"vdd"}},
    {std::string("c"), Cell(), Cell(), Cell(), Cell()},
};

ReportOptions all_fields() {
  ReportOptions options;
  options.fields = "name,size,age,percent,origins";
  options.sort_keys = "name";
  return options;
}

/** Prints into a file of the test's in the place of stdout. */
void print_to(int fd, const ReportOptions &options) {
  std::fflush(stdout);
  const UniqueFd before(dup(STDOUT_FILENO));
  dup2(fd, STDOUT_FILENO);
  const auto put_back = [&] {
    std::fflush(stdout);
    std::clearerr(stdout);
    dup2(before.get(), STDOUT_FILENO);
  };
  try {
    dm::print_report("snapshot", columns, rows, options);
  } catch (...) {
    put_back();
    throw;
  }
  put_back();
}

/** What a report writes to stdout. */
std::string printed(const ReportOptions &options) {
  const test::TemporaryDirectory directory;
  const std::string path = directory / "stdout";
  const UniqueFd file(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL, S_IRUSR | S_IWUSR));
  REQUIRE(file);
  print_to(file.get(), options);
  return test::read_file(path);
}

}  // namespace

TEST_CASE("a report is aligned and sorted, without blanks at the end of a line", "[report]") {
  CHECK(printed(all_fields()) ==
        "Name Size  Age   Use%  Origins\n"
        "a    1.00m    5s 99.00 vdd\n"
        "b    1.00g 1m30s 12.50 vdb,vdc\n"
        "c\n");
}

TEST_CASE("reports take lvs's options", "[report]") {
  ReportOptions options = all_fields();
  options.headings = false;
  options.aligned = false;
  options.fields = "name,size";

  SECTION("separator, units and suffix") {
    options.separator = ":";
    options.units = 'b';
    options.suffix = false;
    CHECK(printed(options) == "a:1048576\nb:1073741824\nc:\n");
  }
  SECTION("a descending sort") {
    options.sort_keys = "-size";
    CHECK(printed(options) == "b 1.00g\na 1.00m\nc \n");
  }
  SECTION("names before values") {
    options.name_prefixes = true;
    options.selection = "name=a";
    CHECK(printed(options) == "DIFFSNAP_NAME='a' DIFFSNAP_SIZE='1.00m'\n");
  }
  SECTION("columns as rows") {
    options.rows = true;
    CHECK(printed(options) == "a b c\n1.00m 1.00g \n");
  }
  SECTION("unbuffered, in the order given") {
    options.buffered = false;
    CHECK(printed(options) == "b 1.00g\na 1.00m\nc \n");
  }
}

TEST_CASE("rows are selected by the value, not by what is shown", "[report]") {
  ReportOptions options = all_fields();
  options.headings = false;
  options.fields = "name";

  for (const auto &[selection, expected] :
       std::vector<std::pair<std::string, std::string>>{{"age>60", "b\n"},
                                                        {"size=1m", "a\n"},
                                                        {"size>=1m", "a\nb\n"},
                                                        {"percent>50", "a\n"},
                                                        {"origins=vdd", "a\n"},
                                                        {"origins={vdb}", "b\n"},
                                                        {"percent>1 && origins=vdd", "a\n"},
                                                        {"name=~^[ab]$", "a\nb\n"}}) {
    CAPTURE(selection);
    options.selection = selection;
    CHECK(printed(options) == expected);
  }
}

TEST_CASE("JSON has the two levels that lvs has", "[report]") {
  ReportOptions options = all_fields();
  options.format = dm::ReportFormat::json;
  options.selection = "name=a";
  std::string text = printed(options);
  text.erase(std::remove_if(text.begin(), text.end(), [](char c) { return c == ' ' || c == '\n'; }),
             text.end());
  CHECK(
      text ==
      R"({"report":[{"snapshot":[{"name":"a","size":"1.00m","age":"5s","percent":"99.00","origins":"vdd"}]}]})");
}

TEST_CASE("the fields are listed on demand only", "[report]") {
  ReportOptions options = all_fields();
  options.fields = "help";
  CHECK(printed(options).find("origins") != std::string::npos);

  options.fields = "nosuch";
  CHECK_THROWS_WITH(printed(options), Catch::Contains("Unrecognised field: nosuch"));
  options = all_fields();
  options.selection = "name>>";
  CHECK_THROWS_AS(printed(options), Error);
}

TEST_CASE("output that cannot be written is an error", "[report]") {
  const UniqueFd full(open("/dev/full", O_WRONLY));
  REQUIRE(full);
  ReportOptions options = all_fields();
  const auto failure = [&] {
    return test::errno_of([&] {
      print_to(full.get(), options);
      return 0;
    });
  };
  CHECK(failure() == ENOSPC);
  options.format = dm::ReportFormat::json;
  CHECK(failure() == ENOSPC);
  options.fields = "help";
  CHECK(failure() == ENOSPC);
}
