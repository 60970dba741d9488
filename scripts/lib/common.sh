# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# What every script here needs: messages, the tree's place, the cache outside the tree.
# Usage: . "$(dirname "$0")/lib/common.sh"

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
# shellcheck disable=SC2034 # for those who source this file
readonly tree

note() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

die() {
	note "$*"
	exit "${die_status:-1}"
}

# The comment block at the head of the running script, as its help.
usage() { sed -n '2,/^[^#]/{/SPDX/d;/shellcheck/d;/^#/!d;s/^# \{0,1\}//;p}' "$0"; }

cache_dir() {
	local dir=${DIFFSNAP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/diffsnap}
	mkdir -p "$dir"
	(cd "$dir" && pwd -P)
}

# with_lock NAME COMMAND...: one at a time among all runs that share the cache.
with_lock() {
	local name=$1 cache
	shift
	cache=$(cache_dir)
	mkdir -p "$cache/locks"
	(
		flock 9
		"$@" 9>&-
	) 9>"$cache/locks/$name"
}

# fresh FILE MINUTES: the file exists and is younger than that.
fresh() { [[ -n $(find "$1" -maxdepth 0 -mmin "-$2" 2>/dev/null) ]]; }
