#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# group: large_devices
# about: memory and time of change tracking on devices of 16 and 64 TiB
# kernels: 6.1
# full-kernels: 6.1
# disks: 64M
# memory: 5G
# timeout: 3600
# full
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../snapshots.sh"
. "$(dirname "$0")/../commands.sh"

PATH=$DIFFSNAP_BUILD/tests/vm:$PATH

store=${disks[0]}
tib=$((1 << 40)) block=65536

# origin_of TIB: one that reads as zeroes and keeps nothing
origin_of() {
	add_device zeroes "0 $(($1 * tib / 512)) zero"
	attached /dev/mapper/zeroes
	newest=$(field origins generation zeroes):0
}

# In KiB; the kernel may have merged the leaves' cache with others of their size.
slab_kib() { awk '$1 == "Slab:" { print $2 }' /proc/meminfo; }

# marked TIB PERCENT: that many of the blocks, more or less, as random writes would
marked() {
	mark-at-random zeroes $(($1 * $2 * (tib / block) / 100)) 1
}

# queried WHAT BLOCKS: how long all changes take, in a tool that gets little memory
queried() {
	local start lines
	start=$(now_ms)
	lines=$(
		ulimit -v 262144
		diffsnap changes snap/zeroes --since "$newest" | awk '{ sum += $2; n++ } END { print n, sum / 65536 }'
	)
	figure "$1: changes: ${lines% *} ranges in $(($(now_ms) - start)) ms"
	assert_eq "$2" "${lines#* }" "blocks told"
}

# figures TIB PERCENT LIMIT: the limit is of the memory of leaves, in KiB
figures() {
	local size=$1 percent=$2 limit=$3 before blocks used
	before=$(slab_kib)
	origin_of "$size"
	blocks=$(marked "$size" "$percent")
	used=$(($(slab_kib) - before))
	figure "$size TiB, $percent %: $blocks blocks, $used KiB of leaves and $((size * 128)) KiB of slots"
	[[ $used -le $limit ]] || fail "$used KiB of leaves, more than $limit"
	snapshot snap -s "$store" --no-freeze zeroes
	queried "$size TiB, $percent %" "$blocks"
}

sixteen_1() { figures 16 1 $((300 << 10)); }
sixteen_10() { figures 16 10 $((300 << 10)); }
sixty_four_1() { figures 64 1 $((1200 << 10)); }

test_case sixteen-1 sixteen_1
test_case sixteen-10 sixteen_10
test_case sixty-four-1 sixty_four_1
