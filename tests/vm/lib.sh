# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# Test cases in a VM. A group in groups/ sources this file and calls test_case.
#
# A group begins with comment lines that the runner reads (scripts/lib/groups.sh):
#   # group: NAME             the file's name without .sh
#   # about: TEXT             for --list
#   # kernels: 6.1 6.12 7.2   those it is run on (default: 6.1); a checked one, as
#                             6.1-kasan, only if it is in the cache
#   # checked-cases: REGEX    those that a checked kernel is given without --full and
#                             --kernel: it takes six times as long (default: all)
#   # further-cases: REGEX    the same for a kernel that is neither checked nor the first
#                             that is named: what one kernel may do otherwise
#   # full-kernels: 6.12      those it is run on as well with --full (default: all)
#   # disks: 512M 64M,lbs=4096
#   # memory: 1G              (default 2G)
#   # cpus: 2
#   # timeout: 900            seconds for the whole VM
#   # full-timeout: 3600      the same with --full
#   # module: no              run without dm-diffsnap.ko
#   # module: DIRECTORY       with the one that is built there instead
#   # append: WORDS           for the kernel's command line
#   # packages: NAME...       unpacked beside the host's, with what they need, in $EXTRA_USR
#   # leaks                   with kmemleak, if the kernel has it
#   # full                    only with scripts/test --full
#   # host                    run on the host, by scripts/test: boots VMs itself, does
#                             not source this file, writes OUT/results as this does
#
# A case is a function. It runs in a subshell with set -eEuo pipefail and a trace
# in its own log, with zeroed disks, and fails if
#   - the disks cannot be zeroed,
#   - a command of it fails, or it calls fail, or a clean-up of it fails,
#   - it leaves a dm device, a mount or a loop device behind,
#   - the kernel's log has trouble in it (scripts/log-scan), or cannot be looked at.
#
# For cases:
#   skip REASON, fail REASON
#   on_exit COMMAND...        run at the case's end, last one first, whatever happens
#   expect_fail STATUS REGEX COMMAND...   ends with that status and says that
#   assert_eq EXPECTED ACTUAL [WHAT], assert_match REGEX TEXT [WHAT]
#   wait_until SECONDS COMMAND...         until it succeeds
#   udev_reads DEVICE         anew, and its links are what it finds
#   now_ms                    milliseconds since some time
#   taskset -c "$all_cpus" COMMAND...     not on the first CPU alone
#   allow_kernel_log REGEX    lines that are no trouble in this case
#   disks                     array of the VM's disks: ${disks[0]} ...
#   repeat_seconds            how long cases that repeat something shall do so
#   full                      not empty with scripts/test --full

export PATH=${DIFFSNAP_BUILD:-/nonexistent}/userspace/cli:${DIFFSNAP_BUILD:-/nonexistent}/tests/oracle:$PATH
export LC_ALL=C

# shellcheck disable=SC2034 # for cases
repeat_seconds=${REPEAT_SECONDS:-20}
# shellcheck disable=SC2034
full=${FULL:-}
share=${TEST_SHARE:-/run/share}
results=$share/results
cases=$share/cases
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
mkdir -p "$cases"
: >"$results"

# We and what we start stay where the host's files arrive; what is to load all CPUs is
# started with taskset -c "$all_cpus".
# shellcheck disable=SC2034 # for cases
all_cpus=0-$(($(getconf _NPROCESSORS_ONLN) - 1))
taskset -cp 0 $$ >/dev/null

mapfile -t disks < <(find /dev/disk/by-id -name 'virtio-disk*' 2>/dev/null | sort -V | xargs -r readlink -f)

case_name='' failures=0 cleanups=() around=() extra=()

# ---- in a case

# The first reason is the one reported.
reason() { [[ -s $case_reason ]] || printf '%s\n' "$*" | tr '\t\n' '  ' >"$case_reason"; }

skip() {
	reason "$*"
	exit 77
}

fail() {
	reason "$*"
	exit 1
}

on_exit() { cleanups+=("$(printf '%q ' "$@")"); }

# Each clean-up is run, also when one before it failed.
run_cleanups() {
	local status=$? index
	{ set +x; } 2>/dev/null
	trap - ERR EXIT
	set +e # every one of them gets its turn; their failures are counted
	for ((index = ${#cleanups[@]} - 1; index >= 0; index--)); do
		printf '# %s\n' "${cleanups[index]}"
		if ! eval "${cleanups[index]}"; then
			reason "clean-up failed: ${cleanups[index]}"
			[[ $status -ne 0 && $status -ne 77 ]] || status=1
		fi
	done
	exit "$status"
}

expect_fail() {
	local want=$1 regex=$2 got=0 said
	shift 2
	said=$("$@" 2>&1) || got=$?
	printf '%s\n' "$said"
	[[ $got -eq $want ]] || fail "status $got instead of $want from: $*: $said"
	[[ $said =~ $regex ]] || fail "no match of '$regex' in what this said: $*: $said"
}

# An empty answer of a command that failed would pass for one.
says_nothing() {
	local said
	said=$("$@") || fail "status $? from: $*"
	[[ ! $said ]] || fail "'$said' from: $*"
}

assert_eq() { [[ $1 == "$2" ]] || fail "${3:-value}: '$2' instead of '$1'"; }

assert_match() { [[ $2 =~ $1 ]] || fail "${3:-value}: no match of '$1' in '$2'"; }

wait_until() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		[[ $SECONDS -lt $end ]] || fail "never came true: $*"
		sleep 0.1
	done
}

# udev looks at what was written when the file is closed, but some time later, which settle
# does not wait for; and not at all if an earlier event keeps it busy just then.
udev_reads() { udevadm trigger --settle --action=change "$1"; }

now_ms() { echo $((${EPOCHREALTIME/./} / 1000)); }

# Told to vm-run as well, which looks at the whole log in the end.
allow_kernel_log() {
	printf '%s\n' "$1" >>"$case_allow"
	printf '%s\n' "$1" >>"$share/allow"
}

# ---- around a case

dm_devices() { dmsetup info -c --noheadings -o name | sed '/^No devices/d' | sort; }

# Sets the array around: dm devices, mounts, loop devices. By the shell alone, as starting
# a program takes a checked kernel 0.1 s, and this is done twice for each case.
look_around() {
	local file name target
	around=()
	for file in /sys/block/dm-*/dm/name; do
		# none, or it has just gone
		{ read -r name <"$file"; } 2>/dev/null || continue
		around+=("device $name")
	done
	while read -r _ _ _ _ target _; do
		printf -v target %b "$target" # \040 is a blank
		around+=("mount $target")
	done </proc/self/mountinfo
	for file in /sys/block/loop*/loop/backing_file; do
		[[ -r $file ]] || continue
		name=${file%/loop/*}
		around+=("loop /dev/${name##*/}")
	done
}

# new_around LINE...: sets the array extra, of what is there now beyond these lines.
new_around() {
	local line
	local -A times=()
	for line in "$@"; do times[$line]=$((${times[$line]:-0} + 1)); done
	look_around
	extra=()
	for line in ${around[@]+"${around[@]}"}; do
		if [[ ${times[$line]:-0} -gt 0 ]]; then
			times[$line]=$((times[$line] - 1))
		else
			extra+=("$line")
		fi
	done
}

# leftovers LINE...: prints what is there now beyond these lines, and takes it away.
leftovers() {
	local line name pass
	new_around "$@"
	[[ ${#extra[@]} -gt 0 ]] || return 0
	printf '%s\n' "${extra[@]}"
	# a suspended device would make everything below hang
	while read -r name; do
		dmsetup resume "$name"
	done < <(dmsetup info -c --noheadings -o name,suspended --separator ' ' | awk '$2 == "Suspended" { print $1 }')
	# what was mounted last goes first
	for ((line = ${#extra[@]} - 1; line >= 0; line--)); do
		[[ ${extra[line]} == "mount "* ]] || continue
		fuser -km "${extra[line]#* }"
		umount "${extra[line]#* }" || umount -l "${extra[line]#* }"
	done
	# loop devices and dm devices may lie on each other
	for pass in 1 2 3 4 5 6; do
		new_around "$@"
		[[ ${#extra[@]} -gt 0 ]] || break
		for line in "${extra[@]}"; do
			case $line in
			"loop "*) losetup -d "${line#* }" ;;
			"device "*) if [[ $pass -lt 6 ]]; then dmsetup remove "${line#* }"; else dmsetup remove --force "${line#* }"; fi ;;
			esac
		done
		udevadm settle
	done
}

zero_disks() {
	local disk said
	for disk in ${disks[@]+"${disks[@]}"}; do
		said=$(blkdiscard -fz "$disk" 2>&1) || {
			printf '%s\n' "$said"
			return 1
		}
	done
	udevadm settle
}

mark_kernel_log() { echo "diffsnap-test: begin $case_name" >/dev/kmsg; }

# The kernel's log since then, or all that is left if that was pushed out of it.
log_of_case() {
	dmesg | awk -v mark="diffsnap-test: begin $case_name\$" '
		$0 ~ mark { lines = 0 }
		{ line[++lines] = $0 }
		END { for (i = 1; i <= lines; i++) print line[i] }'
}

# Fails as well if nobody can tell, and says so.
kernel_trouble() {
	local allow=() regex log
	while read -r regex; do
		allow+=(--allow "$regex")
	done <"$case_allow"
	log=$(set -o pipefail && log_of_case) || {
		echo "it cannot be read"
		return 1
	}
	"$top/scripts/log-scan" ${allow[@]+"${allow[@]}"} <<<"$log" 2>&1 | head -n 60
	return "${PIPESTATUS[0]}"
}

# report VERDICT SECONDS REASON
report() {
	printf '%s\t%s\t%s\t%s\n' "$1" "$case_name" "$2" "$3" >>"$results"
	printf '%s %s (%s s)%s\n' "$1" "$case_name" "$2" "${3:+: $3}"
	[[ $1 != FAIL ]] || failures=$((failures + 1))
}

# test_case NAME FUNCTION [ARGUMENT]...
test_case() {
	local log start=$SECONDS status=0 before left verdict=PASS
	case_name=$1
	shift
	[[ $case_name =~ ${CASE_FILTER:-} ]] || return 0
	log=$cases/$case_name.log
	case_reason=$cases/$case_name.reason
	case_allow=$cases/$case_name.allow
	: >"$case_reason"
	: >"$case_allow"
	if ! zero_disks; then
		verdict=FAIL
		reason "cannot zero the disks"
	fi
	look_around
	before=(${around[@]+"${around[@]}"})
	mark_kernel_log
	# not in a condition, where set -e would be without effect
	(
		trap run_cleanups EXIT
		trap 'reason "line $LINENO of ${BASH_SOURCE[0]##*/}: $BASH_COMMAND"' ERR
		set -eEuo pipefail
		PS4='+ ${BASH_SOURCE[0]##*/}:$LINENO: '
		set -x
		"$@"
	) </dev/null >"$log" 2>&1 &
	wait "$!" || status=$?
	case $status in
	0) ;;
	77) [[ $verdict == FAIL ]] || verdict=SKIP ;;
	*)
		verdict=FAIL
		reason "status $status"
		;;
	esac
	left=$(leftovers "${before[@]}" 2>>"$log")
	if [[ $left ]]; then
		verdict=FAIL
		reason "left behind: $left"
		printf 'left behind:\n%s\n' "$left" >>"$log"
	fi
	if ! kernel_trouble >"$cases/$case_name.kernel"; then
		verdict=FAIL
		reason "kernel log: $(head -n 1 "$cases/$case_name.kernel")"
		cat "$cases/$case_name.kernel" >>"$log"
	fi
	report "$verdict" $((SECONDS - start)) "$(<"$case_reason")"
	[[ $verdict != FAIL ]] || tail -n 25 "$log" | sed 's/^/    /'
	rm -f "$case_reason" "$case_allow" "$cases/$case_name.kernel"
}

unload_module() { rmmod dm_diffsnap; }

# The end of a group: a module that can go shows that nothing holds on to it.
finish_group() {
	local status=$?
	trap - EXIT
	[[ ! -d /sys/module/dm_diffsnap ]] || CASE_FILTER='' test_case unload-module unload_module
	[[ $status -ne 0 ]] || printf 'END\n' >>"$results"
	[[ $status -ne 0 || $failures -eq 0 ]] || status=1
	exit "$status"
}
trap finish_group EXIT
