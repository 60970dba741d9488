// SPDX-License-Identifier: GPL-2.0-or-later
//
// How fast what `diffsnap send` does with an image is, beside reading it: on this machine's own clock, from a
// file or device that is only read. Both read directly, one after the other, a few times; the ratio of the
// medians counts.
//
//   send-rate FILE [ROUNDS]
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/error.h"
#include "core/fd_stream.h"
#include "core/send.h"
#include "stream/sha256.h"

namespace {

using namespace diffsnap;

std::uint64_t size_of(const std::string &path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const off_t end = fd ? ::lseek(fd.get(), 0, SEEK_END) : -1;
  if (end < 0) {
    throw Error("look at", path, errno);
  }
  return static_cast<std::uint64_t>(end);
}

/** As dd bs=1M iflag=direct. */
void read_all(const std::string &path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC));
  const AlignedBuffer buffer(ReadAhead::piece_size);
  ssize_t got = 1;
  while (fd && got > 0) {
    got = ::read(fd.get(), buffer.data(), buffer.size());
  }
  if (!fd || got < 0) {
    throw Error("read", path, errno);
  }
}

void send_all(const std::string &path, std::uint64_t size, unsigned threads) {
  const UniqueFd null(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  FdSink sink(null.get(), "the stream");
  stream::HashingSink hashing(sink);
  bool given = false;
  const auto ranges = [&]() -> std::optional<sys::ByteRange> {
    return std::exchange(given, true) ? std::nullopt : std::optional(sys::ByteRange{0, size});
  };
  CopyOptions options;
  options.threads = threads;
  copy_to_stream(path, ranges, {std::nullopt, "0198c0de-0000-7000-8000-000000000000:1", size}, hashing,
                 options);
  hashing.flush();
  static_cast<void>(hashing.sha256());
}

/** MiB a second. */
double rate(std::uint64_t bytes, const std::function<void()> &action) {
  const auto start = std::chrono::steady_clock::now();
  action();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  return static_cast<double>(bytes) / (1 << 20) / seconds.count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void measure(const std::string &path, int rounds) {
  const std::uint64_t size = size_of(path);
  for (const unsigned threads : {1U, 4U}) {
    std::vector<double> plain, sent;
    for (int i = 0; i < rounds; ++i) {
      plain.push_back(rate(size, [&] { read_all(path); }));
      sent.push_back(rate(size, [&] { send_all(path, size, threads); }));
    }
    std::cout << "-j " << threads << ": read " << median(plain) << " MiB/s, sent " << median(sent)
              << " MiB/s, ratio " << median(sent) / median(plain) << '\n';
  }
}

}  // namespace

int main(int argc, char **argv) {
  if (argc < 2) {
    std::cerr << "usage: send-rate FILE [ROUNDS]\n";
    return 3;
  }
  try {
    measure(argv[1], argc > 2 ? std::atoi(argv[2]) : 5);
  } catch (const std::exception &error) {
    std::cerr << "send-rate: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
