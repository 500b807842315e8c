# SPDX-License-Identifier: Apache-2.0
# Somebody else works in the cluster meanwhile, or the engine does not know
# what its host does: what was read is given up where it might be wrong, and
# nothing of others is touched.
. "$(dirname "$0")/lib.sh"

lab_up --vms small
quick
vm=web01
next_run "$vm"
point=$(latest "$vm")

id_of ()
{
  ctl inventory | jq -r --arg n "$2" ".$1[] | select((.name // .alias) == \$n) | .id"
}
locked ()
{
  leaf=$(ctl inventory | jq -r '.disks[] | select(.alias == "web01_Disk1") | .image_id')
  ctl poke volumes "$leaf" status "\"$1\""
}
domain=$(id_of storagedomains data_one)

# Seen in the plan.
locked locked
row 'disk locked' 12 "$vm: " 'disk web01_Disk1 is locked' -- cl backup "$vm"
locked ok
ctl poke storagedomains "$domain" status '"maintenance"'
expect 0 cl --json backup --dry-run "$vm"
says 'storage domain data_one is maintenance'
row 'restore: domain in maintenance' 12 'storage domain data_one' maintenance \
  -- cl restore "$point" --as copy
ctl poke storagedomains "$domain" status '"active"'
for host in $LAB_HOSTS; do
  ctl host-status "$host" maintenance
done
row 'no host is up' 6 "$vm: " up -- cl backup "$vm"
row 'restore: no host is up' 6 'no host' -- cl restore "$point" --as copy
for host in $LAB_HOSTS; do
  ctl host-status "$host" up
done
row 'restore: no such cluster' 11 nowhere --cluster -- \
  cl restore "$point" --as copy --cluster nowhere
row 'restore: no such domain' 11 nowhere --storage -- \
  cl restore "$point" --as copy --storage nowhere
row 'restore: name in use' 2 "$vm" --as -- cl restore "$point" --as "$vm"
row 'restore: no such point' 11 "$vm@20200101T000000Z" -- \
  cl restore "$vm@20200101T000000Z" --as copy

# While it runs.
halt config backup "$vm"
made=$(ctl snapshots "$vm" | jq -r '.[-1].id')
ctl poke snapshots "$made" config null
go_on 12
says "$vm: "
says 'the engine gives none'
intact 'no configuration of the snapshot'

# The plan may be hours old: the host of a VM that is stopped is left for
# another one, that of one that runs is not.
halt plan:2 backup "$vm"
ctl host-status h1 maintenance
go_on 6
says 'host h1 is maintenance in the engine'
ctl host-status h1 up
intact 'the host of the VM was left before its turn'
ctl vm-stop "$vm"
halt plan:2 backup "$vm"
ctl host-status h2 maintenance
go_on 0
says 'host h2 is maintenance in the engine; reading from host h1'
ctl host-status h2 up
prove image "$(latest "$vm")"
ctl vm-start "$vm"
clean
noted
echo 'ok: the host of a stopped VM was left before its turn'

# It is left, and its storage does not answer: that is not waited for.
ctl vm-stop "$vm"
settings 'ssh: { stall_timeout = 3600; answer_timeout = 3600; };'
halt stream backup "$vm"
on h2 freeze
ctl host-status h2 maintenance
go_on 0
says 'host h2 is maintenance in the engine; going on from host h1'
on h2 thaw
ctl host-status h2 up
settings ''
prove image "$(latest "$vm")"
ctl vm-start "$vm"
wait_until 60 no_process
clean
noted
echo 'ok: a host that was left and hangs'

halt t0:2 backup "$vm"
ctl remove-snapshot "$vm" "$(ctl snapshots "$vm" | jq -r '.[-1].id')"
go_on 12
says "$vm: "
says 'removed meanwhile'
intact 'our snapshot was removed before its volumes were opened'

halt stream backup "$vm"
ctl remove-snapshot "$vm" \
  "$(ctl snapshots "$vm" | jq -r '.[-1].id')"
go_on 12
says "$vm: "
says 'discarded'
intact 'our snapshot was removed while it was read'
next_run "$vm"

halt t1:1 backup "$vm"
user=$(ctl add-snapshot "$vm" 'of a user')
go_on 0
prove image "$(latest "$vm")"
ctl remove-snapshot "$vm" "$user"
clean
noted

user=$(ctl add-snapshot "$vm" 'of a user')
expect 0 cl backup "$vm"
prove image "$(latest "$vm")"
halt stream backup "$vm"
ctl remove-snapshot "$vm" "$user"
go_on 12
says 'discarded'
noted
intact "a user's snapshot below ours was removed while it was read"
next_run "$vm"

halt stream backup "$vm"
ctl vm-stop "$vm"
go_on 0
prove image "$(latest "$vm")"
clean
ctl vm-start "$vm"
halt stream backup "$vm"
ctl vm-migrate "$vm" h2
go_on 0
prove image "$(latest "$vm")"
clean
noted
echo 'ok: stopped and migrated while it was read'

# Restores.
halt attach restore "$point" --as copy
ctl poke vms "$(id_of vms "$vm")" name '"copy"'
go_on 7
says copy
ctl poke vms "$(id_of vms copy)" name "\"$vm\""
intact 'restore: the name was taken meanwhile'
halt write:2 restore "$point" --as copy
made=$(ctl extra | sed -n 's/^+ disk \([^ ]*\).*/\1/p')
[ -n "$made" ] || die "no disk was made"
api DELETE "/disks/$made" >/dev/null
ctl idle
kill -CONT "$HALTED"
got=0
wait "$HALTED" || got=$?
HALTED=
case $got in
  6 | 7 | 9 | 11 | 12) ;;
  *) die "exit $got" ;;
esac
says web01_Disk1
intact 'restore: the disk was removed meanwhile'

# The snapshot succeeds in the engine, but qemu goes on writing into the volume
# that is called frozen: told by an event, or only seen on the host.
false_success ()
{
  ctl false-success 1 "$1" >/dev/null
  expect "$2" cl backup "$vm"
  says "$vm: "
  says 'is left in place'
  grep -h "error:\|warning:" "$OUT"
  says 'shut the VM down'
  ctl idle
  listed_points >"$WORK/points.now"
  cmp "$WORK/points" "$WORK/points.now" || die "a point of a lie is listed"
  [ "$(ctl extra | wc -l)" -eq 1 ] || die "not just the snapshot is left"
  left=$(ctl snapshots "$vm" | jq -r '.[-1].id')
  expect 1 cl leftovers
  says "$left"
  expect 12 cl backup "$vm"
  says "$left"
  says 'shut the VM down'
  [ "$(ctl extra | wc -l)" -eq 1 ] || die "the refused run left something"
  ctl vm-stop "$vm"
  ctl remove-snapshot "$vm" "$left"
  ctl vm-start "$vm"
  next_run "$vm"
  echo "ok: false success, event $1"
}
false_success 170 7
false_success none 12

# The same, and the run ends before it looks: killed, or told to stop.
left_alone ()
{
  ctl idle
  left=$(ctl snapshots "$vm" | jq -r '.[-1].id')
  expect 1 cl leftovers --clean
  says "$left"
  says "$1"
  expect 12 cl backup "$vm"
  says "$left"
  says 'shut the VM down'
  ctl inventory | jq -e --arg n "$vm" '.vms[] | select(.name == $n)
    | .has_illegal_images == false' >/dev/null || die 'a merge was tried'
  [ "$(ctl extra | wc -l)" -eq 1 ] || die "not just the snapshot is left"
  ctl vm-stop "$vm"
}
ctl false-success 1 170 >/dev/null
halt snapshot:3 backup "$vm"
kill_halted
left_alone 'left on purpose'
ctl remove-snapshot "$vm" "$left"
ctl vm-start "$vm"
next_run "$vm"
echo 'ok: false success of a run that was killed'

ctl false-success 1 none >/dev/null
halt snapshot:3 backup "$vm"
kill_halted
left_alone 'is left in place'
ctl vm-start "$vm"
next_run "$vm"
echo 'ok: false success without an event of a run that was killed'

for event in 170 none; do
  ctl false-success 1 "$event" >/dev/null
  halt snapshot:3 backup "$vm"
  kill -TERM "$HALTED"
  go_on 14
  says 'is left in place'
  left_alone 'left on purpose'
  ctl remove-snapshot "$vm" "$left"
  ctl vm-start "$vm"
  next_run "$vm"
  echo "ok: false success, event $event, of a run that was stopped"
done

halt stream backup "$vm"
ctl remove-vm "$vm"
go_on 12
says "$vm: "
says 'discarded'
ctl baseline >/dev/null
intact 'the VM was removed while it was read'
row 'the VM is gone' 11 "\"$vm\"" -- cl backup "$vm"
expect 0 cl restore "$point" --as "$vm"
prove vm "$point" "$vm"
echo 'ok: the removed VM is back'
