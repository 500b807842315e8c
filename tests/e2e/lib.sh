# SPDX-License-Identifier: Apache-2.0
# Sourced by every e2e script.  BUILD is the directory of the programs (set by
# check.sh; build-check otherwise).
#
#   lab_up [ARG...]        a lab of its own; sets LAB LAB_CONF LAB_REPO ...
#   cl ARG...              the program with the lab's configuration
#   ctl VERB ARG...        the lab's control endpoint
#   on HOST VERB ARG...    a fault of a host of the lab
#   inside HOST CMD...     a command there, as root
#   prove WHAT ARG...      tests/e2e/prove.py: bytes against the oracle
#   expect STATUS CMD...   the exit status must be STATUS; output in $OUT
#   says TEXT              $OUT must contain TEXT
#   clean                  nothing of ours is left anywhere in the lab
#   settings TEXT          keys over those of the lab, until the next call
#   guarded TEXT           a VM "keeper" that guards snapshots, and those keys
#   quick                  short waits of the program and of the engine
#   halt PHASE[:N] ARG...  the program with ARG in the background, stopped there
#                          (within HALT_S seconds, 60)
#   go_on STATUS           let that one run on; its exit status must be STATUS
#   kill_halted            SIGKILL for it
#   row NAME STATUS TEXT... -- CMD...   one fault of a table: exit status, what
#                          is told, and that nothing of ours is left
#   intact NAME            no point came or went since `noted`, and clean
#   next_run VM            a backup of it works, and its bytes are right
#   crew NAME ARG...       the program in the background, one of several; its
#                          output in $WORK/crew.NAME
#   crew_at PHASE          until all of these have stopped there
#   crew_kill, crew_go     SIGKILL for all; let all run on
#   crew_ended STATUS...   all have ended, each with one of these; in $ENDED
#   guests SCRIPT          as root in each guest of the lab, by its agent
#   lvs_noted, lvs_same NAME, lvs_differ NAME   what is active in the guests
#   no_helper              no process of ours is in a guest
#   no_process             no process of ours is on a host of the lab
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
HALTED=
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
  [ -z "$HALTED" ] || kill -KILL "$HALTED" 2>/dev/null
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

on ()
{
  sh "$TOP/tests/lab/lab.sh" host "$LAB" "$@"
}

# One call to the engine as an administrator makes it: api METHOD PATH.
api ()
{
  /usr/bin/python3 "$TOP/tests/e2e/api.py" "$@"
}

inside ()
{
  /usr/bin/python3 "$TOP/tests/e2e/inside.py" "$@"
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
  left=$(find "$LAB_REPO/tmp" "$LAB_REPO/journal" -mindepth 1 2>/dev/null) \
    || true
  [ -z "$left" ] || die "left in the repository: $left"
}

# Wait until COMMAND succeeds, at most $1 seconds.
wait_until ()
{
  limit=$(($1 * 10))
  shift
  while ! "$@" >/dev/null 2>&1; do
    limit=$((limit - 1))
    [ "$limit" -gt 0 ] || die "did not come true: $*"
    sleep 0.1
  done
}

settings ()
{
  mkdir -p "$LAB/conf.d"
  printf '%s\n' "$*" >"$LAB/conf.d/test.conf"
}

guarded ()
{
  if ! ctl inventory | jq -e '.vms[] | select(.name == "keeper")' >/dev/null
  then
    api POST /vms '<vm><name>keeper</name><cluster><name>Default</name></cluster><template><name>Blank</name></template></vm>' \
      >/dev/null
    ctl baseline >/dev/null
  fi
  settings "snapshot: { guard = \"attach\"; guard_vm = \"keeper\"; $* };"
}

quick ()
{
  mkdir -p "$LAB/conf.d"
  echo 'engine: { poll_ms = 100; retry = 5; busy = 2; };' \
    >"$LAB/conf.d/quick.conf"
  for name in locked tail grace; do
    ctl delay "$name" 0.1 >/dev/null
  done
}

# In the background the program itself must be the process: HALTED can be
# signalled.
begin ()
{
  : >"$OUT"
  (
    exec "$BUILD/src/chainlift" --config "$LAB_CONF" "$@"
  ) >"$OUT" 2>&1 </dev/null &
  HALTED=$!
}

has_stopped ()
{
  if grep -q "stopped at $1" "$OUT"; then
    return 0
  fi
  kill -0 "$HALTED" || die "it ended before $1: $(tail -n 1 "$OUT")"
  return 1
}

halt ()
{
  at=$1
  shift
  CHAINLIFT_STOP_AT=$at
  export CHAINLIFT_STOP_AT
  begin "$@"
  unset CHAINLIFT_STOP_AT
  wait_until "${HALT_S:-60}" has_stopped "$at"
}

# The end of the program that `begin` or `halt` started.
ended ()
{
  got=0
  wait "$HALTED" || got=$?
  HALTED=
  [ "$got" -eq "$1" ] || die "exit $got, not $1"
}

kill_halted ()
{
  kill -KILL "$HALTED"
  wait "$HALTED" 2>/dev/null || true
  HALTED=
}

go_on ()
{
  kill -CONT "$HALTED"
  ended "$1"
}

listed_points ()
{
  if [ -d "$LAB_REPO" ]; then
    cl --json points | jq -r 'select(.type == "point") | .point' | sort
  fi
}

noted ()
{
  listed_points >"$WORK/points"
}

intact ()
{
  ctl clear-faults >/dev/null
  clean
  listed_points >"$WORK/points.now"
  cmp "$WORK/points" "$WORK/points.now" || die "$1: the points changed"
  echo "ok: $1: $(grep -E '^chainlift: .*(error|warning):' "$OUT" \
    | tail -n 1 | sed "s|$WORK|WORK|g")"
}

row ()
{
  name=$1
  wanted=$2
  shift 2
  : >"$WORK/said"
  while [ "$1" != -- ]; do
    printf '%s\n' "$1" >>"$WORK/said"
    shift
  done
  shift
  expect "$wanted" "$@"
  while IFS= read -r text; do
    says "$text"
  done <"$WORK/said"
  intact "$name"
}

next_run ()
{
  expect 0 cl backup "$1"
  prove image "$(latest "$1")" || die "the next point of $1 is wrong"
  clean
  noted
}

# What lab.sh residue lists, on stdout; it must have been able to look.
residue ()
{
  sh "$TOP/tests/lab/lab.sh" residue "$LAB" >"$WORK/residue" 2>"$WORK/why" \
    || [ -s "$WORK/residue" ] || die "residue: $(cat "$WORK/why")"
  cat "$WORK/residue"
}

no_process ()
{
  residue >"$WORK/there"
  ! grep -q 'process' "$WORK/there"
}

# With CREW_CONF another configuration than the lab's.
crew ()
{
  [ -e "$WORK/crew" ] \
    || cleanup_fn "cut -d' ' -f1 '$WORK/crew' | xargs -r kill -KILL 2>/dev/null"
  one=$1
  shift
  "$BUILD/src/chainlift" --config "${CREW_CONF:-$LAB_CONF}" "$@" \
    >"$WORK/crew.$one" 2>&1 </dev/null &
  echo "$! $one" >>"$WORK/crew"
}

crew_at ()
{
  while read -r pid one; do
    limit=$((${HALT_S:-60} * 10))
    until grep -q "stopped at $1" "$WORK/crew.$one"; do
      limit=$((limit - 1))
      if [ "$limit" -le 0 ] || ! kill -0 "$pid"; then
        cp "$WORK/crew.$one" "$OUT"
        die "$one does not stop at $1"
      fi
      sleep 0.1
    done
  done <"$WORK/crew"
}

crew_kill ()
{
  while read -r pid one; do
    kill -KILL "$pid"
    wait "$pid" 2>/dev/null || true
  done <"$WORK/crew"
  : >"$WORK/crew"
}

crew_go ()
{
  while read -r pid one; do
    kill -CONT "$pid"
  done <"$WORK/crew"
}

crew_ended ()
{
  ENDED=
  while read -r pid one; do
    got=0
    wait "$pid" || got=$?
    ENDED="$ENDED $got"
    case " $* " in
      *" $got "*) ;;
      *)
        cp "$WORK/crew.$one" "$OUT"
        die "$one: exit $got, not $*"
        ;;
    esac
  done <"$WORK/crew"
  : >"$WORK/crew"
}

guests ()
{
  /usr/bin/python3 "$TOP/tests/e2e/guests.py" "$1"
}

# Not by the tool and not by the lab's bookkeeping: the logical volumes that
# LVM has as active (or worse) in each guest, and what helpers leave there.
lvs_look ()
{
  guests '
    rows=$(/usr/lib/lab/real/lvm lvs --noheadings -o lv_attr,vg_name,lv_name \
      --devices "$(echo /dev/mapper/35000c50015ea710[123] | tr " " ,)")
    echo "$rows" | sed -n "s/ *$//; s/^ *[^ ]\{4\}\([^ -]\)[^ ]*/\1/p" | sort
    ls -A /run/chainlift 2>/dev/null | sed "s/^/record /"
    ps -e -o comm= | sed -n "s/^chainlift-remot.*/helper/p"' >"$1" \
    || die "LVM does not say what is active"
  grep -q '^b2 a .* metadata$' "$1" || die "nothing is active: $(cat "$1")"
}

lvs_noted ()
{
  lvs_look "$WORK/lvs"
}

lvs_same ()
{
  lvs_look "$WORK/lvs.now"
  diff "$WORK/lvs" "$WORK/lvs.now" >&2 || die "$1: other volumes are active"
}

lvs_differ ()
{
  lvs_look "$WORK/lvs.now"
  ! cmp -s "$WORK/lvs" "$WORK/lvs.now" || die "$1: nothing else is active"
}

no_helper ()
{
  ! guests 'pgrep chainlift-remot || true' | grep -q .
}
