#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# group: pressure
# about: little memory, and swap on an origin with a snapshot held
# kernels: 6.1
# disks: 16M 16M 96M 192M 224M
# memory: 256M
# timeout: 1800
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../snapshots.sh"

hog=$DIFFSNAP_BUILD/tests/vm/memory-hog
hog_pid=''

stop_hog() {
	local status=0
	[[ $hog_pid ]] || return 0
	kill "$hog_pid" || :
	wait "$hog_pid" || status=$?
	hog_pid=''
	return "$status"
}

start_hog() {
	local ready=/run/hog-ready
	rm -f "$ready"
	"$hog" "$1" "$ready" &
	hog_pid=$!
	on_exit stop_hog
	wait_until 120 test -e "$ready"
	kill -0 "$hog_pid"
}

swapped_kib() { awk '$1 == "SwapTotal:" { total = $2 } $1 == "SwapFree:" { free = $2 } END { print total - free }' /proc/meminfo; }

# Swap on an origin that a snapshot holds: sets swap_image.
swap_on_origin() {
	add_origin swap "${disks[3]}"
	mkswap -q /dev/mapper/swap
	swapon /dev/mapper/swap
	on_exit swapoff /dev/mapper/swap
	add_store swap-store "${disks[4]}" 8
	take_snapshot swap-store swap
	add_image swap-image swap-store swap
	swap_image=/dev/mapper/swap-image
}

# Piece by piece: what this machine has least is memory.
sum_of() { dd if="$1" bs=256k iflag=direct status=none | sha256sum; }

# The image of the swap: what it was at the cut, or nothing.
swap_is_exact_or_invalid() {
	if [[ $(store_state swap-store) == active ]]; then
		assert_eq "$1" "$(sum_of "$swap_image")" "sum of the swap's image"
	else
		echo "the swap's snapshot: $(store_state swap-store) $(store_reason swap-store)"
		read_fails "$swap_image"
	fi
}

# pressed MIB WORKLOAD...: neither a write to an origin nor a page that was
# swapped out there may fail or be late, whatever becomes of the snapshots.
pressed() {
	local sum log=$share/oracle-$case_name.log
	swap_on_origin
	sum=$(sum_of "$swap_image")
	start_hog "$1"
	shift
	run_oracle --real "${disks[0]}" --real "${disks[1]}" --store "${disks[2]}" --origin-sectors 16384 \
		--rounds 1 --round 3 --request-limit 100 --exact-or-invalid --verbose "$@"
	swapped_kib
	at_least 1024 "$(swapped_kib)" "KiB swapped out"
	at_least 1 "$(status_word swap 3)" "copies of the swap's old contents"
	assert_eq 1 $(($(json_number exact_rounds "$log") + $(json_number invalid_rounds "$log"))) verdicts
	swap_is_exact_or_invalid "$sum"
	stop_hog
}

# swap_under MIB WORKLOAD
swap_under() {
	case $2 in
	small) pressed "$1" --block-sizes 1:16 --qd 4:12 --hot 0.6 ;;
	large) pressed "$1" --block-sizes 64:2048 --qd 1:4 --hot 0.1 ;;
	images) pressed "$1" --block-sizes 1:256 --qd 1:2 --image-writers 4 --readers 1 --chunk 64 ;;
	esac
}

for mib in 100 160 220; do
	for workload in small large images; do
		[[ ! $full && $mib-$workload != 160-small ]] ||
			test_case "swap-$mib-$workload" swap_under "$mib" "$workload"
	done
done
