# SPDX-License-Identifier: Apache-2.0
# snapshot.guard = "attach": while it holds nobody removes a snapshot of the VM,
# and nothing of it stays, whatever fails.
. "$(dirname "$0")/lib.sh"

lab_up --vms pair
quick
vm=web01
disk=$(ctl inventory | jq -r '.disks[] | select(.alias == "web01_Disk1") | .id')
id_of ()
{
  ctl inventory | jq -r --arg n "$1" '.vms[] | select(.name == $n) | .id'
}
vm_id=$(id_of "$vm")
ours ()
{
  ctl snapshots "$vm" | jq -r '.[] | select(.description
    | startswith("chainlift:")) | .id'
}
# A user removes a snapshot of ours: the engine refuses.
refused ()
{
  for snapshot in $(ours); do
    if api DELETE "/vms/$vm_id/snapshots/$snapshot" >"$OUT.api" 2>&1; then
      die "$1: the engine removed a guarded snapshot"
    fi
    { grep -q '^409' "$OUT.api" \
      && grep -q 'are attached to the VMs: keeper' "$OUT.api"; } \
      || die "$1: $(cat "$OUT.api")"
  done
}

# What the guard VM must be.
guarded
keeper=$(id_of keeper)
# row and clean look at the baseline, which has the guard VM.
noted
expect 0 cl config-check
says 'keeper: down, without a disk of its own'
settings 'snapshot: { guard = "attach"; };'
row 'no guard VM is named' 3 'snapshot.guard: needs snapshot.guard_vm' -- \
  cl backup "$vm"
settings 'snapshot: { guard = "attach"; guard_vm = "nobody"; };'
row 'the guard VM is not there' 3 'the engine has no VM nobody' -- \
  cl backup "$vm"
expect 3 cl config-check
says 'the engine has no VM nobody'
settings "snapshot: { guard = \"attach\"; guard_vm = \"$vm\"; };"
row 'the guard VM runs' 12 'is up; it must stay down' -- cl backup db01
ctl vm-stop "$vm"
row 'the guard VM has a disk' 3 'has a disk of its own (web01_Disk1)' -- \
  cl backup db01
expect 3 cl config-check
says 'has a disk of its own (web01_Disk1)'
ctl vm-start "$vm"
guarded
expect 0 cl --json backup --dry-run "$vm" keeper
says 'it is the guard VM (snapshot.guard_vm)'

# It holds: inactive, until it is detached, and only then ours is removed.
first=$(ctl log | jq length)
halt stream backup "$vm"
refused 'while the disk is read'
expect 0 cl --json vms
jq -es 'any(.[]; .name == "web01" and .disks[0].left_out == null)' "$OUT" \
  >/dev/null || { cat "$OUT"; die 'vms: the guarded disk is left out'; }
says 'it is the guard VM'
go_on 0
prove image "$(latest "$vm")"
clean
noted
ctl log "$first" | jq -r --arg k "$keeper" '.[] | select(.method != "GET")
  | select(.path | contains("/snapshots") or contains($k))
  | select(.status < 400)
  | "\(.method) \(.path | split("/")[5]) \(.query.detach_only // "-")
    \((.body // "") | contains("<active>false</active>"))"' \
  | paste -d ' ' - - | tr -s ' ' >"$WORK/calls"
cat >"$WORK/wanted" <<END
POST snapshots - false
POST diskattachments - true
DELETE diskattachments true false
DELETE snapshots - false
END
cmp "$WORK/wanted" "$WORK/calls" || die "the calls: $(cat "$WORK/calls")"

# All disks of a VM, and the kept snapshot too.
guarded 'keep = true;'
expect 0 cl backup db01
prove image "$(latest db01)"
expect 0 cl backup "$vm"
noted
halt stream backup "$vm"
[ "$(ours | wc -l)" = 2 ] || die 'not two snapshots'
refused 'while an increment is read'
go_on 0
prove image "$(latest "$vm")"
cl --json show "$(latest "$vm")" | grep -q 'increment on' || die 'no increment'
[ "$(ours | wc -l)" = 1 ] || die 'not one snapshot'
expect 0 cl leftovers
noted

# Faults of attaching: no point, and nothing stays.
guarded
expect 0 cl backup "$vm" db01
clean
noted
attach="POST /vms/$keeper/diskattachments\$"
detach="DELETE /vms/$keeper/diskattachments/"
ctl fail "$attach" 1 400 'Cannot attach Virtual Disk. The VM is odd.' >/dev/null
row 'attach refused' 7 "$vm: guard: attach disk $disk" 'The VM is odd' -- \
  cl backup "$vm"
ctl fail "$attach" 1000 409 'Cannot attach Virtual Disk. VM is locked. Please try again later.' >/dev/null
row 'attach stays busy' 12 'VM is locked' -- cl backup "$vm"
ctl fail "$attach" 1 409 'Cannot attach Virtual Disk. VM is locked. Please try again later.' >/dev/null
next_run "$vm"
for how in drop drop-after; do
  ctl $how "$attach" 1 >/dev/null
  next_run "$vm"
  echo "ok: the answer to attaching is lost ($how)"
  ctl $how "$detach" 1 >/dev/null
  next_run "$vm"
  echo "ok: the answer to detaching is lost ($how)"
done
ctl fail "$attach" 1 400 'Cannot attach Virtual Disk. The second.' 1 >/dev/null
row 'the second of three disks' 7 'The second' -- cl backup db01
halt config backup "$vm"
ctl poke vms "$keeper" status '"powering_up"'
go_on 7
says 'VM keeper is powering_up'
ctl poke vms "$keeper" status '"down"'
intact 'the guard VM is started meanwhile'
halt snapshot backup "$vm"
ctl poke vms "$keeper" status '"up"'
go_on 0
ctl poke vms "$keeper" status '"down"'
clean
noted

# Faults of detaching: the point stands, what stays is told and listed, the next
# run cleans.
ctl fail "$detach" 1000 400 'Cannot detach Virtual Disk. Not now.' >/dev/null
expect 1 cl backup "$vm"
says 'Not now'
says 'the next backup of this VM removes it'
prove image "$(latest "$vm")"
[ "$(ours | wc -l)" = 1 ] || die 'the snapshot is gone while it is guarded'
expect 1 cl --json leftovers
jq -es --arg d "$disk" 'any(.[]; .kind == "attachment" and .id == $d)' "$OUT" \
  >/dev/null || die 'leftovers does not list the attachment'
point=$(latest "$vm")
expect 7 cl backup "$vm"
says 'Not now'
[ "$(latest "$vm")" = "$point" ] || die 'a point came'
[ "$(ours | wc -l)" = 1 ] || die 'another snapshot came'
ctl clear-faults >/dev/null
# The configuration may say something else by then.
settings 'snapshot: { keep = false; };'
next_run "$vm"
expect 0 cl leftovers
echo 'ok: detaching fails'

# leftovers --clean without a backup.
guarded
halt t0 backup db01
kill_halted
expect 1 cl --json leftovers --clean --dry-run
jq -r 'select(.kind == "attachment") | .id' "$OUT" >"$WORK/told"
[ "$(wc -l <"$WORK/told")" = 3 ] || die 'not three attachments are told'
expect 0 cl leftovers --clean
clean
expect 0 cl leftovers
echo 'ok: leftovers --clean'

# What a user attached there is not ours: nothing is changed.
guarded
user=$(ctl add-snapshot "$vm" 'of a user')
api POST "/vms/$keeper/diskattachments" "<disk_attachment><disk id=\"$disk\">\
<snapshot id=\"$user\"/></disk><interface>virtio</interface><bootable>false\
</bootable><active>false</active></disk_attachment>" >/dev/null
ctl baseline >/dev/null
noted
row 'a user has the disk there' 12 'attached to the guard VM keeper already' \
  -- cl backup "$vm"
api DELETE "/vms/$keeper/diskattachments/$disk" >/dev/null
ctl remove-snapshot "$vm" "$user"
ctl baseline >/dev/null
next_run "$vm"
# The entry of a run that was killed is not about what came there since.
halt guard:2 backup "$vm"
kill_halted
user=$(ctl add-snapshot "$vm" 'of a user')
api POST "/vms/$keeper/diskattachments" "<disk_attachment><disk id=\"$disk\">\
<snapshot id=\"$user\"/></disk><interface>virtio</interface><bootable>false\
</bootable><active>false</active></disk_attachment>" >/dev/null
status=0
cl backup "$vm" >"$OUT" 2>&1 || status=$?
[ "$status" -ne 0 ] || die 'a run beside a foreign attachment'
says 'attached'
ctl extra >"$WORK/extra"
grep -q '^+ attachment' "$WORK/extra" || die 'a foreign attachment went'
api DELETE "/vms/$keeper/diskattachments/$disk" >/dev/null
ctl remove-snapshot "$vm" "$user"
next_run "$vm"
echo "ok: a foreign attachment in the place of ours"
