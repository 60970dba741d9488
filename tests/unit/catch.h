// SPDX-License-Identifier: GPL-2.0-or-later
/** @file Catch2, whichever version the distribution has. */
#ifndef DIFFSNAP_TESTS_CATCH_H
#define DIFFSNAP_TESTS_CATCH_H

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif

#endif
