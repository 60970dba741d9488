// SPDX-License-Identifier: GPL-2.0-or-later
#include "held.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>

namespace fuzz {

using oracle::CheckFailure;
using oracle::Content;
using oracle::EnvironmentError;

namespace dm = oracle::dm;

namespace {

constexpr std::uint64_t chunk = 8;
constexpr std::uint64_t max_request = 512;
constexpr std::size_t alignment = 4096;

void must(int error, const std::string &what) {
  if (error)
    throw CheckFailure(what + ": " + std::strerror(error));
}

std::uint64_t size_of(const std::string &path) {
  return oracle::open_device(path)->sectors();
}

}  // namespace

Held::Held(std::string prefix, const std::vector<std::string> &reals, std::uint64_t sectors,
           const std::string &store)
    : prefix_(std::move(prefix)),
      sectors_(sectors),
      buffer_(static_cast<char *>(std::aligned_alloc(alignment, max_request * oracle::sector_size)),
              std::free) {
  if (!buffer_)
    throw std::bad_alloc();
  try {
    for (const std::string &real : reals) {
      const std::string name = prefix_ + "-origin" + std::to_string(members_.size());

      create(name, sectors, "diffsnap-origin", real);

      Member &member = members_.emplace_back();

      member.origin = oracle::open_device(dm::node(name));
      member.origin_content.resize(sectors);
      for (std::uint64_t at = 0; at < sectors; at += max_request)
        write(member, false, at, std::min(max_request, sectors - at));
      member.image_content = member.origin_content;
    }
    store_ = prefix_ + "-store";
    create(store_, size_of(store), "diffsnap-store", store + " " + std::to_string(chunk));
    for (std::size_t i = 0; i < members_.size(); i++)
      must(dm::message(store_, "add " + dm::node(names_[i])), "add " + names_[i]);
    must(dm::message(store_, "cut"), "cut");
    for (std::size_t i = 0; i < members_.size(); i++) {
      const std::string name = prefix_ + "-image" + std::to_string(i);

      create(name, sectors, "diffsnap-image", dm::node(store_) + " " + dm::node(names_[i]));
      members_[i].image = oracle::open_device(dm::node(name));
    }
  } catch (...) {
    members_.clear();
    while (!names_.empty()) {
      dm::remove(names_.back());
      names_.pop_back();
    }
    throw;
  }
}

Held::~Held() {
  members_.clear();
  while (!names_.empty()) {
    if (const int error = dm::remove(names_.back()))
      std::fprintf(stderr, "fuzz: cannot remove %s: %s\n", names_.back().c_str(), std::strerror(error));
    names_.pop_back();
  }
}

void Held::create(const std::string &name, std::uint64_t length, const std::string &target,
                  const std::string &args) {
  dm::create(name, {{0, length, target, args}});
  names_.push_back(name);
}

std::string Held::state() const {
  std::string result;

  for (const std::string &name : names_) {
    for (const auto &line : dm::table(name))
      result += name + ": " + std::to_string(line.length) + " " + line.target + " " + line.args + "\n";
    for (const auto &line : dm::status(name)) {
      std::istringstream words(line.args);
      std::string word;

      // State and reason, or store; the numbers move by themselves, and "low" is
      // "active" with a mark that any message may set.
      for (int i = 0; i < (line.target == "diffsnap-image" ? 1 : 2) && words >> word; i++)
        result += word == "low" ? " active" : " " + word;
      result += "\n";
    }
  }
  return result;
}

void Held::write(Member &member, bool image, std::uint64_t sector, std::uint64_t count) {
  const Content version = oracle::make_version(1, ++versions_) | (image ? oracle::content_image_bit : 0);
  auto &contents = image ? member.image_content : member.origin_content;
  auto &device = image ? *member.image : *member.origin;

  oracle::write_stamps(buffer_.get(), 1, sector, count, version);
  must(device.write(buffer_.get(), sector, count, oracle::write_plain),
       std::string("a write to an ") + (image ? "image" : "origin"));
  std::fill_n(contents.begin() + static_cast<std::ptrdiff_t>(sector), count, version);
}

void Held::release(Member &member, std::uint64_t sector, std::uint64_t count) {
  const std::uint64_t first = (sector + chunk - 1) / chunk * chunk;
  const std::uint64_t last = (sector + count) / chunk * chunk;

  must(member.image->discard(sector, count), "a discard of an image");
  if (first < last)
    std::fill(member.image_content.begin() + static_cast<std::ptrdiff_t>(first),
              member.image_content.begin() + static_cast<std::ptrdiff_t>(last), oracle::content_zero);
}

void Held::check(Member &member, bool image, std::uint64_t sector, std::uint64_t count) {
  const auto &contents = image ? member.image_content : member.origin_content;
  auto &device = image ? *member.image : *member.origin;
  const std::string what = image ? "image" : "origin";

  must(device.read(buffer_.get(), sector, count), "a read of an " + what);
  for (std::uint64_t i = 0; i < count; i++) {
    const char *at = buffer_.get() + i * oracle::sector_size;
    const oracle::Decoded found = oracle::read_stamp(at);
    const Content wanted = contents[sector + i];
    const bool right = wanted == oracle::content_zero
                           ? found.state == oracle::SectorState::zero
                           : found.state == oracle::SectorState::stamped && found.stamp.version == wanted &&
                                 found.stamp.sector == sector + i;

    if (!right)
      throw CheckFailure(prefix_ + ": " + what + " sector " + std::to_string(sector + i) + ": expected " +
                         oracle::describe_content(wanted) + ", found " + oracle::describe_sector(at));
  }
}

// The line that is there, once more.
void Held::reload(const std::string &name) {
  const auto before = dm::table(name);

  must(dm::load(name, before), "a reload of " + name);
  must(dm::activate(name), "a resume of " + name);
  if (dm::table(name).at(0).args != before.at(0).args)
    throw CheckFailure("the table line of " + name + " has changed by a reload of itself");
}

void Held::suspend(const std::string &name) {
  dm::suspend(name);
  dm::resume(name);
}

void Held::use(Random &random) {
  Member &member = members_[random() % members_.size()];
  const std::uint64_t count = 1 + random() % max_request;
  const std::uint64_t sector = random() % (sectors_ - count);
  bool image = true;

  switch (random() % 10) {
    case 0:
      reload(names_[random() % names_.size()]);
      break;
    case 1:
      suspend(names_[random() % names_.size()]);
      break;
    case 2:
      release(member, sector, count);
      break;
    case 3:
    case 4:
      write(member, true, sector, count);
      break;
    case 5:
      image = false;
      break;
    default:
      write(member, false, sector, count);
      break;
  }
  check(member, image, sector, count);
}

void Held::check_all() {
  for (Member &member : members_)
    for (std::uint64_t at = 0; at < sectors_; at += max_request)
      for (const bool image : {false, true})
        check(member, image, at, std::min(max_request, sectors_ - at));
}

void Held::end() {
  must(dm::message(store_, "drop"), "drop");
  for (Member &member : members_)
    if (member.image->read(buffer_.get(), 0, 1) != EIO)
      throw CheckFailure("an image of a dropped snapshot can be read");
  members_.clear();
  while (!names_.empty()) {
    must(dm::remove(names_.back()), "remove " + names_.back());
    names_.pop_back();
  }
}

}  // namespace fuzz
