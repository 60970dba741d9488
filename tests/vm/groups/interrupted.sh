#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# group: interrupted
# about: commands killed or stopped at each of their steps, and several at once
# kernels: 6.1
# disks: 96M 64M 128M 64M
# memory: 1G
# cpus: 1
# timeout: 1800
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../snapshots.sh"
. "$(dirname "$0")/../commands.sh"

lv_disk=${disks[0]} plain=${disks[1]} store=${disks[2]} more=${disks[3]}
lv=/dev/vg/data

two_creates() {
	local round pids status won
	make_vg vg "$lv_disk" data 48M
	ext4_on $lv /run/lv
	start_load /run/lv
	on_exit detach_if_attached vg-data
	for round in 1 2 3; do
		pids=() won=''
		diffsnap create -n one -s "$store" $lv >/run/said.one 2>&1 &
		pids+=("$!")
		diffsnap create -n two -s "$more" $lv >/run/said.two 2>&1 &
		pids+=("$!")
		for name in one two; do
			status=0
			wait "${pids[0]}" || status=$?
			pids=("${pids[@]:1}")
			if [[ $status -eq 0 ]]; then
				won+=$name
			else
				assert_eq 5 $status "status of $name"
				assert_match 'holds it' "$(</run/said.$name)" "what $name said"
			fi
		done
		assert_match '^(one|two)$' "$won" "round $round: winners"
		assert_eq "diffsnap--data-$won diffsnap-$won diffsnap-$won-vg--data vg-data vg-data-diffsnap" \
			"$(dm_devices | xargs)" "round $round"
		assert_eq "$won" "$(snapshot_names)"
		diffsnap remove "$won"
		diffsnap detach $lv
		assert_eq vg-data "$(dm_devices | xargs)"
	done
}

# Who waits for another command says so.
waiting_for_the_lock() {
	local pid
	exec {held}>/run/diffsnap.lock
	flock "$held"
	diffsnap attach -n raw "$more" >/run/said 2>&1 {held}>&- &
	pid=$!
	on_exit detach_if_attached raw
	wait_until 30 grep -q 'Waiting for another command' /run/said
	kill -0 $pid || fail "it does not wait"
	exec {held}>&-
	wait $pid
}

# ---- killed

kill_at=${DIFFSNAP_BUILD:-}/tests/vm/kill-at.so

# killed AT COMMAND...: it must be
killed() {
	local at=$1 status=0
	shift
	timeout 120 env LD_PRELOAD="$kill_at" KILL_AT="$at" "$@" || status=$?
	[[ $status -eq 137 ]] || fail "status $status instead of a kill at $at of: $*"
}

# count_calls MINIMUM COMMAND...: runs it to its end; what it called is in /run/calls, their number in total
count_calls() {
	local least=$1
	shift
	rm -f /run/calls
	env LD_PRELOAD="$kill_at" KILL_AT_LOG=/run/calls "$@"
	total=$(wc -l </run/calls)
	at_least "$least" "$total" "calls of $*"
}

# milliseconds_of_writes DIRECTORY...: sets took
milliseconds_of_writes() {
	local directory start
	start=$(now_ms)
	for directory in "$@"; do
		timeout 60 dd if=/dev/zero of="$directory/goes-on" bs=4k count=4 conv=fsync status=none ||
			fail "no write to $directory"
	done
	took=$(($(now_ms) - start))
}

# In milliseconds: after which the watchdog thaws
watchdog_limit=2000

# Nothing is held up for longer than that, and what such writes take anyway, just now.
goes_on() {
	local took held
	milliseconds_of_writes "$@"
	held=$took
	milliseconds_of_writes "$@"
	[[ $held -lt $((watchdog_limit + 3 * took)) ]] || fail "writes took $held ms, and then $took ms"
	says_nothing dmsetup info -c --noheadings -o name -S suspended=Suspended
}

# At each step N before it, or after it for the odd ones, until the command came to its end.
steps() {
	local n last=$1
	for ((n = 1; n <= last; n++)); do
		if [[ $((n % 2)) -eq 0 ]]; then echo $n; else echo after:$n; fi
	done
}

killed_create() {
	local at total said
	two_file_systems "$lv_disk" "$plain"
	diffsnap attach -q $lv
	count_calls 15 diffsnap create -n daily -s "$store" $lv plain
	cat /run/calls
	assert_match 'freeze' "$(</run/calls)"
	assert_match 'thaw' "$(</run/calls)"
	diffsnap remove daily
	is_clean plain vg-data vg-data-diffsnap
	on_exit remove_if_there daily
	for at in $( (steps "$total" && awk '$2 == "freeze" || $2 == "thaw" { print "after:" $1; print $1 }' /run/calls) |
		sort -u); do
		killed "$at" diffsnap create -n daily -s "$store" $lv plain
		goes_on /run/lv /run/plain
		if ! said=$(diffsnap create -q -n daily -s "$store" $lv plain 2>&1); then
			# it had been cut already: that one is removed
			assert_match 'of that name already' "$said" "create after $at"
			diffsnap remove -q daily
			diffsnap create -q -n daily -s "$store" $lv plain
		fi
		[[ -b /dev/diffsnap/daily/plain && -b /dev/diffsnap/daily/vg-data ]]
		diffsnap remove -q daily
		is_clean plain vg-data vg-data-diffsnap
	done
	(cd /run/lv && sha256sum -c /run/sum.lv)
	(cd /run/plain && sha256sum -c /run/sum.plain)
}

# What was not cut when the take was killed can be taken.
killed_take() {
	local at total
	two_file_systems "$lv_disk" "$plain"
	diffsnap attach -q $lv
	diffsnap create -q -n daily -s "$store" --no-take $lv plain
	on_exit remove_if_there daily
	count_calls 5 diffsnap take daily
	cat /run/calls
	diffsnap remove -q daily
	for at in $(steps "$total"); do
		diffsnap create -q -n daily -s "$store" --no-take $lv plain
		killed "$at" diffsnap take daily
		goes_on /run/lv /run/plain
		if [[ $(field list state daily) == new ]]; then
			diffsnap take -q daily
			[[ -b /dev/diffsnap/daily/plain && -b /dev/diffsnap/daily/vg-data ]]
		fi
		diffsnap remove -q daily
		is_clean plain vg-data vg-data-diffsnap
	done
}

# One that dmsetup has made under the name of a snapshot that was not finished stays.
killed_beside_another() {
	local at total
	attached "$more" -n raw
	count_calls 8 diffsnap create -n daily -s "$store" --no-freeze raw
	diffsnap remove daily
	# with its store, and before the cut
	at=$(awk '$2 == "message" { print $1; exit }' /run/calls)
	killed "$at" diffsnap create -n daily -s "$store" --no-freeze raw
	add_origin other "$plain"
	add_store daily "$lv_disk" 8
	take_snapshot daily other
	assert_eq '/dev/mapper/daily daily' "$(snapshot_names | sort | xargs)"
	assert_eq new "$(field list state daily)"
	assert_eq active "$(field list state /dev/mapper/daily)"
	# any command that changes something clears up
	diffsnap detach -q raw
	assert_eq daily "$(snapshot_names)"
	assert_eq active "$(store_state daily)"
	assert_eq 'daily other' "$(dm_devices | xargs)"
}

killed_remove() {
	local at total said
	two_file_systems "$lv_disk" "$plain"
	diffsnap attach -q $lv
	diffsnap create -q -n daily -s "$store" $lv plain
	on_exit remove_if_there daily
	count_calls 5 diffsnap remove daily
	for at in $(seq 1 "$total") after:"$total"; do
		diffsnap create -q -n daily -s "$store" $lv plain
		killed "$at" diffsnap remove daily
		goes_on /run/lv /run/plain
		if ! said=$(diffsnap remove daily 2>&1); then assert_match 'no snapshot' "$said"; fi
		is_clean plain vg-data vg-data-diffsnap
	done
}

killed_attach() {
	local at total said
	make_vg vg "$lv_disk" data 48M
	ext4_on $lv /run/lv
	start_load /run/lv
	on_exit detach_if_attached vg-data
	on_exit detach_if_attached plain
	count_calls 5 diffsnap attach $lv
	diffsnap detach -q $lv
	for at in $(seq 1 "$total") $(seq -f 'after:%g' 1 "$total"); do
		killed "$at" diffsnap attach $lv
		goes_on /run/lv
		if ! said=$(diffsnap attach $lv 2>&1); then assert_match 'attached already' "$said"; fi
		assert_eq held "$(one_snapshot $lv vg-data)"
		diffsnap detach -q $lv
		is_clean vg-data
	done
	for at in 1 after:1 2 after:2 3 after:3; do
		killed "$at" diffsnap attach "$plain" -n plain
		if ! said=$(diffsnap attach "$plain" -n plain 2>&1); then assert_match 'attached already' "$said"; fi
		diffsnap detach -q plain
		is_clean vg-data
	done
}

# one_snapshot ORIGIN NAME: works; the state of the origin meanwhile
one_snapshot() {
	diffsnap create -q -n probe -s "$store" --no-freeze "$1"
	field origins state "$2"
	diffsnap remove -q probe
}

killed_detach() {
	local at total said
	make_vg vg "$lv_disk" data 48M
	ext4_on $lv /run/lv
	start_load /run/lv
	on_exit detach_if_attached vg-data
	diffsnap attach -q $lv
	count_calls 3 diffsnap detach $lv
	for at in $(seq 1 "$total") $(seq -f 'after:%g' 1 "$total"); do
		diffsnap attach -q $lv
		killed "$at" diffsnap detach $lv
		goes_on /run/lv
		if ! said=$(diffsnap detach $lv 2>&1); then assert_match 'not attached' "$said"; fi
		is_clean vg-data
	done
	# any command that changes something clears up
	diffsnap attach -q $lv
	killed "$total" diffsnap detach $lv
	assert_eq 'vg-data vg-data-diffsnap' "$(dm_devices | xargs)"
	diffsnap attach -q "$plain"
	assert_eq "${plain##*/} vg-data" "$(dm_devices | xargs)"
	diffsnap detach -q "$plain"
}

killed_extend() {
	local at total letters=ABCDEFGHIJKLMNOPQRSTUVWXYZ
	attached "$more" -n raw
	snapshot daily -s "$store:1m+8m" raw
	count_calls 4 diffsnap extend daily -s "$store:9m+8m"
	diffsnap remove daily
	for at in $(seq 1 "$total") after:"$total"; do
		copy_of /dev/mapper/raw /run/cut
		diffsnap create -q -n daily -s "$store:1m+8m" raw
		killed "$at" diffsnap extend daily -s "$store:9m+8m"
		fill /dev/mapper/raw "${letters:0:1}" 0 6144
		if [[ $(field list size daily) -eq $((8 << 20)) ]]; then
			diffsnap extend daily -s "$store:9m+8m"
		fi
		assert_eq $((16 << 20)) "$(field list size daily)" "the store's size"
		diffsnap extend daily -s "$store:32m+8m"
		assert_eq active "$(field list state daily)"
		assert_eq $((24 << 20)) "$(field list size daily)" "the store's size"
		# through all of its parts
		fill /dev/mapper/raw "${letters:0:1}" 6144 16384
		same_as_file /dev/diffsnap/daily/raw /run/cut
		letters=${letters:1}
		diffsnap remove -q daily
		is_clean raw
	done
}

# A tool that stands still is as bad as a dead one: the watchdog thaws, the snapshot is not made.
stopped_while_frozen() {
	local tool status=0 at total
	# What it has just frozen it could not say any more: it is given a while to find out by itself.
	local watchdog_limit=$((watchdog_limit + 300))
	two_file_systems "$lv_disk" "$plain"
	diffsnap attach -q $lv
	count_calls 15 diffsnap create -n daily -s "$store" $lv plain
	diffsnap remove daily
	at=$(awk '$2 == "freeze" { last = $1 } END { print last }' /run/calls)
	env LD_PRELOAD="$kill_at" KILL_AT="stop:$at" diffsnap create -n daily -s "$store" $lv plain >/run/said 2>&1 &
	tool=$!
	# who stands still has the lock
	on_exit kill_if_there $tool
	wait_until 60 is_stopped $tool
	goes_on /run/lv /run/plain
	kill -CONT $tool
	wait $tool || status=$?
	assert_eq 5 $status "status of create"
	assert_match 'they were thawed' "$(</run/said)"
	is_clean plain vg-data vg-data-diffsnap
	snapshot daily -s "$store" $lv plain
}

kill_if_there() { [[ ! -e /proc/$1 ]] || kill -KILL "$1"; }

is_stopped() { [[ $(awk '/^State:/ { print $2 }' "/proc/$1/status") == T ]]; }

test_case two-creates two_creates
test_case waiting-for-the-lock waiting_for_the_lock
test_case killed-create killed_create
test_case killed-take killed_take
test_case killed-beside-another killed_beside_another
test_case killed-remove killed_remove
test_case killed-attach killed_attach
test_case killed-detach killed_detach
test_case killed-extend killed_extend
test_case stopped-while-frozen stopped_while_frozen
