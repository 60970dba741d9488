#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# tests/vm/lib.sh without a VM: cases that are fine in themselves, and what around them
# makes them fail. Nothing of this machine is looked at, nor changed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/no-machine.sh" <<-'EOF'
	disks=()
	dmesg() { :; }
	mark_kernel_log() { :; }
	look_around() { around=(); }
	leftovers() { :; }
	udevadm() { :; }
	unload_module() { :; }
	tried() { true; }
EOF

# ends VERDICT REASON WHAT SHELL: how a case ends, with that shell code in front of it.
ends() {
	local got
	printf '%s\n' ". $here/../vm/lib.sh" ". $work/no-machine.sh" "$4" 'test_case tried tried' >"$work/group.sh"
	CASE_FILTER='' TEST_SHARE=$work/share bash "$work/group.sh" >"$work/said" 2>&1 || :
	got=$(awk -F '\t' '$2 == "tried" { sub(/ $/, "", $4); print $1 ": " $4 }' "$work/share/results")
	# shellcheck disable=SC2053 # a pattern
	if [[ $got != "$1: "$2 ]]; then
		echo "vm-lib-test: '$got' instead of '$1: $2': $3"
		failed=1
	fi
}

ends PASS '' "nothing in its way" ''
ends FAIL 'kernel log: BUG: here' "trouble in the log" \
	'dmesg() { printf "%s\n" "diffsnap-test: begin tried" "BUG: here"; }'
ends PASS '' "trouble before its begin" \
	'dmesg() { printf "%s\n" "BUG: before" "diffsnap-test: begin tried"; }'
ends FAIL 'kernel log: BUG: here' "trouble that has driven its begin out of the log" 'dmesg() { echo "BUG: here"; }'
ends FAIL 'kernel log: BUG: here 1' "more trouble than is shown" 'dmesg() { seq -f "BUG: here %g" 100000; }'
ends FAIL 'kernel log: it cannot be read' "a log that cannot be read" 'dmesg() { return 1; }'
ends FAIL 'kernel log: awk: *' "a regular expression that is none" \
	'dmesg() { echo line; }; tried() { allow_kernel_log "("; }'
ends FAIL 'cannot zero the disks' "a disk that cannot be zeroed" 'disks=(none); blkdiscard() { return 1; }'
ends FAIL 'cannot zero the disks' "the same before a case that skips itself" \
	'disks=(none); blkdiscard() { return 1; }; tried() { skip so; }'
ends SKIP so "a case that skips itself" 'tried() { skip so; }'
ends FAIL 'left behind: it' "something left behind" 'leftovers() { echo it; }'
exit "$failed"
