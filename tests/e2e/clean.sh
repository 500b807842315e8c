# SPDX-License-Identifier: Apache-2.0
# leftovers --clean: what is ours goes; what is foreign, in use, needed, locked
# or not certain stays, with the reason.
. "$(dirname "$0")/lib.sh"

lab_up --vms small
quick
settings 'ssh: { heartbeat = 5; stall_timeout = 5; connect_timeout = 2; };'
vm=web01
vm_id=$(ctl inventory | jq -r --arg n "$vm" '.vms[] | select(.name == $n) | .id')
domain=$(ctl inventory | jq -r '.storagedomains[] | select(.name == "data_one")
  | .id')
n=0

# The program is halted at PHASE and killed.
killed ()
{
  halt "$@"
  kill_halted
  ctl idle >/dev/null
  wait_until 20 no_process
}
killed_restore ()
{
  n=$((n + 1))
  killed "$1" restore "$point" --as "copy-$n"
}
# What the cleaning says of KIND.
state_of ()
{
  grep '^{' "$OUT" | jq -r --arg k "$1" 'select(.type == "leftover"
    and .kind == $k) | .state + " " + (.next_step // "")'
}
stays ()
{
  expect 1 cl --json leftovers --clean
  case $(state_of "$1") in
    "stays $2"*) echo "ok: it stays: $(state_of "$1")" ;;
    *) die "$1 does not stay because of $2: $(state_of "$1")" ;;
  esac
}
cleaned ()
{
  expect 0 cl leftovers --clean
  clean
  expect 0 cl leftovers
  echo "ok: $1"
}
mine ()
{
  ctl extra | sed -n "s/^+ $1 \([^ ]*\).*/\1/p"
}

expect 2 cl leftovers --dry-run
expect 0 cl backup "$vm"
point=$(latest "$vm")
expect 0 cl leftovers --clean
says '0 removed, 0 stay'

# A backup: snapshot and draft; --dry-run changes nothing.
killed stream backup "$vm"
ctl extra >"$WORK/before"
expect 1 cl --json leftovers --clean --dry-run
[ "$(state_of snapshot)" = 'removable ' ] || die 'dry run: no snapshot'
[ "$(state_of draft)" = 'removable ' ] || die 'dry run: no draft'
ctl extra | cmp - "$WORK/before" || die 'the dry run changed something'
[ -n "$(ls "$LAB_REPO/tmp")" ] || die 'the dry run removed the draft'
expect 0 cl --json leftovers --clean
[ "$(state_of snapshot)" = 'removed ' ] || die 'no snapshot removed'
jq -e 'select(.type == "summary") | .removed == 2 and .stay == 0
  and .status == 0' "$OUT" >/dev/null || die 'no summary'
cleaned 'a killed backup'

# Who lives is left alone.
halt stream backup "$vm"
expect 0 cl --json leftovers --clean
[ "$(state_of snapshot)" = 'in use a run is at work on it' ] || die 'not in use'
go_on 0
halt write restore "$point" --as living
expect 0 cl --json leftovers --clean
[ "$(state_of disk)" = 'in use a run is at work on it' ] || die 'not in use'
go_on 0
prove vm "$point" living
ctl remove-vm living
cleaned 'nothing of runs that live'

# The engine refuses, fails, has lost it, or works on it.
killed config backup "$vm"
snapshot=$(mine snapshot)
ctl poke snapshots "$snapshot" status '"locked"'
stays snapshot 'it is locked'
ctl poke snapshots "$snapshot" status '"in_preview"'
stays snapshot 'it is in preview'
ctl poke snapshots "$snapshot" status '"ok"'
ctl fail 'DELETE /vms/[^/]+/snapshots/' 1000 409 \
  'Cannot remove Snapshot. Related operation is currently in progress.' \
  >/dev/null
stays snapshot 'remove snapshot'
says 'Related operation'
ctl clear-faults >/dev/null
ctl stall 'DELETE /vms/[^/]+/snapshots/' 1 2 >/dev/null
ctl fail-task snapshot-delete 1
stays snapshot 'remove snapshot'
says 'event 357'
halt clean leftovers --clean
ctl remove-snapshot "$vm" "$snapshot"
go_on 0
cleaned 'a snapshot that vanished'

# Two snapshots of one VM: after a failed merge the other is not tried.
killed config backup "$vm"
first=$(mine snapshot)
mark=$(ctl snapshots "$vm" | jq -r '.[-1].description')
second=$(ctl add-snapshot "$vm" "$mark again")
ctl fail-task snapshot-delete 1
expect 1 cl --json leftovers --clean
says 'another snapshot of this VM could not be removed'
for id in "$first" "$second"; do
  mine snapshot | grep -qx "$id" || die 'one was removed'
done
cleaned 'two of one VM'

# Objects of another repository.
other=chainlift:01234567-89ab-4cde-8f01-23456789abcd:0123456789ab
foreign=$(ctl add-snapshot "$vm" "$other backup by chainlift")
api POST /disks "<disk><alias>foreign</alias><description>$other x</description>\
<format>cow</format><provisioned_size>1048576</provisioned_size>\
<storage_domains><storage_domain id=\"$domain\"/></storage_domains></disk>" \
  >/dev/null
ctl idle >/dev/null
expect 0 cl --json leftovers --clean
[ "$(state_of snapshot)" = "$(state_of disk)" ] || die 'not the same'
says 'foreign'
[ -n "$(mine snapshot)" ] && [ -n "$(mine disk)" ] || die 'foreign things went'
ctl remove-snapshot "$vm" "$foreign"
api DELETE "/disks/$(mine disk)" >/dev/null
cleaned 'foreign objects'

# A disk that somebody attached to the VM of a restore.
killed_restore attach
half=$(mine vm)
api POST /disks "<disk><alias>theirs</alias><format>cow</format>\
<provisioned_size>1048576</provisioned_size><storage_domains><storage_domain \
id=\"$domain\"/></storage_domains></disk>" >/dev/null
ctl idle >/dev/null
theirs=$(ctl inventory | jq -r '.disks[] | select(.alias == "theirs") | .id')
api POST "/vms/$half/diskattachments" "<disk_attachment><disk id=\"$theirs\"/>\
<interface>virtio</interface><bootable>false</bootable><active>false</active>\
</disk_attachment>" >/dev/null
stays vm 'a disk is attached that the restore did not make'
[ "$(mine disk)" = "$theirs" ] || die 'not just their disk is there'
api DELETE "/vms/$half/diskattachments/$theirs" >/dev/null
expect 0 cl leftovers --clean
[ "$(mine disk)" = "$theirs" ] || die 'their disk went'
api DELETE "/disks/$theirs" >/dev/null
cleaned 'a disk of somebody else'

# A helper that cannot end, and a host that does not answer.
halt write restore "$point" --as hung
host=$(jq -rR 'select(startswith("+ ")) | split(" ") | select(.[2] == "host")
  | .[5]' "$LAB_REPO"/journal/* | head -n 1)
[ -n "$host" ] || die 'the journal names no host'
sh "$TOP/tests/lab/lab.sh" run "$LAB" "$host" \
  pkill -STOP chainlift-remot
kill_halted
stays disk 'a helper on a host may still write to it'
[ -n "$(mine disk)" ] || die 'the disk went'
sh "$TOP/tests/lab/lab.sh" host "$LAB" "$host" link-down
stays disk 'a host does not tell'
sh "$TOP/tests/lab/lab.sh" host "$LAB" "$host" heal
sh "$TOP/tests/lab/lab.sh" run "$LAB" "$host" \
  pkill -CONT chainlift-remot
cleaned 'a helper that may write'

# Without its journal nobody knows whether the run lives.
killed_restore create:2
mv "$LAB_REPO"/journal/* "$WORK/journal"
stays disk 'no journal of this repository names its run'
run_id=$(sed -n '1s/chainlift-journal 1 \([^ ]*\) .*/\1/p' "$WORK/journal")
mv "$WORK/journal" "$LAB_REPO/journal/$run_id"
cleaned 'without a journal'

# The base of the next increment, and of points that are no more.
settings 'snapshot: { keep = true; };'
expect 0 cl backup "$vm"
expect 0 cl leftovers --clean
[ -n "$(mine snapshot)" ] || die 'the kept snapshot went'
mv "$LAB_REPO/vms/$vm_id" "$WORK/away"
cleaned 'no point needs it'
mv "$WORK/away" "$LAB_REPO/vms/$vm_id"

# A run that was killed while a helper of it had logical volumes active: its
# journal names the host, which is looked at before that is believed.
host_id=$(ctl inventory | jq -r --arg n "$host" '.hosts[] | select(.name == $n)
  | .id')
volumes ()
{
  printf '%s\n' "chainlift-journal 1 $run_id 2026-11-20T01:00:00Z gone 1" \
    "+ 1 volumes $vm_id $host_id 4a0ad7e1-5d25-4a3e-9d0a-1f7a3b0f4f10" \
    "+ 2 volumes $vm_id $host_id 4a0ad7e1-5d25-4a3e-9d0a-1f7a3b0f4f10" >"$LAB_REPO/journal/$run_id"
}
volumes
expect 1 cl --json leftovers
[ "$(grep -c '"kind":"volumes"' "$OUT")" = 1 ] || die 'it is not listed once'
sh "$TOP/tests/lab/lab.sh" host "$LAB" "$host" link-down
stays volumes "host $host"
sh "$TOP/tests/lab/lab.sh" host "$LAB" "$host" heal
cleaned 'a host with logical volumes'

# One host that does not let us in is no reason to leave the rest.
killed config backup "$vm"
volumes
inside "$host" mv /root/.ssh/authorized_keys /root/.ssh/away
stays volumes "host $host"
[ "$(state_of snapshot)" = 'removed ' ] || die 'a snapshot stays because of a host'
inside "$host" mv /root/.ssh/away /root/.ssh/authorized_keys
cleaned 'a host that refuses the key'
volumes
expect 0 cl backup "$vm"
[ -z "$(ls "$LAB_REPO/journal")" ] || die 'the backup did not look there'
