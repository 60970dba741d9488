# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # of and for guest.sh
# The kernel's dm-snapshot, as LVM sets it up: the origin target over the device,
# which is suspended while the snapshot is made. An adapter that sources this
# sets snapshot_type (N or P) and snapshot_chunk (in sectors).

system_modules=(dm-snapshot)
system_snapshots=1

system_setup() {
	local number
	for number in "${!origins[@]}"; do
		dm_create "bench-origin$number" "0 $(sectors "${origins[number]}") snapshot-origin ${origins[number]}"
	done
}

# snapshot_cow NUMBER: the device for old contents of that origin; the whole store
# if there is but one, so that nothing lies between.
snapshot_cow() {
	local share
	if [[ ${#origins[@]} -eq 1 ]]; then
		echo "$store"
	else
		share=$(($(sectors "$store") / ${#origins[@]} / 128 * 128))
		dm_create "bench-cow$1" "0 $share linear $store $((share * $1))"
		echo "/dev/mapper/bench-cow$1"
	fi
}

system_snapshot() {
	local number cows=() start
	for number in "${!origins[@]}"; do
		cows+=("$(snapshot_cow "$number")")
		dd if=/dev/zero of="${cows[number]}" bs=4k count=1 oflag=direct status=none
	done
	start=$(now_ns)
	for number in "${!origins[@]}"; do dmsetup suspend "bench-origin$number"; done
	for number in "${!origins[@]}"; do
		dm_create "bench-image$number" \
			"0 $(sectors "${origins[number]}") snapshot ${origins[number]} ${cows[number]} $snapshot_type $snapshot_chunk"
	done
	for number in "${!origins[@]}"; do dmsetup resume "bench-origin$number"; done
	frozen_ns=$(($(now_ns) - start))
}

system_healthy() { ! dmsetup status --target snapshot | grep -qE 'Invalid|Overflow'; }

# As LVM does it: the origin is quiet while its snapshot goes.
system_drop() {
	local number
	for number in "${!origins[@]}"; do dmsetup suspend "bench-origin$number"; done
	dm_remove_all bench-image bench-cow
	for number in "${!origins[@]}"; do dmsetup resume "bench-origin$number"; done
}

system_device() { echo "/dev/mapper/bench-origin$1"; }
system_image() { echo "/dev/mapper/bench-image$1"; }
system_teardown() { dm_remove_all bench-image bench-cow bench-origin; }
