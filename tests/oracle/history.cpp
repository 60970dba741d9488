// SPDX-License-Identifier: GPL-2.0-or-later
#include "history.h"

#include <algorithm>
#include <stdexcept>
#include <thread>

namespace oracle {

Time Clock::horizon() const {
  // The clock first: a look that is not in its slot yet begins later.
  Time result = now_.load();

  for (const auto &slot : looks_) {
    const Time from = slot.load();

    if (from && from < result)
      result = from;
  }
  return result;
}

Look::Look(Clock &clock) : clock_(clock) {
  thread_local std::size_t hint = std::hash<std::thread::id>()(std::this_thread::get_id());

  for (std::size_t i = 0;; i++) {
    slot_ = (hint + i) % Clock::slots;

    Time empty = 0;

    // Pairs with horizon(): claim a moment in the past, then begin.
    if (clock.looks_[slot_].compare_exchange_strong(empty, clock.now_.load()))
      break;
  }
  hint = slot_;
  from_ = clock.tick();
}

Look::~Look() {
  clock_.looks_[slot_].store(0);
}

History::History(Clock &clock, std::uint64_t sectors)
    : clock_(clock),
      sectors_(sectors),
      base_(sectors, content_zero),
      regions_((sectors + region_sectors - 1) / region_sectors) {}

template <typename Function>
void History::for_regions(std::uint64_t sector, std::uint64_t count, Function function) const {
  if (sector + count > sectors_ || sector + count < sector)
    throw std::out_of_range("beyond the end of the device");

  while (count) {
    const std::uint64_t region = sector / region_sectors;
    const auto offset = static_cast<unsigned>(sector % region_sectors);
    const auto length = static_cast<unsigned>(std::min<std::uint64_t>(count, region_sectors - offset));

    {
      std::lock_guard<std::mutex> guard(lock_of(region));

      function(region, offset, length);
    }
    sector += length;
    count -= length;
  }
}

void History::set_base(std::uint64_t sector, const Content *contents, std::uint64_t count) {
  for_regions(sector, count, [&](std::uint64_t index, unsigned offset, unsigned length) {
    Region &region = regions_[index];

    for (unsigned i = 0; i < length; i++) {
      base_[index * region_sectors + offset + i] = *contents++;
      if (region.ambiguous)
        region.ambiguous->erase(offset + i);
    }
    // A record that reaches beyond the range would be lost there.
    auto keep = std::remove_if(region.records.begin(), region.records.end(), [&](const Record &record) {
      return record.first >= offset && record.last < offset + length;
    });
    region.records.erase(keep, region.records.end());
  });
}

void History::set_base(std::uint64_t sector, Content content, std::uint64_t count) {
  const std::vector<Content> contents(count, content);

  set_base(sector, contents.data(), count);
}

Ticket History::begin(std::uint64_t sector, std::uint64_t count, Content content, Effect effect,
                      bool first_write) {
  const Ticket ticket{sector, count, clock_.tick()};

  for_regions(sector, count, [&](std::uint64_t index, unsigned offset, unsigned length) {
    Region &region = regions_[index];

    if (region.records.size() >= region.prune_at)
      prune(region);
    region.records.push_back(Record{ticket.start, time_never, content, static_cast<std::uint8_t>(offset),
                                    static_cast<std::uint8_t>(offset + length - 1), effect == Effect::certain,
                                    first_write});
  });
  return ticket;
}

void History::end(const Ticket &ticket, bool succeeded) {
  const Time now = clock_.tick();

  for_regions(ticket.sector, ticket.count, [&](std::uint64_t index, unsigned, unsigned) {
    for (Record &record : regions_[index].records) {
      if (record.start != ticket.start)
        continue;
      record.end = now;
      if (!succeeded)
        record.certain = false;
      return;
    }
    throw std::logic_error("end of a write that was not begun");
  });
}

// For each sector the latest beginning of a write that had ended before.
void History::superseded_before(const Region &region, Time from, Superseded &out) {
  out.fill(0);
  for (const Record &record : region.records) {
    if (!record.certain || record.end >= from)
      continue;
    for (unsigned i = record.first; i <= record.last; i++)
      out[i] = std::max(out[i], record.start);
  }
}

// Forget writes that no look in progress or to come can find. What superseded
// them stays: it ended after its own beginning.
void History::prune(Region &region) {
  Superseded superseded;
  const Time horizon = clock_.horizon();

  superseded_before(region, horizon, superseded);

  auto gone = [&](const Record &record) {
    // Kept for overlaps(), too: it may have overlapped a look.
    if (record.end >= horizon)
      return false;
    for (unsigned i = record.first; i <= record.last; i++)
      if (record.end >= superseded[i])
        return false;
    return true;
  };

  region.records.erase(std::remove_if(region.records.begin(), region.records.end(), gone),
                       region.records.end());
  region.prune_at = std::max<std::size_t>(32, region.records.size() * 2);
}

void History::acceptable_locked(std::uint64_t index, unsigned offset, const Superseded &superseded,
                                const Look &look, std::vector<Content> &out) const {
  const Region &region = regions_[index];
  auto add = [&](Content content) {
    if (std::find(out.begin(), out.end(), content) == out.end())
      out.push_back(content);
  };

  out.clear();
  if (superseded[offset] == 0) {
    const Content base = base_[index * region_sectors + offset];

    if (base != content_ambiguous)
      add(base);
    else
      for (Content content : region.ambiguous->at(offset))
        add(content);
  }
  for (const Record &record : region.records)
    if (offset >= record.first && offset <= record.last && record.start < look.until() &&
        record.end >= superseded[offset])
      add(record.content);
}

std::vector<Content> History::acceptable(std::uint64_t sector, const Look &look) const {
  std::vector<Content> result;

  for_regions(sector, 1, [&](std::uint64_t index, unsigned offset, unsigned) {
    Superseded superseded;

    superseded_before(regions_[index], look.from(), superseded);
    acceptable_locked(index, offset, superseded, look, result);
  });
  return result;
}

std::string History::describe_locked(std::uint64_t index, unsigned offset, const Look &look) const {
  std::string text =
      "look [" + std::to_string(look.from()) + ", " + std::to_string(look.until()) + "], writes:";

  for (const Record &record : regions_[index].records) {
    if (offset < record.first || offset > record.last)
      continue;
    text += " {" + describe_content(record.content) + " [" + std::to_string(record.start) + ", " +
            (record.end == time_never ? "in flight" : std::to_string(record.end)) + "]" +
            (record.certain ? "" : " uncertain") + "}";
  }
  return text;
}

bool History::check(std::uint64_t sector, const Content *found, std::uint64_t count, const Look &look,
                    Mismatch *mismatch) {
  bool right = true;

  for_regions(sector, count, [&](std::uint64_t index, unsigned offset, unsigned length) {
    Region &region = regions_[index];
    const std::uint64_t first = index * region_sectors;
    Superseded superseded;
    std::vector<Content> contents;

    if (region.records.empty())
      superseded.fill(0);
    else
      superseded_before(region, look.from(), superseded);

    for (unsigned at = offset; at < offset + length; at++) {
      const Content content = *found++;

      if (content == content_mixed || (superseded[at] == 0 && base_[first + at] == content))
        continue;
      acceptable_locked(index, at, superseded, look, contents);
      if (std::find(contents.begin(), contents.end(), content) != contents.end()) {
        // Pin it, unless a later write may have brought it.
        const bool written =
            std::any_of(region.records.begin(), region.records.end(), [&](const Record &record) {
              return record.content == content && at >= record.first && at <= record.last;
            });

        if (base_[first + at] == content_ambiguous && !written) {
          base_[first + at] = content;
          region.ambiguous->erase(at);
        }
        continue;
      }
      if (right && mismatch) {
        mismatch->sector = first + at;
        mismatch->found = content;
        mismatch->acceptable = contents;
        mismatch->details = describe_locked(index, at, look);
      }
      right = false;
    }
  });
  return right;
}

void History::fork_to(History &image, const Look &cut) const {
  std::vector<Content> contents;

  for_regions(0, sectors_, [&](std::uint64_t index, unsigned, unsigned length) {
    Region &to = image.regions_[index];
    Superseded superseded;

    superseded_before(regions_[index], cut.from(), superseded);
    to.records.clear();
    to.ambiguous.reset();
    for (unsigned at = 0; at < length; at++) {
      Content &base = image.base_[index * region_sectors + at];

      acceptable_locked(index, at, superseded, cut, contents);
      if (contents.size() == 1) {
        base = contents[0];
        continue;
      }
      base = content_ambiguous;
      if (!to.ambiguous)
        to.ambiguous = std::make_unique<std::unordered_map<unsigned, std::vector<Content>>>();
      (*to.ambiguous)[at] = contents;
    }
  });
}

History::Overlaps History::overlaps(std::uint64_t sector, std::uint64_t count, const Look &look) const {
  Overlaps result;

  for_regions(sector, count, [&](std::uint64_t index, unsigned offset, unsigned length) {
    for (const Record &record : regions_[index].records) {
      if (record.last < offset || record.first >= offset + length || record.start > look.until() ||
          record.end < look.from())
        continue;
      result.any = true;
      result.first |= record.first_write;
    }
  });
  return result;
}

std::uint64_t History::ambiguous_sectors() const {
  std::uint64_t result = 0;

  for_regions(0, sectors_, [&](std::uint64_t index, unsigned, unsigned) {
    if (regions_[index].ambiguous)
      result += regions_[index].ambiguous->size();
  });
  return result;
}

}  // namespace oracle
