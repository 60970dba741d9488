# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# The kernel's checkpatch.pl with its word lists, out of Debian's kernel source.
# Needs common.sh and apt.sh.

# checkpatch_get: prints the directory that holds checkpatch.pl.
checkpatch_get() {
	local dir
	dir=$(cache_dir)/checkpatch
	[[ -d $dir ]] || with_lock checkpatch checkpatch_fetch "$dir" >&2
	echo "$dir"
}

checkpatch_fetch() {
	local dir=$1 suite source tmp
	[[ ! -d $dir ]] || return 0
	suite=$(machine_codename)
	tmp=$(mktemp -d "$dir.XXXXXX")
	# shellcheck disable=SC2064 # the path of now
	trap "rm -rf '$tmp'" EXIT
	with_lock "apt-$suite" suite_update "$suite"
	source=$(suite_depends "$suite" linux-source '^linux-source-[0-9]' | head -n 1)
	suite_unpack "$suite" "$tmp" "$source"
	tar -C "$tmp" -xJf "$tmp/usr/src/$source.tar.xz" --strip-components=2 --occurrence=1 \
		"$source/scripts/"{checkpatch.pl,spelling.txt,const_structs.checkpatch}
	rm -r "${tmp:?}/usr"
	chmod 755 "$tmp"
	mv -T "$tmp" "$dir"
}
