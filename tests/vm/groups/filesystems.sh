#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# group: filesystems
# about: ext4, XFS and btrfs under load, snapshotted by the tool with and without freezing
# kernels: 6.1
# disks: 96M 320M 160M 192M
# memory: 2G
# timeout: 2400
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../snapshots.sh"
. "$(dirname "$0")/../commands.sh"

lv_disk=${disks[0]} xfs_disk=${disks[1]} btrfs_disk=${disks[2]} store=${disks[3]}
lv=/dev/vg/data
rounds=2
names=(ext4 xfs btrfs)

device_of() {
	case $1 in
	ext4) echo $lv ;;
	*) echo "/dev/mapper/$1" ;;
	esac
}

image_of() { echo "/dev/diffsnap/daily/$(basename "$(device_of "$1")" | sed 's/^data$/vg-data/')"; }

# ext4 on an LV that is attached on the way, XFS and btrfs on plain disks
three_file_systems() {
	modprobe xfs
	modprobe btrfs
	make_vg vg "$lv_disk" data 80M
	attached "$xfs_disk" -n xfs
	attached "$btrfs_disk" -n btrfs
	on_exit detach_if_attached vg-data
	mkfs.ext4 -q $lv
	mkfs.xfs -q /dev/mapper/xfs
	mkfs.btrfs -q /dev/mapper/btrfs
	for name in "${names[@]}"; do
		mounted "$(device_of "$name")" "/run/fs/$name"
		mkdir -p "/run/fs/$name/old"
	done
}

# new_files ROUND: on each file system, their sums outside; durable before the cut
new_files() {
	local name number
	for name in "${names[@]}"; do
		for number in 1 3 5 8; do
			head -c $((number * 30011)) /dev/urandom >"/run/fs/$name/old/file$number"
		done
		echo "round $1" >"/run/fs/$name/old/round"
		(cd "/run/fs/$name/old" && sha256sum file* round) >"/run/sums.$name"
		sync -f "/run/fs/$name"
	done
}

spoil_files() {
	local name file
	for name in "${names[@]}"; do
		for file in "/run/fs/$name"/old/file*; do
			head -c "$(stat -c %s "$file")" /dev/zero | dd of="$file" conv=notrunc status=none
		done
		rm "/run/fs/$name/old/round"
		sync -f "/run/fs/$name"
	done
}

load_all() {
	local name
	for name in "${names[@]}"; do start_load "/run/fs/$name"; done
}

check_sums() { (cd "$1/old" && sha256sum --quiet -c "/run/sums.$2"); }

# check_image NAME clean|crashed: consistent as it is, or after its journal was replayed by a mount
check_image() {
	local name=$1 image options='' dir=/run/image/$1
	image=$(image_of "$name")
	[[ $name != xfs ]] || options=nouuid
	if [[ $2 == clean && $name == ext4 ]]; then
		needs_no_recovery "$image"
		e2fsck -fn "$image"
	fi
	mkdir -p "$dir"
	if [[ $name == btrfs ]]; then
		# the kernel knows a btrfs by its UUID, and mounts no second one
		btrfs check --readonly "$image"
		btrfs restore --path-regex '^/(|old(|/.*))$' "$image" "$dir"
		check_sums "$dir" btrfs
		rm -r "${dir:?}/old"
		return
	fi
	mount ${options:+-o "$options"} "$image" "$dir"
	check_sums "$dir" "$name"
	umount "$dir"
	if [[ $name == ext4 ]]; then e2fsck -fn "$image"; else xfs_repair -n "$image"; fi
}

# a_round ROUND clean|crashed [OPTION]...
a_round() {
	local round=$1 kind=$2 name
	shift 2
	new_files "$round"
	sleep 1
	diffsnap create -v -n daily -s "$store" "$@" $lv xfs /run/fs/btrfs >/run/said 2>&1 || fail "create: $(</run/said)"
	echo "FROZEN round $round: $(grep -E 'frozen|held' /run/said | xargs)" | tee -a "$share/output.txt"
	spoil_files
	for name in "${names[@]}"; do
		check_image "$name" "$kind"
		if check_sums "/run/fs/$name" "$name"; then fail "$name has not changed: this proves nothing"; fi
	done
	assert_eq active "$(field list state daily)"
	diffsnap remove -q daily
}

frozen() {
	local round
	three_file_systems
	on_exit remove_if_there daily
	load_all
	for ((round = 1; round <= rounds; round++)); do
		a_round $round clean
		assert_eq '/run/fs/btrfs /run/fs/ext4 /run/fs/xfs' "$(frozen_paths /run/said)" "what was frozen"
	done
	stop_load
	umount /run/fs/ext4 /run/fs/xfs /run/fs/btrfs
	e2fsck -fn $lv
	xfs_repair -n /dev/mapper/xfs
	btrfs check --readonly /dev/mapper/btrfs
}

not_frozen() {
	three_file_systems
	on_exit remove_if_there daily
	load_all
	a_round 1 crashed --no-freeze
	if grep -i frozen /run/said; then fail "frozen all the same"; fi
}

# A file system in a file on an origin: it is frozen first, or the freeze would hang.
loop_on_an_origin() {
	local loop
	make_vg vg "$lv_disk" data 80M
	ext4_on $lv /run/lv
	on_exit detach_if_attached vg-data
	on_exit remove_if_there daily
	modprobe loop
	udevadm settle
	truncate -s 24M /run/lv/inner
	loop=$(losetup -f --show /run/lv/inner)
	on_exit losetup -d "$loop"
	ext4_on "$loop" /run/inner
	start_load /run/lv
	start_load /run/inner --size=4M
	head -c 100000 /dev/urandom >/run/inner/file
	sync -f /run/inner
	sha256sum </run/inner/file >/run/sum
	timeout 100 diffsnap create -v -n daily -s "$store" $lv >/run/said 2>&1 || fail "create: $(</run/said)"
	echo "FROZEN loop: $(grep -E 'frozen|held' /run/said | xargs)" | tee -a "$share/output.txt"
	dd if=/dev/zero of=/run/inner/file bs=1000 count=100 conv=notrunc,fsync status=none
	# both are clean: what lay in the file's file system was frozen too
	assert_eq '/run/inner /run/lv' "$(frozen_paths /run/said)" "what was frozen"
	needs_no_recovery /dev/diffsnap/daily/vg-data
	mounted /dev/diffsnap/daily/vg-data /run/image
	needs_no_recovery /run/image/inner
	e2fsck -fn /run/image/inner
	mounted /run/image/inner /run/image-inner loop
	assert_eq "$(</run/sum)" "$(sha256sum </run/image-inner/file)"
	umount /run/image-inner
	# its loop device goes when udev has looked at it
	wait_until 20 umount /run/image
	e2fsck -fn /dev/diffsnap/daily/vg-data
	timeout 20 dd if=/dev/zero of=/run/inner/after bs=4k count=1 conv=fsync status=none
}

# A file system on a loop device that was given the origin itself, and no file.
loop_over_an_origin() {
	local loop
	make_vg vg "$lv_disk" data 80M
	attached $lv
	modprobe loop
	loop=$(losetup -f --show $lv)
	on_exit losetup -d "$loop"
	ext4_on "$loop" /run/inner
	head -c 100000 /dev/urandom >/run/inner/file
	timeout 100 diffsnap create -n daily -s "$store" $lv
	on_exit remove_if_there daily
	timeout 20 dd if=/dev/zero of=/run/inner/after bs=4k count=1 conv=fsync status=none
	e2fsck -fn /dev/diffsnap/daily/vg-data
	needs_no_recovery /dev/diffsnap/daily/vg-data
	udevadm settle
}

test_case frozen frozen
test_case not-frozen not_frozen
test_case loop-on-an-origin loop_on_an_origin
test_case loop-over-an-origin loop_over_an_origin
