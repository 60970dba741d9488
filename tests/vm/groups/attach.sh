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

linear_volume() {
	make_vg vg "$lv_disk" data 48M
	name='vg-data'
}

striped_volume() {
	vgcreate -q vg "$lv_disk" "$more"
	on_exit vgremove -qff vg
	lvcreate -qn data -L 48M -i 2 -I 64k vg
	name='vg-data'
}

# As it is opened usually, its key is where nobody else finds it.
encrypted_volume() {
	head -c 32 /dev/urandom >/run/key
	cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "$plain" /run/key
	cryptsetup open --key-file /run/key "$plain" secret
	on_exit close_if_open secret
	udevadm settle
	assert_match ' :64:logon:' "$(dmsetup table secret)"
	refused 5 'refresh --disable-keyring secret' diffsnap attach /dev/mapper/secret
	cryptsetup refresh --disable-keyring --key-file /run/key secret
	name=secret
}

close_if_open() { [[ ! -e /dev/mapper/$1 ]] || cryptsetup close "$1"; }

# live_attach MAKER: of what it makes, whose device-mapper name it sets
live_attach() {
	local name table links device numbers mount fio round
	"$1"
	device=/dev/mapper/$name
	ext4_on "$device" /run/volume
	[[ -e /dev/disk/by-uuid/$(blkid -p -o value -s UUID "$device") ]]
	random_file /run/volume/old 3000000
	sha256sum /run/volume/old >/run/sum
	table=$(dmsetup table --showkeys "$name")
	links=$(links_of "$device")
	numbers=$(numbers_of "$name") mount=$(grep /run/volume /proc/self/mountinfo)
	verify_load /run/volume /run/stop >/run/fio &
	fio=$!
	on_exit detach_if_attached "$name"
	sleep 1
	for round in 1 2 3; do
		assert_eq "$device" "$(diffsnap attach "$device")" "round $round: attach"
		assert_match ' diffsnap-origin ' "$(dmsetup table "$name")"
		assert_eq "$table" "$(dmsetup table --showkeys "$name-diffsnap")" "the real device's table"
		assert_eq "$numbers" "$(numbers_of "$name")" "name and UUID"
		sleep 1
		assert_eq "$links" "$(links_of "$device")" links
		diffsnap detach "$device"
		assert_eq "$table" "$(dmsetup table --showkeys "$name")" "the table"
		if dmsetup info "$name-diffsnap" >/dev/null 2>&1; then fail "the real device is left"; fi
	done
	touch /run/stop
	wait $fio || fail "fio: $(</run/fio)"
	assert_eq "$mount" "$(grep /run/volume /proc/self/mountinfo)" "the mount"
	sha256sum -c /run/sum
	umount /run/volume
	e2fsck -fn "$device"
}

numbers_of() { dmsetup info -c --noheadings -o uuid,major,minor "$1"; }

links_of() {
	udevadm settle
	udevadm info -q symlink "$1" | xargs -n 1 | sort
}

# The image shows what is decrypted. cryptsetup knows its volume again when the layer is off.
snapshot_of_encrypted() {
	local name
	encrypted_volume
	ext4_on /dev/mapper/secret /run/secret
	random_file /run/secret/old 3000000
	on_exit detach_if_attached secret
	snapshot daily -s "$lv_disk" /run/secret
	copy_of /dev/diffsnap/daily/secret /run/image
	dd if=/dev/zero of=/run/secret/old bs=1M count=2 conv=notrunc,fsync status=none
	sync -f /run/secret
	same_as_file /dev/diffsnap/daily/secret /run/image
	e2fsck -fn /dev/diffsnap/daily/secret
	if same_as_file /dev/mapper/secret /run/image; then fail "nothing was changed"; fi
	diffsnap remove daily
	umount /run/secret
	refused 4 '' cryptsetup close secret
	diffsnap detach secret
	cryptsetup close secret
	assert_eq '' "$(dm_devices | xargs)" devices
	cryptsetup open --key-file /run/key "$plain" secret
	e2fsck -fn /dev/mapper/secret
}

by_uuid() { dmsetup info -c --noheadings -o name "$(readlink -f "/dev/disk/by-uuid/$1")" 2>/dev/null || readlink -f "/dev/disk/by-uuid/$1"; }

plain_attach() {
	local uuid=0d5eca5e-0000-4000-8000-00000000000a
	mkfs.ext4 -q -U $uuid -L papers "$plain"
	udev_reads "$plain"
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
	assert_eq "/dev/mapper/${plain##*/}" "$(diffsnap attach -q LABEL=papers)" "by label"
	diffsnap detach -q LABEL=papers
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

test_case live-attach live_attach linear_volume
test_case live-attach-striped live_attach striped_volume
test_case live-attach-encrypted live_attach encrypted_volume
test_case snapshot-of-encrypted snapshot_of_encrypted
test_case plain-attach plain_attach
test_case attach-refusals attach_refusals
test_case zoned-device zoned_device
