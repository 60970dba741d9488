// SPDX-License-Identifier: GPL-2.0-or-later
#include "sys/target_file.h"

#include <filesystem>

#include "catch.h"
#include "temporary_directory.h"

namespace diffsnap {
namespace {

namespace fs = std::filesystem;

TEST_CASE("a file is replaced, and nothing that its new name leads to", "[target_file]") {
  const test::TemporaryDirectory directory;
  const std::string path = directory / "state", other = directory / "other";
  test::write_file(other, "precious");
  SECTION("nothing is there") {}
  SECTION("the rest of an earlier try") {
    test::write_file(path + ".new", "a longer text than the one to be written");
  }
  SECTION("a link") {
    fs::create_symlink(other, path + ".new");
  }
  SECTION("a second name") {
    fs::create_hard_link(other, path + ".new");
  }
  sys::replace_file(path, "contents");
  CHECK(test::read_file(path) == "contents");
  CHECK(test::read_file(other) == "precious");
  CHECK_FALSE(fs::is_symlink(path));
  CHECK_FALSE(fs::exists(path + ".new"));
}

}  // namespace
}  // namespace diffsnap
