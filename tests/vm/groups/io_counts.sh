#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# group: io_counts
# about: what first writes cost, counted by the devices themselves
# kernels: 6.1
# disks: 128M 256M
# memory: 1G
# timeout: 600
set -euo pipefail
. "$(dirname "$0")/../lib.sh"

origin=${disks[0]} store=${disks[1]}

held_origin() {
	local size
	size=$(blockdev --getsz "$origin")
	dmsetup create counted --table "0 $size diffsnap-origin $origin"
	on_exit dmsetup remove counted
	dmsetup create counted-store --table \
		"0 $(blockdev --getsz "$store") diffsnap-store $store 8"
	on_exit dmsetup remove counted-store
	dmsetup message counted-store 0 add /dev/mapper/counted
	dmsetup message counted-store 0 cut
	udevadm settle
	# udev looks into a device that was closed after writing, and would be counted
	udevadm control --stop-exec-queue
	# what was queued opens devices that are about to be removed
	on_exit udevadm settle
	on_exit udevadm control --start-exec-queue
}

# reads, sectors read, writes, sectors written
counts() { awk '{ print $1, $3, $5, $7 }' "/sys/block/$(basename "$1")/stat"; }

buffer_is_empty() { [[ $(dmsetup status counted-store | awk '{ print $7 }') == 0 ]]; }

# load NAME FIO-OPTION...: sets o (origin) and s (store): what it cost
load() {
	local name=$1 o0 s0 o1 s1
	shift
	read -ra o0 < <(counts "$origin")
	read -ra s0 < <(counts "$store")
	fio --name="$name" --filename=/dev/mapper/counted --direct=1 --ioengine=libaio \
		--iodepth=16 --randseed=7 "$@" >/dev/null
	wait_until 10 buffer_is_empty
	read -ra o1 < <(counts "$origin")
	read -ra s1 < <(counts "$store")
	for i in 0 1 2 3; do
		o[i]=$((o1[i] - o0[i]))
		s[i]=$((s1[i] - s0[i]))
	done
	echo "COUNT $name: origin ${o[0]} reads of ${o[1]} sectors, ${o[2]} writes of ${o[3]};" \
		"store ${s[0]} reads, ${s[2]} writes of ${s[3]} sectors" | tee -a "$share/output.txt"
}

at_most() { [[ $1 -le $2 ]] || fail "$3: $1, more than $2"; }

random_first_writes() {
	local -a o s
	held_origin
	load random-4k --rw=randwrite --bs=4k --number_ios=8192
	assert_eq $((8192 * 8)) "${o[3]}" "sectors written to the origin"
	at_most "${o[0]}" $((8192 * 105 / 100)) "reads of the origin"
	at_most "${o[1]}" $((8192 * 8 * 105 / 100)) "sectors read from the origin"
	at_most "${s[3]}" $((8192 * 8 * 110 / 100)) "sectors written to the store"
	[[ ${s[3]} -ge $((8192 * 8)) ]] || fail "less was stored than was overwritten"
	at_most $((s[2] * 512)) "${s[3]}" "store writes are below 256 KiB on average: sectors"
	assert_eq 0 "${s[0]}" "reads of the store"
}

sequential_first_writes() {
	local -a o s
	held_origin
	load sequential-1m --rw=write --bs=1M
	assert_eq 262144 "${o[3]}" "sectors written to the origin"
	assert_eq 262144 "${o[1]}" "sectors read from the origin"
	# not those of the origin: a block layer may merge them, 7.2 does
	at_most "${o[0]}" $((262144 / 2048)) "reads for as many writes of 1 MiB"
	at_most "${s[3]}" $((262144 * 110 / 100)) "sectors written to the store"
	at_most $((s[2] * 512)) "${s[3]}" "store writes are below 256 KiB on average: sectors"
}

settled_and_reads_cost_nothing() {
	local -a o s
	held_origin
	load first --rw=write --bs=1M
	load rewrite --rw=randwrite --bs=4k --number_ios=4096
	assert_eq "0 0 0" "${o[0]} ${s[0]} ${s[2]}" "I/O that rewriting added"
	load read --rw=randread --bs=4k --number_ios=4096
	assert_eq "4096 0 0 0" "${o[0]} ${o[2]} ${s[0]} ${s[2]}" "I/O of reading"
}

test_case random-first-writes random_first_writes
test_case sequential-first-writes sequential_first_writes
test_case settled-writes-and-reads settled_and_reads_cost_nothing
