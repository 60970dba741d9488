# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# shellcheck disable=SC2154 # share and the like: of lib.sh
# The tool on real devices, for groups that source lib.sh. What a function makes
# is taken away at the case's end.

# make_vg NAME DISK [LV SIZE]...
make_vg() {
	local vg=$1
	vgcreate -q "$vg" "$2"
	on_exit vgremove -qff "$vg"
	shift 2
	while [[ $# -gt 0 ]]; do
		lvcreate -qn "$1" -L "$2" "$vg"
		shift 2
	done
}

# mounted DEVICE DIRECTORY [OPTIONS]
mounted() {
	mkdir -p "$2"
	mount ${3:+-o "$3"} "$1" "$2"
	on_exit unmount "$2"
}

unmount() { ! mountpoint -q "$1" || umount "$1"; }

# ext4_on DEVICE DIRECTORY: udev knows it
ext4_on() {
	mkfs.ext4 -q "$1"
	udev_reads "$1"
	mounted "$1" "$2"
}

# attached DEVICE [OPTION]...: sets origin_device to what was printed
attached() {
	origin_device=$(diffsnap attach "$@")
	on_exit detach_if_attached "${origin_device##*/}"
}

# two_file_systems LV-DISK DISK: one on the LV vg/data, at /run/lv, and one on a disk that
# is attached as "plain", at /run/plain. Each has a file "old", whose sum is in /run/sum.*.
two_file_systems() {
	make_vg vg "$1" data 48M
	ext4_on /dev/vg/data /run/lv
	attached "$2" -n plain
	ext4_on /dev/mapper/plain /run/plain
	on_exit detach_if_attached vg-data
	random_file /run/lv/old 6000000
	random_file /run/plain/old 5000000
	(cd /run/lv && sha256sum old) >/run/sum.lv
	(cd /run/plain && sha256sum old) >/run/sum.plain
}

detach_if_attached() { [[ ! $(origin_names) =~ (^|[[:space:]])"$1"($|[[:space:]]) ]] || diffsnap detach -q "$1"; }

origin_names() { diffsnap origins --noheadings -o name | tr -d ' '; }
snapshot_names() { diffsnap list --noheadings -o name | tr -d ' '; }

# snapshot NAME [ARGUMENT]...: create
snapshot() {
	local name=$1
	shift
	diffsnap create -n "$name" "$@"
	on_exit remove_if_there "$name"
}

remove_if_there() { [[ ! $(snapshot_names) =~ (^|[[:space:]])"$1"($|[[:space:]]) ]] || diffsnap remove -q "$1"; }

# field COMMAND FIELD NAME: one cell of a report, in bytes
field() { diffsnap "$1" --noheadings --nosuffix --units b -o "$2" "$3" | tr -d ' '; }

# Everything of device-mapper that a command might change.
dm_state() {
	dmsetup info -c --noheadings -o name,uuid,attr,events
	dmsetup table
}

# And the links to it.
device_state() {
	udevadm settle
	dm_state
	find /dev -type l -regex '/dev/\(diffsnap\|mapper\|disk/by-uuid\)/.*' -printf '%p %l\n' | sort
}

# refused STATUS REGEX COMMAND...: fails so, and changes nothing
refused() {
	local before
	before=$(dm_state)
	expect_fail "$@"
	assert_eq "$before" "$(dm_state)" "devices after: ${*:3}"
}

cookies() { ipcs -s | awk '/0x0d4d/ { n++ } END { print n + 0 }'; }

# is_clean DEVICE...: that and no more is there, and no semaphore
is_clean() {
	assert_eq "$*" "$(dm_devices | xargs)" devices
	assert_eq 0 "$(cookies)" "udev cookies"
}

# frozen_paths FILE: what create -v, which said what is in it, has frozen
frozen_paths() { sed -n 's/.*were frozen for [0-9.]* ms: \(.*\)\.$/\1/p' "$1" | tr -d , | xargs -n 1 | sort | xargs; }

# needs_no_recovery IMAGE: of an ext4; e2fsck and mounts are content without, too
needs_no_recovery() {
	dumpe2fs -h "$1" >/run/superblock
	if grep needs_recovery /run/superblock; then fail "$1 was not frozen"; fi
}

# random_file FILE SIZE
random_file() { head -c "$2" /dev/urandom >"$1"; }

# Reads past the cache, which knows nothing of what was written through others.
same_as_file() { cmp <(dd if="$1" bs=1M iflag=direct status=none) "$2"; }
copy_of() { dd if="$1" of="$2" bs=1M iflag=direct status=none; }

# start_load DIRECTORY [FIO-OPTION]...: until stop_load
load_pids=()
start_load() {
	local directory=$1
	shift
	taskset -c "$all_cpus" fio --name=load --directory="$directory" --size=8M --rw=randwrite --bsrange=4k-64k \
		--ioengine=psync --fsync=32 --rate_iops=100 --time_based --runtime=3600 "$@" >/dev/null &
	load_pids+=("$!")
	[[ ${#load_pids[@]} -gt 1 ]] || on_exit stop_load
}

# All must have been at it until now: fio's status is 128 if a signal ends it.
stop_load() {
	local pid status result=0
	for pid in ${load_pids[@]+"${load_pids[@]}"}; do
		status=0
		kill "$pid" || :
		wait "$pid" || status=$?
		[[ $status -eq 128 ]] || result=1
	done
	load_pids=()
	return $result
}
