#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# How fast is a full backup over SSH?  transfer.sh [--json] [--rounds N]
# [--gib N] [--out DIR]
#
# One stopped VM of the lab with a disk of 6 GiB, about 40 % allocated, on
# tmpfs and warm.  chainlift, scp as it comes, and `ssh cat` with aes128-gcm
# fetch it in turn, N (5) rounds after one to warm up; each output is on DIR
# (build-results) and fsynced.  chainlift is timed twice: the transfer alone
# (from the helper's start to the published, fsynced point; the peers do no
# more), and the whole command with snapshot and merge.  CPU is that of both
# ends, from cgroups.  After the rounds every point is verified by qemu-img.
set -eu
. "$(dirname "$0")/../setup.sh"
cd "$TOP"
setup_packages
setup_build build-bench CFLAGS='-O2 -g'
BUILD=$TOP/build-bench
CHAINLIFT_HELPER=$BUILD/remote/chainlift-remote
WORK=$(mktemp -d)
export BUILD CHAINLIFT_HELPER WORK
trap 'sh tests/lab/lab.sh down "$WORK/lab" >/dev/null 2>&1; rm -rf --one-file-system "$WORK"' EXIT
trap 'exit 130' INT TERM
/usr/bin/python3 tests/bench/transfer.py "$@"
