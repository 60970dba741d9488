// SPDX-License-Identifier: GPL-2.0-or-later
#include "origin_arguments.h"

#include <sstream>

#include "catch.h"
#include "context.h"
#include "fake_system.h"
#include "temporary_directory.h"

namespace diffsnap::cli {
namespace {

constexpr DeviceId vdb{252, 16};

struct Arguments : test::FakeSystem {
  test::TemporaryDirectory directory;
  std::ostringstream out, err;
  Context context{out, err, dm, devices, directory / "trackers"};
  DeviceId lv;

  Arguments() {
    devices.add(vdb, "vdb", 1 << 20);
    lv = dm.add_device("vg-root", "LVM-abcdef", {dm::LinearTable{0, 8192, vdb, 2048}.line()});
  }
};

TEST_CASE_METHOD(Arguments, "what was attached for nothing is detached, and says what that costs", "[cli]") {
  {
    Attachments attachments(context, env);
    attachments.add(lv);
    dm.device("vg-root").newest.number = 3;
    dm.device("vg-root").answers = {"no answer at all"};
  }
  CHECK(dm.names() == std::set<std::string>{"vg-root"});
  CHECK(err.str().find("WARNING: cannot save the change tracker of \"vg-root\"") != std::string::npos);
}

}  // namespace
}  // namespace diffsnap::cli
