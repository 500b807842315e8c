#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The whole tables of SIGKILL on block domains, of which `check.sh block` runs
# a part.
BUILD=${BUILD:-$(cd "$(dirname "$0")/../.." && pwd)/build-check}
ALL=1
export BUILD ALL
ok=0
failed=0
for name in block_kill block_restore_kill; do
  if sh "$(dirname "$0")/../e2e/$name.sh"; then
    ok=$((ok + 1))
  else
    failed=$((failed + 1))
  fi
done
echo "block: $ok ok, $failed failed, seed ${2:-1}"
[ "$failed" -eq 0 ]
