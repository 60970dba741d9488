# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # of and for guest.sh
# about: diffsnap with a snapshot, chunks of 4 KiB, by dmsetup

system_modules=(dm-diffsnap)
system_snapshots=1
# by dmsetup there is none: see diffsnap-tool.sh
system_without=(freeze)

system_setup() {
	local number
	for number in "${!origins[@]}"; do
		dm_create "bench-origin$number" "0 $(sectors "${origins[number]}") diffsnap-origin ${origins[number]}"
	done
}

system_snapshot() {
	local number
	dm_create bench-store "0 $(sectors "$store") diffsnap-store $store ${diffsnap_chunk:-8}"
	for number in "${!origins[@]}"; do
		dmsetup message bench-store 0 add "$(system_device "$number")"
	done
	dmsetup message bench-store 0 cut
	gates_ns=$(dmsetup status bench-store | awk '{ print $9 }')
	for number in "${!origins[@]}"; do
		dm_create "bench-image$number" \
			"0 $(sectors "${origins[number]}") diffsnap-image /dev/mapper/bench-store $(system_device "$number")"
	done
}

system_healthy() { [[ $(dmsetup status bench-store | awk '{ print $4 }') == @(active|low) ]]; }
system_quiet() { [[ $(dmsetup status bench-store | awk '{ print $7 }') == 0 ]]; }

system_drop() {
	dm_remove_all bench-image
	dmsetup message bench-store 0 drop
	dm_remove_all bench-store
}

system_device() { echo "/dev/mapper/bench-origin$1"; }
system_image() { echo "/dev/mapper/bench-image$1"; }
system_teardown() { dm_remove_all bench-image bench-store bench-origin; }
