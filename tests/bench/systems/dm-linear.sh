# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# shellcheck disable=SC2154 # origins: of guest.sh
# about: the least that device-mapper can do

system_setup() {
	local number
	for number in "${!origins[@]}"; do
		dm_create "bench-linear$number" "0 $(sectors "${origins[number]}") linear ${origins[number]} 0"
	done
}
system_device() { echo "/dev/mapper/bench-linear$1"; }
system_image() { system_device "$1"; }
system_teardown() { dm_remove_all bench-linear; }
