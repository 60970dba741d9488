// SPDX-License-Identifier: GPL-2.0-or-later
#include "sys/mounts.h"

#include "catch.h"

using namespace diffsnap;
using sys::parse_mountinfo;

TEST_CASE("mountinfo is read with its optional fields and escapes", "[mounts]") {
  const auto mounts = parse_mountinfo(
      "36 35 98:0 /mnt1 /mnt\\0402/a\\134b rw,noatime master:1 - ext4 /dev/root rw,errors=continue\n"
      "37 35 0:33 /sub /srv rw - btrfs /dev/mapper/vg-a\\040b rw,subvol=/sub\n"
      "38 35 8:1 / /x rw shared:2 master:3 propagate_from:4 - xfs /dev/sda1 rw,logdev=/dev/sdb1\n"
      "nonsense\n"
      "39 35 x:y / /y rw - ext4 /dev/sda1 rw\n");

  REQUIRE(mounts.size() == 3);
  CHECK(mounts[0].id == 36);
  CHECK(mounts[0].device == DeviceId{98, 0});
  CHECK(mounts[0].path == "/mnt 2/a\\b");
  CHECK(mounts[0].fs_type == "ext4");
  CHECK(mounts[0].source == "/dev/root");
  CHECK(mounts[1].source == "/dev/mapper/vg-a b");
  CHECK(mounts[2].fs_type == "xfs");
  CHECK(mounts[2].options == "rw,logdev=/dev/sdb1");
}
