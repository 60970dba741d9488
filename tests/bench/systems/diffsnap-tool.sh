# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034 # of and for guest.sh
# about: diffsnap by its own tool, with udev at work: what a user waits for
#
# It freezes the file systems. Its devices are those of diffsnap.sh.

system_modules=(dm-diffsnap)
system_snapshots=1
system_workloads=(cut freeze)

system_setup() {
	local number
	type -P diffsnap >/dev/null || die "no tool: diffsnap is not in $PATH"
	udev_start
	for number in "${!origins[@]}"; do
		diffsnap attach -n "bench-origin$number" "${origins[number]}" >/dev/null
	done
}

system_snapshot() {
	local said number devices=()
	for number in "${!origins[@]}"; do devices+=("$(system_device "$number")"); done
	said=$(diffsnap create -v -n bench -s "$store" "${devices[@]}" 2>&1)
	# the tool rounds it
	gates_ns=$(dmsetup status --target diffsnap-store | awk '{ print $10 }')
	frozen_ns=$(nanoseconds_after 'File systems were frozen for' "$said")
	frozen_ns=${frozen_ns:--}
}

# nanoseconds_after WORDS TEXT: of "WORDS 1.5 ms"; nothing if it is not there
nanoseconds_after() { awk -v words="$1 " '(n = index($0, words)) { printf "%d\n", substr($0, n + length(words)) * 1e6 }' <<<"$2"; }

system_drop() { diffsnap remove -q bench; }
system_device() { echo "/dev/mapper/bench-origin$1"; }

system_teardown() {
	local number
	[[ ! $(diffsnap list --noheadings -o name) =~ bench ]] || diffsnap remove -q bench
	for number in "${!origins[@]}"; do
		[[ ! -e $(system_device "$number") ]] || diffsnap detach -q "bench-origin$number"
	done
	udev_stop
}
