#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What scripts/try shows, in the VM: ext4 on a logical volume (disk 1) and XFS on
# a plain disk (disk 2), both written to all the time; one snapshot of both, its
# differences on disk 3. The proof that the images show the instant of the cut:
# both file systems are held still around it, and their devices copied then.
set -euo pipefail

disks=(/dev/disk/by-id/virtio-disk{0,1,2})
work=/run/try
load=()

say() { printf '\n# %s\n' "$*"; }

# The command as a user would type it, then what it says.
run() {
	printf '$ %s\n' "$*"
	"$@"
}

good() { printf 'ok: %s\n' "$*"; }

bad() {
	printf 'try: FAILED: %s\n' "$*"
	exit 1
}

verdict_on_error() { bad "line $1: $2"; }
trap 'verdict_on_error "$LINENO" "$BASH_COMMAND"' ERR

# What is said to be so under load is so only if all of it is there still.
load_goes_on() {
	local pid
	for pid in "${load[@]}"; do kill -0 "$pid" || bad "the load has ended by itself"; done
}

stop_load() {
	[[ ${#load[@]} -eq 0 ]] || kill "${load[@]}" 2>/dev/null || :
	wait
	load=()
}

# make_tree DIRECTORY: files of many sizes, and their sums outside.
make_tree() {
	local number
	mkdir -p "$1/tree"
	for number in {1..60}; do
		head -c $((number * number * 50 + number)) /dev/urandom >"$1/tree/file$number"
	done
	(cd "$1/tree" && sha256sum file*) >"$work/sums.$(basename "$1")"
}

# overwrite_tree DIRECTORY: other contents in place, and some files gone.
overwrite_tree() {
	local file
	for file in "$1"/tree/file*; do
		head -c "$(stat -c %s "$file")" /dev/urandom | dd of="$file" conv=notrunc status=none
	done
	rm "$1"/tree/file*7
	sync -f "$1"
}

start_load() {
	fio --name="load-$(basename "$1")" --directory="$1" --size=24M --rw=randwrite --bsrange=4k-64k \
		--rate_iops=60 --ioengine=psync --time_based --runtime=600 --fsync=64 >/dev/null &
	load+=("$!")
}

# Past the cache: a file system's writes do not pass through that of its device.
read_device() { dd if="$1" bs=1M iflag=direct status=none; }

# same_as_copy DEVICE COPY
same_as_copy() { read_device "$1" | cmp - "$2"; }

# check_sums DIRECTORY NAME: the tree as it was.
check_sums() { (cd "$1/tree" && sha256sum --quiet -c "$work/sums.$2"); }

mkdir -p "$work"/{lv,disk,image-lv,image-disk}

say "Two file systems: ext4 on a logical volume, XFS on a plain disk that diffsnap was put on"
run vgcreate -q vg "${disks[0]}"
run lvcreate -qn data -l 100%FREE vg
mkfs.ext4 -q /dev/vg/data
mount /dev/vg/data "$work/lv"
run diffsnap attach "$(readlink -f "${disks[1]}")" | tee "$work/attached"
disk=$(tail -n 1 "$work/attached")
[[ -b $disk ]] || bad "attach printed no device: $disk"
mkfs.xfs -q "$disk"
mount "$disk" "$work/disk"
make_tree "$work/lv"
make_tree "$work/disk"

say "Both are written to from now on, also while diffsnap is put on the logical volume"
start_load "$work/lv"
start_load "$work/disk"
sleep 3
run diffsnap attach /dev/vg/data
run diffsnap origins

say "One snapshot of both. Only for the proof they are held still before, and copied"
fsfreeze -f "$work/lv"
fsfreeze -f "$work/disk"
read_device /dev/vg/data >"$work/copy-lv"
read_device "$disk" >"$work/copy-disk"
run diffsnap create -n demo -s "$(readlink -f "${disks[2]}")" /dev/vg/data "$disk"
fsfreeze -u "$work/disk"
fsfreeze -u "$work/lv"
run diffsnap list
run diffsnap images
mapfile -t images < <(diffsnap images --noheadings -o path | tr -d ' ')
[[ ${#images[@]} -eq 2 ]] || bad "not two images: ${images[*]}"
case ${images[0]} in
*/"${disk##*/}") image_disk=${images[0]} image_lv=${images[1]} ;;
*) image_disk=${images[1]} image_lv=${images[0]} ;;
esac

say "The load goes on, and the files are overwritten"
same_as_copy "$image_lv" "$work/copy-lv"
same_as_copy "$image_disk" "$work/copy-disk"
load_goes_on
good "right after the cut, under load, each image is the copy, byte for byte"
overwrite_tree "$work/lv"
overwrite_tree "$work/disk"
sleep 10
same_as_copy "$image_lv" "$work/copy-lv"
same_as_copy "$image_disk" "$work/copy-disk"
load_goes_on
good "and it still is after all that was written"
stop_load
sync
if same_as_copy /dev/vg/data "$work/copy-lv" >/dev/null; then bad "the logical volume has not changed: this proves nothing"; fi
if same_as_copy "$disk" "$work/copy-disk" >/dev/null; then bad "the disk has not changed: this proves nothing"; fi
good "while the devices themselves have changed"
run diffsnap images
run diffsnap list

say "The images are mounted"
run mount "$image_lv" "$work/image-lv"
run mount -o nouuid "$image_disk" "$work/image-disk"
for name in lv disk; do
	check_sums "$work/image-$name" "$name"
	if check_sums "$work/$name" "$name" >/dev/null 2>&1; then bad "the files of $work/$name were not overwritten"; fi
done
good "all files in the images have the sums of before the cut; the origins' have not"
touch "$work/image-lv/written" "$work/image-disk/written"
umount "$work/image-lv" "$work/image-disk"
[[ ! -e $work/lv/written && ! -e $work/disk/written ]] || bad "a write to an image reached its origin"

say "All is taken away again"
run diffsnap remove demo
run diffsnap detach /dev/vg/data
umount "$work/disk"
run diffsnap detach "$disk"
umount "$work/lv"
udevadm settle
left=$(dmsetup ls | grep -v '^vg-data\b' || :)
[[ -z $left ]] || bad "devices left behind: $left"
e2fsck -fn /dev/vg/data >/dev/null
xfs_repair -n "${disks[1]}" >/dev/null 2>&1
good "nothing is left, and both file systems are clean"
printf '\ntry: PASSED: the images of both file systems show the instant of the snapshot\n'
