# SPDX-License-Identifier: Apache-2.0
# The network breaks or hangs in the middle, or the host does: what can be gone
# on with is gone on with, and the bytes are right; the rest is undone.
. "$(dirname "$0")/lib.sh"

lab_up --vms small
quick
vm=web01
host=h1
next_run "$vm"
point=$(latest "$vm")

on_host ()
{
  sh "$TOP/tests/lab/lab.sh" host "$LAB" "$host" "$@"
}

# A good run in spite of NAME.
done_well ()
{
  clean
  [ "$(listed_points | wc -l)" -eq $(($(wc -l <"$WORK/points") + 1)) ] \
    || die "$1: not one point more"
  prove image "$(latest "$vm")" || die "$1: the point is wrong"
  noted
  echo "ok: $1: $(grep 'warning:' "$OUT" | head -n 2)"
}

settings 'ssh: { stall_timeout = 5; connect_timeout = 2; heartbeat = 5; };'
halt stream backup "$vm"
on_host link-down
kill -CONT "$HALTED"
sleep 1
on_host link-up
ended 0
done_well 'link down for a second'
halt stream backup "$vm"
on_host reset
kill -CONT "$HALTED"
wait_until 60 grep -q 'trying again' "$OUT"
on_host heal
ended 0
done_well 'connection reset'
on_host drop-after 3000000
begin backup "$vm"
wait_until 60 grep -q 'trying again' "$OUT"
on_host heal
ended 0
done_well 'silence in the middle'
halt stream backup "$vm"
on_host reset
go_on 6
says "$vm: "
says "host $host"
on_host heal
intact 'connection broken for good'
halt stream backup "$vm"
on_host freeze
kill -CONT "$HALTED"
wait_until 60 grep -q 'trying again' "$OUT"
on_host thaw
ended 0
done_well 'host frozen for a while'

# A host that is put into maintenance is left: the rest comes from another one.
settings 'ssh: { stall_timeout = 5; connect_timeout = 2; heartbeat = 5; };
transfer: { bandwidth = 6000000; };'
halt stream backup "$vm"
ctl host-status "$host" maintenance
kill -CONT "$HALTED"
ended 0
says "host $host is maintenance in the engine; going on from host h2"
done_well 'host in maintenance in the middle'
ctl host-status "$host" up
halt stream backup "$vm"
ctl host-status "$host" maintenance
ctl host-status h2 maintenance
kill -CONT "$HALTED"
ended 6
says 'no other host of its data center is up'
ctl host-status "$host" up
ctl host-status h2 up
intact 'all hosts in maintenance in the middle'
settings 'ssh: { stall_timeout = 5; connect_timeout = 2; heartbeat = 5; };'

# A restore whose connection breaks is over, and undone.
ctl host-status h2 maintenance
on_host drop-after-in 3000000
begin restore "$point" --as copy
wait_until 60 grep -q 'no helper writes' "$OUT"
on_host heal
ended 6
says web01_Disk1
# sshd hears of the end of the old connection when TCP tries again.
wait_until 90 sh "$TOP/tests/lab/lab.sh" residue "$LAB"
intact 'restore: silence in the middle'
ctl host-status h2 up

# The host dies with the VM on it: what was frozen is read to the end elsewhere.
halt stream backup "$vm"
on_host kill
go_on 1
says 'going on from host h2'
says 'the next backup of this VM removes it'
[ "$(listed_points | wc -l)" -eq $(($(wc -l <"$WORK/points") + 1)) ] \
  || die 'host killed: not one point more'
prove image "$(latest "$vm")" || die 'host killed: the point is wrong'
noted
expect 1 cl leftovers
says "$(ctl extra | sed -n 's/^+ snapshot \([^ ]*\).*/\1/p')"
[ "$(ctl extra | wc -l)" -eq 1 ] || die "host killed: more is left"
listed_points >"$WORK/points.now"
cmp "$WORK/points" "$WORK/points.now" || die "host killed: the points changed"
on_host start
wait_until 30 sh -c "sh '$TOP/tests/lab/lab.sh' ctl '$LAB' inventory \
  | jq -e '.hosts | all (.status == \"up\")'"
wait_until 30 sh -c "sh '$TOP/tests/lab/lab.sh' ctl '$LAB' inventory \
  | jq -e '.vms | all (.status == \"down\")'"
next_run "$vm"
echo 'ok: host killed in the middle'
