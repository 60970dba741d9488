#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# emulator_failed of scripts/lib/accel.sh against kernel logs: emulator-failed/yes/* are
# the emulator's fault, emulator-failed/no/* are not, and nothing is where there is none.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../../scripts/lib/common.sh"
. "$here/../../scripts/lib/accel.sh"
failed=0

complain() {
	echo "emulator-failed-test: $*"
	failed=1
}

for log in "$here"/emulator-failed/yes/*; do
	emulator_failed tcg,thread=multi "$log" || complain "not noticed: ${log##*/}"
	if emulator_failed kvm "$log"; then complain "blamed on the emulator without one: ${log##*/}"; fi
done
for log in "$here"/emulator-failed/no/*; do
	if emulator_failed tcg,thread=multi "$log"; then complain "blamed on the emulator: ${log##*/}"; fi
done
exit "$failed"
