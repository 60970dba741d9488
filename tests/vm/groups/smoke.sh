#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# group: smoke
# about: the test machinery itself
# kernels: 6.1 6.12 7.2
# disks: 64M 64M,lbs=4096
# memory: 1G
# timeout: 300
# module: no
set -euo pipefail
. "$(dirname "$0")/../lib.sh"

make_linear() {
	dmsetup create smoke --table "0 $(blockdev --getsz "${disks[0]}") linear ${disks[0]} 0"
	on_exit dmsetup remove smoke
}

disks_are_as_asked() {
	assert_eq 2 "${#disks[@]}" "number of disks"
	assert_eq 512 "$(blockdev --getss "${disks[0]}")"
	assert_eq 4096 "$(blockdev --getss "${disks[1]}")"
	assert_eq 67108864 "$(blockdev --getsize64 "${disks[1]}")"
	cmp -n 67108864 "${disks[0]}" /dev/zero
}

data_through_dm() {
	make_linear
	fio --name=smoke --filename=/dev/mapper/smoke --rw=randwrite --bs=4k --size=16M \
		--direct=1 --ioengine=libaio --iodepth=8 --verify=crc32c --do_verify=1
	cmp /dev/mapper/smoke "${disks[0]}"
}

udev_makes_links() {
	make_linear
	udevadm settle
	[[ -L /dev/mapper/smoke ]]
	mkfs.ext4 -q -U 0d5eca5e-0000-4000-8000-000000000001 /dev/mapper/smoke
	udev_reads /dev/mapper/smoke
	assert_eq /dev/mapper/smoke "$(readlink -f /dev/disk/by-uuid/0d5eca5e-0000-4000-8000-000000000001 |
		xargs -I {} dmsetup info -c --noheadings -o name {} | sed 's,^,/dev/mapper/,')"
}

lvm_has_its_own_world() {
	says_nothing vgs --noheadings
	vgcreate -q smoke "${disks[0]}"
	on_exit vgremove -qff smoke
	lvcreate -qn a -L 8M smoke
	mkfs.ext4 -q "${disks[1]}"
	mkdir -p /run/smoke
	mount "${disks[1]}" /run/smoke
	on_exit umount /run/smoke
	touch /run/smoke/file
	[[ -b /dev/smoke/a ]]
}

kernel_log_is_watched() {
	echo 'WARNING: made by a test' >/dev/kmsg
	case_name=kernel-log-is-watched
	expect_fail 1 'made by a test' kernel_trouble
	allow_kernel_log 'made by a test'
	kernel_trouble
}

status_and_text_of_a_failure() {
	expect_fail 3 'went .*wrong' bash -c 'echo it went quite wrong >&2; exit 3'
}

test_case disks-are-as-asked disks_are_as_asked
test_case data-through-dm data_through_dm
test_case udev-makes-links udev_makes_links
test_case lvm-has-its-own-world lvm_has_its_own_world
test_case kernel-log-is-watched kernel_log_is_watched
test_case status-and-text-of-a-failure status_and_text_of_a_failure
