// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/size.h"

#include "base/error.h"
#include "catch.h"

using namespace diffsnap;

TEST_CASE("sizes are read as lvcreate -L reads them", "[size]") {
  constexpr std::uint64_t KiB = 1024, MiB = 1024 * KiB, GiB = 1024 * MiB;

  CHECK(parse_size("5G") == 5 * GiB);
  CHECK(parse_size("5GiB") == 5 * GiB);
  CHECK(parse_size("5gib") == 5 * GiB);
  CHECK(parse_size("5GB") == 5 * GiB);
  CHECK(parse_size("1.5g") == 3 * GiB / 2);
  CHECK(parse_size("100") == 100 * MiB);
  CHECK(parse_size("100s") == 100 * 512);
  CHECK(parse_size("512b") == 512);
  CHECK(parse_size("512B") == 512);
  CHECK(parse_size("4k") == 4 * KiB);
  CHECK(parse_size("2T") == 2048 * GiB);
  CHECK(parse_size("1P") == 1024 * 1024 * GiB);
  CHECK(parse_size("15E") == 15ULL << 60);
  CHECK(parse_size("0") == 0);
}

TEST_CASE("a size without a unit counts what the caller says", "[size]") {
  CHECK(parse_size("4096", 1) == 4096);
  CHECK(parse_size("4096k", 1) == 4096 * 1024);
}

TEST_CASE("a fraction is rounded up to a sector", "[size]") {
  CHECK(parse_size("0.1k") == 512);
  CHECK(parse_size("1.3k") == 1536);
  CHECK(parse_size("0.5") == 512 * 1024);
}

TEST_CASE("what is no size is refused", "[size]") {
  for (const char *text : {"",
                           "G",
                           "5X",
                           "5GG",
                           "5 G",
                           "1,5g",
                           "-1",
                           "+1",
                           "1.",
                           ".5G",
                           "1.2.3",
                           "100sB",
                           "100bB",
                           "1.5b",
                           "511b",
                           "100b",
                           "16E",
                           "18446744073709551616b",
                           "99999999999999999999999",
                           "1.00000000000001G",
                           "0x10",
                           "5G "}) {
    CAPTURE(text);
    CHECK_THROWS_AS(parse_size(text), SyntaxError);
  }
}

TEST_CASE("a leading + makes a size relative", "[size]") {
  CHECK(parse_size_change("+1G").relative);
  CHECK(parse_size_change("+1G").bytes == 1ULL << 30);
  CHECK_FALSE(parse_size_change("1G").relative);
  CHECK_THROWS_AS(parse_size_change("++1G"), SyntaxError);
  CHECK_THROWS_AS(parse_size_change("+0"), SyntaxError);
  CHECK_THROWS_AS(parse_size_change(""), SyntaxError);
}

TEST_CASE("sizes are written in LVM's units", "[size]") {
  constexpr std::uint64_t MiB = 1024 * 1024;

  CHECK(format_size(4 * MiB, 'h') == "4.00m");
  CHECK(format_size(4 * MiB, 'h', false) == "4.00");
  CHECK(format_size(4 * MiB, 'H') == "4.19M");
  CHECK(format_size(1536 * MiB, 'h') == "1.50g");
  CHECK(format_size(512, 'h') == "0.50k");
  CHECK(format_size(0, 'h') == "0");
  CHECK(format_size(4 * MiB, 'b') == "4194304B");
  CHECK(format_size(4 * MiB, 's') == "8192S");
  CHECK(format_size(4 * MiB, 's', false) == "8192");
  CHECK(format_size(4 * MiB, 'k') == "4096.00k");
  CHECK(format_size(4 * MiB, 'K') == "4194.30K");
  CHECK(format_size(1024 * MiB, 'r') == "1.00g");
  CHECK(format_size(1024 * MiB - 4096, 'r') == "<1024.00m");
  CHECK(format_size(2 * 1024 * MiB - 4096, 'r') == "<2.00g");
  CHECK_THROWS_AS(format_size(1, 'x'), SyntaxError);
}
