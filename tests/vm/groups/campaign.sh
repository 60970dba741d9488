#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# group: campaign
# about: faults of every kind, at rising rates, in every layer: exact or invalid
# kernels: 6.1
# disks: 16M 16M 96M
# memory: 2G
# append: slub_debug=A,kmalloc-*,bio-*
# timeout: 5400
# leaks
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../snapshots.sh"

# A case is one combination of a kind of fault, how much of it, the layer that
# has it, and a workload. It ends in one of two ways: each image exact, or the
# snapshot invalid and its images' reads refused; the origins exact in both. The
# oracle gives that verdict when the faults have been switched off.
#
# Not among the kinds: devices that lose or change data without saying so. A
# store has no checksums, so there its images would be wrong; see the group
# oracle, where exactly that shows that the oracle notices.

sectors=16384
workloads=(small large images)
summary=$share/campaign
faults=/sys/kernel/debug
: >"$summary"

# What a kind prepares: devices, options of the oracle, and when what is run.
real='' store='' start='' stop='' moment='' options=()

# layer_device LAYER: sets layer_disk to what the layer's device lies on, and
# puts the device "faulty", a linear one, in its place.
layer_device() {
	case $1 in
	origin) layer_disk=$real real=/dev/mapper/faulty ;;
	store) layer_disk=$store store=/dev/mapper/faulty ;;
	esac
	faulty_size=$(size_of "$layer_disk")
	add_device faulty "0 $faulty_size linear $layer_disk 0"
}

# becomes TABLE: a command that makes "faulty" this
becomes() { printf "dmsetup load faulty --table '0 %s %s' && dmsetup resume faulty" "$faulty_size" "$1"; }

# flakey LAYER UP DOWN [FEATURE]: without one, reads fail as well
flakey() {
	layer_device "$1"
	start=$(becomes "flakey $layer_disk 0 $2 $3${4:+ 1 $4}")
	stop=$(becomes "linear $layer_disk 0")
	# then an origin fails its writes with us or without
	[[ $1 != origin ]] || options+=(--origin-errors)
}

kind_errors() { flakey "$1" "${2%-*}" "${2#*-}"; }
kind_write_errors() { flakey "$1" "${2%-*}" "${2#*-}" error_writes; }

# Blocks that can neither be read nor written.
kind_holes() {
	local at=0 block table=/run/holes
	layer_device "$1"
	for block in $(shuf -i 0-$((sectors / 8 - 1)) -n "$2" | sort -n); do
		[[ $at -eq $((block * 8)) ]] || echo "$at $((block * 8 - at)) linear $layer_disk $at"
		echo "$((block * 8)) 8 error"
		at=$((block * 8 + 8))
	done >"$table"
	echo "$at $((faulty_size - at)) linear $layer_disk $at" >>"$table"
	start="dmsetup load faulty $table && dmsetup resume faulty"
	stop=$(becomes "linear $layer_disk 0")
	[[ $1 != origin ]] || options+=(--origin-errors)
}

# Blocks that cannot be read until they are written. In a store that is only of
# interest when something has been written there, which is from its beginning.
kind_bad_blocks() {
	layer_device "$1"
	reload_device faulty "0 $faulty_size dust $layer_disk 0 4096"
	start="for block in $(shuf -i 0-$((sectors / 8 - 1)) -n "$2" | xargs)
		do dmsetup message faulty 0 addbadblock \$block || exit; done; dmsetup message faulty 0 enable"
	stop="dmsetup message faulty 0 disable"
	[[ $1 == origin ]] || moment=--during
}

# ---- by the kernel's fault injection

# inject ATTRIBUTE PROBABILITY INTERVAL: a command; and one that ends it.
inject() {
	local dir=$faults/$1
	echo 0 >"$dir/verbose"
	echo "$3" >"$dir/interval"
	echo "$injections" >"$dir/times"
	on_exit set_attribute "$1" 0
	start+="${start:+ && }echo $2 >$dir/probability"
	stop+="${stop:+ && }echo 0 >$dir/probability"
}

set_attribute() { echo "$2" >"$faults/$1/probability"; }

# So many at most: what is left of it afterwards says how many there were.
injections=1000000000
injected() { echo $((injections - $(<"$faults/$1/times"))); }

# Allocations that may not sleep, as all are that the data path makes at first.
# Those that may are tried in the group fuzz, one by one: if they failed at
# random the guest's own processes would not live long.
inject_memory() {
	for attribute in "$@"; do
		echo Y >"$faults/$attribute/ignore-gfp-wait"
		inject "$attribute" "$level" 1
	done
	# Of slab caches, only those that the kernel's command line has marked: the kernel's
	# debugging aids switch themselves off when they get nothing.
	echo Y >"$faults/failslab/cache-filter"
	assert_eq 1 "$(</sys/kernel/slab/kmalloc-64/failslab)" "mark of kmalloc-64"
	[[ ! -e $faults/fail_page_alloc/min-order ]] || echo 0 >"$faults/fail_page_alloc/min-order"
	# For these virtio_blk takes memory that it keeps no reserve of, and tries for ever: one
	# that gets none holds up all that was sent to the disk after it, on a bare disk as well.
	[[ $level -lt 100 ]] || options+=(--no-zeroes --no-discards)
}

kind_slab() { inject_memory failslab; }
kind_pages() { inject_memory fail_page_alloc; }
kind_memory() { inject_memory failslab fail_page_alloc; }

# One request of so many.
kind_requests() {
	local device
	case $1 in
	origin-disk) device=${real#/dev/} ;;
	store-disk) device=${store#/dev/} ;;
	# made by the oracle; the images only after the cut
	origin) device="\$(dmsetup info -c --noheadings -o blkdevname campaign-origin0)" ;;
	image) device="\$(dmsetup info -c --noheadings -o blkdevname campaign-image0)" moment=--during ;;
	esac
	inject fail_make_request 100 "$2"
	start="echo 1 >/sys/block/$device/make-it-fail && $start"
	# dm devices go with the oracle
	if [[ $1 == *-disk ]]; then
		stop+=" && echo 0 >/sys/block/$device/make-it-fail"
		on_exit set_make_it_fail "$device" 0
	fi
	[[ $1 != origin* ]] || options+=(--origin-errors)
}

set_make_it_fail() { echo "$2" >"/sys/block/$1/make-it-fail"; }

# ---- workloads

load_small() { options+=(--block-sizes 1:16 --qd 4:12 --hot 0.6); }
load_large() { options+=(--block-sizes 64:4096 --qd 1:4 --hot 0.1); }
load_images() { options+=(--block-sizes 1:256 --qd 1:2 --image-writers 4 --readers 1 --chunk 64); }

# combination KIND LAYER LEVEL WORKLOAD
combination() {
	local kind=$1 layer=$2 level=$3 workload=$4 log=$share/oracle-$case_name.log verdict said counts='' attribute
	real=${disks[0]} store=${disks[2]} start='' stop='' moment=--before-cut options=()
	"kind_$kind" "$layer" "$level"
	"load_$workload"
	run_oracle --real "$real" --real "${disks[1]}" --store "$store" --origin-sectors "$sectors" --prefix campaign \
		--rounds 1 --round 3 --before 0.2 --request-limit 100 --exact-or-invalid --verbose "${options[@]}" \
		"$moment" "$start" --after "$stop"
	case $(json_number exact_rounds "$log")$(json_number invalid_rounds "$log") in
	10) verdict=exact ;;
	01) verdict=invalid ;;
	*) fail "neither exact nor invalid" ;;
	esac
	said=$(sed -n 's/^oracle: round 1: //p' "$log" | cut -d ' ' -f 1,2)
	for attribute in failslab fail_page_alloc fail_make_request; do
		[[ $start != *"/$attribute/"* ]] || counts+=" $attribute $(injected "$attribute")"
	done
	printf '%-28s %-8s %-32s origin errors %s image errors %s%s\n' "$case_name" "$verdict" "$said" \
		"$(json_number origin_errors "$log")" "$(json_number image_read_errors "$log")" "$counts" | tee -a "$summary"
}

# Kinds of faults of a device, each with its layer, that no combination in the summary felt:
# the snapshot outlived them all, and nobody was told of an error.
never_felt() {
	awk 'match($1, /^(errors|write_errors|holes|bad_blocks)-(store|origin)-/) {
		kind = substr($1, 1, RLENGTH - 1)
		felt[kind] += $2 == "invalid" || / errors [1-9]/
	}
	END { for (kind in felt) if (!felt[kind]) print kind }' "$summary"
}

# Kinds of injection, each with its layer, that no combination in the summary met. At a low
# level a slow machine may send too little for one of them to be hit, but not at all levels.
never_injected() {
	awk 'match($1, /^[a-z]+-[a-z-]+-/) {
		kind = substr($1, 1, RLENGTH - 1)
		for (i = 2; i < NF; i++)
			if ($i ~ /^(failslab|fail_page_alloc|fail_make_request)$/)
				injected[kind " " $i] += $(i + 1)
	}
	END { for (kind in injected) if (!injected[kind]) print kind }' "$summary"
}

# The campaign itself: faults that nobody ever felt would prove nothing.
both_ends() {
	cat "$summary"
	at_least 1 "$(grep -c ' exact ' "$summary")" "combinations that ended exact"
	at_least 1 "$(grep -c ' invalid ' "$summary")" "combinations that ended invalid"
	assert_eq '' "$(never_injected | xargs)" "injections that did not happen"
	assert_eq '' "$(never_felt | xargs)" "faults of devices that were never felt"
}

# try KIND LAYER LEVEL WORKLOAD: all of them with --full, otherwise those of the sample
try() {
	[[ $full || " ${sample[*]} " == *" $1-$2-$3-$4 "* ]] || return 0
	test_case "$1-$2-$3-$4" combination "$@"
}

# try_all KIND "LAYER..." LEVEL...
try_all() {
	local kind=$1 layers=$2 layer level workload
	shift 2
	for layer in $layers; do
		for level in "$@"; do
			for workload in "${workloads[@]}"; do
				try "$kind" "$layer" "$level" "$workload"
			done
		done
	done
}

sample=(
	errors-store-1-3-images errors-origin-1-1-small write_errors-store-0-1-small write_errors-origin-1-1-large
	holes-origin-10-large holes-store-10-small bad_blocks-store-20-large
	slab-all-50-small pages-all-10-large memory-all-100-images
	requests-origin-disk-100-small requests-store-disk-100-images
)

can_inject() { [[ -e $faults/failslab && -e $faults/fail_page_alloc && -e $faults/fail_make_request ]]; }
no_injection() { skip "a kernel without failslab, fail_page_alloc and fail_make_request: 6.1-kasan has them"; }

no_dust() { skip "a kernel without dm-dust: 6.1-kasan has it"; }

# seconds up and down; blocks; percent; one request of so many
try_all errors 'store origin' 2-1 1-1 1-3 0-1
try_all write_errors 'store origin' 2-1 1-1 1-3 0-1
try_all holes 'store origin' 1 10 100 400
if modprobe -q dm-dust; then
	try_all bad_blocks 'store origin' 2 20 100
else
	test_case bad_blocks no_dust
fi
if can_inject; then
	try_all slab all 1 10 50 100
	try_all pages all 1 10 50 100
	try_all memory all 1 10 50 100
	try_all requests 'store-disk origin-disk origin image' 1000 100 10
else
	test_case injected no_injection
fi
if [[ -s $summary ]]; then
	test_case both-ends both_ends
fi
