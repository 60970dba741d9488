// SPDX-License-Identifier: GPL-2.0-or-later
#include "fuzz_one.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
  diffsnap::test::fuzz_one(data, size);
  return 0;
}
