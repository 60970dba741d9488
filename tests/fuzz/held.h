// SPDX-License-Identifier: GPL-2.0-or-later
//
// A snapshot that must stay right, whatever else is done.
#pragma once

#include "device.h"
#include "lines.h"
#include "stamp.h"

#include <memory>
#include <string>
#include <vector>

namespace fuzz {

class Held {
 public:
  // Origins over the devices, of so many sectors each, and a store of all of
  // another device. Named PREFIX-origin0, -store, -image0 ...
  Held(std::string prefix, const std::vector<std::string> &reals, std::uint64_t sectors,
       const std::string &store);
  ~Held();
  Held(const Held &) = delete;
  Held &operator=(const Held &) = delete;

  const std::vector<std::string> &names() const { return names_; }

  const std::string &store() const { return store_; }

  // All that a refused request must not change, in text.
  std::string state() const;

  // Something that is allowed, and a look at what it touched.
  void use(Random &random);
  // Every sector of each image and origin.
  void check_all();
  // Drops it and takes the devices away.
  void end();

 private:
  struct Member {
    std::unique_ptr<oracle::BlockDevice> origin;
    std::unique_ptr<oracle::BlockDevice> image;
    std::vector<oracle::Content> origin_content;
    std::vector<oracle::Content> image_content;
  };

  void create(const std::string &name, std::uint64_t length, const std::string &target,
              const std::string &args);
  void write(Member &member, bool image, std::uint64_t sector, std::uint64_t count);
  void release(Member &member, std::uint64_t sector, std::uint64_t count);
  void check(Member &member, bool image, std::uint64_t sector, std::uint64_t count);
  void reload(const std::string &name);
  void suspend(const std::string &name);

  const std::string prefix_;
  const std::uint64_t sectors_;
  std::string store_;
  std::vector<std::string> names_;  // in the order of making
  std::vector<Member> members_;
  std::unique_ptr<char, void (*)(void *)> buffer_;
  std::uint64_t versions_ = 0;
};

}  // namespace fuzz
