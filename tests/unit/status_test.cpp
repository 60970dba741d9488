// SPDX-License-Identifier: GPL-2.0-or-later
#include "dm/status.h"

#include <cerrno>

#include "catch.h"
#include "lines.h"

namespace diffsnap::dm {
namespace {

bool is_understood(const test::StatusLine &line) {
  if (line.target == OriginTable::target) {
    return std::holds_alternative<OriginStatus>(parse_origin_status(line.params));
  }
  if (line.target == StoreTable::target) {
    return !std::holds_alternative<UnknownStatus>(parse_store_status(line.params));
  }
  return std::holds_alternative<ImageStatus>(parse_image_status(line.params));
}

TEST_CASE("documented status lines are understood", "[status]") {
  const auto lines = test::read_status_lines("status.txt");
  REQUIRE(lines.size() > 10);
  for (const auto &line : lines) {
    CAPTURE(line.target, line.params);
    CHECK(is_understood(line));
  }
}

TEST_CASE("malformed status lines are kept as they are", "[status]") {
  const auto lines = test::read_status_lines("malformed.txt");
  REQUIRE(lines.size() > 10);
  for (const auto &line : lines) {
    CAPTURE(line.target, line.params);
    CHECK_FALSE(is_understood(line));
  }
  const auto status = parse_store_status("from the future");
  CHECK(std::get<UnknownStatus>(status).text == "from the future");
}

TEST_CASE("an origin's status has its numbers", "[status]") {
  const auto status = std::get<OriginStatus>(
      parse_origin_status("held 254:8 17 136 2 0198c0de-0000-7000-8000-00000000abcd 4 128"));
  CHECK(status.state == OriginState::held);
  CHECK(status.store == DeviceId{254, 8});
  CHECK(status.copies == 17);
  CHECK(status.preserved == 136);
  CHECK(status.held_writes == 2);
  CHECK(status.newest == ChangeId{"0198c0de-0000-7000-8000-00000000abcd", 4});
  CHECK(status.tracking_block == 128);
}

TEST_CASE("a working store's status has its numbers and members", "[status]") {
  const auto status =
      parse_store_status("low - 8192/409600 1024 40960 153000 2 254:2 8000 1024 64 254:3 192 1 2 ");
  const auto &store = std::get<WorkingStore>(status);
  CHECK(store.state == StoreState::low);
  CHECK(store.numbers.used == 8192);
  CHECK(store.numbers.size == 409600);
  CHECK(store.numbers.buffered == 1024);
  CHECK(store.numbers.low_water == 40960);
  CHECK(store.numbers.closed == std::chrono::microseconds{153});
  REQUIRE(store.numbers.members.size() == 2);
  CHECK(store.numbers.members[1].origin == DeviceId{254, 3});
  CHECK(store.numbers.members[1].preserved == 192);
  CHECK(store.numbers.members[1].written == 1);
  CHECK(store.numbers.members[1].released == 2);
  CHECK(numbers(status) == &store.numbers);
}

TEST_CASE("a store that was given up says why", "[status]") {
  const auto status = parse_store_status("invalid origin-gone:19:254:3 0/8 0 0 0 0");
  const auto &store = std::get<EndedStore>(status);
  REQUIRE(store.reason);
  CHECK(store.reason->what == "origin-gone");
  CHECK(store.reason->error_number == ENODEV);
  CHECK(store.reason->origin == DeviceId{254, 3});
  CHECK(store.reason->to_string() == "origin-gone:19:254:3");
  CHECK(store.reason->explain() ==
        "the origin target was taken out of its device (origin 254:3): No such device");

  const auto dropped = parse_store_status("dropped - 0/8 0 0 0 0");
  CHECK_FALSE(std::get<EndedStore>(dropped).reason);
}

TEST_CASE("a reason that this version does not know is shown as it is", "[status]") {
  const auto reason = FailureReason::parse("moon-phase:5:-");
  REQUIRE(reason);
  CHECK(reason->explain() == "moon-phase: Input/output error");
}

}  // namespace
}  // namespace diffsnap::dm
