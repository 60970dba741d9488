# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# Which qemu accelerator to use, and what is to be known of it. On some machines
# /dev/kvm is there but guests hang or crawl, so it counts only if a kernel was seen
# to run in time. Needs common.sh.

# choose_accel KERNEL-IMAGE: prints kvm or tcg,thread=multi. DIFFSNAP_ACCEL
# overrides it; a caller of several VMs sets that to have one probe only.
choose_accel() {
	if [[ ${DIFFSNAP_ACCEL:-} ]]; then
		echo "$DIFFSNAP_ACCEL"
	elif kvm_works "$1" 2>/dev/null; then # bash tells of a crashed qemu
		echo kvm
	else
		echo tcg,thread=multi
	fi
}

# A kernel without any root file system: it must get as far as its panic, and
# restart at once, within ten seconds.
kvm_works() {
	local log status=1
	[[ -w /dev/kvm ]] || return 1
	log=$(mktemp)
	if timeout -k 1 10 qemu-system-x86_64 -accel kvm -cpu host -m 256 -display none -nodefaults \
		-no-reboot -kernel "$1" -append 'console=ttyS0 panic=-1' -serial "file:$log" </dev/null &&
		grep -aq 'Kernel panic' "$log"; then
		status=0
	fi
	rm -f "$log"
	return "$status"
}

# emulator_failed ACCEL CONSOLE-LOG: whether qemu broke the guest, or made it useless.
emulator_failed() {
	[[ $1 == tcg* ]] || return 1
	clock_is_wrong "$2" || breakpoint_was_left "$2"
}

# At boot a kernel measures its clock against a timer. When a busy host runs the emulator
# at the wrong moments only, that goes wrong (13 times too fast was seen), and all time
# limits with it. initramfs-init looks for that.
clock_is_wrong() { grep -aq '^initramfs: the clock has the wrong speed' "$1"; }

# A kernel that changes code while it runs puts breakpoints there for a moment; on several
# threads, before qemu 8.1 (its commit deba78709ae8), emulation can run one that was taken
# out again, and the kernel dies of it. Not if anything else went wrong before, nor if we
# are in the trace.
breakpoint_was_left() {
	local line trace
	line=$(grep -an -m 1 'int3: 0000 \[#1\]' "$1") || return 1
	line=${line%%:*}
	head -n $((line - 1)) "$1" | "${tree:?}/scripts/log-scan" >/dev/null || return 1
	trace=$(tail -n +"$line" "$1")
	[[ $trace != *'[dm_diffsnap]'* ]]
}
