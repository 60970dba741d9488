# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# shellcheck disable=SC2154,SC2034,SC2164 # of and for guest.sh; set -e is on
# What is measured: one function for each workload. For guest.sh.

# In the order in which they are run: what one leaves is of use to the next.
workload_names=(
	write-random-1 write-random-16 write-sparse write-seq rewrite read-origin
	image-seq image-random image-seq-scattered image-random-scattered files cut freeze
)
declare -A workload_about=(
	[write-random-1]='random first writes of 4 KiB, depth 1'
	[write-random-16]='random first writes of 4 KiB, depth 16'
	[write-sparse]='the same, 8 in 2 MiB: for the memory they take'
	[write-seq]='sequential first writes of 1 MiB, depth 1'
	[rewrite]='random writes of 4 KiB to what was written before, depth 16'
	[read-origin]='random reads of 4 KiB from the origin, depth 16'
	[image-seq]='sequential reads of 1 MiB from the image, depth 1, every other MiB of the origin overwritten'
	[image-random]='random reads of 4 KiB from that image, depth 16'
	[image-seq-scattered]='as image-seq, half of the origin overwritten by random writes of 4 KiB'
	[image-random-scattered]='as image-random, of that image'
	[files]='4 processes on ext4, reads and writes of 4 to 64 KiB, fsync after each 8th write'
	[cut]='snapshots of 1, 4 and 16 devices, idle and under writes'
	[freeze]='the same with ext4 on each of them'
)
declare -A workload_devices=(
	[write-random-1]='ssd code disk disk-shared' [write-random-16]='ssd disk disk-shared'
	[write-sparse]='ssd' [write-seq]='ssd code disk disk-shared'
	[rewrite]='ssd code disk' [read-origin]='ssd code'
	[image-seq]='ssd code disk-shared' [image-random]='ssd code disk-shared'
	[image-seq-scattered]='ssd' [image-random-scattered]='ssd'
	[files]='ssd disk-shared' [cut]='ssd' [freeze]='ssd'
)
declare -A workload_needs_snapshot=([write-sparse]=1 [cut]=1 [freeze]=1)
# These put the system on other devices, several times.
declare -A workload_own_setup=([cut]=1 [freeze]=1)

# For cuts over many origins.
many_count=16 many_mib=16

# sizes DEVICE: MiB of origin and store; requests at depth 1, first writes at depth 16,
# and what takes less; files; cuts. As much as gives a steady figure, less where each
# request takes long.
sizes() {
	case $1 in
	disk*) device_mib=64 ios_1=256 ios_16=1024 ios_fast=1024 ios_files=50 files_mib=24 ;;
	*) device_mib=128 ios_1=2048 ios_16=8192 ios_fast=16384 ios_files=200 files_mib=48 ;;
	esac
	cuts=5
	if [[ ${BENCH_QUICK:-} ]]; then
		device_mib=64 cuts=3
		ios_1=$((ios_1 / 2)) ios_16=$((ios_16 / 2)) ios_fast=$((ios_fast / 4)) ios_files=$((ios_files / 2)) files_mib=24
	fi
	# room for whole origins in blocks of 64 KiB, and for metadata: under load one write to
	# each block comes soon. Only the SSD has the many small ones
	store_mib=$((device_mib * 3 / 2))
	[[ $1 != ssd ]] || store_mib=$((many_count * many_mib * 3 / 2))
}

origin_mib() { echo $(($(sectors "${origins[0]}") / 2048)); }

# want STATE: brings about
#   none       no snapshot
#   fresh      one that was just taken
#   settled    one, and all of the origin written since
#   half       every other MiB
#   scattered  half of it, in random places
# Whoever writes after that sets the state anew.
want() {
	[[ $state != "$1" ]] || return 0
	if [[ $state != none ]]; then
		state=none
		system_drop
	fi
	[[ $1 != none ]] || return 0
	system_snapshot
	state=fresh
	case $1 in
	settled) overwrite --rw=write --bs=1M ;;
	half) overwrite --rw=write:1M --bs=1M --number_ios=$(($(origin_mib) / 2)) ;;
	scattered) overwrite --rw=randwrite --bs=4k --iodepth=16 --number_ios=$(($(origin_mib) * 128)) ;;
	esac
	state=$1
}

overwrite() { quiet_fio --filename="$(system_device 0)" "$@"; }

# first_writes FIO-OPTION...
first_writes() {
	want fresh
	remember "memory_before=$(kernel_memory)"
	measure "$(system_device 0)" "$@"
	remember "memory_after=$(kernel_memory)"
	state=used
}

workload_write_random_1() { first_writes --rw=randwrite --bs=4k --iodepth=1 --number_ios="$ios_1"; }
workload_write_random_16() { first_writes --rw=randwrite --bs=4k --iodepth=16 --number_ios="$ios_16"; }
workload_write_sparse() { first_writes --rw=randwrite --bs=4k --iodepth=16 --number_ios=$(($(origin_mib) * 4)); }

workload_write_seq() {
	first_writes --rw=write --bs=1M --iodepth=1
	state=settled
}

workload_rewrite() {
	want settled
	measure "$(system_device 0)" --rw=randwrite --bs=4k --iodepth=16 --number_ios="$ios_fast"
}

workload_read_origin() {
	want settled
	measure "$(system_device 0)" --rw=randread --bs=4k --iodepth=16 --number_ios="$ios_fast"
}

read_image_seq() { measure "$(system_image 0)" --rw=read --bs=1M --iodepth=1; }
# Not in the order in which random writes have overwritten the origin.
read_image_random() { measure "$(system_image 0)" --rw=randread --bs=4k --iodepth=16 --number_ios="$ios_fast" --randseed=21; }

workload_image_seq() {
	want half
	read_image_seq
}

workload_image_random() {
	want half
	read_image_random
}

workload_image_seq_scattered() {
	want scattered
	read_image_seq
}

workload_image_random_scattered() {
	want scattered
	read_image_random
}

# ---- file systems

# make_files NUMBER: ext4 on that device, mounted. Nothing of it is put off or random.
make_files() {
	mkfs.ext4 -q -F -b 4096 -U 00000000-0000-4000-8000-000000000001 \
		-E lazy_itable_init=0,lazy_journal_init=0,nodiscard "$(system_device "$1")"
	mount_files "$1"
}

mount_files() {
	mkdir -p "$mnt/$1"
	mount -o noatime "$(system_device "$1")" "$mnt/$1"
}

unmount_all() {
	local target status=0
	for target in $(findmnt -rno TARGET | grep "^$mnt/"); do umount "$target" || status=1; done
	return "$status"
}

workload_files() {
	want none
	make_files 0
	quiet_fio --filename="$mnt/0/data" --size="${files_mib}M" --rw=write --bs=1M --direct=0 --ioengine=psync --end_fsync=1
	# out of the page cache; drop_caches would drop the host's files, too
	unmount_all
	mount_files 0
	want fresh
	remember "disks=${origins[0]##*/} ${store##*/}"
	sh "$work/sample" 0.2 >"$work/result/before"
	(
		cd "$work"
		fio --name=job --filename="$mnt/0/data" --size="${files_mib}M" "${fio_common[@]}" --direct=0 --ioengine=psync \
			--output-format=json --output=result/fio.json --numjobs=4 --group_reporting \
			--rw=randrw --rwmixread=30 --bssplit=4k/60:16k/30:64k/10 --norandommap --number_ios="$ios_files" \
			--fsync=8 >/dev/null
	)
	sync
	sh "$work/sample" "$settle" >"$work/result/after"
	system_healthy
	unmount_all
	state=used
	want none
}

# ---- cuts

load_pid=''

# start_load FIO-OPTION...: until end_load; it has begun when this returns.
start_load() {
	(cd "$work" && exec fio "${fio_common[@]}" --output=/dev/null --time_based --runtime=1000000 --norandommap "$@" >/dev/null) &
	load_pid=$!
	sleep 0.6
	kill -0 "$load_pid" || die "the load ended by itself"
}

stop_load() {
	[[ $load_pid ]] || return 0
	kill "$load_pid" 2>/dev/null || :
	wait "$load_pid" || :
	load_pid=''
}

# What was measured was measured under load only if the load is still there at its end.
end_load() {
	kill -0 "$load_pid" || die "the load ended by itself"
	stop_load
}

# on_many COUNT COMMAND...: with the system on the first so many of the small devices.
on_many() {
	local own=("${origins[@]}")
	origins=("${many_origins[@]:0:$1}")
	shift
	trap take_down EXIT
	state=none
	system_setup
	"$@"
	system_teardown
	state=''
	origins=("${own[@]}")
}

# Off the devices on which the other workloads were.
leave_devices() {
	[[ $state ]] || return 0
	want none
	system_teardown
	state=''
}

# make_cuts idle|load: a line for each: origins, load, and nanoseconds for taking the
# snapshot, removing it, gates closed, file systems frozen (- if not known).
make_cuts() {
	local number start taken removed gates_ns frozen_ns
	for ((number = 0; number < cuts; number++)); do
		gates_ns=- frozen_ns=-
		start=$(now_ns)
		system_snapshot
		taken=$(now_ns)
		state=fresh
		sleep 0.02
		system_healthy
		removed=$(now_ns)
		state=none
		system_drop
		echo "${#origins[@]} $1 $((taken - start)) $(($(now_ns) - removed)) $gates_ns $frozen_ns" >>"$work/result/cuts"
	done
}

cut_devices() {
	local number devices=''
	make_cuts idle
	for number in "${!origins[@]}"; do devices+=:$(system_device "$number"); done
	# as many requests, however many devices they are for. In bursts: fio does not sleep for
	# less than a millisecond but spin, and would leave no CPU
	start_load --name=load --filename="${devices#:}" --rw=randwrite --bs=4k --iodepth=16 --rate_iops=10000 \
		--iodepth_batch_submit=16 --iodepth_batch_complete_min=16
	make_cuts load
	end_load
}

cut_files() {
	local number jobs=()
	for number in "${!origins[@]}"; do
		make_files "$number"
		jobs+=(--name="load$number" --filename="$mnt/$number/data")
	done
	make_cuts idle
	start_load --size=4M --rw=randwrite --bsrange=4k-64k --direct=0 --ioengine=psync --fsync=32 \
		--rate_iops=$((640 / ${#origins[@]})) "${jobs[@]}"
	make_cuts load
	end_load
	unmount_all
}

workload_cut() {
	local count
	leave_devices
	for count in 1 4 16; do on_many "$count" cut_devices; done
}

workload_freeze() {
	local count
	leave_devices
	for count in 1 4 16; do on_many "$count" cut_files; done
}
