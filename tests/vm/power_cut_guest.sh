#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# In the VM of groups/power_cut.sh: looks at what the last power cut has left, and
# goes on with the load until the next one.
#
#   power_cut_guest.sh CYCLE load|check
#
# ext4 on a logical volume (disk 0), XFS on a plain disk (1), the store (2), and a
# disk that is never flushed (3). What was promised stands in the share.
set -eEuo pipefail

cycle=$1 what=$2
export PATH=${DIFFSNAP_BUILD:?}/userspace/cli:$DIFFSNAP_BUILD/tests/vm:$PATH LC_ALL=C
share=/run/share
disks=()
for number in 0 1 2 3; do
	disks+=("$(readlink -f "/dev/disk/by-id/virtio-disk$number")")
done
store=${disks[2]}
lv=/dev/vg/data
ext4=/run/ext4 xfs=/run/xfs
ext4_uuid=11111111-2222-4333-8444-555555555555
xfs_uuid=66666666-7777-4888-8999-aaaaaaaaaaaa

die() {
	printf 'power_cut_guest: boot %s: %s\n' "$cycle" "$*"
	exit 1
}
trap 'die "line $LINENO: $BASH_COMMAND"' ERR

make_file_systems() {
	vgcreate -q vg "${disks[0]}"
	lvcreate -qn data -l 100%FREE vg
	mkfs.ext4 -q -U "$ext4_uuid" "$lv"
	mkfs.xfs -q -m "uuid=$xfs_uuid" "${disks[1]}"
	udevadm settle
}

# Every trace of it in this machine was in memory; what lies in the store's device
# must be taken for nothing, least of all for a file system of the origin's.
check_no_trace() {
	local said
	said=$(dmsetup info -c --noheadings -o uuid)
	[[ ${said^^} != *DIFFSNAP* ]] || die "devices of a snapshot: $(dmsetup ls)"
	said=$(diffsnap list --noheadings)
	said+=$(diffsnap origins --noheadings)
	[[ ! $said ]] || die "diffsnap knows of $said"
	# wipefs is not content with any answer but all of them
	said=$(wipefs --noheadings --output OFFSET,TYPE "$store")
	[[ ! $said ]] || echo "boot $cycle: the store's device is taken for ${said//$'\n'/; }" >>"$share/traces"
}

# expect_by_uuid UUID DEVICE
expect_by_uuid() {
	local found
	found=$(findfs "UUID=$1")
	[[ $(readlink -f "$found") == "$(readlink -f "$2")" ]] || die "UUID $1 leads to $found, not to $2"
}

# As after any power cut: the journals are replayed, then there is nothing to repair.
check_file_systems() {
	vgchange -qay vg >/dev/null
	udevadm settle
	expect_by_uuid "$ext4_uuid" "$lv"
	expect_by_uuid "$xfs_uuid" "${disks[1]}"
	mount "UUID=$ext4_uuid" "$ext4"
	mount "UUID=$xfs_uuid" "$xfs"
	durable check "$ext4" "$share/promises-ext4"
	durable check "$xfs" "$share/promises-xfs"
	umount "$ext4" "$xfs"
	e2fsck -fn "$lv"
	xfs_repair -n "${disks[1]}"
	durable lost "${disks[3]}" "$share/promises-unflushed" >>"$share/lost"
}

read_images() {
	local image
	for image in /dev/diffsnap/cut/*; do
		dd if="$image" of=/dev/null bs=256k iflag=direct status=none
	done
}

# take_snapshot DISK [OPTION]...: a slow machine may take longer to freeze file systems than is
# allowed. Nothing is cut then, and it is to be tried again.
take_snapshot() {
	local disk=$1 said='' number
	shift
	for number in 1 2 3 4 5; do
		if said=$(diffsnap create -q "$@" -n cut -s "$store" "$lv" "$disk" 2>&1); then
			return
		fi
		echo "boot $cycle: try $number: $said"
		[[ $said == *'they were thawed'* ]] || break
	done
	die "no snapshot: $said"
}

# wait_for_more FILE...: until each has become longer. A cut that comes before the load has
# promised anything shows nothing.
wait_for_more() {
	local file size end=$((SECONDS + 60))
	for file; do
		size=$(stat -c %s "$file" 2>/dev/null || echo 0)
		until [[ $(stat -c %s "$file" 2>/dev/null || echo 0) -gt $size ]]; do
			[[ $SECONDS -lt $end ]] || die "no more promises in $file"
			sleep 0.1
		done
	done
}

# New promises: those of before were checked. Snapshots come and go meanwhile.
load() {
	local disk force=''
	rm -f "$share"/promises-*
	mount "$lv" "$ext4"
	diffsnap attach -q "$lv"
	disk=$(diffsnap attach "${disks[1]}")
	mount "$disk" "$xfs"
	durable write "$ext4" "$share/promises-ext4" "$cycle" &
	durable write "$xfs" "$share/promises-xfs" "$cycle" &
	durable unflushed "${disks[3]}" "$share/promises-unflushed" "$cycle" &
	# without --force: a store that a cut has left is as good as a new one, or else it was
	# noticed above
	if [[ -s $share/traces ]]; then force=--force; fi
	take_snapshot "$disk" ${force:+"$force"}
	wait_for_more "$share"/promises-{ext4,xfs,unflushed}
	touch "$share/armed"
	echo "boot $cycle: armed"
	while [[ $(jobs -r | wc -l) -eq 3 ]]; do
		read_images
		sleep 2
		diffsnap remove -q cut
		take_snapshot "$disk"
	done
	die "the load has ended"
}

mkdir -p "$ext4" "$xfs"
if [[ $cycle -eq 0 ]]; then
	make_file_systems
else
	check_no_trace
	check_file_systems
fi
[[ $what == check ]] || load
