#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The cost of maps and merges: image.sh [--json]
#
#   map      1 TiB with 4 million scattered clusters, tables in cache
#   flatten  three layers, 4 GiB, on tmpfs: raw and qcow2, paired with
#            qemu-img convert, medians of 5
#   curve    maps by number of extents and of layers
#
# Exit 1 when a goal is missed: map 1.5 s and 64 MiB, flatten not slower than
# qemu-img, the curves straight.
set -u
. "$(dirname "$0")/../setup.sh"
setup_build build-bench CFLAGS=-O2 >/dev/null || exit 1
BUILD=${BUILD:-$TOP/build-bench}
PYTHONDONTWRITEBYTECODE=1
export BUILD PYTHONDONTWRITEBYTECODE
/usr/bin/python3 "$TOP/tests/bench/image.py" "$@"
