# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# The packages that building and testing take, on a fresh Debian 12.
# Needs common.sh.
# shellcheck disable=SC2034 # the lists are for the caller

packages_build=(
	build-essential cmake pkg-config
	libdevmapper-dev libblkid-dev libudev-dev libmount-dev libboost-program-options-dev
	libgcrypt20-dev catch2
)
packages_kernel=(kmod xz-utils zstd)
packages_module=("${packages_kernel[@]}" gcc-12 make libelf1)
packages_kernel_build=("${packages_module[@]}" bc bison flex libelf-dev libssl-dev perl)
packages_vm=(
	"${packages_kernel[@]}" qemu-system-x86 busybox-static cpio gzip
	udev lvm2 dmsetup fio e2fsprogs xfsprogs btrfs-progs cryptsetup-bin thin-provisioning-tools
	util-linux iproute2 psmisc procps jq
)
packages_bench=(gnuplot-nox)
packages_check=(shellcheck sparse perl python3-docutils cmake)

# packages_install NAME...: those that are missing; no call of apt if none is.
packages_install() {
	local missing
	# dpkg-query complains of names it has never heard of; those are missing
	mapfile -t missing < <(comm -23 <(printf '%s\n' "$@" | sort -u) \
		<(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" 2>/dev/null | sed -n 's/ installed$//p' | sort -u))
	[[ ${#missing[@]} -gt 0 ]] || return 0
	[[ $EUID -eq 0 ]] || die "not root, and packages are missing: ${missing[*]}"
	note "installing ${missing[*]}"
	apt-get -q update -o Acquire::Retries=3 >&2
	DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends \
		-o Acquire::Retries=3 -o Dpkg::Use-Pty=0 "${missing[@]}" </dev/null >&2
}

# packages_unpack DIRECTORY NAME...: they, and what of their dependencies this machine
# lacks, with all libraries below usr. Needs apt.sh.
packages_unpack() {
	local dir=$1 suite names
	shift
	suite=$(machine_codename)
	apt-get -q update -o Acquire::Retries=3 >&2
	mapfile -t names < <(apt-get -q -s install --no-install-recommends "$@" | awk '$1 == "Inst" { print $2 }')
	[[ ${#names[@]} -gt 0 ]] || return 0
	suite_update "$suite"
	suite_unpack "$suite" "$dir" "${names[@]}" || return
	if [[ -d $dir/lib ]]; then
		cp -a "$dir/lib" "$dir/usr/"
	fi
}
