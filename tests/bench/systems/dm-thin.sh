# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # of and for guest.sh
# about: dm-thin, blocks of 64 KiB
#
# Its volumes and what is written after a snapshot share one pool: over the origins
# first, which the volumes fill, then the store. The metadata lies at its front.

system_modules=(dm-thin-pool)
system_snapshots=1
thin_metadata=16384

system_setup() {
	local number table='' at=0
	for number in "${!origins[@]}"; do
		table+="$at $(sectors "${origins[number]}") linear ${origins[number]} 0"$'\n'
		at=$((at + $(sectors "${origins[number]}")))
	done
	table+="$at $(($(sectors "$store") - thin_metadata)) linear $store $thin_metadata"
	dm_create bench-metadata "0 $thin_metadata linear $store 0"
	dm_create bench-data "$table"
	dd if=/dev/zero of=/dev/mapper/bench-metadata bs=64k count=1 oflag=direct status=none
	dm_create bench-pool "0 $(sectors /dev/mapper/bench-data) thin-pool /dev/mapper/bench-metadata /dev/mapper/bench-data 128 0 1 skip_block_zeroing"
	for number in "${!origins[@]}"; do
		dmsetup message bench-pool 0 "create_thin $number"
		dm_create "bench-thin$number" "0 $(sectors "${origins[number]}") thin /dev/mapper/bench-pool $number"
		# what is not there yet cannot be preserved
		dd if=/dev/zero of="/dev/mapper/bench-thin$number" bs=1M count=$(($(sectors "${origins[number]}") / 2048)) oflag=direct status=none
	done
}

system_snapshot() {
	local number start
	start=$(now_ns)
	for number in "${!origins[@]}"; do dmsetup suspend "bench-thin$number"; done
	for number in "${!origins[@]}"; do
		dmsetup message bench-pool 0 "create_snap $((1000 + number)) $number"
	done
	for number in "${!origins[@]}"; do dmsetup resume "bench-thin$number"; done
	frozen_ns=$(($(now_ns) - start))
	for number in "${!origins[@]}"; do
		dm_create "bench-image$number" "0 $(sectors "${origins[number]}") thin /dev/mapper/bench-pool $((1000 + number))"
	done
}

# The word after the numbers of data blocks: held root, then rw, ro or out_of_data_space.
system_healthy() { [[ $(dmsetup status bench-pool) == *' rw '* ]]; }

system_drop() {
	local number
	dm_remove_all bench-image
	for number in "${!origins[@]}"; do dmsetup message bench-pool 0 "delete $((1000 + number))"; done
}

system_device() { echo "/dev/mapper/bench-thin$1"; }
system_image() { echo "/dev/mapper/bench-image$1"; }

# Upwards of what they stand on.
system_teardown() { dm_remove_all bench-image bench-thin bench-pool bench-data bench-metadata; }
