// SPDX-License-Identifier: GPL-2.0-or-later
//
// Backs a block device up into a file: all of it the first time, later what has changed since the last time.
// Which snapshot the file is a copy of stands beside it, in FILE.since.
//
//   c++ -std=c++17 backup.cpp $(pkg-config --cflags --libs diffsnap) -o backup
//   ./backup /dev/vg/data /dev/vg/store /srv/backup/data
#include <diffsnap/diffsnap.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <iostream>

namespace {

struct File {
  File(const std::string &path, int flags) : name(path), fd(open(path.c_str(), flags | O_CLOEXEC, 0600)) {
    must(fd >= 0, "open");
  }
  ~File() { close(fd); }
  void must(bool good, const std::string &verb) const {
    if (!good) {
      throw std::system_error(errno, std::generic_category(), "cannot " + verb + ' ' + name);
    }
  }
  const std::string name;
  const int fd;
};

/** Copies what is listed. Once a snapshot was given up reads of its images fail: what was read is right. */
std::uint64_t copy(diffsnap::Changes &changes, const File &file) {
  const File image(changes.image().path, O_RDONLY);
  std::vector<char> data(1 << 20);
  std::uint64_t copied = 0;
  while (auto range = changes.next()) {
    for (std::uint64_t end = range->offset + range->length; range->offset < end; copied += data.size()) {
      data.resize(std::min<std::uint64_t>(end - range->offset, 1 << 20));
      const auto offset = static_cast<off_t>(range->offset);
      const auto size = static_cast<ssize_t>(data.size());
      image.must(pread(image.fd, data.data(), data.size(), offset) == size, "read");
      file.must(pwrite(file.fd, data.data(), data.size(), offset) == size, "write");
      range->offset += data.size();
    }
  }
  return copied;
}

void backup(diffsnap::Manager &manager, const diffsnap::Image &image, const std::string &name) {
  std::optional<diffsnap::ChangeId> since;
  if (std::string line; std::ifstream(name + ".since") >> line) {
    since = diffsnap::ChangeId::parse(line);
  }
  // In another generation nobody knows what was written since.
  if (since && since->generation != image.id.value().generation) {
    since.reset();
  }
  diffsnap::Changes changes = manager.changes(image, since);
  // Half of one snapshot and half of another is no backup: if this breaks off, the next one is a full one.
  std::remove((name + ".since").c_str());
  const File file(name, O_WRONLY | O_CREAT);
  file.must(ftruncate(file.fd, static_cast<off_t>(image.size)) == 0, "resize");
  const std::uint64_t copied = copy(changes, file);
  file.must(fsync(file.fd) == 0, "write out");
  std::ofstream(name + ".since") << changes.image().id.value().to_string() << '\n';
  std::cout << (since ? "incremental" : "full") << " backup: " << copied << " bytes copied\n";
}

}  // namespace

int main(int argc, char **argv) try {
  if (argc != 4) {
    throw std::system_error(EINVAL, std::generic_category(), "usage: backup DEVICE STORE FILE");
  }
  diffsnap::Manager manager;
  // Once for each device: what is written is tracked from then on, also when this program has ended.
  if (!manager.find_origin(argv[1])) {
    std::cout << argv[1] << " is to be used as " << manager.attach(argv[1]).origin.path << " from now on\n";
  }
  diffsnap::CreateOptions options;
  options.name = "backup";
  options.origins = {argv[1]};
  options.stores = {{argv[2]}};
  const diffsnap::Snapshot snapshot = manager.create(options).snapshot;
  try {
    backup(manager, snapshot.images.front(), argv[3]);
  } catch (...) {
    manager.remove(snapshot.name);
    throw;
  }
  manager.remove(snapshot.name);
  return 0;
} catch (const std::exception &error) {
  std::cerr << "backup: " << error.what() << '\n';
  return 5;
}
