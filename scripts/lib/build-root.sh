# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# A minimal system of another suite, for a kernel that wants that suite's compiler.
# Its packages are only unpacked: a compiler and make run well without their
# set-up scripts, and it takes a tenth of the time of a bootstrap.
# Needs common.sh and apt.sh.

# what make and the kernel's build scripts call, none of it a dependency of gcc
build_root_base=(base-files libc-bin dash bash coreutils sed grep findutils diffutils mawk perl-base gcc make)

# build_root SUITE DIRECTORY PACKAGE...: with gcc, make and the given packages.
build_root() {
	local suite=$1 dir=$2 debs
	shift 2
	debs=$(cache_dir)/apt/$suite/cache/archives
	rm -f "$debs"/*.deb
	suite_apt "$suite" apt-get install -y --download-only --no-install-recommends "${build_root_base[@]}" "$@"
	mkdir -p "$dir"
	# base-files first: it makes /bin, /lib and so on links into /usr
	dpkg -x "$(find "$debs" -name 'base-files_*.deb')" "$dir"
	# shellcheck disable=SC2016 # for the inner shell
	find "$debs" -name '*.deb' -print0 | xargs -0 -n 1 sh -c 'dpkg -x "$1" "$0"' "$dir"
	rm -f "$debs"/*.deb
	rm -rf "${dir:?}"/usr/share/{doc,man,locale,info}
	[[ -e $dir/usr/bin/awk ]] || ln -s mawk "$dir/usr/bin/awk"
	mkdir -p "$dir"/{tmp,dev,proc,build}
	[[ -e $dir/dev/null ]] || mknod -m 666 "$dir/dev/null" c 1 3
}
