# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# Kernel directories: boot/vmlinuz-VERSION, lib/modules/VERSION, and a file
# "kbuild" that says how to build modules for it:
#   dir=PATH   the directory for make -C
#   root=PATH  where to chroot first, for a kernel with a compiler of its own; or empty
# A kernel built by hand (make install, modules_install) has no such file;
# its lib/modules/VERSION/build leads to the directory then.
# Needs common.sh and apt.sh.

kernel_names=(6.1 6.12 7.2)

# Built by us with the kernel's own checkers, see kernel-build.sh.
kernel_checked_names=(6.1-kasan 6.1-kcsan)

kernel_is_checked() { [[ " ${kernel_checked_names[*]} " == *" $1 "* ]]; }

# kernel_suite NAME: where that kernel comes from.
kernel_suite() {
	case $1 in
	6.1 | 6.1-*) echo bookworm ;;
	6.12) echo bookworm-backports ;;
	7.2) echo forky ;;
	*) die "unknown kernel $1: one of ${kernel_names[*]} ${kernel_checked_names[*]}" ;;
	esac
}

# kernel_own_compiler NAME: whether its modules want another compiler than this machine's.
kernel_own_compiler() { [[ $1 == 7.2 ]]; }

kernel_version() {
	local images=("$1"/boot/vmlinuz-*)
	[[ ${#images[@]} -eq 1 && -f ${images[0]} ]] || die "not exactly one boot/vmlinuz-* in $1"
	echo "${images[0]##*/vmlinuz-}"
}

kernel_modules() {
	local version
	version=$(kernel_version "$1") || return
	[[ -d $1/lib/modules/$version ]] || die "no lib/modules/$version in $1"
	echo "$1/lib/modules/$version"
}

# kernel_kbuild DIR: sets kbuild_dir and kbuild_root.
# shellcheck disable=SC2034 # for the caller
kernel_kbuild() {
	local modules
	kbuild_root=
	if [[ -f $1/kbuild ]]; then
		kbuild_dir=$(sed -n 's/^dir=//p' "$1/kbuild")
		kbuild_root=$(sed -n 's/^root=//p' "$1/kbuild")
	else
		modules=$(kernel_modules "$1") || return
		kbuild_dir=$(readlink -e "$modules/build") || die "nothing to build modules with in $1"
	fi
}

# kernel_fetch NAME: looks up the newest package and unpacks it into the cache
# if it is not there. Prints the directory.
kernel_fetch() {
	local name=$1 suite cache image headers version dir tmp
	suite=$(kernel_suite "$name")
	cache=$(cache_dir)/kernels
	mkdir -p "$cache"
	with_lock "apt-$suite" suite_update "$suite"
	image=$(suite_depends "$suite" linux-image-amd64 '^linux-image-[0-9]' | head -n 1)
	headers=$(suite_depends "$suite" linux-headers-amd64 '^linux-headers-[0-9].*-amd64$' | head -n 1)
	[[ $image && $headers ]] || die "no linux-image-amd64 and linux-headers-amd64 in $suite"
	version=$(suite_version "$suite" "$image")
	[[ $version == "$name".* ]] || note "$suite has kernel $version by now, taken for $name"
	dir=$cache/$name-$version
	kernel_forget_old "$name" "$dir"
	if [[ ! -d $dir ]]; then
		tmp=$(mktemp -d "$cache/tmp.XXXXXX")
		# shellcheck disable=SC2064 # the path of now
		trap "rm -rf '$tmp'" EXIT
		kernel_unpack "$name" "$suite" "$image" "$headers" "$tmp" "$dir" >&2
		chmod 755 "$tmp"
		mv -T "$tmp" "$dir"
	fi
	echo "$dir"
}

# kernel_forget_old NAME DIR: what is older than DIR in the same place, and what a
# killed run left; nothing young, which may be in use. A name goes on with a version
# or a key, so that 6.1 is not taken for the start of 6.1-kasan.
kernel_forget_old() {
	find "${2%/*}" -mindepth 1 -maxdepth 1 -type d -mtime +14 \( -name "$1-[0-9a-f]*" -o -name 'tmp.*' \) \
		-not -path "$2" -exec rm -rf {} +
}

# kernel_unpack NAME SUITE IMAGE HEADERS DIR FINAL: fills DIR, which will be moved to FINAL.
kernel_unpack() {
	local suite=$2 image=$3 headers=$4 dir=$5 final=$6 release parts
	# newer kernels come in several packages, each named like the image
	release=${image#linux-image-}
	mapfile -t parts < <(suite_depends "$suite" "$image" '^linux-' |
		grep -xF -e "$image" -e "linux-base-$release" -e "linux-binary-$release" -e "linux-modules-$release")
	suite_unpack "$suite" "$dir" "${parts[@]}"
	[[ -e $dir/lib ]] || ln -s usr/lib "$dir/lib"
	rm -rf "${dir:?}/usr/share"
	if [[ ! -d $dir/boot ]]; then
		mkdir "$dir/boot"
		ln -s "../lib/modules/$release/vmlinuz" "$dir/boot/vmlinuz-$release"
	fi
	depmod -b "$dir" "$release"
	if kernel_own_compiler "$1"; then
		build_root "$suite" "$dir/root" linux-headers-amd64
		printf 'dir=%s\nroot=%s\n' "/usr/src/$headers" "$final/root" >"$dir/kbuild"
		return
	fi
	mapfile -t parts < <(suite_depends "$suite" "$headers" '^linux-(headers|kbuild)-[0-9]')
	suite_unpack "$suite" "$dir" "${parts[@]}"
	# the packages name each other by absolute paths
	grep -rIl --include=Makefile -e '/usr/src/linux-headers' "$dir/usr/src/$headers" --max-count=1 |
		xargs -r sed -i "s#/usr/src/linux-headers#$final/usr/src/linux-headers#g"
	printf 'dir=%s\nroot=\n' "$final/usr/src/$headers" >"$dir/kbuild"
}
