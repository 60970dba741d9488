// SPDX-License-Identifier: GPL-2.0-or-later
#include "stamped.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

namespace fuzz {

using oracle::CheckFailure;
using oracle::Content;
using oracle::Look;

namespace {

constexpr std::uint64_t max_request = 512;
constexpr std::size_t alignment = 4096;
// Not that of the devices that are held meanwhile.
constexpr std::uint32_t device_id = 2;
constexpr unsigned writer = 1;
const Content former = oracle::make_version(writer, 1);

}  // namespace

Stamped::Stamped(std::string name, const std::string &path, Content version_bits)
    : name_(std::move(name)),
      version_bits_(version_bits),
      device_(oracle::open_device(path)),
      buffer_(static_cast<char *>(std::aligned_alloc(alignment, max_request * oracle::sector_size)),
              std::free),
      history_(clock_, device_->sectors()) {
  if (!buffer_)
    throw std::bad_alloc();
  history_.set_base(0, former, device_->sectors());
}

void Stamped::stamp() {
  for (std::uint64_t at = 0; at < device_->sectors(); at += max_request) {
    const std::uint64_t count = std::min(max_request, device_->sectors() - at);

    oracle::write_stamps(buffer_.get(), device_id, at, count, former);
    if (const int error = device_->write(buffer_.get(), at, count, oracle::write_plain))
      throw CheckFailure("a write to " + name_ + ": " + std::strerror(error));
  }
}

int Stamped::write(std::uint64_t sector, std::uint64_t count) {
  const Content version = oracle::make_version(writer, ++versions_) | version_bits_;
  const oracle::Ticket ticket = history_.begin(sector, count, version);

  oracle::write_stamps(buffer_.get(), device_id, sector, count, version);

  const int error = device_->write(buffer_.get(), sector, count, oracle::write_plain);

  history_.end(ticket, error == 0);
  return error;
}

int Stamped::discard(std::uint64_t sector, std::uint64_t count) {
  const oracle::Ticket ticket = history_.begin(sector, count, oracle::content_zero);
  const int error = device_->discard(sector, count);

  history_.end(ticket, error == 0);
  return error;
}

int Stamped::read(std::uint64_t sector, std::uint64_t count) {
  Look look(clock_);
  const int error = device_->read(buffer_.get(), sector, count);

  look.finish();
  if (!error)
    judge(sector, count, look);
  return error;
}

void Stamped::check() {
  for (std::uint64_t at = 0; at < device_->sectors(); at += max_request)
    if (const int error = read(at, std::min(max_request, device_->sectors() - at)))
      throw CheckFailure("a read of " + name_ + ": " + std::strerror(error));
}

// What is no stamp of this place is something that may be nowhere.
Content Stamped::found_at(std::uint64_t sector, const char *data) const {
  const oracle::Decoded found = oracle::read_stamp(data);

  if (found.state == oracle::SectorState::zero)
    return oracle::content_zero;
  if (found.state == oracle::SectorState::stamped && found.stamp.device == device_id &&
      found.stamp.sector == sector)
    return found.stamp.version;
  return oracle::content_ambiguous;
}

void Stamped::judge(std::uint64_t sector, std::uint64_t count, const Look &look) {
  std::vector<Content> found(count);
  oracle::Mismatch wrong;

  for (std::uint64_t i = 0; i < count; i++)
    found[i] = found_at(sector + i, buffer_.get() + i * oracle::sector_size);
  if (history_.check(sector, found.data(), count, look, &wrong))
    return;

  const char *data = buffer_.get() + (wrong.sector - sector) * oracle::sector_size;

  throw CheckFailure(name_ + ", sector " + std::to_string(wrong.sector) + ": expected " +
                     oracle::describe_contents(wrong.acceptable) + ", found " +
                     oracle::describe_sector(data));
}

}  // namespace fuzz
