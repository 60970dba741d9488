#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Second stage of a VM, process 1 on the overlay over the host's root: makes the
# guest a usable system, runs one command, leaves its status in the share and
# restarts, which ends qemu. Run by initramfs-init only; see vm-run.
#
# In the share (at /run/share): settings (read), command (run), then output and
# status (written).

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
share=/run/share

finish() {
	sync
	/bin/busybox reboot -f
	sleep 60
}

step() {
	"$@" || {
		echo "guest-init: failed: $*" >/dev/console
		finish
	}
}

mount_all() {
	ln -s /proc/self/fd /dev/fd
	ln -s fd/0 /dev/stdin
	ln -s fd/1 /dev/stdout
	ln -s fd/2 /dev/stderr
	mkdir -p /dev/pts /dev/shm
	step mount -t devpts devpts /dev/pts
	step mount -t tmpfs tmpfs /dev/shm
	step mount -t tmpfs tmpfs /run
	mkdir -p /run/lock /run/lvm /run/udev/rules.d "$share"
	step mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288 share "$share"
	mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
}

# The kernel's own modules, not those of the host.
bind_modules() {
	mkdir -p "/lib/modules/$(uname -r)"
	# shellcheck disable=SC2153 # from the share's settings
	step mount --bind "$VM_MODULES" "/lib/modules/$(uname -r)"
}

# LVM knows nothing of the host's devices and asks no daemon.
own_lvm() {
	rm -rf /etc/lvm/devices /etc/lvm/archive /etc/lvm/backup /etc/lvm/cache
	mkdir -p /etc/lvm/devices
	printf 'activation { monitoring = 0 }\nbackup { backup = 0 archive = 0 }\n' >/etc/lvm/lvmlocal.conf
}

start_udev() {
	if compgen -G "$VM_TREE/udev/*.rules" >/dev/null; then
		cp "$VM_TREE"/udev/*.rules /run/udev/rules.d/
	fi
	step /lib/systemd/systemd-udevd --daemon
	udevadm trigger --action=add --subsystem-match=block --subsystem-match=misc
	udevadm settle
}

# A program that is started asks the host for files some twenty times. Answers that come
# in on another CPU than it waits on make an emulator wake two of them, which takes a busy
# host longer than all the rest: whoever stays on the first one is spared that.
files_to_first_cpu() {
	local irq
	while read -r irq; do
		echo 0 >"/proc/irq/$irq/smp_affinity_list"
	done < <(sed -nE 's/^ *([0-9]+):.* virtio[0-9]+-requests$/\1/p' /proc/interrupts)
}

# What our module needs first, then the module itself.
load_module() {
	local dependency
	for dependency in $(modinfo -F depends "$1" | tr , ' '); do
		step modprobe "$dependency"
	done
	step insmod "$1"
}

# What the debug kernels have found or counted, if this is one.
collect() {
	# refused if it was switched off at boot
	if [[ -w /sys/kernel/debug/kmemleak ]] && echo scan 2>/dev/null >/sys/kernel/debug/kmemleak; then
		# twice: an object counts only if it is unreachable both times
		sleep 6
		echo scan >/sys/kernel/debug/kmemleak
		cat /sys/kernel/debug/kmemleak >"$share/kmemleak"
	fi
	# of modules alone: a kernel that is not profiled itself has no others. They were
	# built somewhere that is gone; the names are told apart.
	if [[ -d /sys/kernel/debug/gcov ]]; then
		mkdir -p "$share/gcov"
		find /sys/kernel/debug/gcov -name '*.gcda' | while read -r file; do
			cat "$file" >"$share/gcov/${file##*/}"
		done
	fi
}

main() {
	mount_all
	# shellcheck disable=SC1091 # written by vm-run
	. "$share/settings"
	bind_modules
	own_lvm
	files_to_first_cpu
	ip link set lo up
	hostname diffsnap-vm
	step modprobe dm-mod
	start_udev
	[[ -z $VM_MODULE ]] || load_module "$VM_MODULE"
	dmesg -n 7
	cd "$VM_CWD" || finish
	touch "$share/started"
	/bin/bash "$share/command" </dev/null >>"$share/output" 2>&1
	echo $? >"$share/status.new"
	collect
	mv "$share/status.new" "$share/status"
	finish
}

main
