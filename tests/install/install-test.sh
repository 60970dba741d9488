#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Installs into an empty root, and builds the example with what is there and nothing
# of the tree, once by CMake's find_package and once by pkg-config.
#
#   install-test.sh BUILD SOURCE                      what was built in BUILD
#   install-test.sh --build SOURCE CMAKE-OPTION...    what these options make of it
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
build=$1 source=$2
shift 2

fail() {
	echo "install-test: $*" >&2
	exit 1
}

# has LINE TEXT WHAT
has() { grep -q "$1" <<<"$2" || fail "$3: no '$1' in: $2"; }

# The program must not go further than to its arguments: this is no VM.
runs() {
	local said status=0
	said=$(LD_LIBRARY_PATH=$libdir "$1" 2>&1) || status=$?
	[[ $status -eq 5 && $said == *'usage: backup DEVICE STORE FILE'* ]] || fail "$1: status $status: $said"
}

if [[ $build == --build ]]; then
	build=$work/build
	cmake -S "$source" -B "$build" -DDIFFSNAP_BUILD_MODULE=OFF -DBUILD_TESTING=OFF "$@"
	cmake --build "$build"
fi
prefix=$(sed -n 's/^CMAKE_INSTALL_PREFIX:PATH=//p' "$build/CMakeCache.txt")
root=$work/root
DESTDIR=$root cmake --install "$build" >"$work/installed"
cat "$work/installed"
pc=$(find "$root" -name diffsnap.pc)
libdir=$(dirname "$(dirname "$pc")")

# ---- what is there

headers=$(cd "$root$prefix/include" && find . -type f)
[[ $headers == ./diffsnap/diffsnap.h ]] || fail "headers: $headers"
c++ -std=c++17 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -x c++ "$root$prefix/include/diffsnap/diffsnap.h"
has ' wait ' "$("$root$prefix/sbin/diffsnap" help)" 'the tool'
[[ $(ldd "$root$prefix/sbin/diffsnap") != *libdiffsnap* ]] || fail "the tool needs the library"
if [[ -e $libdir/libdiffsnap.so ]]; then
	others=$(nm -DC --defined-only "$libdir/libdiffsnap.so" | grep -v ' diffsnap::v0::\| A DIFFSNAP_0' || :)
	[[ ! $others ]] || fail "symbols that are nobody's business: $others"
	[[ -L $libdir/libdiffsnap.so && $(readelf -d "$libdir/libdiffsnap.so") == *BIND_NOW* ]] || fail "the shared library"
fi

# ---- find_package

mkdir "$work/cmake"
cp "$source/userspace/examples/backup.cpp" "$work/cmake/"
cat >"$work/cmake/CMakeLists.txt" <<-'END'
	cmake_minimum_required(VERSION 3.18)
	project(outside LANGUAGES CXX)
	find_package(diffsnap ${wanted} REQUIRED)
	add_executable(backup backup.cpp)
	target_link_libraries(backup PRIVATE diffsnap::diffsnap)
END
version=$(sed -n 's/^Version: //p' "$pc")
cd "$work/cmake"
cmake -S . -B build -DCMAKE_PREFIX_PATH="$root$prefix" -Dwanted="$version" -DCMAKE_CXX_FLAGS='-Wall -Wextra -Werror'
cmake --build build
runs build/backup
if said=$(cmake -S . -B other -DCMAKE_PREFIX_PATH="$root$prefix" -Dwanted=99.0 2>&1); then fail "any version will do"; fi
has "version: $version" "$said" 'another version'

# ---- pkg-config

mkdir "$work/pkg-config"
cd "$work/pkg-config"
export PKG_CONFIG_SYSROOT_DIR=$root PKG_CONFIG_PATH=${pc%/*}
[[ $(pkg-config --modversion diffsnap) == "$version" ]]
# shellcheck disable=SC2046 # words
c++ -std=c++17 -Wall -Wextra -Werror "$work/cmake/backup.cpp" $(pkg-config --cflags --libs diffsnap) -o backup
runs ./backup
