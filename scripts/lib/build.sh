# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# The userspace build. The module is not part of it: see module-build.
# Needs common.sh.

# build_userspace DIR [TARGET]: all, or only that, in DIR.
build_userspace() {
	cmake -S "${tree:?}" -B "$1" -DDIFFSNAP_BUILD_MODULE=OFF &&
		cmake --build "$1" -j "$(nproc)" ${2:+--target "$2"}
}
