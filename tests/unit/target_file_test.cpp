// SPDX-License-Identifier: GPL-2.0-or-later
#include "sys/target_file.h"

#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <iterator>

#include "catch.h"
#include "errors.h"
#include "temporary_directory.h"

namespace diffsnap {
namespace {

namespace fs = std::filesystem;

std::size_t count_files(const test::TemporaryDirectory &directory) {
  const fs::directory_iterator files(directory / "");
  return static_cast<std::size_t>(std::distance(begin(files), end(files)));
}

TEST_CASE("a file is replaced, and nothing else is touched", "[target_file]") {
  const test::TemporaryDirectory directory;
  const std::string path = directory / "state";
  std::size_t files = 1;
  SECTION("nothing is there") {}
  SECTION("the file") {
    test::write_file(path, "a longer text than the one to be written");
  }
  SECTION("others of names like it") {
    for (const char *suffix : {".new", ".tmp", "~"}) {
      test::write_file(path + suffix, "precious");
      ++files;
    }
  }
  sys::replace_file(path, "contents");
  CHECK(test::read_file(path) == "contents");
  CHECK(fs::status(path).permissions() == (fs::perms::owner_read | fs::perms::owner_write));
  CHECK(count_files(directory) == files);
  if (files > 1) {
    CHECK(test::read_file(path + ".new") == "precious");
  }
}

TEST_CASE("a file is made afresh, and nothing that its name leads to", "[target_file]") {
  const test::TemporaryDirectory directory;
  const std::string path = directory / "state", other = directory / "other";
  test::write_file(other, "precious");
  SECTION("nothing is there") {}
  SECTION("the rest of an earlier try") {
    test::write_file(path, "a longer text than the one to be written");
  }
  SECTION("a link") {
    fs::create_symlink(other, path);
  }
  SECTION("a second name") {
    fs::create_hard_link(other, path);
  }
  CHECK(sys::create_afresh(path));
  CHECK(test::read_file(path).empty());
  CHECK(test::read_file(other) == "precious");
  CHECK_FALSE(fs::is_symlink(path));
}

TEST_CASE("nothing but a regular file is replaced", "[target_file]") {
  const test::TemporaryDirectory directory;
  const std::string path = directory / "state", other = directory / "other";
  test::write_file(other, "precious");
  SECTION("a link") {
    fs::create_symlink(other, path);
  }
  SECTION("a link to nothing") {
    fs::create_symlink(directory / "nothing", path);
  }
  SECTION("a pipe") {
    REQUIRE(mkfifo(path.c_str(), S_IRUSR | S_IWUSR) == 0);
  }
  const fs::file_type before = fs::symlink_status(path).type();
  const auto replaced = [&] {
    sys::replace_file(path, "contents");
    return 0;
  };
  CHECK(test::errno_of(replaced) == (before == fs::file_type::not_found ? 0 : EINVAL));
  if (before != fs::file_type::not_found) {
    CHECK(fs::symlink_status(path).type() == before);
  }
  CHECK(test::read_file(other) == "precious");
  CHECK(count_files(directory) == (before == fs::file_type::not_found ? 1U : 2U));
}

}  // namespace
}  // namespace diffsnap
