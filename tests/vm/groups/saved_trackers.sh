#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# group: saved_trackers
# about: change tracking that goes on after detach and attach, if nothing was written in between
# kernels: 6.1
# disks: 400M 64M 64M
# memory: 1G
# cpus: 1
# timeout: 1800
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../snapshots.sh"
. "$(dirname "$0")/../commands.sh"

disk=${disks[0]} store=${disks[1]} twin=${disks[2]}
trackers=/var/lib/diffsnap/trackers
anew='go on with the change tracker of .*: '

# A path to the origin, its name in reports, what is given to attach, and how.
origin='' name='' device=''
with_name=()

on_a_volume() {
	make_vg vg "$disk" data 320M
	origin=/dev/vg/data name=vg-data device=/dev/vg/data
	rm -rf $trackers
}

on_a_disk() {
	origin=/dev/mapper/data name=data device=$disk with_name=(-n data)
	rm -rf $trackers
}

attach_it() { attached "$device" ${with_name[@]+"${with_name[@]}"}; }

newest() { echo "$(field origins generation "$name"):$(field origins change_number "$name")"; }
since() { diffsnap changes "two/$name" --since "$1"; }
nothing_saved() { [[ ! -d $trackers || ! $(ls $trackers) ]] || fail "left: $(ls $trackers)"; }
write_at() { dd if=/dev/urandom of="$1" bs=4k seek="$(($2 * 1024))" count=1 oflag=seek_bytes,direct conv=notrunc status=none; }

# One snapshot, then writes at 1 and 2 MiB, before and after it. Sets first.
first=''
with_a_past() {
	attach_it
	write_at "$origin" 1024
	snapshot one -s "$store" "$device"
	first=$(newest)
	write_at "$origin" 2048
	diffsnap remove -q one
}

detach_it() {
	expect_fail 0 '^$' diffsnap detach -q "$device"
	assert_eq "${first%:*}" "$(ls $trackers)"
}

goes_on() {
	expect_fail 0 'attached' diffsnap attach -v "$device" ${with_name[@]+"${with_name[@]}"}
	on_exit detach_if_attached $name
	assert_eq "$first" "$(newest)"
	nothing_saved
}

begins_anew() {
	expect_fail 0 "WARNING: cannot $anew$1" diffsnap attach "$device" ${with_name[@]+"${with_name[@]}"}
	on_exit detach_if_attached $name
	[[ $(field origins generation "$name") != "${first%:*}" ]] || fail "the generation goes on"
	assert_eq 0 "$(field origins change_number "$name")"
	nothing_saved
	snapshot two -s "$store" "$device"
	expect_fail 5 'full backup' since "$first"
}

# The incremental is exact, over two detachments, and makes the same of the older copy.
again() {
	"$1"
	rm -f /run/copy /run/copy.diffsnap
	attach_it
	write_at "$origin" 1024
	snapshot one -s "$store" "$device"
	first=$(newest)
	diffsnap send -q "one/$name" 2>/dev/null | diffsnap receive -q /run/copy
	write_at "$origin" 2048
	diffsnap remove -q one
	detach_it
	goes_on
	write_at "$origin" 4096
	detach_it
	goes_on
	snapshot two -s "$store" "$device"
	assert_eq "2097152 65536 4194304 65536" "$(since "$first" | xargs)"
	diffsnap send -q "two/$name" --since "$first" 2>/dev/null | diffsnap receive -q /run/copy
	cmp /run/copy "/dev/diffsnap/two/$name"
	assert_eq "${first%:1}:2" "$(newest)"
}

volume_again() { again on_a_volume; }
disk_again() { again on_a_disk; }

# By create, which attaches by itself, and with the tracking block that it had.
taken_up_by_create() {
	on_a_volume
	expect_fail 0 attached diffsnap attach -v --tracking-block 4k "$device"
	on_exit detach_if_attached $name
	snapshot one -s "$store" "$device"
	first=$(newest)
	write_at "$origin" 2048
	diffsnap remove -q one
	detach_it
	snapshot two -s "$store" "$device"
	assert_eq "${first%:1}:2" "$(newest)"
	assert_eq "2097152 4096" "$(since "$first")"
	nothing_saved
}

written_in_between() {
	on_a_volume
	with_a_past
	detach_it
	write_at "$device" 8192
	begins_anew 'the device was written to'
}

discarded_in_between() {
	on_a_disk
	with_a_past
	detach_it
	blkdiscard -o 8M -l 64K "$device"
	begins_anew 'the device was written to'
}

partition_again() {
	rm -rf $trackers
	addpart "$disk" 1 2048 200000
	addpart "$disk" 2 202048 200000
	on_exit delpart "$disk" 1
	on_exit delpart "$disk" 2
	udevadm settle
	origin=/dev/mapper/data name=data device=${disk}1 with_name=(-n data)
	with_a_past
	detach_it
	# its neighbour is nobody's business
	write_at "${disk}2" 1024
	goes_on
	detach_it
	# while a partition is open udev does not have the kernel look for partitions again
	exec 9<"$device"
	write_at "$disk" 3072
	udevadm settle
	exec 9<&-
	begins_anew 'the device was written to'
}

another_table() {
	local table
	on_a_volume
	with_a_past
	detach_it
	table=$(dmsetup table vg-data)
	dmsetup reload vg-data --table "$(awk '{ $5 += 8; print }' <<<"$table")"
	dmsetup resume vg-data
	begins_anew 'the device was given another table'
}

file_of_a_loop_device() {
	modprobe loop
	rm -rf $trackers
	truncate -s 16M /run/disk
	device=$(losetup -f --show /run/disk)
	on_exit rm /run/disk
	on_exit losetup -d "$device"
	origin=/dev/mapper/data name=data with_name=(-n data)
	with_a_past
	detach_it
	begins_anew 'the kernel does not count all'
}

# A detach that is at work holds the lock, and reads the tracker.
waits_for_a_detach() {
	on_a_disk
	attach_it
	expect_fail 124 '^$' flock /run/diffsnap.lock timeout 1 diffsnap mark -q data --range 0+4k
	expect_fail 124 '^$' flock /run/diffsnap.lock timeout 1 diffsnap reset -q data
	diffsnap mark -q data --range 0+4k
	diffsnap reset -q data
}

detached_in_use() {
	on_a_volume
	mkfs.ext4 -q "$device"
	with_a_past
	mounted "$device" /run/fs
	expect_fail 0 'WARNING: cannot keep the change tracker of .* in use' diffsnap detach -q "$device"
	nothing_saved
	expect_fail 0 '^/dev/mapper/vg-data$' diffsnap attach -q "$device"
	on_exit detach_if_attached $name
	assert_eq 0 "$(field origins change_number "$name")"
}

# udev looks at a device that was written to, and LVM at all of them.
held_for_a_moment() {
	on_a_volume
	with_a_past
	exec 9<"$device"
	sleep 1 &
	exec 9<&-
	detach_it
	wait
	goes_on
}

# The device goes and comes, as with a restart: its counters are new, its super block
# is not.
made_anew() {
	vgchange -qan vg
	vgchange -qay vg
}

used_ext4() {
	on_a_volume
	mkfs.ext4 -q "$device"
	mounted "$device" /run/fs
	head -c 1M /dev/urandom >/run/fs/file
	umount /run/fs
	attach_it
	snapshot one -s "$store" "$device"
	first=$(newest)
	mount "$device" /run/fs
	head -c 64k /dev/urandom >/run/fs/new
}

ext4_decides() {
	used_ext4
	umount /run/fs
	diffsnap remove -q one
	detach_it
	made_anew
	goes_on
	detach_it
	made_anew
	mount -o ro "$device" /run/fs
	umount /run/fs
	goes_on
	detach_it
	made_anew
	# contents alone, in the place where they were
	mount "$device" /run/fs
	dd if=/dev/urandom of=/run/fs/file bs=4k count=1 conv=notrunc,fsync status=none
	umount /run/fs
	begins_anew 'its file system was in use'
}

# A journal is written back by a mount that is called read-only.
ext4_recovers() {
	used_ext4
	sync -f /run/fs
	xfs_io -x -c shutdown /run/fs
	umount /run/fs
	diffsnap remove -q one
	detach_it
	made_anew
	mount -o ro "$device" /run/fs
	umount /run/fs
	begins_anew 'its file system was in use'
}

# These may have been written to before a crash, and look as they did.
nothing_is_shown_by() {
	modprobe "$1"
	on_a_volume
	"mkfs.$1" -q "$device"
	with_a_past
	detach_it
	goes_on
	detach_it
	made_anew
	begins_anew 'nothing on the device shows'
}

xfs_does_not_decide() { nothing_is_shown_by xfs; }
btrfs_does_not_decide() { nothing_is_shown_by btrfs; }

nothing_to_go_by() {
	on_a_volume
	wipefs -qa "$device"
	with_a_past
	detach_it
	made_anew
	begins_anew 'nothing on the device shows'
}

# A disk that was pulled out and put in again is known by its serial number.
replugged_disk() {
	local serial pci
	on_a_disk
	mkfs.ext4 -q "$device"
	with_a_past
	detach_it
	serial=$(udevadm info -q property --property ID_SERIAL --value "$device")
	[[ $serial ]] || fail "the disk has no serial number"
	pci=$(readlink -f "/sys/class/block/$(basename "$(readlink -f "$device")")/device/..")
	echo 1 >"$pci/remove"
	[[ ! -b "$device" ]] || fail "the disk is still there"
	echo 1 >/sys/bus/pci/rescan
	wait_until 20 test -b "$device"
	udevadm settle
	goes_on
}

# Of two disks that have the same serial number, each has a state of its own.
twin_disks() {
	local n rule=/run/udev/rules.d/99-twins.rules twins=("$disk" "$twin") newest_of=()
	rm -rf $trackers
	mkdir -p "${rule%/*}"
	for n in 0 1; do
		echo "KERNEL==\"$(basename "$(readlink -f "${twins[n]}")")\", ENV{ID_SERIAL}=\"twin\"" >>$rule
	done
	on_exit look_at_disks
	on_exit rm $rule
	look_at_disks
	for n in 0 1; do
		# an event may still be one of before the rule
		wait_until 20 looks_like_a_twin "${twins[n]}"
		origin=/dev/mapper/twin$n name=twin$n device=${twins[n]} with_name=(-n "twin$n")
		with_a_past
		newest_of[n]=$first
	done
	diffsnap detach -q twin0
	diffsnap detach -q twin1
	assert_eq 2 "$(find $trackers -type f | wc -l)" states
	for n in 1 0; do
		expect_fail 0 '^/dev/mapper/twin.$' diffsnap attach "${twins[n]}" -n twin$n -q
		assert_eq "${newest_of[n]}" "$(name=twin$n newest)"
	done
	nothing_saved
}

# udev has its rules anew, and asks the disks once more.
look_at_disks() {
	udevadm control --reload
	udevadm trigger --settle --action=change --subsystem-match=block
}

looks_like_a_twin() {
	udev_reads "$1"
	[[ $(udevadm info -q property --property ID_SERIAL --value "$1") == twin ]]
}

used_once() {
	local saved
	on_a_volume
	with_a_past
	detach_it
	saved=$(<"$trackers/${first%:*}")
	goes_on
	write_at "$origin" 8192
	diffsnap detach -q "$device"
	echo "$saved" >"$trackers/${first%:*}"
	begins_anew 'the device was written to'
}

damaged_state() {
	on_a_volume
	with_a_past
	detach_it
	sed -i 's/:2/:1/' "$trackers/${first%:*}"
	begins_anew '.*not what was saved'
}

# What cannot be written must not keep the origin from being detached.
no_room_for_state() {
	on_a_volume
	with_a_past
	rm -rf $trackers
	mkdir -p ${trackers%/*}
	: >$trackers
	on_exit rm -f $trackers
	expect_fail 0 "WARNING: cannot make $trackers" diffsnap detach "$device"
	rm -f $trackers
	[[ ! $(origin_names) ]] || fail "it is still attached"
}

test_case volume-again volume_again
test_case disk-again disk_again
test_case taken-up-by-create taken_up_by_create
test_case written-in-between written_in_between
test_case discarded-in-between discarded_in_between
test_case partition-again partition_again
test_case another-table another_table
test_case file-of-a-loop-device file_of_a_loop_device
test_case waits-for-a-detach waits_for_a_detach
test_case detached-in-use detached_in_use
test_case held-for-a-moment held_for_a_moment
test_case ext4-decides ext4_decides
test_case ext4-recovers ext4_recovers
test_case xfs-does-not-decide xfs_does_not_decide
test_case btrfs-does-not-decide btrfs_does_not_decide
test_case nothing-to-go-by nothing_to_go_by
test_case replugged-disk replugged_disk
test_case twin-disks twin_disks
test_case used-once used_once
test_case damaged-state damaged_state
test_case no-room-for-state no_room_for_state
