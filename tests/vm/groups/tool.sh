#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# group: tool
# about: the commands on real devices
# kernels: 6.1
# disks: 96M 64M 128M 64M
# memory: 1G
# cpus: 1
# timeout: 1800
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../snapshots.sh"
. "$(dirname "$0")/../commands.sh"

lv_disk=${disks[0]} plain=${disks[1]} store=${disks[2]} more=${disks[3]}
lv=/dev/vg/data

# ---- snapshots

several_origins() {
	local path name
	two_file_systems "$lv_disk" "$plain"
	random_file /run/raw 8388608
	attached "$more" -n raw
	dd if=/run/raw of=/dev/mapper/raw bs=1M oflag=direct status=none
	start_load /run/lv
	snapshot daily -v -s "$store" /run/lv plain "$more" >/run/said 2>&1
	cat /run/said
	assert_eq '/run/lv /run/plain' "$(frozen_paths /run/said)" "what was frozen"
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
	two_file_systems "$lv_disk" "$plain"
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
	says_nothing diffsnap list --noheadings
	assert_eq 0 "$(diffsnap list --reportformat json | jq '.report[0].snapshot | length')"
}

snapshot_of_more() {
	attached "$more" -n raw
	snapshot second -s "$store:40m+16m" raw
}

# A file system that somebody froze before stays so, its device can be attached and
# detached, and its image is exact.
frozen_before() {
	two_file_systems "$lv_disk" "$plain"
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
	two_file_systems "$lv_disk" "$plain"
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
	two_file_systems "$lv_disk" "$plain"
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
	says_nothing snapshot_names
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
	says_nothing snapshot_names
	timeout 10 dd if=/dev/zero of=/run/plain/file bs=4k count=1 conv=fsync status=none
}

no_image() { [[ ! $(dm_devices) =~ diffsnap-(daily|-data) ]]; }

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

# ---- what changes nothing

test_mode() {
	local before
	two_file_systems "$lv_disk" "$plain"
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
	says_nothing diffsnap list --noheadings
	diffsnap version
	diffsnap help >/dev/null
}

test_case several-origins several_origins
test_case reports reports
test_case frozen-before frozen_before
test_case release release_ranges
test_case wait waiting
test_case made-in-steps made_in_steps
test_case remove removal
test_case unnamed unnamed
test_case test-mode test_mode
test_case bad-words bad_words
test_case largest-values largest_values
test_case bad-origins bad_origins
test_case cannot-initialise cannot_initialise
