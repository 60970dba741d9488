# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# The userspace build, in build/ of the tree. The module is not part of it: see module-build.
# Needs common.sh.

# build_userspace [TARGET]: all, or only that.
build_userspace() {
	cmake -S "${tree:?}" -B "$tree/build" -DDIFFSNAP_BUILD_MODULE=OFF &&
		cmake --build "$tree/build" -j "$(nproc)" ${1:+--target "$1"}
}
