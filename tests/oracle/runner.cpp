// SPDX-License-Identifier: GPL-2.0-or-later
#include "runner.h"

#include "chain.h"
#include "changes.h"
#include "history.h"
#include "stamp.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <deque>
#include <functional>
#include <mutex>
#include <numeric>
#include <random>
#include <system_error>
#include <thread>

#include <sys/resource.h>
#include <unistd.h>

namespace oracle {

namespace {

using SteadyClock = std::chrono::steady_clock;
using Random = std::mt19937_64;

constexpr std::size_t alignment = 4096;
constexpr std::uint64_t scan_sectors = 1024;
constexpr std::uint64_t max_image_write = 2048;
// Larger buffers are shared, so that many writers do not need much memory.
constexpr std::uint64_t own_buffer_sectors = 512;
constexpr unsigned big_buffers = 4;
constexpr unsigned cut_tries = 20;
constexpr unsigned image_tries = 100;
constexpr std::uint64_t nanoseconds = 1000000000;
constexpr int load_priority = 10;

// There are tens of threads that always have something to do. What the main thread does
// meanwhile, a cut or a command, would wait for all of them each time that it has slept.
void yield_to_main_thread() {
  if (::setpriority(PRIO_PROCESS, 0, load_priority) != 0)  // of this thread alone
    throw std::system_error(errno, std::generic_category(), "setpriority");
}

constexpr std::uint32_t origin_id(std::size_t origin) {
  return static_cast<std::uint32_t>(origin) + 1;
}

constexpr std::uint32_t image_id(std::size_t origin) {
  return static_cast<std::uint32_t>(origin) + 0x10001;
}

class Buffer {
 public:
  explicit Buffer(std::uint64_t sectors)
      : data_(static_cast<char *>(
            std::aligned_alloc(alignment, (sectors * sector_size + alignment - 1) & ~(alignment - 1)))) {
    if (!data_)
      throw std::bad_alloc();
  }

  ~Buffer() { std::free(data_); }

  Buffer(const Buffer &) = delete;
  Buffer &operator=(const Buffer &) = delete;

  char *data() { return data_; }

 private:
  char *data_;
};

class BigBuffers {
 public:
  explicit BigBuffers(std::uint64_t sectors) {
    for (unsigned i = 0; i < big_buffers; i++)
      free_.push_back(std::make_unique<Buffer>(sectors));
  }

  std::unique_ptr<Buffer> take() {
    std::unique_lock<std::mutex> lock(mutex_);

    freed_.wait(lock, [&] { return !free_.empty(); });

    auto buffer = std::move(free_.back());

    free_.pop_back();
    return buffer;
  }

  void give(std::unique_ptr<Buffer> buffer) {
    {
      std::lock_guard<std::mutex> guard(mutex_);

      free_.push_back(std::move(buffer));
    }
    freed_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable freed_;
  std::vector<std::unique_ptr<Buffer>> free_;
};

struct Range {
  std::uint64_t sector = 0;
  std::uint64_t count = 0;

  std::uint64_t end() const { return sector + count; }

  bool overlaps(const Range &other) const { return sector < other.end() && other.sector < end(); }
};

// Visits every number below n once, in an order that looks random.
class Permutation {
 public:
  Permutation(std::uint64_t n, Random &random) : n_(n), offset_(random() % n) {
    do
      step_ = 1 + random() % n;
    while (std::gcd(step_, n) != 1);
  }

  std::uint64_t operator()(std::uint64_t k) const { return (k % n_ * step_ + offset_) % n_; }

 private:
  std::uint64_t n_;
  std::uint64_t step_ = 1;
  std::uint64_t offset_;
};

struct Target {
  Target(Clock &clock, BlockDevice &dev, unsigned chunk)
      : device(dev),
        origin(clock, dev.sectors()),
        image(clock, dev.sectors()),
        chunks((dev.sectors() + chunk - 1) / chunk),
        written((chunks + 63) / 64) {}

  BlockDevice &device;
  History origin;
  History image;
  std::uint64_t chunks;
  // chunks with a write since the cut
  std::vector<std::atomic<std::uint64_t>> written;
  std::unique_ptr<Permutation> hot_order;
  std::atomic<std::uint64_t> hot{0};
  std::atomic<std::uint64_t> sequential{0};
  std::atomic<bool> can_discard{true};
  std::atomic<bool> image_can_discard{true};
  std::vector<Range> reserved;  // of the chains
  std::atomic<Time> invalid_since{time_never};
  // image writers do not touch the same sectors at a time
  std::mutex image_ranges_mutex;
  std::vector<Range> image_ranges;
};

// What each thread does at the moment, for the one who looks for hung ones.
struct Activity {
  std::atomic<std::int64_t> since{0};  // ns; 0: nothing
  std::atomic<const char *> what{""};
  std::atomic<std::uint64_t> sector{0};
  std::atomic<std::size_t> origin{0};
};

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(SteadyClock::now().time_since_epoch()).count();
}

class Busy {
 public:
  Busy(Activity &activity, const char *what, std::size_t origin, std::uint64_t sector)
      : activity_(activity), start_(now_ns()) {
    activity_.what = what;
    activity_.origin = origin;
    activity_.sector = sector;
    activity_.since = start_;
  }

  ~Busy() { activity_.since = 0; }

  Busy(const Busy &) = delete;
  Busy &operator=(const Busy &) = delete;

  std::uint64_t elapsed_us() const { return static_cast<std::uint64_t>(now_ns() - start_) / 1000; }

 private:
  Activity &activity_;
  std::int64_t start_;
};

class Counter {
 public:
  void add(std::uint64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }

  void at_least(std::uint64_t n) {
    std::uint64_t old = value_;

    while (old < n && !value_.compare_exchange_weak(old, n))
      ;
  }

  std::uint64_t get() const { return value_; }

 private:
  std::atomic<std::uint64_t> value_{0};
};

class Runner {
 public:
  Runner(Backend &backend, const RunOptions &options, Report &report);
  ~Runner();

  void run();
  void fill(Report &report) const;

 private:
  struct Worker {
    unsigned id;  // of the writer, in stamps
    std::size_t origin;
    Random random;
    Activity *activity;
  };

  void stamp_origins();
  void round();
  bool make_images();
  void make_chains();

  template <typename Method>
  void start(std::vector<std::thread> &threads, std::size_t origin, Method method);
  void stop(std::atomic<bool> &flag, std::vector<std::thread> &threads);

  void write_origin(Worker &worker);
  void write_chain(Worker &worker, std::size_t chain);
  void write_image(Worker &worker);
  void read_image(Worker &worker);

  bool origin_write(Worker &worker, const Range &range, Content version, unsigned flags, char *buffer);
  void origin_discard(Worker &worker, const Range &range);
  void origin_zeroes(Worker &worker, const Range &range);
  bool origin_result(const Worker &worker, const char *what, const Range &range, int error);
  void image_discard(Worker &worker, const Range &range);
  bool image_result(Worker &worker, const char *what, const Range &range, int error);

  bool pick(Worker &worker, std::uint64_t max, bool hot, Range &range);
  bool mark_first(Target &target, const Range &range);
  bool check_image(Activity &activity, std::size_t origin, const Range &range, char *buffer,
                   bool *was_read = nullptr);
  void check_image_all(std::size_t origin);
  void check_origin_all(std::size_t origin);
  void check_chains();
  void check_refused(std::size_t origin);
  void judge();
  bool decode(std::size_t origin, bool image, const Range &range, const char *buffer,
              std::vector<Content> &contents, const Look &look);
  void mismatch(std::size_t origin, bool image, const Mismatch &what, const char *sector);

  void fail(const std::string &text);
  void pause(double seconds);
  void command(const std::string &text);
  bool over() const;
  void find_hung();
  void forget_activities();

  std::uint64_t next_number() { return numbers_.fetch_add(1) + 1; }

  bool chance(Worker &worker, double probability) {
    return std::uniform_real_distribution<>(0, 1)(worker.random) < probability;
  }

  Backend &backend_;
  const RunOptions &options_;
  Report &report_;
  ChangeCheck change_check_{backend_};
  Clock clock_;
  Random random_;
  SteadyClock::time_point begin_ = SteadyClock::now();
  std::vector<std::unique_ptr<Target>> targets_;
  std::vector<std::vector<ChainLink>> chains_;
  std::vector<std::uint64_t> chain_numbers_;
  std::unique_ptr<BigBuffers> big_;
  std::mutex activities_mutex_;
  std::deque<Activity> activities_;  // the first is the main thread's
  std::atomic<bool> stop_watch_{false};
  std::thread watch_;
  std::atomic<std::uint64_t> numbers_{0};
  unsigned writers_ = 0;

  std::atomic<bool> stop_writers_{false};
  std::atomic<bool> stop_images_{false};
  std::atomic<bool> is_cut_{false};
  std::atomic<bool> image_errors_{false};
  std::vector<std::thread> writer_threads_;
  std::vector<std::thread> image_threads_;

  mutable std::mutex failure_mutex_;
  std::string failure_;
  std::atomic<bool> failed_{false};

  Counter write_count_, write_sectors_, durable_, nowait_, nowait_refused_, nowait_unsupported_, discards_,
      zeroes_, flushes_, origin_errors_, image_reads_, image_read_sectors_, image_read_errors_, races_,
      first_races_, mixed_, image_writes_, image_write_sectors_, image_no_space_, image_discards_,
      image_zeroes_, max_write_us_;
};

Runner::Runner(Backend &backend, const RunOptions &options, Report &report)
    : backend_(backend),
      options_(options),
      report_(report),
      random_(options.seed),
      big_(std::make_unique<BigBuffers>(std::max({options.max_sectors, scan_sectors, max_image_write}))) {
  for (std::size_t i = 0; i < backend.origins(); i++)
    targets_.push_back(std::make_unique<Target>(clock_, backend.origin(i), backend.chunk_sectors()));
  make_chains();
  forget_activities();
  watch_ = std::thread([this] {
    while (!stop_watch_) {
      find_hung();
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  });
}

Runner::~Runner() {
  stop(stop_images_, image_threads_);
  stop(stop_writers_, writer_threads_);
  stop_watch_ = true;
  watch_.join();
}

// All but that of the main thread.
void Runner::forget_activities() {
  std::lock_guard<std::mutex> guard(activities_mutex_);

  activities_.clear();
  activities_.emplace_back();
}

// Each chain has a block at the beginning and in the middle of each origin,
// the blocks of different chains side by side: they share chunks.
void Runner::make_chains() {
  for (auto &target : targets_) {
    const std::uint64_t length = options_.chains * target->device.block_sectors();
    const std::uint64_t middle =
        target->device.sectors() / 2 / target->device.block_sectors() * target->device.block_sectors();

    if (middle < length + 64)
      throw EnvironmentError("the origins are too small");
    if (length) {
      target->reserved.push_back(Range{0, length});
      target->reserved.push_back(Range{middle, length});
    }
  }
  for (unsigned chain = 0; chain < options_.chains; chain++) {
    std::vector<ChainLink> links;

    for (std::size_t i = 0; i < targets_.size(); i++)
      for (const Range &range : targets_[i]->reserved)
        links.push_back(ChainLink{i, range.sector + chain * targets_[i]->device.block_sectors()});
    std::shuffle(links.begin(), links.end(), random_);
    chains_.push_back(links);
    chain_numbers_.push_back(0);
  }
}

void Runner::fail(const std::string &text) {
  std::lock_guard<std::mutex> guard(failure_mutex_);

  if (failure_.empty())
    failure_ = text;
  failed_ = true;
}

void Runner::mismatch(std::size_t origin, bool image, const Mismatch &what, const char *sector) {
  BlockDevice &device = image ? backend_.image(origin) : backend_.origin(origin);
  const unsigned chunk = backend_.chunk_sectors();
  std::string text = (image ? "image " : "origin ") + std::to_string(origin) + " sector " +
                     std::to_string(what.sector) + " (chunk " + std::to_string(what.sector / chunk) +
                     "): expected " + describe_contents(what.acceptable) + ", found " +
                     describe_sector(sector);

  // Is it so on the device, or was it so once?
  Buffer again(device.block_sectors());
  const std::uint64_t block = what.sector / device.block_sectors() * device.block_sectors();
  const int error = device.read(again.data(), block, device.block_sectors());

  text += "; read again: ";
  text += error ? std::strerror(error) : describe_sector(again.data() + (what.sector - block) * sector_size);
  text += "; " + what.details;
  fail(text);
}

// Which contents the sectors hold; false if one is not of this device.
bool Runner::decode(std::size_t origin, bool image, const Range &range, const char *buffer,
                    std::vector<Content> &contents, const Look &look) {
  const History &history = image ? targets_[origin]->image : targets_[origin]->origin;
  const auto device_of = [origin](Content version) {
    return version & content_image_bit ? image_id(origin) : origin_id(origin);
  };

  contents.resize(range.count);
  for (std::uint64_t i = 0; i < range.count; i++) {
    const char *sector = buffer + i * sector_size;
    const Decoded decoded = read_stamp(sector);

    if (decoded.state == SectorState::zero) {
      contents[i] = content_zero;
      continue;
    }
    if (decoded.state != SectorState::stamped || decoded.stamp.sector != range.sector + i ||
        decoded.stamp.device != device_of(decoded.stamp.version) ||
        (!image && decoded.stamp.version & content_image_bit)) {
      Mismatch what;

      what.sector = range.sector + i;
      what.acceptable = history.acceptable(what.sector, look);

      std::vector<Stamp> stamps;

      for (Content version : what.acceptable)
        stamps.push_back(Stamp{device_of(version), what.sector, version});
      if (history.overlaps(what.sector, 1, look).any && is_mixture(sector, stamps)) {
        contents[i] = content_mixed;
        mixed_.add();
        continue;
      }
      what.details = "devices here are " + std::to_string(origin_id(origin)) + " and, for image writes, " +
                     std::to_string(image_id(origin));
      mismatch(origin, image, what, sector);
      return false;
    }
    contents[i] = decoded.stamp.version;
  }
  return true;
}

// was_read: false if the read failed, and was allowed to.
bool Runner::check_image(Activity &activity, std::size_t origin, const Range &range, char *buffer,
                         bool *was_read) {
  Target &target = *targets_[origin];
  const unsigned chunk = backend_.chunk_sectors();
  int error;
  Look look(clock_);
  {
    Busy busy(activity, "read of image", origin, range.sector);

    error = backend_.image(origin).read(buffer, range.sector, range.count);
  }
  look.finish();

  if (was_read)
    *was_read = !error;
  if (error) {
    image_read_errors_.add();
    // Once a snapshot is given up, all reads fail; until then none may, unless
    // that is asked for.
    const bool valid = options_.invalid == Invalid::never || backend_.status().valid;

    if (!image_errors_ && (valid || error != EIO)) {
      fail("image " + std::to_string(origin) + " read at sector " + std::to_string(range.sector) + ", " +
           std::to_string(range.count) + " sectors: " + std::strerror(error) +
           (valid ? ", of a valid snapshot" : ", of an invalid snapshot"));
      return false;
    }
    for (std::size_t i = 0; i < targets_.size() && !valid; i++) {
      if (i != origin && !backend_.invalid_together())
        continue;

      const Time now = clock_.tick();
      Time since = targets_[i]->invalid_since;

      while (now < since && !targets_[i]->invalid_since.compare_exchange_weak(since, now))
        ;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return true;
  }
  if (look.from() > target.invalid_since) {
    fail("image " + std::to_string(origin) + " read at sector " + std::to_string(range.sector) +
         " succeeded after another had failed");
    return false;
  }

  thread_local std::vector<Content> contents;
  Mismatch what;

  if (!decode(origin, true, range, buffer, contents, look))
    return false;
  if (!target.image.check(range.sector, contents.data(), range.count, look, &what)) {
    mismatch(origin, true, what, buffer + (what.sector - range.sector) * sector_size);
    return false;
  }

  const std::uint64_t first = range.sector / chunk * chunk;
  const std::uint64_t end =
      std::min<std::uint64_t>((range.end() + chunk - 1) / chunk * chunk, target.device.sectors());
  const auto overlaps = target.origin.overlaps(first, end - first, look);

  image_reads_.add();
  image_read_sectors_.add(range.count);
  if (overlaps.any)
    races_.add();
  if (overlaps.first)
    first_races_.add();
  return true;
}

void Runner::check_image_all(std::size_t origin) {
  Target &target = *targets_[origin];
  Buffer buffer(scan_sectors);
  Activity &activity = activities_.front();

  for (std::uint64_t at = 0; at < target.device.sectors() && !failed_; at += scan_sectors) {
    const Range range{at, std::min(scan_sectors, target.device.sectors() - at)};

    if (!check_image(activity, origin, range, buffer.data()))
      return;
    if (target.invalid_since != time_never)
      return;
  }
}

void Runner::check_origin_all(std::size_t origin) {
  Target &target = *targets_[origin];
  Buffer buffer(scan_sectors);
  std::vector<Content> contents;

  for (std::uint64_t at = 0; at < target.device.sectors(); at += scan_sectors) {
    const Range range{at, std::min(scan_sectors, target.device.sectors() - at)};
    Mismatch what;
    Look look(clock_);
    const int error = target.device.read(buffer.data(), range.sector, range.count);

    look.finish();
    if (error) {
      origin_errors_.add();
      fail("origin " + std::to_string(origin) + " read at sector " + std::to_string(range.sector) + ": " +
           std::strerror(error));
      return;
    }
    if (!decode(origin, false, range, buffer.data(), contents, look))
      return;
    if (!target.origin.check(range.sector, contents.data(), range.count, look, &what)) {
      mismatch(origin, false, what, buffer.data() + (what.sector - range.sector) * sector_size);
      return;
    }
    target.origin.set_base(range.sector, contents.data(), range.count);
  }
}

void Runner::check_chains() {
  for (std::size_t chain = 0; chain < chains_.size(); chain++) {
    std::vector<std::uint64_t> versions;
    bool was_read = true;

    for (const ChainLink &link : chains_[chain]) {
      const unsigned block = targets_[link.origin]->device.block_sectors();
      Buffer buffer(block);

      if (!check_image(activities_.front(), link.origin, Range{link.sector, block}, buffer.data(), &was_read))
        return;
      if (targets_[link.origin]->invalid_since != time_never)
        return;
      if (!was_read)
        break;

      const Content version = read_stamp(buffer.data()).stamp.version;

      // 0: as stamped in the beginning
      versions.push_back(version_writer(version) == chain + 1 ? version_number(version) : 0);
    }
    if (!was_read)
      continue;

    const std::string wrong = check_chain(chains_[chain], versions);

    if (!wrong.empty())
      fail("chain " + std::to_string(chain) + ": " + wrong);
    report_.chain_checks++;
  }
}

// Of a snapshot that was given up, nothing can be read, wherever it lies.
void Runner::check_refused(std::size_t origin) {
  BlockDevice &image = backend_.image(origin);
  const std::uint64_t block = image.block_sectors();
  Buffer buffer(scan_sectors);

  for (std::uint64_t at = 0; at < image.sectors(); at += scan_sectors) {
    const int error = image.read(buffer.data(), at, std::min(block, image.sectors() - at));

    if (error == EIO)
      continue;
    fail("image " + std::to_string(origin) + " read at sector " + std::to_string(at) +
         " of an invalid snapshot: " + (error ? std::strerror(error) : "no error"));
    return;
  }
}

// Whatever went wrong has ended. There are two ways to be right now: each image
// shows every sector as it must be, or none shows anything.
void Runner::judge() {
  image_errors_ = false;
  for (std::size_t i = 0; i < targets_.size() && !failed_ && backend_.status().valid; i++)
    check_image_all(i);
  if (!failed_ && backend_.status().valid)
    check_chains();
  if (failed_)
    return;
  if (backend_.status().valid) {
    report_.exact_rounds++;
    return;
  }
  for (std::size_t i = 0; i < targets_.size() && !failed_; i++)
    check_refused(i);
}

// A range in the target that is not a chain's.
bool Runner::pick(Worker &worker, std::uint64_t max, bool hot, Range &range) {
  Target &target = *targets_[worker.origin];
  const std::uint64_t block = target.device.block_sectors();
  const std::uint64_t blocks = target.device.sectors() / block;
  const std::uint64_t chunk = backend_.chunk_sectors();
  const std::uint64_t min = std::max<std::uint64_t>(options_.min_sectors, block);
  auto &random = worker.random;
  auto align = [&](std::uint64_t sector) { return sector / block * block; };
  std::uint64_t count;

  max = std::min(std::max(max, min), blocks * block / 4);
  if (hot) {
    const std::uint64_t first = (*target.hot_order)(target.hot) * chunk;
    const std::uint64_t offset = align(random() % chunk);

    count = std::max(block, align(1 + random() % std::min(chunk * 2, max)));
    range = Range{first + offset, count};
    if (range.sector >= blocks * block)
      range.sector = align(first);
  } else {
    // all magnitudes alike, then any length of that magnitude
    unsigned magnitudes = 1;

    while (min << magnitudes <= max)
      magnitudes++;

    const std::uint64_t length = min << random() % magnitudes;

    count = chance(worker, 0.5) ? length : length + random() % length;
    count = std::max(block, align(std::min(count, max)));
    range = Range{random() % blocks * block, count};
    if (chance(worker, 0.3))
      range.sector = align(range.sector / chunk * chunk);
    // right up to the last sector, now and then
    if (chance(worker, 0.02))
      range.sector = blocks * block - std::min(count, blocks * block);
  }
  range.count = std::min(range.count, blocks * block - range.sector);
  for (const Range &reserved : target.reserved) {
    if (!range.overlaps(reserved))
      continue;
    if (range.sector < reserved.sector) {
      range.count = reserved.sector - range.sector;
      continue;
    }
    if (range.end() <= reserved.end())
      return false;
    range.count = range.end() - reserved.end();
    range.sector = reserved.end();
  }
  return range.count != 0;
}

// Whether the range has chunks that were not written since the cut.
bool Runner::mark_first(Target &target, const Range &range) {
  if (!is_cut_)
    return false;

  const unsigned chunk = backend_.chunk_sectors();
  bool first = false;

  for (std::uint64_t at = range.sector / chunk; at <= (range.end() - 1) / chunk; at++) {
    const std::uint64_t bit = std::uint64_t{1} << at % 64;

    first |= !(target.written[at / 64].fetch_or(bit) & bit);
  }
  return first;
}

bool Runner::origin_result(const Worker &worker, const char *what, const Range &range, int error) {
  if (!error)
    return true;
  origin_errors_.add();
  if (!options_.origin_errors)
    fail("origin " + std::to_string(worker.origin) + " " + what + " at sector " +
         std::to_string(range.sector) + ", " + std::to_string(range.count) +
         " sectors: " + std::strerror(error));
  return false;
}

bool Runner::origin_write(Worker &worker, const Range &range, Content version, unsigned flags, char *buffer) {
  Target &target = *targets_[worker.origin];

  write_stamps(buffer, origin_id(worker.origin), range.sector, range.count, version);

  const Ticket ticket =
      target.origin.begin(range.sector, range.count, version, Effect::certain, mark_first(target, range));
  int error;
  {
    Busy busy(*worker.activity, "write to origin", worker.origin, range.sector);

    error = target.device.write(buffer, range.sector, range.count, flags);
    if (flags & write_nowait) {
      nowait_.add();
      if (error == EAGAIN || error == EOPNOTSUPP) {
        (error == EAGAIN ? nowait_refused_ : nowait_unsupported_).add();
        error = target.device.write(buffer, range.sector, range.count, flags & ~write_nowait);
      }
    }
    max_write_us_.at_least(busy.elapsed_us());
  }
  target.origin.end(ticket, error == 0);
  write_count_.add();
  write_sectors_.add(range.count);
  if (flags & write_durable)
    durable_.add();
  return origin_result(worker, "write", range, error);
}

void Runner::origin_discard(Worker &worker, const Range &range) {
  Target &target = *targets_[worker.origin];
  // Advisory: what was there, or zeroes, sector by sector.
  const Ticket ticket = target.origin.begin(range.sector, range.count, content_zero, Effect::uncertain,
                                            mark_first(target, range));
  int error;
  {
    Busy busy(*worker.activity, "discard of origin", worker.origin, range.sector);

    error = target.device.discard(range.sector, range.count);
  }
  target.origin.end(ticket);
  discards_.add();
  if (error == EOPNOTSUPP)
    target.can_discard = false;
  else if (error != EBUSY)
    origin_result(worker, "discard", range, error);
}

void Runner::origin_zeroes(Worker &worker, const Range &range) {
  Target &target = *targets_[worker.origin];
  const Ticket ticket = target.origin.begin(range.sector, range.count, content_zero, Effect::certain,
                                            mark_first(target, range));
  int error;
  {
    Busy busy(*worker.activity, "write zeroes to origin", worker.origin, range.sector);

    error = target.device.write_zeroes(range.sector, range.count);
  }
  target.origin.end(ticket, error == 0);
  zeroes_.add();
  if (error != EBUSY)
    origin_result(worker, "write zeroes", range, error);
}

void Runner::write_origin(Worker &worker) {
  Target &target = *targets_[worker.origin];
  Buffer own(std::min(own_buffer_sectors, options_.max_sectors + alignment / sector_size));
  const bool sequential = chance(worker, 0.2);

  while (!stop_writers_) {
    const bool hot = !sequential && chance(worker, options_.hot);
    const std::uint64_t hot_before = target.hot;
    Range range;

    if (!pick(worker, options_.max_sectors, hot, range))
      continue;
    if (sequential) {
      const std::uint64_t block = target.device.block_sectors();
      const std::uint64_t blocks = target.device.sectors() / block * block;

      // Somewhere in the run of all sequential writers; picked ranges
      // keep off the chains, so these do when they would meet them.
      range.sector = target.sequential.fetch_add(range.count) % blocks / block * block;
      range.count = std::min(range.count, blocks - range.sector);
      if (std::any_of(target.reserved.begin(), target.reserved.end(),
                      [&](const Range &reserved) { return range.overlaps(reserved); }))
        continue;
    }

    const auto kind = worker.random() % 100;

    if (kind < 3 && options_.discards && target.can_discard) {
      origin_discard(worker, range);
    } else if (kind < 6 && options_.zeroes) {
      origin_zeroes(worker, range);
    } else if (kind < 8) {
      Busy busy(*worker.activity, "flush of origin", worker.origin, 0);
      const int error = target.device.flush();

      flushes_.add();
      origin_result(worker, "flush", Range{}, error);
    } else {
      unsigned flags = write_plain;

      if (kind < 13 && options_.nowait)
        flags = write_nowait;
      else if (kind < 18)
        flags = write_durable;

      const Content version = make_version(worker.id, next_number());

      if (range.count <= own_buffer_sectors) {
        origin_write(worker, range, version, flags, own.data());
      } else {
        auto big = big_->take();

        origin_write(worker, range, version, flags, big->data());
        big_->give(std::move(big));
      }
    }
    if (hot) {
      // On to the next chunk, unless another did that already.
      std::uint64_t expected = hot_before;

      target.hot.compare_exchange_strong(expected, hot_before + 1);
    }
    if (options_.think > 0)
      std::this_thread::sleep_for(std::chrono::duration<double>(options_.think));
    else if (worker.random() % 64 == 0)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

void Runner::write_chain(Worker &worker, std::size_t chain) {
  Buffer buffer(alignment / sector_size);

  while (!stop_writers_) {
    const std::uint64_t number = ++chain_numbers_[chain];

    // To its end, also when told to stop: the next round goes on from there.
    for (const ChainLink &link : chains_[chain]) {
      worker.origin = link.origin;
      if (!origin_write(worker, Range{link.sector, targets_[link.origin]->device.block_sectors()},
                        make_version(worker.id, number), worker.random() % 8 ? write_plain : write_durable,
                        buffer.data()))
        return;
    }
    // Often enough to be caught by any cut, and no more: this is not the load.
    std::this_thread::sleep_for(std::chrono::microseconds(worker.random() % 500));
  }
}

bool Runner::image_result(Worker &worker, const char *what, const Range &range, int error) {
  if (!error)
    return true;
  if (error == ENOSPC && (options_.image_no_space || options_.invalid != Invalid::never)) {
    image_no_space_.add();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return false;
  }
  if (image_errors_ || (error == EIO && options_.invalid != Invalid::never)) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return false;
  }
  fail("image " + std::to_string(worker.origin) + " " + what + " at sector " + std::to_string(range.sector) +
       ", " + std::to_string(range.count) + " sectors: " + std::strerror(error));
  return false;
}

// Whole chunks read zeroes afterwards, the rest is as it was.
void Runner::image_discard(Worker &worker, const Range &range) {
  Target &target = *targets_[worker.origin];
  const std::uint64_t chunk = backend_.chunk_sectors();
  const std::uint64_t first = (range.sector + chunk - 1) / chunk * chunk;
  const std::uint64_t last = range.end() / chunk * chunk;
  std::vector<Ticket> tickets;

  if (first < last)
    tickets.push_back(target.image.begin(first, last - first, content_zero));
  // The last chunk of a device may be shorter: is it whole?
  if (range.end() == target.device.sectors() && last < range.end() && first <= last)
    tickets.push_back(target.image.begin(last, range.end() - last, content_zero, Effect::uncertain));

  int error;
  {
    Busy busy(*worker.activity, "discard of image", worker.origin, range.sector);

    error = backend_.image(worker.origin).discard(range.sector, range.count);
  }
  for (const Ticket &ticket : tickets)
    target.image.end(ticket, error == 0);
  image_discards_.add();
  if (error == EOPNOTSUPP && !backend_.image_discards())
    target.image_can_discard = false;
  else if (error != EBUSY)
    image_result(worker, "discard", range, error);
}

void Runner::write_image(Worker &worker) {
  Target &target = *targets_[worker.origin];
  Buffer buffer(max_image_write);

  while (!stop_images_) {
    Range range;

    if (!pick(worker, max_image_write, chance(worker, options_.hot), range))
      continue;
    range.count = std::min(range.count, max_image_write);
    {
      std::lock_guard<std::mutex> guard(target.image_ranges_mutex);

      if (std::any_of(target.image_ranges.begin(), target.image_ranges.end(),
                      [&](const Range &other) { return other.overlaps(range); }))
        continue;
      target.image_ranges.push_back(range);
    }

    const auto kind = worker.random() % 100;

    // What was released may differ, and is no change.
    if (kind < 8 && options_.discards && !options_.changes && target.image_can_discard) {
      image_discard(worker, range);
    } else if (kind < 14 && options_.zeroes) {
      const Ticket ticket = target.image.begin(range.sector, range.count, content_zero);
      int error;
      {
        Busy busy(*worker.activity, "write zeroes to image", worker.origin, range.sector);

        error = backend_.image(worker.origin).write_zeroes(range.sector, range.count);
      }
      target.image.end(ticket, error == 0);
      image_zeroes_.add();
      if (error != EBUSY)
        image_result(worker, "write zeroes", range, error);
    } else {
      const Content version = make_version(worker.id, next_number()) | content_image_bit;

      write_stamps(buffer.data(), image_id(worker.origin), range.sector, range.count, version);

      const Ticket ticket = target.image.begin(range.sector, range.count, version);
      int error;
      {
        Busy busy(*worker.activity, "write to image", worker.origin, range.sector);

        error = backend_.image(worker.origin)
                    .write(buffer.data(), range.sector, range.count, kind < 20 ? write_durable : write_plain);
      }
      target.image.end(ticket, error == 0);
      image_writes_.add();
      image_write_sectors_.add(range.count);
      image_result(worker, "write", range, error);
    }
    {
      std::lock_guard<std::mutex> guard(target.image_ranges_mutex);

      target.image_ranges.erase(std::find_if(target.image_ranges.begin(), target.image_ranges.end(),
                                             [&](const Range &other) { return other.overlaps(range); }));
    }
    // Leave something of the origin to see.
    std::this_thread::sleep_for(std::chrono::milliseconds(1 + worker.random() % 4));
  }
}

void Runner::read_image(Worker &worker) {
  Target &target = *targets_[worker.origin];
  Buffer buffer(scan_sectors * 2);
  const std::uint64_t block = target.device.block_sectors();
  std::uint64_t scan = worker.random() % target.device.sectors() / block * block;
  const bool scanner = chance(worker, 0.5);

  while (!stop_images_) {
    Range range;

    if (scanner && !chance(worker, options_.hot)) {
      if (scan >= target.device.sectors())
        scan = 0;
      range = Range{scan, (1 + worker.random() % (scan_sectors / block)) * block};
      range.count = std::min(range.count, target.device.sectors() - scan);
      scan = range.end();
    } else if (!pick(worker, scan_sectors, chance(worker, options_.hot * 2), range)) {
      continue;
    }
    range.count = std::min(range.count, scan_sectors * 2);
    if (!check_image(*worker.activity, worker.origin, range, buffer.data()))
      return;
  }
}

template <typename Method>
void Runner::start(std::vector<std::thread> &threads, std::size_t origin, Method method) {
  Activity *activity;
  {
    std::lock_guard<std::mutex> guard(activities_mutex_);

    activity = &activities_.emplace_back();
  }

  Worker worker{++writers_, origin, Random(random_()), activity};

  threads.emplace_back([this, worker, method]() mutable {
    try {
      yield_to_main_thread();
      method(worker);
    } catch (const std::exception &error) {
      fail(std::string("in a thread: ") + error.what());
    }
  });
}

void Runner::stop(std::atomic<bool> &flag, std::vector<std::thread> &threads) {
  flag = true;
  for (std::thread &thread : threads)
    thread.join();
  threads.clear();
}

// A thread in the kernel for good cannot be joined: say so and go at once.
void Runner::find_hung() {
  const auto limit = static_cast<std::int64_t>(options_.request_limit * static_cast<double>(nanoseconds));

  std::lock_guard<std::mutex> guard(activities_mutex_);

  for (Activity &activity : activities_) {
    const std::int64_t since = activity.since;

    if (!since || now_ns() - since < limit)
      continue;
    std::printf("oracle: %s %zu at sector %llu did not end within %g s (seed %llu)\n", activity.what.load(),
                activity.origin.load(), static_cast<unsigned long long>(activity.sector.load()),
                options_.request_limit, static_cast<unsigned long long>(options_.seed));
    std::fflush(nullptr);
    _exit(1);
  }
}

void Runner::pause(double seconds) {
  const auto until = SteadyClock::now() + std::chrono::duration_cast<SteadyClock::duration>(
                                              std::chrono::duration<double>(seconds));
  sigset_t set;

  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  while (!failed_) {
    const auto left = until - SteadyClock::now();

    if (left <= SteadyClock::duration::zero())
      return;

    const auto ns = std::min<std::int64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(left).count(),
                                           nanoseconds / 20);
    const timespec wait{0, static_cast<long>(ns)};
    const int number = sigtimedwait(&set, nullptr, &wait);

    if (number > 0)
      throw Interrupted{number};
  }
}

void Runner::command(const std::string &text) {
  if (text.empty())
    return;
  if (options_.verbose)
    std::fprintf(stderr, "oracle: %s\n", text.c_str());

  const int status = std::system(text.c_str());

  if (status)
    throw EnvironmentError("the command '" + text + "' failed, status " +
                           std::to_string(WIFEXITED(status) ? WEXITSTATUS(status) : status));
}

bool Runner::over() const {
  if (failed_)
    return true;
  if (options_.rounds && report_.rounds >= options_.rounds)
    return true;
  return options_.seconds > 0 &&
         SteadyClock::now() - begin_ >= std::chrono::duration<double>(options_.seconds);
}

void Runner::stamp_origins() {
  Buffer buffer(scan_sectors);

  for (std::size_t i = 0; i < targets_.size(); i++) {
    BlockDevice &device = targets_[i]->device;
    const Content version = make_version(0, 1);

    for (std::uint64_t at = 0; at < device.sectors(); at += scan_sectors) {
      const std::uint64_t count = std::min(scan_sectors, device.sectors() - at);

      write_stamps(buffer.data(), origin_id(i), at, count, version);
      if (const int error = device.write(buffer.data(), at, count, write_plain))
        throw EnvironmentError("cannot stamp origin " + std::to_string(i) + ": " + std::strerror(error));
    }
    targets_[i]->origin.set_base(0, version, device.sectors());
    check_origin_all(i);
  }
}

// False if there are none, the snapshot having been given up as soon as it was cut.
bool Runner::make_images() {
  Busy busy(activities_.front(), "making of image", 0, 0);

  for (unsigned tries = 1;; tries++) {
    try {
      backend_.make_images();
      return true;
    } catch (const EnvironmentError &) {
      if (options_.invalid != Invalid::never && !backend_.status().valid)
        return false;
      // What makes requests fail at random may do so to this one.
      if (!options_.verdict || tries == image_tries)
        throw;
    }
  }
}

void Runner::round() {
  stop_writers_ = stop_images_ = is_cut_ = false;
  image_errors_ = options_.image_errors || options_.verdict;
  // Writers have the same numbers in each round: chains, then the others.
  writers_ = 0;
  forget_activities();

  for (auto &target : targets_) {
    target->hot_order = std::make_unique<Permutation>(target->chunks, random_);
    target->hot = 0;
    target->invalid_since = time_never;
    for (auto &bits : target->written)
      bits = 0;
  }
  for (std::size_t chain = 0; chain < chains_.size(); chain++)
    start(writer_threads_, 0, [this, chain](Worker &worker) { write_chain(worker, chain); });
  for (std::size_t i = 0; i < targets_.size(); i++) {
    const unsigned depth =
        options_.min_depth + static_cast<unsigned>(random_() % (options_.max_depth - options_.min_depth + 1));

    for (unsigned n = 0; n < depth; n++)
      start(writer_threads_, i, [this](Worker &worker) { write_origin(worker); });
  }

  backend_.begin();

  std::vector<OriginCounters> before;

  for (std::size_t i = 0; i < targets_.size(); i++)
    before.push_back(backend_.counters(i));
  pause(options_.before * static_cast<double>(random_() % 1000) / 1000);

  command(options_.before_cut);

  int wanted_error = options_.first_cut_error;

  for (unsigned tries = 0;; tries++) {
    if (failed_)
      return;

    Look cut(clock_);
    int error;
    {
      Busy busy(activities_.front(), "cut of origin", 0, 0);

      error = backend_.cut();
    }
    cut.finish();
    if (wanted_error) {
      if (error != wanted_error)
        throw CheckFailure(std::string("the cut: ") + std::strerror(error) + ", not " +
                           std::strerror(wanted_error));
      wanted_error = 0;
      pause(0.2);
      command(options_.after_failure);
      continue;
    }
    if (error == ETIMEDOUT && tries < cut_tries) {
      report_.cut_timeouts++;
      continue;
    }
    if (error)
      throw CheckFailure(std::string("the cut: ") + std::strerror(error));
    is_cut_ = true;
    for (auto &target : targets_) {
      target->origin.fork_to(target->image, cut);
      report_.ambiguous_sectors += target->image.ambiguous_sectors();
    }
    report_.cuts++;
    break;
  }

  const bool have_images = make_images();

  if (have_images)
    check_chains();
  for (std::size_t i = 0; i < targets_.size() && have_images && !failed_; i++) {
    for (unsigned n = 0; n < options_.readers; n++)
      start(image_threads_, i, [this](Worker &worker) { read_image(worker); });
    if (options_.image_writes)
      for (unsigned n = 0; n < options_.image_writers; n++)
        start(image_threads_, i, [this](Worker &worker) { write_image(worker); });
  }
  pause(options_.round / 3);
  command(options_.during);
  pause(options_.round * 2 / 3);
  stop(stop_images_, image_threads_);

  // Complete, with the origins' writers still at it.
  for (std::size_t i = 0; i < targets_.size() && have_images && !failed_; i++)
    check_image_all(i);
  if (have_images && !failed_)
    check_chains();
  for (std::size_t i = 0; i < targets_.size() && options_.changes && have_images && !failed_; i++)
    change_check_.look(i);

  const SnapshotStatus status = backend_.status();

  report_.max_closed_ns = std::max(report_.max_closed_ns, status.closed_ns);
  if (!status.valid && options_.invalid == Invalid::never)
    fail("the snapshot became invalid: " + status.text);
  if (status.valid && options_.invalid == Invalid::must)
    fail("the snapshot should have become invalid: " + status.text);
  if (status.text.find(options_.status) == std::string::npos)
    fail("the snapshot's status should have '" + options_.status + "': " + status.text);
  for (std::size_t i = 0; i < targets_.size(); i++)
    if (status.valid && targets_[i]->invalid_since != time_never)
      fail("reads of image " + std::to_string(i) + " fail, but the snapshot is " + status.text);
  for (std::size_t i = 0; i < targets_.size(); i++) {
    const OriginCounters now = backend_.counters(i);

    // They begin anew when a test put another table in between.
    report_.copies += now.copies - std::min(now.copies, before[i].copies);
    report_.held += now.held - std::min(now.held, before[i].held);
  }
  if (options_.verbose)
    std::fprintf(stderr, "oracle: round %llu: %s\n", static_cast<unsigned long long>(report_.rounds + 1),
                 status.text.c_str());

  // The end comes under load, half the time.
  const bool under_load = random_() % 2;

  if (!under_load)
    stop(stop_writers_, writer_threads_);
  command(options_.after);
  if (options_.verdict && have_images && !failed_)
    judge();
  report_.invalid_rounds += !backend_.status().valid;
  if (!failed_) {
    Busy busy(activities_.front(), "end of the snapshot of origin", 0, 0);

    backend_.end();
  }
  is_cut_ = false;
  stop(stop_writers_, writer_threads_);
  for (std::size_t i = 0; i < targets_.size() && !failed_; i++)
    check_origin_all(i);
  if (options_.max_write > 0 && static_cast<double>(max_write_us_.get()) > options_.max_write * 1e6)
    fail("a write to an origin took " + std::to_string(max_write_us_.get()) + " us");
  report_.rounds++;
}

void Runner::run() {
  stamp_origins();
  try {
    while (!over())
      round();
  } catch (const CheckFailure &failure) {
    fail(failure.what());
  }
  stop(stop_images_, image_threads_);
  stop(stop_writers_, writer_threads_);
  try {
    // After a mismatch the devices are still there.
    backend_.end();
  } catch (const std::exception &error) {
    fail(error.what());
  }
}

void Runner::fill(Report &report) const {
  report.writes = write_count_.get();
  report.write_sectors = write_sectors_.get();
  report.durable_writes = durable_.get();
  report.nowait_writes = nowait_.get();
  report.nowait_refused = nowait_refused_.get();
  report.nowait_unsupported = nowait_unsupported_.get();
  report.discards = discards_.get();
  report.zeroes = zeroes_.get();
  report.flushes = flushes_.get();
  report.origin_errors = origin_errors_.get();
  report.image_reads = image_reads_.get();
  report.image_read_sectors = image_read_sectors_.get();
  report.image_read_errors = image_read_errors_.get();
  report.races = races_.get();
  report.first_write_races = first_races_.get();
  report.mixed_sectors = mixed_.get();
  report.image_writes = image_writes_.get();
  report.image_write_sectors = image_write_sectors_.get();
  report.image_no_space = image_no_space_.get();
  report.image_discards = image_discards_.get();
  report.image_zeroes = image_zeroes_.get();
  report.different_sectors = change_check_.different_sectors();
  report.told_sectors = change_check_.told_sectors();
  report.max_write_us = max_write_us_.get();

  std::lock_guard<std::mutex> guard(failure_mutex_);

  report.failure = failure_;
}

}  // namespace

void run(Backend &backend, const RunOptions &options, Report &report) {
  Runner runner(backend, options, report);

  runner.run();
  runner.fill(report);
}

}  // namespace oracle
