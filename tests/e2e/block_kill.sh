# SPDX-License-Identifier: Apache-2.0
# Backups from a block domain, of a VM that runs and of one that is stopped, at
# the same time.  In their phases SIGKILL of the controllers, of the helpers'
# workers, of the helpers, of both at once, and power loss of a hypervisor;
# also of increments where those differ.  After each `leftovers` lists what is
# left in the engine; after `leftovers --clean` LVM itself says on both hosts
# that exactly the logical volumes are active that were before, and nothing of
# ours is anywhere.  Then a backup of each VM is right.  ALL=1: every row.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/parts/kill.sh"

HALT_S=300
lab_up --hosts 0 --guests 2 --block small --vms none
quick
quick_ssh='ssh: { heartbeat = 5; stall_timeout = 10; };'
keep=
full=
vms='blk-cow blk-off'

begin_all ()
{
  for vm in $vms; do
    # shellcheck disable=SC2086
    crew "$vm" backup $full "$vm"
  done
}

# --- what is left ------------------------------------------------------------

# The snapshot of the newest point of each VM, when it is kept.
kept ()
{
  echo none
  [ -n "$keep" ] || return 0
  for vm in blk-cow blk-off; do
    cl --json show "$(latest "$vm")" | jq -r '.. | .snapshot_id? // empty' \
      | head -n 1
  done
}

# Our snapshots in the engine but those that are kept.
engine_ours ()
{
  ctl idle >/dev/null
  kept >"$WORK/kept"
  ctl inventory | jq -r '.snapshots[]
    | select(.description | startswith("chainlift:")) | .id' | sort \
    | grep -vFf "$WORK/kept" || true
}

listed ()
{
  status=0
  cl --json leftovers >"$OUT" 2>"$WORK/err" || status=$?
  [ "$status" -le 1 ] || { cat "$WORK/err" >&2; die "leftovers: $status"; }
  jq -r 'select(.type == "leftover" and .kind == "snapshot") | .id' "$OUT" \
    | sort
}

# cleaned NAME [COMMAND...]: what is left goes by that, `leftovers --clean`.
cleaned ()
{
  name="$1$keep"
  shift
  [ $# -gt 0 ] || set -- leftovers --clean
  engine_ours >"$WORK/ours"
  listed >"$WORK/listed"
  cmp "$WORK/ours" "$WORK/listed" \
    || die "$name: leftovers does not list what is left"
  hosts=$(jq -r 'select(.kind == "volumes") | .name' "$OUT" | sort -u | xargs)
  wait_until 120 no_helper
  expect 0 cl "$@"
  lvs_same "$name"
  engine_ours >"$WORK/ours"
  [ ! -s "$WORK/ours" ] || die "$name: still there: $(cat "$WORK/ours")"
  # what is kept is no residue: it was looked at above
  [ -z "$keep" ] || ctl baseline >/dev/null
  clean
  echo "ok: $name: $(wc -l <"$WORK/listed") snapshots left," \
    "volumes perhaps on: ${hosts:-no host}"
}

# --- the rows ---------------------------------------------------------------

# The worker is the guard's child; a stream goes on with another helper.
worker ()
{
  halt_all "$1"
  guests 'for id in $(pgrep chainlift-remot); do
    pkill -KILL -e -P $id chainlift-remot || true
  done' >"$WORK/killed"
  [ -s "$WORK/killed" ] || die "workers killed at $1: there is none"
  crew_go
  crew_ended 0 6 7
  cleaned "workers killed at $1 (exit$ENDED)"
}

# Where $vms are read: the stopped one on the host that is not the SPM.
readers ()
{
  echo "$vms" | sed 's/blk-cow/b1/; s/blk-off/b2/'
}

# Nobody is left on the hosts to put the volumes back.
both ()
{
  at=$1
  shift
  halt_all "$at"
  guests 'for id in $(pgrep chainlift-remot); do
    kill -KILL $id || true
  done'
  crew_kill
  lvs_differ "both killed at $at"
  cleaned "both killed at $at${*:+, then $*}" "$@"
  [ "$hosts" = "$(readers)" ] || die "both killed at $at: listed: $hosts"
}

host_up ()
{
  ctl inventory | jq -e '.hosts[] | select(.name == "b2" and .status == "up")'
}

# The host that reads the stopped VM loses its power: the reads go on from the
# other one.
power ()
{
  halt_all "$1"
  sh "$TOP/tests/lab/lab.sh" host "$LAB" b2 kill
  crew_go
  crew_ended 1 # it tells of the volumes on the host that is gone
  sh "$TOP/tests/lab/lab.sh" host "$LAB" b2 start
  wait_until 120 host_up
  cleaned "power of the host lost at $1"
}

# Do the points that are made now hold the right bytes?
proven ()
{
  # shellcheck disable=SC2086
  expect 0 cl backup $vms
  for vm in $vms; do
    prove image "$(latest "$vm")" || die "the next point of $vm is wrong"
  done
  # what is kept is no residue
  [ -z "$keep" ] || ctl baseline >/dev/null
  clean
  lvs_noted
}

# each FUNCTION ROW...: a row is PHASE,VM or PHASE, which is of both at once.
each ()
{
  function=$1
  shift
  for row; do
    vms='blk-cow blk-off'
    [ "${row%,*}" = "$row" ] || vms=${row#*,}
    "$function" "${row%,*}"
  done
}

# Rows of full backups; of those at the end enough is seen with increments.
if [ -n "${ALL:-}" ]; then
  STOPS='snapshot plan snapshot:2 snapshot:3 config t0 t0:2 map stream stream:2
    t1 publish publish:2 release release:2'
  HELPERS='hello t0 active map stream t1'
  WORKERS='map stream t1'
  BOTH='map stream t1'
  KEPT='config,blk-cow map,blk-off t1 publish:2,blk-off release,blk-off
    release:2,blk-off'
  KEPT_HELPERS='t0 map t1' # there may be no data to stream
  KEPT_BOTH='map t1'
fi

settings "$quick_ssh"
lvs_noted
# The comparison fails where it should.
ctl prepare b2 blk-off blk-off_Disk1 >/dev/null
lvs_differ "a volume that is activated on purpose"
ctl teardown b2 blk-off blk-off_Disk1 >/dev/null
lvs_same "and deactivated again"

# shellcheck disable=SC2086
{
  each controller ${STOPS-snapshot:3,blk-off plan,blk-cow config,blk-cow \
    t0:2,blk-off map,blk-cow stream,blk-off}
  each helper ${HELPERS-t0,blk-cow active,blk-off map,blk-cow stream,blk-off}
  each worker ${WORKERS-map,blk-cow}
  each both ${BOTH-map,blk-cow}
}

# Increments: a kept snapshot below, which the last step replaces; a VM that
# runs has another volume then, so what comes that far is of the other one.
settings "$quick_ssh snapshot: { keep = true; };"
keep=', increments'
each proven all
# shellcheck disable=SC2086
{
  each controller ${KEPT-t1,blk-cow publish:2,blk-off release,blk-off}
  each helper ${KEPT_HELPERS-t1,blk-cow}
  each both ${KEPT_BOTH-stream,blk-off}
}
vms=blk-off
both t1 backup blk-off
full=--full
power stream
full=
each proven all
