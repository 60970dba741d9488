# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# shellcheck disable=SC2154,SC2164 # of guest.sh; set -e is on
# Measuring: fio, the kernel's own counts around it, and memory. For guest.sh.

fio_common=(
	--direct=1 --ioengine=libaio --randseed=20 --clocksource=clock_gettime --scramble_buffers=0
	--clat_percentiles=0 --lat_percentiles=1 --percentile_list=50:99
)

# fio says nothing unless it fails.
quiet_fio() { (cd "$work" && fio --name=quiet "${fio_common[@]}" --output=/dev/null "$@" >/dev/null); }

# remember NAME=VALUE: goes with the workload's results.
remember() { echo "$1" >>"$work/result/notes"; }

# measure DEVICE FIO-OPTION...: one job. The samples are taken in fio, right before
# the first request, and when what the last one has put off is done.
measure() {
	local target=$1
	shift
	remember "disks=${origins[0]##*/} ${store##*/}"
	(
		cd "$work"
		rm -f job.*.txt
		fio --name=job --filename="$target" "${fio_common[@]}" --output-format=json --output=result/fio.json \
			--exec_prerun="sh $work/sample 0.2" --exec_postrun="sh $work/sample $settle" "$@" >/dev/null
		mv job.prerun.txt result/before
		mv job.postrun.txt result/after
	)
	system_quiet_if_held || die "$system still writes $settle s after $workload"
}

system_quiet_if_held() { [[ ! $state || $state == none ]] || system_quiet; }

# What measuring itself costs: the same with next to no requests, on the bare device.
measure_overhead() {
	local state='' system=none workload=overhead result
	result=$share/raw/$device/overhead.$round
	rm -rf "$work/result"
	mkdir -p "$work/result" "${result%/*}"
	system_defaults
	measure "${origins[0]}" --rw=randread --bs=4k --iodepth=16 --number_ios=1
	cp -r "$work/result" "$result"
}

# Bytes of kernel memory that tables of a snapshot may be in: its own slabs and those
# of kmalloc() and xarrays, vmalloc but for stacks, which come and go with workers, and
# what dm-bufio holds. A slab that a CPU has reserved counts as full: shrink ends that,
# and until all is read there is no new process, which would need objects, too. The
# kernel is booted with slab_nomerge.
kernel_memory() {
	local cache slabs areas bufio=0
	for cache in /sys/kernel/slab/*/shrink; do echo 1 >"$cache"; done
	mapfile -t slabs </proc/slabinfo
	mapfile -t areas </proc/vmallocinfo
	[[ ! -r /sys/module/dm_bufio ]] || read -r bufio </sys/module/dm_bufio/parameters/current_allocated_bytes
	printf '%s\n' "${slabs[@]}" "${areas[@]}" |
		awk -v caches="^(kmalloc-[0-9]+k?|radix_tree_node|dm[-_].*|.*snap.*${system_slabs:+|$system_slabs})$" -v bufio="$bufio" '
			/^0x/ { if (/ vmalloc/ && $3 !~ /^(dup_task_struct|copy_process)/) sum += $2; next }
			$1 ~ caches { sum += $2 * $4 }
			END { printf "%d\n", sum + bufio }'
}
