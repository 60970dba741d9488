#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# group: power_cut
# about: the power is cut under load with a snapshot held, again and again
# kernels: 6.1
# full-kernels: 6.1
# host
# timeout: 5400
#
# Boots a VM with disks that outlive it, waits until it has a snapshot of two
# file systems under load, and kills it (qemu, by SIGKILL) at a random moment.
# The next boot looks at what is left, see ../power_cut_guest.sh, and goes on.
#
# What is lost: the disks are qcow2 overlays, new for each boot, with cache=writeback.
# qemu has written all that the guest did when it is killed, but where the new
# clusters are is in its memory until the guest flushes. So what was written to a
# new place and not flushed is lost, cluster by cluster (4 KiB) and in any order, as
# from the cache of a disk. That this is so is counted, on a disk that is never
# flushed. What is not shown: a cluster that was flushed once in this boot and then
# overwritten is not lost, and no cluster is ever torn.
#
#   KERNEL=DIR     as kernel-get prints it        MODULE=FILE
#   OUT=DIR        gets results and logs          DIFFSNAP_BUILD=DIR
#   POWER_CUTS=N   how often (2; 50 with FULL)    POWER_CUT_SEED=N repeats a run
#   PATIENCE=N     so many times as long to wait for a slow kernel
set -euo pipefail
top=$(cd "$(dirname "$0")/../../.." && pwd -P)
. "$top/scripts/lib/common.sh"
. "$top/scripts/lib/packages.sh"
. "$top/scripts/lib/results.sh"

cuts=${POWER_CUTS:-2}
[[ ${POWER_CUTS:-} || ! ${FULL:-} ]] || cuts=50
seed=${POWER_CUT_SEED:-$RANDOM}
out=$OUT results=$OUT/results
sizes=(192M 320M 192M 256M)
most_seconds=8 # from the moment when all is under way
arm_seconds=$((240 * ${PATIENCE:-1}))
work='' vm=''

clean_up() {
	stop_vm
	[[ -z $work ]] || rm -rf "$work"
}

# What vm-run is told to do, qemu does not survive.
stop_vm() {
	[[ $vm ]] || return 0
	kill "$vm" 2>/dev/null || :
	wait "$vm" 2>/dev/null || :
	vm=''
}

fail() {
	tail -n 30 "$out/vm/output" 2>/dev/null || :
	result "$results" FAIL "$1" $((SECONDS - start)) "$2; seed $seed"
	printf 'END\n' >>"$results"
	exit 1
}

# An overlay over each disk, which the VM writes to.
make_overlays() {
	local number
	for number in "${!sizes[@]}"; do
		qemu-img create -q -f qcow2 -o cluster_size=4096 -b "$work/disk$number.raw" -F raw "$work/disk$number.qcow2"
	done
}

# What got there in time stays. A killed qemu lets go of its files a little later.
keep_overlays() {
	local number tries
	for ((tries = 0; tries < 200; tries++)); do
		fuser -s "$work"/disk*.qcow2 2>/dev/null || break
		sleep 0.1
	done
	for number in "${!sizes[@]}"; do
		qemu-img commit -q "$work/disk$number.qcow2"
		rm "$work/disk$number.qcow2"
	done
}

# start_vm CYCLE WHAT
start_vm() {
	local number disks=()
	for number in "${!sizes[@]}"; do
		disks+=(-d "$work/disk$number.qcow2")
	done
	rm -f "$out/vm/armed"
	"$top/scripts/vm-run" -k "$KERNEL" -M "$MODULE" -m 768M -s $((600 * ${PATIENCE:-1})) -o "$out/vm" "${disks[@]}" \
		-e "DIFFSNAP_BUILD=$DIFFSNAP_BUILD" -- bash "$top/tests/vm/power_cut_guest.sh" "$1" "$2" \
		>"$out/vm-$1.log" 2>&1 &
	vm=$!
}

# The guest's own checks come first: it ends by itself only if one failed.
wait_for_load() {
	local end=$((SECONDS + arm_seconds)) status=0
	until [[ -e $out/vm/armed ]]; do
		if ! kill -0 "$vm" 2>/dev/null; then
			wait "$vm" || status=$?
			vm=''
			fail cuts "boot $1 ended, status $status: $(tail -n 1 "$out/vm/output")"
		fi
		[[ $SECONDS -lt $end ]] || fail cuts "boot $1: no load after $arm_seconds s"
		sleep 0.1
	done
}

cut_power() {
	local status=0
	kill "$vm"
	wait "$vm" || status=$?
	vm=''
	# 143: by us, in the midst of it
	[[ $status -eq 143 ]] || fail cuts "boot $1 ended before the cut, status $status: $(tail -n 1 "$out/vm/output")"
	"$top/scripts/log-scan" "$out/vm/console.log" >"$out/trouble" 2>&1 || fail cuts "boot $1: kernel log: $(head -n 1 "$out/trouble")"
	cp "$out/vm/console.log" "$out/console-$1.log"
}

main() {
	local number delay status=0 start=$SECONDS lost
	mkdir -p "$out/vm"
	: >"$results"
	rm -f "$out/vm"/{lost,traces,promises-*}
	packages_install "${packages_vm[@]}" qemu-utils
	work=$(mktemp -d "${TMPDIR:-/tmp}/diffsnap-power.XXXXXX")
	for number in "${!sizes[@]}"; do
		truncate -s "${sizes[number]}" "$work/disk$number.raw"
	done
	RANDOM=$seed
	echo "power cuts: $cuts, seed $seed"
	for ((number = 0; number < cuts; number++)); do
		make_overlays
		start_vm "$number" load
		wait_for_load "$number"
		delay=$((RANDOM % (most_seconds * 1000)))
		sleep "$((delay / 1000)).$(printf %03d $((delay % 1000)))"
		cut_power "$number"
		echo "cut $((number + 1)) after $delay ms: $(tail -n 1 "$out/vm/output")"
		keep_overlays
	done
	make_overlays
	start_vm "$number" check
	wait "$vm" || status=$?
	vm=''
	[[ $status -eq 0 ]] || fail cuts "boot $number ended, status $status: $(tail -n 1 "$out/vm/output")"
	result "$results" PASS cuts $((SECONDS - start))
	echo "seed $seed, unflushed blocks lost at each cut:"
	cat "$out/vm/lost"
	lost=$(awk '{ sum += $1 } END { print sum + 0 }' "$out/vm/lost")
	if [[ -s $out/vm/traces ]]; then
		result "$results" FAIL store-is-taken-for-nothing 0 "$(head -n 1 "$out/vm/traces")"
	else
		result "$results" PASS store-is-taken-for-nothing 0
	fi
	[[ $lost -gt 0 ]] || fail unflushed-writes-are-lost "no cut lost anything: they were none"
	result "$results" PASS unflushed-writes-are-lost 0
	printf 'END\n' >>"$results"
}

start=$SECONDS
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
main
