#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Whether scripts/vm-run tells apart how a VM can end. Boots one for each way.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
failed=0

# ends STATUS WHAT ARGUMENT...
ends() {
	local want=$1 what=$2 got=0
	shift 2
	"$top/scripts/vm-run" -m 512M -c 1 "$@" || got=$?
	if [[ $got -ne $want ]]; then
		echo "vm-run-test: status $got instead of $want: $what"
		failed=1
	fi
}

ends 7 "the command's own status" -- bash -c 'exit 7'
ends 119 "trouble in the kernel's log" -- bash -c 'echo "BUG: made by a test" >/dev/kmsg'
ends 0 "trouble that is allowed" -A 'made by a test' -- bash -c 'echo "BUG: made by a test" >/dev/kmsg'
ends 118 "a panic" -- bash -c 'echo c >/proc/sysrq-trigger; sleep 60'
ends 116 "an end without a status" -- /bin/busybox reboot -f
ends 117 "the time limit" -s 60 -- sleep 600
exit "$failed"
