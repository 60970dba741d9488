#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# group: rollback
# about: origins put back to what their images show
# kernels: 6.1
# disks: 64M 96M 32M
# memory: 1G
# cpus: 1
# timeout: 1800
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../snapshots.sh"
. "$(dirname "$0")/../commands.sh"

disk=${disks[0]} store=${disks[1]} small=${disks[2]}
data=/dev/mapper/data

newest() { echo "$(field origins generation "$1"):$(field origins change_number "$1")"; }

# write_at OFFSET LENGTH [DEVICE]: random data, in KiB
write_at() {
	dd if=/dev/urandom of="${3:-$data}" bs=4k seek="$(($1 * 1024))" count="$(($2 / 4))" oflag=seek_bytes,direct \
		status=none
}

# scattered DEVICE SIZE: written all over, in pieces of 4 to 64 KiB
scattered() {
	fio --name=scattered --filename="$1" --rw=randwrite --bsrange=4k-64k --size="$2" --io_size="$((${2%M} / 4))M" \
		--direct=1 --ioengine=libaio --iodepth=8 --randrepeat=0 --refill_buffers >/dev/null
}

rolled_back() { diffsnap rollback -y "$@"; }

own_directory() {
	rm -rf /run/work
	mkdir /run/work
	cd /run/work
	"$1"
}

# ---- what is restored

# A file system that was changed in every way is what it was, and once more after that.
file_system() {
	local round used
	attached "$disk" -n data
	mkfs.ext4 -q $data
	mounted $data /run/data
	random_file /run/data/old 9000000
	mkdir /run/data/many
	for round in $(seq 100); do echo "$round" >"/run/data/many/$round"; done
	(cd /run/data && find . -type f -exec sha256sum {} +) >sums
	umount /run/data
	copy_of $data cut
	snapshot one -s "$store" data
	for round in 1 2; do
		mount $data /run/data
		rm -r /run/data/many
		random_file /run/data/new 12000000
		dd if=/dev/urandom of=/run/data/old bs=4k count=100 seek=500 conv=notrunc status=none
		fstrim /run/data
		refused 5 'mounted on /run/data' diffsnap rollback -y one
		umount /run/data
		if same_as_file $data cut; then fail "nothing was changed"; fi
		same_as_file /dev/diffsnap/one/data cut
		used=$(field list used one)
		if [[ $round -eq 1 ]]; then
			rolled_back one --verify
			assert_eq "$used" "$(field list used one)" "used by the rollback"
			same_as_file /dev/diffsnap/one/data cut
		else
			rolled_back one --remove
			says_nothing snapshot_names
		fi
		same_as_file $data cut
	done
	# through the cache, too
	cmp $data cut
	e2fsck -fn $data
	mount $data /run/data
	(cd /run/data && sha256sum --quiet -c "$OLDPWD/sums")
}

# Whatever the chunk, what differs is in the store already, and a full one is no obstacle.
full_store() {
	local chunk used
	attached "$disk" -n data --tracking-block 1m
	for chunk in 4k 64k 1m; do
		random_file random $((64 << 20))
		dd if=random of=$data bs=1M oflag=direct status=none
		snapshot one -s "$store:1m+18m" --chunk "$chunk" data
		write_at 0 $((12 << 10))
		write_at $((20 << 10)) 4
		write_at $((21 << 10)) 8
		write_at $((23 << 10)) 4
		used=$(field list used one)
		rolled_back one
		assert_eq "$used" "$(field list used one)" "used with chunks of $chunk"
		assert_eq active "$(field list state one)"
		same_as_file $data random
		diffsnap remove -q one
	done
}

two_origins() {
	make_vg vg "$small" more 24M
	on_exit detach_if_attached vg-more
	attached "$disk" -n data
	diffsnap attach -q /dev/vg/more
	scattered $data 64M
	scattered /dev/vg/more 24M
	copy_of $data cut.data
	copy_of /dev/vg/more cut.more
	snapshot one -s "$store" data /dev/vg/more
	scattered $data 64M
	scattered /dev/vg/more 24M
	copy_of $data now.data
	# one origin alone
	rolled_back one/vg-more
	same_as_file /dev/vg/more cut.more
	same_as_file $data now.data
	scattered /dev/vg/more 24M
	copy_of /dev/vg/more now.more
	# in use is one, and neither is changed
	exec 7</dev/vg/more
	refused 5 '"vg-more": somebody has it open' diffsnap rollback -y one
	exec 7<&-
	same_as_file $data now.data
	same_as_file /dev/vg/more now.more
	assert_match 'rolled back' "$(rolled_back one)"
	same_as_file $data cut.data
	same_as_file /dev/vg/more cut.more
	same_as_file /dev/diffsnap/one/data cut.data
	same_as_file /dev/diffsnap/one/vg-more cut.more
	# nothing is left to do
	assert_match ' 0 .*of' "$(rolled_back one)"
}

# The end is less than a page; what was added behind it stays.
odd_size() {
	add_device data "0 65533 diffsnap-origin $disk"
	scattered $data 31M
	copy_of $data cut
	snapshot one -s "$store" data
	dd if=/dev/urandom of=$data bs=512 seek=65500 count=33 oflag=direct status=none
	rolled_back one --verify
	same_as_file $data cut
	dd if=/dev/urandom of=$data bs=512 seek=65532 count=1 oflag=direct status=none
	reload_device data "0 131072 diffsnap-origin $disk"
	dd if=/dev/urandom of=$data bs=512 seek=65530 count=100 oflag=direct status=none
	copy_of $data now
	rolled_back one --verify
	copy_of $data back
	cmp cut <(head -c $((65533 * 512)) back)
	cmp <(tail -c +$((65533 * 512 + 1)) now) <(tail -c +$((65533 * 512 + 1)) back)
}

# What was written to the image comes along, and what was released does not without being asked for.
changed_image() {
	attached "$disk" -n data
	scattered $data 64M
	snapshot one -s "$store" data
	scattered $data 64M
	write_at 1000 64 /dev/diffsnap/one/data
	write_at $((40 << 10)) 4 /dev/diffsnap/one/data
	copy_of /dev/diffsnap/one/data image
	assert_match 'was written to' "$(rolled_back one 2>&1)"
	same_as_file $data image
	write_at 2048 1024
	diffsnap release one/data 2m+512k
	refused 5 'were released' diffsnap rollback -y one
	rolled_back one -f --verify
	copy_of /dev/diffsnap/one/data image
	same_as_file $data image
	shows $data '\0' 2048 512
}

# The tracker knows what the rollback wrote: backups from before and after it are right.
backups() {
	local first second
	attached "$disk" -n data
	scattered $data 64M
	snapshot one -s "$store" data
	first=$(newest data)
	diffsnap send -q one/data >full
	diffsnap receive -q backup <full
	diffsnap receive -q other <full
	diffsnap remove -q one
	write_at 4096 512
	snapshot two -s "$store" data
	second=$(newest data)
	diffsnap send -q two/data --since "$first" | diffsnap receive -q backup
	write_at 0 256
	write_at 4096 1024
	rolled_back two
	same_as_file $data backup
	write_at 8192 64
	# what is written after the cut is none of the snapshot's business
	same_as_file /dev/diffsnap/two/data backup
	diffsnap remove -q two
	snapshot three -s "$store" data
	diffsnap send -q three/data --since "$second" | diffsnap receive -q backup
	same_as_file /dev/diffsnap/three/data backup
	diffsnap send -q three/data --since "$first" | diffsnap receive -q other
	same_as_file /dev/diffsnap/three/data other
}

# ---- what is refused, and broken off

refusals() {
	attached "$disk" -n data
	mkfs.ext4 -q $data
	copy_of $data cut
	snapshot one -s "$store" data
	write_at $((32 << 10)) 64
	copy_of $data now
	refused 5 'no such|no snapshot' diffsnap rollback -y two
	refused 5 'no such image' diffsnap rollback -y one/other
	refused 3 'SNAPSHOT/ORIGIN' diffsnap rollback -y one/
	refused 3 'one origin' diffsnap rollback -y one/data --remove
	refused 5 'nobody to be asked' diffsnap rollback one
	diffsnap rollback -t one
	# users of the origin
	mounted $data /run/data ro
	refused 5 'origin "data": it is mounted on /run/data' diffsnap rollback -y one
	umount /run/data
	exec 7<$data
	refused 5 'origin "data": somebody has it open' diffsnap rollback -y one
	exec 7<&-
	add_device above "0 2048 linear $data 0"
	refused 5 'origin "data": the device dm-[0-9]+ lies on it' diffsnap rollback -y one
	remove_device above
	# and of the image
	mounted /dev/diffsnap/one/data /run/image ro,noload
	refused 5 'image "one/data": it is mounted on /run/image' diffsnap rollback -y one
	umount /run/image
	same_as_file $data now
	# asked on a terminal
	expect_fail 5 'not yes' script -qec 'diffsnap rollback one' /dev/null <<<n
	same_as_file $data now
	assert_match 'rolled back' "$(script -qec 'diffsnap rollback one' /dev/null <<<y)"
	same_as_file $data cut
}

swap_space() {
	attached "$disk" -n data
	mkswap -q $data
	snapshot one -s "$store" data
	swapon $data
	on_exit swap_off_if_on
	refused 5 'origin "data": it is used as swap space' diffsnap rollback -y one
	swapoff $data
	rolled_back one
}

swap_off_if_on() { ! grep -q ^/dev /proc/swaps || swapoff $data; }

given_up() {
	attached "$disk" -n data
	scattered $data 64M
	snapshot one -s "$store:1m+4m" data
	dd if=/dev/urandom of=$data bs=1M count=20 oflag=direct status=none
	assert_eq overflow "$(field list state one)"
	copy_of $data now
	refused 5 'given up' diffsnap rollback -y one
	refused 5 'given up' diffsnap rollback -y -f one/data
	same_as_file $data now
}

# slowed MILLISECONDS: for each write to the disk below the origin
slowed() {
	dmsetup load slow-diffsnap --table "0 $(size_of "$disk") delay $disk 0 0 $disk 0 $1"
	dmsetup suspend slow-diffsnap
	dmsetup resume slow-diffsnap
}

# on_slow_disk: an origin "slow", everything in it overwritten since the snapshot "one"
on_slow_disk() {
	modprobe dm-delay
	add_device slow "0 $(size_of "$disk") delay $disk 0 0 $disk 0 0"
	on_exit detach_if_attached slow
	diffsnap attach -q /dev/mapper/slow
	scattered /dev/mapper/slow 64M
	copy_of /dev/mapper/slow cut
	snapshot one -s "$store" slow
	scattered /dev/mapper/slow 64M
	copy_of /dev/mapper/slow now
}

# A rollback to the slow disk is under way: its number in pid, what it says in the file "said".
begun() {
	slowed 100
	diffsnap rollback -y one &>said &
	pid=$!
	on_exit end_process "$pid"
	wait_until 120 image_is_locked
	sleep 3
}

end_process() {
	[[ -d /proc/$1 ]] || return 0
	kill -KILL "$1"
	slowed 0
	wait "$1" || [[ $? -eq 137 ]]
}

image_is_locked() { ! flock --shared --nonblock /dev/mapper/diffsnap-one-slow true; }

# Killed on the way, the origin is neither the one nor the other, and the next run completes it.
killed() {
	local pid status=0
	on_slow_disk
	begun
	# nobody else may have it meanwhile
	expect_fail 32 'busy|mounted' mount -t ext4 /dev/mapper/slow /mnt
	expect_fail 5 'somebody' diffsnap rollback -y one
	expect_fail 5 'in use|busy' diffsnap remove one
	kill -KILL "$pid"
	wait "$pid" || status=$?
	assert_eq 137 $status "status of what was killed"
	if same_as_file /dev/mapper/slow cut; then fail "it was completed"; fi
	if same_as_file /dev/mapper/slow now; then fail "nothing was written"; fi
	same_as_file /dev/diffsnap/one/slow cut
	slowed 0
	rolled_back one --verify
	same_as_file /dev/mapper/slow cut
	same_as_file /dev/diffsnap/one/slow cut
	diffsnap remove -q one
	diffsnap detach -q slow
}

# What is released reads as zeroes, and those would be written to the origin.
released_meanwhile() {
	local pid status=0
	on_slow_disk
	begun
	expect_fail 5 'as a rollback does' diffsnap release one/slow 0+64m
	expect_fail 5 'as a rollback does' sent_and_released
	slowed 0
	wait "$pid"
	same_as_file /dev/mapper/slow cut
	same_as_file /dev/diffsnap/one/slow cut
	# who does not ask is noticed
	scattered /dev/mapper/slow 64M
	begun
	blkdiscard -f -o $((60 << 20)) -l $((4 << 20)) /dev/mapper/diffsnap-one-slow
	slowed 0
	wait "$pid" || status=$?
	assert_eq 5 $status "status with ranges released"
	assert_match 'released' "$(<said)"
	assert_match 'rolled back in part' "$(<said)"
	diffsnap remove -q one
	diffsnap detach -q slow
}

sent_and_released() { diffsnap send one/slow --release >/dev/null; }

# The store fails on the way: that is told, with what it means.
broken_off() {
	add_device shaky "0 $(size_of "$store") linear $store 0"
	attached "$disk" -n data
	scattered $data 64M
	snapshot one -s /dev/mapper/shaky data
	scattered $data 64M
	# from now on the store is only read
	wait_until 60 has_word diffsnap-one 4 0
	dmsetup suspend --nolockfs shaky
	dmsetup load shaky --table "0 $(size_of "$store") error"
	dmsetup resume shaky
	expect_fail 5 'rolled back in part' diffsnap rollback -y one
	diffsnap remove -q one
}

# real_table NAME TABLE...: of what lies below the origin
real_table() {
	dmsetup load "$1-diffsnap" --table "${*:2}"
	dmsetup suspend --nolockfs "$1-diffsnap"
	dmsetup resume "$1-diffsnap"
}

# The second of three origins cannot be read: what became of each is told, and the next
# run completes all of them.
broken_off_between() {
	local n sectors=32768
	for n in 1 2 3; do
		add_device "part$n" "0 $sectors linear $disk $((n * sectors))"
		on_exit detach_if_attached "part$n"
		diffsnap attach -q "/dev/mapper/part$n"
		scattered "/dev/mapper/part$n" 16M
		copy_of "/dev/mapper/part$n" "cut$n"
	done
	snapshot one -s "$store" part1 part2 part3
	for n in 1 2 3; do
		scattered "/dev/mapper/part$n" 16M
		copy_of "/dev/mapper/part$n" "now$n"
	done
	real_table part2 "0 $sectors error"
	expect_fail 5 '"part2" may be rolled back in part.*Rolled back: the origin "part1"\. Not touched: the origin "part3"\.' \
		diffsnap rollback -y one
	same_as_file /dev/mapper/part1 cut1
	same_as_file /dev/mapper/part3 now3
	real_table part2 "0 $sectors linear $disk $((2 * sectors))"
	rolled_back one --verify
	for n in 1 2 3; do same_as_file "/dev/mapper/part$n" "cut$n"; done
	diffsnap remove -q one
	for n in 1 2 3; do diffsnap detach -q "part$n"; done
}

test_case file-system own_directory file_system
test_case full-store own_directory full_store
test_case two-origins own_directory two_origins
test_case odd-size own_directory odd_size
test_case changed-image own_directory changed_image
test_case backups own_directory backups
test_case refusals own_directory refusals
test_case swap-space own_directory swap_space
test_case given-up own_directory given_up
test_case killed own_directory killed
test_case released-meanwhile own_directory released_meanwhile
test_case broken-off own_directory broken_off
test_case broken-off-between own_directory broken_off_between
