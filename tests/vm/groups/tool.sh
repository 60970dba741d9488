#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# group: tool
# about: the commands on real devices
# kernels: 6.1
# disks: 96M 64M 128M 64M
# memory: 1G
# cpus: 1
# timeout: 2400
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../snapshots.sh"
. "$(dirname "$0")/../commands.sh"

lv_disk=${disks[0]} plain=${disks[1]} store=${disks[2]} more=${disks[3]}
lv=/dev/vg/data

# A file system on an LV, and one on a plain disk that is attached as "plain".
two_file_systems() {
	make_vg vg "$lv_disk" data 48M
	ext4_on $lv /run/lv
	attached "$plain" -n plain
	ext4_on /dev/mapper/plain /run/plain
	on_exit detach_if_attached vg-data
	random_file /run/lv/old 6000000
	random_file /run/plain/old 5000000
	(cd /run/lv && sha256sum old) >/run/sum.lv
	(cd /run/plain && sha256sum old) >/run/sum.plain
}

# ---- attach, detach

# verify_load DIRECTORY STOP: until that file is there, or something was read that was not written
verify_load() {
	rm -f "$2"
	while [[ ! -e $2 ]]; do
		fio --name=verify --directory="$1" --size=4M --rw=randwrite --bsrange=512-64k --direct=1 --ioengine=libaio \
			--iodepth=8 --verify=crc32c --verify_backlog=64 --verify_fatal=1 || return
	done
}

live_attach() {
	local table links device fio round
	make_vg vg "$lv_disk" data 48M
	ext4_on $lv /run/lv
	random_file /run/lv/old 3000000
	sha256sum /run/lv/old >/run/sum
	udevadm settle
	table=$(dmsetup table vg-data)
	links=$(udevadm info -q symlink $lv | xargs -n 1 | sort)
	device=$(dmsetup info -c --noheadings -o uuid,major,minor vg-data) mount=$(grep /run/lv /proc/self/mountinfo)
	verify_load /run/lv /run/stop >/run/fio &
	fio=$!
	on_exit detach_if_attached vg-data
	sleep 1
	for round in 1 2 3; do
		assert_eq /dev/mapper/vg-data "$(diffsnap attach $lv)" "round $round: attach"
		assert_match ' diffsnap-origin ' "$(dmsetup table vg-data)"
		assert_match ' linear ' "$(dmsetup table vg-data-diffsnap)"
		assert_eq "$device" "$(dmsetup info -c --noheadings -o uuid,major,minor vg-data)" "name and UUID"
		sleep 1
		udevadm settle
		assert_eq "$links" "$(udevadm info -q symlink $lv | xargs -n 1 | sort)" links
		diffsnap detach $lv
		assert_eq "$table" "$(dmsetup table vg-data)" "the table"
		if dmsetup info vg-data-diffsnap >/dev/null 2>&1; then fail "the real device is left"; fi
	done
	touch /run/stop
	wait $fio || fail "fio: $(</run/fio)"
	assert_eq "$mount" "$(grep /run/lv /proc/self/mountinfo)" "the mount"
	sha256sum -c /run/sum
	umount /run/lv
	e2fsck -fn $lv
}

by_uuid() { dmsetup info -c --noheadings -o name "$(readlink -f "/dev/disk/by-uuid/$1")" 2>/dev/null || readlink -f "/dev/disk/by-uuid/$1"; }

plain_attach() {
	local uuid=0d5eca5e-0000-4000-8000-00000000000a
	mkfs.ext4 -q -U $uuid "$plain"
	udevadm settle
	assert_eq "$plain" "$(by_uuid $uuid)" "by-uuid before"
	assert_eq /dev/mapper/plain "$(diffsnap attach "$plain" -n plain 2>/dev/null)" stdout
	on_exit detach_if_attached plain
	udevadm settle
	assert_eq plain "$(by_uuid $uuid)" "by-uuid"
	mounted "UUID=$uuid" /run/plain
	assert_eq /dev/mapper/plain "$(findmnt -no SOURCE /run/plain)" "what is mounted"
	random_file /run/plain/file 1000000
	refused 5 'mounted' diffsnap detach plain
	umount /run/plain
	refused 5 'attached already, as "plain"' diffsnap attach "$plain"
	refused 5 'attached already, as "plain"' diffsnap attach /dev/mapper/plain
	exec 7</dev/mapper/plain
	refused 5 'in use' diffsnap detach plain
	exec 7<&-
	udevadm settle
	diffsnap detach "$plain"
	udevadm settle
	assert_eq "$plain" "$(by_uuid $uuid)" "by-uuid after"
	assert_eq "/dev/mapper/${plain##*/}" "$(diffsnap attach -q UUID=$uuid)" "by UUID, with the kernel's name"
	diffsnap detach "${plain##*/}"
	refused 5 'not attached' diffsnap detach "$plain"
}

attach_refusals() {
	make_vg vg "$lv_disk" data 16M
	mkfs.ext4 -q "$plain"
	mounted "$plain" /run/plain
	refused 5 'mounted' diffsnap attach "$plain"
	refused 5 'in use' diffsnap attach "$lv_disk"
	umount /run/plain
	refused 5 'cannot' diffsnap attach /dev/no-such-device
	refused 5 'vg-data' diffsnap attach "$plain" -n vg-data
	refused 5 'keeps its name' diffsnap attach $lv -n other
	refused 3 'name' diffsnap attach "$plain" -n 'a/b'
	refused 3 'name' diffsnap attach "$plain" -n -x
	# a target with state of its own
	dmsetup create mirror --table "0 8192 mirror core 1 1024 2 $more 0 $more 8192"
	on_exit dmsetup remove mirror
	refused 5 'target "mirror"' diffsnap attach /dev/mapper/mirror
	dmsetup create loaded --table "0 8192 linear $more 32768"
	on_exit dmsetup remove loaded
	dmsetup load loaded --table '0 8192 zero'
	refused 5 'another table is loaded' diffsnap attach /dev/mapper/loaded
	dmsetup clear loaded
	dmsetup suspend loaded
	expect_fail 5 'suspended' diffsnap attach /dev/mapper/loaded
	dmsetup resume loaded
}

zoned_device() {
	modprobe null_blk nr_devices=1 zoned=1 gb=1 zone_size=64
	on_exit rmmod null_blk
	udevadm settle
	refused 5 'zoned' diffsnap attach /dev/nullb0
	refused 5 'zoned' diffsnap attach -t /dev/nullb0
}

# ---- snapshots

several_origins() {
	local path name
	two_file_systems
	random_file /run/raw 8388608
	attached "$more" -n raw
	dd if=/run/raw of=/dev/mapper/raw bs=1M oflag=direct status=none
	start_load /run/lv
	snapshot daily -v -s "$store" /run/lv plain "$more" >/run/said 2>&1
	cat /run/said
	assert_match 'frozen for [0-9.]+ ms' "$(</run/said)"
	assert_match 'held for [0-9.]+ ms' "$(</run/said)"
	assert_match 'Snapshot "daily" created\.' "$(</run/said)"
	# attached on the way, and in use all the time
	assert_eq held "$(field origins state vg-data)"
	for name in lv plain; do
		dd if=/dev/urandom of=/run/$name/old bs=64k count=60 conv=notrunc,fsync status=none
		echo new >/run/$name/new
	done
	dd if=/dev/urandom of=/dev/mapper/raw bs=1M count=6 seek=2 oflag=direct status=none
	diffsnap images --noheadings -o path | tr -d ' ' | sort >/run/paths
	assert_eq "/dev/diffsnap/daily/plain /dev/diffsnap/daily/raw /dev/diffsnap/daily/vg-data" "$(xargs </run/paths)"
	cmp -n 8388608 /dev/diffsnap/daily/raw /run/raw
	if cmp -n 8388608 /dev/mapper/raw /run/raw; then fail "the origin has not changed"; fi
	mounted /dev/diffsnap/daily/vg-data /run/image-lv
	mounted /dev/diffsnap/daily/plain /run/image-plain
	for name in lv plain; do
		(cd /run/image-$name && sha256sum -c /run/sum.$name)
		[[ ! -e /run/image-$name/new ]]
		if (cd /run/$name && sha256sum --quiet -c /run/sum.$name); then fail "the origin has not changed"; fi
		# writable, and nobody else's
		echo image >/run/image-$name/new
		sync -f /run/image-$name/new
		assert_eq new "$(</run/$name/new)"
	done
	umount /run/image-lv /run/image-plain
	stop_load
	diffsnap remove daily
	[[ ! -e /dev/diffsnap/daily ]]
	assert_eq idle "$(field origins state vg-data)"
}

reports() {
	two_file_systems
	snapshot daily -s "$store:1m+32m" plain $lv
	snapshot_of_more
	diffsnap list | tee /run/list
	assert_match '^ *Snapshot +UUID +Age +State +Size +Used +Use% +Origins' "$(head -n 1 /run/list)"
	assert_match 'daily +[0-9a-f]{32} +[0-9ms]+ +active +32\.00m +' "$(</run/list)"
	assert_eq 'daily second' "$(snapshot_names | xargs)"
	diffsnap list --reportformat json -o all >/run/json
	assert_eq 'daily second' "$(jq -r '.report[0].snapshot[].name' /run/json | xargs)"
	assert_eq 'active' "$(jq -r '.report[0].snapshot[] | select(.name == "daily").state' /run/json)"
	assert_match '^[0-9a-f]{32}$' "$(jq -r '.report[0].snapshot[0].uuid' /run/json)"
	assert_eq 'plain vg-data' "$(jq -r '.report[0].snapshot[0].origins' /run/json | tr , '\n' | sort | xargs)"
	diffsnap images | tee /run/images
	assert_match 'daily +plain +/dev/diffsnap/daily/plain +64\.00m' "$(</run/images)"
	diffsnap images daily --reportformat json >/run/json
	assert_eq '/dev/diffsnap/daily/plain /dev/diffsnap/daily/vg-data' \
		"$(jq -r '.report[0].image[].path' /run/json | sort | xargs)"
	for path in $(jq -r '.report[0].image[].path' /run/json); do [[ -b $path ]]; done
	diffsnap origins | tee /run/origins
	assert_match 'raw +/dev/mapper/raw +64\.00m +'"$more"' +4\.00k +64\.00k +[0-9a-f-]{36} +1 +second +held' "$(</run/origins)"
	diffsnap origins --reportformat json -o name,real_device,stacking,snapshot >/run/json
	assert_eq 'vg-data live daily' \
		"$(jq -r '.report[0].origin[] | select(.name == "vg-data") | .name, .stacking, .snapshot' /run/json | xargs)"
	assert_eq plain "$(diffsnap origins --noheadings -o name "$plain" | tr -d ' ')" "an origin by the device below"
	assert_eq $((64 << 20)) "$(field origins size plain)"
	assert_eq "DIFFSNAP_NAME='daily'" "$(diffsnap list daily --nameprefixes -o name | tr -d ' ')"
	assert_eq daily "$(diffsnap list --noheadings -o name -S 'origins=plain' | tr -d ' ')" selection
	assert_match 'second.*daily' "$(diffsnap list --noheadings -o name -O -name | xargs)" "order"
	# nothing there is no error
	diffsnap remove daily second
	assert_eq '' "$(diffsnap list --noheadings)"
	assert_eq 0 "$(diffsnap list --reportformat json | jq '.report[0].snapshot | length')"
}

snapshot_of_more() {
	attached "$more" -n raw
	snapshot second -s "$store:40m+16m" raw
}

# A file system that somebody froze before stays so, its device can be attached and
# detached, and its image is exact.
frozen_before() {
	two_file_systems
	start_load /run/plain
	fsfreeze -f /run/lv
	on_exit thaw_if_frozen /run/lv
	diffsnap attach -q $lv
	copy_of $lv /run/copy
	snapshot daily -s "$store" $lv plain
	expect_fail 1 'busy' fsfreeze -f /run/lv
	same_as_file /dev/diffsnap/daily/vg-data /run/copy
	diffsnap remove -q daily
	diffsnap detach -q $lv
	expect_fail 1 'busy' fsfreeze -f /run/lv
	diffsnap attach -q $lv
	snapshot daily -s "$store" $lv plain
	fsfreeze -u /run/lv
	timeout 10 dd if=/dev/urandom of=/run/lv/old bs=64k count=60 conv=notrunc,fsync status=none
	same_as_file /dev/diffsnap/daily/vg-data /run/copy
	# the other one was frozen and thawed by the tool
	timeout 10 dd if=/dev/zero of=/run/plain/file bs=4k count=1 conv=fsync status=none
}

# Frozen or not before, it is thawed then.
thaw_if_frozen() {
	fsfreeze -f "$1" || echo "frozen still"
	fsfreeze -u "$1"
}

extend_while_held() {
	local loop
	attached "$more" -n raw
	random_file /run/raw $((40 << 20))
	dd if=/run/raw of=/dev/mapper/raw bs=1M oflag=direct status=none
	snapshot daily -s "$store:1m+16m" raw
	dd if=/dev/zero of=/dev/mapper/raw bs=1M count=12 oflag=direct status=none
	diffsnap extend daily -s "$store:64m+8m"
	assert_eq $((24 << 20)) "$(field list size daily)"
	dd if=/dev/zero of=/dev/mapper/raw bs=1M seek=12 count=9 oflag=direct status=none &
	diffsnap extend daily -s "$store:17m+24m" -L +20m
	diffsnap extend daily -s "$plain" -L 48m
	wait $!
	dd if=/dev/zero of=/dev/mapper/raw bs=1M seek=21 count=19 oflag=direct status=none
	assert_eq $((48 << 20)) "$(field list size daily)"
	assert_eq active "$(field list state daily)"
	cmp -n $((40 << 20)) /dev/diffsnap/daily/raw /run/raw
	refused 5 'has 48.* already' diffsnap extend daily -s "$store:80m+8m" -L 48m
	refused 5 'a snapshot uses' diffsnap extend daily -s "$store:60m+8m" -f
	refused 5 'no snapshot' diffsnap extend nightly -s "$store:80m+8m"
	refused 3 'no store' diffsnap extend daily -L +1g
	# the kernel would not start the store again
	truncate -s 16M /run/large-blocks
	on_exit rm /run/large-blocks
	modprobe loop
	loop=$(losetup -f --show -b 4096 /run/large-blocks)
	on_exit losetup -d "$loop"
	refused 5 'has blocks of 4096 bytes' diffsnap extend daily -s "$loop"
	cmp -n $((40 << 20)) /dev/diffsnap/daily/raw /run/raw
	diffsnap remove daily
	udevadm settle
}

release_ranges() {
	local used
	attached "$more" -n raw
	random_file /run/raw $((16 << 20))
	dd if=/run/raw of=/dev/mapper/raw bs=1M oflag=direct status=none
	snapshot daily -s "$store" raw
	dd if=/dev/zero of=/dev/mapper/raw bs=1M count=8 oflag=direct status=none
	cmp -n $((16 << 20)) /dev/diffsnap/daily/raw /run/raw
	used=$(field list used daily)
	at_least $((8 << 20)) "$used" "used before"
	# preserved, and not preserved; the second one is rounded inwards to chunks
	diffsnap release daily/raw 0+4m 12m+1m $(((14 << 20) + 512))+8704
	cmp -n $((4 << 20)) /dev/diffsnap/daily/raw /dev/zero
	cmp -n $((1 << 20)) -i $((12 << 20)):0 /dev/diffsnap/daily/raw /dev/zero
	cmp -n $((8 << 20)) -i $((4 << 20)) /dev/diffsnap/daily/raw /run/raw
	cmp -n 4096 -i $((14 << 20)) /dev/diffsnap/daily/raw /run/raw
	cmp -n 4096 -i $(((14 << 20) + 4096)):0 /dev/diffsnap/daily/raw /dev/zero
	cmp -n 4096 -i $(((14 << 20) + 8192)) /dev/diffsnap/daily/raw /run/raw
	assert_eq $(((5 << 20) + 4096)) "$(field images released daily)" released
	[[ $(field list used daily) -le $((used - (4 << 20))) ]] || fail "used: $(field list used daily) after, $used before"
	# writes there cost nothing any more
	dd if=/run/raw of=/dev/mapper/raw bs=1M count=1 seek=12 oflag=direct status=none
	cmp -n $((1 << 20)) -i $((12 << 20)):0 /dev/diffsnap/daily/raw /dev/zero
	refused 5 'beyond its end' diffsnap release daily/raw 63m+2m
	refused 5 'no such image' diffsnap release daily/other 0+1m
	refused 5 'no such image' diffsnap release nightly/raw 0+1m
	refused 3 'SNAPSHOT/ORIGIN' diffsnap release daily 0+1m
	refused 3 'OFFSET\+LENGTH' diffsnap release daily/raw 1m
	refused 3 'length is 0' diffsnap release daily/raw 1m+0
}

waiting() {
	local start waiter
	attached "$more" -n raw
	snapshot daily -s "$store:1m+16m" --low-water 8m raw
	start=$(now_ms)
	expect_fail 6 '^$' diffsnap wait daily --timeout 1200
	at_least 1200 $(($(now_ms) - start)) "milliseconds"
	expect_fail 6 '^$' diffsnap wait daily --timeout 0
	diffsnap wait daily --timeout 60000 >/run/event &
	waiter=$!
	sleep 0.5
	dd if=/dev/zero of=/dev/mapper/raw bs=1M count=10 oflag=direct status=none
	wait $waiter
	assert_match '^snapshot=daily event=1 state=low reason=- used=[0-9]+ size=16777216$' "$(</run/event)"
	diffsnap wait daily --timeout 60000 --format json >/run/event &
	waiter=$!
	sleep 0.5
	dd if=/dev/zero of=/dev/mapper/raw bs=1M seek=10 count=10 oflag=direct status=none
	wait $waiter
	assert_eq 'daily 2 overflow' "$(jq -r '.snapshot, .event, .state' /run/event | xargs)"
	assert_match '^store-full:' "$(jq -r .reason /run/event)"
	# one that was missed
	assert_match 'event=2 state=overflow' "$(diffsnap wait daily --event 1 --timeout 10)"
	expect_fail 6 '^$' diffsnap wait daily --event 2 --timeout 10
	diffsnap wait daily --timeout 60000 >/run/event 2>&1 &
	waiter=$!
	sleep 0.5
	diffsnap remove daily
	# the end is an event, if there is time to look at it
	if wait $waiter; then
		assert_match 'state=dropped' "$(</run/event)"
	else
		assert_match 'cannot wait' "$(</run/event)"
	fi
	refused 5 'no snapshot' diffsnap wait daily --timeout 10
	refused 3 'it is no number' diffsnap wait daily --timeout soon
}

# What a snapshot is made of, step by step, and in the wrong order.
made_in_steps() {
	two_file_systems
	diffsnap create -n daily -s "$store" --no-take
	on_exit remove_if_there daily
	assert_eq new "$(field list state daily)"
	refused 5 'it has no origins' diffsnap take daily
	refused 5 'no snapshot|no such' diffsnap add weekly plain
	refused 5 'no snapshot|no such' diffsnap take weekly
	refused 3 '' diffsnap add daily
	diffsnap add -t daily plain
	# attached for it, live; a command that clears up leaves it alone
	diffsnap add daily $lv
	assert_eq new "$(field list state daily)"
	assert_eq added "$(field origins state vg-data)"
	refused 5 'holds it' diffsnap add daily $lv
	refused 5 'holds it' diffsnap create -n other -s "$more" $lv
	diffsnap create -n other -s "$more" --no-take plain
	on_exit remove_if_there other
	refused 5 'the snapshot "other" holds it' diffsnap add daily plain
	diffsnap remove other
	diffsnap add daily plain
	diffsnap take -t daily
	assert_eq '' "$(dm_devices | grep -E '^diffsnap-daily-' || :)" "images before the cut"
	# the instant is that of the cut
	random_file /run/lv/later 1000000
	diffsnap take daily
	assert_eq active "$(field list state daily)"
	rm /run/lv/later /run/plain/old
	dd if=/dev/zero of=/run/lv/old bs=1M count=3 conv=notrunc,fsync status=none
	mounted /dev/diffsnap/daily/vg-data /run/image.lv ro,noload
	mounted /dev/diffsnap/daily/plain /run/image.plain ro,noload
	(cd /run/image.lv && sha256sum -c /run/sum.lv)
	(cd /run/image.plain && sha256sum -c /run/sum.plain)
	assert_eq 1000000 "$(stat -c %s /run/image.lv/later)"
	umount /run/image.lv /run/image.plain
	refused 5 'taken already' diffsnap take daily
	refused 5 'taken already' diffsnap add daily plain
	diffsnap remove daily
	is_clean plain vg-data vg-data-diffsnap
	# one that is never taken
	diffsnap create -q -n daily -s "$store" --no-take $lv
	diffsnap remove daily
	is_clean plain vg-data vg-data-diffsnap
}

removal() {
	two_file_systems
	# the file system on the image is cut off
	allow_kernel_log 'dm-[0-9]+'
	allow_kernel_log 'EXT4-fs'
	snapshot daily -s "$store" plain $lv
	mounted /dev/diffsnap/daily/plain /run/image
	refused 5 'mounted on /run/image' diffsnap remove daily
	umount /run/image
	exec 7</dev/diffsnap/daily/vg-data
	refused 5 'in use' diffsnap remove daily
	dd bs=4k count=1 of=/dev/null <&7 status=none
	diffsnap remove -f daily
	expect_fail 1 'Input/output error' dd bs=4k count=1 skip=100 iflag=direct of=/dev/null <&7
	exec 7<&-
	assert_eq '' "$(snapshot_names)"
	assert_eq 'plain vg-data' "$(origin_names | xargs)"
	wait_until 10 no_image
	# nothing else stayed, and both origins are free
	snapshot daily -s "$store" plain $lv
	mounted /dev/diffsnap/daily/plain /run/image
	diffsnap remove -f daily
	umount /run/image
	wait_until 10 no_image
	refused 5 'no snapshot' diffsnap remove daily
	snapshot one -s "$store:1m+8m" plain
	snapshot two -s "$store:9m+8m" $lv
	diffsnap remove one two
	assert_eq '' "$(snapshot_names)"
	timeout 10 dd if=/dev/zero of=/run/plain/file bs=4k count=1 conv=fsync status=none
}

# While its image is open, a snapshot that was removed by force has its name still.
unnamed() {
	attached "$more" -n raw
	diffsnap create -q -s "$store" raw
	on_exit remove_if_there snap0
	assert_eq snap0 "$(snapshot_names)"
	exec 7</dev/diffsnap/snap0/raw
	diffsnap remove -q -f snap0
	assert_match 'diffsnap-snap0-raw' "$(dm_devices)"
	diffsnap create -q -s "$store" raw
	on_exit remove_if_there snap1
	assert_eq snap1 "$(snapshot_names)"
	exec 7<&-
	wait_until 10 is_free_of snap0
	diffsnap remove -q snap1
	diffsnap create -q -s "$store" raw
	assert_eq snap0 "$(snapshot_names)"
}

is_free_of() { [[ ! $(dm_devices) =~ diffsnap-$1 ]]; }

no_image() { [[ ! $(dm_devices) =~ diffsnap-(daily|-data) ]]; }

# ---- what changes nothing

test_mode() {
	local before
	two_file_systems
	assert_eq /dev/mapper/vg-data "$(diffsnap attach -t $lv)"
	before=$(device_state)
	diffsnap create -t -n daily -s "$store" $lv plain
	diffsnap create -t -n daily -s "$store" plain
	dmsetup create diffsnap-daily-vg--data --notable
	expect_fail 5 'exists' diffsnap create -t -n daily -s "$store" $lv plain
	dmsetup remove diffsnap-daily-vg--data
	expect_fail 5 'mounted' diffsnap detach -t plain
	assert_eq "$before" "$(device_state)" "devices after create and attach"
	refused 5 'there is no|cannot' diffsnap create -t -n daily -s /dev/no-such-device plain
	refused 5 'lies on' diffsnap create -t -n daily -s "$plain" plain
	attached "$more" -n raw
	snapshot daily -s "$store:1m+16m" raw
	before=$(device_state)
	diffsnap extend -t daily -s "$store:20m+16m"
	diffsnap release -t daily/raw 0+1m
	diffsnap wait -t daily
	diffsnap remove -t daily
	assert_eq "$before" "$(device_state)" "devices"
	assert_eq 0 "$(field images released daily)"
	diffsnap remove daily
	before=$(device_state)
	diffsnap detach -t raw
	assert_eq "$before" "$(device_state)" "devices after detach"
}

bad_words() {
	local before
	attached "$more" -n raw
	before=$(device_state)
	expect_fail 2 'no such command' diffsnap frobnicate
	expect_fail 2 'no such command' diffsnap creat
	expect_fail 3 '' diffsnap
	expect_fail 3 'frobnicate' diffsnap create --frobnicate
	expect_fail 3 '' diffsnap create
	expect_fail 3 '' diffsnap list -x
	expect_fail 3 '' diffsnap version more
	expect_fail 3 '' diffsnap attach
	expect_fail 3 '' diffsnap attach "$plain" "$store"
	expect_fail 3 '' diffsnap remove
	expect_fail 3 '' diffsnap create -n
	expect_fail 3 'no store' diffsnap create -n daily raw
	expect_fail 3 'size "x"' diffsnap create -s "$store" -L x raw
	expect_fail 3 'size' diffsnap create -s "$store" -L 5q raw
	expect_fail 3 'size' diffsnap create -s "$store" -L 5GiBs raw
	expect_fail 3 'size' diffsnap create -s "$store" -L -1 raw
	expect_fail 3 'too large' diffsnap create -s "$store" -L 99999999999e raw
	expect_fail 3 'range' diffsnap create -s "$store:0+" raw
	expect_fail 3 'length is 0' diffsnap create -s "$store:0+0" raw
	expect_fail 3 'multiple of 512' diffsnap create -s "$store:100+1m" raw
	expect_fail 3 'chunk' diffsnap create -s "$store" --chunk 2k raw
	expect_fail 3 'chunk' diffsnap create -s "$store" --chunk 5k raw
	expect_fail 3 'chunk' diffsnap create -s "$store" --chunk 2m raw
	expect_fail 3 'buffer' diffsnap create -s "$store" --buffer 1m raw
	expect_fail 3 'on-full' diffsnap create -s "$store" --on-full panic raw
	expect_fail 3 'on-full' diffsnap create -s "$store" --on-full wait:-1 raw
	expect_fail 3 'on-full' diffsnap create -s "$store" --on-full wait:60001 raw
	expect_fail 3 'on-full' diffsnap create -t -s "$store" --on-full wait:60001 raw
	expect_fail 3 'tracking block of 64.00m' diffsnap attach -t --tracking-block 64 "$plain"
	expect_fail 3 'tracking block' diffsnap attach --tracking-block 32m "$plain"
	expect_fail 3 'name' diffsnap create -n 'a b' -s "$store" raw
	expect_fail 3 'name' diffsnap create -n ../x -s "$store" raw
	expect_fail 3 'name' diffsnap create -n '' -s "$store" raw
	expect_fail 3 'no more than 127' diffsnap create -n "$(printf 'a%.0s' {1..200})" -s "$store" raw
	expect_fail 3 'format' diffsnap list --reportformat xml
	expect_fail 3 'unit' diffsnap list --units q
	expect_fail 5 'no such snapshot' diffsnap list nightly
	expect_fail 5 'no such snapshot' diffsnap images nightly
	expect_fail 5 'no origin' diffsnap origins "$plain"
	assert_match 'Usage|usage' "$(diffsnap create --help)"
	diffsnap help >/dev/null
	diffsnap version
	assert_eq "$before" "$(device_state)" devices
}

# What is at the limit, the kernel takes.
largest_values() {
	attached "$more" -n raw --tracking-block 16m
	snapshot daily -s "$store" --chunk 1m --buffer 2m --on-full wait:60000 raw
	assert_match ' on_full wait:60000$' "$(dmsetup table diffsnap-daily)"
}

bad_stores() {
	local loop
	make_vg vg "$lv_disk" data 16M
	attached "$more" -n raw
	refused 5 'smaller than a chunk' diffsnap create -s "$store:0+4k" --chunk 8k raw
	refused 5 'beyond the end' diffsnap create -s "$store:0+1g" raw
	refused 5 'beyond the end' diffsnap create -s "$store:2g+1m" raw
	refused 5 'overlaps' diffsnap create -s "$store:0+8m" -s "$store:4m+8m" raw
	refused 5 'cannot' diffsnap create -s /dev/no-such-device raw
	refused 5 'cannot' diffsnap create -s /etc/passwd raw
	refused 5 'in use' diffsnap create -s "$lv_disk" raw
	refused 5 'lies on' diffsnap create -s /dev/mapper/raw raw
	refused 5 'lies on' diffsnap create -s "$more" -f raw
	# an LV is attached for the snapshot, and detached again if there will be none
	refused 5 'lies on' diffsnap create -s $lv raw $lv
	refused 5 'lies on' diffsnap create -f -s $lv $lv
	# the file of a loop device is an origin's node
	modprobe loop
	loop=$(losetup -f --show /dev/mapper/raw)
	on_exit losetup -d "$loop"
	refused 5 'lies on the origin "raw"' diffsnap create -f -s "$loop" $lv
	mkfs.ext4 -q "$plain"
	refused 5 'holds data \(ext4|holds data' diffsnap create -s "$plain" raw
	mounted "$plain" /run/plain
	refused 5 'mounted' diffsnap create -s "$plain" raw
	# neither is what is in use taken by force, nor its signature wiped
	refused 5 'mounted' diffsnap create -f -s "$plain" raw
	assert_eq ext4 "$(blkid -p -o value -s TYPE "$plain")"
	refused 5 'in use' diffsnap create -f -s "$lv_disk" raw
	refused 5 'uses' diffsnap create -f -s "$lv_disk:8m+52m" raw
	assert_eq LVM2_member "$(blkid -p -o value -s TYPE "$lv_disk")"
	# what no volume uses is
	snapshot daily -s "$lv_disk:52m+8m" -f raw
	diffsnap remove daily
	assert_eq LVM2_member "$(blkid -p -o value -s TYPE "$lv_disk")"
	umount /run/plain
	snapshot daily -s "$plain" -f raw
	assert_eq active "$(field list state daily)"
	refused 5 'snapshot uses|in use' diffsnap create -s "$plain" $lv
	refused 5 'snapshot uses' diffsnap create -f -s "$plain" $lv
	refused 5 'image of a snapshot' diffsnap create -f -s /dev/diffsnap/daily/raw $lv
}

# A store on a volume, and that volume to be an origin: its writes would be preserved.
store_to_be_origin() {
	make_vg vg "$lv_disk" data 24M
	refused 5 'lies on' diffsnap create -t -s $lv $lv
	attached "$more" -n raw
	snapshot daily -s $lv raw
	refused 5 'store of the snapshot "daily"' diffsnap attach $lv
	refused 5 'store of the snapshot "daily"' diffsnap create -n nightly -s "$store" $lv
	diffsnap remove daily
	# why another device cannot be one is said, too
	dmsetup create idle --table "0 8192 linear $plain 0"
	on_exit dmsetup remove idle
	dmsetup suspend idle
	refused 5 'cannot be made one: it is suspended' diffsnap create -s "$store" /dev/mapper/idle
	dmsetup resume idle
}

# The file of a loop device is on an origin, through a file system whose number is not its
# device's.
loop_store() {
	local loop
	make_vg vg "$lv_disk" data 16M
	attached "$more" -n raw
	mkfs.btrfs -q --mixed /dev/mapper/raw
	mounted /dev/mapper/raw /run/btrfs
	truncate -s 16M /run/btrfs/store
	modprobe loop
	loop=$(losetup -f --show /run/btrfs/store)
	on_exit losetup -d "$loop"
	refused 5 'lies on the origin "raw"' diffsnap create -f -s "$loop" $lv
	refused 5 'lies on the device' diffsnap create -f -s "$more" $lv
}

bad_origins() {
	make_vg vg "$lv_disk" data 16M
	attached "$more" -n raw
	refused 5 'given twice' diffsnap create -s "$store" raw /dev/mapper/raw
	refused 5 'given twice' diffsnap create -s "$store" raw "$more"
	refused 5 'no origin' diffsnap create -s "$store" "$plain"
	refused 5 'no origin' diffsnap create -s "$store" raw "$plain" $lv
	refused 5 'cannot' diffsnap create -s "$store" /dev/no-such-device
	refused 5 'cannot' diffsnap create -s "$store" /
	snapshot daily -s "$store:1m+16m" raw
	refused 5 '"daily" holds it' diffsnap create -n nightly -s "$store:20m+16m" raw
	# attached for it, and detached again
	refused 5 '"daily" holds it' diffsnap create -n nightly -s "$store:20m+16m" $lv raw
	refused 5 'of that name already' diffsnap create -n daily -s "$store:20m+16m" $lv
	refused 5 '"daily" holds it' diffsnap detach raw
	refused 5 'part of diffsnap|cannot' diffsnap attach /dev/diffsnap/daily/raw
	# the name is taken by somebody else's device
	dmsetup create diffsnap-weekly --table '0 8 zero'
	on_exit dmsetup remove diffsnap-weekly
	refused 5 'exists' diffsnap create -n weekly -s "$store:20m+16m" $lv
}

cannot_initialise() {
	# shellcheck disable=SC1091
	. "$share/settings"
	install -m 755 "$(command -v diffsnap)" /run/diffsnap-copy
	expect_fail 4 "root" setpriv --reuid 65534 --clear-groups /run/diffsnap-copy list
	expect_fail 4 "root" setpriv --reuid 65534 --clear-groups /run/diffsnap-copy create -s "$store" "$plain"
	rmmod dm_diffsnap
	on_exit insmod "${VM_MODULE:-/run/share/dm-diffsnap.ko}"
	refused 4 'modprobe dm-diffsnap' diffsnap attach "$plain"
	refused 4 'modprobe dm-diffsnap' diffsnap create -s "$store" "$plain"
	# there is nothing to report, and that is no error
	assert_eq '' "$(diffsnap list --noheadings)"
	diffsnap version
	diffsnap help >/dev/null
}

# ---- at the same time

two_creates() {
	local round pids status won
	make_vg vg "$lv_disk" data 48M
	ext4_on $lv /run/lv
	start_load /run/lv
	on_exit detach_if_attached vg-data
	for round in 1 2 3; do
		pids=() won=''
		diffsnap create -n one -s "$store" $lv >/run/said.one 2>&1 &
		pids+=("$!")
		diffsnap create -n two -s "$more" $lv >/run/said.two 2>&1 &
		pids+=("$!")
		for name in one two; do
			status=0
			wait "${pids[0]}" || status=$?
			pids=("${pids[@]:1}")
			if [[ $status -eq 0 ]]; then
				won+=$name
			else
				assert_eq 5 $status "status of $name"
				assert_match 'holds it' "$(</run/said.$name)" "what $name said"
			fi
		done
		assert_match '^(one|two)$' "$won" "round $round: winners"
		assert_eq "diffsnap--data-$won diffsnap-$won diffsnap-$won-vg--data vg-data vg-data-diffsnap" \
			"$(dm_devices | xargs)" "round $round"
		assert_eq "$won" "$(snapshot_names)"
		diffsnap remove "$won"
		diffsnap detach $lv
		assert_eq vg-data "$(dm_devices | xargs)"
	done
}

# ---- killed

kill_at=${DIFFSNAP_BUILD:-}/tests/vm/kill-at.so

# killed AT COMMAND...: it must be
killed() {
	local at=$1 status=0
	shift
	timeout 120 env LD_PRELOAD="$kill_at" KILL_AT="$at" "$@" || status=$?
	[[ $status -eq 137 ]] || fail "status $status instead of a kill at $at of: $*"
}

# count_calls MINIMUM COMMAND...: runs it to its end; what it called is in /run/calls, their number in total
count_calls() {
	local least=$1
	shift
	rm -f /run/calls
	env LD_PRELOAD="$kill_at" KILL_AT_LOG=/run/calls "$@"
	total=$(wc -l </run/calls)
	at_least "$least" "$total" "calls of $*"
}

# milliseconds_of_writes DIRECTORY...: sets took
milliseconds_of_writes() {
	local directory start
	start=$(now_ms)
	for directory in "$@"; do
		timeout 60 dd if=/dev/zero of="$directory/goes-on" bs=4k count=4 conv=fsync status=none ||
			fail "no write to $directory"
	done
	took=$(($(now_ms) - start))
}

# Nothing is held up for longer than the watchdog's 2 seconds, and what such writes take anyway, just now.
goes_on() {
	local took held
	milliseconds_of_writes "$@"
	held=$took
	milliseconds_of_writes "$@"
	[[ $held -lt $((2000 + 3 * took)) ]] || fail "writes took $held ms, and then $took ms"
	assert_eq '' "$(dmsetup info -c --noheadings -o name -S suspended=Suspended)" "suspended devices"
}

cookies() { ipcs -s | awk '/0x0d4d/ { n++ } END { print n + 0 }'; }

# is_clean DEVICE...: that and no more is there, and no semaphore
is_clean() {
	assert_eq "$*" "$(dm_devices | xargs)" devices
	assert_eq 0 "$(cookies)" "udev cookies"
}

# At each step N before it, or after it for the odd ones, until the command came to its end.
steps() {
	local n last=$1
	for ((n = 1; n <= last; n++)); do
		if [[ $((n % 2)) -eq 0 ]]; then echo $n; else echo after:$n; fi
	done
}

killed_create() {
	local at total said
	two_file_systems
	diffsnap attach -q $lv
	count_calls 15 diffsnap create -n daily -s "$store" $lv plain
	cat /run/calls
	assert_match 'freeze' "$(</run/calls)"
	assert_match 'thaw' "$(</run/calls)"
	diffsnap remove daily
	is_clean plain vg-data vg-data-diffsnap
	on_exit remove_if_there daily
	for at in $( (steps "$total" && awk '$2 == "freeze" || $2 == "thaw" { print "after:" $1; print $1 }' /run/calls) |
		sort -u); do
		killed "$at" diffsnap create -n daily -s "$store" $lv plain
		goes_on /run/lv /run/plain
		if ! said=$(diffsnap create -q -n daily -s "$store" $lv plain 2>&1); then
			# it had been cut already: that one is removed
			assert_match 'of that name already' "$said" "create after $at"
			diffsnap remove -q daily
			diffsnap create -q -n daily -s "$store" $lv plain
		fi
		[[ -b /dev/diffsnap/daily/plain && -b /dev/diffsnap/daily/vg-data ]]
		diffsnap remove -q daily
		is_clean plain vg-data vg-data-diffsnap
	done
	(cd /run/lv && sha256sum -c /run/sum.lv)
	(cd /run/plain && sha256sum -c /run/sum.plain)
}

# What was not cut when the take was killed can be taken.
killed_take() {
	local at total
	two_file_systems
	diffsnap attach -q $lv
	diffsnap create -q -n daily -s "$store" --no-take $lv plain
	on_exit remove_if_there daily
	count_calls 5 diffsnap take daily
	cat /run/calls
	diffsnap remove -q daily
	for at in $(steps "$total"); do
		diffsnap create -q -n daily -s "$store" --no-take $lv plain
		killed "$at" diffsnap take daily
		goes_on /run/lv /run/plain
		if [[ $(field list state daily) == new ]]; then
			diffsnap take -q daily
			[[ -b /dev/diffsnap/daily/plain && -b /dev/diffsnap/daily/vg-data ]]
		fi
		diffsnap remove -q daily
		is_clean plain vg-data vg-data-diffsnap
	done
}

# One that dmsetup has made under the name of a snapshot that was not finished stays.
killed_beside_another() {
	local at total
	attached "$more" -n raw
	count_calls 8 diffsnap create -n daily -s "$store" --no-freeze raw
	diffsnap remove daily
	# with its store, and before the cut
	at=$(awk '$2 == "message" { print $1; exit }' /run/calls)
	killed "$at" diffsnap create -n daily -s "$store" --no-freeze raw
	add_origin other "$plain"
	add_store daily "$lv_disk" 8
	take_snapshot daily other
	assert_eq '/dev/mapper/daily daily' "$(snapshot_names | sort | xargs)"
	assert_eq new "$(field list state daily)"
	assert_eq active "$(field list state /dev/mapper/daily)"
	# any command that changes something clears up
	diffsnap detach -q raw
	assert_eq daily "$(snapshot_names)"
	assert_eq active "$(store_state daily)"
	assert_eq 'daily other' "$(dm_devices | xargs)"
}

killed_remove() {
	local at total said
	two_file_systems
	diffsnap attach -q $lv
	diffsnap create -q -n daily -s "$store" $lv plain
	on_exit remove_if_there daily
	count_calls 5 diffsnap remove daily
	for at in $(seq 1 "$total") after:"$total"; do
		diffsnap create -q -n daily -s "$store" $lv plain
		killed "$at" diffsnap remove daily
		goes_on /run/lv /run/plain
		if ! said=$(diffsnap remove daily 2>&1); then assert_match 'no snapshot' "$said"; fi
		is_clean plain vg-data vg-data-diffsnap
	done
}

killed_attach() {
	local at total said
	make_vg vg "$lv_disk" data 48M
	ext4_on $lv /run/lv
	start_load /run/lv
	on_exit detach_if_attached vg-data
	on_exit detach_if_attached plain
	count_calls 5 diffsnap attach $lv
	diffsnap detach -q $lv
	for at in $(seq 1 "$total") $(seq -f 'after:%g' 1 "$total"); do
		killed "$at" diffsnap attach $lv
		goes_on /run/lv
		if ! said=$(diffsnap attach $lv 2>&1); then assert_match 'attached already' "$said"; fi
		assert_eq held "$(one_snapshot $lv vg-data)"
		diffsnap detach -q $lv
		is_clean vg-data
	done
	for at in 1 after:1 2 after:2 3 after:3; do
		killed "$at" diffsnap attach "$plain" -n plain
		if ! said=$(diffsnap attach "$plain" -n plain 2>&1); then assert_match 'attached already' "$said"; fi
		diffsnap detach -q plain
		is_clean vg-data
	done
}

# one_snapshot ORIGIN NAME: works; the state of the origin meanwhile
one_snapshot() {
	diffsnap create -q -n probe -s "$store" --no-freeze "$1"
	field origins state "$2"
	diffsnap remove -q probe
}

killed_detach() {
	local at total said
	make_vg vg "$lv_disk" data 48M
	ext4_on $lv /run/lv
	start_load /run/lv
	on_exit detach_if_attached vg-data
	diffsnap attach -q $lv
	count_calls 3 diffsnap detach $lv
	for at in $(seq 1 "$total") $(seq -f 'after:%g' 1 "$total"); do
		diffsnap attach -q $lv
		killed "$at" diffsnap detach $lv
		goes_on /run/lv
		if ! said=$(diffsnap detach $lv 2>&1); then assert_match 'not attached' "$said"; fi
		is_clean vg-data
	done
	# any command that changes something clears up
	diffsnap attach -q $lv
	killed "$total" diffsnap detach $lv
	assert_eq 'vg-data vg-data-diffsnap' "$(dm_devices | xargs)"
	diffsnap attach -q "$plain"
	assert_eq "${plain##*/} vg-data" "$(dm_devices | xargs)"
	diffsnap detach -q "$plain"
}

killed_extend() {
	local at total
	attached "$more" -n raw
	snapshot daily -s "$store:1m+8m" raw
	count_calls 4 diffsnap extend daily -s "$store:9m+8m"
	diffsnap remove daily
	for at in $(seq 1 "$total") after:"$total"; do
		diffsnap create -q -n daily -s "$store:1m+8m" raw
		killed "$at" diffsnap extend daily -s "$store:9m+8m"
		timeout 20 dd if=/dev/zero of=/dev/mapper/raw bs=1M count=6 oflag=direct status=none
		if [[ $(field list size daily) -eq $((8 << 20)) ]]; then
			diffsnap extend daily -s "$store:9m+8m"
		fi
		assert_eq $((16 << 20)) "$(field list size daily)" "the store's size"
		diffsnap extend daily -s "$store:32m+8m"
		assert_eq active "$(field list state daily)"
		assert_eq $((24 << 20)) "$(field list size daily)" "the store's size"
		diffsnap remove -q daily
		is_clean raw
	done
}

# Writing out may take minutes. Meanwhile other snapshots must be able to get more room.
extend_while_others_write_out() {
	local pid
	two_file_systems
	diffsnap attach -q $lv
	attached "$more" -n raw
	snapshot other -s "$store:1m+8m" raw
	dd if=/dev/urandom of=/run/lv/dirty bs=1M count=4 status=none
	on_exit dmsetup resume vg-data
	dmsetup suspend --noflush --nolockfs vg-data
	diffsnap create -n daily -s "$store:32m+8m" $lv plain &
	pid=$!
	wait_until 30 is_writing_out $pid
	timeout 20 diffsnap extend other -s "$store:9m+8m"
	is_writing_out $pid || fail "it writes nothing out"
	dmsetup resume vg-data
	wait $pid
	assert_eq active "$(field list state daily)"
	diffsnap remove -q daily other
}

# is_writing_out PID: it is in syncfs()
is_writing_out() { [[ $(cut -d' ' -f1 "/proc/$1/syscall") == 306 ]]; }

# Who waits for another command says so.
waiting_for_the_lock() {
	local pid
	exec {held}>/run/diffsnap.lock
	flock "$held"
	diffsnap attach -n raw "$more" >/run/said 2>&1 {held}>&- &
	pid=$!
	on_exit detach_if_attached raw
	wait_until 30 grep -q 'Waiting for another command' /run/said
	kill -0 $pid || fail "it does not wait"
	exec {held}>&-
	wait $pid
}

has_size() { [[ $(field list size "$1") -eq $2 ]]; }

# Writes that wait for room do not wait for udev.
extend_before_udev() {
	local pid
	attached "$more" -n raw
	snapshot daily -s "$store:1m+8m" raw
	udevadm settle
	on_exit udevadm control --start-exec-queue
	udevadm control --stop-exec-queue
	diffsnap extend daily -s "$store:9m+8m" &
	pid=$!
	wait_until 30 has_size daily $((16 << 20))
	kill -0 "$pid" || fail "it did not wait for udev at all"
	udevadm control --start-exec-queue
	wait "$pid"
}

# A tool that stands still is as bad as a dead one: the watchdog thaws, the snapshot is not made.
stopped_while_frozen() {
	local tool status=0 at total
	two_file_systems
	diffsnap attach -q $lv
	count_calls 15 diffsnap create -n daily -s "$store" $lv plain
	diffsnap remove daily
	at=$(awk '$2 == "freeze" { last = $1 } END { print last }' /run/calls)
	env LD_PRELOAD="$kill_at" KILL_AT="stop:$at" diffsnap create -n daily -s "$store" $lv plain >/run/said 2>&1 &
	tool=$!
	# who stands still has the lock
	on_exit kill_if_there $tool
	wait_until 60 is_stopped $tool
	goes_on /run/lv /run/plain
	kill -CONT $tool
	wait $tool || status=$?
	assert_eq 5 $status "status of create"
	assert_match 'they were thawed' "$(</run/said)"
	is_clean plain vg-data vg-data-diffsnap
	snapshot daily -s "$store" $lv plain
}

kill_if_there() { [[ ! -e /proc/$1 ]] || kill -KILL "$1"; }

is_stopped() { [[ $(awk '/^State:/ { print $2 }' "/proc/$1/status") == T ]]; }

test_case live-attach live_attach
test_case plain-attach plain_attach
test_case attach-refusals attach_refusals
test_case zoned-device zoned_device
test_case several-origins several_origins
test_case reports reports
test_case frozen-before frozen_before
test_case extend-while-held extend_while_held
test_case extend-before-udev extend_before_udev
test_case extend-while-others-write-out extend_while_others_write_out
test_case waiting-for-the-lock waiting_for_the_lock
test_case release release_ranges
test_case wait waiting
test_case made-in-steps made_in_steps
test_case remove removal
test_case unnamed unnamed
test_case test-mode test_mode
test_case bad-words bad_words
test_case largest-values largest_values
test_case bad-stores bad_stores
test_case store-to-be-origin store_to_be_origin
test_case loop-store loop_store
test_case bad-origins bad_origins
test_case cannot-initialise cannot_initialise
test_case two-creates two_creates
test_case killed-create killed_create
test_case killed-take killed_take
test_case killed-beside-another killed_beside_another
test_case killed-remove killed_remove
test_case killed-attach killed_attach
test_case killed-detach killed_detach
test_case killed-extend killed_extend
test_case stopped-while-frozen stopped_while_frozen
