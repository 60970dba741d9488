// SPDX-License-Identifier: GPL-2.0-or-later
#include "dm/table.h"

#include "catch.h"
#include "lines.h"

namespace diffsnap::dm {
namespace {

/** The line printed by whichever type understands it. */
std::optional<std::string> reprint(const TableLine &line) {
  if (const auto table = OriginTable::parse(line)) {
    return table->line().to_string();
  }
  if (const auto table = StoreTable::parse(line)) {
    return table->line().to_string();
  }
  if (const auto table = ImageTable::parse(line)) {
    return table->line().to_string();
  }
  if (const auto table = LinearTable::parse(line)) {
    return table->line().to_string();
  }
  return std::nullopt;
}

TEST_CASE("documented table lines are printed as they were parsed", "[table]") {
  const auto lines = test::read_lines("tables.txt");
  REQUIRE(lines.size() > 5);
  for (const std::string &text : lines) {
    CAPTURE(text);
    const auto line = TableLine::parse(text);
    REQUIRE(line);
    CHECK(line->to_string() == text);
    CHECK(reprint(*line) == text);
  }
}

TEST_CASE("tables are parsed as they were printed", "[table]") {
  const OriginTable origin{2048, {254, 3}};
  CHECK(OriginTable::parse(origin.line()) == origin);
  const OriginTable fine{2048, {254, 3}, Sectors{8}};
  CHECK(OriginTable::parse(fine.line()) == fine);
  CHECK_FALSE(OriginTable::parse(fine.line()) == origin);

  StoreTable store;
  store.length = 4096;
  store.device = {254, 9};
  store.chunk = 64;
  CHECK(StoreTable::parse(store.line()) == store);
  store.low_water = 8;
  store.buffer = 8192;
  store.store_timeout = std::chrono::milliseconds{100};
  store.on_full = OnFull{std::chrono::milliseconds{7}};
  CHECK(StoreTable::parse(store.line()) == store);

  const ImageTable image{77, {254, 1}, {254, 2}};
  CHECK(ImageTable::parse(image.line()) == image);
  const LinearTable linear{8, 16, {8, 1}, 24};
  CHECK(LinearTable::parse(linear.line()) == linear);
}

TEST_CASE("an origin may say that it has no feature arguments", "[table]") {
  const auto table = OriginTable::parse({0, 8, "diffsnap-origin", "254:3 0"});
  REQUIRE(table);
  CHECK(table->real_device == DeviceId{254, 3});
  CHECK_FALSE(table->tracking_block);
}

TEST_CASE("malformed lines are no tables", "[table]") {
  CHECK_FALSE(TableLine::parse(""));
  CHECK_FALSE(TableLine::parse("0 8"));
  CHECK_FALSE(TableLine::parse("0 -8 linear 8:0 0"));
  CHECK_FALSE(OriginTable::parse({0, 8, "linear", "254:3"}));
  CHECK_FALSE(OriginTable::parse({8, 8, "diffsnap-origin", "254:3"}));
  CHECK_FALSE(OriginTable::parse({0, 8, "diffsnap-origin", ""}));
  CHECK_FALSE(OriginTable::parse({0, 8, "diffsnap-origin", "/dev/vdb"}));
  for (const char *params : {"254:3 1", "254:3 2 tracking_block", "254:3 2 tracking_block x",
                             "254:3 2 color 8", "254:3 1 tracking_block 8"}) {
    CAPTURE(params);
    CHECK_FALSE(OriginTable::parse({0, 8, "diffsnap-origin", params}));
  }
  for (const char *params : {"254:1", "254:1 8 1", "254:1 8 1 buffer", "254:1 8 2 buffer x",
                             "254:1 8 2 color 7", "254:1 8 4 buffer 1", "254:1 8 2 on_full wait:0",
                             "254:1 8 2 on_full later", "254:1 8 18446744073709551615 buffer 1"}) {
    CAPTURE(params);
    CHECK_FALSE(StoreTable::parse({0, 8, "diffsnap-store", params}));
  }
  CHECK_FALSE(ImageTable::parse({0, 8, "diffsnap-image", "254:1"}));
  CHECK_FALSE(LinearTable::parse({0, 8, "linear", "8:1 0 0"}));
}

TEST_CASE("a wiped table holds nothing of its parameters", "[table]") {
  Table table{{0, 8, "crypt", std::string(64, 'k')}};
  const char *data = table[0].params.data();
  wipe(table);
  CHECK(table[0].params.empty());
  CHECK(data[1] == '\0');
}

TEST_CASE("device numbers are two numbers and a colon", "[table]") {
  CHECK(DeviceId::parse("253:3") == DeviceId{253, 3});
  CHECK(DeviceId{253, 1048575}.to_string() == "253:1048575");
  CHECK(DeviceId::from_dev_t(DeviceId{253, 1048575}.to_dev_t()) == DeviceId{253, 1048575});
  for (const char *text : {"", ":", "253", "253:", ":3", "253:3 ", "253:-3", "a:3", "253:3:1"}) {
    CAPTURE(text);
    CHECK_FALSE(DeviceId::parse(text));
  }
}

}  // namespace
}  // namespace diffsnap::dm
