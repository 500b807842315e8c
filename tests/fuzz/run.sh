#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Run one fuzz target for a time: run.sh PROGRAM SECONDS [SEED]
# The seed corpus is tests/data/fuzz/NAME; finds stay in build-results.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
program=$(cd "$(dirname "$1")" && pwd)/${1##*/}
name=${1##*/fuzz_}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/corpus" "$top/build-results/fuzz"
seeds=$top/tests/data/fuzz/$name
[ -d "$seeds" ] || { echo "no seed corpus $seeds"; exit 1; }
"$program" -max_total_time="$2" -timeout=10 -rss_limit_mb=2048 -seed="${3:-1}" \
  -print_final_stats=1 -artifact_prefix="$top/build-results/fuzz/$name-" \
  "$work/corpus" "$seeds" >"$work/log" 2>&1 || {
  tail -n 60 "$work/log"
  exit 1
}
tail -n 8 "$work/log"
