// SPDX-License-Identifier: GPL-2.0-or-later
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "catch.h"
#include "sys/blkid.h"

using diffsnap::UniqueFd;
using diffsnap::sys::probe_signature;
using diffsnap::sys::wipe_signatures;

namespace {

constexpr std::size_t size = 4 << 20;
constexpr std::size_t half = size / 2;

/** A file with the signature of swap space, which is the shortest, at each of two places. */
class Image {
 public:
  Image() {
    const UniqueFd fd(::mkstemp(path_.data()));
    REQUIRE(fd);
    REQUIRE(::ftruncate(fd.get(), size) == 0);
    for (const std::size_t start : {std::size_t{0}, half}) {
      const std::vector<char> header{1, 0, 0, 0, static_cast<char>(0xff), 1, 0, 0};
      REQUIRE(::pwrite(fd.get(), header.data(), header.size(), static_cast<off_t>(start + 1024)) == 8);
      REQUIRE(::pwrite(fd.get(), "SWAPSPACE2", 10, static_cast<off_t>(start + 4086)) == 10);
    }
  }
  Image(const Image &) = delete;
  Image &operator=(const Image &) = delete;
  ~Image() { ::unlink(path_.c_str()); }

  [[nodiscard]] const std::string &path() const { return path_; }
  [[nodiscard]] std::string at(std::size_t offset) const {
    std::string text(10, '\0');
    const UniqueFd fd(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
    REQUIRE(::pread(fd.get(), text.data(), text.size(), static_cast<off_t>(offset)) == 10);
    return text;
  }

 private:
  std::string path_ = "/tmp/diffsnap-blkid-test-XXXXXX";
};

}  // namespace

TEST_CASE("a wiped range has no signature any more, and its neighbour keeps its own", "[blkid]") {
  const Image image;
  REQUIRE(probe_signature(image.path()) == "swap");

  wipe_signatures(image.path(), half, size - half);
  CHECK(image.at(half + 4086) == std::string(10, '\0'));
  CHECK(image.at(4086) == "SWAPSPACE2");
  CHECK(probe_signature(image.path()) == "swap");

  wipe_signatures(image.path(), 0, half);
  CHECK_FALSE(probe_signature(image.path()));
}
