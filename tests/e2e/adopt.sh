# SPDX-License-Identifier: Apache-2.0
# leftovers --adopt: what a lost repository left in the engine is listed, refused
# as long as it may live, and removed by name.
. "$(dirname "$0")/lib.sh"

lab_up --vms small
quick
vm=web01
settings 'snapshot: { keep = true; };'
expect 0 cl backup "$vm"
point=$(latest "$vm")
halt attach:2 restore "$point" --as lost
kill_halted
ctl idle >/dev/null
snapshot=$(ctl snapshots "$vm" | jq -r '.[-1].id')
lost=$(ctl snapshots "$vm" | jq -r '.[-1].description' | cut -d: -f2)
half=$(ctl extra | sed -n 's/^+ vm \([^ ]*\).*/\1/p')
disk=$(ctl extra | sed -n 's/^+ disk \([^ ]*\).*/\1/p')

# The reason why KIND may not be removed.
reason ()
{
  grep '^{' "$OUT" | jq -r --arg k "$1" 'select(.type == "adoptable"
    and .kind == $k) | .state + " " + (.reason // "")'
}
refused ()
{
  ctl extra >"$WORK/before"
  expect 12 cl --json leftovers --adopt "$lost" --yes "$snapshot" "$half" "$disk"
  case $(reason "$1") in
    "stays $2"*) ;;
    *) die "$1: $(reason "$1")" ;;
  esac
  ctl extra | cmp - "$WORK/before" || die 'something was removed'
  echo "ok: $1 $(reason "$1")"
}

expect 2 cl leftovers --adopt "$lost"
says 'is the present repository'
mv "$LAB_REPO" "$WORK/lost"
expect 11 cl leftovers --adopt "$lost"
mkdir "$LAB_REPO"
settings 'snapshot: { keep = false; };'
expect 0 cl backup "$vm"
expect 0 cl leftovers --clean
says foreign

expect 2 cl leftovers --adopt rubbish
expect 2 cl leftovers --adopt "$lost" "$snapshot"
expect 2 cl leftovers --adopt "$lost" --yes
expect 2 cl leftovers --adopt "$lost" --clean
expect 2 cl leftovers --yes "$snapshot"
expect 1 cl --json leftovers --adopt "$lost"
for kind in snapshot vm disk; do
  refused "$kind" 'it is younger than 24 hours'
done
ctl clock 90000
expect 1 cl --json leftovers --adopt "$lost"
for kind in snapshot vm disk; do
  [ "$(reason "$kind")" = 'removable ' ] || die "$kind: $(reason "$kind")"
done
ctl poke snapshots "$snapshot" status '"locked"'
refused snapshot 'it is locked'
ctl poke snapshots "$snapshot" status '"ok"'
# A guard VM holds it: a run lives.
keeper=$(api POST /vms '<vm><name>keeper</name><cluster><name>Default</name></cluster><template><name>Blank</name></template></vm>' \
  | tr -d '\n' | sed 's/.*<vm [^>]*id="\([^"]*\)".*/\1/')
held=$(ctl inventory | jq -r --arg d "$disk" '.disks[]
  | select(.alias == "web01_Disk1" and .id != $d) | .id')
api POST "/vms/$keeper/diskattachments" "<disk_attachment><disk id=\"$held\">\
<snapshot id=\"$snapshot\"/></disk><interface>virtio_scsi</interface>\
<bootable>false</bootable><active>false</active></disk_attachment>" >/dev/null
ctl idle >/dev/null
refused snapshot 'it is in use: attached to a VM'
api DELETE "/vms/$keeper/diskattachments/$held" >/dev/null
ctl idle >/dev/null
api DELETE "/vms/$keeper" >/dev/null
ctl idle >/dev/null
ctl extra >"$WORK/before"
volume=$(ctl inventory | jq -r --arg d "$disk" '.disks[] | select(.id == $d)
  | .image_id')
ctl poke volumes "$volume" status '"locked"'
refused disk 'it is locked'
ctl poke volumes "$volume" status '"ok"'
expect 11 cl leftovers --adopt "$lost" --yes "$snapshot" "$lost"
says 'nothing is removed'
expect 11 cl leftovers --adopt "$lost" --yes "$(ctl inventory \
  | jq -r --arg n "$vm" '.vms[] | select(.name == $n) | .id')"
ctl extra | cmp - "$WORK/before" || die 'something was removed'

# One by one; a disk that is still attached says so.
expect 1 cl leftovers --adopt "$lost" --yes "$snapshot"
says 'removed'
ctl extra | grep -q snapshot && die 'the snapshot stays'
[ "$(ctl extra | grep -c '^+ \(vm\|disk\)')" = 2 ] || die 'more was removed'
expect 12 cl leftovers --adopt "$lost" --yes "$disk"
says 'name that too'

# Somebody uses the disk.
api DELETE "/vms/$half/diskattachments/$disk" >/dev/null
ctl idle >/dev/null
vm_id=$(ctl inventory | jq -r --arg n "$vm" '.vms[] | select(.name == $n) | .id')
api POST "/vms/$vm_id/diskattachments" "<disk_attachment><disk id=\"$disk\"/>\
<interface>virtio</interface><bootable>false</bootable><active>false</active>\
</disk_attachment>" >/dev/null
ctl idle >/dev/null
expect 12 cl --json leftovers --adopt "$lost" --yes "$half"
[ "$(reason disk | cut -c1-19)" = 'stays it is in use:' ] || die "$(reason disk)"
api DELETE "/vms/$vm_id/diskattachments/$disk" >/dev/null
ctl idle >/dev/null
expect 0 cl leftovers --adopt "$lost" --yes "$half" "$disk"
clean
expect 0 cl leftovers --adopt "$lost"
next_run "$vm"
