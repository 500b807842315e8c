# SPDX-License-Identifier: Apache-2.0
# Each reason for which the chain above the kept snapshot cannot be trusted: a
# full, with the reason in the plan, on the screen and in the point; and what
# looks like one but is none: an increment.  Every point equals its oracle.
. "$(dirname "$0")/lib.sh"

lab_up --vms pair
quick
settings 'snapshot: { keep = true; };'

ours ()
{
  ctl snapshots "$1" | jq -r '.[] | select(.description
    | startswith("chainlift:")) | .id' | tail -n 1
}
id_of ()
{
  ctl inventory | jq -r --arg n "$2" ".$1[]
    | select((.name // .alias) == \$n) | .id"
}
reason ()
{
  cl --json show "$1" | jq -r --arg n "$2" '.disks[] | select(.alias == $n)
    | .reason'
}
# next NAME VM DISK=REASON...: what the plan says is what the point says; its
# bytes are right.  A VM by its id where the name is not enough.
next ()
{
  name=$1
  vm=$2
  shift 2
  which=$vm
  case $vm in
    *-*-*-*-*) which=vm:$vm ;;
  esac
  expect 0 cl --json backup --dry-run "$which"
  cp "$OUT" "$WORK/planned"
  expect 0 cl backup "$which"
  point=$(latest "$vm")
  point=$vm@${point#*@}
  prove image "$point" >/dev/null || die "$name: a wrong point"
  for want in "$@"; do
    got=$(reason "$point" "${want%%=*}")
    case $got in
      ${want#*=}) ;;
      *) die "$name: ${want%%=*}: \"$got\", not \"${want#*=}\"" ;;
    esac
    planned=$(jq -r --arg n "${want%%=*}" 'select(.alias? == $n) | .reason' \
      "$WORK/planned" | head -n 1)
    case $planned in
      ${want#*=}) ;;
      *) die "$name: planned: ${want%%=*}: \"$planned\"" ;;
    esac
  done
  echo "ok: $name: $got"
  expect 0 cl leftovers
}
web ()
{
  next "$1" web01 "web01_Disk1=$2"
}
db ()
{
  next "$1" db01 "db_system=$2" "db_data=$3" "db_log=$4"
}
preview ()
{
  ctl vm-stop "$1"
  ctl preview "$1" "$2"
}
commit ()
{
  ctl commit-preview "$1"
  ctl vm-start "$1"
}
merge_fails ()
{
  ctl fail-task snapshot-delete 1
  ! ctl remove-snapshot "$1" "$2" 2>/dev/null || die 'it did not fail'
  ctl idle
}
no='full: no point yet'
yes='increment on 2*'
gone='full: kept snapshot is gone'

web 'first' "$no"
db 'first' "$no" "$no" "$no"
web 'nothing happened' "$yes"
db 'nothing happened' "$yes" "$yes" "$yes"

ctl remove-snapshot web01 "$(ours web01)"
web 'the kept snapshot is gone' "$gone"

# In preview the engine takes no snapshot at all; nothing is lost by it.
preview web01 "$(ours web01)"
expect 0 cl --json backup --dry-run web01
says 'full: kept snapshot is in preview'
noted
expect 7 cl backup web01
says 'previewing'
listed_points >"$WORK/points.now"
cmp "$WORK/points" "$WORK/points.now" || die 'a point of a preview'
ctl undo-preview web01
ctl vm-start web01
web 'the preview was undone' "$yes"

# Restored: to the kept snapshot and to a newer one the layers above it are
# others, and still all that changed; to an older one it is gone.
preview web01 "$(ours web01)"
commit web01
web 'restored to the kept snapshot' "$yes"
ctl add-snapshot web01 newer >/dev/null
preview web01 newer
commit web01
web 'restored to a newer snapshot' "$yes"
ctl remove-snapshot web01 newer
ctl add-snapshot db01 older >/dev/null
db 'after a snapshot of a user' "$yes" "$yes" "$yes"
preview db01 older
commit db01
db 'restored to an older snapshot' "$gone" "$gone" "$gone"
ctl remove-snapshot db01 older
db 'that one was removed' "$yes" "$yes" "$yes"

# The kept snapshot is there, but over layers that the machine does not have
# any more: only the chain tells, after the plan.
ctl add-snapshot web01 older >/dev/null
web 'after a snapshot of a user' "$yes"
preview web01 older
ctl commit-preview web01 astray
ctl vm-start web01
expect 0 cl backup web01
says 'planned was: increment on'
point=$(latest web01)
prove image "$point"
got=$(reason "$point" web01_Disk1)
[ "$got" = 'full: the chain does not contain the volume of the kept snapshot' ] \
  || die "the kept snapshot is astray: \"$got\""
echo "ok: the kept snapshot is astray: $got"
web 'the run after' "$yes"

ctl remove-disk-snapshot db01 "$(ours db01)" db_data
db 'a disk has left the snapshot' "$yes" \
  'full: kept snapshot does not list the disk' "$yes"
db 'the run after' "$yes" "$yes" "$yes"

# A merge that failed, of whichever snapshot, by whomever.
failed='full: a merge has failed since the last point'
ctl add-snapshot web01 'of a user' >/dev/null
merge_fails web01 'of a user'
web 'a merge has failed' "$failed"
ctl remove-snapshot web01 'of a user'
web 'the run after' "$yes"
merge_fails web01 "$(ours web01)"
web 'the merge of the kept snapshot has failed' "$failed"
# Of another machine: none of ours.
merge_fails db01 "$(ours db01)"
web 'a merge of another machine has failed' "$yes"
db 'a merge has failed' "$failed" "$failed" "$failed"
# While there are illegal images nothing is taken; then the event tells.
vm_id=$(id_of vms web01)
ctl poke vms "$vm_id" has_illegal_images true
noted
expect 12 cl backup web01
says 'illegal images'
listed_points >"$WORK/points.now"
cmp "$WORK/points" "$WORK/points.now" || die 'a point over illegal images'
ctl poke vms "$vm_id" has_illegal_images false
volume=$(ctl snapshots web01 | jq -r --arg s "$(ours web01)" '.[]
  | select(.id == $s) | .disks[]')
ctl poke volumes "$volume" status '"illegal"'
expect 0 cl --json backup --dry-run web01
says 'full: kept snapshot has illegal images'
ctl poke volumes "$volume" status '"ok"'
web 'no image is illegal' "$yes"
# The engine forgets: it cannot be told whether one has failed.
ctl forget-events
forgot="full: the engine's events since the last point are not all there"
web 'the events are gone' "$forgot"
db 'the events are gone' "$forgot" "$forgot" "$forgot"
web 'the run after' "$yes"

# Moved with its ids to another domain: the layers are the same.
ctl vm-stop db01
ctl move-disk db01 db_log data_one
db 'a disk was moved' "$yes" "$yes" "$yes"
ctl vm-start db01
db 'after that' "$yes" "$yes" "$yes"

# New disks under the old names: exported and imported again.
ctl vm-stop db01
ctl reimport db01
db 'imported again under its id' "$gone" "$gone" "$gone"
expect 0 cl show "$(latest db01)"
says 'not attached any more'
db 'the run after' "$yes" "$yes" "$yes"
# One new disk beside old ones: another id under the name of the old one.
vm_id=$(id_of vms db01)
domain=$(id_of storagedomains data_one)
api DELETE "/disks/$(id_of disks db_data)" >/dev/null
ctl idle
api POST /disks "<disk><alias>db_data</alias><format>raw</format>\
<provisioned_size>33554432</provisioned_size><storage_domains><storage_domain \
id=\"$domain\"/></storage_domains></disk>" >/dev/null
ctl idle
api POST "/vms/$vm_id/diskattachments" "<disk_attachment><disk \
id=\"$(id_of disks db_data)\"/><interface>virtio</interface>\
<bootable>false</bootable><active>true</active></disk_attachment>" >/dev/null
next 'a disk with a new id' db01 "db_system=$yes" \
  'db_data=full: the last point does not have it' "db_log=$yes"
ctl vm-start db01
db 'the run after' "$yes" "$yes" "$yes"

# Removed and restored under its own id: no snapshot of before is there.  Then
# another machine gets its name, as a clone would.
before=$(latest web01)
old=$(id_of vms web01)
ctl remove-vm web01
expect 0 cl restore "$before" --as web01
[ "$(id_of vms web01)" = "$old" ] || die 'it has another id'
ctl vm-start web01
web 'removed and restored' "$gone"
web 'the run after' "$yes"
before=$(latest web01)
ctl poke vms "$old" name '"web01-old"'
expect 0 cl restore "$before" --as web01
new=$(id_of vms web01)
[ "$new" != "$old" ] || die 'it has the same id'
next 'another machine of that name' "$new" "web01_Disk1=$no"
next 'the run after' "$new" "web01_Disk1=$yes"
next 'the old one under another name' "$old" "web01_Disk1=$yes"
prove point "$old@${before#*@}"
settings 'snapshot: { keep = false; };'
expect 0 cl backup "vm:$new" web01-old db01
expect 0 cl leftovers
ctl baseline >/dev/null
clean
