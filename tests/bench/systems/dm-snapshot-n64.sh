# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # for dm-snapshot.sh, of guest.sh
# about: dm-snapshot, not persistent, chunks of 64 KiB

snapshot_type=N snapshot_chunk=128
# the same as with 4 KiB, not persistent
system_without=(cut freeze)
# shellcheck source=tests/bench/dm-snapshot.sh
. "$bench/dm-snapshot.sh"
