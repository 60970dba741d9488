#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# group: oracle
# about: every read of every image checked under load, for as long as is asked
# kernels: 6.1
# disks: 96M 96M 96M 512M 64M,lbs=4096 64M,lbs=4096
# memory: 3G
# timeout: 3600
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../snapshots.sh"

three=(--real "${disks[0]}" --real "${disks[1]}" --real "${disks[2]}" --store "${disks[3]}")

# The machinery itself: on the kernel's own snapshots nothing is wrong, but that they know
# of no write that must not wait.
oracle_on_dm_snapshot() {
	local log=$share/oracle-$case_name.log
	modprobe dm-snapshot
	run_oracle --backend dm-snapshot "${three[@]}" --origin-sectors 65536 --rounds 1 --round 5
	at_least 1 "$(json_number nowait_unsupported "$log")" "writes that must not wait, and are not known"
}

# A store's device that loses writes is found, or the oracle is worth nothing.
oracle_notices_lost_writes() {
	local status=0 log=$share/oracle-$case_name.log
	add_device lossy "0 131072 flakey ${disks[3]} 0 0 1 1 drop_writes"
	taskset -c "$all_cpus" oracle run --real "${disks[0]}" --origin-sectors 65536 --store /dev/mapper/lossy \
		--rounds 3 --round 4 --no-image-writes >"$log" 2>&1 || status=$?
	tail -n 3 "$log"
	assert_eq 1 "$status" "the oracle's status"
	assert_match '"mismatch|MISMATCH: image 0 sector' "$(<"$log")"
}

depths() {
	run_oracle "${three[@]}" --origin-sectors 65536 --rounds "$(rounds 2)" --round 5 --qd 1
	run_oracle "${three[@]}" --origin-sectors 65536 --rounds "$(rounds 2)" --round 5 --qd 64 --request-limit 300
}

large_blocks() { run_oracle "${three[@]}" --rounds "$(rounds 2)" --round 6 --block-sizes 2048:8192 --hot 0; }

# Writes that must not wait are refused if they would be held, and no others. Only a cut, of
# some few, and the target refuse such small ones: one too large for a single bio, or for
# the disk, the block layer itself refuses.
small_blocks() {
	local log=$share/oracle-$case_name.log refused
	run_oracle "${three[@]}" --origin-sectors 65536 --rounds 2 --round 6 --block-sizes 1:8 --qd 8:16
	assert_eq 0 "$(json_number nowait_unsupported "$log")" "writes that must not wait, and are not known"
	refused=$(json_number nowait_refused "$log")
	at_least 50 "$refused" "writes that must not wait, and were refused"
	at_least $((refused + 1)) "$(json_number nowait_writes "$log")" "all writes that must not wait"
}

# Images are written until the store is full and on, and the origin hardly: what it still needs
# waits until the store grows. So each snapshot stays valid, and its image is compared.
image_no_space() {
	local log=$share/oracle-$case_name.log size args='on_full wait:60000'
	size=$(size_of "${disks[3]}")
	run_oracle --real "${disks[0]}" --origin-sectors 32768 --store "${disks[3]}" --store-sectors 4096 \
		--rounds 3 --round 6 --qd 1 --think 1 --block-sizes 1:8 --image-writers 4 --image-no-space \
		--store-args "$args" --prefix full \
		--during "dmsetup load full-store --table '0 $size diffsnap-store ${disks[3]} 8 2 $args' &&
			dmsetup resume full-store"
	at_least 1 "$(json_number image_no_space "$log")" "writes to images that found no space"
}

# Rounds that differ in all they can differ in, for the time that was asked for, and on
# until reads have raced first writes, which large chunks alone hardly let them.
long_loop() {
	local end=$((SECONDS + repeat_seconds)) rounds=0 copies=0 races=0 first=0 cuts=0 chunk size log
	log=$share/oracle-$case_name.log
	local chunks=(8 8 8 16 64 256 2048)
	sums() { grep -o "\"$1\":[0-9]*" "$log" | awk -F : '{ sum += $2 } END { print sum + 0 }'; }
	while [[ $SECONDS -lt $end || $first -eq 0 && $rounds -lt 10 ]]; do
		chunk=${chunks[RANDOM % ${#chunks[@]}]}
		size=$((65536 + RANDOM * 2 + RANDOM % 8))
		case $((RANDOM % 4)) in
		0 | 1) run_oracle "${three[@]}" --origin-sectors "$size" --chunk "$chunk" \
			--rounds 2 --round 8 --qd 1:16 --hot "0.$((RANDOM % 10))" ;;
		2) run_oracle --real "${disks[4]}" --real "${disks[5]}" --store "${disks[3]}" --chunk "$chunk" \
			--rounds 2 --round 8 --qd 1:16 ;;
		3) run_oracle "${three[@]}" --origin-sectors "$size" --rounds 3 --round 6 \
			--hot 0.9 --block-sizes 1:16 --qd 4:16 --readers 3 ;;
		esac
		rounds=$((rounds + 1))
		first=$(sums first_write_races)
	done
	copies=$(sums copies) races=$(sums races) cuts=$(sums cuts)
	echo "$rounds runs, $cuts cuts, $(sums writes) writes, $copies copies, $(sums image_reads) image reads," \
		"$races races with writes, $first with first writes" | tee "$share/oracle-sum" >/dev/kmsg
	at_least 1 "$copies" copies
	at_least 1 "$first" "races with first writes"
}

test_case oracle-on-dm-snapshot oracle_on_dm_snapshot
test_case oracle-notices-lost-writes oracle_notices_lost_writes
test_case depths depths
test_case large-blocks large_blocks
test_case small-blocks small_blocks
test_case image-no-space image_no_space
test_case long-loop long_loop
