#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# COUNT damaged images under ASan and UBSan: mutate.sh COUNT SEED FROM
# One that fails is kept in build-results/mutate.
set -u
. "$(dirname "$0")/../setup.sh"
setup_build build-asan --enable-werror --enable-test-hooks \
  --enable-sanitizers || exit 1
BUILD=$TOP/build-asan
PYTHONDONTWRITEBYTECODE=1
ASAN_OPTIONS=detect_leaks=1:abort_on_error=1
export BUILD PYTHONDONTWRITEBYTECODE ASAN_OPTIONS
/usr/bin/python3 "$TOP/tests/image/mutate.py" "${1:-10000}" "$2" "${3:-0}" \
  "$TOP/build-results/mutate"
