#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# group: selftest
# about: bad cases are noticed, whatever they leave behind
# disks: 64M
# memory: 1G
# timeout: 300
# module: no
set -euo pipefail
. "$(dirname "$0")/../lib.sh"

# A group of bad cases, run with a results file of its own.
bad_cases_are_noticed() {
	local group=/run/bad-group.sh
	allow_kernel_log 'made by a bad case'
	cat >"$group" <<-GROUP
		. "$top/tests/vm/lib.sh"
		late() { dmsetup create kept --table '0 8 zero'; false; true; }
		status() { expect_fail 3 '' bash -c 'exit 4'; }
		text() { expect_fail 4 'right' bash -c 'echo left; exit 4'; }
		log() { echo 'BUG: made by a bad case' >/dev/kmsg; }
		clean_up() { on_exit false; on_exit touch /run/bad-group-ran; }
		suspended() { dmsetup create stuck --table '0 2048 linear ${disks[0]} 0'; dmsetup suspend stuck; }
		mounted() { mkdir -p '/run/bad one'; mount -t tmpfs bad '/run/bad one'; }
		looped() { modprobe loop; truncate -s 1M /run/looped; losetup -f /run/looped; }
		skipped() { skip no reason at all; }
		good() { true; }
		for name in late status text log clean_up suspended mounted looped skipped good; do test_case \$name \$name; done
	GROUP
	expect_fail 1 'FAIL late.*line 2 of' env "TEST_SHARE=/run/bad-share" bash "$group"
	[[ -e /run/bad-group-ran ]]
	assert_eq "FAIL late
FAIL status
FAIL text
FAIL log
FAIL clean_up
FAIL suspended
FAIL mounted
FAIL looped
SKIP skipped
PASS good
END" "$(cut -f 1,2 --output-delimiter=' ' /run/bad-share/results)"
	assert_match 'suspended.*left behind: device stuck' "$(</run/bad-share/results)"
	assert_match 'mounted.*left behind: mount /run/bad one' "$(</run/bad-share/results)"
	assert_match 'looped.*left behind: loop /dev/loop[0-9]' "$(</run/bad-share/results)"
	[[ ! $(losetup -n) ]] || fail "not taken away: $(losetup -n)"
	if mountpoint -q '/run/bad one'; then fail "not taken away: a mount"; fi
	assert_match 'log.*kernel log: .*BUG' "$(</run/bad-share/results)"
	assert_match 'clean-up failed: false' "$(</run/bad-share/results)"
}

test_case bad-cases-are-noticed bad_cases_are_noticed
