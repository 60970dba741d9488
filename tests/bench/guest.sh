#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Measures, in the VM: for each device, in each round, each system under each
# workload. Run by scripts/bench only, which says what by the variables BENCH_*.
#
# Leaves in /run/share/raw/DEVICE/SYSTEM/WORKLOAD.ROUND/ what was measured, as it
# came: nothing is worked out here (see record.jq).
set -euo pipefail
bench=$(cd "$(dirname "$0")" && pwd -P)
share=${BENCH_SHARE:-/run/share}
work=/run/bench
mnt=/run/bench/mnt

# udev would look into every device after it was written to, at a time of its
# choice: it is stopped, and libdevmapper makes the nodes itself. Adapters that
# want it (udev_start) have to stop it again.
export DM_DISABLE_UDEV=1 LC_ALL=C
export PATH=${DIFFSNAP_BUILD:-/nonexistent}/userspace/cli:$PATH

note() { printf 'bench: %s\n' "$*"; }

die() {
	note "$*"
	exit 1
}

# shellcheck source=tests/bench/devices.sh
. "$bench/devices.sh"
# shellcheck source=tests/bench/measure.sh
. "$bench/measure.sh"
# shellcheck source=tests/bench/workloads.sh
. "$bench/workloads.sh"

# ---- for adapters

# Of the guest, which counts instructions.
now_ns() { echo "${EPOCHREALTIME/./}000"; }

# Without a process of its own if that can be: it is called for each of many devices.
sectors() {
	local size
	if [[ -r /sys/class/block/${1##*/}/size ]]; then
		read -r size <"/sys/class/block/${1##*/}/size"
		echo "$size"
	else
		blockdev --getsz "$1"
	fi
}

dm_create() { dmsetup create "$1" --table "$2"; }

# dm_remove_all PREFIX...: all whose name is that and a number, or nothing.
dm_remove_all() {
	local prefix names
	for prefix in "$@"; do
		mapfile -t names < <(dmsetup info -c --noheadings -o name | grep -xE "${prefix}[0-9]*")
		[[ ${#names[@]} -eq 0 ]] || dmsetup remove --retry "${names[@]}"
	done
}

udev_start() {
	unset DM_DISABLE_UDEV
	/lib/systemd/systemd-udevd --daemon
	udevadm settle
}

udev_stop() {
	udevadm settle
	stop_udevd
	export DM_DISABLE_UDEV=1
}

# Its socket is what tells others that it runs.
stop_udevd() {
	udevadm control --exit
	rm -f /run/udev/control
}

# What an adapter leaves out. README.md says what each is for.
system_defaults() {
	system_modules=() system_snapshots='' system_workloads=() system_without=()
	system_setup() { :; }
	system_snapshot() { :; }
	system_healthy() { :; }
	system_quiet() { :; }
	system_drop() { :; }
	system_device() { echo "${origins[$1]}"; }
	system_image() { system_device "$1"; }
	system_teardown() { :; }
}

# ---- one system

# wanted WORKLOAD: for this device and this system.
wanted() {
	[[ " ${workload_devices[$1]} " == *" $device "* ]] || return 1
	[[ ! ${workload_needs_snapshot[$1]:-} || $system_snapshots ]] || return 1
	[[ " ${system_without[*]-} " != *" $1 "* ]] || return 1
	[[ ${#system_workloads[@]} -eq 0 || " ${system_workloads[*]} " == *" $1 "* ]]
}

missing_module() {
	local module
	for module in ${system_modules[@]+"${system_modules[@]}"}; do
		[[ -d /sys/module/${module//-/_} ]] || modprobe -q "$module" || {
			echo "$module"
			return
		}
	done
}

# measure_system: all workloads of $system on $device in $round, in a subshell.
measure_system() {
	local workload missing
	system_defaults
	# shellcheck disable=SC1090 # chosen by name
	. "$bench/systems/$system.sh"
	missing=$(missing_module)
	if [[ $missing ]]; then
		note "$system left out: no module $missing"
		return
	fi
	for workload in $BENCH_WORKLOADS; do
		wanted "$workload" || continue
		if [[ ! $state && ! ${workload_own_setup[$workload]:-} ]]; then
			trap take_down EXIT
			state=none
			system_setup
		fi
		run_workload
	done
}

# run_workload: $workload; its results appear when it has succeeded.
run_workload() {
	local start
	start=$(now_ns)
	result=$share/raw/$device/$system/$workload.$round
	rm -rf "$work/result"
	mkdir -p "$work/result"
	"workload_${workload//-/_}"
	system_healthy_if_held || die "the snapshot did not live through $workload"
	mkdir -p "${result%/*}"
	cp -r "$work/result" "$result"
	printf "%-12s %-16s %-24s round %s: %s ms\n" "$device" "$system" "$workload" "$round" \
		$((($(now_ns) - start) / 1000000))
}

system_healthy_if_held() { [[ $state == none || ! $state ]] || system_healthy; }

# shellcheck disable=SC2317 # by trap
take_down() {
	local status=$?
	trap - EXIT
	set +e # all of it gets its turn; failures are told by the status
	stop_load
	unmount_all || status=2
	if [[ $state ]]; then
		[[ $state == none ]] || system_drop || status=2
		system_teardown || status=2
	fi
	exit "$status"
}

# ---- all

# Files that are run or read while the clock counts come into memory: reaching the
# host's root takes no instructions, and the clock leaps to the next timer whenever
# there is nothing to execute. A touch makes the overlay copy a file.
keep_in_memory() {
	local programs program
	mapfile -t programs < <(for program in awk bash blkdiscard blkid blockdev cat dd diffsnap dmsetup fio findmnt grep \
		mkfs.ext4 modprobe mount rm sh sleep sync udevadm umount; do type -P "$program" || :; done)
	{
		printf '%s\n' "${programs[@]}" /lib/systemd/systemd-udevd
		ldd "${programs[@]}" /lib/systemd/systemd-udevd | awk '$2 == "=>" { print $3 } $1 ~ /^\// && !/:$/ { print $1 }'
		# some of these are not everywhere
		find /lib/udev /etc/udev /etc/ld.so.cache /etc/ld.so.preload /etc/passwd /etc/group /etc/nsswitch.conf \
			/etc/localtime /etc/mke2fs.conf /etc/fstab /etc/blkid.conf -type f 2>/dev/null || :
	} | xargs realpath -e | sort -u | xargs touch -c
}

prepare() {
	local module
	udevadm settle
	stop_udevd
	mkdir -p "$work" "$mnt"
	cp "$bench/sample" "$work/sample"
	keep_in_memory
	modprobe configfs
	mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config
	modprobe null_blk nr_devices=0
	for module in ${BENCH_MODULES:-}; do insmod "$module"; done
	: >"$share/failed"
	{
		echo "kernel=$(uname -r)"
		echo "fio=$(fio --version)"
		echo "clocksource=$(</sys/devices/system/clocksource/clocksource0/current_clocksource)"
		echo "cpus=$(nproc)"
	} >"$share/guest"
}

main() {
	local device round system workload status result state
	prepare
	for device in $BENCH_DEVICES; do
		sizes "$device"
		device_create "$device" "$device_mib" "$store_mib"
		for ((round = 1; round <= BENCH_ROUNDS; round++)); do
			measure_overhead
			for system in $BENCH_SYSTEMS; do
				state='' status=0
				# not in a condition, where set -e would be without effect
				(measure_system) &
				wait "$!" || status=$?
				if [[ $status -ne 0 ]]; then
					note "$system failed on $device in round $round, status $status"
					echo "$system on $device, round $round" >>"$share/failed"
				fi
				# what stayed behind would be measured along with the next one
				[[ $(dmsetup info -c --noheadings -o name) == "No devices found" ]] ||
					die "$system left behind: $(dmsetup info -c --noheadings -o name | xargs)"
			done
		done
		device_remove
	done
	touch "$share/done"
	[[ ! -s $share/failed ]]
}

main
