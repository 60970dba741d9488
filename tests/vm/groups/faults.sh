#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# group: faults
# about: whatever goes wrong, the origin is right and no image is wrong
# kernels: 6.1
# disks: 64M 64M 256M
# memory: 2G
# append: slub_debug=A,kmalloc-*
# timeout: 2400
# leaks
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../snapshots.sh"
. "$(dirname "$0")/../injection.sh"

store_disk=${disks[2]}
store_size=$(size_of "$store_disk")
two=(--real "${disks[0]}" --real "${disks[1]}" --origin-sectors 65536)

# a store's device that can be made another one
add_backing() { add_device backing "0 $store_size ${1:-linear $store_disk 0}"; }

# a disk of the kernel's own that can fail to read, can be pulled, and can become slow
add_scsi_disk() {
	local name
	modprobe scsi_debug dev_size_mb=64 sector_size=512 physblk_exp=3 delay=0 ndelay=0 opts=0 \
		medium_error_start=40000 medium_error_count=512 "$@"
	on_exit remove_scsi_disk
	wait_until 20 scsi_disk_name
	name=$(scsi_disk_name)
	udevadm settle
	scsi_disk=/dev/$name
}

scsi_disk_name() { find /sys/bus/pseudo/drivers/scsi_debug/adapter0/host*/ -path '*/block/*' -name 'sd*' -printf '%f\n' | grep -x 'sd[a-z]*'; }

remove_scsi_disk() {
	udevadm settle
	for _ in $(seq 100); do
		! rmmod scsi_debug || return 0
		sleep 0.1
	done
	return 1
}

scsi_errors() { echo "$1" >/sys/bus/pseudo/drivers/scsi_debug/opts; }

# scsi_delay SECONDS: for each request from now on
scsi_delay() { echo $(($1 * 250)) >/sys/bus/pseudo/drivers/scsi_debug/delay; }

# What is still in its queue need not take its time, and nothing does from now on.
scsi_hurry() {
	echo offline >"/sys/block/${scsi_disk##*/}/device/state"
	wait_until 30 scsi_delay 0
	echo running >"/sys/block/${scsi_disk##*/}/device/state"
}

store_full() {
	run_oracle "${two[@]}" --store "$store_disk" --store-sectors 49152 --rounds "$(rounds 3)" --round 6 --before 0.1 \
		--expect-invalid --expect-status 'overflow store-full:28:' --max-write 60
	# at once, maybe before there are images
	run_oracle "${two[@]}" --store "$store_disk" --store-sectors 8192 --rounds "$(rounds 2)" --round 2 \
		--expect-invalid --expect-status 'overflow store-full:28:' --no-image-writes --chunk 64
}

# Only the origin's needs can overflow a snapshot.
full_of_image_writes() {
	local full=''
	add_origin data "${disks[0]}" 65536
	add_store snap "$store_disk" 8 16384
	take_snapshot snap data
	add_image image snap data
	expect_fail 1 'No space left' dd if=/dev/zero of=/dev/mapper/image bs=64k oflag=direct count=512
	assert_eq active "$(store_state snap)"
	dd if=/dev/mapper/image of=/dev/null bs=64k iflag=direct
	# a discard makes room
	blkdiscard -o 0 -l $((4096 * 1024)) /dev/mapper/image
	fill /dev/mapper/image C 16384 1024
	shows /dev/mapper/image C 16384 1024
	assert_eq active "$(store_state snap)"
	fill /dev/mapper/data B 8192 16384 || full=1
	assert_eq '' "$full" "a write to the origin failed"
	wait_until 10 has_status snap overflow
	read_fails /dev/mapper/image
	shows /dev/mapper/data B 8192 16384
}

full_waits_for_growth() {
	local log=$share/oracle-$case_name.log
	run_oracle "${two[@]}" --store "$store_disk" --store-sectors 16384 --rounds "$(rounds 2)" --round 9 --prefix grows \
		--store-args 'on_full wait:60000' --no-image-writes --request-limit 120 \
		--during "dmsetup load grows-store --table '0 $store_size diffsnap-store $store_disk 8 2 on_full wait:60000' &&
			dmsetup resume grows-store"
	at_least 1500000 "$(json_number max_write_us "$log")" "longest write: nothing waited"
}

full_waits_in_vain() {
	run_oracle "${two[@]}" --store "$store_disk" --store-sectors 16384 --rounds "$(rounds 2)" --round 6 \
		--store-args 'on_full wait:2000' --no-image-writes \
		--expect-invalid --expect-status 'overflow store-full:28:' --max-write 30
}

store_write_errors() {
	add_backing
	run_oracle "${two[@]}" --store /dev/mapper/backing --rounds "$(rounds 3)" --round 4 --expect-invalid \
		--expect-status 'invalid store-write:5:' --max-write 60 \
		--during "dmsetup load backing --table '0 $store_size flakey $store_disk 0 0 1 1 error_writes' && dmsetup resume backing" \
		--after "dmsetup load backing --table '0 $store_size linear $store_disk 0' && dmsetup resume backing"
}

# What cannot be read back is an error, not other data.
store_read_errors() {
	add_backing
	add_origin data "${disks[0]}" 65536
	fill /dev/mapper/data A 0 16384
	add_store snap /dev/mapper/backing 8 '' '2 buffer 4096'
	take_snapshot snap data
	add_image image snap data
	fill /dev/mapper/data B 0 8192
	wait_until 20 has_word snap 4 0
	shows /dev/mapper/image A 0 16384
	reload_device backing "0 $store_size error"
	expect_fail 1 'Input/output error' dd if=/dev/mapper/image of=/dev/null bs=64k count=1 iflag=direct
	timeout 60 dd if=/dev/zero of=/dev/mapper/data bs=64k count=1 oflag=direct
	fill /dev/mapper/data C 0 64
	shows /dev/mapper/data C 0 64
	reload_device backing "0 $store_size linear $store_disk 0"
	if [[ $(store_state snap) == active ]]; then
		shows /dev/mapper/image A 0 16384
	else
		read_fails /dev/mapper/image
	fi
}

slow_store() {
	modprobe dm-delay
	add_backing "delay $store_disk 0 80"
	run_oracle "${two[@]}" --store /dev/mapper/backing --rounds "$(rounds 2)" --round 6 --request-limit 300
	run_oracle "${two[@]}" --store /dev/mapper/backing --rounds 1 --round 6 --store-args 'buffer 4096' \
		--qd 8:16 --request-limit 300
}

slow_origin() {
	modprobe dm-delay
	add_device slow "0 65536 delay ${disks[0]} 0 30 ${disks[0]} 0 0"
	run_oracle --real /dev/mapper/slow --real "${disks[1]}" --origin-sectors 65536 --store "$store_disk" \
		--rounds "$(rounds 2)" --round 6 --hot 0.7 --request-limit 300
}

# An origin's device may take longer than a store's may.
stalled_origin() {
	local at writer writers=()
	add_device real "0 65536 linear ${disks[0]} 0"
	on_exit dmsetup resume real
	add_origin data /dev/mapper/real
	fill /dev/mapper/data A 0 8192
	add_store snap "$store_disk" 8 '' '4 store_timeout 1000 buffer 4096'
	take_snapshot snap data
	add_image image snap data
	dmsetup suspend --noflush --nolockfs real
	for at in 0 1 2 3 4 5; do
		dd if=/dev/zero of=/dev/mapper/data bs=1M count=1 seek=$at oflag=direct status=none &
		writers+=("$!")
	done
	sleep 4
	assert_eq active "$(store_state snap)"
	dmsetup resume real
	for writer in "${writers[@]}"; do
		wait "$writer"
	done
	assert_eq active "$(store_state snap)"
	shows /dev/mapper/image A 0 8192
}

# Two origins' devices stand still, with more to be copied than the buffer takes. The third
# one of the set goes on.
stalled_origins_beside_another() {
	local at name writer stalled=() writers=()
	add_device first-real "0 65536 linear ${disks[0]} 0"
	add_device second-real "0 65536 linear ${disks[0]} 65536"
	add_origin first /dev/mapper/first-real
	add_origin second /dev/mapper/second-real
	add_origin data "${disks[1]}"
	for name in first second data; do fill "/dev/mapper/$name" A 0 6144; done
	add_store snap "$store_disk" 8 '' '4 store_timeout 1000 buffer 4096'
	take_snapshot snap first second data
	for name in first second data; do add_image "$name-image" snap "$name"; done
	on_exit dmsetup resume first-real second-real
	dmsetup suspend --noflush --nolockfs first-real
	dmsetup suspend --noflush --nolockfs second-real
	for at in 0 1 2 3 4 5; do
		for name in first second; do
			dd if=/dev/zero of=/dev/mapper/$name bs=1M count=1 seek=$at oflag=direct status=none &
			stalled+=("$!")
		done
	done
	wait_until 10 has_word first 5 6
	wait_until 10 has_word second 5 6
	for at in 0 1 2 3 4 5; do
		dd if=/dev/zero of=/dev/mapper/data bs=1M count=1 seek=$at oflag=direct status=none &
		writers+=("$!")
	done
	for writer in "${writers[@]}"; do
		timeout 10 tail --pid="$writer" -f /dev/null
		wait "$writer"
	done
	shows /dev/mapper/data-image A 0 6144
	# their time does not count as the store's
	sleep 2
	assert_eq active "$(store_state snap)"
	for writer in "${stalled[@]}"; do kill -0 "$writer"; done
	dmsetup resume first-real second-real
	for writer in "${stalled[@]}"; do wait "$writer"; done
	assert_eq active "$(store_state snap)"
	for name in first second data; do
		shows "/dev/mapper/$name" '\0' 0 6144
		shows "/dev/mapper/$name-image" A 0 6144
	done
}

# A writer that may hardly read: what is read for its first writes holds up nobody else.
throttled_writer() {
	local groups=/run/control-groups start writer
	mkdir -p "$groups"
	mount -t cgroup2 none "$groups"
	on_exit umount "$groups"
	grep -qw io "$groups/cgroup.controllers" || skip "a kernel without the controller io"
	echo +io >"$groups/cgroup.subtree_control"
	mkdir "$groups/slow"
	on_exit rmdir "$groups/slow"
	echo "$(<"/sys/class/block/${disks[0]##*/}/dev") rbps=65536" >"$groups/slow/io.max"
	add_origin data "${disks[0]}"
	fill /dev/mapper/data A 0 2048
	add_store snap "$store_disk" 8
	take_snapshot snap data
	add_image image snap data
	bash -c "echo \$\$ >$groups/slow/cgroup.procs &&
		exec dd if=/dev/zero of=/dev/mapper/data bs=1M count=1 oflag=direct status=none" &
	writer=$!
	wait_until 10 has_word data 5 1
	start=$(now_ms)
	fill /dev/mapper/data B 512 4
	at_least 1 $((start + 5000 - $(now_ms))) "milliseconds less than 5000 that the other write took"
	wait "$writer"
	assert_eq active "$(store_state snap)"
	shows /dev/mapper/image A 0 2048
	shows /dev/mapper/data '\0' 0 512
	shows /dev/mapper/data A 1024 1024
}

resume_backing() { dmsetup resume backing; }

# Its queue is as full as can be, so that whoever wants to read or write it stands still:
# no write to the origin is among them for longer than the store's timeout.
hung_store() {
	local start=$SECONDS reader readers=()
	add_scsi_disk max_queue=2
	add_origin data "${disks[0]}"
	add_store snap "$scsi_disk" 8 65536 '4 store_timeout 2000 buffer 4096'
	take_snapshot snap data
	add_image image snap data
	fill /dev/mapper/data B 0 4
	wait_until 10 nothing_buffered snap
	on_exit wait
	on_exit scsi_hurry
	scsi_delay 10
	# the one chunk from the store, the other from the origin
	for reader in 1 2 3 4 5 6; do
		dd if=/dev/mapper/image of=/dev/null bs=8k count=1 iflag=direct &
		readers+=("$!")
	done
	sleep 0.5
	start=$SECONDS
	# more than the buffer, and no more than a checked kernel writes in a few seconds
	fill /dev/mapper/data C 1024 3072
	[[ $((SECONDS - start)) -lt 8 ]] || fail "the writes took $((SECONDS - start)) s"
	assert_eq "invalid store-timeout" "$(store_state snap) $(store_reason snap | cut -d : -f 1)"
	shows /dev/mapper/data C 1024 3072
	# its removal has commands for it, too
	scsi_hurry
	for reader in "${readers[@]}"; do
		wait "$reader" || echo "reader $reader: status $?"
	done
}

# A host has so few requests that all of them are often taken by polled writes. The task that
# polls is the only one to end these: it must not wait for one itself, as it would to read what a
# first write among them destroys. Some of them may be refused, as they are without us.
polled_writes_take_all_requests() {
	local refused
	[[ $(uname -r) != 7.2* ]] || skip "a kernel whose dm breaks down when a polled write is refused, dm-linear's as well"
	add_scsi_disk submit_queues=2 poll_queues=1 host_max_queue=4 delay=-9999 ndelay=100000
	add_origin data "$scsi_disk"
	fill /dev/mapper/data A 0 16384
	add_store snap "$store_disk" 8
	take_snapshot snap data
	add_image image snap data
	assert_eq 1 "$(<"/sys/dev/block/$(device_number data)/queue/io_poll")" "polling"
	timeout 100 taskset -c "$all_cpus" fio --name=polled --filename=/dev/mapper/data --size=16M --rw=randwrite \
		--bs=4k --norandommap --runtime=5 --time_based --direct=1 --ioengine=io_uring --hipri --iodepth=32 \
		--ignore_error=,EAGAIN --output-format=json --output=/run/fio.json
	refused=$(json_number total_err /run/fio.json)
	echo "$refused refused"
	at_least 1 "$refused" "refused writes: there were requests for all"
	at_least 200 "$(status_word data 5)" "held writes"
	shows /dev/mapper/image A 0 16384
}

# The device below an origin takes no more requests, so that who brings it one stands still.
# A write to another origin, which waited for the store as one to that did, is not held up.
blocked_origin() {
	local blocked writer reader
	add_scsi_disk max_queue=2
	add_backing
	add_origin blocked "$scsi_disk"
	add_origin data "${disks[0]}"
	fill /dev/mapper/blocked A 0 8
	fill /dev/mapper/data A 0 4096
	add_store snap /dev/mapper/backing 8 '' '2 buffer 4096'
	take_snapshot snap blocked data
	add_image image snap data
	on_exit wait
	on_exit scsi_hurry
	on_exit resume_backing
	# the buffer is full and stays so
	dmsetup suspend --noflush --nolockfs backing
	fill /dev/mapper/data B 0 2048
	assert_eq 4096 "$(status_word snap 4)" "buffered sectors"
	fill /dev/mapper/blocked B 0 4 &
	blocked=$!
	wait_until 10 has_word blocked 5 1
	fill /dev/mapper/data B 2048 4 &
	writer=$!
	wait_until 10 has_word data 5 513
	scsi_delay 5
	for reader in 1 2 3 4 5 6; do
		dd if="$scsi_disk" of=/dev/null bs=4k skip="${reader}00" count=1 iflag=direct status=none &
	done
	wait_until 5 grep -q '^ *2 ' "/sys/block/${scsi_disk##*/}/inflight"
	sleep 0.5
	dmsetup resume backing
	timeout 4 tail --pid="$writer" -f /dev/null
	wait "$writer"
	kill -0 "$blocked"
	wait "$blocked"
	# udev looks at what was written
	scsi_hurry
	assert_eq active "$(store_state snap)"
	shows /dev/mapper/image A 0 4096
	shows /dev/mapper/data B 0 2052
	shows /dev/mapper/blocked B 0 4
	shows /dev/mapper/blocked A 4 4
}

# So slow a load that there is more than a buffer of first writes left when the store stands still.
store_suspended_for_a_while() {
	local log=$share/oracle-$case_name.log
	add_backing
	on_exit resume_backing
	run_oracle "${two[@]}" --store /dev/mapper/backing --rounds "$(rounds 2)" --round 4 --store-args 'buffer 4096' \
		--qd 4 --think 0.005 --block-sizes 8:64 \
		--during 'dmsetup suspend --noflush --nolockfs backing && sleep 4 && dmsetup resume backing'
	at_least 1500000 "$(json_number max_write_us "$log")" "longest write: nothing waited"
}

store_suspended_for_too_long() {
	add_backing
	on_exit resume_backing
	run_oracle "${two[@]}" --store /dev/mapper/backing --rounds 1 --round 4 \
		--store-args 'buffer 4096 store_timeout 3000' \
		--expect-invalid --expect-status 'invalid store-timeout:' --max-write 20 \
		--during 'dmsetup suspend --noflush --nolockfs backing; sleep 25; dmsetup resume backing'
}

# Requests that wait outlive a suspend of the devices that hold them.
suspends_of_our_own() {
	local suspender=/run/suspender
	cat >$suspender <<-'SCRIPT'
		options=$1
		shift
		for turn in 1 2; do
			for device; do
				dmsetup suspend $options "$device" && sleep 0.1 && dmsetup resume "$device" || exit 1
			done
		done
	SCRIPT
	run_oracle "${two[@]}" --store "$store_disk" --rounds 1 --round 4 --qd 1:4 --block-sizes 1:256 --prefix ours --request-limit 120 \
		--during "bash $suspender --nolockfs ours-origin0 ours-image0 ours-store ours-origin1 ours-image1"
	run_oracle "${two[@]}" --store "$store_disk" --rounds 1 --round 4 --qd 1:4 --block-sizes 1:256 --prefix ours --request-limit 120 \
		--during "bash $suspender '--noflush --nolockfs' ours-origin0 ours-image0 ours-store"
}

store_removed_by_force() {
	run_oracle "${two[@]}" --store "$store_disk" --rounds 1 --round 1
	add_origin data "${disks[0]}" 65536
	add_store snap "$store_disk" 8
	take_snapshot snap data
	add_image image snap data
	expect_fail 1 'busy' dmsetup remove snap
	expect_fail 1 '' dmsetup remove --force snap
	fill /dev/mapper/data B 0 1024
	shows /dev/mapper/data B 0 1024
	read_fails /dev/mapper/image
	assert_eq idle "$(status_word data 1)"
	dmsetup remove --retry image
	dmsetup remove --retry snap
}

# Deferred writes end with errors at worst, they do not stay.
origin_removed_by_force() {
	local writer status=0
	add_origin data "${disks[0]}" 65536
	add_store snap "$store_disk" 8
	take_snapshot snap data
	add_image image snap data
	fio --name=load --filename=/dev/mapper/data --rw=randwrite --bs=4k --direct=1 --ioengine=libaio \
		--iodepth=32 --time_based --runtime=60 --continue_on_error=none >/dev/null 2>&1 &
	writer=$!
	sleep 3
	kill -0 "$writer"
	# refused where the load still has it open: then it is an error table
	dmsetup remove --force data || :
	timeout 30 tail --pid="$writer" -f /dev/null
	wait "$writer" || status=$?
	[[ $status -ne 0 ]] || fail "writes to an error table succeeded"
	assert_eq invalid "$(store_state snap)"
	assert_match '^origin-gone:[0-9]+:[0-9]+:[0-9]+$' "$(store_reason snap)"
	read_fails /dev/mapper/image
	dmsetup message snap 0 drop
}

origin_read_error() {
	add_scsi_disk
	# only what is copied later is bad: an origin's first write to it
	run_oracle --real "$scsi_disk" --store "$store_disk" --origin-sectors 65536 --rounds "$(rounds 2)" --round 5 \
		--readers 0 --no-image-writes --no-discards --hot 0 --block-sizes 8:256 --max-write 60 \
		--expect-invalid --expect-status 'invalid origin-read:' \
		--before-cut "echo 2 >/sys/bus/pseudo/drivers/scsi_debug/opts" \
		--after "echo 0 >/sys/bus/pseudo/drivers/scsi_debug/opts"
}

# A write goes on when its snapshot is given up, also while other old contents of its are
# still being read: for five seconds more.
read_for_too_long() {
	modprobe dm-delay
	# of three chunks the first cannot be read, the second is settled, the third comes late;
	# they are where udev does not look
	add_device bad '0 8 error'
	add_device real "0 16384 linear ${disks[0]} 0
16384 8 delay /dev/mapper/bad 0 500 /dev/mapper/bad 0 0
16392 8 linear ${disks[0]} 16392
16400 8 delay ${disks[0]} 16400 5000 ${disks[0]} 16400 0
16408 16384 linear ${disks[0]} 16408"
	add_origin data /dev/mapper/real
	add_store snap "$store_disk" 8
	take_snapshot snap data
	fill /dev/mapper/data B 8196 4
	read_began=$(now_ms)
	expect_fail 1 'Input/output error' \
		dd if=/dev/zero of=/dev/mapper/data bs=12k count=1 seek=8M oflag=direct,seek_bytes
	at_least 1 $((read_began + 4000 - $(now_ms))) "milliseconds that the read still lasted"
	assert_match '^origin-read:' "$(store_reason snap)"
}

# The origin's table waits for that when it goes,
origin_ends_while_it_is_read() {
	read_for_too_long
	dmsetup remove --retry data
	at_least 5000 $(($(now_ms) - read_began)) "milliseconds until the origin had gone"
}

# also when it makes room for one with another real device,
origin_moves_while_it_is_read() {
	read_for_too_long
	dmsetup message snap 0 drop
	reload_device data "0 32768 diffsnap-origin ${disks[1]}"
	at_least 5000 $(($(now_ms) - read_began)) "milliseconds until the former device was let go"
	fill /dev/mapper/data C 0 64
	shows "${disks[1]}" C 0 64
}

# or for one that cannot be resumed.
origin_may_not_move_while_it_is_read() {
	read_for_too_long
	dmsetup load data --table "0 32768 diffsnap-origin ${disks[1]}"
	expect_fail 1 'Device or resource busy' dmsetup resume data
	at_least 5000 $(($(now_ms) - read_began)) "milliseconds until the former device was let go"
	reload_device data "0 32768 diffsnap-origin /dev/mapper/real"
}

# A read of the image that the origin's device cannot serve harms only itself.
image_read_error() {
	add_scsi_disk
	add_origin data "$scsi_disk"
	fill /dev/mapper/data A 0 32768
	add_store snap "$store_disk" 8
	take_snapshot snap data
	add_image image snap data
	scsi_errors 2
	expect_fail 1 'Input/output error|No data available' \
		dd if=/dev/mapper/image of=/dev/null bs=4k skip=5000 count=8 iflag=direct
	scsi_errors 0
	assert_eq active "$(store_state snap)"
	shows /dev/mapper/image A 0 32768
}

image_in_use() {
	add_origin data "${disks[0]}" 65536
	add_store snap "$store_disk" 8
	take_snapshot snap data
	add_image image snap data
	tail -f /dev/null 3</dev/mapper/image &
	on_exit eval 'kill %1 || :'
	sleep 0.5
	expect_fail 1 'busy' dmsetup remove image
	expect_fail 1 'busy' dmsetup remove snap
	dd if=/dev/mapper/image of=/dev/null bs=1M iflag=direct
	dmsetup message snap 0 drop
	read_fails /dev/mapper/image
	assert_eq dropped "$(status_word image 1)"
	fill /dev/mapper/data B 0 64
	assert_eq "idle - 0" "$(dmsetup status data | cut -d ' ' -f 4-6)"
	kill %1
	wait %1 || :
	dmsetup remove --retry image
	dmsetup remove --retry snap
}

module_in_use() {
	add_origin data "${disks[0]}" 65536
	expect_fail 1 'in use' rmmod dm_diffsnap
	add_store snap "$store_disk" 8
	take_snapshot snap data
	expect_fail 1 'in use' rmmod dm_diffsnap
	dmsetup message snap 0 drop
	expect_fail 1 'in use' rmmod dm_diffsnap
	dmsetup remove --retry data
	expect_fail 1 'in use' rmmod dm_diffsnap
	assert_eq dropped "$(store_state snap)"
}

# The origin's disk is gone: its writes fail as they would without us.
origin_pulled() {
	local writer
	add_scsi_disk
	add_origin data "$scsi_disk"
	fill /dev/mapper/data A 0 4096
	add_store snap "$store_disk" 8
	take_snapshot snap data
	add_image image snap data
	fill /dev/mapper/data B 0 1024
	fio --name=load --filename=/dev/mapper/data --rw=randwrite --bs=4k --direct=1 --ioengine=libaio \
		--iodepth=16 --time_based --runtime=60 --continue_on_error=none >/dev/null 2>&1 &
	writer=$!
	sleep 2
	kill -0 "$writer"
	echo 1 >"/sys/block/${scsi_disk#/dev/}/device/delete"
	timeout 60 tail --pid="$writer" -f /dev/null
	expect_fail 1 'Input/output error|No such device' dd if=/dev/zero of=/dev/mapper/data bs=4k count=1 oflag=direct
	expect_fail 1 'Input/output error' dd if=/dev/mapper/image of=/dev/null bs=1M count=60 iflag=direct
	dmsetup remove --retry image
	dmsetup message snap 0 drop
	dmsetup remove --retry snap
	dmsetup remove --retry data
}

store_pulled() {
	add_scsi_disk
	# so small that the store cannot be full before it is pulled
	run_oracle --real "${disks[0]}" --real "${disks[1]}" --origin-sectors 32768 \
		--store "$scsi_disk" --rounds 1 --round 4 --expect-invalid \
		--expect-status 'invalid store-write:' --max-write 60 --image-errors \
		--during "echo 1 >/sys/block/${scsi_disk#/dev/}/device/delete"
}

# ---- no memory for the map
#
# Some of what is written needs a node of the map when it is published. The kernel's
# workers get none from a slab cache, the writers get all that they need.

no_slab=/sys/kernel/debug/failslab

can_inject() { [[ -e $no_slab/task-filter && -e /proc/self/make-it-fail ]]; }

starve_map() {
	# of the caches, those that the kernel's command line has marked
	assert_eq 1 "$(</sys/kernel/slab/kmalloc-64/failslab)" "mark of kmalloc-64"
	prepare_injection "$no_slab"
	echo Y >"$no_slab/cache-filter"
	mark_workers 1
	on_exit mark_workers 0
	on_exit feed_map
	echo 100 >"$no_slab/probability"
}

feed_map() { echo 0 >"$no_slab/probability"; }

# A region of the map has 512 chunks, here 2 MiB. There are more of them than nodes in
# reserve.
regions=70
nodes=64

# write_regions LETTER KIB [FIRST NUMBER]: of each, the chunk that begins there
write_regions() {
	local first=${3:-0} number=${4:-$regions}
	fio --name=regions --filename=/dev/mapper/data --rw=write:2044k --bs=4k --offset=$((first * 2048 + $2))k \
		--size=$((number * 2))M --io_size=$((number * 4))k --buffer_pattern="\"$1\"" --direct=1 >/dev/null
}

read_regions() { dd if="$1" bs=256k count=$((regions * 8)) iflag=direct status=none; }

# B where A was, in the chunks that begin at 0 and 64 KiB of each region
only_chunks_differ() {
	{ cmp -l <(read_regions "$1") <(read_regions "$2") || [[ $? -eq 1 ]]; } | awk -v expected=$((regions * 2 * 4096)) '
		{ at = ($1 - 1) % (2048 * 1024) }
		$2 != 101 || $3 != 102 || at >= 68 * 1024 || (at >= 4096 && at < 64 * 1024) { wrong = 1; exit }
		END { exit wrong || NR != expected }'
}

copied() { [[ $(status_word data 3) -ge $1 ]]; }

# The first write to a region needs no node, the second one does; an image's fails
# without one. Sets writer, and sum of the old contents.
write_without_nodes() {
	add_origin data "${disks[2]}"
	write_regions A 0
	write_regions A 64
	sum=$(read_regions /dev/mapper/data | md5sum)
	add_store snap "${disks[0]}" 8 '' '2 store_timeout 6000'
	take_snapshot snap data
	add_image image snap data
	write_regions B 0
	assert_eq "$regions" "$(status_word data 3)" "copies of first writes"
	starve_map
	write_regions B 64 0 "$nodes"
	# a part of a chunk: so it is a worker that publishes it
	expect_fail 1 'Cannot allocate memory' dd if=/dev/zero of=/dev/mapper/image bs=512 seek=$((nodes * 4096 + 256)) count=1 oflag=direct
	assert_eq active "$(store_state snap)"
	write_regions B 64 "$nodes" $((regions - nodes)) &
	writer=$!
	on_exit eval "kill $writer 2>/dev/null || :"
	wait_until 60 copied $((regions + nodes + 1))
}

# An origin's copy waits for the map's memory, with what it has copied.
no_memory_for_the_map() {
	write_without_nodes
	sleep 2
	assert_eq $((regions + nodes + 1)) "$(status_word data 3)" "copies, the last one without a node"
	feed_map
	wait "$writer"
	assert_eq active "$(store_state snap)"
	assert_eq "$sum" "$(read_regions /dev/mapper/image | md5sum)" "sum of the image"
	only_chunks_differ /dev/mapper/image /dev/mapper/data
}

# But not for ever.
no_memory_for_the_map_for_long() {
	local start took region
	write_without_nodes
	start=$(now_ms)
	wait "$writer"
	took=$(($(now_ms) - start))
	feed_map
	at_least 3000 "$took" "milliseconds that the snapshot had"
	[[ $took -lt 20000 ]] || fail "a write waited for $took ms"
	assert_match '^invalid no-memory:' "$(store_state snap) $(store_reason snap)"
	for ((region = nodes; region < regions; region++)); do
		shows /dev/mapper/data B $((region * 2048 + 64)) 4
	done
	read_fails /dev/mapper/image
}

test_case store-full store_full
test_case full-of-image-writes full_of_image_writes
test_case full-waits-for-growth full_waits_for_growth
test_case full-waits-in-vain full_waits_in_vain
test_case store-write-errors store_write_errors
test_case store-read-errors store_read_errors
test_case slow-store slow_store
test_case hung-store hung_store
test_case polled-writes-take-all-requests polled_writes_take_all_requests
test_case blocked-origin blocked_origin
test_case slow-origin slow_origin
test_case stalled-origin stalled_origin
test_case stalled-origins-beside-another stalled_origins_beside_another
test_case throttled-writer throttled_writer
test_case store-suspended-for-a-while store_suspended_for_a_while
test_case store-suspended-for-too-long store_suspended_for_too_long
test_case suspends-of-our-own suspends_of_our_own
test_case store-removed-by-force store_removed_by_force
test_case origin-removed-by-force origin_removed_by_force
test_case origin-read-error origin_read_error
test_case origin-ends-while-it-is-read origin_ends_while_it_is_read
test_case origin-moves-while-it-is-read origin_moves_while_it_is_read
test_case origin-may-not-move-while-it-is-read origin_may_not_move_while_it_is_read
test_case image-read-error image_read_error
test_case image-in-use image_in_use
test_case module-in-use module_in_use
test_case origin-pulled origin_pulled
test_case store-pulled store_pulled
if can_inject; then
	test_case no-memory-for-the-map no_memory_for_the_map
	test_case no-memory-for-the-map-for-long no_memory_for_the_map_for_long
else
	test_case no-memory-for-the-map no_injection
fi
