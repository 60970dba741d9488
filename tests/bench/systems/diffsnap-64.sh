# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # for diffsnap.sh, of guest.sh
# about: diffsnap with a snapshot, chunks of 64 KiB, by dmsetup

diffsnap_chunk=128
# shellcheck source=tests/bench/systems/diffsnap.sh
. "$bench/systems/diffsnap.sh"
# the same as with 4 KiB
system_without=(cut freeze)
