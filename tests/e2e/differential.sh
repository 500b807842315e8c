# SPDX-License-Identifier: Apache-2.0
# snapshot.differential: nights against the last full, of running VMs; users take
# and remove snapshots, disks grow, the setting changes.  Every point equals its
# oracle; one snapshot of ours stays, that of the last full.
. "$(dirname "$0")/lib.sh"

lab_up --vms pair
quick
VMS='web01 db01'
ours ()
{
  ctl snapshots "$1" | jq -r '.[] | select(.description
    | startswith("chainlift:")) | .id'
}
shown ()
{
  cl --json show "$1" | jq -r ".$2"
}
# The newest points are right, all their disks have been read as $2 says, and the
# snapshot of the point $3 (of web01) is the one that stays.
night ()
{
  expect 0 cl backup ${4:-} $VMS
  for vm in $VMS; do
    point=$(latest "$vm")
    prove image "$point" || die "$1: a wrong point of $vm"
    cl --json show "$point" | jq -r '.disks[].reason' >"$WORK/reasons"
    while IFS= read -r got; do
      case $got in
        $2) ;;
        *) die "$1 $vm: \"$got\", not \"$2\"" ;;
      esac
    done <"$WORK/reasons"
    [ "$(ours "$vm" | wc -l)" = 1 ] || die "$1: snapshots: $(ours "$vm")"
  done
  stays=$3
  [ "$stays" != latest ] || stays=$(latest web01)
  [ "$(ours web01)" = "$(shown "$stays" snapshot_id)" ] \
    || die "$1: another snapshot stays"
  left=$(find "$LAB_REPO/tmp" "$LAB_REPO/journal" -mindepth 1)
  [ -z "$left" ] || die "$1: left in the repository: $left"
  expect 0 cl leftovers
  echo "ok: $1"
}

settings 'snapshot: { keep = true; differential = true; };'
night 'the first' 'full: no full to build on' latest
full=$(latest web01)
stamp=${full#*@}

night 'the second' 'differential on *' "$full"
expect 0 cl --json backup --dry-run web01
says "differential on $stamp"
ctl add-snapshot web01 'of a user' >/dev/null
api PUT "/disks/$(ctl inventory | jq -r '.disks[]
  | select(.alias == "db_log") | .id')" \
  '<disk><provisioned_size>67108864</provisioned_size></disk>' >/dev/null
ctl idle >/dev/null
sleep 2
night 'a snapshot of a user below, a disk has grown' 'differential on *' "$full"
[ "$(shown "$(latest web01)" parent)" = "$stamp" ] || die 'another parent'
ctl remove-snapshot web01 'of a user'
night 'that one removed' 'differential on *' "$full"
for point in $(cl --json points web01 | jq -r 'select(.kind == "increment")
  | .parent'); do
  [ "$point" = "$stamp" ] || die "the parent of a point is $point"
done
expect 0 cl show "$(latest web01)"
says "differential on $stamp"
expect 0 cl points web01
says differential
expect 0 cl verify
expect 0 cl restore "$(latest db01)" --as db-again
prove vm "$(latest db01)" db-again
ctl baseline >/dev/null

# At most two of ours meanwhile; a crash leaves no third one.
halt stream backup web01
[ "$(ours web01 | wc -l)" = 2 ] || die 'not two snapshots'
go_on 0
halt release backup web01
kill_halted
[ "$(ours web01 | wc -l)" = 2 ] || die 'not two snapshots after the crash'
prove image "$(latest web01)"
expect 1 cl leftovers
night 'after a crash' 'differential on *' "$full"

# Its own snapshot can not be removed: the point stands, and no other snapshot is
# taken before that one is gone.
ctl fail-task snapshot-delete 1
expect 1 cl backup web01
says 'event 357'
prove image "$(latest web01)"
ctl fail-task snapshot-delete 1
expect 7 cl backup web01
says 'event 357'
[ "$(ours web01 | wc -l)" = 2 ] || die 'another snapshot was taken'
night 'after a merge that failed' '*' latest
full=$(latest web01)
got=$(shown "$full" 'disks[0].reason')
[ "$got" = 'full: a merge has failed since the last full' ] || die "$got"
night 'and on that' 'differential on *' "$full"

night 'a new full' 'full: asked for' latest --full
full=$(latest web01)
night 'on that' 'differential on *' "$full"

# The setting changes: what is needed was not kept.
settings 'snapshot: { keep = true; };'
night 'increments from now on' 'full: kept snapshot is gone' latest
night 'the first increment' 'increment on *' latest
settings 'snapshot: { keep = true; differential = true; };'
night 'differentials again' 'full: kept snapshot is gone' latest
full=$(latest web01)
night 'the first of them' 'differential on *' "$full"
# The snapshot of a full that was the newest point serves both.
night 'a full' 'full: asked for' latest --full
settings 'snapshot: { keep = true; };'
night 'an increment on a full' 'increment on *' latest
settings 'snapshot: { keep = true; differential = true; };'
night 'a full for differentials' 'full: kept snapshot is gone' latest

ctl remove-snapshot web01 "$(ours web01)"
expect 0 cl --json backup --dry-run web01
says 'full: kept snapshot is gone'
ctl remove-snapshot db01 "$(ours db01)"
night 'the kept snapshot is lost' 'full: kept snapshot is gone' latest

# The last full is damaged.
image=$(echo "$LAB_REPO"/vms/*/"$(latest web01 | sed 's/.*@//')"/*.qcow2)
for file in $image; do
  mv "$file" "$file.away"
done
expect 0 cl backup web01
is=$(cl --json show "$(latest web01)" | jq -r '.disks[0].reason')
[ "$is" = 'full: the last full is damaged' ] || die "$is"
for file in $image; do
  mv "$file.away" "$file"
done
prove image "$(latest web01)"
echo 'ok: the last full is damaged'

settings 'snapshot: { keep = false; };'
expect 0 cl backup $VMS
for vm in $VMS; do
  [ -z "$(ours "$vm")" ] || die "a snapshot of $vm is left"
done
ctl baseline >/dev/null
clean
