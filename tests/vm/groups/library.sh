#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# group: library
# about: backups by programs that use the library
# kernels: 6.1
# disks: 64M 96M 32M
# memory: 1G
# cpus: 1
# timeout: 600
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../snapshots.sh"
. "$(dirname "$0")/../commands.sh"

# the programs are here, and this is what they are linked with
PATH=$DIFFSNAP_BUILD/userspace/examples:$DIFFSNAP_BUILD/tests/vm:$PATH

disk=${disks[0]} store=${disks[1]} other=${disks[2]}
name=${disk##*/}
data=/dev/mapper/$name

# own_directory FUNCTION: run where no other case has left a backup
own_directory() {
	rm -rf /run/work
	mkdir /run/work
	cd /run/work
	"$1"
}

# write_at OFFSET LENGTH: random data to the origin, in KiB
write_at() {
	dd if=/dev/urandom of="$data" bs=4k seek="$(($1 * 1024))" count="$(($2 / 4))" oflag=seek_bytes,direct status=none
}

newest() { echo "$(field origins generation "$1"):$(field origins change_number "$1")"; }

# said PATTERN WANTED: the line of what the example printed
said() { assert_match "$1" "$(<said)" "what the program said"; }

# ---- the example

full_and_incremental() {
	local round
	dd if=/dev/urandom of="$disk" bs=1M count=64 oflag=direct status=none
	on_exit detach_if_attached "$name"
	backup "$disk" "$store" copy | tee said
	said "^$disk is to be used as $data from now on"
	said 'full backup: 67108864 bytes copied'
	same_as_file "$data" copy
	assert_eq "$(newest "$name")" "$(<copy.since)"
	for round in 1 2 3; do
		write_at $((round * 1000)) 4
		write_at $((round * 9000)) 512
		# up to the last sector
		write_at $((65536 - 4 * round)) $((4 * round))
		backup "$disk" "$store" copy | tee said
		# 64 KiB, 512 KiB and what that touches besides, 64 KiB
		[[ $(<said) =~ ^'incremental backup: '([0-9]+)' bytes copied'$ ]] || fail "it said: $(<said)"
		at_least $((640 << 10)) "${BASH_REMATCH[1]}" copied
		[[ ${BASH_REMATCH[1]} -le $((768 << 10)) ]] || fail "${BASH_REMATCH[1]} bytes copied"
		same_as_file "$data" copy
		assert_eq "$(newest "$name")" "$(<copy.since)"
	done
	backup "$data" "$store" copy | tee said
	said '^incremental backup: 0 bytes copied'
	says_nothing snapshot_names
	# taken off and put on again, and written to in between
	diffsnap detach -q "$name"
	dd if=/dev/urandom of="$disk" bs=4k count=1 seek=77 oflag=direct status=none
	backup "$disk" "$store" copy | tee said
	said 'full backup: 67108864'
	same_as_file "$data" copy
}

# Each backup of a file system in use is one as after an orderly unmount, and the files are as they were.
in_use() {
	local round
	attached "$disk"
	ext4_on "$data" /run/data
	random_file /run/data/old 8000000
	sync -f /run/data
	start_load /run/data
	for round in 1 2 3; do
		sleep 1
		backup /run/data "$store" copy | tee said
		needs_no_recovery copy
		e2fsck -fn copy
		debugfs -R 'cat /old' copy 2>/dev/null | cmp - /run/data/old
	done
	stop_load
	said '^incremental'
}

refusals() {
	local held="another snapshot|the snapshot \"holder\" holds it"
	refused 5 '^backup: cannot find /dev/none: No such file or directory$' backup /dev/none "$store" copy
	refused 5 '^backup: cannot find /dev/null: not a block device$' backup /dev/null "$store" copy
	refused 5 '^backup: cannot talk to device-mapper: Permission denied$' \
		setpriv --inh-caps=-all --bounding-set=-all "$(command -v backup)" "$disk" "$store" copy
	attached "$disk"
	snapshot holder -s "$other" "$name"
	refused 5 "^backup: cannot add origin \"$name\": ($held)\$" backup "$disk" "$store" copy
	diffsnap remove -q holder
	refused 5 "^backup: cannot use .* as difference storage: .*the origin \"$name\"" backup "$disk" "$disk" copy
	mkfs.ext4 -q "$store"
	refused 5 '^backup: cannot use .* as difference storage: it holds data \(ext4\)$' backup "$disk" "$store" copy
	says_nothing snapshot_names
	[[ ! -e copy && ! -e copy.since ]] || fail "a refused backup has begun"
}

# ---- all of the interface

whole_interface() {
	on_exit detach_if_attached data
	on_exit detach_if_attached other
	on_exit remove_if_there first
	on_exit remove_if_there second
	# a tracker that a case before left would be lost, for the disk is another one since
	rm -rf /var/lib/diffsnap/trackers
	library-client "$disk" "$other" "$store"
}

test_case full-and-incremental own_directory full_and_incremental
test_case in-use own_directory in_use
test_case refusals own_directory refusals
test_case whole-interface own_directory whole_interface
