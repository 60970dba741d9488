# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # of and for guest.sh
# about: the origin target of diffsnap, without a snapshot

system_modules=(dm-diffsnap)

system_setup() {
	local number
	for number in "${!origins[@]}"; do
		dm_create "bench-origin$number" "0 $(sectors "${origins[number]}") diffsnap-origin ${origins[number]}"
	done
}
system_device() { echo "/dev/mapper/bench-origin$1"; }
system_image() { system_device "$1"; }
system_teardown() { dm_remove_all bench-origin; }
