# SPDX-License-Identifier: Apache-2.0
# A restore whose host is left while it writes starts over on another one, with
# new disks; those of the first go once its helper is known to be gone, and not
# before.
. "$(dirname "$0")/lib.sh"

lab_up --vms small
quick
vm=web01
next_run "$vm"
point=$(latest "$vm")
first=h2 # not the SPM
other=h1
slow='ssh: { stall_timeout = 5; connect_timeout = 2; heartbeat = 5; };
transfer: { bandwidth = 6000000; };'
settings "$slow"
n=0

# Disks in the engine with the mark of our repository.
marked ()
{
  ctl inventory | jq -r '[.disks[] | select(.description
    | startswith("chainlift:"))] | length'
}

halted ()
{
  n=$((n + 1))
  halt "$1" restore "$point" --as "copy-$n"
}

# Restored by the other host, and nothing else is left of it.
restored ()
{
  says "starting over on host $other, with new disks"
  prove vm "$point" "copy-$n" || die "$1: the copy is wrong"
  ctl remove-vm "copy-$n"
  clean
  echo "ok: $1: $(grep 'starting over' "$OUT" | sed "s|$WORK|WORK|g")"
}

for at in prove:2 write:3; do
  halted "$at"
  ctl host-status "$first" maintenance
  go_on 0
  ctl host-status "$first" up
  restored "maintenance at $at"
done

# Somebody attaches the new disk while it is written: nobody goes on, and what
# is attached to a VM is not removed under it.
halted write:3
disk=$(ctl extra | sed -n 's/^+ disk \([^ ]*\).*/\1/p')
on_vm=$(ctl inventory | jq -r --arg n "$vm" '.vms[] | select(.name == $n) | .id')
api POST "/vms/$on_vm/diskattachments" "<disk_attachment><disk id=\"$disk\"/><interface>virtio</interface><active>false</active><bootable>false</bootable></disk_attachment>" >/dev/null
go_on 12
says "disk $disk was attached to VM $on_vm while it was written"
says 'left behind'
[ "$(marked)" -eq 1 ] || die 'the disk of a VM was removed'
api DELETE "/vms/$on_vm/diskattachments/$disk" >/dev/null
expect 0 cl leftovers --clean
clean
echo 'ok: attached by somebody while it was written'

# The host dies: its helper cannot write any more, which nobody can know before
# it has booted again.
halted write:3
on "$first" kill
go_on 1
says 'left behind'
[ "$(marked)" -ge 1 ] || die 'killed: disks went whose helper may live'
on "$first" start
wait_until 60 sh -c "sh '$TOP/tests/lab/lab.sh' ctl '$LAB' inventory \
  | jq -e '.hosts | all (.status == \"up\")'"
cp "$OUT" "$WORK/first.out"
expect 0 cl leftovers --clean
[ "$(marked)" -eq 0 ] || die 'killed: leftovers --clean left disks'
cp "$WORK/first.out" "$OUT"
restored 'host killed'

# Silence, and the host comes back when the other one has written all: its
# helper has ended by itself.
halted write:3
on "$first" link-down
kill -CONT "$HALTED"
wait_until 60 grep -q 'starting over' "$OUT"
on "$first" link-up
ended 0
restored 'silence'

# It is left and hangs: neither a write nor the helper's end is waited for.
settings 'ssh: { stall_timeout = 3600; answer_timeout = 3600;
connect_timeout = 2; heartbeat = 5; };
transfer: { bandwidth = 6000000; };'
halted write:3
on "$first" freeze
ctl host-status "$first" maintenance
kill -CONT "$HALTED"
wait_until 180 grep -q 'starting over' "$OUT"
on "$first" thaw
ctl host-status "$first" up
ended 0
restored 'it hangs'
settings "$slow"

# No other host.
ctl host-status "$other" maintenance
halted write:3
ctl host-status "$first" maintenance
go_on 6
says "host $first is maintenance in the engine"
says 'no other host of its data center is up'
ctl host-status "$first" up
ctl host-status "$other" up
clean
echo 'ok: all hosts in maintenance'

# Killed on its second way, while the first host is down: what the second one
# had goes, the rest when the first can tell.
halted write:3
on "$first" kill
kill -CONT "$HALTED"
wait_until 60 grep -q 'starting over' "$OUT"
wait_until 60 sh -c "[ \$(grep -c 'finding the new' '$OUT') -eq 2 ]"
kill_halted
expect 1 cl leftovers --clean
[ "$(marked)" -eq 1 ] || die 'killed on the second way: not one disk is left'
on "$first" start
wait_until 60 sh -c "sh '$TOP/tests/lab/lab.sh' ctl '$LAB' inventory \
  | jq -e '.hosts | all (.status == \"up\")'"
expect 0 cl leftovers --clean
[ "$(marked)" -eq 0 ] || die 'killed on the second way: disks are left'
clean
echo 'ok: killed on its second way'

# The user stops it on its second way: all of it goes.
halted write:3
ctl host-status "$first" maintenance
kill -CONT "$HALTED"
wait_until 60 grep -q 'starting over' "$OUT"
kill -INT "$HALTED"
ended 14
ctl host-status "$first" up
clean
echo 'ok: stopped by the user'
