#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# group: attach
# about: origin targets put on devices, used or not, and taken away
# kernels: 6.1
# disks: 96M 64M 64M
# memory: 1G
# cpus: 1
# timeout: 900
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../snapshots.sh"
. "$(dirname "$0")/../commands.sh"

lv_disk=${disks[0]} plain=${disks[1]} more=${disks[2]}
lv=/dev/vg/data

# verify_load DIRECTORY STOP: until that file is there, or something was read that was not written
verify_load() {
	rm -f "$2"
	while [[ ! -e $2 ]]; do
		fio --name=verify --directory="$1" --size=4M --rw=randwrite --bsrange=512-64k --direct=1 --ioengine=libaio \
			--iodepth=8 --verify=crc32c --verify_backlog=64 --verify_fatal=1 || return
	done
}

live_attach() {
	local table links device fio round
	make_vg vg "$lv_disk" data 48M
	ext4_on $lv /run/lv
	random_file /run/lv/old 3000000
	sha256sum /run/lv/old >/run/sum
	udevadm settle
	table=$(dmsetup table vg-data)
	links=$(udevadm info -q symlink $lv | xargs -n 1 | sort)
	device=$(dmsetup info -c --noheadings -o uuid,major,minor vg-data) mount=$(grep /run/lv /proc/self/mountinfo)
	verify_load /run/lv /run/stop >/run/fio &
	fio=$!
	on_exit detach_if_attached vg-data
	sleep 1
	for round in 1 2 3; do
		assert_eq /dev/mapper/vg-data "$(diffsnap attach $lv)" "round $round: attach"
		assert_match ' diffsnap-origin ' "$(dmsetup table vg-data)"
		assert_match ' linear ' "$(dmsetup table vg-data-diffsnap)"
		assert_eq "$device" "$(dmsetup info -c --noheadings -o uuid,major,minor vg-data)" "name and UUID"
		sleep 1
		udevadm settle
		assert_eq "$links" "$(udevadm info -q symlink $lv | xargs -n 1 | sort)" links
		diffsnap detach $lv
		assert_eq "$table" "$(dmsetup table vg-data)" "the table"
		if dmsetup info vg-data-diffsnap >/dev/null 2>&1; then fail "the real device is left"; fi
	done
	touch /run/stop
	wait $fio || fail "fio: $(</run/fio)"
	assert_eq "$mount" "$(grep /run/lv /proc/self/mountinfo)" "the mount"
	sha256sum -c /run/sum
	umount /run/lv
	e2fsck -fn $lv
}

by_uuid() { dmsetup info -c --noheadings -o name "$(readlink -f "/dev/disk/by-uuid/$1")" 2>/dev/null || readlink -f "/dev/disk/by-uuid/$1"; }

plain_attach() {
	local uuid=0d5eca5e-0000-4000-8000-00000000000a
	mkfs.ext4 -q -U $uuid "$plain"
	udevadm settle
	assert_eq "$plain" "$(by_uuid $uuid)" "by-uuid before"
	assert_eq /dev/mapper/plain "$(diffsnap attach "$plain" -n plain 2>/dev/null)" stdout
	on_exit detach_if_attached plain
	udevadm settle
	assert_eq plain "$(by_uuid $uuid)" "by-uuid"
	mounted "UUID=$uuid" /run/plain
	assert_eq /dev/mapper/plain "$(findmnt -no SOURCE /run/plain)" "what is mounted"
	random_file /run/plain/file 1000000
	refused 5 'mounted' diffsnap detach plain
	umount /run/plain
	refused 5 'attached already, as "plain"' diffsnap attach "$plain"
	refused 5 'attached already, as "plain"' diffsnap attach /dev/mapper/plain
	exec 7</dev/mapper/plain
	refused 5 'in use' diffsnap detach plain
	exec 7<&-
	udevadm settle
	diffsnap detach "$plain"
	udevadm settle
	assert_eq "$plain" "$(by_uuid $uuid)" "by-uuid after"
	assert_eq "/dev/mapper/${plain##*/}" "$(diffsnap attach -q UUID=$uuid)" "by UUID, with the kernel's name"
	diffsnap detach "${plain##*/}"
	refused 5 'not attached' diffsnap detach "$plain"
}

attach_refusals() {
	make_vg vg "$lv_disk" data 16M
	mkfs.ext4 -q "$plain"
	mounted "$plain" /run/plain
	refused 5 'mounted' diffsnap attach "$plain"
	refused 5 'in use' diffsnap attach "$lv_disk"
	umount /run/plain
	refused 5 'cannot' diffsnap attach /dev/no-such-device
	refused 5 'vg-data' diffsnap attach "$plain" -n vg-data
	refused 5 'keeps its name' diffsnap attach $lv -n other
	refused 3 'name' diffsnap attach "$plain" -n 'a/b'
	refused 3 'name' diffsnap attach "$plain" -n -x
	# a target with state of its own
	dmsetup create mirror --table "0 8192 mirror core 1 1024 2 $more 0 $more 8192"
	on_exit dmsetup remove mirror
	refused 5 'target "mirror"' diffsnap attach /dev/mapper/mirror
	dmsetup create loaded --table "0 8192 linear $more 32768"
	on_exit dmsetup remove loaded
	dmsetup load loaded --table '0 8192 zero'
	refused 5 'another table is loaded' diffsnap attach /dev/mapper/loaded
	dmsetup clear loaded
	dmsetup suspend loaded
	expect_fail 5 'suspended' diffsnap attach /dev/mapper/loaded
	dmsetup resume loaded
}

zoned_device() {
	modprobe null_blk nr_devices=1 zoned=1 gb=1 zone_size=64
	on_exit rmmod null_blk
	udevadm settle
	refused 5 'zoned' diffsnap attach /dev/nullb0
	refused 5 'zoned' diffsnap attach -t /dev/nullb0
}

test_case live-attach live_attach
test_case plain-attach plain_attach
test_case attach-refusals attach_refusals
test_case zoned-device zoned_device
