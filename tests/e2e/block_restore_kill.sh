# SPDX-License-Identifier: Apache-2.0
# SIGKILL of the controller, of the helper, and of both, in the phases of a
# restore onto a block domain, held by transfers and not: after `leftovers
# --clean` nothing is in the engine and no logical volume is active that was
# not before, on both hosts.
. "$(dirname "$0")/lib.sh"

HALT_S=300
lab_up --vms tiny --guests 2 --block small
quick
quick_ssh='ssh: { heartbeat = 5; stall_timeout = 10; };'
settings "$quick_ssh"
expect 0 cl backup mini
point=$(latest mini)
clean
n=0

no_helper ()
{
  residue >"$WORK/there"
  ! grep -q 'process' "$WORK/there"
}

onto ()
{
  n=$((n + 1))
  "$@" restore "$point" --as "copy-$n" --cluster blockcluster \
    --storage block_one
}

cleaned ()
{
  wait_until 120 no_helper
  expect 0 cl leftovers --clean
  clean
  echo "ok: $1"
}

controller ()
{
  onto halt "$1"
  kill -KILL "$HALTED"
  wait "$HALTED" 2>/dev/null || true
  HALTED=
  cleaned "controller killed at $1, lock $lock"
}

helper ()
{
  status=0
  CHAINLIFT_STOP_REMOTE=$1 onto cl >"$OUT" 2>&1 </dev/null || status=$?
  case $status in
    6 | 7) ;;
    *) die "helper killed at $1: exit $status" ;;
  esac
  cleaned "helper killed at $1, lock $lock"
}

# All processes of the helper at once: nobody is left on the host to put the
# volumes back.
both ()
{
  onto halt "$1"
  for host in b1 b2; do
    sh "$TOP/tests/lab/lab.sh" run "$LAB" "$host" ps -e -ww -o pid=,args= \
      >"$WORK/ps"
    ids=$(awk '/chainlift-remote/ { print $1 }' "$WORK/ps")
    # shellcheck disable=SC2086
    [ -z "$ids" ] || sh "$TOP/tests/lab/lab.sh" run "$LAB" "$host" \
      kill -KILL $ids
  done
  kill -KILL "$HALTED"
  wait "$HALTED" 2>/dev/null || true
  HALTED=
  cleaned "both killed at $1, lock $lock"
}

for lock in ${LOCKS:-none auto}; do
  settings "restore_lock = \"$lock\"; $quick_ssh"
  for at in ${REMOTE_STOPS-prove write verify seal}; do
    helper "$at"
  done
  for at in ${STOPS-create:2 prove:2 write:3 verify:2 vm}; do
    controller "$at"
  done
  for at in ${BOTH-write:3 verify:2}; do
    both "$at"
  done
done
