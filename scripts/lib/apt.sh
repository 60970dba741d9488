# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# Packages of any Debian suite, from the mirror that this machine uses already,
# with an apt state of our own: the machine's lists and settings stay as they are.
# Needs common.sh.

# The machine's own Debian codename, e.g. bookworm.
machine_codename() { sed -n 's/^VERSION_CODENAME=//p' /etc/os-release; }

# "URI SUITE" of each source with component main that the machine has configured.
machine_sources() {
	# shellcheck disable=SC2016 # apt's own variables
	apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
		awk '$3 == "main" { print $1, $2 }' | sort -u
}

# suite_sources SUITE KEYRING: lines for a sources.list. The machine's own suite
# comes with its updates and security fixes, any other from the same mirror.
suite_sources() {
	local suite=$1 keyring=$2 own mirror
	own=$(machine_codename)
	if [[ $suite == "$own" ]]; then
		machine_sources | awk -v s="$own" -v k="$keyring" \
			'$2 == s || $2 == s "-updates" || $2 == s "-security" { print "deb [signed-by=" k "] " $1 " " $2 " main" }'
	else
		mirror=$(machine_sources | awk -v s="$own" '$2 == s { print $1; exit }')
		[[ $mirror ]] || die "no apt source of this machine has the suite $own: cannot find $suite"
		printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$mirror" "$suite"
	fi
}

# suite_apt SUITE PROGRAM ARGUMENT...: apt-get or apt-cache with that suite's state.
suite_apt() {
	local dir program=$2
	dir=$(cache_dir)/apt/$1
	shift 2
	"$program" -q -o "Dir::Etc::SourceList=$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
		-o "Dir::State=$dir/state" -o "Dir::State::status=$dir/status" -o "Dir::Cache=$dir/cache" \
		-o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=3 "$@"
}

suite_update_once() {
	suite_sources "$1" "$2" >"$(cache_dir)/apt/$1/sources.list"
	suite_apt "$1" apt-get update -o APT::Update::Error-Mode=any >&2
}

# suite_update SUITE: brings the lists of that suite up to date.
suite_update() {
	local suite=$1 dir keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	dir=$(cache_dir)/apt/$suite
	mkdir -p "$dir/state/lists/partial" "$dir/cache/archives/partial"
	: >"$dir/status"
	[[ -f $dir/keyring.gpg ]] && keyring=$dir/keyring.gpg
	suite_update_once "$suite" "$keyring" && return
	# Signed by keys that are newer than this machine? Its mirror's newest
	# stable suite has them, in a package that our keys vouch for.
	[[ $suite != stable ]] || return 1
	note "cannot verify $suite with $keyring; looking for newer archive keys"
	suite_update stable
	suite_unpack stable "$dir/keys" debian-archive-keyring
	cp "$dir/keys/usr/share/keyrings/debian-archive-keyring.gpg" "$dir/keyring.gpg"
	rm -r "$dir/keys"
	suite_update_once "$suite" "$dir/keyring.gpg"
}

# suite_depends SUITE PACKAGE REGEX: names among all it depends on, directly or not.
suite_depends() {
	suite_apt "$1" apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts \
		--no-breaks --no-replaces --no-enhances "$2" | awk -v r="$3" '/^[^ <]/ && $1 ~ r' | sort -u
}

# suite_version SUITE PACKAGE: the version that would be taken.
suite_version() { suite_apt "$1" apt-cache policy "$2" | awk '$1 == "Candidate:" && $2 != "(none)" { print $2 }'; }

# suite_unpack SUITE DIRECTORY PACKAGE...: unpacks without installing.
suite_unpack() {
	local suite=$1 dir=$2 debs
	shift 2
	debs=$(mktemp -d "$(cache_dir)/debs.XXXXXX")
	mkdir -p "$dir"
	# shellcheck disable=SC2016 # for the inner shell
	if ! (cd "$debs" && suite_apt "$suite" apt-get download "$@" >&2) ||
		! find "$debs" -name '*.deb' -print0 | xargs -0 -n 1 sh -c 'dpkg -x "$1" "$0"' "$dir"; then
		rm -r "$debs"
		return 1
	fi
	rm -r "$debs"
}
