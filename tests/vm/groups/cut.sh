#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# group: cut
# about: one instant for many origins, and cuts that cannot be made
# kernels: 6.1
# disks: 64M 64M 256M
# memory: 3G
# timeout: 3600
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../snapshots.sh"

store_disk=${disks[2]}
slice=2560 # sectors

# slices N: dm-linear devices slice0... on the first two disks
slices() {
	local index
	for ((index = 0; index < $1; index++)); do
		add_device "slice$index" "0 $slice linear ${disks[index % 2]} $(((index >> 1) * slice))"
		reals+=(--real "/dev/mapper/slice$index")
	done
}

# two origins a and b over slices of the same name, and a store with both
two_members() {
	reals=()
	slices 2
	add_origin a /dev/mapper/slice0
	add_origin b /dev/mapper/slice1
	fill /dev/mapper/a A 0 1024
	fill /dev/mapper/b A 0 1024
	add_store snap "$store_disk" 8
	dmsetup message snap 0 add /dev/mapper/a
	dmsetup message snap 0 add /dev/mapper/b
}

resume_slice() { dmsetup resume slice0; }

sixteen_origins() {
	local log=$share/oracle-$case_name.log
	reals=()
	slices 16
	local rounds=8
	[[ ! $full ]] || rounds=200
	# all that the oracle has, then the order of writes alone, for long; the end of a snapshot, for which
	# --request-limit is, too, is that of 33 devices under load
	run_oracle "${reals[@]}" --store "$store_disk" --rounds 4 --before 0.2 --round 0.5 --qd 1:4 --chains 8 \
		--readers 1 --image-writers 1 --block-sizes 1:256 --request-limit 600
	run_oracle "${reals[@]}" --store "$store_disk" --rounds "$rounds" --before 0.2 --round 0 --qd 1 --think 0.03 \
		--chains 8 --readers 0 --no-image-writes --block-sizes 1:64 --request-limit 600
	assert_eq "$rounds" "$(json_number cuts "$log")" cuts
	at_least $((rounds * 16)) "$(json_number chain_checks "$log")" "chains compared"
}

# The limit passes, the member is named, nothing has changed, writes go on.
suspended_below() {
	local writer start
	two_members
	on_exit resume_slice
	dmsetup suspend --noflush --nolockfs slice0
	fill /dev/mapper/a B 0 64 &
	writer=$!
	sleep 1
	mark_log
	start=$(date +%s%N)
	expect_fail 1 'Connection timed out' dmsetup message snap 0 cut 1500
	start=$((($(date +%s%N) - start) / 1000000))
	at_least 1400 "$start" "milliseconds of the cut"
	[[ $start -lt 15000 ]] || fail "the cut took $start ms"
	logged "origin (a|$(device_number a))( |,|\$)"
	assert_eq new "$(store_state snap)"
	assert_eq added "$(status_word a 1)"
	assert_eq 0 "$(status_word a 7)" cuts
	assert_eq 0 "$(status_word b 7)" cuts
	timeout 20 dd if=/dev/zero of=/dev/mapper/b bs=64k count=4 oflag=direct
	kill -0 "$writer"
	dmsetup resume slice0
	wait "$writer"
	shows /dev/mapper/a B 0 64
	dmsetup message snap 0 cut 10000
	add_image image snap a
	fill /dev/mapper/a C 0 64
	shows /dev/mapper/image B 0 64
}

default_limit() {
	local start writer
	two_members
	on_exit resume_slice
	dmsetup suspend --noflush --nolockfs slice0
	fill /dev/mapper/a B 0 64 &
	writer=$!
	sleep 1
	start=$(date +%s%N)
	expect_fail 1 'Connection timed out' dmsetup message snap 0 cut
	start=$((($(date +%s%N) - start) / 1000000))
	at_least 900 "$start" "milliseconds of the cut"
	[[ $start -lt 10000 ]] || fail "the cut took $start ms"
	dmsetup resume slice0
	wait "$writer"
}

# The same under the oracle's load: what is expected of the image is exact.
suspended_below_under_load() {
	reals=()
	slices 4
	on_exit resume_slice
	run_oracle "${reals[@]}" --store "$store_disk" --rounds 3 --round 1 --qd 2:8 --cut-limit 2000 \
		--before-cut 'dmsetup suspend --noflush --nolockfs slice0; sleep 0.5' --first-cut-fails ETIMEDOUT \
		--after-failed-cut 'dmsetup resume slice0'
}

killed_during_cut() {
	local writer cutter status=0
	two_members
	on_exit resume_slice
	dmsetup suspend --noflush --nolockfs slice0
	fill /dev/mapper/a B 0 64 &
	writer=$!
	sleep 1
	dmsetup message snap 0 cut 4000 &
	cutter=$!
	sleep 1
	kill -KILL "$cutter"
	# what comes behind the gate waits for it, and no longer
	timeout 30 dd if=/dev/zero of=/dev/mapper/b bs=64k count=4 oflag=direct
	wait "$cutter" || status=$?
	assert_eq 137 $status "status of the killed cut"
	assert_eq new "$(store_state snap)"
	dmsetup resume slice0
	wait "$writer"
	timeout 30 dmsetup message snap 0 cut 10000
	assert_eq active "$(store_state snap)"
}

overlapping_sets() {
	reals=()
	slices 3
	add_origin a /dev/mapper/slice0
	add_origin b /dev/mapper/slice1
	add_origin c /dev/mapper/slice2
	add_store one "$store_disk" 8 131072
	add_device rest "0 131072 linear $store_disk 131072"
	add_store two /dev/mapper/rest 8
	dmsetup message one 0 add /dev/mapper/a
	dmsetup message two 0 add /dev/mapper/c
	dmsetup message one 0 add /dev/mapper/b
	mark_log
	expect_fail 1 'Device or resource busy' dmsetup message two 0 add /dev/mapper/b
	logged "one|$(device_number one)"
	# both at once
	dmsetup message one 0 cut 10000 &
	dmsetup message two 0 cut 10000
	wait "$!"
	assert_eq "active active" "$(store_state one) $(store_state two)"
	expect_fail 1 'Invalid argument' dmsetup message two 0 add /dev/mapper/b
	dmsetup message one 0 drop
	fill /dev/mapper/a B 0 64
	fill /dev/mapper/c B 0 64
	assert_eq "0 16" "$(status_word a 3) $(status_word c 3)" copies
	dmsetup remove --retry one
	# free again
	add_store three "$store_disk" 8 131072
	dmsetup message three 0 add /dev/mapper/b
	dmsetup message three 0 add /dev/mapper/a
	dmsetup message three 0 cut
	expect_fail 1 'Device or resource busy|Invalid argument' dmsetup message two 0 add /dev/mapper/a
}

# LVM's way: another table in the origin's place, with image reads in flight.
foreign_table() {
	local round index pids rounds=2
	[[ ! $full ]] || rounds=8
	modprobe dm-delay
	for ((round = 0; round < rounds; round++)); do
		# slow only when udev has looked at everything
		dmsetup create slow --table "0 65536 linear ${disks[0]} 0"
		dmsetup create a --table "0 65536 diffsnap-origin /dev/mapper/slow"
		dmsetup create snap --table "0 65536 diffsnap-store $store_disk 8"
		fill /dev/mapper/a A 0 4096
		take_snapshot snap a
		dmsetup create image --table '0 65536 diffsnap-image /dev/mapper/snap /dev/mapper/a'
		udevadm settle
		reload_device slow "0 65536 delay ${disks[0]} 0 400 ${disks[0]} 0 0"
		pids=()
		for ((index = 0; index < 16; index++)); do
			dd if=/dev/mapper/image of=/run/read$index bs=256k skip=$index count=1 iflag=direct status=none &
			pids+=("$!")
		done
		sleep "0.$((RANDOM % 4))"
		# the reads are slow, the writes are not: they would be overtaken
		dmsetup load a --table "0 65536 linear ${disks[0]} 0"
		if [[ $((round % 2)) -eq 0 ]]; then
			dmsetup suspend --noflush --nolockfs a
		else
			dmsetup suspend --nolockfs a
		fi
		dmsetup resume a
		fill /dev/mapper/a B 0 4096
		for ((index = 0; index < 16; index++)); do
			if wait "${pids[index]}"; then
				file_shows /run/read$index A 256 || fail "new data in round $round, read $index"
			fi
		done
		reload_device slow "0 65536 linear ${disks[0]} 0"
		assert_eq invalid "$(store_state snap)"
		assert_match '^origin-gone:' "$(store_reason snap)"
		read_fails /dev/mapper/image
		dmsetup remove --retry image
		dmsetup remove --retry snap
		dmsetup remove --retry a
		dmsetup remove --retry slow
	done
}

# And under load: from then on the images must fail, and never show new data.
foreign_table_under_load() {
	local size=65536
	add_origin data "${disks[0]}" $size
	run_oracle --origin data --store "$store_disk" --rounds 4 --round 2 --expect-invalid \
		--expect-status ' origin-gone:' \
		--during "dmsetup load data --table '0 $size linear ${disks[0]} 0' && dmsetup resume data" \
		--after "dmsetup load data --table '0 $size diffsnap-origin ${disks[0]}' && dmsetup resume data"
}

# Its own table again is no foreign one.
own_table_under_load() {
	local size=65536
	add_origin data "${disks[0]}" $size
	run_oracle --origin data --store "$store_disk" --rounds 3 --round 3 \
		--during "for i in 1 2 3 4 5; do dmsetup load data --table '0 $size diffsnap-origin ${disks[0]}' && dmsetup resume data; done"
}

test_case suspended-below suspended_below
test_case default-limit default_limit
test_case suspended-below-under-load suspended_below_under_load
test_case killed-during-cut killed_during_cut
test_case overlapping-sets overlapping_sets
test_case foreign-table foreign_table
test_case foreign-table-under-load foreign_table_under_load
test_case own-table-under-load own_table_under_load
test_case sixteen-origins sixteen_origins
