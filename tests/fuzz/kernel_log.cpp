// SPDX-License-Identifier: GPL-2.0-or-later
#include "kernel_log.h"

#include "device.h"

#include <array>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <unistd.h>

namespace fuzz {

KernelLog::KernelLog() : fd_(open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC)) {
  if (fd_ < 0)
    throw oracle::EnvironmentError(std::string("cannot open /dev/kmsg: ") + std::strerror(errno));
  lseek(fd_, 0, SEEK_END);
}

KernelLog::~KernelLog() {
  close(fd_);
}

std::vector<std::string> KernelLog::lines() {
  std::vector<std::string> result;
  std::array<char, 16384> record;

  for (;;) {
    const ssize_t length = read(fd_, record.data(), record.size());

    if (length < 0 && (errno == EINTR || errno == EPIPE))
      continue;  // EPIPE: some were lost
    if (length <= 0)
      return result;

    const std::string text(record.data(), static_cast<std::size_t>(length));
    const auto start = text.find(';');

    // "<priority>,<number>,<time>,<flags>;<text>\n", and lines of key and value
    if (start != std::string::npos)
      result.push_back(text.substr(start + 1, text.find('\n') - start - 1));
  }
}

}  // namespace fuzz
