// SPDX-License-Identifier: GPL-2.0-or-later
#include "core/naming.h"

#include "base/error.h"
#include "catch.h"
#include "errors.h"

namespace diffsnap {
namespace {

TEST_CASE("names follow LVM's grammar", "[naming]") {
  for (const char *name : {"daily", "a", "Daily_2.0+x", "a-b--c"}) {
    CHECK(is_valid_name(name));
  }
  for (const char *name : {"", "-x", ".", "..", "a b", "a/b", "\xc3\xa4", "a:b"}) {
    CAPTURE(name);
    CHECK_FALSE(is_valid_name(name));
    CHECK_THROWS_AS(check_name(name), SyntaxError);
  }
}

TEST_CASE("device names can be taken apart again", "[naming]") {
  CHECK(store_name("my-snap") == "diffsnap-my--snap");
  CHECK(data_name("my-snap") == "diffsnap--data-my--snap");
  CHECK(real_name("vg-root") == "vg-root-diffsnap");
  CHECK(image_name("my-snap", "vg-my--root") == "diffsnap-my--snap-vg--my----root");
  CHECK(image_path("s", "vg-root") == "/dev/diffsnap/s/vg-root");

  for (const char *snapshot : {"s", "my-snap", "ends-", "a--b"}) {
    CHECK(snapshot_of_store_name(store_name(snapshot)) == snapshot);
    CHECK(snapshot_of_data_name(data_name(snapshot)) == snapshot);
    CHECK_FALSE(snapshot_of_data_name(store_name(snapshot)));
    CHECK_FALSE(snapshot_of_store_name(data_name(snapshot)));
    for (const std::string &name :
         {store_name(snapshot), data_name(snapshot), image_name(snapshot, "vg-root")}) {
      CHECK(snapshot_of_device_name(name) == snapshot);
    }
    for (const char *origin : {"vdb", "vg-root", "vg-my--root", "luks-"}) {
      const auto parts = split_image_name(image_name(snapshot, origin));
      REQUIRE(parts);
      CHECK(parts->snapshot == snapshot);
      CHECK(parts->origin == origin);
    }
  }
  CHECK_FALSE(split_image_name("vg-root-real"));
  CHECK_FALSE(split_image_name("diffsnap-s"));
  CHECK_FALSE(snapshot_of_store_name("vg-root"));
  CHECK_FALSE(snapshot_of_device_name("vg-root"));
  CHECK_FALSE(snapshot_of_device_name("vg-root-diffsnap"));
}

TEST_CASE("names that device-mapper would not take are refused with their length", "[naming]") {
  const std::string long_name(118, 'x');
  CHECK(store_name(long_name).size() == 127);
  CHECK_THROWS_AS(store_name(long_name + 'x'), SyntaxError);
  const std::string message = test::message_of([&] { return data_name(long_name); });
  CHECK(message.find("allows 127") != std::string::npos);
  CHECK_THROWS_AS(store_name(std::string(60, '-')), SyntaxError);
}

TEST_CASE("UUIDs are parsed as they were printed", "[naming]") {
  const std::string id = new_id();
  for (const DeviceKind kind :
       {DeviceKind::origin, DeviceKind::real, DeviceKind::store, DeviceKind::data, DeviceKind::image}) {
    const DeviceUuid uuid{kind, id, kind == DeviceKind::image ? std::size_t{12} : 0};
    CHECK(DeviceUuid::parse(uuid.to_string()) == uuid);
  }
  DeviceUuid waiting{DeviceKind::store, id};
  waiting.to_be_taken = true;
  CHECK(waiting.to_string() == "DIFFSNAP-store-" + id + "-later");
  CHECK(DeviceUuid::parse(waiting.to_string()) == waiting);
  CHECK_FALSE(DeviceUuid::parse("DIFFSNAP-data-" + id + "-later"));
  CHECK(DeviceUuid{DeviceKind::image, id, 3}.to_string() == "DIFFSNAP-image-" + id + "-3");
  for (const std::string &text :
       {std::string("LVM-") + id, "DIFFSNAP-" + id, "DIFFSNAP-store-" + id + "-3", "DIFFSNAP-image-" + id,
        "DIFFSNAP-image-" + id + "-", std::string("DIFFSNAP-store-xyz"), "DIFFSNAP-stored-" + id,
        std::string()}) {
    CAPTURE(text);
    CHECK_FALSE(DeviceUuid::parse(text));
  }
}

TEST_CASE("an id is 32 hex digits and knows when it was made", "[naming]") {
  const auto before = std::chrono::system_clock::now();
  const std::string id = new_id();
  CHECK(id.size() == 32);
  CHECK(id.find_first_not_of("0123456789abcdef") == std::string::npos);
  CHECK(id != new_id());
  const auto made = time_of_id(id);
  REQUIRE(made);
  CHECK(before - *made < std::chrono::seconds{1});
  CHECK(*made - before < std::chrono::seconds{1});
  CHECK_FALSE(time_of_id("00000000000000000000000000000000"));
  CHECK_FALSE(time_of_id("short"));
}

TEST_CASE("an error is one sentence", "[error]") {
  const Error error("attach", "/dev/vdb", EBUSY);
  CHECK(std::string(error.what()) == "cannot attach /dev/vdb: Device or resource busy");
  CHECK(error.code() == std::errc::device_or_resource_busy);
  const Error with_reason("remove", "snapshot \"x\"", EBUSY, "it is in use", "Wait.");
  CHECK(std::string(with_reason.what()) == "cannot remove snapshot \"x\": it is in use");
  CHECK(with_reason.hint() == "Wait.");
}

}  // namespace
}  // namespace diffsnap
