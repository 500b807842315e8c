#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# One case of check.sh: case.sh TALLY NAME COMMAND...
# Runs COMMAND with its output in build-results, prints one line (of a failure
# also the lines of its log that begin with FAIL, and the end of that log) and appends ok, FAIL
# or skip to the file TALLY.
# Exit 77 of COMMAND is a skip, which tests/SKIPS must expect.
set -u
tally=$1
name=$2
shift 2
results=$TOP/build-results
log=$results/$(echo "$name" | tr '/ ' '__').log
begin=$(date +%s)
timeout -k 30 "${CASE_SECONDS:-1200}" "$@" >"$log" 2>&1 </dev/null
status=$?
took="$(($(date +%s) - begin)) s"

note ()
{
  echo "$1" >>"$tally"
  {
    printf '%-4s %s  (%s)\n' "$1" "$name" "$2"
    if [ "$1" = FAIL ]; then
      grep -nE '^(FAIL|FAILED):' "$log" | head -n 10 | sed 's/^/    > /'
      tail -n "${TAIL:-40}" "$log" | sed 's/^/    | /'
    fi
  } >"$log.line"
  # One write, so that cases side by side do not mix.
  cat "$log.line"
  rm -f "$log.line"
}

case $status in
  0) note ok "$took" ;;
  77)
    reason=$(tail -n 1 "$log")
    if grep -q "^$name[[:space:]]" "$TOP/tests/SKIPS"; then
      note skip "$reason"
    else
      note FAIL "a skip that tests/SKIPS does not expect: $reason"
    fi
    ;;
  *) note FAIL "exit $status after $took, log build-results/${log##*/}" ;;
esac
exit 0
