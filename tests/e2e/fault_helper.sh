# SPDX-License-Identifier: Apache-2.0
# A helper that cannot end (here: it is stopped) is listed as a leftover; when
# it can, it ends, and the next run works.  The directory of one that was killed
# before it could remove it goes with the next look at the host.
. "$(dirname "$0")/lib.sh"

lab_up --vms small
vm=web01
expect 0 cl backup "$vm"

helpers ()
{
  cl --json leftovers 2>/dev/null \
    | jq -r 'select(.type == "leftover" and .kind == "helper") | .name'
}

on_host ()
{
  sh "$TOP/tests/lab/lab.sh" run "$LAB" h1 sh -c "$1"
}

gone ()
{
  [ -z "$(helpers)" ]
}

CHAINLIFT_STOP_AT=stream "$BUILD/src/chainlift" --config "$LAB_CONF" \
  backup "$vm" >"$WORK/run.out" 2>&1 </dev/null &
pid=$!
cleanup_fn "kill -KILL $pid 2>/dev/null"
wait_until 60 grep -q "stopped at stream" "$WORK/run.out"
on_host 'pkill -STOP chainlift-remot'
kill -KILL "$pid"
wait "$pid" 2>/dev/null || true
[ "$(helpers | sort -u)" = h1 ] || die "the helper is not listed"
expect 1 cl leftovers
says 'it ends by itself when its heartbeat stops'
on_host 'pkill -CONT chainlift-remot'
wait_until 40 gone
expect 0 cl backup "$vm"
prove image "$(latest "$vm")"
clean

for command in "backup $vm" leftovers; do
  on_host 'mkdir -m 700 /run/.chainlift.999999.dead /run/.chainlift.1.alive
    touch /run/.chainlift.999999.dead/chainlift-remote'
  # shellcheck disable=SC2086
  expect 0 cl $command
  on_host '[ ! -e /run/.chainlift.999999.dead ]' || die "$command: it stays"
  on_host 'rmdir /run/.chainlift.1.alive' || die "$command: removed too much"
done
clean
