# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# The first stage of a VM: busybox and the modules that reach the root over 9p.
# Needs common.sh and kernels.sh.

# make_initramfs KERNEL-DIR OUTPUT GUEST-INIT: GUEST-INIT is run on the final root.
make_initramfs() {
	local kernel=$1 output=$2 guest_init=$3 version modules work module name number=0
	version=$(kernel_version "$kernel")
	modules=$(kernel_modules "$kernel")
	[[ -f $modules/modules.dep ]] || die "no modules.dep in $modules: run depmod -b $kernel $version"
	work=$(mktemp -d "${output%/*}/initramfs.XXXXXX")
	mkdir -p "$work"/{bin,proc,sys,dev,modules,lower,upper,root}
	cp "$(command -v busybox)" "$work/bin/busybox"
	cp "${tree:?}/scripts/vm/initramfs-init" "$work/init"
	printf '%s\n' "$guest_init" >"$work/guest-init"
	while read -r module; do
		number=$((number + 1))
		name=$(printf '%03d-%s' "$number" "$(basename "$module" | sed 's/\.ko.*/.ko/')")
		case $module in
		*.xz) xz -dc "$module" ;;
		*.zst) zstd -qdc "$module" ;;
		*.gz) gzip -dc "$module" ;;
		*) cat "$module" ;;
		esac >"$work/modules/$name"
	done < <(initramfs_modules "$kernel" "$version")
	(cd "$work" && find . | cpio --quiet -o -H newc | gzip -1) >"$output"
	rm -r "$work"
}

# The files to load, in order; what is built in has none.
initramfs_modules() {
	local name
	for name in virtio_pci 9pnet_virtio 9p overlay virtio_blk; do
		modprobe -d "$1" -S "$2" --show-depends "$name"
	done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }'
}
