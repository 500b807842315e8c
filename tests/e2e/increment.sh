# SPDX-License-Identifier: Apache-2.0
# Nights with snapshot.keep: running VMs that write, cow and raw disks, a
# template below, odd sizes; users take and remove snapshots, disks grow, come
# and go, the kept snapshot is lost.  Every point equals its oracle, after each
# night one snapshot of ours is there, after the last run with keep = false
# none.
. "$(dirname "$0")/lib.sh"

lab_up
quick
VMS='db01 snaps thin01 odd'
disk_id ()
{
  ctl inventory | jq -r --arg n "$1" '.disks[] | select(.alias == $n) | .id'
}
ours ()
{
  ctl snapshots "$1" | jq -r '.[] | select(.description
    | startswith("chainlift:")) | .id'
}
# The reason why a disk of the newest point of a VM was read so.
reason ()
{
  cl --json show "$(latest "$1")" >"$OUT"
  jq -r --arg n "$2" '.. | objects | select(.alias? == $n) | .reason // empty' \
    "$OUT" | head -n 1
}
is ()
{
  got=$(reason "$1" "$2")
  case $got in
    $3) ;;
    *) die "$1 $2: \"$got\", not \"$3\"" ;;
  esac
}
night ()
{
  expect 0 cl backup ${2:-} $VMS
  for vm in $VMS; do
    prove image "$(latest "$vm")" || die "night $1: a wrong point of $vm"
    [ "$(ours "$vm" | wc -l)" = 1 ] || die "night $1: snapshots: $(ours "$vm")"
  done
  left=$(find "$LAB_REPO/tmp" "$LAB_REPO/journal" -mindepth 1)
  [ -z "$left" ] || die "night $1: left in the repository: $left"
  expect 0 cl leftovers
  echo "ok: night $1"
}

settings 'snapshot: { keep = true; };'
night 1
is db01 db_data 'full: no point yet'

# Restored with sizes that vdsm rounds up and the engine tells as they were asked
# for: its backups are as right as those of the original, and their restores.
point=$(latest odd)
expect 0 cl restore "$point" --as odd-1
prove vm "$point" odd-1
expect 0 cl backup odd-1
prove point "$(latest odd-1)"
ctl vm-start odd-1
sleep 1
expect 0 cl backup odd-1
is odd-1 odd_Disk1 'increment on *'
is odd-1 odd_Disk3 'increment on *'
point=$(latest odd-1)
prove point "$point"
expect 0 cl restore "$point" --as odd-again
prove vm "$point" odd-again
ctl remove-vm odd-1
ctl remove-vm odd-again

# Nothing but the guests; the raw disk has a cow overlay now.
night 2
for disk in db_system db_data db_log; do
  is db01 "$disk" 'increment on *'
done
is odd odd_Disk1 'increment on *'
expect 0 cl --json backup --dry-run db01
says increment
says_not '"full"'

# Users take snapshots, remove older and newer ones than ours.
ctl add-snapshot db01 'before the update' >/dev/null
ctl add-snapshot snaps 'fourth' >/dev/null
ctl remove-snapshot snaps 'before update'
night 3
is db01 db_data 'increment on *'
is snaps snaps_Disk2 'increment on *'
ctl remove-snapshot snaps 'drei'
ctl remove-snapshot db01 'before the update'
ctl add-snapshot db01 'one more' >/dev/null
ctl remove-snapshot db01 'one more'

# Disks grow.
for disk in db_log:67108864 db_data:60817408 odd_Disk1:50331648 \
  odd_Disk3:41943040; do
  api PUT "/disks/$(disk_id "${disk%:*}")" "<disk><provisioned_size>${disk#*:}\
</provisioned_size></disk>" >/dev/null
done
ctl idle >/dev/null
ctl vm-start odd
sleep 1
night 4
is db01 db_log 'increment on *'
is odd odd_Disk3 'increment on *'
ctl vm-stop odd

# A disk comes, another goes.
domain=$(ctl inventory | jq -r '.storagedomains[] | select(.name == "data_one")
  | .id')
api POST /disks "<disk><alias>db_new</alias><format>cow</format>\
<provisioned_size>33554432</provisioned_size><storage_domains><storage_domain \
id=\"$domain\"/></storage_domains></disk>" >/dev/null
ctl idle >/dev/null
vm_id=$(ctl inventory | jq -r '.vms[] | select(.name == "db01") | .id')
api POST "/vms/$vm_id/diskattachments" "<disk_attachment><disk \
id=\"$(disk_id db_new)\"/><interface>virtio</interface><bootable>false</bootable>\
<active>true</active></disk_attachment>" >/dev/null
ctl vm-stop db01
api DELETE "/disks/$(disk_id db_system)" >/dev/null
ctl idle >/dev/null
ctl vm-start db01
night 5
is db01 db_new 'full: the last point does not have it'
is db01 db_log 'increment on *'
is db01 db_system 'not attached any more, it is in point 2*'
expect 0 cl show "$(latest db01)"
says 'not attached any more'
night 6
is db01 db_new 'increment on *'
[ -z "$(reason db01 db_system)" ] || die 'the removed disk is told again'
# Through all of these chains, also over the place where a parent ends.
for vm in odd db01; do
  point=$(latest "$vm")
  prove point "$point"
  expect 0 cl restore "$point" --as "$vm-6"
  prove vm "$point" "$vm-6"
done

# The kept snapshot is lost; it is no longer marked as ours.
ctl remove-snapshot snaps "$(ours snaps)"
expect 0 cl --json backup --dry-run snaps
says 'full: kept snapshot is gone'
night 7
is snaps snaps_Disk1 'full: kept snapshot is gone'
is db01 db_log 'increment on *'

# The last point is damaged: full, and increments on that one.
point=$(latest thin01)
image=$(echo "$LAB_REPO"/vms/*/"${point#*@}"/"$(disk_id thin01_Disk1)".qcow2)
mv "$image" "$image.away"
night 8
is thin01 thin01_Disk1 'full: the last point is damaged'
mv "$image.away" "$image"
night 9
is thin01 thin01_Disk1 'increment on *'
is snaps snaps_Disk1 'increment on *'
night 10 --full
is db01 db_log 'full: asked for'
night 11

# A merge that fails: the point stands, the next run takes no new snapshot
# before the old one is gone.
ctl fail-task snapshot-delete 1
expect 1 cl backup thin01
says 'its previous snapshot may be left behind'
says 'event 357'
prove image "$(latest thin01)"
[ "$(ours thin01 | wc -l)" = 2 ] || die 'not two snapshots'
expect 1 cl leftovers
ctl fail-task snapshot-delete 1
before=$(ours thin01)
point=$(latest thin01)
expect 7 cl backup thin01
says 'event 357'
[ "$(ours thin01)" = "$before" ] || die 'a snapshot came or went'
[ "$(latest thin01)" = "$point" ] || die 'a point came'
night 12
is thin01 thin01_Disk1 'full: a merge has failed since the last point'
is db01 db_log 'increment on *'
night 13
is thin01 thin01_Disk1 'increment on *'
expect 0 cl verify
for vm in $VMS; do
  point=$(latest "$vm")
  prove point "$point"
done
expect 0 cl restore "$(latest db01)" --as again
prove vm "$(latest db01)" again
ctl idle >/dev/null

settings 'snapshot: { keep = false; };'
expect 1 cl leftovers
expect 0 cl backup $VMS
for vm in $VMS; do
  [ -z "$(ours "$vm")" ] || die "a snapshot of $vm is left"
  prove image "$(latest "$vm")"
done
is db01 db_log 'full: no snapshot is kept to build on'
expect 0 cl leftovers
ctl baseline >/dev/null
clean
