# SPDX-License-Identifier: Apache-2.0
# Two controllers, each in network, process and host name namespaces of its own,
# on one repository: exactly one works on a VM, the other says who does and
# where; when the one is killed, the other can go on; what another machine left
# behind is only broken on demand.
. "$(dirname "$0")/lib.sh"

lab_up --vms small
quick
vm=web01
vm_id=$(ctl inventory | jq -r --arg n "$vm" '.vms[] | select(.name == $n) | .id')
bridge=$(ip -o -4 addr show | awk -v at="${LAB_NETWORK%.0/24}.1/24" \
  '$4 == at { print $2 }')
[ -n "$bridge" ] || die 'no bridge of the lab'

# A controller's machine: namespaces NAME with the address .2NN and a host name.
machine ()
{
  name=$1
  : >"$WORK/$name.in"
  # The script inside must live until it is told its network is there.
  unshare --net --pid --uts --mount --fork --kill-child --mount-proc \
    sh -c 'hostname "$1" && echo "$2" >"$3" && exec sleep 100000' \
    sh "$3" up "$WORK/$name.in" &
  eval "outer_$name=$!"
  cleanup_fn "kill -KILL $! 2>/dev/null"
  wait_until 20 grep -q up "$WORK/$name.in"
  pid=$(pgrep -P "$(eval "echo \$outer_$name")" | head -n 1)
  eval "init_$name=$pid"
  link="${bridge#clab}$name"
  ip link add "cl$link" type veth peer name eth0 netns "$pid"
  cleanup_fn "ip link del 'cl$link' 2>/dev/null"
  ip link set "cl$link" master "$bridge" up
  nsenter -t "$pid" -n ip addr add "${LAB_NETWORK%.0/24}.$2/24" dev eth0
  nsenter -t "$pid" -n ip link set lo up
  nsenter -t "$pid" -n ip link set eth0 up
  port=${LAB_URL#https://*:}
  /usr/bin/python3 "$TOP/tests/e2e/forward.py" "$pid" "${port%%/*}" \
    >"$WORK/$name.forward" &
  cleanup_fn "kill -KILL $! 2>/dev/null"
  wait_until 20 grep -q ready "$WORK/$name.forward"
}
rename ()
{
  nsenter -t "$(eval "echo \$init_$1")" -u hostname "$2"
}

# The program on machine $1, in the background; its output in $WORK/$1.out.
on ()
{
  name=$1
  shift
  : >"$WORK/$name.out"
  nsenter -t "$(eval "echo \$init_$name")" -n -p -u -m -- \
    "$BUILD/src/chainlift" --config "$LAB_CONF" "$@" \
    >"$WORK/$name.out" 2>&1 </dev/null &
  eval "job_$name=$!"
}
# Its exit status must be one of the rest.
ends ()
{
  name=$1
  shift
  got=0
  wait "$(eval "echo \$job_$name")" 2>/dev/null || got=$?
  cp "$WORK/$name.out" "$OUT"
  case " $* " in
    *" $got "*) ;;
    *) die "on $name: exit $got, not $*" ;;
  esac
}
stands ()
{
  name=$1
  at=$2
  shift 2
  CHAINLIFT_STOP_AT=$at
  export CHAINLIFT_STOP_AT
  on "$name" "$@"
  unset CHAINLIFT_STOP_AT
  wait_until 60 grep -q "stopped at $at" "$WORK/$name.out"
  eval "stood_$name=\$(pgrep -P \$job_$name | head -n 1)"
}
goes_on ()
{
  kill -CONT "$(eval "echo \$stood_$1")" "$(eval "echo \$job_$1")"
}
dies ()
{
  kill -KILL "$(eval "echo \$stood_$1")"
  kill -CONT "$(eval "echo \$job_$1")"
  ends "$1" 137
  ctl idle >/dev/null
}
busy ()
{
  says "lease "
  says "is held by process"
  says "on host $1, run"
}

machine a 201 control
machine b 202 control

# The race itself: both at the same time, again and again.  The one that comes
# too late may also find the disk locked by the other's snapshot; where the
# machine is slow, it may come when the other has ended.
expect 0 cl backup "$vm"
clean
refused=0
for round in 1 2 3 4 5 6; do
  if [ "$round" = 4 ]; then
    rename b elsewhere
  fi
  listed_points | wc -l >"$WORK/count"
  calls=$(ctl log | jq length)
  ctl stall 'GET /vms/[^/]+/snapshots/[^/]+$' 2 0.7 >/dev/null
  on a backup "$vm"
  on b backup "$vm"
  done_well=0
  for name in a b; do
    ends "$name" 0 12
    if [ "$got" = 0 ]; then
      done_well=$((done_well + 1))
      continue
    fi
    refused=$((refused + 1))
    grep -q "is locked: another operation" "$OUT" \
      || grep -q 'lease .* is held by process .* on host .*, run ' "$OUT" \
      || die "round $round: $name: no reason"
  done
  ctl clear-faults >/dev/null
  [ "$done_well" -ge 1 ] || die "round $round: nobody worked"
  [ "$(listed_points | wc -l)" = $(($(cat "$WORK/count") + done_well)) ] \
    || die "round $round: not a point for each"
  # Never two snapshots at once.
  ctl log "$calls" | jq -r '.[] | select(.path | test("/snapshots(/[^/]+)?$"))
    | .method' | grep -E 'POST|DELETE' >"$WORK/changes"
  [ "$(wc -l <"$WORK/changes")" = $((2 * done_well)) ] \
    || die "round $round: $(cat "$WORK/changes")"
  uniq -d "$WORK/changes" >"$WORK/twice"
  [ ! -s "$WORK/twice" ] || die "round $round: both worked at once"
  prove image "$(latest "$vm")"
  clean
  echo "ok: round $round: $done_well worked"
done
[ "$refused" -ge 2 ] || die 'they never met'

# One that stands still has it; cleaning leaves it alone.
stands a stream backup "$vm"
on b backup "$vm"
ends b 12
busy control
on b leftovers --clean
ends b 0
says 'in use: a run is at work on it'
goes_on a
ends a 0
prove image "$(latest "$vm")"
clean

# Who has the lock and has not said yet who he is, is waited for.
held=$LAB_REPO/leases/$vm_id
stands a stream backup "$vm"
cp "$held" "$WORK/text"
goes_on a
ends a 0
/usr/bin/python3 "$TOP/tests/e2e/holder.py" "$held" "$WORK/text" \
  >"$WORK/holder.out" &
holder=$!
cleanup_fn "kill -KILL $holder 2>/dev/null"
wait_until 20 grep -q locked "$WORK/holder.out"
on b backup "$vm"
ends b 12
busy control
wait "$holder"
rm "$held"
clean
echo 'ok: a holder that is late'

# It is killed: the other goes on at once, or cleans.
stands a stream backup "$vm"
dies a
on b backup "$vm"
ends b 0
prove image "$(latest "$vm")"
wait_until 20 no_process
clean
stands a stream backup "$vm"
dies a
wait_until 20 no_process
stands b clean leftovers --clean
on a backup "$vm"
ends a 12
busy elsewhere
goes_on b
ends b 0
clean
echo 'ok: killed, cleaned'

# Cleaning is killed while it has the lease.
stands a stream backup "$vm"
dies a
wait_until 20 no_process
stands b clean leftovers --clean
dies b
on a leftovers --clean
ends a 0
clean
echo 'ok: cleaning killed'

# Another machine: its boot, its id and its name differ.
echo 11111111-2222-4333-8444-555555555555 >"$WORK/boot"
echo 0123456789abcdef0123456789abcdef >"$WORK/machine"
nsenter -t "$init_b" -m mount --bind "$WORK/boot" \
  /proc/sys/kernel/random/boot_id
[ ! -e /etc/machine-id ] || nsenter -t "$init_b" -m mount --bind \
  "$WORK/machine" /etc/machine-id
stands b stream backup "$vm"
dies b
wait_until 20 no_process
on a backup "$vm"
ends a 12
busy elsewhere
says 'that is another machine'
says 'unlock --force'
on a leftovers --clean
ends a 1
says 'another machine may be at work on it'
on a unlock "$vm"
ends a 2
on a unlock --force "$vm"
ends a 0
on a leftovers --clean
ends a 0
clean
on a backup "$vm"
ends a 0
prove image "$(latest "$vm")"
clean
echo 'ok: another machine'
