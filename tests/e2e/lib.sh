# SPDX-License-Identifier: Apache-2.0
# Sourced by every e2e script.  BUILD is the directory of the programs (set by
# check.sh; build-check otherwise).
#
#   lab_up [ARG...]        a lab of its own; sets LAB LAB_CONF LAB_REPO ...
#   cl ARG...              the program with the lab's configuration
#   ctl VERB ARG...        the lab's control endpoint
#   prove WHAT ARG...      tests/e2e/prove.py: bytes against the oracle
#   expect STATUS CMD...   the exit status must be STATUS; output in $OUT
#   says TEXT              $OUT must contain TEXT
#   clean                  nothing of ours is left anywhere in the lab
#   die TEXT               fail
#   cleanup_fn CMD...      run at the end, last first
#
# A script that ends without an error has passed.

set -eu
TOP=$(cd "$(dirname "$0")/../.." && pwd)
BUILD=${BUILD:-$TOP/build-check}
PATH=$PATH:/usr/sbin:/sbin
LC_ALL=C.UTF-8
CHAINLIFT_HELPER=$BUILD/remote/chainlift-remote
PYTHONDONTWRITEBYTECODE=1
export TOP BUILD PATH LC_ALL CHAINLIFT_HELPER PYTHONDONTWRITEBYTECODE
unset CHAINLIFT_STOP_AT CHAINLIFT_STOP_REMOTE || true

WORK=$(mktemp -d)
OUT=$WORK/out
CLEANUP_LIST=
export WORK

die ()
{
  echo "FAIL: $*" >&2
  exit 1
}

skip ()
{
  echo "$*"
  exit 77
}

cleanup_fn ()
{
  CLEANUP_LIST="$*
$CLEANUP_LIST"
}

at_exit ()
{
  status=$?
  trap '' INT TERM
  set +e
  if [ "$status" -ne 0 ] && [ -s "$OUT" ]; then
    echo "--- last output:" >&2
    tail -n 30 "$OUT" >&2
  fi
  echo "$CLEANUP_LIST" | while IFS= read -r command; do
    [ -z "$command" ] || eval "$command"
  done
  rm -rf --one-file-system "$WORK"
  exit "$status"
}
trap at_exit EXIT
trap 'exit 130' INT TERM

[ "$(id -u)" = 0 ] || skip "needs root for namespaces"
[ -x "$BUILD/src/chainlift" ] || die "no program in $BUILD: run check.sh"

lab_up ()
{
  LAB=$WORK/lab
  cleanup_fn "sh '$TOP/tests/lab/lab.sh' down '$LAB' >/dev/null"
  sh "$TOP/tests/lab/lab.sh" up "$LAB" "$@" >"$WORK/lab.log" 2>&1 || {
    cat "$WORK/lab.log" >&2
    die "the lab does not come up"
  }
  . "$LAB/env"
  export LAB LAB_CONF LAB_REPO LAB_URL LAB_CA LAB_USER LAB_PASSWORD_FILE
}

cl ()
{
  "$BUILD/src/chainlift" --config "$LAB_CONF" "$@"
}

ctl ()
{
  sh "$TOP/tests/lab/lab.sh" ctl "$LAB" "$@"
}

# One call to the engine as an administrator makes it: api METHOD PATH.
api ()
{
  /usr/bin/python3 "$TOP/tests/e2e/api.py" "$@"
}

prove ()
{
  /usr/bin/python3 "$TOP/tests/e2e/prove.py" "$@"
}

expect ()
{
  wanted=$1
  shift
  got=0
  "$@" >"$OUT" 2>&1 </dev/null || got=$?
  [ "$got" -eq "$wanted" ] || die "exit $got, not $wanted: $*"
}

says ()
{
  grep -qF -- "$1" "$OUT" || die "the output does not say: $1"
}

says_not ()
{
  if grep -qF -- "$1" "$OUT"; then
    die "the output says: $1"
  fi
}

# The point that the newest manifest of VM $1 makes, as VM@STAMP.
latest ()
{
  cl --json points "$1" | jq -r 'select(.type == "point") | .point' \
    | head -n 1
}

clean ()
{
  ctl idle >/dev/null
  sh "$TOP/tests/lab/lab.sh" residue "$LAB" >"$WORK/residue" 2>&1 || {
    cat "$WORK/residue" >&2
    die "something is left behind"
  }
  left=$(find "$LAB_REPO/tmp" "$LAB_REPO/journal" -mindepth 1 2>/dev/null)
  [ -z "$left" ] || die "left in the repository: $left"
}

# Wait until COMMAND succeeds, at most $1 seconds.
wait_until ()
{
  limit=$1
  shift
  while ! "$@" >/dev/null 2>&1; do
    limit=$((limit - 1))
    [ "$limit" -gt 0 ] || die "did not come true: $*"
    sleep 1
  done
}
