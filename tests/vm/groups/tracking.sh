#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# group: tracking
# about: what the tracker tells of changes, against what has changed
# kernels: 6.1
# disks: 96M 96M 96M 512M
# memory: 2G
# timeout: 1800
# leaks
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../snapshots.sh"

disk=${disks[0]} other=${disks[1]} store=${disks[3]}

generation() { status_word "$1" 6; }
number() { status_word "$1" 7; }

# changes ORIGIN SINCE: all ranges, of as many answers as it takes
changes() {
	local generation next=0 answer all=''
	generation=$(generation "$1")
	while [[ $next != - ]]; do
		answer=$(dmsetup message "$1" 0 changes "$generation" "$2" "$next")
		next=${answer%% *}
		[[ $answer != *' '* ]] || all+=" ${answer#* }"
	done
	echo "${all# }"
}

# newer ORIGIN [SECTOR]: an answer of what was written after the cut
newer() { dmsetup message "$1" 0 newer "${2:-0}"; }

# changed SINCE RANGES: of origin a
changed() { assert_eq "$2" "$(changes a "$1")" "changes since $1"; }

snapshot() {
	add_store snap "$store" 8
	take_snapshot snap a
}

end_snapshot() {
	dmsetup message snap 0 drop
	dmsetup remove --retry snap
}

# ---- what is told

intervals() {
	add_origin a "$disk"
	assert_match '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' "$(generation a)"
	assert_eq "0 128" "$(number a) $(status_word a 8)"
	changed 0 ''
	fill /dev/mapper/a A 0 4
	fill /dev/mapper/a A 1000 200
	changed 0 '0+128 1920+512'
	snapshot
	assert_eq 1 "$(number a)"
	# what is written now is none of the snapshot's business
	fill /dev/mapper/a B 640 4
	fill /dev/mapper/a B 0 8
	changed 0 '0+128 1920+512'
	changed 1 ''
	assert_eq '- 0+128 1280+128' "$(newer a)"
	end_snapshot
	expect_fail 1 'No data available' newer a
	changed 1 '0+128 1280+128'
	snapshot
	assert_eq 2 "$(number a)"
	changed 0 '0+128 1280+128 1920+512'
	changed 1 '0+128 1280+128'
	changed 2 ''
	assert_eq '- 0+128:2 1280+128:2 1920+512:1' "$(dmsetup message a 0 numbers 0)"
	assert_eq '- 1280+128:2 1920+512:1' "$(dmsetup message a 0 numbers 128)"
	assert_eq '-' "$(dmsetup message a 0 numbers 1000000000)"
}

kinds_of_requests() {
	add_origin a "$disk"
	blkdiscard -o 1M -l 64K /dev/mapper/a
	blkdiscard -z -o 2M -l 64K /dev/mapper/a
	dd if=/dev/zero of=/dev/mapper/a bs=512 count=1 seek=8191 oflag=direct conv=fsync status=none
	dd if=/dev/mapper/a of=/dev/null bs=1M iflag=direct status=none
	changed 0 '2048+128 4096+128 8064+128'
	snapshot
	# not passed on, and marked nevertheless
	blkdiscard -o 3M -l 64K /dev/mapper/a
	end_snapshot
	changed 1 '6144+128'
}

# Who backs the image up has what was written to it, not what the origin had.
image_writes() {
	add_origin a "$disk"
	fill /dev/mapper/a A 0 64
	snapshot
	end_snapshot
	fill /dev/mapper/a B 128 4
	snapshot
	add_image image snap a
	fill /dev/mapper/image C 512 4
	fill /dev/mapper/image C 132 4
	fill /dev/mapper/a D 1024 4
	blkdiscard -o 8M -l 1M /dev/mapper/image
	changed 1 '256+128 1024+128'
	assert_eq '- 256+128 1024+128 2048+128' "$(newer a)"
	remove_device image
	end_snapshot
	changed 2 '256+128 1024+128 2048+128'
}

# The last block is shorter, and no answer goes beyond the end.
odd_size() {
	add_origin a "$disk" 100001
	dd if=/dev/zero of=/dev/mapper/a bs=512 count=1 seek=100000 oflag=direct status=none
	changed 0 '99968+33'
	dmsetup message a 0 mark 0+100001
	changed 0 '0+100001'
	snapshot
	changed 0 '0+100001'
}

many_ranges() {
	local i marks=() expected=''
	add_device a "0 196608 diffsnap-origin $disk 2 tracking_block 8"
	for ((i = 0; i < 2000; i++)); do
		marks+=("$((i * 40 + 3))+1")
		expected+=" $((i * 40))+8"
	done
	for ((i = 0; i < 2000; i += 500)); do
		dmsetup message a 0 mark "${marks[@]:i:500}"
	done
	changed 0 "${expected# }"
	assert_eq "0 196608 diffsnap-origin $(stat -Lc %Hr:%Lr "$disk") 2 tracking_block 8" "$(dmsetup table a)"
}

# More snapshots than a byte can tell apart.
long_chain() {
	local i rounds=12
	[[ ! ${FULL:-} ]] || rounds=300
	add_origin a "$disk"
	for ((i = 1; i <= rounds; i++)); do
		fill /dev/mapper/a B 64 4
		fill /dev/mapper/a B $((i * 64 + 128)) 4
		add_store "snap$i" "$store" 8
		take_snapshot "snap$i" a
		assert_eq "$i" "$(number a)"
		changed $((i - 1)) "128+128 $((i * 128 + 256))+128"
		dmsetup message "snap$i" 0 drop
		dmsetup remove --retry "snap$i"
	done
	changed $((i - 3)) "128+128 $((i * 128))+256"
}

# ---- what it is told

marks() {
	add_origin a "$disk"
	dmsetup message a 0 mark 5+1 1000+200
	changed 0 '0+128 896+384'
	for wrong in 5 5+0 x+1 5+1x 200000+1 196607+2 18446744073709551615+2; do
		expect_fail 1 'Invalid|out of range' dmsetup message a 0 mark "$wrong"
		expect_fail 1 'Invalid|out of range' dmsetup message a 0 mark 100000+1 "$wrong"
	done
	changed 0 '0+128 896+384'
	snapshot
	dmsetup message a 0 mark 4096+1
	changed 0 '0+128 896+384'
	end_snapshot
	changed 1 '4096+128'
}

wrong_questions() {
	local generation
	add_origin a "$disk"
	generation=$(generation a)
	for wrong in '' "$generation" "$generation 0" "$generation 0 0 0" "$generation 1 0" "$generation +x 0" "$generation 0 x" \
		"x 0 0" "${generation%?} 0 0"; do
		# shellcheck disable=SC2086 # words
		expect_fail 1 'Invalid' dmsetup message a 0 changes $wrong
	done
	expect_fail 1 'Stale' dmsetup message a 0 changes 00000000-0000-4000-8000-000000000000 0 0
	expect_fail 1 'Invalid' dmsetup message a 0 numbers
	expect_fail 1 'Invalid' dmsetup message a 0 numbers x
	expect_fail 1 'Invalid' dmsetup message a 0 reset now
	expect_fail 1 'Invalid' dmsetup message a 0 frobnicate
	assert_eq '-' "$(dmsetup message a 0 changes "$generation" 0 99999999999)"
	for wrong in '1 tracking_block' '2 tracking_block 12' '2 tracking_block 4' '2 tracking_block 65536' \
		'2 tracking_block x' '2 block 8' '3 tracking_block 8 x' '2 tracking_block 8 x' 'x'; do
		expect_fail 1 'Invalid argument' dmsetup create wrong --table "0 1024 diffsnap-origin $other $wrong"
	done
}

# ---- generations

reset() {
	local generation
	add_origin a "$disk"
	fill /dev/mapper/a A 0 4
	snapshot
	generation=$(generation a)
	expect_fail 1 'busy' dmsetup message a 0 reset
	end_snapshot
	assert_eq "$generation 1" "$(generation a) $(number a)"
	dmsetup message a 0 reset
	[[ $(generation a) != "$generation" ]] || fail "the generation is the same"
	assert_eq 0 "$(number a)"
	changed 0 ''
	expect_fail 1 'Stale' dmsetup message a 0 changes "$generation" 0 0
	fill /dev/mapper/a A 64 4
	snapshot
	fill /dev/mapper/a A 128 4
	changed 0 '128+128'
	end_snapshot
	changed 1 '256+128'
}

tables() {
	local generation
	add_origin a "$disk" 65536
	generation=$(generation a)
	fill /dev/mapper/a A 0 4
	reload_device a "0 65536 diffsnap-origin $disk 0"
	changed 0 '0+128'
	# larger: who has an older copy has nothing of that
	reload_device a "0 66000 diffsnap-origin $disk"
	changed 0 '0+128 65536+464'
	snapshot
	end_snapshot
	reload_device a "0 1000 diffsnap-origin $disk 2 tracking_block 128"
	changed 1 ''
	reload_device a "0 66000 diffsnap-origin $disk"
	changed 1 '896+65104'
	assert_eq "$generation" "$(generation a)"
	expect_fail 1 'Invalid argument' dmsetup load a --table "0 66000 diffsnap-origin $disk 2 tracking_block 64"
	# another disk
	reload_device a "0 66000 diffsnap-origin $other"
	[[ $(generation a) != "$generation" ]] || fail "the generation is the same on another disk"
	assert_eq 0 "$(number a)"
	changed 0 ''
}

# What was added between add and cut is in no image of that snapshot, and in the next one.
grows_before_the_cut() {
	add_origin a "$disk" 65536
	add_store snap "$store" 8
	dmsetup message snap 0 add /dev/mapper/a
	reload_device a "0 98304 diffsnap-origin $disk"
	dmsetup message snap 0 cut
	assert_eq 1 "$(number a)"
	changed 0 ''
	end_snapshot
	changed 1 '65536+32768'
	snapshot
	changed 1 '65536+32768'
	# and after the cut
	reload_device a "0 196608 diffsnap-origin $disk"
	changed 1 '65536+32768'
	end_snapshot
	changed 2 '98304+98304'
}

# Somebody else's table, while one of ours is there to come back to.
foreign_table() {
	local generation
	add_origin a "$disk"
	generation=$(generation a)
	fill /dev/mapper/a A 0 4
	snapshot
	end_snapshot
	reload_device a "0 196608 linear $disk 0"
	fill /dev/mapper/a B 64 4
	reload_device a "0 196608 diffsnap-origin $disk"
	[[ $(generation a) != "$generation" ]] || fail "a gap is hidden"
	assert_eq 0 "$(number a)"
	changed 0 ''
	# a table that was never resumed is none
	generation=$(generation a)
	dmsetup load a --table "0 196608 linear $disk 0"
	dmsetup clear a
	dmsetup load a --table "0 196608 diffsnap-origin $disk"
	dmsetup clear a
	fill /dev/mapper/a B 64 4
	assert_eq "$generation" "$(generation a)"
	changed 0 '128+128'
}

# ---- a past

restored() {
	local generation=12345678-1234-4234-8234-123456789abc own marks
	add_origin a "$disk"
	own=$(generation a)
	fill /dev/mapper/a A 0 4
	dmsetup message a 0 restore "$generation" 7
	# written since, however late it is told
	fill /dev/mapper/a A 64 4
	dmsetup message a 0 load 0+300:3 1000+200:7 4096+1:8
	assert_eq "$own" "$(generation a)"
	expect_fail 1 'Stale' dmsetup message a 0 changes "$generation" 3 0
	dmsetup message a 0 load 2048+128:1
	fill /dev/mapper/a A 512 4
	dmsetup message a 0 restored
	assert_eq "$generation 7" "$(generation a) $(number a)"
	marks='0+256:8 256+128:3 896+128:7 1024+128:8 1152+128:7 2048+128:1 4096+128:8'
	assert_eq "- $marks" "$(dmsetup message a 0 numbers 0)"
	changed 6 '0+256 896+384 4096+128'
	changed 7 '0+256 1024+128 4096+128'
	snapshot
	assert_eq 8 "$(number a)"
	fill /dev/mapper/a B 256 4
	changed 0 '0+384 896+384 2048+128 4096+128'
	changed 7 '0+256 1024+128 4096+128'
	changed 8 ''
	end_snapshot
	changed 8 '512+128'
	for wrong in "restore $generation 7" 'load 0+8:1' restored; do
		# shellcheck disable=SC2086 # words
		expect_fail 1 'exists|No such' dmsetup message a 0 $wrong
	done
}

# Whatever lets a write pass unseen, or shows somebody half of it, ends the attempt.
restored_in_vain() {
	local generation=12345678-1234-4234-8234-123456789abc how
	for how in snapshot reset foreign_device; do
		add_origin a "$disk"
		dmsetup message a 0 restore "$generation" 7
		dmsetup message a 0 load 0+300:3
		case $how in
		snapshot)
			snapshot
			end_snapshot
			;;
		reset) dmsetup message a 0 reset ;;
		foreign_device) reload_device a "0 196608 diffsnap-origin $other" ;;
		esac
		expect_fail 1 'No such' dmsetup message a 0 load 0+8:1
		expect_fail 1 'No such' dmsetup message a 0 restored
		expect_fail 1 'exists' dmsetup message a 0 restore "$generation" 7
		[[ $(generation a) != "$generation" ]] || fail "$how: the generation goes on"
		remove_device a
	done
	add_origin a "$disk"
	expect_fail 1 'No such' dmsetup message a 0 load 0+8:1
	expect_fail 1 'No such' dmsetup message a 0 restored
	for wrong in 'restore' 'restore x 7' "restore $generation" "restore $generation x" "restore $generation 7 7"; do
		# shellcheck disable=SC2086 # words
		expect_fail 1 'Invalid' dmsetup message a 0 $wrong
	done
	expect_fail 1 'out of range' dmsetup message a 0 restore "$generation" 1073741824
	dmsetup message a 0 restore "$generation" 1073741823
	expect_fail 1 'out of range' dmsetup message a 0 load 0+8:1073741825
	expect_fail 1 'out of range' dmsetup message a 0 load 0+8:0
	expect_fail 1 'out of range' dmsetup message a 0 load 196608+1:1
	for wrong in '' 0+8 0+8:x 0+8:1:1 0+0:1; do
		# shellcheck disable=SC2086 # words
		expect_fail 1 'Invalid' dmsetup message a 0 load $wrong
	done
	expect_fail 1 'Invalid' dmsetup message a 0 restored now
	dmsetup message a 0 load 0+8:1073741824 128+8:1
	dmsetup message a 0 restored
	changed 1073741823 '0+128'
	snapshot
	assert_eq 1073741824 "$(number a)"
}

# ---- under load

images_differ_where_told() {
	local log=$share/oracle-$case_name.log rounds=2
	[[ ! $full ]] || rounds=12
	run_oracle --changes --real "${disks[0]}" --real "${disks[1]}" --real "${disks[2]}" --store "$store" \
		--rounds "$rounds" --round 3 --hot 0.2 --block-sizes 1:64
	at_least 1 "$(json_number different_sectors "$log")" "sectors that differ"
	run_oracle --changes --real "${disks[0]}" --real "${disks[1]}" --store "$store" --chunk 64 \
		--rounds "$rounds" --round 3 --qd 16 --hot 0.8 --block-sizes 1:2048
}

test_case intervals intervals
test_case kinds-of-requests kinds_of_requests
test_case image-writes image_writes
test_case odd-size odd_size
test_case many-ranges many_ranges
test_case long-chain long_chain
test_case marks marks
test_case wrong-questions wrong_questions
test_case reset reset
test_case tables tables
test_case grows-before-the-cut grows_before_the_cut
test_case foreign-table foreign_table
test_case restored restored
test_case restored-in-vain restored_in_vain
test_case images-differ-where-told images_differ_where_told
