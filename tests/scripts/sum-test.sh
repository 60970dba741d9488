#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The sum and the status of scripts/test, in a tree where unit tests and VM groups are
# shell commands: what was not run, or has left no verdict, is no success.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/tree build=$work/build
mkdir -p "$tree/tests/vm/groups" "$work/bin"
cp -r "$here/../../scripts" "$tree"
echo 'packages_install() { :; }' >>"$tree/scripts/lib/packages.sh"
# shellcheck disable=SC2016 # for the script there
echo 'build_userspace() { cmake -S "$tree/tests" -B "$1"; }' >>"$tree/scripts/lib/build.sh"
echo '#!/bin/sh' >"$tree/scripts/check"
echo '#!/bin/sh' >"$tree/tests/vm/vm-run-test.sh"
chmod +x "$tree/tests/vm/vm-run-test.sh"
cat >"$tree/scripts/kernel-get" <<'EOF'
#!/usr/bin/env bash
echo /nonexistent
EOF
# what it is given for the command's environment, and the command
cat >"$tree/scripts/vm-run" <<'EOF'
#!/usr/bin/env bash
while [[ $1 != -- ]]; do
	case $1 in
	-e) export "${2?}" ;;
	-o) export OUT=$2 ;;
	esac
	shift
done
shift
RUNNER=$PPID "$@"
EOF

# says STATUS LINE WHAT ARGUMENT...: how scripts/test ends, and what it says at the end.
says() {
	local want=$1 line=$2 what=$3 got=0
	shift 3
	DIFFSNAP_ACCEL=none PATH=$work/bin:$PATH "$tree/scripts/test" --build "$build" "$@" >"$work/said" 2>&1 || got=$?
	if [[ $got -ne $want ]] || ! sed '1,/^== all/d' "$work/said" | grep -qxF -e "$line"; then
		echo "sum-test: status $got instead of $want, or no '$line': $what"
		sed 's/^/    /' "$work/said"
		failed=1
	fi
}

# ---- unit tests

# unit_tests LINE...: what add_test() and set_tests_properties() are given.
unit_tests() {
	rm -rf "$build"
	printf '%s\n' 'cmake_minimum_required(VERSION 3.18)' 'project(tried NONE)' 'enable_testing()' \
		"$@" >"$tree/tests/CMakeLists.txt"
}

good='add_test(NAME good COMMAND true)'

unit_tests "$good" \
	'add_test(NAME by-status COMMAND sh -c "exit 77")' 'set_tests_properties(by-status PROPERTIES SKIP_RETURN_CODE 77)' \
	'add_test(NAME by-text COMMAND echo not here)' 'set_tests_properties(by-text PROPERTIES SKIP_REGULAR_EXPRESSION "not here")' \
	'add_test(NAME off COMMAND false)' 'set_tests_properties(off PROPERTIES DISABLED TRUE)'
says 0 '2 passed, 0 failed, 3 skipped' "tests that want to be skipped" --fast
unit_tests "$good" 'add_test(NAME bad COMMAND false)'
says 1 'FAIL unit/bad: ctest: fail' "a test that fails" --fast
unit_tests "$good" 'add_test(NAME gone COMMAND /nonexistent/gone)'
says 1 'FAIL unit/gone: ctest: notrun, Unable to find executable' "a test without a program" --fast
# as Catch2 leaves it, without a label
unit_tests "$good" 'set_tests_properties(good PROPERTIES LABELS fast)' 'add_test(tests_NOT_BUILT tests_NOT_BUILT)'
says 1 'FAIL unit/tests_NOT_BUILT: ctest: notrun, Unable to find executable' "a program that was not built" --fast
unit_tests "$good" 'add_test(NAME later COMMAND false)' 'set_tests_properties(later PROPERTIES LABELS slow)'
says 0 '2 passed, 0 failed, 0 skipped' "what takes long is left out" --fast
unit_tests
says 1 'FAIL ctest: no test was run, see build/ctest.log' "no test at all" --fast

printf '#!/bin/sh\n%s "$@"; exit 8\n' "$(command -v ctest)" >"$work/bin/ctest"
chmod +x "$work/bin/ctest"
unit_tests "$good"
says 1 'FAIL ctest: status 8, see build/ctest.log' "a failure that no test has" --fast
rm "$work/bin/ctest"

# ---- VM groups

# group NAME LINE...: what it does, with has NAME... for cases that pass.
group() {
	local name=$1
	shift
	{
		printf '%s\n' "$@" | grep '^#' || :
		cat <<-'EOF'
			has() {
				local name
				for name; do
					[[ ! $name =~ ${CASE_FILTER:-} ]] || printf 'PASS\t%s\t0\t\n' "$name" >>"$OUT/results"
				done
			}
			trap 'CASE_FILTER="" has unload-module; echo END >>"$OUT/results"' EXIT
		EOF
		printf '%s\n' "$@" | grep -v '^#' || :
	} >"$tree/tests/vm/groups/$name.sh"
}

group some 'has first second'
says 0 '5 passed, 0 failed, 0 skipped' "a group with cases" --group some
unit_tests "$good"
says 0 '7 passed, 0 failed, 0 skipped' "all that there is"
echo 'sleep 1; exit 1' >>"$tree/tests/vm/vm-run-test.sh"
says 1 "FAIL vm-run: see $build/vm-run.log" "VMs that end otherwise than scripts/vm-run says"
group slow '# timeout: 2000' 'sleep 1' 'has first'
says 0 '7 passed, 0 failed, 0 skipped' "one that ends before one that was begun before it" --jobs 2 --group slow --group some
says 1 'FAIL vm: no case was run that matches third' "a name that no case has" --group some --case third
group none ':'
says 1 'FAIL vm/6.1/none: has no cases, or none that its header chooses' "a group without cases" --group none
says 0 '5 passed, 0 failed, 0 skipped' "a case of one group only" --group some --group none --case second
group renamed '# kernels: 6.1-kasan' '# checked-cases: ^former$' 'has latter'
says 1 'FAIL vm/6.1-kasan/renamed: has no cases, or none that its header chooses' "a case that has another name now" \
	--group renamed
group further '# kernels: 6.1 6.12' '# further-cases: ^second$' 'has first second'
says 0 '8 passed, 0 failed, 0 skipped' "a kernel that is given some cases" --group further
says 0 '9 passed, 0 failed, 0 skipped' "the same if it is asked for" --group further --kernel 6.1 --kernel 6.12
# shellcheck disable=SC2016 # for the script there
group killed 'kill -KILL $RUNNER'
says 1 'FAIL vm/6.1/killed: ended without verdicts' "a group whose runner was killed" --group killed
says 1 'FAIL vm/6.1/killed: ended without verdicts' "the same beside a filter" --group some --group killed --case first
# shellcheck disable=SC2016
group full 'has first' 'prlimit --pid $RUNNER --fsize=0'
says 1 'FAIL vm/6.1/full: ended without verdicts' "verdicts that could not be written" --group some --group full
exit "$failed"
