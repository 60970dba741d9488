#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# group: checkers
# about: the checkers of the checked kernels find what is planted in a module
# kernels: 6.1-kasan
# full-kernels: 6.1-kasan 6.1-kcsan
# memory: 1G
# timeout: 150
# module: tests/vm/planted-faults
# leaks
set -euo pipefail
. "$(dirname "$0")/../lib.sh"

built_with() { [[ $(zcat /proc/config.gz) == *"CONFIG_$1=y"* ]]; }

logged() { [[ $(dmesg | awk -v mark="diffsnap-test: begin $case_name\$" '$0 ~ mark { seen = 1 } seen') =~ $1 ]]; }

# finds FAULT REGEX: what the kernel says of it is trouble, and of this module.
finds() {
	echo "$1" >/sys/module/planted_faults/parameters/plant
	wait_until 10 logged "$2"
	expect_fail 1 "$2" kernel_trouble
	allow_kernel_log 'KASAN|KCSAN|UBSAN|ODEBUG|BUG: sleeping|possible circular|WARNING: |DEADLOCK|Call Trace'
}

# KCSAN's reports on others than dm-diffsnap are none of log-scan's business. It notices
# only what happens on two CPUs at a time; each attempt lasts a second, and a busy host may
# not run both of them just then.
finds_race() { wait_until 60 planted_shows "$@"; }
planted_shows() { echo "$1" >/sys/module/planted_faults/parameters/plant && logged "$2"; }

finds_leak() {
	echo clear >/sys/kernel/debug/kmemleak
	echo leak >/sys/module/planted_faults/parameters/plant
	# an object counts when it is 5 s old and unreachable twice
	sleep 6
	echo scan >/sys/kernel/debug/kmemleak
	echo scan >/sys/kernel/debug/kmemleak
	assert_match 'size 96\).*leak.*\[planted_faults\]' "$(</sys/kernel/debug/kmemleak)"
	expect_fail 1 'kmemleak: [0-9]+ new suspected' kernel_trouble
	allow_kernel_log 'kmemleak: '
	echo clear >/sys/kernel/debug/kmemleak
}

if built_with KASAN; then
	# the first one: a report of KASAN's is the end of lockdep
	test_case lock-order finds lock-order 'possible circular locking dependency'
	test_case use-after-free finds use-after-free 'BUG: KASAN: [a-z-]*use-after-free in use_after_free.*\[planted_faults\]'
	test_case undefined-shift finds shift-too-far 'UBSAN: shift-out-of-bounds in [^ ]*planted_faults\.c'
	test_case leak finds_leak
	test_case active-object finds free-armed-timer 'ODEBUG: free active.*timer_list'
elif built_with KCSAN; then
	test_case plain-race finds_race plain-race 'BUG: KCSAN: data-race in count \[planted_faults\]'
	test_case missing-release finds_race missing-release 'BUG: KCSAN: data-race in (post|fetch) \[planted_faults\]'
fi
test_case sleep-in-atomic finds sleep-in-atomic 'BUG: sleeping function called from invalid context at [^ ]*planted_faults\.c'
