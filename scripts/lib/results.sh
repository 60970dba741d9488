# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# Verdicts: files with a line "PASS|FAIL|SKIP<tab>name<tab>seconds<tab>reason" each.

# result FILE VERDICT NAME SECONDS [REASON]: adds a line and says it.
result() {
	printf '%s\t%s\t%s\t%s\n' "$2" "$3" "$4" "${5:-}" >>"$1" &&
		printf '%s %s (%s s)%s\n' "$2" "$3" "$4" "${5:+: $5}"
}

# results_count VERDICT FILE...
results_count() { awk -F '\t' -v verdict="$1" '$1 == verdict { n++ } END { print n + 0 }' "${@:2}" </dev/null; }

# results_line FILE...: "N passed, N failed, N skipped"
results_line() {
	printf '%s passed, %s failed, %s skipped\n' \
		"$(results_count PASS "$@")" "$(results_count FAIL "$@")" "$(results_count SKIP "$@")"
}

# results_bad FILE...: what failed and what was skipped, and why.
results_bad() { awk -F '\t' '$1 == "FAIL" || $1 == "SKIP" { print $1 " " $2 ($4 ? ": " $4 : "") }' "$@" </dev/null; }

# results_slowest NUMBER FILE...: what took longest.
results_slowest() {
	awk -F '\t' '{ print $3 " s " $2 }' "${@:2}" </dev/null | sort -k 1,1nr -s | sed -n "1,$1p"
}

# results_junit FILE PREFIX: turns ctest's --output-junit into such lines. "notrun" is a
# test that was skipped as its SKIP_... properties ask, but also one that could not be run.
results_junit() {
	awk -v prefix="$2" '
		function attribute(name) {
			return match($0, " " name "=\"[^\"]*\"") ? substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 4) : ""
		}
		/<testcase / {
			name = attribute("name")
			seconds = attribute("time")
			status = attribute("status")
			why = ""
		}
		/<skipped / { why = attribute("message") }
		/<\/testcase>/ {
			skipped = status == "disabled" || status == "notrun" && why ~ /^SKIP_/
			verdict = status == "run" ? "PASS" : skipped ? "SKIP" : "FAIL"
			reason = verdict == "PASS" ? "" : "ctest: " status (why ? ", " why : "")
			printf "%s\t%s%s\t%d\t%s\n", verdict, prefix, name, seconds, reason
		}' "$1"
}
