#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# group: udev
# about: links stay with the origins, and nothing looks into images
# kernels: 6.1
# disks: 96M 64M 64M
# memory: 1G
# cpus: 1
# timeout: 600
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../snapshots.sh"
. "$(dirname "$0")/../commands.sh"

lv_disk=${disks[0]} plain=${disks[1]} store=${disks[2]}
lv=/dev/vg/data
lv_uuid=0d5eca5e-0000-4000-8000-00000000000a
plain_uuid=0d5eca5e-0000-4000-8000-00000000000b

by_uuid() { dmsetup info -c --noheadings -o name "$(readlink -e "/dev/disk/by-uuid/$1")"; }

both_snapshotted() {
	make_vg vg "$lv_disk" data 48M
	mkfs.ext4 -q -U $lv_uuid $lv
	udev_reads $lv
	attached "$plain" -n plain
	mkfs.ext4 -q -U $plain_uuid /dev/mapper/plain
	udev_reads /dev/mapper/plain
	on_exit detach_if_attached vg-data
	snapshot daily -s "$store" $lv plain
}

links_are_right() {
	udevadm settle
	assert_eq vg-data "$(by_uuid $lv_uuid)" "by-uuid of the LV, $1"
	assert_eq plain "$(by_uuid $plain_uuid)" "by-uuid of the plain disk, $1"
	images_are_hidden "$1"
}

# Their one link is ours; nobody has read what is on them, or is asked to.
images_are_hidden() {
	local origin properties
	for origin in vg-data plain; do
		assert_eq "diffsnap-daily-${origin//-/--}" \
			"$(dmsetup info -c --noheadings -o name "$(readlink -e "/dev/diffsnap/daily/$origin")")" "image, $1"
		properties=$(udevadm info -q property "/dev/diffsnap/daily/$origin")
		if grep -E '^(ID_FS_|LVM_|ID_PART_)' <<<"$properties"; then fail "looked into the image of $origin, $1"; fi
		assert_match 'DM_UDEV_DISABLE_OTHER_RULES_FLAG=1' "$properties"
		assert_match 'UDISKS_IGNORE=1' "$properties"
		if udevadm info -q symlink "/dev/diffsnap/daily/$origin" | grep disk/by-uuid; then fail "by-uuid at an image, $1"; fi
	done
}

links() {
	local device
	both_snapshotted
	links_are_right "after create"
	for device in vg-data plain diffsnap-daily-plain diffsnap-daily-vg--data; do
		dmsetup resume $device
		links_are_right "after resume of $device"
	done
	for device in diffsnap-daily-plain diffsnap-daily-vg--data; do
		dmsetup suspend $device
		dmsetup resume $device
	done
	links_are_right "after suspend and resume of the images"
	udevadm trigger --action=change --subsystem-match=block
	links_are_right "after a trigger of change"
	udevadm trigger --action=add --subsystem-match=block
	links_are_right "after a trigger of add"
	# written and closed: what watches the device looks again
	dd if=/dev/zero of=/dev/diffsnap/daily/plain bs=4k count=1 seek=100 status=none
	links_are_right "after a write to an image"
	diffsnap remove daily
	udevadm settle
	assert_eq plain "$(by_uuid $plain_uuid)" "by-uuid after remove"
	[[ ! -e /dev/diffsnap ]] || assert_eq '' "$(find /dev/diffsnap -type l)" "links after remove"
}

restart_udev() {
	udevadm control --exit
	wait_until 20 udev_is_gone
	rm -rf /run/udev/data /run/udev/links /run/udev/tags /run/udev/watch
	find /dev/disk /dev/diffsnap /dev/vg -type l -delete
	/lib/systemd/systemd-udevd --daemon >/dev/null 2>&1
}

udev_is_gone() { ! pgrep -x systemd-udevd; }

# As after the switch from an initramfs that kept nothing.
lost_database() {
	both_snapshotted
	restart_udev
	udevadm trigger --action=add --subsystem-match=block
	udevadm settle
	assert_eq plain "$(by_uuid $plain_uuid)" "by-uuid of the plain disk"
	# the distribution's rules ignore an LV then; an image must not step in
	[[ ! -e /dev/disk/by-uuid/$lv_uuid ]] || assert_eq vg-data "$(by_uuid $lv_uuid)" "by-uuid of the LV"
	images_are_hidden "after the loss of udev's database"
	restart_udev
	udevadm trigger --action=change --subsystem-match=block
	links_are_right "after the loss of udev's database and a trigger of change"
	dmsetup resume diffsnap-daily-vg--data
	links_are_right "and a resume"
	vgmknodes vg
}

# A VG within an LV, as of a virtual machine: its image is a PV for whoever looks.
nothing_activates_images() {
	make_vg vg "$lv_disk" data 48M
	pvcreate -q --config 'devices { scan_lvs = 1 }' $lv
	vgcreate -q --config 'devices { scan_lvs = 1 }' inner $lv
	lvcreate -qn root -L 8M --config 'devices { scan_lvs = 1 }' inner
	vgchange -qan --config 'devices { scan_lvs = 1 }' inner
	on_exit detach_if_attached vg-data
	snapshot daily -s "$store" $lv
	udevadm settle
	udevadm trigger --action=change --subsystem-match=block
	udevadm trigger --action=add --subsystem-match=block
	udevadm settle
	if grep inner <<<"$(dm_devices)"; then fail "the image's volume group was activated"; fi
	assert_eq 0 "$(dmsetup info -c --noheadings -o open diffsnap-daily-vg--data)" "open count of the image"
	diffsnap remove daily
}

test_case links links
test_case lost-database lost_database
test_case nothing-activates-images nothing_activates_images
