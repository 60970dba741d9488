# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# The VM groups and what their header lines say (see tests/vm/lib.sh).
# Needs common.sh and kernels.sh.

group_names() {
	local file
	for file in "${tree:?}"/tests/vm/groups/*.sh; do
		[[ ! -e $file ]] || basename "$file" .sh
	done
}

group_file() {
	[[ -f ${tree:?}/tests/vm/groups/$1.sh ]] || die "no group $1; there are: $(group_names | xargs)"
	echo "${tree:?}/tests/vm/groups/$1.sh"
}

# group_header NAME KEY [DEFAULT]: the value of "# KEY: value" above the first
# line that is no comment.
group_header() {
	local file value
	file=$(group_file "$1") || return
	value=$(awk -v key="# $2:" '!/^#/ { exit } index($0, key) == 1 { print substr($0, length(key) + 2); exit }' "$file")
	echo "${value:-${3:-}}"
}

# group_kernels NAME FULL: those it is run on, all if FULL is not empty.
group_kernels() {
	{
		group_header "$1" kernels 6.1
		[[ ! $2 ]] || group_header "$1" full-kernels "${kernel_names[*]:?} ${kernel_checked_names[*]:?}"
	} | xargs -n 1 | awk '!seen[$0]++'
}

# kernel_patience KERNEL: how many times as long to wait; checkers make a kernel slow.
kernel_patience() {
	if kernel_is_checked "${1##*/}"; then
		echo 4
	else
		echo 1
	fi
}

# group_timeout NAME KERNEL FULL: in seconds.
group_timeout() {
	local seconds
	seconds=$(group_header "$1" timeout 900)
	[[ ! $3 ]] || seconds=$(group_header "$1" full-timeout "$seconds")
	echo $((seconds * $(kernel_patience "$2")))
}

# group_cpus NAME: of its VM.
group_cpus() { group_header "$1" cpus 2; }

# group_has_flag NAME FLAG: whether there is a line "# FLAG" among them.
group_has_flag() {
	local file
	file=$(group_file "$1") || return
	awk -v flag="# $2" '!/^#/ { exit } $0 == flag { found = 1 } END { exit !found }' "$file"
}

# group_is_full NAME: whether it is left out without --full.
group_is_full() { group_has_flag "$1" full; }

# group_is_host NAME: whether it is run here, and boots its VMs itself.
group_is_host() { group_has_flag "$1" host; }

# kernel_append KERNEL NAME: for its command line when it runs that group. The allocator's
# own checks are left to KASAN, which sees more, in less time; a group that wants some of
# them asks later. kmemleak keeps a record of every allocation, which doubles the time that
# starting a program takes: it watches the groups whose paths would lose something.
kernel_append() {
	if kernel_is_checked "${1##*/}"; then
		echo "slub_debug=- $(group_has_flag "$2" leaks || echo kmemleak=off)"
	fi
}

group_list() {
	local name
	for name in $(group_names); do
		printf '%-20s %-14s %5s s %-5s %s\n' "$name" "$(group_header "$name" kernels 6.1)" \
			"$(group_header "$name" timeout 900)" "$(if group_is_full "$name"; then echo full; fi)" \
			"$(group_header "$name" about)"
	done
}
