# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# about: the device itself, which everything is compared with
#
# All defaults apply.
