#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# COUNT random chains against qemu-img and libqcow: chains.sh COUNT SEED FROM
# A chain that fails is kept in build-results/chains/SEED-CASE.
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
BUILD=${BUILD:-$top/build-check}
PYTHONDONTWRITEBYTECODE=1
export BUILD PYTHONDONTWRITEBYTECODE
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
cc -O1 -o "$work/decode" "$top/tests/image/decode.c" -lqcow || exit 1
DECODE=$work/decode
export DECODE
/usr/bin/python3 "$top/tests/image/chains.py" "${1:-2000}" "$2" "${3:-0}" \
  "$top/build-results/chains"
