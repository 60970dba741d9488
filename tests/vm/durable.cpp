// SPDX-License-Identifier: GPL-2.0-or-later
//
// What was fsynced before the power was cut must be there afterwards. The load,
// the record of what it was promised (kept outside the machine), and the check.
#include "device.h"
#include "stamp.h"

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

using oracle::EnvironmentError;
using oracle::sector_size;

namespace {

constexpr const char *usage_text =
    R"(Usage: durable write DIRECTORY PROMISES CYCLE    until it is killed
       durable check DIRECTORY PROMISES
       durable unflushed DEVICE PROMISES CYCLE   writes without any flush, until killed
       durable lost DEVICE PROMISES              prints how many of these are not there

PROMISES is a file that gets a line for whatever was promised to be durable.
CYCLE is a number that goes up with each boot.
Status: 0 all is right, 1 something promised is not there, 2 it could not be tried.
)";

constexpr int exit_wrong = 1;
constexpr int exit_trouble = 2;

constexpr std::uint64_t block_sectors = 8;
constexpr std::size_t block_bytes = block_sectors * sector_size;
constexpr unsigned threads = 3;
constexpr unsigned blocks = 256;
constexpr unsigned kept_files = 12;
constexpr unsigned cycle_shift = 24;

class File {
 public:
  File(const std::string &path, int flags) : fd_(open(path.c_str(), flags | O_CLOEXEC, 0600)), path_(path) {
    if (fd_ < 0)
      throw EnvironmentError("cannot open " + path + ": " + std::strerror(errno));
  }

  ~File() { close(fd_); }

  File(const File &) = delete;
  File &operator=(const File &) = delete;

  void write(const void *data, std::size_t bytes, std::uint64_t at) {
    if (pwrite(fd_, data, bytes, static_cast<off_t>(at)) != static_cast<ssize_t>(bytes))
      throw EnvironmentError("cannot write " + path_ + ": " + std::strerror(errno));
  }

  bool read(void *data, std::size_t bytes, std::uint64_t at) {
    return pread(fd_, data, bytes, static_cast<off_t>(at)) == static_cast<ssize_t>(bytes);
  }

  void sync(bool data_only = false) {
    if (data_only ? fdatasync(fd_) : fsync(fd_))
      throw EnvironmentError("cannot sync " + path_ + ": " + std::strerror(errno));
  }

  // One write of its own, which is there when this returns.
  void append(const std::string &line) {
    if (::write(fd_, line.data(), line.size()) != static_cast<ssize_t>(line.size()))
      throw EnvironmentError("cannot write " + path_ + ": " + std::strerror(errno));
  }

 private:
  int fd_;
  const std::string path_;
};

using Buffer = std::unique_ptr<char, void (*)(void *)>;

Buffer make_buffer() {
  Buffer buffer(static_cast<char *>(std::aligned_alloc(block_bytes, block_bytes)), std::free);

  if (!buffer)
    throw std::bad_alloc();
  return buffer;
}

// The number that a whole block of this place holds, or 0.
std::uint64_t block_number(const char *block, std::uint32_t device, std::uint64_t index) {
  std::uint64_t number = 0;

  for (std::uint64_t i = 0; i < block_sectors; i++) {
    const auto found = oracle::read_stamp(block + i * sector_size);

    if (found.state != oracle::SectorState::stamped || found.stamp.device != device ||
        found.stamp.sector != index * block_sectors + i || (i && found.stamp.version != number))
      return 0;
    number = found.stamp.version;
  }
  return number;
}

std::string ring_name(const std::string &directory, unsigned thread) {
  return directory + "/ring-" + std::to_string(thread);
}

std::string file_name(const std::string &directory, unsigned thread, std::uint64_t number) {
  return directory + "/file-" + std::to_string(thread) + "-" + std::to_string(number);
}

// "block <thread> <index> <number>", "file <thread> <number>", and before a file
// is removed "gone <thread> <number>"
void write_thread(const std::string &directory, File &promises, unsigned thread, std::uint64_t cycle) {
  std::mt19937_64 random(cycle * threads + thread);
  std::uint64_t number = cycle << cycle_shift;
  const Buffer buffer = make_buffer();
  File ring(ring_name(directory, thread), O_RDWR | O_CREAT);
  File parent(directory, O_RDONLY | O_DIRECTORY);
  std::vector<std::uint64_t> files;
  const std::string id = std::to_string(thread);

  for (;;) {
    const std::uint64_t index = random() % blocks;

    number++;
    oracle::write_stamps(buffer.get(), thread + 1, index * block_sectors, block_sectors, number);
    ring.write(buffer.get(), block_bytes, index * block_bytes);
    ring.sync(random() % 2);
    promises.append("block " + id + " " + std::to_string(index) + " " + std::to_string(number) + "\n");
    if (random() % 4)
      continue;

    const std::string name = file_name(directory, thread, number);
    {
      File file(name + ".new", O_RDWR | O_CREAT | O_TRUNC);

      oracle::write_stamps(buffer.get(), thread + 1, 0, block_sectors, number);
      file.write(buffer.get(), block_bytes, 0);
      file.sync();
    }
    if (rename((name + ".new").c_str(), name.c_str()))
      throw EnvironmentError("cannot rename to " + name + ": " + std::strerror(errno));
    parent.sync();
    promises.append("file " + id + " " + std::to_string(number) + "\n");
    files.push_back(number);
    if (files.size() > kept_files) {
      promises.append("gone " + id + " " + std::to_string(files.front()) + "\n");
      unlink(file_name(directory, thread, files.front()).c_str());
      files.erase(files.begin());
    }
  }
}

int write_command(const std::string &directory, const std::string &promises_path, std::uint64_t cycle) {
  File promises(promises_path, O_WRONLY | O_CREAT | O_APPEND);
  std::vector<std::thread> running;

  for (unsigned thread = 0; thread < threads; thread++)
    running.emplace_back([&, thread] {
      try {
        write_thread(directory, promises, thread, cycle);
      } catch (const std::exception &error) {
        std::fprintf(stderr, "durable: %s\n", error.what());
        _exit(exit_trouble);
      }
    });
  for (std::thread &thread : running)
    thread.join();
  return 0;
}

// Hands over the lines one after the other; false: the line is none that is ever
// written. A last one without its newline was being written when the power was cut,
// and has promised nothing. Any other that is not whole, or none at all, is no
// record of a load.
void for_promises(const std::string &path, const std::function<bool(std::istringstream &)> &take) {
  std::ifstream promises(path);
  std::uint64_t all = 0;

  if (!promises)
    throw EnvironmentError("cannot read " + path);
  for (std::string line; std::getline(promises, line) && !promises.eof();) {
    std::istringstream words(line);

    all++;
    if (!take(words) || !(words >> std::ws).eof())
      throw EnvironmentError(path + ", line " + std::to_string(all) + ": '" + line + "' is no promise");
  }
  if (!promises.eof())
    throw EnvironmentError("cannot read all of " + path);
  if (!all)
    throw EnvironmentError("nothing was promised in " + path);
}

int check_command(const std::string &directory, const std::string &promises_path) {
  std::map<std::pair<unsigned, std::uint64_t>, std::uint64_t> ring;
  std::set<std::pair<unsigned, std::uint64_t>> files;
  const Buffer buffer = make_buffer();
  unsigned wrong = 0;

  for_promises(promises_path, [&](std::istringstream &words) {
    std::string kind;
    unsigned thread = 0;
    std::uint64_t index = 0, number = 0;

    words >> kind >> thread;
    if (kind == "block")
      words >> index;
    if (!(words >> number))
      return false;
    if (kind == "block")
      ring[{thread, index}] = number;
    else if (kind == "file")
      files.insert({thread, number});
    else if (kind == "gone")
      files.erase({thread, number});
    else
      return false;
    return true;
  });
  for (const auto &block : ring) {
    const auto [id, index] = block.first;
    File file(ring_name(directory, id), O_RDONLY);
    const std::uint64_t found = file.read(buffer.get(), block_bytes, index * block_bytes)
                                    ? block_number(buffer.get(), id + 1, index)
                                    : 0;

    if (found >= block.second)
      continue;
    wrong++;
    std::printf("durable: %s block %llu: write %llu was fsynced, %s\n", ring_name(directory, id).c_str(),
                static_cast<unsigned long long>(index), static_cast<unsigned long long>(block.second),
                found ? ("write " + std::to_string(found) + " is there").c_str()
                      : oracle::describe_sector(buffer.get()).c_str());
  }
  for (const auto &promised : files) {
    const std::string name = file_name(directory, promised.first, promised.second);
    const int fd = open(name.c_str(), O_RDONLY | O_CLOEXEC);
    const bool right = fd >= 0 &&
                       pread(fd, buffer.get(), block_bytes, 0) == static_cast<ssize_t>(block_bytes) &&
                       block_number(buffer.get(), promised.first + 1, 0) == promised.second;

    if (fd >= 0)
      close(fd);
    if (right)
      continue;
    wrong++;
    std::printf("durable: %s was fsynced and is %s\n", name.c_str(), fd < 0 ? "not there" : "something else");
  }
  std::printf("durable: %s: %zu blocks and %zu files promised, %u wrong\n", directory.c_str(), ring.size(),
              files.size(), wrong);
  return wrong ? exit_wrong : 0;
}

// "block <index> <number>"
int unflushed_command(const std::string &path, const std::string &promises_path, std::uint64_t cycle) {
  const auto device = oracle::open_device(path);
  File promises(promises_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND);
  const Buffer buffer = make_buffer();

  for (std::uint64_t index = 0; (index + 1) * block_sectors <= device->sectors(); index++) {
    oracle::write_stamps(buffer.get(), 1, index * block_sectors, block_sectors, cycle + 1);
    if (const int error =
            device->write(buffer.get(), index * block_sectors, block_sectors, oracle::write_plain))
      throw EnvironmentError("cannot write " + path + ": " + std::strerror(error));
    promises.append("block " + std::to_string(index) + " " + std::to_string(cycle + 1) + "\n");
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return 0;
}

int lost_command(const std::string &path, const std::string &promises_path) {
  const auto device = oracle::open_device(path);
  const Buffer buffer = make_buffer();
  std::uint64_t lost = 0, all = 0;

  for_promises(promises_path, [&](std::istringstream &words) {
    std::string kind;
    std::uint64_t index = 0, number = 0;

    if (!(words >> kind >> index >> number) || kind != "block")
      return false;
    all++;
    if (device->read(buffer.get(), index * block_sectors, block_sectors) ||
        block_number(buffer.get(), 1, index) != number)
      lost++;
    return true;
  });
  std::printf("%llu of %llu\n", static_cast<unsigned long long>(lost), static_cast<unsigned long long>(all));
  return 0;
}

}  // namespace

int main(int argc, char **argv) {
  const std::vector<std::string> args(argv + 1, argv + argc);

  try {
    if (args.size() == 4 && args[0] == "write")
      return write_command(args[1], args[2], std::stoull(args[3]));
    if (args.size() == 3 && args[0] == "check")
      return check_command(args[1], args[2]);
    if (args.size() == 4 && args[0] == "unflushed")
      return unflushed_command(args[1], args[2], std::stoull(args[3]));
    if (args.size() == 3 && args[0] == "lost")
      return lost_command(args[1], args[2]);
    std::fputs(usage_text, stderr);
  } catch (const std::exception &error) {
    std::fprintf(stderr, "durable: %s\n", error.what());
  }
  return exit_trouble;
}
