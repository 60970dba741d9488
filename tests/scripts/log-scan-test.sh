#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# scripts/log-scan against recorded kernel logs: log-scan/bad/* must be noticed,
# each one by itself, log-scan/good/* must not. What cannot be looked at is not clean.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
scan=$here/../../scripts/log-scan
failed=0

complain() {
	echo "log-scan-test: $*"
	failed=1
}

# ends STATUS WHAT ARGUMENT...
ends() {
	local want=$1 what=$2 got=0
	shift 2
	"$scan" "$@" >/dev/null 2>&1 || got=$?
	[[ $got -eq $want ]] || complain "status $got instead of $want: $what"
}

for log in "$here"/log-scan/bad/*; do
	ends 1 "${log##*/}" "$log"
done
for log in "$here"/log-scan/good/*; do
	"$scan" "$log" || complain "taken for trouble: ${log##*/}"
done

bad=$here/log-scan/bad/warn
"$scan" --allow 'WARNING:' --allow 'Call Trace' "$bad" || complain "allowed lines are not left out"
ends 1 "one allowed line beside another" --allow 'Call Trace' "$bad"
if "$scan" <"$bad" >/dev/null; then complain "standard input is not read"; fi
[[ $("$scan" "$bad" | head -n 1) == *'WARNING: CPU: 1'* ]] || complain "the line itself is not printed"
ends 2 "a regular expression that is none" --allow '(' "$bad"
ends 2 "a file that is not there" "$bad/none"
ends 2 "a directory" "$here"
[[ $("$scan" "$bad/none" 2>&1) == *'cannot look at'*"$bad/none"* ]] || complain "nothing is said of a file that is not there"

# a reader that has seen enough
status=0
"$scan" <(yes 'WARNING: one of many' | head -n 100000) | head -n 1 >/dev/null || status=$?
[[ $status -ne 0 ]] || complain "not noticed: more than is read"
exit "$failed"
