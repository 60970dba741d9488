# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# shellcheck disable=SC2154 # share, case_name: of lib.sh
# Origins, stores and images by dmsetup alone, for groups that source lib.sh.
# What a function makes is removed at the case's end.

size_of() { blockdev --getsz "$1"; }

# add_device NAME TABLE...
add_device() {
	local name=$1
	shift
	dmsetup create "$name" --table "$*"
	on_exit remove_device "$name"
}

# Also when a case removed it, left it suspended, or udev looks at it.
remove_device() {
	local state
	state=$(dmsetup info -c --noheadings -o suspended "$1" 2>/dev/null) || return 0
	[[ $state != Suspended ]] || dmsetup resume "$1"
	dmsetup remove --retry "$1"
}

# reload_device NAME TABLE...
reload_device() {
	local name=$1
	shift
	dmsetup load "$name" --table "$*" && dmsetup resume "$name"
}

add_origin() { add_device "$1" "0 ${3:-$(size_of "$2")} diffsnap-origin $2"; }

# add_store NAME DEVICE CHUNK [SECTORS] [FEATURE ARGUMENTS WITH THEIR NUMBER]
add_store() { add_device "$1" "0 ${4:-$(size_of "$2")} diffsnap-store $2 $3${5:+ $5}"; }

add_image() { add_device "$1" "0 $(size_of "/dev/mapper/$3") diffsnap-image /dev/mapper/$2 /dev/mapper/$3"; }

# take_snapshot STORE ORIGIN...
take_snapshot() {
	local store=$1 origin
	shift
	for origin in "$@"; do dmsetup message "$store" 0 add "/dev/mapper/$origin"; done
	dmsetup message "$store" 0 cut
}

# status_word NAME N: of what the target says, from 1
status_word() {
	local words
	words=$(dmsetup status "$1") && read -ra words <<<"$words" && echo "${words[$2 + 2]-}"
}
has_word() { [[ $(status_word "$1" "$2") == "$3" ]]; }
has_status() { [[ $(status_word "$1" 1) == "$2" ]]; }
nothing_buffered() { has_word "$1" 4 0; }
store_state() { status_word "$1" 1; }
store_reason() { status_word "$1" 2; }
device_number() { dmsetup info -c --noheadings --separator : -o major,minor "$1"; }

# fill FILE LETTER OFFSET LENGTH, in KiB, directly
fill() {
	head -c "$(($4 * 1024))" /dev/zero | tr '\0' "$2" |
		dd of="$1" bs=4k seek="$(($3 * 1024))" oflag=direct,seek_bytes iflag=fullblock status=none
}

# shows DEVICE LETTER OFFSET LENGTH
shows() {
	cmp <(dd if="$1" bs=4k skip="$(($3 * 1024))" count="$(($4 * 1024))" \
		iflag=direct,skip_bytes,count_bytes status=none) \
		<(head -c "$(($4 * 1024))" /dev/zero | tr '\0' "$2")
}

# file_shows FILE LETTER LENGTH
file_shows() { cmp "$1" <(head -c "$(($3 * 1024))" /dev/zero | tr '\0' "$2"); }

read_fails() { expect_fail 1 'Input/output error' dd "if=$1" of=/dev/null bs=4k count=1 iflag=direct; }

# What the kernel said since the mark.
mark_log() {
	log_mark="diffsnap-test: mark $RANDOM$RANDOM"
	echo "$log_mark" >/dev/kmsg
}

log_since_mark() { dmesg | awk -v mark="$log_mark" 'seen; index($0, mark) { seen = 1 }'; }

logged() { assert_match "$1" "$(log_since_mark)" "kernel's log"; }

# The last number of a name, of the oracle or fio: json_number FIELD FILE
json_number() { sed -n "s/.*\"$1\" *: *\\([0-9]*\\).*/\\1/p" "$2" | tail -n 1; }

at_least() { [[ $2 -ge $1 ]] || fail "${3:-value}: $2, less than $1"; }

# figure TEXT: measured, for whoever reads the group's directory afterwards
figure() { echo "$*" | tee -a "$share/figures" >/dev/kmsg; }

# rounds N: so many with --full, half of them otherwise
rounds() { if [[ $full ]]; then echo "$1"; else echo $((($1 + 1) / 2)); fi; }

# The oracle over disks 0 to 2, its store on the last one, and what it said kept.
run_oracle() {
	local log=$share/oracle-$case_name.log status=0
	echo "oracle run $*" | tee -a "$log"
	taskset -c "$all_cpus" oracle run "$@" >"$log.part" 2>&1 || status=$?
	tee -a "$log" <"$log.part"
	[[ $status -eq 0 ]] ||
		fail "oracle, status $status: $(grep -E '^oracle: [^s]' "$log.part" | tail -n 1 | cut -c 1-600)"
}
