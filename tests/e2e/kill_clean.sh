# SPDX-License-Identifier: Apache-2.0
# leftovers --clean killed before and after each of its steps: the next one does
# the rest.
. "$(dirname "$0")/lib.sh"

lab_up --vms small
quick
vm=web01
n=0

dead ()
{
  kill_halted
  ctl idle >/dev/null
  wait_until 20 no_process
}
# $1: PHASE COMMAND
leave ()
{
  n=$((n + 1))
  if [ "${1#* }" = backup ]; then
    halt "${1% *}" backup "$vm"
  else
    halt "${1% *}" restore "$point" --as "copy-$n"
  fi
  dead
}
stopped_or_ended ()
{
  ! kill -0 "$HALTED" || grep -q 'stopped at clean' "$OUT"
}
cleaned ()
{
  expect 0 cl leftovers --clean
  clean
  expect 0 cl leftovers
  echo "ok: $1"
}

expect 0 cl backup "$vm"
point=$(latest "$vm")
for case in 'stream backup' 'release:2 restore'; do
  step=0
  while [ "$step" -lt 12 ]; do
    step=$((step + 1))
    leave "$case"
    CHAINLIFT_STOP_AT=clean:$step
    export CHAINLIFT_STOP_AT
    begin leftovers --clean
    unset CHAINLIFT_STOP_AT
    wait_until 60 stopped_or_ended
    if ! grep -q 'stopped at clean' "$OUT"; then
      ended 0
      break
    fi
    dead
    cleaned "$case, cleaning killed at $step"
  done
  [ "$step" -gt 3 ] && [ "$step" -lt 12 ] || die "$case: $step steps"
  cleaned "$case, $((step - 1)) steps"
done
prove image "$point"
next_run "$vm"
