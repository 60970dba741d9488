#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# group: stores
# about: where differences may lie, and more of it while they come
# kernels: 6.1
# disks: 96M 64M 128M 64M
# memory: 1G
# cpus: 1
# timeout: 900
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../snapshots.sh"
. "$(dirname "$0")/../commands.sh"

lv_disk=${disks[0]} plain=${disks[1]} store=${disks[2]} more=${disks[3]}
lv=/dev/vg/data

extend_while_held() {
	local loop
	attached "$more" -n raw
	random_file /run/raw $((40 << 20))
	dd if=/run/raw of=/dev/mapper/raw bs=1M oflag=direct status=none
	snapshot daily -s "$store:1m+16m" raw
	dd if=/dev/zero of=/dev/mapper/raw bs=1M count=12 oflag=direct status=none
	diffsnap extend daily -s "$store:64m+8m"
	assert_eq $((24 << 20)) "$(field list size daily)"
	dd if=/dev/zero of=/dev/mapper/raw bs=1M seek=12 count=9 oflag=direct status=none &
	diffsnap extend daily -s "$store:17m+24m" -L +20m
	diffsnap extend daily -s "$plain" -L 48m
	wait $!
	dd if=/dev/zero of=/dev/mapper/raw bs=1M seek=21 count=19 oflag=direct status=none
	assert_eq $((48 << 20)) "$(field list size daily)"
	assert_eq active "$(field list state daily)"
	cmp -n $((40 << 20)) /dev/diffsnap/daily/raw /run/raw
	refused 5 'has 48.* already' diffsnap extend daily -s "$store:80m+8m" -L 48m
	refused 5 'a snapshot uses' diffsnap extend daily -s "$store:60m+8m" -f
	refused 5 'no snapshot' diffsnap extend nightly -s "$store:80m+8m"
	refused 3 'no store' diffsnap extend daily -L +1g
	# the kernel would not start the store again
	truncate -s 16M /run/large-blocks
	on_exit rm /run/large-blocks
	modprobe loop
	loop=$(losetup -f --show -b 4096 /run/large-blocks)
	on_exit losetup -d "$loop"
	refused 5 'has blocks of 4096 bytes' diffsnap extend daily -s "$loop"
	cmp -n $((40 << 20)) /dev/diffsnap/daily/raw /run/raw
	diffsnap remove daily
	udevadm settle
}

# Writes that wait for room do not wait for udev.
extend_before_udev() {
	local pid
	attached "$more" -n raw
	snapshot daily -s "$store:1m+8m" raw
	udevadm settle
	on_exit udevadm control --start-exec-queue
	udevadm control --stop-exec-queue
	diffsnap extend daily -s "$store:9m+8m" &
	pid=$!
	wait_until 30 has_size daily $((16 << 20))
	kill -0 "$pid" || fail "it did not wait for udev at all"
	udevadm control --start-exec-queue
	wait "$pid"
}

has_size() { [[ $(field list size "$1") -eq $2 ]]; }

# Writing out may take minutes. Meanwhile other snapshots must be able to get more room.
extend_while_others_write_out() {
	local pid
	two_file_systems "$lv_disk" "$plain"
	diffsnap attach -q $lv
	attached "$more" -n raw
	snapshot other -s "$store:1m+8m" raw
	dd if=/dev/urandom of=/run/lv/dirty bs=1M count=4 status=none
	on_exit dmsetup resume vg-data
	dmsetup suspend --noflush --nolockfs vg-data
	diffsnap create -n daily -s "$store:32m+8m" $lv plain &
	pid=$!
	wait_until 30 is_writing_out $pid
	timeout 20 diffsnap extend other -s "$store:9m+8m"
	is_writing_out $pid || fail "it writes nothing out"
	dmsetup resume vg-data
	wait $pid
	assert_eq active "$(field list state daily)"
	diffsnap remove -q daily other
}

# is_writing_out PID: it is in syncfs()
is_writing_out() { [[ $(cut -d' ' -f1 "/proc/$1/syscall") == 306 ]]; }

bad_stores() {
	local loop
	make_vg vg "$lv_disk" data 16M
	attached "$more" -n raw
	refused 5 'smaller than a chunk' diffsnap create -s "$store:0+4k" --chunk 8k raw
	refused 5 'beyond the end' diffsnap create -s "$store:0+1g" raw
	refused 5 'beyond the end' diffsnap create -s "$store:2g+1m" raw
	refused 5 'overlaps' diffsnap create -s "$store:0+8m" -s "$store:4m+8m" raw
	refused 5 'cannot' diffsnap create -s /dev/no-such-device raw
	refused 5 'cannot' diffsnap create -s /etc/passwd raw
	refused 5 'in use' diffsnap create -s "$lv_disk" raw
	refused 5 'lies on' diffsnap create -s /dev/mapper/raw raw
	refused 5 'lies on' diffsnap create -s "$more" -f raw
	# an LV is attached for the snapshot, and detached again if there will be none
	refused 5 'lies on' diffsnap create -s $lv raw $lv
	refused 5 'lies on' diffsnap create -f -s $lv $lv
	# the file of a loop device is an origin's node
	modprobe loop
	loop=$(losetup -f --show /dev/mapper/raw)
	on_exit losetup -d "$loop"
	refused 5 'lies on the origin "raw"' diffsnap create -f -s "$loop" $lv
	mkfs.ext4 -q "$plain"
	refused 5 'holds data \(ext4|holds data' diffsnap create -s "$plain" raw
	mounted "$plain" /run/plain
	refused 5 'mounted' diffsnap create -s "$plain" raw
	# neither is what is in use taken by force, nor its signature wiped
	refused 5 'mounted' diffsnap create -f -s "$plain" raw
	assert_eq ext4 "$(blkid -p -o value -s TYPE "$plain")"
	refused 5 'in use' diffsnap create -f -s "$lv_disk" raw
	refused 5 'uses' diffsnap create -f -s "$lv_disk:8m+52m" raw
	assert_eq LVM2_member "$(blkid -p -o value -s TYPE "$lv_disk")"
	# what no volume uses is
	snapshot daily -s "$lv_disk:52m+8m" -f raw
	diffsnap remove daily
	assert_eq LVM2_member "$(blkid -p -o value -s TYPE "$lv_disk")"
	umount /run/plain
	snapshot daily -s "$plain" -f raw
	assert_eq active "$(field list state daily)"
	refused 5 'snapshot uses|in use' diffsnap create -s "$plain" $lv
	refused 5 'snapshot uses' diffsnap create -f -s "$plain" $lv
	refused 5 'image of a snapshot' diffsnap create -f -s /dev/diffsnap/daily/raw $lv
}

# A store on a volume, and that volume to be an origin: its writes would be preserved.
store_to_be_origin() {
	make_vg vg "$lv_disk" data 24M
	refused 5 'lies on' diffsnap create -t -s $lv $lv
	attached "$more" -n raw
	snapshot daily -s $lv raw
	refused 5 'store of the snapshot "daily"' diffsnap attach $lv
	refused 5 'store of the snapshot "daily"' diffsnap create -n nightly -s "$store" $lv
	diffsnap remove daily
	# why another device cannot be one is said, too
	dmsetup create idle --table "0 8192 linear $plain 0"
	on_exit dmsetup remove idle
	dmsetup suspend idle
	refused 5 'cannot be made one: it is suspended' diffsnap create -s "$store" /dev/mapper/idle
	dmsetup resume idle
}

# The file of a loop device is on an origin, through a file system whose number is not its
# device's.
loop_store() {
	local loop
	make_vg vg "$lv_disk" data 16M
	attached "$more" -n raw
	mkfs.btrfs -q --mixed /dev/mapper/raw
	mounted /dev/mapper/raw /run/btrfs
	truncate -s 16M /run/btrfs/store
	modprobe loop
	loop=$(losetup -f --show /run/btrfs/store)
	on_exit losetup -d "$loop"
	refused 5 'lies on the origin "raw"' diffsnap create -f -s "$loop" $lv
	refused 5 'lies on the device' diffsnap create -f -s "$more" $lv
}

# pvmove puts another table under the store's volume while writes go on.
moved_by_lvm() {
	local mover
	vgcreate -q vg "$lv_disk" "$plain"
	on_exit vgremove -qff vg
	lvcreate -qn differences -L 24M vg "$lv_disk"
	attached "$more" -n raw
	random_file /run/raw $((20 << 20))
	dd if=/run/raw of=/dev/mapper/raw bs=1M oflag=direct status=none
	snapshot daily -s /dev/vg/differences raw
	dd if=/dev/zero of=/dev/mapper/raw bs=1M count=8 oflag=direct status=none
	pvmove -q -i 1 "$lv_disk" "$plain" &
	mover=$!
	dd if=/dev/zero of=/dev/mapper/raw bs=64k seek=128 count=128 oflag=direct status=none
	wait $mover
	dd if=/dev/zero of=/dev/mapper/raw bs=1M seek=16 count=4 oflag=direct status=none
	assert_eq "$plain" "$(lvs --noheadings -o devices vg/differences | sed 's/(.*//' | xargs)" "where it is"
	assert_eq active "$(field list state daily)"
	cmp -n $((20 << 20)) /dev/diffsnap/daily/raw /run/raw
}

test_case extend-while-held extend_while_held
test_case extend-before-udev extend_before_udev
test_case extend-while-others-write-out extend_while_others_write_out
test_case bad-stores bad_stores
test_case store-to-be-origin store_to_be_origin
test_case loop-store loop_store
test_case moved-by-lvm moved_by_lvm
