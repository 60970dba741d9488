# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # for guest.sh, and of workloads.sh
# The devices that are measured on: null_blk, which keeps its data in memory and
# completes each request after a known time. For guest.sh.

declare -A device_about=(
	[ssd]='100 us for each request, many at a time'
	[code]='no delay: the cost of the code'
	[disk]='5 ms for each request, one at a time; the store on another such disk'
	[disk-shared]='5 ms for each request, one at a time; origin and store on the same disk'
)
device_names=(ssd code disk disk-shared)

null_blk=/sys/kernel/config/nullb
device_made=()

# null_create NAME MIB SCHEDULER ATTRIBUTE=VALUE...: sets null_path; all zeroes.
null_create() {
	local name=$1 mib=$2 scheduler=$3 directory=$null_blk/$1 attribute
	shift 3
	mkdir "$directory"
	device_made+=("$name")
	# max_sectors: the limit that the block layer gives disks; 127 KiB without it
	for attribute in size="$mib" memory_backed=1 submit_queues=1 max_sectors=2560 "$@" power=1; do
		echo "${attribute#*=}" >"$directory/${attribute%%=*}"
	done
	# newer kernels name it after its directory
	null_path=/dev/$name
	[[ -b $null_path ]] || null_path=/dev/nullb$(<"$directory/index")
	[[ -b $null_path ]] || die "no device for $directory"
	echo "$scheduler" >"/sys/block/${null_path##*/}/queue/scheduler"
	# what is written for the first time is allocated: not what is to be measured
	dd if=/dev/zero of="$null_path" bs=1M count="$mib" oflag=direct status=none
}

# device_create KIND ORIGIN-MIB STORE-MIB: leaves
#   origins       the device that is protected
#   store         where old contents go
#   many_origins  for the cut over many: small ones of the same kind
#   settle        seconds after which everything put off is done
device_create() {
	local kind=$1 origin_mib=$2 store_mib=$3 number
	local slow=(mq-deadline irqmode=2 completion_nsec=5000000 hw_queue_depth=1)
	origins=() many_origins=() settle=1
	case $kind in
	ssd)
		create_pair none irqmode=2 completion_nsec=100000 hw_queue_depth=128
		for ((number = 0; number < many_count; number++)); do
			null_create "bench-many$number" "$many_mib" none irqmode=2 completion_nsec=100000 hw_queue_depth=128
			many_origins+=("$null_path")
		done
		;;
	code) create_pair none irqmode=0 hw_queue_depth=128 ;;
	disk)
		settle=10
		create_pair "${slow[@]}"
		;;
	disk-shared)
		settle=10
		null_create bench-disk $((origin_mib + store_mib)) "${slow[@]}"
		addpart "$null_path" 1 0 $((origin_mib * 2048))
		addpart "$null_path" 2 $((origin_mib * 2048)) $((store_mib * 2048))
		# sda1, but nullb0p1
		[[ $null_path != *[0-9] ]] || null_path+=p
		origins=("${null_path}1")
		store=${null_path}2
		;;
	esac
}

create_pair() {
	null_create bench-origin "$origin_mib" "$@"
	origins=("$null_path")
	null_create bench-store "$store_mib" "$@"
	store=$null_path
}

device_remove() {
	local name
	for name in ${device_made[@]+"${device_made[@]}"}; do
		echo 0 >"$null_blk/$name/power"
		rmdir "$null_blk/$name"
	done
	device_made=()
}
