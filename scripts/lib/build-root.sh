# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# A minimal system of another suite, for a kernel that wants that suite's compiler.
# Needs common.sh and apt.sh.

# build_root SUITE DIRECTORY PACKAGE...: with gcc, make and the given packages.
build_root() {
	local suite=$1 dir=$2 packages
	shift 2
	packages=$(IFS=, && echo "$*")
	mmdebstrap --quiet --variant=apt --include="gcc,make,$packages" \
		--aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		"$suite" "$dir" - <"$(cache_dir)/apt/$suite/sources.list"
	rm -rf "$dir/var/cache/apt" "$dir/var/lib/apt/lists"
}
