// SPDX-License-Identifier: GPL-2.0-or-later
//
// The only file that includes libblkid.
#include "sys/blkid.h"

#include <blkid/blkid.h>
#include <fcntl.h>

#include <cerrno>
#include <cstdlib>
#include <memory>

#include "base/error.h"
#include "base/unique_fd.h"

namespace diffsnap::sys {

namespace {

struct ProbeDestroyer {
  void operator()(blkid_struct_probe *probe) const noexcept { blkid_free_probe(probe); }
};
using Probe = std::unique_ptr<blkid_struct_probe, ProbeDestroyer>;

struct FreeDeleter {
  void operator()(char *text) const noexcept { std::free(text); }
};

std::optional<std::string> value(blkid_probe probe, const char *name) {
  const char *data = nullptr;
  if (blkid_probe_lookup_value(probe, name, &data, nullptr) != 0 || data == nullptr) {
    return std::nullopt;
  }
  return std::string(data);
}

}  // namespace

std::optional<std::string> probe_signature(const std::string &node) {
  const UniqueFd fd(::open(node.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) {
    throw Error("look for signatures on", node, errno);
  }
  const Probe probe(blkid_new_probe());
  if (!probe || blkid_probe_set_device(probe.get(), fd.get(), 0, 0) != 0) {
    throw Error("look for signatures on", node, errno != 0 ? errno : ENOMEM);
  }
  blkid_probe_enable_superblocks(probe.get(), 1);
  blkid_probe_set_superblocks_flags(probe.get(), BLKID_SUBLKS_TYPE);
  blkid_probe_enable_partitions(probe.get(), 1);
  errno = 0;
  switch (blkid_do_safeprobe(probe.get())) {
    case 1:
      return std::nullopt;
    case 0:
      break;
    case -2:
      // Two signatures that contradict are all the more reason to leave the device alone.
      return "several signatures";
    default:
      throw Error("look for signatures on", node, errno != 0 ? errno : EIO);
  }
  if (auto type = value(probe.get(), "TYPE")) {
    return type;
  }
  if (auto table = value(probe.get(), "PTTYPE")) {
    return *table + " partition table";
  }
  return std::nullopt;
}

void wipe_signatures(const std::string &node, std::uint64_t offset, std::uint64_t length) {
  const UniqueFd fd(::open(node.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!fd) {
    throw Error("wipe signatures of", node, errno);
  }
  const Probe probe(blkid_new_probe());
  if (!probe || blkid_probe_set_device(probe.get(), fd.get(), static_cast<blkid_loff_t>(offset),
                                       static_cast<blkid_loff_t>(length)) != 0) {
    throw Error("wipe signatures of", node, errno != 0 ? errno : ENOMEM);
  }
  // Of each chain every signature, valid or not; BLKID_SUBLKS_MAGIC says where it is.
  blkid_probe_enable_superblocks(probe.get(), 1);
  blkid_probe_set_superblocks_flags(probe.get(), BLKID_SUBLKS_MAGIC | BLKID_SUBLKS_BADCSUM);
  blkid_probe_enable_partitions(probe.get(), 1);
  blkid_probe_set_partitions_flags(probe.get(), BLKID_PARTS_MAGIC | BLKID_PARTS_FORCE_GPT);
  while (blkid_do_probe(probe.get()) == 0) {
    errno = 0;
    if (blkid_do_wipe(probe.get(), 0) != 0) {
      throw Error("wipe signatures of", node, errno != 0 ? errno : EIO);
    }
  }
}

std::optional<std::string> find_by_tag(const std::string &tag) {
  const std::unique_ptr<char, FreeDeleter> node(blkid_evaluate_tag(tag.c_str(), nullptr, nullptr));
  if (!node) {
    return std::nullopt;
  }
  return std::string(node.get());
}

}  // namespace diffsnap::sys
