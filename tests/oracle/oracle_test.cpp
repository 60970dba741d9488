// SPDX-License-Identifier: GPL-2.0-or-later
//
// The oracle's judgement: it must find what is wrong, and nothing else.
#ifdef CATCH2_MAIN_HERE
#define CATCH_CONFIG_MAIN
#endif
#if __has_include(<catch2/catch_test_macros.hpp>)
#include <catch2/catch_test_macros.hpp>
#else
#include <catch2/catch.hpp>
#endif

#include "chain.h"
#include "history.h"
#include "stamp.h"

#include <algorithm>
#include <array>
#include <random>
#include <thread>

using namespace oracle;

namespace {

constexpr std::uint64_t device_sectors = 1000;

struct Device {
  Clock clock;
  History history{clock, device_sectors};

  Ticket begin(std::uint64_t sector, Content content, Effect effect = Effect::certain) {
    return history.begin(sector, 1, content, effect);
  }

  void write(std::uint64_t sector, Content content, Effect effect = Effect::certain) {
    history.end(begin(sector, content, effect));
  }

  bool check(std::uint64_t sector, Content found) {
    Look look(clock);

    look.finish();
    return check(sector, found, look);
  }

  bool check(std::uint64_t sector, Content found, const Look &look) {
    Mismatch what;

    return history.check(sector, &found, 1, look, &what);
  }

  std::vector<Content> acceptable(std::uint64_t sector, const Look &look) {
    auto result = history.acceptable(sector, look);

    std::sort(result.begin(), result.end());
    return result;
  }
};

using Contents = std::vector<Content>;

}  // namespace

TEST_CASE("a stamp says where it belongs") {
  std::array<char, sector_size> sector;
  const Stamp stamp{7, 123456789012, make_version(42, 99)};

  write_stamp(sector.data(), stamp);

  const Decoded decoded = read_stamp(sector.data());

  CHECK(decoded.state == SectorState::stamped);
  CHECK(decoded.stamp.device == 7);
  CHECK(decoded.stamp.sector == 123456789012);
  CHECK(version_writer(decoded.stamp.version) == 42);
  CHECK(version_number(decoded.stamp.version) == 99);
}

TEST_CASE("any changed byte of a sector is noticed") {
  std::array<char, sector_size> sector;

  for (std::size_t byte = 0; byte < sector_size; byte++) {
    write_stamp(sector.data(), Stamp{1, 2, make_version(3, 4)});
    sector[byte] = static_cast<char>(sector[byte] ^ 0x10);
    CHECK(read_stamp(sector.data()).state != SectorState::stamped);
  }
}

TEST_CASE("a sector of two writes is torn, wherever they meet") {
  std::array<char, sector_size> one;
  std::array<char, sector_size> two;

  write_stamp(two.data(), Stamp{1, 5, make_version(3, 11)});
  for (std::size_t at = 1; at < sector_size; at++) {
    // Bytes that are alike in both make one of the two after all.
    write_stamp(one.data(), Stamp{1, 5, make_version(3, 10)});

    const auto whole = one;

    std::copy(two.begin(), two.begin() + static_cast<long>(at), one.begin());
    if (one == two || one == whole)
      continue;
    CHECK(read_stamp(one.data()).state == SectorState::torn);
  }
}

TEST_CASE("a mixture is of the writes it is said to be of, and of no others") {
  const Stamp old{1, 5, make_version(3, 10)};
  const Stamp fresh{1, 5, make_version(3, 11)};
  const Stamp other{1, 5, make_version(3, 12)};
  const Stamp zeroes{1, 5, content_zero};
  std::array<char, sector_size> sector;
  std::array<char, sector_size> head;

  write_stamp(sector.data(), old);
  write_stamp(head.data(), fresh);
  std::copy(head.begin(), head.begin() + 192, sector.begin());
  CHECK(is_mixture(sector.data(), {old, fresh}));
  CHECK(is_mixture(sector.data(), {fresh, other, old}));
  CHECK_FALSE(is_mixture(sector.data(), {old}));
  CHECK_FALSE(is_mixture(sector.data(), {fresh}));
  CHECK_FALSE(is_mixture(sector.data(), {old, other}));
  CHECK_FALSE(is_mixture(sector.data(), {fresh, zeroes}));
  CHECK_FALSE(is_mixture(sector.data(), {}));
  std::fill(sector.begin() + 192, sector.end(), 0);
  CHECK(is_mixture(sector.data(), {fresh, zeroes}));
  CHECK_FALSE(is_mixture(sector.data(), {fresh, old}));
}

TEST_CASE("zeroes and garbage are told apart") {
  std::array<char, sector_size> sector{};

  CHECK(read_stamp(sector.data()).state == SectorState::zero);
  sector[511] = 1;
  CHECK(read_stamp(sector.data()).state == SectorState::garbage);
  sector.fill(0x55);
  CHECK(read_stamp(sector.data()).state == SectorState::garbage);
  CHECK(describe_sector(sector.data()).find("no stamp, begins 55") == 0);
}

TEST_CASE("a stale sector is found") {
  Device device;

  device.history.set_base(0, 1, device_sectors);
  CHECK(device.check(5, 1));
  device.write(5, 2);
  CHECK(device.check(5, 2));
  CHECK_FALSE(device.check(5, 1));
  CHECK(device.check(4, 1));
  CHECK(device.check(6, 1));
}

TEST_CASE("a mismatch is described") {
  Device device;
  const Content found = make_version(1, 1);
  Mismatch what;

  device.history.set_base(0, found, device_sectors);
  device.write(200, make_version(2, 7));

  Look look(device.clock);

  look.finish();

  const Contents contents(device_sectors, found);

  CHECK_FALSE(device.history.check(0, contents.data(), device_sectors, look, &what));
  CHECK(what.sector == 200);
  CHECK(what.found == found);
  CHECK(what.acceptable == Contents{make_version(2, 7)});
  CHECK(what.details.find("writer 2 write 7 [") != std::string::npos);
}

TEST_CASE("a write in flight may or may not be there") {
  Device device;

  device.history.set_base(0, 1, device_sectors);

  const Ticket ticket = device.begin(5, 2);

  CHECK(device.check(5, 1));
  CHECK(device.check(5, 2));
  CHECK(device.check(5, 1));
  CHECK_FALSE(device.check(5, 3));
  device.history.end(ticket);
  CHECK_FALSE(device.check(5, 1));
  CHECK(device.check(5, 2));
}

TEST_CASE("a write that ended during the look may be missing, one after it may not be there") {
  Device device;

  device.history.set_base(0, 1, device_sectors);

  const Ticket ticket = device.begin(5, 2);
  Look look(device.clock);

  device.history.end(ticket);
  look.finish();
  device.write(5, 3);
  CHECK(device.acceptable(5, look) == Contents{1, 2});
  CHECK_FALSE(device.check(5, 3, look));
}

TEST_CASE("a write that began during the look may be there") {
  Device device;

  device.history.set_base(0, 1, device_sectors);

  Look look(device.clock);

  device.write(5, 2);
  device.write(5, 3);
  look.finish();
  CHECK(device.acceptable(5, look) == Contents{1, 2, 3});
}

TEST_CASE("of concurrent writes each may be last") {
  Device device;

  device.history.set_base(0, 1, device_sectors);

  const Ticket two = device.begin(5, 2);
  const Ticket three = device.begin(5, 3);

  device.history.end(two);
  device.history.end(three);

  Look look(device.clock);

  look.finish();
  CHECK(device.acceptable(5, look) == Contents{2, 3});

  // one after both is the last of all
  device.write(5, 4);
  CHECK(device.check(5, 4));
  CHECK_FALSE(device.check(5, 3));
  CHECK_FALSE(device.check(5, 2));
}

TEST_CASE("a long write may come after short ones within it, not before one after it") {
  Device device;

  device.history.set_base(0, 1, device_sectors);

  const Ticket slow = device.begin(5, 2);

  device.write(5, 3);
  device.write(5, 4);
  {
    Look look(device.clock);

    look.finish();
    CHECK(device.acceptable(5, look) == Contents{2, 4});
  }
  device.history.end(slow);
  {
    Look look(device.clock);

    look.finish();
    CHECK(device.acceptable(5, look) == Contents{2, 4});
  }
}

TEST_CASE("a discard leaves what was there, or zeroes") {
  Device device;

  device.history.set_base(0, 1, device_sectors);
  device.write(5, 2);
  device.write(5, content_zero, Effect::uncertain);
  CHECK(device.check(5, 2));
  CHECK(device.check(5, content_zero));
  CHECK_FALSE(device.check(5, 1));
  device.write(5, 3);
  CHECK_FALSE(device.check(5, content_zero));
  CHECK_FALSE(device.check(5, 2));
  CHECK(device.check(5, 3));
}

TEST_CASE("a failed write may have been done in part") {
  Device device;

  device.history.set_base(0, 1, device_sectors);

  const Ticket ticket = device.begin(5, 2);

  device.history.end(ticket, false);
  CHECK(device.check(5, 1));
  CHECK(device.check(5, 2));
}

TEST_CASE("a range is checked sector by sector, across regions") {
  Device device;
  Contents contents(device_sectors, 1);
  Mismatch what;

  device.history.set_base(0, 1, device_sectors);
  device.history.end(device.history.begin(100, 500, 2));
  std::fill(contents.begin() + 100, contents.begin() + 600, 2);

  Look look(device.clock);

  look.finish();
  CHECK(device.history.check(0, contents.data(), device_sectors, look, &what));
  contents[599] = 1;
  CHECK_FALSE(device.history.check(0, contents.data(), device_sectors, look, &what));
  CHECK(what.sector == 599);
  contents[599] = 2;
  contents[600] = 2;
  CHECK_FALSE(device.history.check(0, contents.data(), device_sectors, look, &what));
  CHECK(what.sector == 600);
  CHECK_THROWS(device.history.begin(device_sectors - 1, 2, 9));
}

TEST_CASE("an image holds what its origin held at the cut") {
  Device origin;
  Device image;

  origin.history.set_base(0, 1, device_sectors);
  origin.write(5, 2);

  const Ticket racing = origin.begin(6, 3);
  Look cut(origin.clock);

  cut.finish();
  origin.history.end(racing);
  origin.write(5, 4);
  origin.write(7, 5);
  origin.history.fork_to(image.history, cut);

  CHECK(image.check(5, 2));
  CHECK_FALSE(image.check(5, 1));  // stale
  CHECK_FALSE(image.check(5, 4));  // new
  CHECK(image.check(7, 1));
  CHECK_FALSE(image.check(7, 5));
  CHECK(image.history.ambiguous_sectors() == 1);
}

TEST_CASE("a sector that changed after it was first seen is found") {
  Device origin;
  Device image;

  origin.history.set_base(0, 1, device_sectors);

  const Ticket racing = origin.begin(6, 3);
  Look cut(origin.clock);

  cut.finish();
  origin.history.fork_to(image.history, cut);

  SECTION("the old content first") {
    CHECK(image.check(6, 1));
    CHECK_FALSE(image.check(6, 3));
    CHECK(image.check(6, 1));
  }
  SECTION("the new content first") {
    CHECK(image.check(6, 3));
    CHECK_FALSE(image.check(6, 1));
    CHECK(image.check(6, 3));
  }
  CHECK(image.history.ambiguous_sectors() == 0);
  origin.history.end(racing);
}

TEST_CASE("an ambiguous sector is not pinned by a write to the image") {
  Device origin;
  Device image;

  origin.history.set_base(0, content_zero, device_sectors);

  const Ticket racing = origin.begin(6, 3);
  Look cut(origin.clock);

  cut.finish();
  origin.history.fork_to(image.history, cut);
  origin.history.end(racing);

  // The zeroes may be the discard's, then the base stays open.
  const Ticket discard = image.begin(6, content_zero, Effect::uncertain);

  CHECK(image.check(6, content_zero));
  CHECK(image.check(6, 3));
  image.history.end(discard);
}

TEST_CASE("writes to an image are expected there") {
  Device image;

  image.history.set_base(0, 1, device_sectors);
  image.write(5, 2 | content_image_bit);
  CHECK(image.check(5, 2 | content_image_bit));
  CHECK_FALSE(image.check(5, 1));
  CHECK_FALSE(image.check(5, 2));
}

TEST_CASE("new base contents end all that was before") {
  Device device;
  const Contents contents(device_sectors, 7);

  device.write(5, 2);
  device.history.set_base(0, contents.data(), device_sectors);
  CHECK(device.check(5, 7));
  CHECK_FALSE(device.check(5, 2));
}

TEST_CASE("overlaps are those in time and place") {
  Device device;

  device.write(5, 2);

  Look look(device.clock);
  const Ticket ticket = device.history.begin(40, 8, 3, Effect::certain, /* first_write = */ true);

  device.history.end(ticket);
  look.finish();
  device.write(7, 4);
  CHECK(device.history.overlaps(40, 8, look).any);
  CHECK(device.history.overlaps(47, 100, look).first);
  CHECK_FALSE(device.history.overlaps(48, 100, look).any);
  CHECK_FALSE(device.history.overlaps(0, 40, look).any);
}

TEST_CASE("what is forgotten was superseded for every look in progress") {
  Device device;

  device.history.set_base(0, 1, device_sectors);
  device.write(5, 2);

  Look early(device.clock);

  for (Content version = 10; version < 1000; version++)
    device.write(5, version);
  early.finish();
  CHECK(device.check(5, 2, early));
  CHECK(device.check(5, 500, early));
  CHECK_FALSE(device.check(5, 1, early));
  CHECK(device.check(5, 999));
  CHECK_FALSE(device.check(5, 998));
  CHECK_FALSE(device.check(5, 1));
}

// One sector at a time, against the definition.
TEST_CASE("the verdict is that of the definition") {
  std::mt19937 random(1);

  for (int round = 0; round < 200; round++) {
    struct Write {
      Ticket ticket;
      Time end = time_never;
      Content content;
      bool certain;
    };
    Device device;
    std::vector<Write> writes;

    device.history.set_base(0, 1, device_sectors);
    for (int step = 0; step < 150; step++) {
      const auto choice = random() % 3;

      if (choice == 0) {
        const Content content = 2 + writes.size();
        const bool certain = random() % 4;

        writes.push_back(Write{device.begin(5, content, certain ? Effect::certain : Effect::uncertain),
                               time_never, content, certain});
      } else if (choice == 1 && !writes.empty()) {
        Write &write = writes[random() % writes.size()];

        if (write.end == time_never) {
          device.history.end(write.ticket);
          // the next moment: end() took the one before
          write.end = device.clock.tick() - 1;
        }
      } else {
        Look look(device.clock);

        if (random() % 2) {
          const Content content = 2 + writes.size();

          writes.push_back(Write{device.begin(5, content), time_never, content, true});
        }
        look.finish();

        Contents right;

        for (std::size_t i = 0; i <= writes.size(); i++) {
          const Write base{Ticket{5, 1, 0}, 0, 1, true};
          const Write &candidate = i ? writes[i - 1] : base;
          const bool superseded = std::any_of(writes.begin(), writes.end(), [&](const Write &w) {
            return w.certain && w.ticket.start > candidate.end && w.end < look.from();
          });

          if (!superseded && candidate.ticket.start < look.until())
            right.push_back(candidate.content);
        }
        std::sort(right.begin(), right.end());
        REQUIRE(device.acceptable(5, look) == right);
      }
    }
  }
}

TEST_CASE("threads see no false alarm") {
  Device device;
  std::array<std::atomic<Content>, 64> sectors{};
  std::atomic<bool> stop{false};
  std::atomic<unsigned> wrong{0};
  std::vector<std::thread> threads;

  for (unsigned writer = 1; writer <= 4; writer++)
    threads.emplace_back([&, writer] {
      std::mt19937 random(writer);

      for (std::uint64_t n = 1; n < 20000; n++) {
        const std::uint64_t first = random() % 60;
        const Content version = make_version(writer, n);
        const Ticket ticket = device.history.begin(first, 4, version);

        for (std::uint64_t i = first; i < first + 4; i++)
          sectors[i] = version;
        device.history.end(ticket);
      }
    });
  for (unsigned reader = 0; reader < 2; reader++)
    threads.emplace_back([&] {
      while (!stop) {
        Contents contents;
        Look look(device.clock);

        for (const auto &sector : sectors)
          contents.push_back(sector);
        look.finish();
        wrong += !device.history.check(0, contents.data(), contents.size(), look, nullptr);
      }
    });
  for (unsigned i = 0; i < 4; i++)
    threads[i].join();
  stop = true;
  threads[4].join();
  threads[5].join();
  CHECK(wrong == 0);
}

TEST_CASE("B without A is found") {
  const std::vector<ChainLink> links = {{0, 0}, {1, 0}, {2, 8}};

  CHECK(check_chain(links, {5, 5, 5}).empty());
  CHECK(check_chain(links, {5, 5, 4}).empty());
  CHECK(check_chain(links, {5, 4, 4}).empty());
  CHECK(check_chain(links, {0, 0, 0}).empty());
  CHECK(check_chain(links, {1, 0, 0}).empty());

  const std::string wrong = check_chain(links, {4, 5, 4});

  CHECK(wrong.find("B without A: the image shows origin 1 sector 0 with write 5") == 0);
  CHECK(wrong.find("origin 0 sector 0 with write 4") != std::string::npos);
  CHECK(check_chain(links, {5, 4, 5}).find("B without A") == 0);
  CHECK(check_chain(links, {5, 3, 3}).find("lost write") == 0);
  CHECK(check_chain(links, {6, 5, 4}).find("lost write") == 0);
  CHECK(check_chain({}, {}).empty());
}
