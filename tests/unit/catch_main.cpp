// SPDX-License-Identifier: GPL-2.0-or-later
// main() of the unit tests: version 2 of Catch2 makes it here, version 3 brings it as a library.
#if !__has_include(<catch2/catch_all.hpp>)
#define CATCH_CONFIG_MAIN
#endif
#include "catch.h"
