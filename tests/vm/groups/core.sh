#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# group: core
# about: the three targets, by dmsetup and the oracle
# kernels: 6.1 6.12 7.2 6.1-kasan
# further-cases: ^(example|tables|devices-taken-meanwhile|store-grows|low-water-event|polled-writes|store-cannot-be-read-or-written|(origin-)?discard.*|image-alignment|oracle-(4096|small-buffer))$
# checked-cases: ^(example|store-cannot-be-read-or-written|discard-releases|oracle-small-buffer)$
# disks: 48M 48M 48M 256M 48M,lbs=4096 48M,lbs=4096 8M,pbs=8192
# memory: 2G
# timeout: 1500
# leaks
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../snapshots.sh"

store_disk=${disks[3]}
three=(--real "${disks[0]}" --real "${disks[1]}" --real "${disks[2]}" --store "$store_disk")

one_snapshot() {
	add_origin data "${disks[0]}"
	add_store snap "$store_disk" 8
	take_snapshot snap data
	add_image image snap data
}

example() {
	local size generation
	size=$(size_of "${disks[0]}")
	add_origin data "${disks[0]}"
	generation=$(status_word data 6)
	fill /dev/mapper/data A 0 1024
	assert_eq "0 $size diffsnap-origin idle - 0 0 0 $generation 0 128" "$(dmsetup status data)"
	add_store snap "$store_disk" 8 '' '2 low_water 1024'
	assert_match "^0 $(size_of "$store_disk") diffsnap-store new - 0/[0-9]+ 0 1024 0 0\$" \
		"$(dmsetup status snap | sed 's/ *$//')"
	dmsetup message snap 0 add /dev/mapper/data
	assert_eq "0 $size diffsnap-origin added $(device_number snap) 0 0 0 $generation 0 128" "$(dmsetup status data)"
	dmsetup message snap 0 cut
	assert_eq "0 $size diffsnap-origin held $(device_number snap) 0 0 0 $generation 1 128" "$(dmsetup status data)"
	assert_eq active "$(store_state snap)"
	at_least 1 "$(status_word snap 6)" "time that the gates were closed"
	assert_eq "1 $(device_number data) 0 0 0" "$(dmsetup status snap | cut -d ' ' -f 10-)"
	add_image image snap data
	shows /dev/mapper/image A 0 1024
	fill /dev/mapper/data B 0 512
	shows /dev/mapper/image A 0 1024
	shows /dev/mapper/data B 0 512
	shows /dev/mapper/data A 512 512
	assert_eq 1024 "$(status_word data 4)" "preserved sectors"
	assert_eq "1 $(device_number data) 1024 0 0" "$(dmsetup status snap | cut -d ' ' -f 10-)"
	assert_eq "0 $size diffsnap-image active 1024 0 0" "$(dmsetup status image)"
	fill /dev/mapper/image C 256 8
	shows /dev/mapper/image C 256 8
	shows /dev/mapper/image A 264 512
	shows /dev/mapper/data B 0 512
	dmsetup remove --retry image
	dmsetup message snap 0 drop
	assert_eq dropped "$(store_state snap)"
	dmsetup message snap 0 drop
	dmsetup remove --retry snap
	assert_eq idle "$(status_word data 1)"
	shows /dev/mapper/data B 0 512
	dmsetup remove --retry data
	shows "${disks[0]}" B 0 512
	shows "${disks[0]}" A 512 512
}

# A table line is what the constructor was given.
tables() {
	local line
	one_snapshot
	line=$(dmsetup table data)
	assert_match "^0 [0-9]+ diffsnap-origin [0-9]+:[0-9]+( 0)?\$" "$line"
	reload_device data "$line"
	line=$(dmsetup table snap)
	reload_device snap "$line"
	assert_eq "$line" "$(dmsetup table snap)"
	line=$(dmsetup table image)
	assert_eq "0 $(size_of /dev/mapper/data) diffsnap-image $(device_number snap) $(device_number data)" "$line"
	# neither the origin's nor the store's own line ends the snapshot
	fill /dev/mapper/data B 0 64
	shows /dev/mapper/image '\0' 0 64
	assert_eq active "$(store_state snap)"
	dmsetup create other --table "0 $(size_of "${disks[4]}") diffsnap-store ${disks[4]} 64 8 low_water 128 buffer 8192 store_timeout 5000 on_full wait:1500"
	on_exit remove_device other
	assert_match ' diffsnap-store [0-9:]+ 64 8 low_water 128 buffer 8192 store_timeout 5000 on_full wait:1500$' \
		"$(dmsetup table other)"
	reload_device other "0 $(size_of "${disks[4]}") diffsnap-store ${disks[4]} 64 2 on_full invalidate"
	assert_match ' diffsnap-store [0-9:]+ 64 2 on_full invalidate$' "$(dmsetup table other)"
}

# measured REGEX: among the tables that IMA, the kernel's log for attestation, has noted
measured() {
	local noted
	noted=$(awk '$5 == "dm_table_load" { print $6 }' /sys/kernel/security/ima/ascii_runtime_measurements | sed 's/../\\x&/g')
	assert_match "$1" "$(printf %b "$noted")" "IMA's log"
}

measured_tables() {
	local ima=/sys/kernel/security/ima store real
	grep -qw securityfs /proc/filesystems || skip "the kernel has no IMA"
	mount -t securityfs none /sys/kernel/security
	on_exit umount /sys/kernel/security
	[[ -d $ima ]] || skip "the kernel has no IMA"
	# a kernel takes one policy
	echo 'measure func=CRITICAL_DATA label=device-mapper' >$ima/policy
	one_snapshot
	real=$(stat -Lc %Hr:%Lr "${disks[0]}")
	store=$(stat -Lc %Hr:%Lr "$store_disk")
	measured "name=data,.*target_name=diffsnap-origin,target_version=[0-9.]+,real_device=$real;"
	measured "name=snap,.*target_name=diffsnap-store,target_version=[0-9.]+,device=$store,chunk_size=8;"
	measured "name=image,.*target_name=diffsnap-image,target_version=[0-9.]+,store=$(device_number snap),origin=$(device_number data);"
}

# refused ERROR REASON TABLE: of an unused name; REASON is in the log
refused() {
	local errno=$1 reason=$2
	shift 2
	mark_log
	expect_fail 1 "$errno" dmsetup create refused --table "$*"
	! dmsetup info refused >/dev/null 2>&1 || dmsetup remove refused
	logged "device-mapper: table: [0-9:]+: .*$reason([[:space:]]|\$)"
}

constructors_refuse() {
	local size before bad
	local einval='Invalid argument' enoent='No such (file|device)' ebusy='Device or resource busy'
	one_snapshot
	on_exit remove_device refused
	size=$(size_of "${disks[1]}")
	before=$(dmsetup status)

	refused "$einval" 'Invalid argument count' "0 $size diffsnap-origin"
	refused "$enoent" 'Cannot get the real device' "0 $size diffsnap-origin /dev/nonexistent"
	refused "$enoent" 'Cannot get the real device' "0 $size diffsnap-origin 240:0"
	for bad in '1' '-1' '3 tracking_block 128 x' 'x'; do
		refused "$einval" 'Invalid number of feature arguments' "0 $size diffsnap-origin ${disks[1]} $bad"
	done
	refused "$einval" 'A feature argument has no value' "0 $size diffsnap-origin ${disks[1]} 1 word"
	refused "$einval" 'Unknown feature argument' "0 $size diffsnap-origin ${disks[1]} 2 word 1"
	refused "$einval" 'Invalid tracking_block' "0 $size diffsnap-origin ${disks[1]} 2 tracking_block 127"
	refused "$einval" 'Too many arguments' "0 $size diffsnap-origin ${disks[1]} 0 word"
	refused "$einval" 'The real device is too small' "0 $((size + 8)) diffsnap-origin ${disks[1]}"
	refused "$einval" 'must appear alone in table' "0 $((size / 2)) diffsnap-origin ${disks[1]}
$((size / 2)) $((size / 2)) linear ${disks[2]} 0"
	refused "$einval" 'must appear alone in table' "0 8 linear ${disks[2]} 0
8 $((size - 8)) diffsnap-origin ${disks[1]}"
	refused "$einval" 'Gap in table' "8 $((size - 8)) diffsnap-origin ${disks[1]}"

	for bad in '' "${disks[1]}"; do
		refused "$einval" 'Invalid argument count' "0 $size diffsnap-store $bad"
	done
	refused "$enoent" "Cannot get the store's device" "0 $size diffsnap-store /dev/nonexistent 8"
	for bad in 0 4 12 4096 -8 eight; do
		refused "$einval" 'Invalid chunk size' "0 $size diffsnap-store ${disks[1]} $bad"
	done
	for bad in '2 low_water' '4 low_water 1 buffer' '99 low_water 1' 'x'; do
		refused "$einval" 'Invalid number of feature arguments' "0 $size diffsnap-store ${disks[1]} 8 $bad"
	done
	refused "$einval" 'A feature argument has no value' "0 $size diffsnap-store ${disks[1]} 8 1 low_water"
	refused "$einval" 'Unknown feature argument' "0 $size diffsnap-store ${disks[1]} 8 2 high_water 1"
	refused "$einval" 'Too many arguments' "0 $size diffsnap-store ${disks[1]} 8 0 word"
	for bad in 'low_water -1' 'low_water x' 'buffer 8' 'buffer x' 'store_timeout x' 'store_timeout 0' \
		'on_full ignore' 'on_full wait:' 'on_full wait:0' 'on_full wait:x'; do
		refused "$einval" "Invalid ${bad%% *}" "0 $size diffsnap-store ${disks[1]} 8 2 $bad"
	done
	refused "$einval" 'The store is smaller than a chunk' "0 4 diffsnap-store ${disks[1]} 8"
	refused "$einval" "The store's device is too small" "0 $((size + 8)) diffsnap-store ${disks[1]} 8"
	# a place is a number of 44 bits
	add_device vast "0 $(((1 << 47) + 8)) zero"
	refused "$einval" 'The store has more chunks than can be told apart' "0 $((1 << 47)) diffsnap-store /dev/mapper/vast 8"
	remove_device vast
	# on an origin's own device, and on what lies below it
	for bad in "${disks[0]}" /dev/mapper/data; do
		refused "$ebusy" "The store's device is an origin, or an origin's real device" "0 $size diffsnap-store $bad 8"
	done
	# what a store lies on is for nobody else
	refused "$ebusy" "The store's device holds another store" "0 $size diffsnap-store $store_disk 8"
	refused "$ebusy" 'The real device holds a store' "0 $size diffsnap-origin $store_disk"

	for bad in '' '/dev/mapper/snap' '/dev/mapper/snap /dev/mapper/data 1'; do
		refused "$einval" 'Invalid argument count' "0 $size diffsnap-image $bad"
	done
	refused "$enoent" "Cannot find the store's device" "0 $size diffsnap-image /dev/nonexistent /dev/mapper/data"
	refused "$enoent" "Cannot find the origin's device" "0 $size diffsnap-image /dev/mapper/snap /dev/nonexistent"
	for bad in "${disks[1]} /dev/mapper/data" '/dev/mapper/data /dev/mapper/snap'; do
		refused "$enoent" "The store's device is no diffsnap-store" "0 $size diffsnap-image $bad"
	done
	refused "$enoent" 'The origin is not a member of the snapshot' "0 $size diffsnap-image /dev/mapper/snap ${disks[1]}"
	for bad in $((size - 8)) $((size + 8)); do
		refused "$einval" 'The length is not that of the origin' "0 $bad diffsnap-image /dev/mapper/snap /dev/mapper/data"
	done
	add_origin second "${disks[1]}"
	add_store fresh "${disks[2]}" 8
	dmsetup message fresh 0 add /dev/mapper/second
	refused "$einval" 'The snapshot was not cut, or was given up' "0 $size diffsnap-image /dev/mapper/fresh /dev/mapper/second"
	dmsetup remove --retry fresh
	dmsetup remove --retry second
	assert_eq "$before" "$(dmsetup status)" "the state of all"
	fill /dev/mapper/data B 0 64
	shows /dev/mapper/image '\0' 0 64
}

zoned_devices() {
	modprobe null_blk nr_devices=1 zoned=1 gb=1 zone_size=64
	on_exit rmmod null_blk
	udevadm settle
	refused 'Invalid argument' 'Zoned devices are not supported' "0 131072 diffsnap-origin /dev/nullb0"
	refused 'Invalid argument' 'Zoned devices are not supported' "0 131072 diffsnap-store /dev/nullb0 8"
}

# loaded NAME TABLE...: made, and not resumed
loaded() {
	local name=$1
	shift
	dmsetup create "$name" --notable
	on_exit remove_device "$name"
	dmsetup load "$name" --table "$*"
}

# not_resumed REGEX NAME [ERROR]: with a reason in the log
not_resumed() {
	mark_log
	expect_fail 1 "${3:-Device or resource busy}" dmsetup resume "$2"
	logged "device-mapper: diffsnap: $(device_number "$2"): $1"
}

# What was nobody's when a table was loaded may be somebody's when it is resumed.
devices_taken_meanwhile() {
	local size
	size=$(size_of "${disks[1]}")
	loaded first "0 $size diffsnap-store ${disks[1]} 8"
	loaded second "0 $size diffsnap-store ${disks[1]} 8"
	loaded origin "0 $size diffsnap-origin ${disks[1]}"
	dmsetup resume first
	not_resumed 'cannot resume: The real device' origin
	not_resumed "cannot resume: The store's device" second
	remove_device first
	dmsetup resume origin
	not_resumed "cannot resume: The store's device" second
	fill /dev/mapper/origin A 0 64
	shows /dev/mapper/origin A 0 64
	dmsetup remove --retry second

	# an inactive table, of a store that is elsewhere
	add_store moves "${disks[2]}" 8
	remove_device origin
	dmsetup load moves --table "0 $size diffsnap-store ${disks[1]} 8"
	add_origin origin "${disks[1]}"
	not_resumed "cannot resume: The store's device" moves
	reload_device moves "0 $size diffsnap-store ${disks[2]} 8"
	remove_device moves

	# the store's device itself becomes an origin
	add_device below "0 $size linear ${disks[2]} 0"
	loaded above "0 $size diffsnap-store /dev/mapper/below 8"
	dmsetup load below --table "0 $size diffsnap-origin ${disks[2]}"
	not_resumed "cannot resume: The store's device" above
	dmsetup clear below
	dmsetup resume above
	expect_fail 1 'Device or resource busy' dmsetup load below --table "0 $size diffsnap-origin ${disks[2]}"
}

# says REGEX MESSAGE: refused by the store "fresh", which stays as it was
says() {
	local errno=$1 before
	shift
	before=$(dmsetup status)
	expect_fail 1 "$errno" dmsetup message fresh 0 "$@"
	assert_eq "$before" "$(dmsetup status)" "the state of all after '$*'"
}

messages_refuse() {
	one_snapshot
	add_origin second "${disks[1]}"
	add_device plain "0 $(size_of "${disks[2]}") linear ${disks[2]} 0"
	add_store fresh "${disks[5]}" 8
	add_origin wide "${disks[4]}"
	says 'Invalid argument' 'add'
	says 'Invalid argument' 'cut'
	says 'Invalid argument' 'unknown'
	says 'Invalid argument' 'add' '/dev/mapper/second' 'more'
	says 'Invalid argument' 'low_water'
	says 'Invalid argument' 'low_water' 'x'
	says 'Invalid argument' 'cut' 'x'
	says 'No such (device|file)' 'add' '/dev/nonexistent'
	says 'No such device' 'add' '/dev/mapper/plain'
	says 'No such device' 'add' "${disks[2]}"
	says 'No such device' 'add' '/dev/mapper/snap'
	mark_log
	says 'Device or resource busy' 'add' '/dev/mapper/data'
	logged 'snap|'"$(device_number snap)"
	# 512-byte blocks on a store with 4096
	mark_log
	says 'Invalid argument' 'add' '/dev/mapper/second'
	logged 'logical block'
	# one write to the disk would be of several chunks
	add_origin coarse "${disks[6]}"
	mark_log
	says 'Invalid argument' 'add' '/dev/mapper/coarse'
	logged 'physical block of 8192 bytes is larger than the chunk'
	dmsetup message fresh 0 add /dev/mapper/wide
	says 'File exists' 'add' '/dev/mapper/wide'
	dmsetup message fresh 0 cut
	says 'Invalid argument' 'add' '/dev/mapper/second'
	says 'Invalid argument' 'cut'
	dmsetup message fresh 0 drop
	says 'Invalid argument' 'add' '/dev/mapper/second'
	says 'Invalid argument' 'cut'
	says 'Invalid argument' 'low_water' '5'
	dmsetup message fresh 0 drop
	expect_fail 1 '' dmsetup message data 0 cut
	expect_fail 1 '' dmsetup message image 0 cut
	shows /dev/mapper/image '\0' 0 64
}

resume_second() { [[ ! -e /dev/mapper/second ]] || dmsetup resume second; }

# A suspended member lets no write in and is cut with the others; without one
# that is gone nothing is cut.
cut_needs_its_members() {
	local writer
	add_origin data "${disks[0]}"
	add_origin second "${disks[1]}"
	add_store snap "$store_disk" 8
	dmsetup message snap 0 add /dev/mapper/data
	dmsetup message snap 0 add /dev/mapper/second
	fill /dev/mapper/second A 0 64
	dmsetup suspend second
	on_exit resume_second
	fill /dev/mapper/second B 0 64 &
	writer=$!
	sleep 0.5
	dmsetup message snap 0 cut
	kill -0 $writer
	dmsetup resume second
	wait $writer
	assert_eq active "$(store_state snap)"
	assert_eq held "$(status_word second 1)"
	add_image image snap second
	shows /dev/mapper/second B 0 64
	shows /dev/mapper/image A 0 64
	remove_device image
	dmsetup message snap 0 drop
	remove_device snap

	add_store snap "$store_disk" 8
	dmsetup message snap 0 add /dev/mapper/data
	dmsetup message snap 0 add /dev/mapper/second
	remove_device second
	expect_fail 1 'No such device' dmsetup message snap 0 cut
	assert_match '^invalid origin-gone:19:' "$(dmsetup status snap | cut -d ' ' -f 4-)"
	assert_eq 1 "$(status_word data 7)" "snapshots of it"
	fill /dev/mapper/data A 0 64
}

store_grows() {
	local half
	half=$(($(size_of "$store_disk") / 2))
	add_origin data "${disks[0]}"
	add_store snap "$store_disk" 8 8192
	take_snapshot snap data
	add_image image snap data
	fill /dev/mapper/data B 0 2048
	reload_device snap "0 $half diffsnap-store $store_disk 8"
	assert_match '/([0-9]+)' "$(status_word snap 3)"
	fill /dev/mapper/data B 2048 16384
	assert_eq active "$(store_state snap)"
	shows /dev/mapper/image '\0' 0 18432
	expect_fail 1 'Invalid argument' dmsetup load snap --table "0 $((half - 8)) diffsnap-store $store_disk 8"
	expect_fail 1 'Invalid argument' dmsetup load snap --table "0 $half diffsnap-store $store_disk 16"
	fill /dev/mapper/data B 18432 1024
	shows /dev/mapper/image '\0' 0 19456
	assert_eq active "$(store_state snap)"
}

# The other arguments are those of the new line, too.
arguments_of_the_new_table() {
	local writer
	add_origin data "${disks[0]}"
	add_store snap "$store_disk" 8 8192
	take_snapshot snap data
	add_image image snap data
	reload_device snap "0 8192 diffsnap-store $store_disk 8 4 low_water 4096 on_full wait:60000"
	fill /dev/mapper/data B 0 3072
	wait_until 10 has_status snap low
	fill /dev/mapper/data B 3072 4096 &
	writer=$!
	sleep 1
	kill -0 $writer
	assert_eq low "$(store_state snap)" "full, and its writers wait"
	reload_device snap "0 32768 diffsnap-store $store_disk 8"
	wait $writer
	assert_eq active "$(store_state snap)"
	shows /dev/mapper/image '\0' 0 7168
	shows /dev/mapper/data B 0 7168
	fill /dev/mapper/data B 7168 16384
	wait_until 10 has_status snap overflow
	shows /dev/mapper/data B 7168 16384
}

# The target does not move what a store holds: that is for the device below.
store_stays_where_it_is() {
	local size=32768
	add_origin data "${disks[0]}"
	add_store snap "$store_disk" 8 $size
	dmsetup message snap 0 add /dev/mapper/data
	# nothing there yet
	reload_device snap "0 $size diffsnap-store ${disks[1]} 8"
	dmsetup message snap 0 cut
	add_image image snap data
	fill /dev/mapper/data B 0 64
	wait_until 10 has_word snap 4 0
	dmsetup load snap --table "0 $size diffsnap-store ${disks[2]} 8"
	not_resumed "cannot resume: What the store holds is on device $(stat -Lc %Hr:%Lr "${disks[1]}")" snap
	reload_device snap "0 $size diffsnap-store ${disks[1]} 8"
	assert_eq active "$(store_state snap)"
	fill /dev/mapper/data B 64 64
	shows /dev/mapper/image '\0' 0 1024
	shows /dev/mapper/data B 0 128
	# nobody needs it any more
	dmsetup message snap 0 drop
	reload_device snap "0 $size diffsnap-store ${disks[2]} 8"
}

# What was preserved goes in units of the store's logical block.
store_blocks_stay_small() {
	add_store snap "${disks[1]}" 8 32768
	dmsetup load snap --table "0 32768 diffsnap-store ${disks[4]} 8"
	not_resumed "the store's logical block cannot become larger" snap 'Invalid argument'
	reload_device snap "0 32768 diffsnap-store ${disks[1]} 8"
	add_origin data "${disks[0]}"
	take_snapshot snap data
	add_image image snap data
	fill /dev/mapper/data B 0 64
	shows /dev/mapper/image '\0' 0 64
}

# Images read the device that their origin had at the cut: it cannot get another one
# while it is held. What comes meanwhile waits for the right table.
real_device_stays() {
	local line reader writer
	one_snapshot
	line=$(dmsetup table data)
	on_exit reload_device data "$line"
	fill "${disks[1]}" X 0 1024
	fill /dev/mapper/data B 0 64
	dmsetup load data --table "0 $(size_of "${disks[1]}") diffsnap-origin ${disks[1]}"
	not_resumed 'the real device differs from the one that a snapshot holds' data
	shows /dev/mapper/image '\0' 0 64
	fill /dev/mapper/data C 64 64 &
	writer=$!
	shows /dev/mapper/image '\0' 512 64 &
	reader=$!
	sleep 1
	kill -0 $writer
	kill -0 $reader
	reload_device data "$line"
	wait $writer
	wait $reader
	assert_eq active "$(store_state snap)"
	shows /dev/mapper/data B 0 64
	shows /dev/mapper/data C 64 64
	shows /dev/mapper/image '\0' 0 1024
	shows "${disks[1]}" X 0 1024
}

low_water_event() {
	local events waiter
	add_origin data "${disks[0]}"
	add_store snap "$store_disk" 8 32768 '2 low_water 16384'
	take_snapshot snap data
	events=$(dmsetup info -c --noheadings -o events snap)
	timeout 60 dmsetup wait snap "$events" &
	waiter=$!
	fill /dev/mapper/data B 0 4096
	assert_eq active "$(store_state snap)"
	fill /dev/mapper/data B 4096 8192
	wait "$waiter"
	assert_eq low "$(store_state snap)"
	events=$(dmsetup info -c --noheadings -o events snap)
	# once
	fill /dev/mapper/data B 12288 64
	assert_eq "$events" "$(dmsetup info -c --noheadings -o events snap)"
	dmsetup message snap 0 low_water 4096
	assert_eq active "$(store_state snap)"
	fill /dev/mapper/data B 12352 3000
	wait_until 10 has_status snap low
	at_least $((events + 1)) "$(dmsetup info -c --noheadings -o events snap)" events
}

# An origin that can be polled, through a volume; what is no longer polled completes in an
# interrupt there. Its first 8 MiB are A: null_blk allocates memory for what is written first, which
# may sleep, and who polls must not.
polled_origin() {
	modprobe null_blk nr_devices=1 gb=1 memory_backed=1 queue_mode=2 poll_queues=1 irqmode=2
	on_exit rmmod null_blk
	add_device volume "0 32768 linear /dev/nullb0 0"
	add_origin data /dev/mapper/volume
	assert_eq 1 "$(<"/sys/dev/block/$(device_number data)/queue/io_poll")" "polling"
	fill /dev/mapper/data A 0 8192
}

# write_polled LOOPS: over 8 MiB, and looks whether it is there
write_polled() {
	timeout 300 taskset -c "$all_cpus" fio --name=polled --filename=/dev/mapper/data --size=8M --loops="$1" --rw=randwrite \
		--bs=4k --direct=1 --ioengine=io_uring --hipri --iodepth=8 --verify=crc32c --verify_fatal=1
}

# Who polls for a request that is held gets it all the same.
polled_writes() {
	polled_origin
	add_store snap "$store_disk" 8
	take_snapshot snap data
	add_image image snap data
	# each block twice: held, and passed
	write_polled 2
	at_least 2048 "$(status_word data 3)" copies
	shows /dev/mapper/image A 0 8192
}

# A polled write that needs a copy goes behind one that waits until less is being read: there
# might always be another one that would fit in before.
polled_write_waits_its_turn() {
	local first second polled
	polled_origin
	add_origin other "${disks[1]}"
	# of a member two chunks may be on their way
	add_store snap "$store_disk" 1024 '' '2 buffer 4096'
	take_snapshot snap data other
	add_image image snap data
	on_exit wait
	on_exit dmsetup resume volume
	dmsetup suspend --noflush --nolockfs volume
	fill /dev/mapper/data B 0 4 &
	first=$!
	wait_until 20 has_word data 5 1
	head -c 1M /dev/zero | tr '\0' C | dd of=/dev/mapper/data bs=1M seek=1 iflag=fullblock oflag=direct status=none &
	second=$!
	wait_until 20 has_word data 5 2
	taskset -c "$all_cpus" fio --name=polled --filename=/dev/mapper/data --offset=4M --size=4k --rw=write --bs=4k \
		--direct=1 --ioengine=io_uring --hipri --buffer_pattern=0x44 &
	polled=$!
	wait_until 30 has_word data 5 3
	sleep 1
	assert_eq 1024 "$(status_word snap 4)" "sectors on their way"
	dmsetup resume volume
	wait $first
	wait $second
	wait $polled
	shows /dev/mapper/image A 0 8192
	shows /dev/mapper/data B 0 4
	shows /dev/mapper/data C 1024 1024
	shows /dev/mapper/data D 4096 4
}

# Nor is it lost at a closed gate, or does it keep that closed.
cut_under_polled_writes() {
	local load cut
	polled_origin
	rm -f /run/enough
	while [[ ! -e /run/enough ]]; do
		write_polled 5 || exit
	done &
	load=$!
	on_exit wait $load
	on_exit touch /run/enough
	for cut in {1..20}; do
		add_store snap "$store_disk" 8
		dmsetup message snap 0 add /dev/mapper/data
		dmsetup message snap 0 cut 20000
		[[ -e /proc/$load ]] || fail "cut $cut: nothing writes"
		remove_device snap
	done
	touch /run/enough
	wait $load
}

store_cannot_be_read_or_written() {
	one_snapshot
	expect_fail 1 'Input/output error' dd if=/dev/mapper/snap of=/dev/null bs=4k count=1 iflag=direct
	expect_fail 1 'Input/output error' dd if=/dev/zero of=/dev/mapper/snap bs=4k count=1 oflag=direct
}

# Less than the store writes at once does not stay in memory, either: of a write that begins two
# copies one is that much, and the other is the rest.
buffer_empties() {
	local write
	one_snapshot
	for write in $(seq 0 23); do
		dd if=/dev/zero of=/dev/mapper/data bs=1536k seek="$write" count=1 oflag=direct status=none
		wait_until 5 nothing_buffered snap
	done
}

# Whole chunks are released, the origin's writes to them are not copied.
discard_releases() {
	add_origin data "${disks[0]}"
	fill /dev/mapper/data A 0 4096
	add_store snap "$store_disk" 64
	take_snapshot snap data
	add_image image snap data
	# chunk size 32 KiB; from the middle of one to the middle of another
	blkdiscard -o $((16 * 1024)) -l $((128 * 1024)) /dev/mapper/image
	shows /dev/mapper/image A 0 32
	shows /dev/mapper/image '\0' 32 96
	shows /dev/mapper/image A 128 128
	assert_eq $((96 * 2)) "$(status_word image 4)" "released sectors"
	shows /dev/mapper/data A 0 4096
	fill /dev/mapper/data B 32 96
	assert_eq 0 "$(status_word data 3)" copies
	fill /dev/mapper/data B 128 32
	assert_eq 1 "$(status_word data 3)" copies
	shows /dev/mapper/image '\0' 32 96
	shows /dev/mapper/image A 128 128
	# preserved, then released: the space is free again
	wait_until 10 has_word snap 4 0
	at_least 1 "$(used snap)" "used sectors"
	blkdiscard -o $((128 * 1024)) -l $((32 * 1024)) /dev/mapper/image
	wait_until 10 has_used snap 0
	shows /dev/mapper/image '\0' 32 128
	# zeroes cost no more
	blkdiscard -z -o 0 -l $((32 * 1024)) /dev/mapper/image
	shows /dev/mapper/image '\0' 0 160
	assert_eq 0 "$(used snap)" "used sectors"
}

used() { status_word "$1" 3 | cut -d / -f 1; }
has_used() { [[ $(used "$1") == "$2" ]]; }

# A rewrite and a read of the origin add no I/O, a first write one read.
settled_chunks_cost_nothing() {
	one_snapshot
	fill /dev/mapper/data B 0 4096
	local copies
	copies=$(status_word data 3)
	fill /dev/mapper/data C 0 4096
	assert_eq "$copies" "$(status_word data 3)" copies
	assert_eq 8192 "$(status_word data 4)" "preserved sectors"
	shows /dev/mapper/image '\0' 0 4096
}

# A discard of unsettled chunks of the origin must not reach the device.
origin_discard() {
	add_origin data "${disks[0]}"
	fill /dev/mapper/data A 0 4096
	add_store snap "$store_disk" 8
	take_snapshot snap data
	add_image image snap data
	fill /dev/mapper/data B 1024 1024
	blkdiscard -o 0 -l $((4096 * 1024)) /dev/mapper/data
	shows /dev/mapper/image A 0 4096
	assert_eq active "$(store_state snap)"
}

# A store's device may ask for buffers that are aligned to its blocks, dm-crypt does.
image_alignment() {
	add_origin data "${disks[4]}"
	add_store snap "${disks[5]}" 8
	take_snapshot snap data
	add_image image snap data
	assert_eq 4095 "$(<"/sys/dev/block/$(device_number image)/queue/dma_alignment")"
}

# Many who write to one chunk of an image, each of which waits for the one before: it must
# not be that one's stack on which it goes on.
writers_of_one_chunk() {
	add_origin data "${disks[0]}"
	fill /dev/mapper/data A 0 2048
	add_store snap "$store_disk" 2048
	take_snapshot snap data
	add_image image snap data
	taskset -c "$all_cpus" fio --name=writers --filename=/dev/mapper/image --rw=randwrite --bs=4k --size=1M \
		--numjobs=8 --thread --iodepth=64 --ioengine=libaio --direct=1 --time_based --runtime=4 >/dev/null
	assert_eq active "$(store_state snap)"
	shows /dev/mapper/image A 1024 1024
	shows /dev/mapper/data A 0 2048
}

oracle_512() { run_oracle "${three[@]}" --rounds "$(rounds 3)" --round 6; }

oracle_4096() {
	run_oracle --real "${disks[4]}" --real "${disks[5]}" --store "$store_disk" --rounds "$(rounds 2)" --round 5
	run_oracle --real "${disks[4]}" --store "${disks[5]}" --origin-sectors 32768 --rounds 1 --round 4
}

oracle_last_chunk() {
	run_oracle "${three[@]}" --origin-sectors 50001 --chunk 64 --rounds "$(rounds 2)" --round 4 --hot 0.5
	run_oracle "${three[@]}" --origin-sectors 49157 --chunk 8 --rounds 1 --round 3
}

oracle_chunk_sizes() {
	run_oracle "${three[@]}" --chunk 128 --rounds 1 --round 4
	run_oracle "${three[@]}" --chunk 2048 --origin-sectors 65537 --rounds 1 --round 4
}

oracle_small_buffer() { run_oracle "${three[@]}" --store-args 'buffer 4096' --rounds 1 --round 5; }

oracle_hot() {
	local log=$share/oracle-$case_name.log
	run_oracle "${three[@]}" --rounds "$(rounds 3)" --round 5 --hot 0.9 --block-sizes 1:16 --qd 4:8 --readers 3
	at_least 500 "$(json_number first_write_races "$log")" "races of image reads with first writes"
}

test_case example example
test_case tables tables
test_case measured-tables measured_tables
test_case constructors-refuse constructors_refuse
test_case zoned-devices zoned_devices
test_case devices-taken-meanwhile devices_taken_meanwhile
test_case messages-refuse messages_refuse
test_case cut-needs-its-members cut_needs_its_members
test_case store-grows store_grows
test_case arguments-of-the-new-table arguments_of_the_new_table
test_case store-stays-where-it-is store_stays_where_it_is
test_case store-blocks-stay-small store_blocks_stay_small
test_case real-device-stays real_device_stays
test_case low-water-event low_water_event
test_case polled-writes polled_writes
test_case polled-write-waits-its-turn polled_write_waits_its_turn
test_case cut-under-polled-writes cut_under_polled_writes
test_case store-cannot-be-read-or-written store_cannot_be_read_or_written
test_case buffer-empties buffer_empties
test_case discard-releases discard_releases
test_case settled-chunks-cost-nothing settled_chunks_cost_nothing
test_case origin-discard origin_discard
test_case image-alignment image_alignment
test_case writers-of-one-chunk writers_of_one_chunk
test_case oracle-512 oracle_512
test_case oracle-4096 oracle_4096
test_case oracle-last-chunk oracle_last_chunk
test_case oracle-chunk-sizes oracle_chunk_sizes
test_case oracle-small-buffer oracle_small_buffer
test_case oracle-hot oracle_hot
