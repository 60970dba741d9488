#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Whether scripts/vm-run tells apart how a VM can end. Boots one for each way.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
failed=0
fake=$(mktemp -d)
trap 'rm -rf "$fake"' EXIT

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

# broken_emulator TIMES: a qemu that breaks its guest while it boots, so many times.
broken_emulator() {
	cat >"$fake/qemu-system-x86_64" <<-EOF
		#!/usr/bin/env bash
		left=\$(<"$fake/left")
		if [[ \$left -eq 0 ]]; then
			exec "$(command -v qemu-system-x86_64)" "\$@"
		fi
		echo \$((left - 1)) >"$fake/left"
		while [[ \$1 != -serial ]]; do shift; done
		cat "$top/tests/scripts/emulator-failed/yes/boot-7.2" >"\${2#file:}"
	EOF
	chmod +x "$fake/qemu-system-x86_64"
	echo "$1" >"$fake/left"
}

ends 7 "the command's own status" -- bash -c 'exit 7'
ends 119 "trouble in the kernel's log" -- bash -c 'echo "BUG: made by a test" >/dev/kmsg'
ends 0 "trouble that is allowed" -A 'made by a test' -- bash -c 'echo "BUG: made by a test" >/dev/kmsg'
ends 119 "a log that cannot be looked at" -A '(' -- true
ends 118 "a panic" -- bash -c 'echo c >/proc/sysrq-trigger; sleep 60'
ends 116 "an end without a status" -- /bin/busybox reboot -f
ends 116 "a VM that cannot begin" -m none -- true
ends 117 "the time limit" -s 30 -- sleep 600
broken_emulator 2
PATH=$fake:$PATH DIFFSNAP_ACCEL=tcg,thread=multi ends 7 "a guest that the emulator broke twice" -- bash -c 'exit 7'
broken_emulator 3
PATH=$fake:$PATH DIFFSNAP_ACCEL=tcg,thread=multi ends 114 "a guest that the emulator always breaks" -- true
# what the kernel says then is in its log if it is on its command line
DIFFSNAP_ACCEL=tcg,thread=multi ends 114 "a clock of the wrong speed" -a 'said="tsc: PIT calibration deviates"' -- true
exit "$failed"
