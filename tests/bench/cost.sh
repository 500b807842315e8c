#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What does an increment cost?  cost.sh [--json] [--rounds N] [--gib N]
# [--out DIR]
#
# One stopped VM of the lab with a disk of 6 GiB, about 40 % allocated, on
# tmpfs and warm.  In each of N (3) rounds a full backup is made, then 1 %, 3 %
# and 10 % of the disk are written, in an order that changes, and fetched as an
# increment and by scp of the overlay file, in turns.  Told of each:
#
#   changed   bytes of the clusters that were written (full: that there are)
#   read      bytes that the helper's processes read, by the kernel's account
#   sent      bytes that left the host, by the counter of its interface
#   wall      the transfer alone, as in transfer.sh; whole, the whole command
#
# Exit 1 when an increment reads more than 1.10 times or sends more than 1.05
# times what was changed, and 4 MiB.  Every point is compared with the oracle.
set -eu
. "$(dirname "$0")/../setup.sh"
cd "$TOP"
setup_packages
setup_build build-bench CFLAGS='-O2 -g'
BUILD=$TOP/build-bench
CHAINLIFT_HELPER=$BUILD/remote/chainlift-remote
PYTHONDONTWRITEBYTECODE=1
WORK=$(mktemp -d)
export BUILD CHAINLIFT_HELPER WORK PYTHONDONTWRITEBYTECODE
trap 'sh tests/lab/lab.sh down "$WORK/lab" >/dev/null 2>&1; rm -rf --one-file-system "$WORK"' EXIT
trap 'exit 130' INT TERM
/usr/bin/python3 tests/bench/cost.py "$@"
