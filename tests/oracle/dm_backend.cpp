// SPDX-License-Identifier: GPL-2.0-or-later
//
// Snapshots by device-mapper: of the diffsnap targets, with the messages that
// dm-diffsnap.rst documents, and of the kernel's own dm-snapshot.
#include "device.h"

#include "dm.h"

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <sstream>

namespace oracle {

namespace {

// Names that are made are names that are removed, in reverse.
class Names {
 public:
  explicit Names(std::string prefix) : prefix_(std::move(prefix)) {
    const auto left = dm::list(prefix_ + "-");

    if (!left.empty())
      throw EnvironmentError("there is a device named " + left[0] + " already");
  }

  ~Names() {
    while (!made_.empty())
      if (const int error = remove(made_.back())) {
        std::fprintf(stderr, "oracle: cannot remove %s: %s\n", made_.back().c_str(), std::strerror(error));
        made_.pop_back();
      }
  }

  Names(const Names &) = delete;
  Names &operator=(const Names &) = delete;

  std::string make(const std::string &suffix, const std::vector<dm::TableLine> &table) {
    const std::string name = prefix_ + "-" + suffix;

    dm::create(name, table);
    made_.push_back(name);
    return name;
  }

  int remove(const std::string &name) {
    const int error = dm::remove(name);

    if (!error)
      made_.erase(std::remove(made_.begin(), made_.end(), name), made_.end());
    return error;
  }

  void must_remove(const std::string &name) {
    if (const int error = remove(name))
      throw CheckFailure("cannot remove " + name + ": " + std::strerror(error));
  }

 private:
  std::string prefix_;
  std::vector<std::string> made_;
};

std::uint64_t size_of(const std::string &path, std::uint64_t limit) {
  return open_device(path, limit)->sectors();
}

std::vector<std::string> words_of(const std::string &line) {
  std::istringstream stream(line);
  std::vector<std::string> words;

  for (std::string word; stream >> word;)
    words.push_back(word);
  return words;
}

class DiffsnapBackend : public Backend {
 public:
  explicit DiffsnapBackend(const DmBackendOptions &options) : options_(options), names_(options.prefix) {
    for (const std::string &path : options.real) {
      const std::uint64_t size = size_of(path, options.origin_sectors);
      const std::string name =
          names_.make("origin" + std::to_string(origin_names_.size()), {{0, size, "diffsnap-origin", path}});

      origin_names_.push_back(name);
    }
    for (std::string name : options.origin) {
      const std::string directory = "/dev/mapper/";

      if (name.compare(0, directory.size(), directory) == 0)
        name.erase(0, directory.size());
      origin_names_.push_back(name);
    }
    for (const std::string &name : origin_names_) {
      origin_devices_.push_back(open_device(dm::node(name)));
      cuts_before_.push_back(0);
    }
    images_.resize(origin_names_.size());
  }

  std::size_t origins() const override { return origin_names_.size(); }

  BlockDevice &origin(std::size_t index) override { return *origin_devices_[index]; }

  BlockDevice &image(std::size_t index) override { return *images_[index]; }

  unsigned chunk_sectors() const override { return options_.chunk_sectors; }

  bool image_discards() const override { return true; }

  bool invalid_together() const override { return true; }

  void begin() override {
    std::string args = options_.store + " " + std::to_string(options_.chunk_sectors);

    if (!options_.store_args.empty())
      args += " " + std::to_string(words_of(options_.store_args).size()) + " " + options_.store_args;
    store_ =
        names_.make("store", {{0, size_of(options_.store, options_.store_sectors), "diffsnap-store", args}});
    expect_state("new");
    for (std::size_t i = 0; i < origin_names_.size(); i++) {
      const std::string &name = origin_names_[i];

      expect_origin(i, "idle");
      if (const int error = dm::message(store_, "add " + dm::node(name)))
        throw CheckFailure("add " + name + ": " + std::strerror(error));
      expect_origin(i, "added");
      cuts_before_[i] = number_field(i, cuts_field);
    }
  }

  int cut() override {
    std::string text = "cut";

    if (options_.cut_limit_ms)
      text += " " + std::to_string(options_.cut_limit_ms);

    const int error = dm::message(store_, text);

    if (error) {
      expect_state("new");
      for (std::size_t i = 0; i < origin_names_.size(); i++) {
        expect_origin(i, "added");
        if (number_field(i, cuts_field) != cuts_before_[i])
          throw CheckFailure(origin_names_[i] + " counts a cut that failed");
      }
    }
    return error;
  }

  // Goes on where it failed before.
  void make_images() override {
    for (std::size_t i = 0; i < origin_names_.size(); i++) {
      if (number_field(i, cuts_field) != cuts_before_[i] + 1)
        throw CheckFailure(origin_names_[i] + " does not count its cut");
      if (i == image_names_.size())
        image_names_.push_back(names_.make("image" + std::to_string(i),
                                           {{0, origin_devices_[i]->sectors(), "diffsnap-image",
                                             dm::node(store_) + " " + dm::node(origin_names_[i])}}));
      images_[i] = open_device(dm::node(image_names_[i]));
      if (images_[i]->block_sectors() != origin_devices_[i]->block_sectors())
        throw CheckFailure("the logical block of " + image_names_[i] + " is " +
                           std::to_string(images_[i]->block_sectors()) + " sectors, that of its origin " +
                           std::to_string(origin_devices_[i]->block_sectors()));
    }
  }

  SnapshotStatus status() override {
    SnapshotStatus result;
    const auto lines = dm::status(store_);

    if (lines.size() != 1 || lines[0].target != "diffsnap-store")
      throw CheckFailure("the store lost its table");
    result.text = lines[0].args;

    const auto words = words_of(result.text);
    const auto members = words.size() > members_field ? std::stoull(words[members_field]) : std::uint64_t{0};

    if (words.size() <= members_field || words.size() != members_field + 1 + members * 4)
      throw CheckFailure("the store's status is not as documented: " + result.text);
    result.valid = words[0] == "active" || words[0] == "low" || words[0] == "new";
    result.closed_ns = std::stoull(words[closed_field]);
    return result;
  }

  void end() override {
    if (store_.empty())
      return;
    if (const int error = dm::message(store_, "drop"))
      throw CheckFailure(std::string("drop: ") + std::strerror(error));
    expect_state("dropped");
    for (std::size_t i = 0; i < image_names_.size() && images_[i]; i++) {
      std::vector<char> space(3 * 4096);
      void *buffer = space.data();
      std::size_t room = space.size();

      std::align(4096, 4096, buffer, room);

      const int error = images_[i]->read(buffer, 0, images_[i]->block_sectors());

      if (error != EIO)
        throw CheckFailure("a read of " + image_names_[i] + " after drop: " + std::strerror(error) +
                           ", not an I/O error");
    }
    for (auto &image : images_)
      image.reset();
    while (!image_names_.empty()) {
      names_.must_remove(image_names_.back());
      image_names_.pop_back();
    }
    for (std::size_t i = 0; i < origin_names_.size(); i++)
      expect_origin(i, "idle");
    names_.must_remove(store_);
    store_.clear();
  }

  OriginCounters counters(std::size_t index) override {
    return OriginCounters{number_field(index, copies_field), number_field(index, held_field)};
  }

  TrackedSnapshot tracked(std::size_t index) override {
    const auto words = origin_words(index);

    if (words.empty())
      throw CheckFailure(origin_names_[index] + " is no origin any more");
    return TrackedSnapshot{words[generation_field], std::stoull(words[cuts_field])};
  }

  std::vector<SectorRange> changes(std::size_t index, const TrackedSnapshot &since) override {
    const std::string question = "changes " + since.generation + " " + std::to_string(since.number) + " ";
    std::vector<SectorRange> ranges;

    for (std::string next = "0"; next != "-";) {
      const auto words = words_of(dm::ask(origin_names_[index], question + next));

      for (std::size_t i = 1; i < words.size(); i++) {
        SectorRange range;

        if (std::sscanf(words[i].c_str(), "%" SCNu64 "+%" SCNu64, &range.sector, &range.count) != 2)
          throw CheckFailure("no range of changes: " + words[i]);
        ranges.push_back(range);
      }
      next = words.at(0);
    }
    return ranges;
  }

 private:
  static constexpr std::size_t copies_field = 2;
  static constexpr std::size_t held_field = 4;
  static constexpr std::size_t generation_field = 5;
  static constexpr std::size_t cuts_field = 6;
  static constexpr std::size_t origin_fields = 8;
  static constexpr std::size_t closed_field = 5;
  static constexpr std::size_t members_field = 6;

  std::vector<std::string> origin_words(std::size_t index) {
    const auto lines = dm::status(origin_names_[index]);

    if (lines.size() != 1 || lines[0].target != "diffsnap-origin")
      return {};  // a test put another table there
    auto words = words_of(lines[0].args);

    if (words.size() != origin_fields)
      throw CheckFailure("the origin's status is not as documented: " + lines[0].args);
    return words;
  }

  std::uint64_t number_field(std::size_t index, std::size_t field) {
    const auto words = origin_words(index);

    return words.empty() ? 0 : std::stoull(words[field]);
  }

  void expect_origin(std::size_t index, const char *state) {
    const auto words = origin_words(index);

    if (words.empty())
      return;
    if (words[0] != state)
      throw CheckFailure(origin_names_[index] + " is " + words[0] + ", not " + state);

    const std::string store = words[0] == "idle" ? "-" : dm::number(store_);

    if (words[1] != store)
      throw CheckFailure(origin_names_[index] + " names " + words[1] + " as its store, not " + store);
  }

  void expect_state(const char *state) {
    const std::string text = status().text;

    if (words_of(text)[0] != state)
      throw CheckFailure(store_ + " is " + text + ", not " + state);
  }

  const DmBackendOptions options_;
  Names names_;
  std::vector<std::string> origin_names_;
  std::vector<std::uint64_t> cuts_before_;
  std::string store_;
  std::vector<std::string> image_names_;
  // destroyed first: closed before the names are removed
  std::vector<std::unique_ptr<BlockDevice>> origin_devices_;
  std::vector<std::unique_ptr<BlockDevice>> images_;
};

class DmSnapshotBackend : public Backend {
 public:
  explicit DmSnapshotBackend(const DmBackendOptions &options) : options_(options), names_(options.prefix) {
    if (!options.origin.empty())
      throw EnvironmentError("dm-snapshot takes real devices only");
    for (const std::string &path : options.real) {
      const std::string index = std::to_string(origin_names_.size());
      const std::uint64_t size = size_of(path, options.origin_sectors);

      // snapshot and snapshot-origin must name the same device
      real_names_.push_back(names_.make("real" + index, {{0, size, "linear", path + " 0"}}));
      origin_names_.push_back(
          names_.make("origin" + index, {{0, size, "snapshot-origin", dm::node(real_names_.back())}}));
      origin_devices_.push_back(open_device(dm::node(origin_names_.back())));
    }
    images_.resize(origin_names_.size());

    const std::uint64_t each =
        (size_of(options.store, options.store_sectors) / origin_names_.size()) & ~std::uint64_t{2047};

    for (std::size_t i = 0; i < origin_names_.size(); i++)
      store_names_.push_back(
          names_.make("store" + std::to_string(i),
                      {{0, each, "linear", options.store + " " + std::to_string(each * i)}}));
  }

  std::size_t origins() const override { return origin_names_.size(); }

  BlockDevice &origin(std::size_t index) override { return *origin_devices_[index]; }

  BlockDevice &image(std::size_t index) override { return *images_[index]; }

  unsigned chunk_sectors() const override { return options_.chunk_sectors; }

  bool image_discards() const override { return false; }

  bool invalid_together() const override { return false; }

  void begin() override {}

  int cut() override {
    for (const std::string &name : origin_names_)
      dm::suspend(name);
    try {
      for (std::size_t i = 0; i < origin_names_.size(); i++)
        image_names_.push_back(names_.make("image" + std::to_string(i),
                                           {{0, origin_devices_[i]->sectors(), "snapshot",
                                             dm::node(real_names_[i]) + " " + dm::node(store_names_[i]) +
                                                 " N " + std::to_string(options_.chunk_sectors)}}));
    } catch (...) {
      for (const std::string &name : origin_names_)
        dm::resume(name);
      throw;
    }
    for (const std::string &name : origin_names_)
      dm::resume(name);
    return 0;
  }

  void make_images() override {
    for (std::size_t i = 0; i < origin_names_.size(); i++)
      images_[i] = open_device(dm::node(image_names_[i]));
  }

  SnapshotStatus status() override {
    SnapshotStatus result;

    for (const std::string &name : image_names_) {
      const std::string text = dm::status(name).at(0).args;

      result.text += (result.text.empty() ? "" : ", ") + text;
      if (text == "Invalid" || text == "Overflow")
        result.valid = false;
    }
    return result;
  }

  void end() override {
    for (auto &image : images_)
      image.reset();
    while (!image_names_.empty()) {
      names_.must_remove(image_names_.back());
      image_names_.pop_back();
    }
  }

  OriginCounters counters(std::size_t) override { return OriginCounters{}; }

 private:
  const DmBackendOptions options_;
  Names names_;
  std::vector<std::string> real_names_;
  std::vector<std::string> origin_names_;
  std::vector<std::string> store_names_;
  std::vector<std::string> image_names_;
  std::vector<std::unique_ptr<BlockDevice>> origin_devices_;
  std::vector<std::unique_ptr<BlockDevice>> images_;
};

}  // namespace

std::unique_ptr<Backend> make_diffsnap_backend(const DmBackendOptions &options) {
  return std::make_unique<DiffsnapBackend>(options);
}

std::unique_ptr<Backend> make_dm_snapshot_backend(const DmBackendOptions &options) {
  return std::make_unique<DmSnapshotBackend>(options);
}

}  // namespace oracle
