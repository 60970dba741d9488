#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# group: ceph
# about: streams to and from a Ceph cluster of one monitor and one OSD in memory
# kernels: 6.1
# full-kernels: 6.1
# packages: ceph-mon ceph-osd ceph-common
# disks: 32M 64M
# memory: 3G
# timeout: 1800
# full
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../snapshots.sh"
. "$(dirname "$0")/../commands.sh"

# the cluster needs them
taskset -cp "$all_cpus" $$ >/dev/null

disk=${disks[0]} store=${disks[1]} data=/dev/mapper/data
cluster=/run/ceph cluster_uuid=6f2e1a52-6d0b-4e39-9f1c-3f1f0c7d7a11 osd_uuid=6f2e1a52-6d0b-4e39-9f1c-3f1f0c7d7a12

export CEPH_CONF=$cluster/ceph.conf

newest() { echo "$(field origins generation data):$(field origins change_number data)"; }

write_conf() {
	cat >"$CEPH_CONF" <<-END
		[global]
		fsid = $cluster_uuid
		mon_host = 127.0.0.1
		auth_cluster_required = none
		auth_service_required = none
		auth_client_required = none
		keyring = /dev/null
		run_dir = $cluster
		log_file = $cluster/\$name.log
		mon_cluster_log_file = /dev/null
		mon_data = $cluster/mon
		mon_allow_pool_size_one = true
		osd_data = $cluster/osd
		osd_objectstore = memstore
		memstore_device_bytes = 1073741824
		osd_crush_chooseleaf_type = 0
		osd_pool_default_size = 1
		osd_pool_default_min_size = 1
		osd_pool_default_pg_num = 8
	END
}

start_cluster() {
	mkdir -p $cluster/mon $cluster/osd
	write_conf
	monmaptool --create --add a 127.0.0.1 --fsid $cluster_uuid $cluster/monmap
	ceph-mon -i a --mkfs --monmap $cluster/monmap
	ceph-mon -i a
	ceph osd create $osd_uuid
	ceph osd crush add osd.0 1 root=default host=localhost
	ceph-osd -i 0 --mkfs --osd-uuid $osd_uuid
	# it is refused with "wrong fsid" if it asks before the monitor has told it the map
	wait_until 60 ceph-osd -i 0
	ceph osd pool create rbd 8
	rbd pool init rbd
}

stop_cluster() {
	pkill -TERM -x 'ceph-osd|ceph-mon'
	wait_until 60 nobody_runs
}

nobody_runs() { ! pgrep -x 'ceph-osd|ceph-mon' >/dev/null; }

# Random data in some places, a snapshot of it, and its stream since the last one.
names=()
backup() {
	local number=$((${#names[@]} + 1)) place
	for place in 1 5 9 13; do
		dd if=/dev/urandom of=$data bs=4k seek=$(((place * 577 + number * 311) % 8000)) count=$((place * 3)) \
			oflag=direct status=none
	done
	blkdiscard -z -o $((number * 4))M -l 1M $data
	snapshot "s$number" -s "$store" --no-freeze data
	names+=("$(newest)")
	if [[ $number -eq 1 ]]; then
		diffsnap send -q "s1/data" >"$cluster/stream1"
	else
		diffsnap send -q "s$number/data" --since "${names[number - 2]}" >"$cluster/stream$number"
	fi
	dd if="/dev/diffsnap/s$number/data" of="$cluster/copy$number" bs=1M iflag=direct status=none
	diffsnap remove -q "s$number"
}

same() { cmp "$1" "$2" || fail "$2 differs from $1"; }

exchange() {
	local number
	start_cluster
	on_exit stop_cluster
	dd if=/dev/urandom of="$disk" bs=1M count=32 oflag=direct status=none
	attached "$disk" -n data
	for number in 1 2 3 4; do
		backup
	done

	# there
	rbd create rbd/there --size 32M
	for number in 1 2 3 4; do
		rbd import-diff --no-progress "$cluster/stream$number" rbd/there
		rbd export --no-progress "rbd/there@${names[number - 1]}" "$cluster/exported"
		same "$cluster/copy$number" "$cluster/exported"
		rm "$cluster/exported"
	done
	# an increment that does not follow is refused there, too
	rbd create rbd/other --size 32M
	expect_fail 22 'does not exist' rbd import-diff --no-progress "$cluster/stream3" rbd/other

	# several made one without a cluster's help
	rbd merge-diff --no-progress "$cluster/stream2" "$cluster/stream3" "$cluster/merged"
	rbd merge-diff --no-progress "$cluster/merged" "$cluster/stream4" "$cluster/merged4"
	diffsnap receive -q "$cluster/target" <"$cluster/stream1"
	diffsnap receive -q "$cluster/target" <"$cluster/merged4"
	same "$cluster/copy4" "$cluster/target"

	# and back
	rbd export-diff --no-progress "rbd/there@${names[0]}" - | diffsnap receive -q "$cluster/back"
	same "$cluster/copy1" "$cluster/back"
	rbd export-diff --no-progress --from-snap "${names[0]}" "rbd/there@${names[3]}" "$cluster/difference"
	diffsnap receive -q "$cluster/back" <"$cluster/difference"
	same "$cluster/copy4" "$cluster/back"
	expect_fail 5 'the stream starts from' diffsnap receive "$cluster/back" <"$cluster/stream2"
}

# The cluster's programs are unpacked beside the machine's own.
mount -t overlay -o "lowerdir=$EXTRA_USR:/usr" ceph /usr

test_case exchange exchange
