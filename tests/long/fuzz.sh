#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every fuzz target for COUNT seconds: fuzz.sh COUNT SEED FROM
set -u
. "$(dirname "$0")/../setup.sh"
seconds=${1:-600}
ok=0
failed=0
setup_build build-fuzz CC=clang CFLAGS='-g -O1' --enable-fuzzers || exit 1
for program in "$TOP"/build-fuzz/tests/fuzz/fuzz_*; do
  case $program in
    *.o) continue ;;
  esac
  [ -x "$program" ] || continue
  echo "${program##*/}:"
  if sh "$TOP/tests/fuzz/run.sh" "$program" "$seconds" "$2"; then
    ok=$((ok + 1))
  else
    failed=$((failed + 1))
  fi
done
echo "fuzz: $ok ok, $failed failed, seed $2"
[ "$failed" -eq 0 ] && [ "$ok" -gt 0 ]
