#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# group: pressure
# about: little memory, and swap on an origin with a snapshot held
# kernels: 6.1 6.1-kasan
# checked-cases: ^reserves-(suffice|with-a-hung)
# disks: 16M 16M 96M 192M 224M
# memory: 256M
# timeout: 1800
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../snapshots.sh"
. "$(dirname "$0")/../injection.sh"

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

# pressed MIB WORKLOAD...: neither a write to an origin nor a page that was swapped out
# there may fail or be late. The swap's snapshot waits for memory, with a store that
# writes: it is not given up.
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
	assert_eq active "$(store_state swap-store)" "the swap's snapshot"
	assert_eq "$sum" "$(sum_of "$swap_image")" "sum of the swap's image"
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

for mib in 130 160 220; do
	for workload in small large images; do
		[[ ! $full && $mib-$workload != 160-small ]] ||
			test_case "swap-$mib-$workload" swap_under "$mib" "$workload"
	done
done

# ---- no memory at all
#
# The kernel's workers and the writers get no page, whether they may wait for one or
# not: what is left are reserves. That is had from fault injection, since a machine that
# has really used up its memory does not run tests, and one that almost has is a matter
# of luck. Nobody else is given none, and a writer ends only when it is over: 9p, where
# the guest's files are, does not tell its server what it closes without memory.

no_pages=/sys/kernel/debug/fail_page_alloc

can_inject() { [[ -e $no_pages/task-filter && -e $no_pages/min-order && -e /proc/self/make-it-fail ]]; }

# start_writer NAME BLOCK: writes to that origin what is sent to it, in blocks of so many
# KiB, the first one now: a process needs no more memory then. Sets writer and feed.
start_writer() {
	local pipe=/run/feed-$1
	mkfifo "$pipe"
	dd if="$pipe" of="/dev/mapper/$1" bs="$2k" oflag=direct iflag=fullblock status=none &
	writer=$!
	exec {feed}>"$pipe"
	rm "$pipe"
	on_exit eval "kill $writer 2>/dev/null || :"
	send "$feed" "$2"
	wait_until 10 shows "/dev/mapper/$1" B 0 "$2"
}

# send FEED KIB
send() { head -c "$(($2 * 1024))" /dev/zero | tr '\0' B >&"$1"; }

# starve WRITER...: from now on
starve() {
	local task
	prepare_injection "$no_pages"
	echo 0 >"$no_pages/min-order"
	for task in "$@"; do echo 1 >"/proc/$task/make-it-fail"; done
	mark_workers 1
	on_exit mark_workers 0
	on_exit feed_again
	echo 100 >"$no_pages/probability"
}

feed_again() { echo 0 >"$no_pages/probability"; }

# all_written NAME KIB SECONDS FAILED: what was sent has arrived within that time, and so many
# allocations at least were refused meanwhile.
all_written() {
	local start
	start=$(now_ms)
	until shows "/dev/mapper/$1" B $(($2 - 4)) 4; do
		[[ $(($(now_ms) - start)) -lt $(($3 * 1000)) ]] || fail "a write waits for more than $3 seconds"
		sleep 1
	done
	feed_again
	at_least "$4" $((1000000000 - $(<"$no_pages/times"))) "failed allocations"
	shows "/dev/mapper/$1" B 0 "$2"
}

# writer_ends PID FEED
writer_ends() {
	local feed=$2
	exec {feed}>&-
	wait "$1"
}

resume_backing() { dmsetup resume backing; }

# The reserves suffice, as long as the store writes.
reserves_suffice() {
	add_origin data "${disks[0]}"
	fill /dev/mapper/data A 0 8192
	add_store snap "${disks[2]}" 8
	take_snapshot snap data
	add_image image snap data
	start_writer data 4
	starve "$writer"
	send "$feed" 2044 &
	all_written data 2048 60 256
	writer_ends "$writer" "$feed"
	assert_eq active "$(store_state snap)"
	shows /dev/mapper/data A 2048 6144
	shows /dev/mapper/image A 0 8192
}

# Small copies have a part of them at any time, as the store is slow: a large one becomes
# smaller, and does not wait until there are no more of those.
reserves_for_large_and_small() {
	local large large_feed
	modprobe dm-delay
	add_device slow "0 $(size_of "${disks[2]}") delay ${disks[2]} 0 0 ${disks[2]} 0 300"
	add_origin large "${disks[0]}"
	add_origin small "${disks[1]}"
	fill /dev/mapper/large A 0 8192
	fill /dev/mapper/small A 0 8192
	add_store snap /dev/mapper/slow 8 '' '2 store_timeout 5000'
	take_snapshot snap large small
	add_image large-image snap large
	add_image small-image snap small
	# more than a MiB at once: what the block layer takes for that has a reserve
	start_writer large 2048
	large=$writer
	large_feed=$feed
	start_writer small 4
	wait_until 10 has_word snap 4 0
	starve "$writer" "$large"
	send "$feed" 6140 &
	wait_until 20 shows /dev/mapper/small B 60 4
	send "$large_feed" 2048 &
	wait_until 60 shows /dev/mapper/large B 4092 4
	! shows /dev/mapper/small B 6140 4 || fail "the large write waited for all the small ones"
	all_written small 6144 100 256
	writer_ends "$writer" "$feed"
	writer_ends "$large" "$large_feed"
	assert_eq active "$(store_state snap)"
	shows /dev/mapper/large B 0 4096
	shows /dev/mapper/large-image A 0 8192
	shows /dev/mapper/small-image A 0 8192
}

# The store has all of them, and does not answer.
reserves_with_a_hung_store() {
	add_device backing "0 $(size_of "${disks[2]}") linear ${disks[2]} 0"
	add_origin data "${disks[0]}"
	fill /dev/mapper/data A 0 8192
	add_store snap /dev/mapper/backing 8 '' '2 store_timeout 3000'
	take_snapshot snap data
	add_image image snap data
	start_writer data 4
	wait_until 10 has_word snap 4 0
	on_exit resume_backing
	dmsetup suspend --noflush --nolockfs backing
	starve "$writer"
	send "$feed" 2044 &
	all_written data 2048 15 32
	writer_ends "$writer" "$feed"
	assert_match '^invalid (store-timeout|no-memory):' "$(store_state snap) $(store_reason snap)"
	shows /dev/mapper/data A 2048 6144
	read_fails /dev/mapper/image
}

# An origin's device has all of them, and does not answer: the writes to another one go
# on, at the price of the snapshot.
reserves_with_a_stalled_origin() {
	local stalled stalled_feed
	add_device real "0 $(size_of "${disks[0]}") linear ${disks[0]} 0"
	add_origin stalled /dev/mapper/real
	add_origin data "${disks[1]}"
	fill /dev/mapper/data A 0 8192
	add_store snap "${disks[2]}" 8 '' '2 store_timeout 3000'
	take_snapshot snap stalled data
	# more than a MiB at once: what the block layer takes for that has a reserve
	start_writer stalled 2048
	stalled=$writer
	stalled_feed=$feed
	start_writer data 4
	wait_until 10 has_word snap 4 0
	on_exit dmsetup resume real
	dmsetup suspend --noflush --nolockfs real
	starve "$writer" "$stalled"
	send "$stalled_feed" 2048 &
	wait_until 10 has_word stalled 3 3
	send "$feed" 60 &
	all_written data 64 15 32
	assert_match '^invalid no-memory:' "$(store_state snap) $(store_reason snap)"
	writer_ends "$writer" "$feed"
	dmsetup resume real
	writer_ends "$stalled" "$stalled_feed"
	shows /dev/mapper/data A 64 8128
	shows /dev/mapper/stalled B 0 4096
}

if can_inject; then
	test_case reserves-suffice reserves_suffice
	test_case reserves-for-large-and-small reserves_for_large_and_small
	test_case reserves-with-a-hung-store reserves_with_a_hung_store
	test_case reserves-with-a-stalled-origin reserves_with_a_stalled_origin
else
	test_case reserves no_injection
fi
