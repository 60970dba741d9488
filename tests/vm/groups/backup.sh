#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# group: backup
# about: changes, streams of them, and what is made of the streams
# kernels: 6.1
# disks: 64M 96M 64M 32M
# memory: 1G
# cpus: 1
# timeout: 2000
# full-timeout: 4000
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../snapshots.sh"
. "$(dirname "$0")/../commands.sh"

disk=${disks[0]} store=${disks[1]} other=${disks[2]} small=${disks[3]}
data=/dev/mapper/data

# The name of the snapshot that holds an origin: GENERATION:N
newest() { echo "$(field origins generation "$1"):$(field origins change_number "$1")"; }

# write_at OFFSET LENGTH: random data to the origin, in KiB
write_at() { write_to $data "$@"; }
write_to() {
	dd if=/dev/urandom of="$1" bs=4k seek="$(($2 * 1024))" count="$(($3 / 4))" oflag=seek_bytes,direct status=none
}

# state_of FILE: of a target
state_of() { jq -r '[.state, .from, .to, .at] | map(select(.)) | join(" ")' "$1.diffsnap"; }

# sent SNAPSHOT FILE [ARGUMENT]...
sent() {
	local image=$1 file=$2
	shift 2
	diffsnap send "$image" "$@" >"$file"
}

# own_directory FUNCTION: run where no other case has left a target
own_directory() {
	rm -rf /run/work
	mkdir /run/work
	cd /run/work
	"$1"
}

# ---- changes

exact_ranges() {
	local first
	attached "$disk" -n data
	snapshot one -s "$store" data
	first=$(newest data)
	assert_match '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}:1$' "$first"
	assert_eq "0 $((64 << 20))" "$(diffsnap changes one/data)" "the whole image"
	says_nothing diffsnap changes one/data --since "$first"
	write_at 0 64
	diffsnap remove -q one
	write_at 1024 4
	write_at 2048 128
	write_at $((65536 - 64)) 64
	snapshot two -s "$store" data
	assert_eq "${first%:*}:2" "$(newest data)"
	# while the snapshot holds the origin its ranges do not change
	write_at 4096 64
	cat >expected <<-END
		0 65536
		1048576 65536
		2097152 131072
		67043328 65536
	END
	diffsnap changes two/data --since "$first" | diff expected -
	diffsnap changes two/data --since 1 | diff expected -
	diffsnap changes two/data --since 1 --format json | jq -r '.[] | "\(.offset) \(.length)"' | diff expected -
	assert_eq 'true' "$(diffsnap changes two/data --since 1 --format json | jq -r '.[].exists' | sort -u)"
	diffsnap changes two/data --since 1 --format rbd | awk 'NR > 1 && $3 == "data" { print $1, $2 }' | diff expected -
	refused 5 'full backup is due' diffsnap changes two/data --since 3
	refused 5 'full backup is due' diffsnap changes two/data --since 00000000-0000-4000-8000-000000000000:1
	refused 5 'no such image' diffsnap changes one/data
	refused 3 'GENERATION:N' diffsnap changes two/data --since yesterday
}

# More ranges than an answer of the kernel holds, with blocks of 4 KiB.
many_ranges() {
	local block
	attached "$disk" -n data --tracking-block 4k
	assert_eq 4096 "$(field origins tracking_block data)"
	assert_match '^0 [0-9]+ diffsnap-origin [0-9:]+ 2 tracking_block 8$' "$(dmsetup table data)"
	snapshot one -s "$store" data
	diffsnap remove -q one
	fio --name=every-other --filename=$data --rw=write:4k --bs=4k --size=64M --io_size=32M --direct=1 --ioengine=libaio \
		--iodepth=32 >/dev/null
	snapshot two -s "$store" data
	diffsnap changes two/data --since 1 >ranges
	assert_eq 8192 "$(wc -l <ranges)" ranges
	for block in 0 1 4095 8191; do
		assert_eq "$((block * 8192)) 4096" "$(sed -n "$((block + 1))p" ranges)"
	done
}

# One change among many blocks of an older number: the kernel looks at so many for one
# answer, and goes on in the next, be there nothing to say.
few_among_many() {
	local first answer
	add_device zeroes "0 $((8 << 21)) zero"
	attached /dev/mapper/zeroes --tracking-block 4k
	"$DIFFSNAP_BUILD/tests/vm/mark-at-random" zeroes 400000 1
	snapshot one -s "$store" --no-freeze zeroes
	first=$(newest zeroes)
	diffsnap remove -q one
	diffsnap mark zeroes --range $(((8 << 30) - 4096))+4096
	snapshot two -s "$store" --no-freeze zeroes
	answer=$(dmsetup message zeroes 0 changes "${first%:*}" 1 0)
	assert_match '^[0-9]+$' "$answer" "the first answer"
	assert_eq "$(((8 << 30) - 4096)) 4096" "$(diffsnap changes two/zeroes --since "$first")" "changes"
}

marking() {
	local place fresh
	attached "$disk" -n data
	mkfs.ext4 -q -O inline_data $data
	mounted $data /run/data
	random_file /run/data/file 200000
	echo small >/run/data/inline
	head -c 100000 /dev/zero >/run/data/sparse
	truncate -s 10M /run/data/hole
	sync -f /run/data
	snapshot one -s "$store" data
	diffsnap remove -q one
	place=$(place_of /run/data/file)
	refused 5 'inline' diffsnap mark data --file /run/data/inline
	refused 5 'does not lie directly on' diffsnap mark data --file /etc/passwd
	refused 5 'beyond its end' diffsnap mark data --range 63m+2m
	refused 3 'nothing is given' diffsnap mark data
	refused 5 'no origin' diffsnap mark "$other" --range 0+4k
	diffsnap mark data --range 60m+4k 61m+512b --file /run/data/file --file /run/data/hole
	# not written yet, and marked where it will be
	random_file /run/data/fresh 70000
	diffsnap mark /run/data --file /run/data/fresh
	fresh=$(place_of /run/data/fresh)
	snapshot two -s "$store" data
	diffsnap changes two/data --since 1 | tee ranges
	covered() { awk -v at="$1" '$1 <= at && at < $1 + $2 { found = 1 } END { exit !found }' ranges; }
	covered $((60 << 20)) || fail "the range is not marked"
	covered $((61 << 20)) || fail "the other range is not marked"
	covered "$place" || fail "the file's blocks, at $place, are not marked"
	covered $((place + 199999)) || fail "the file's last block is not marked"
	covered "$fresh" || fail "the new file's blocks, at $fresh, are not marked"
}

# place_of FILE: where its first block lies, in bytes
place_of() { filefrag -b1 -v "$1" | awk '$1 == "0:" { sub(/\.\..*/, "", $4); print $4 }'; }

new_generation() {
	local before after
	attached "$disk" -n data
	snapshot one -s "$store" data
	before=$(newest data)
	refused 5 '"one" holds' diffsnap reset data
	expect_fail 5 '"one" holds' diffsnap reset -t data
	diffsnap remove -q one
	diffsnap reset data
	after=$(field origins generation data)
	[[ $after != "${before%:*}" ]] || fail "the same generation: $after"
	assert_eq 0 "$(field origins change_number data)"
	snapshot two -s "$store" data
	refused 5 'full backup is due' diffsnap changes two/data --since "$before"
	expect_fail 5 'full backup is due' diffsnap send two/data --since "$before"
	diffsnap remove -q two
	# taken off and put on again, and written to in between
	before=$(newest data)
	diffsnap detach -q data
	write_to "$disk" 0 4
	diffsnap attach -q "$disk" -n data
	snapshot three -s "$store" data
	refused 5 'full backup is due' diffsnap changes three/data --since "$before"
}

# ---- streams

# A full stream and incremental ones under load: after each the file is the image.
chain() {
	local number since=() id previous='' bytes rounds=6
	[[ ! ${FULL:-} ]] || rounds=21
	attached "$disk" -n data
	ext4_on $data /run/data
	random_file /run/data/old 20000000
	start_load /run/data
	for ((number = 1; number <= rounds; number++)); do
		sleep 1
		snapshot "s$number" -s "$store" data
		id=$(newest data)
		assert_eq "$number" "${id##*:}" number
		[[ ! $previous ]] || since=(--since "$previous")
		sent "s$number/data" stream ${since[@]+"${since[@]}"} -j $((number % 6 + 1)) --manifest manifest 2>said
		assert_match "SHA-256 $(sha256sum <stream | cut -d ' ' -f 1)" "$(<said)"
		assert_eq "$(sha256sum <stream | cut -d ' ' -f 1)" "$(jq -r .sha256 manifest)"
		assert_eq "$id" "$(jq -r '"\(.generation):\(.number)"' manifest)"
		bytes=$(jq .data_bytes manifest)
		if [[ $previous ]]; then
			assert_eq $((number - 1)) "$(jq .since manifest)"
			[[ $bytes -lt $((20 << 20)) ]] || fail "an incremental stream of $bytes bytes"
		else
			at_least 20000000 "$bytes" "bytes of the full stream"
			[[ $bytes -lt $((60 << 20)) ]] || fail "zeroes were sent as data"
		fi
		diffsnap receive backup <"stream"
		assert_eq "at $id" "$(state_of backup)"
		same_as_file "/dev/diffsnap/s$number/data" backup
		# neither once more nor out of turn
		expect_fail 5 'the stream starts from|not empty' diffsnap receive backup <stream
		diffsnap remove -q "s$number"
		previous=$id
	done
	stop_load
	# the copy is a file system
	e2fsck -fp backup || [[ $? -eq 1 ]]
}

# Whatever snapshot a copy is of, the stream since then makes it one of the newest: also
# where the numbers in between no longer fit into a byte.
random_pairs() {
	local number since writes rounds=8
	[[ ! ${FULL:-} ]] || rounds=300
	add_device tiny "0 2048 linear $small 0"
	attached /dev/mapper/tiny --tracking-block 4k
	for ((number = 1; number <= rounds; number++)); do
		for ((writes = RANDOM % 6; writes >= 0; writes--)); do
			dd if=/dev/urandom of=/dev/mapper/tiny bs=512 seek=$((RANDOM % 2048)) count=1 oflag=direct status=none
		done
		snapshot "s$number" -s "$store" --no-freeze tiny
		since=$((RANDOM % number))
		if [[ $since -eq 0 ]]; then
			sent "s$number/tiny" stream -q
		else
			cp "copy$since" copy
			cp "copy$since.diffsnap" copy.diffsnap
			sent "s$number/tiny" stream -q --since "$since"
		fi
		diffsnap receive -q copy <stream
		same_as_file "/dev/diffsnap/s$number/tiny" copy
		diffsnap remove -q "s$number"
		mv copy "copy$number"
		mv copy.diffsnap "copy$number.diffsnap"
	done
}

# What an incremental stream carries of random writes: each tracking block that one of
# them lies in, once, and nothing else.
incremental_size() {
	local block first changed bytes expected
	for block in 4096 65536; do
		attached "$disk" -n data --tracking-block "$((block / 1024))k"
		dd if=/dev/urandom of=$data bs=1M count=64 oflag=direct status=none
		snapshot one -s "$store" data
		first=$(newest data)
		diffsnap remove -q one
		fio --name=load --filename=$data --rw=randwrite --bs=4k --norandommap --io_size=2M --direct=1 --ioengine=libaio \
			--iodepth=16 --refill_buffers --write_iolog=iolog >/dev/null
		snapshot two -s "$store" data
		sent two/data stream --since "$first" --manifest manifest
		bytes=$(jq .data_bytes manifest)
		awk '$(NF - 2) == "write" { print $(NF - 1) }' iolog | sort -nu >written
		changed=$(($(wc -l <written) * 4096))
		at_least $((1 << 20)) "$changed" "bytes changed"
		expected=$(($(awk -v block="$block" '{ print int($1 / block) }' written | uniq | wc -l) * block))
		figure "random writes of 4 KiB, tracked by $((block / 1024)) KiB: $bytes bytes sent for $changed changed"
		assert_eq "$expected" "$bytes" "bytes sent with blocks of $block"
		diffsnap remove -q two
		diffsnap detach -q data
	done
}

# sent_while_written NAME [ARGUMENT]...: sends the whole image of a snapshot; after each
# four MiB 32 blocks are written at random. Leaves in NAME the most that the store held.
sent_while_written() {
	local name=$1 step used most=0 pipe pid
	shift
	snapshot "$name" -s "$store" data
	coproc SEND { exec diffsnap send "$name/data" -j 1 "$@" 2>said; }
	pid=$SEND_PID
	exec {pipe}<&"${SEND[0]}"
	for ((step = 0; step < 16; step++)); do
		head -c $((4 << 20)) <&"$pipe" >/dev/null
		fio --name=load --filename=$data --rw=randwrite --bs=4k --randrepeat=0 --io_size=128k --direct=1 >/dev/null
		used=$(field list used "$name")
		[[ $used -le $most ]] || most=$used
	done
	cat <&"$pipe" >/dev/null
	exec {pipe}<&-
	wait "$pid"
	diffsnap remove -q "$name"
	echo "$most" >"$name"
}

# A store has to hold only what was written before its place was sent.
release_of_a_busy_origin() {
	attached "$disk" -n data
	dd if=/dev/urandom of=$data bs=1M count=64 oflag=direct status=none
	sent_while_written kept
	sent_while_written freed --release
	figure "64 MiB sent while 512 blocks of 4 KiB are written: a store of $(<kept) bytes, $(<freed) with --release"
	at_least $((3 << 19)) "$(<kept)" "used without --release"
	[[ $(<freed) -le $(($(<kept) / 2)) ]] || fail "used: $(<freed) with --release, $(<kept) without"
}

releasing() {
	local used
	attached "$disk" -n data
	write_at 0 $((32 << 10))
	snapshot one -s "$store" data
	copy_of /dev/diffsnap/one/data copy
	write_at 0 $((16 << 10))
	used=$(field list used one)
	at_least $((16 << 20)) "$used" "used before"
	sent one/data stream --release
	assert_eq $((64 << 20)) "$(field images released one)" released
	[[ $(field list used one) -le $((used - (15 << 20))) ]] || fail "used: $(field list used one) after, $used before"
	diffsnap receive backup <stream
	cmp copy backup
	refused 5 'released' diffsnap send one/data
	sent one/data stream -f
}

# What was written to the image before is sent and released as well.
releasing_a_written_image() {
	attached "$disk" -n data
	write_at 0 $((32 << 10))
	snapshot one -s "$store" data
	dd if=/dev/urandom of=/dev/diffsnap/one/data bs=4k count=300 seek=10 oflag=direct status=none
	copy_of /dev/diffsnap/one/data copy
	sent one/data stream --release
	assert_eq $((64 << 20)) "$(field images released one)" released
	diffsnap receive backup <stream
	cmp copy backup
}

# send_disturbed COMMAND [ARGUMENT]...: sends and releases an image; the command comes when
# the stream has begun. Leaves its status.
send_disturbed() {
	echo 0 >status
	{
		diffsnap send one/data -j 1 --release 2>said || echo $? >status
	} | {
		head -c 2000000
		"$@" >&2
		cat
	} >stream
}

# What others release while it is sent reads as zeroes: such a stream gets no end.
released_by_others() {
	attached "$disk" -n data
	write_at 0 $((64 << 10))
	snapshot one -s "$store" data
	send_disturbed diffsnap release -q one/data 60m+1m
	assert_eq 5 "$(<status)"
	assert_match 'others released' "$(<said)"
	expect_fail 5 'truncated' diffsnap receive backup <stream
	diffsnap remove -q one
	# ... and so it is with what they write
	snapshot one -s "$store" data
	send_disturbed dd if=/dev/urandom of=/dev/diffsnap/one/data bs=4k count=1 seek=15000 oflag=direct status=none
	assert_eq 5 "$(<status)"
	assert_match 'written to meanwhile' "$(<said)"
	expect_fail 5 'truncated' diffsnap receive -f backup <stream
}

# What is written to an image is sent, and sent again as it is in the origin.
written_image() {
	local first
	attached "$disk" -n data
	write_at 0 1024
	snapshot one -s "$store" data
	first=$(newest data)
	dd if=/dev/urandom of=/dev/diffsnap/one/data bs=4k count=1 seek=10 oflag=direct status=none
	sent one/data stream
	diffsnap receive backup <stream
	same_as_file /dev/diffsnap/one/data backup
	# also what is written after it was sent
	dd if=/dev/urandom of=/dev/diffsnap/one/data bs=4k count=1 seek=1000 oflag=direct status=none
	diffsnap remove -q one
	snapshot two -s "$store" data
	dd if=/dev/urandom of=/dev/diffsnap/two/data bs=4k count=1 seek=2000 oflag=direct status=none
	sent two/data stream --since "$first"
	diffsnap receive backup <stream
	same_as_file /dev/diffsnap/two/data backup
	# while it is sent nobody may write to it
	{
		diffsnap send two/data 2>said || echo $? >status
	} | {
		head -c 20
		dd if=/dev/urandom of=/dev/diffsnap/two/data bs=4k count=1 seek=3000 oflag=direct status=none
		cat
	} >stream
	assert_eq 5 "$(<status)"
	assert_match 'written to meanwhile' "$(<said)"
	expect_fail 5 'truncated' diffsnap receive -f backup <stream
}

broken_off() {
	local first
	attached "$disk" -n data
	write_at 0 $((16 << 10))
	snapshot one -s "$store" data
	first=$(newest data)
	sent one/data full
	diffsnap receive backup <full
	diffsnap remove -q one
	write_at $((8 << 10)) $((16 << 10))
	snapshot two -s "$store" data
	# the reader goes: a message and a status, and no end
	{
		status=0
		diffsnap send two/data --since "$first" 2>said || status=$?
		echo $status >status
	} | head -c 3000000 >part
	assert_eq 5 "$(<status)"
	assert_match 'Broken pipe' "$(<said)"
	expect_fail 5 'truncated' diffsnap receive backup <part
	assert_eq "changing $first $(newest data) $first" "$(state_of backup)"
	expect_fail 5 'not empty' diffsnap receive backup <full
	sent two/data stream --since "$first"
	diffsnap receive backup <stream
	same_as_file /dev/diffsnap/two/data backup
	assert_eq "at $(newest data)" "$(state_of backup)"
}

# The snapshot is given up while it is sent.
overflow_on_the_way() {
	attached "$disk" -n data
	write_at 0 $((48 << 10))
	snapshot one -s "$store:1m+8m" data
	{
		diffsnap send one/data -j 1 2>said || echo $? >status
	} | {
		head -c 2000000
		dd if=/dev/zero of=$data bs=1M count=40 oflag=direct status=none
		cat
	} >stream
	assert_eq overflow "$(field list state one)"
	assert_eq 5 "$(<status)"
	assert_match 'given up' "$(<said)"
	expect_fail 5 'truncated' diffsnap receive backup <stream
	assert_match '^changing ' "$(state_of backup)"
	refused 5 'given up' diffsnap send one/data
	refused 5 'given up' diffsnap changes one/data
}

# little_endian BYTES NUMBER
little_endian() {
	local i
	for ((i = 0; i < $1; i++)); do
		# shellcheck disable=SC2059 # an escape sequence is made
		printf "\\x$(printf %02x $(($2 >> 8 * i & 255)))"
	done
}

# rbd_stream FROM TO BYTES: without a record; FROM may be empty
rbd_stream() {
	printf 'rbd diff v1\n'
	if [[ $1 ]]; then
		printf f
		little_endian 4 ${#1}
		printf %s "$1"
	fi
	printf t
	little_endian 4 ${#2}
	printf %ss "$2"
	little_endian 8 "$3"
	printf e
}

onto_a_device() {
	local first
	attached "$disk" -n data
	write_at 0 $((16 << 10))
	snapshot one -s "$store" data
	first=$(newest data)
	dd if=/dev/urandom of="$other" bs=1M count=64 oflag=direct status=none
	sent one/data full
	expect_fail 3 'Use --state' diffsnap receive "$other" <full
	expect_fail 5 'it is a device' diffsnap receive "$other" --state state <full
	expect_fail 5 'bytes, the stream is of' diffsnap receive -f "$small" --state state <full
	[[ ! -e state ]]
	diffsnap receive -f "$other" --state state <full
	copy_of /dev/diffsnap/one/data image
	same_as_file "$other" image
	diffsnap remove -q one
	write_at 100 5000
	dd if=/dev/zero of=$data bs=1M count=4 seek=4 oflag=direct status=none
	snapshot two -s "$store" data
	diffsnap send two/data --since "$first" 2>/dev/null | diffsnap receive "$other" --state state
	copy_of /dev/diffsnap/two/data image
	same_as_file "$other" image
	# of what has grown and was not written to there, Ceph's streams say nothing
	blockdev --flushbufs "$small"
	dd if=/dev/urandom of="$small" bs=1M count=32 oflag=direct status=none
	rbd_stream '' a 1048576 >small-full
	rbd_stream a b 3145728 >small-grown
	dd if="$small" bs=1M skip=3 iflag=direct of=beyond status=none
	diffsnap receive -f "$small" --state small-state <small-full
	diffsnap receive "$small" --state small-state <small-grown
	cmp <(head -c 3145728 /dev/zero) <(dd if="$small" bs=1M count=3 iflag=direct status=none)
	cmp beyond <(dd if="$small" bs=1M skip=3 iflag=direct status=none)
	# what is mounted is nobody's target
	mkfs.ext4 -q "$small"
	mounted "$small" /run/small
	expect_fail 5 'busy' diffsnap receive -f "$small" --state other <full
}

# What a file system took and could not write out is no backup.
backup_not_written_out() {
	local sectors
	sectors=$(size_of "$small")
	attached "$disk" -n data
	write_at 0 4096
	snapshot one -s "$store" data
	add_device shelf "0 $sectors linear $small 0"
	mkfs.ext4 -q -O ^has_journal /dev/mapper/shelf
	mounted /dev/mapper/shelf /run/shelf
	: >/run/shelf/backup
	sync -f /run/shelf
	shelf_is "0 $sectors flakey $small 0 0 60 1 error_writes"
	expect_fail 5 'write out the stream' sent one/data /run/shelf/backup --manifest manifest
	[[ ! -e manifest ]]
	shelf_is "0 $sectors linear $small 0"
}

# shelf_is TABLE: without the file system being asked, which may have lost its super block
shelf_is() {
	dmsetup load shelf --table "$1"
	dmsetup suspend --noflush --nolockfs shelf
	dmsetup resume shelf
}

# sized SECTORS: the origin's table made so large, by hand
sized() { reload_device data "0 $1 diffsnap-origin $disk"; }

# A table of another size goes on with the generation; the file follows.
sizes() {
	local name size previous='' since=()
	add_device data "0 65536 diffsnap-origin $disk"
	random_file random $((64 << 20))
	dd if=random of="$disk" bs=1M oflag=direct status=none
	rm random
	for size in 65536 131072 81920 81923; do
		sized "$size"
		write_at 512 64
		name=s$size
		snapshot "$name" -s "$store" data
		[[ ! $previous ]] || since=(--since "$previous")
		previous=$(newest data)
		sent "$name/data" stream ${since[@]+"${since[@]}"}
		diffsnap receive backup <stream
		assert_eq $((size * 512)) "$(stat -c %s backup)"
		same_as_file "/dev/diffsnap/$name/data" backup
		diffsnap remove -q "$name"
	done
}

# A device that grew while it was not attached is another one to its tracker.
growth() {
	local first
	make_vg vg "$disk" data 24M
	attached /dev/vg/data
	snapshot one -s "$store" /dev/vg/data
	first=$(newest vg-data)
	sent one/vg-data full
	diffsnap receive backup <full
	diffsnap remove -q one
	diffsnap detach -q /dev/vg/data
	lvextend -q -L 32M vg/data
	diffsnap attach -q /dev/vg/data
	snapshot two -s "$store" /dev/vg/data
	expect_fail 5 'full backup is due' diffsnap send two/vg-data --since "$first"
	sent two/vg-data full
	expect_fail 5 'not empty' diffsnap receive backup <full
	diffsnap receive -f backup <full
	assert_eq $((32 << 20)) "$(stat -c %s backup)"
	same_as_file /dev/diffsnap/two/vg-data backup
}

test_case exact-ranges own_directory exact_ranges
test_case many-ranges own_directory many_ranges
test_case few-among-many own_directory few_among_many
test_case marking own_directory marking
test_case new-generation own_directory new_generation
test_case chain own_directory chain
test_case random-pairs own_directory random_pairs
test_case incremental-size own_directory incremental_size
test_case releasing own_directory releasing
test_case releasing-a-written-image own_directory releasing_a_written_image
test_case released-by-others own_directory released_by_others
test_case release-of-a-busy-origin own_directory release_of_a_busy_origin
test_case written-image own_directory written_image
test_case broken-off own_directory broken_off
test_case overflow-on-the-way own_directory overflow_on_the_way
test_case onto-a-device own_directory onto_a_device
test_case backup-not-written-out own_directory backup_not_written_out
test_case sizes own_directory sizes
test_case growth own_directory growth
