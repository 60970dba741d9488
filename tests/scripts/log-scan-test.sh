#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# scripts/log-scan against recorded kernel logs: log-scan/bad/* must be noticed,
# each one by itself, log-scan/good/* must not.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
scan=$here/../../scripts/log-scan
failed=0

complain() {
	echo "log-scan-test: $*"
	failed=1
}

for log in "$here"/log-scan/bad/*; do
	if "$scan" "$log" >/dev/null; then complain "not noticed: ${log##*/}"; fi
done
for log in "$here"/log-scan/good/*; do
	"$scan" "$log" || complain "taken for trouble: ${log##*/}"
done

bad=$here/log-scan/bad/warn
"$scan" --allow 'WARNING:' --allow 'Call Trace' "$bad" || complain "allowed lines are not left out"
if "$scan" --allow 'Call Trace' "$bad" >/dev/null; then complain "one allowed line hides another"; fi
if "$scan" <"$bad" >/dev/null; then complain "standard input is not read"; fi
[[ $("$scan" "$bad" | head -n 1) == *'WARNING: CPU: 1'* ]] || complain "the line itself is not printed"
exit "$failed"
