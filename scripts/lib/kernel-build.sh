# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# Checked kernels: small ones, built from Debian's kernel source with the
# fragments in scripts/kernels, whose own checkers look at the module.
# Needs common.sh, apt.sh and kernels.sh.

# The fragments of a checked kernel, later ones override earlier ones.
kernel_fragments() { printf "${tree:?}/scripts/kernels/%s.config\n" base debug "${1##*-}"; }

# kernel_make_variables NAME: a line each. With KCSAN, what is looked at beside modules:
# the code that has their bios and work in hand, and what orders it (kernel/sched and mm
# tell of their barriers by themselves). With all of a kernel most samples would fall on
# programs being started, which would take twice as long.
kernel_make_variables() {
	case $1 in
	*-kcsan)
		# shellcheck disable=SC2016 # for make
		printf 'KCSAN_SANITIZE=$(if $(filter %s,$(patsubst ./%%,%%,$(obj))),y,n)\n' \
			'block drivers/block drivers/block/null_blk drivers/md kernel kernel/locking kernel/rcu kernel/time lib'
		;;
	esac
}

# kernel_checked_key NAME: changes when what is built from changes, but not with
# every point release: a build takes a quarter of an hour and more.
kernel_checked_key() {
	local fragments
	mapfile -t fragments < <(kernel_fragments "$1")
	{
		cat "${fragments[@]}"
		kernel_make_variables "$1"
	} | sha256sum | cut -c 1-8
}

# kernel_source SUITE SERIES: the newest source of that series, unpacked into the
# cache once. Prints the directory.
kernel_source() {
	local suite=$1 package=linux-source-$2 version dir tmp
	with_lock "apt-$suite" suite_update "$suite"
	version=$(suite_version "$suite" "$package")
	[[ $version ]] || die "no $package in $suite"
	dir=$(cache_dir)/kernel-build/source-$version
	if [[ ! -d $dir ]]; then
		mkdir -p "${dir%/*}"
		tmp=$(mktemp -d "${dir%/*}/tmp.XXXXXX")
		# shellcheck disable=SC2064 # the path of now
		trap "rm -rf '$tmp'" EXIT
		suite_unpack "$suite" "$tmp" "$package"
		mkdir "$tmp/source"
		tar -C "$tmp/source" -xJf "$tmp/usr/src/$package.tar.xz" --strip-components=1
		mv -T "$tmp/source" "$dir"
	fi
	echo "$dir"
}

# kernel_configure SOURCE OUT NAME: all that the fragments ask for, or an error
# that names what the kernel's own rules did not allow.
kernel_configure() {
	local source=$1 out=$2 fragments config=$2/wanted line lost=''
	mapfile -t fragments < <(kernel_fragments "$3")
	mkdir -p "$out"
	# the last word on each option
	cat "${fragments[@]}" | awk -F '[= ]' '
		/^CONFIG_/ { value[$1] = $0 }
		/^# CONFIG_.* is not set/ { value[$2] = $2 "=n" }
		END { for (name in value) print value[name] }' | sort >"$config"
	make -s -C "$source" O="$out" KCONFIG_ALLCONFIG="$config" allnoconfig >&2
	while read -r line; do
		case $line in
		*=n) grep -qE "^${line%=n}=[ym]" "$out/.config" || continue ;;
		*) grep -qxF "$line" "$out/.config" && continue ;;
		esac
		lost+=" $line"
	done <"$config"
	[[ ! $lost ]] || die "$3: not to be had:$lost"
}

# kernel_build NAME: builds it into the cache unless it is there, and prints the
# directory. A build that was cut short goes on where it was.
kernel_build() {
	local name=$1 cache suite source out dir tmp version variables
	cache=$(cache_dir)
	mapfile -t variables < <(kernel_make_variables "$name")
	suite=$(kernel_suite "${name%-*}")
	mkdir -p "$cache/kernels"
	source=$(with_lock "source-${name%-*}" kernel_source "$suite" "${name%-*}")
	dir=$cache/kernels/$name-$(kernel_checked_key "$name")-${source##*/source-}
	out=$cache/kernel-build/${dir##*/}
	kernel_forget_old "$name" "$dir"
	kernel_forget_old "$name" "$out"
	kernel_forget_old source "$source"
	if [[ ! -d $dir ]]; then
		kernel_configure "$source" "$out" "$name"
		note "building $name, which takes a quarter of an hour to most of one on two cores"
		make -s -j "$(nproc)" -C "$source" O="$out" ${variables[@]+"${variables[@]}"} bzImage modules >"$out/build.log" 2>&1 || {
			tail -n 40 "$out/build.log" >&2
			die "cannot build $name"
		}
		version=$(<"$out/include/config/kernel.release")
		tmp=$(mktemp -d "$cache/kernels/tmp.XXXXXX")
		# shellcheck disable=SC2064 # the path of now
		trap "rm -rf '$tmp'" EXIT
		mkdir "$tmp/boot"
		cp "$out/arch/x86/boot/bzImage" "$tmp/boot/vmlinuz-$version"
		cp "$out/.config" "$tmp/boot/config-$version"
		cp "$out/System.map" "$tmp/boot/System.map-$version"
		make -s -C "$source" O="$out" INSTALL_MOD_PATH="$tmp" modules_install >&2
		printf 'dir=%s\nroot=\n' "$out" >"$tmp/kbuild"
		chmod 755 "$tmp"
		mv -T "$tmp" "$dir"
	fi
	echo "$dir"
}
