// SPDX-License-Identifier: GPL-2.0-or-later
#include "dm/control.h"

#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <vector>

#include "base/error.h"

namespace diffsnap::dm {

namespace {

constexpr const char *control_node = "/dev/" DM_DIR "/" DM_CONTROL_NODE;

UniqueFd open_control() {
  UniqueFd control(::open(control_node, O_RDWR | O_CLOEXEC));
  if (!control) {
    throw InitError("open", control_node, errno);
  }
  return control;
}

void fill_header(dm_ioctl &header, std::size_t size) noexcept {
  // The lowest minor version says: whatever this kernel has, as long as the major is the same.
  header.version[0] = DM_VERSION_MAJOR;
  header.data_size = static_cast<__u32>(size);
  header.data_start = sizeof(dm_ioctl);
}

class ControlMessage final : public PreparedMessage {
 public:
  ControlMessage(const std::string &name, const std::string &text)
      : control_(open_control()), buffer_(sizeof(dm_ioctl) + sizeof(dm_target_msg) + text.size() + 1) {
    if (name.size() > max_name_length) {
      throw Error("send", "a message to " + name, ENAMETOOLONG);
    }
    dm_ioctl header{};
    fill_header(header, buffer_.size());
    std::copy(name.begin(), name.end(), header.name);
    // Sector 0 and the final zero are there already: the buffer is filled with zeroes.
    std::memcpy(buffer_.data(), &header, sizeof(header));
    std::memcpy(buffer_.data() + sizeof(header) + offsetof(dm_target_msg, message), text.data(), text.size());
  }

  int send() noexcept override {
    return ::ioctl(control_.get(), DM_TARGET_MSG, buffer_.data()) == 0 ? 0 : errno;
  }

 private:
  UniqueFd control_;
  std::vector<char> buffer_;
};

}  // namespace

std::unique_ptr<PreparedMessage> prepare_control_message(const std::string &name, const std::string &text) {
  return std::make_unique<ControlMessage>(name, text);
}

EventPoll::EventPoll() : control_(open_control()) {}

void EventPoll::arm() {
  dm_ioctl header{};
  fill_header(header, sizeof(header));
  if (::ioctl(control_.get(), DM_DEV_ARM_POLL, &header) != 0) {
    throw Error("wait for", "events of device-mapper", errno);
  }
}

bool EventPoll::wait(std::optional<std::chrono::milliseconds> timeout) {
  pollfd entry{};
  entry.fd = control_.get();
  entry.events = POLLIN;
  int milliseconds = -1;
  if (timeout) {
    milliseconds = static_cast<int>(std::clamp<std::chrono::milliseconds::rep>(timeout->count(), 0, INT_MAX));
  }
  const int ready = ::poll(&entry, 1, milliseconds);
  if (ready < 0 && errno != EINTR) {
    throw Error("wait for", "events of device-mapper", errno);
  }
  return ready > 0;
}

}  // namespace diffsnap::dm
