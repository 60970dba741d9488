# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# The kernel's fault injection, for marked tasks only. To be sourced after lib.sh.

no_injection() { skip "a kernel without failslab and fail_page_alloc: 6.1-kasan has them"; }

# prepare_injection DIRECTORY: of debugfs; whoever is marked fails from when "probability" is set,
# and whether he may wait for memory or not.
prepare_injection() {
	echo 0 >"$1/probability"
	echo 0 >"$1/verbose"
	echo N >"$1/ignore-gfp-wait"
	echo Y >"$1/task-filter"
	echo 1 >"$1/interval"
	echo 1000000000 >"$1/times"
}

# mark_workers 0|1: the kernel's. Also those that are yet to come, as children of a marked one.
mark_workers() {
	local file name
	for file in /proc/[0-9]*/comm; do
		# it may have gone
		{ read -r name <"$file"; } 2>/dev/null || continue
		[[ $name =~ ^(kthreadd|kworker/|diffsnap-) ]] || continue
		{ echo "$1" >"${file%/comm}/make-it-fail"; } 2>/dev/null || :
	done
}
