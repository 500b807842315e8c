# SPDX-License-Identifier: Apache-2.0
# SIGKILL of the controller and of the helper in each phase of a backup: no
# wrong point is listed, no helper stays, what is left in the engine is what
# `leftovers` lists, the next run works and cleans up.  With KEEP=1 the backups
# are increments, and one snapshot stays; with GUARD=1 it is guarded meanwhile.
. "$(dirname "$0")/lib.sh"

lab_up --vms small
vm=$(ctl inventory | jq -r '.vms[] | select(.attachments != {}) | .name' \
  | head -n 1)

KEEP=${KEEP:-}
GUARD=${GUARD:-}
[ -z "$KEEP" ] || settings 'snapshot: { keep = true; };'
[ -z "$GUARD" ] || guarded 'keep = true;'
expect 0 cl backup "$vm"

# The snapshot of the newest point is no leftover when it is kept.
but_kept ()
{
  kept=none
  [ -z "$KEEP" ] || kept=$(cl --json show "$(latest "$vm")" \
    | jq -r '.. | .snapshot_id? // empty' | head -n 1)
  grep -vF -- "${kept:-none}" || true
}

nothing_left ()
{
  [ -n "$KEEP" ] || { clean; return; }
  ctl idle >/dev/null
  residue >"$WORK/there"
  but_kept <"$WORK/there" >"$WORK/beyond"
  [ ! -s "$WORK/beyond" ] || die "left behind: $(cat "$WORK/beyond")"
  left=$(find "$LAB_REPO/tmp" "$LAB_REPO/journal" -mindepth 1)
  [ -z "$left" ] || die "left in the repository: $left"
}

# Objects of ours in the engine, by the lab and by the tool.
engine_extra ()
{
  ctl idle >/dev/null
  ctl extra >"$WORK/all"
  {
    sed -n '/^+ attachment/d; s/^+ \([a-z]*\) \([^ ]*\).*/\1 \2/p' "$WORK/all"
    sed -n 's/^+ attachment [^ ]* \([^ ]*\) of a snapshot/attachment \1/p' \
      "$WORK/all"
  } | but_kept | sort
}

listed ()
{
  status=0
  cl --json leftovers >"$OUT" 2>"$WORK/err" || status=$?
  [ "$status" -le 1 ] || { cat "$WORK/err" >&2; die "leftovers: $status"; }
  jq -r 'select(.type == "leftover" and .kind != "draft" and .kind != "helper")
    | .kind + " " + .id' "$OUT" | sort
}

after_death ()
{
  engine_extra >"$WORK/extra"
  listed >"$WORK/listed"
  cmp "$WORK/extra" "$WORK/listed" \
    || die "$1: leftovers does not list what is left"
  wait_until 20 no_process
  for point in $(cl --json points "$vm" \
    | jq -r 'select(.type == "point") | .point'); do
    grep -qxF "$point" "$WORK/proven" 2>/dev/null && continue
    prove image "$point" || die "$1: a wrong point is listed: $point"
    echo "$point" >>"$WORK/proven"
  done
  expect 0 cl backup "$vm"
  point=$(latest "$vm")
  prove image "$point" || die "$1: the next point is wrong"
  echo "$point" >>"$WORK/proven"
  [ -z "$KEEP" ] || cl --json show "$point" | grep -q 'increment on' \
    || die "$1: the next point is no increment"
  nothing_left
  echo "ok: $1"
}

controller ()
{
  CHAINLIFT_STOP_AT=$1 "$BUILD/src/chainlift" --config "$LAB_CONF" \
    backup "$vm" >"$WORK/run.out" 2>&1 </dev/null &
  pid=$!
  wait_until 60 grep -q "stopped at $1" "$WORK/run.out"
  kill -KILL "$pid"
  wait "$pid" 2>/dev/null || true
  after_death "controller killed at $1"
}

helper ()
{
  status=0
  CHAINLIFT_STOP_REMOTE=$1 cl backup "$vm" >"$OUT" 2>&1 </dev/null \
    || status=$?
  case $status in
    6 | 7) ;;
    *) die "helper killed at $1: exit $status" ;;
  esac
  grep -q "error: $vm: disk .*host h" "$OUT" || die "helper killed at $1: no error names the VM"
  engine_extra >"$WORK/extra"
  [ ! -s "$WORK/extra" ] || die "helper killed at $1: left in the engine"
  nothing_left
  after_death "helper killed at $1"
}

for at in ${STOPS:-plan snapshot snapshot:2 snapshot:3 config t0 t0:2 map \
  stream stream:2 t1 publish publish:2 release release:2}; do
  controller "$at"
done
for at in ${REMOTE_STOPS:-t0 map stream t1}; do
  helper "$at"
done
