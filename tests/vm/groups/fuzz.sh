#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# group: fuzz
# about: broken table lines, messages and status requests; every allocation failing
# kernels: 6.1
# disks: 16M 16M 96M 32M
# memory: 1G
# timeout: 1800
# leaks
set -euo pipefail
. "$(dirname "$0")/../lib.sh"

# FUZZ_SEED=N repeats a run, as far as time does not decide.
fuzz=$DIFFSNAP_BUILD/tests/fuzz/fuzz

# run_fuzz ARGUMENT...: its own words are the reason, if it fails
run_fuzz() {
	local status=0 log=$share/fuzz-$case_name.log
	"$fuzz" "$@" "${disks[@]}" >"$log" 2>&1 || status=$?
	cat "$log"
	case $status in
	0) ;;
	77) skip "$(tail -n 1 "$log")" ;;
	*) fail "fuzz, status $status: $(grep -m 1 -A 3 -E '^fuzz: WRONG' "$log" || tail -n 1 "$log"); $(head -n 1 "$log")" ;;
	esac
}

lines_and_messages() { run_fuzz run "$repeat_seconds" "${FUZZ_SEED:-0}"; }

each_allocation_fails() {
	if [[ $full ]]; then run_fuzz fail-nth all; else run_fuzz fail-nth "${FUZZ_SEED:-0}"; fi
}

test_case lines-and-messages lines_and_messages
test_case each-allocation-fails each_allocation_fails
