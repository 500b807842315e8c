# SPDX-License-Identifier: Apache-2.0
# What somebody does to the layers of a stopped VM while they are read: merge,
# move, preview, restore, sparsify, reduce.  It is always noticed, by the event, by
# the chain in the engine or by the volumes on the host, and what was read is
# discarded, be it right or wrong; the run after it is right.
. "$(dirname "$0")/lib.sh"

lab_up --vms pair
quick
vm=web01
ctl vm-stop "$vm"
next_run "$vm"
ours ()
{
  ctl snapshots "$vm" | jq -r '.[] | select(.description
    | startswith("chainlift:")) | .id'
}
where ()
{
  ctl inventory | jq -r '(.disks[] | select(.alias == "web01_Disk1")).domain as $d
    | .storagedomains[] | select(.id == $d) | .name'
}
other ()
{
  case $(where) in
    data_one) echo data_two ;;
    *) echo data_one ;;
  esac
}
# Go on after something was done: nothing is published, the next run is right.
discards ()
{
  kill -CONT "$HALTED"
  got=0
  wait "$HALTED" || got=$?
  HALTED=
  case $got in
    11 | 12) ;;
    *) die "$1: exit $got" ;;
  esac
  says "error: $vm: "
  [ -z "${2:-}" ] || says "$2"
  ctl idle >/dev/null
  listed_points >"$WORK/points.now"
  cmp "$WORK/points" "$WORK/points.now" || die "$1: the points changed"
  echo "ok: $1: $(grep 'error:' "$OUT" | tail -n 1 | cut -c 1-160)"
}

# merge: of our snapshot, of one disk of it, of a user's below.
halt stream backup "$vm"
ctl remove-snapshot "$vm" "$(ours)"
discards 'our snapshot is merged' discarded
next_run "$vm"
halt stream backup "$vm"
ctl remove-disk-snapshot "$vm" "$(ours)" web01_Disk1
discards 'the disk is merged out of our snapshot' discarded
next_run "$vm"
user=$(ctl add-snapshot "$vm" 'of a user')
next_run_above ()
{
  expect 0 cl backup "$vm"
  prove image "$(latest "$vm")" || die 'the next point is wrong'
  [ -z "$(ours)" ] || die 'a snapshot of ours is left'
  noted
}
next_run_above
halt stream backup "$vm"
ctl remove-snapshot "$vm" "$user"
ctl forget-events
discards "a user's below is merged, and no event tells" discarded
next_run "$vm"

# move: at each moment, with and without events.
for at in config t0 stream t1; do
  halt "$at" backup "$vm"
  ctl move-disk "$vm" web01_Disk1 "$(other)"
  [ "$at" = config ] || ctl forget-events
  discards "the disk is moved at $at"
  next_run "$vm"
done
halt stream backup "$vm"
ctl move-disk "$vm" web01_Disk1 "$(other)"
ctl move-disk "$vm" web01_Disk1 "$(other)"
discards 'the disk is moved away and back' discarded
next_run "$vm"

# preview, undone or not; commit = restore.
halt stream backup "$vm"
ctl preview "$vm" "$(ours)"
discards 'our snapshot is in preview' discarded
says 'may be left behind'
ctl undo-preview "$vm"
next_run "$vm"
halt stream backup "$vm"
ctl preview "$vm" "$(ours)"
ctl undo-preview "$vm"
discards 'our snapshot was in preview' discarded
next_run "$vm"
halt stream backup "$vm"
ctl preview "$vm" "$(ours)"
ctl commit-preview "$vm"
discards 'the VM is restored to our snapshot' discarded
next_run "$vm"
for forget in '' 'ctl forget-events'; do
  user=$(ctl add-snapshot "$vm" 'of a user')
  next_run_above
  halt stream backup "$vm"
  ctl preview "$vm" "$user"
  ctl commit-preview "$vm"
  $forget
  [ -z "$(ours)" ] || die 'the restore did not drop our snapshot'
  discards "the VM is restored to an older one${forget:+, and no event tells}" \
    discarded
  ctl remove-snapshot "$vm" "$user"
  next_run "$vm"
done

# The engine refuses these while there is a snapshot; if it does not some day,
# the event counts.
for code in 1325 382; do
  halt stream backup "$vm"
  ctl tell "$vm" "$code" 'Disk web01_Disk1 is made smaller.'
  discards "event $code" "event $code"
  next_run "$vm"
done

# A merge has failed meanwhile: no further snapshot on that chain.
id=$(ctl inventory | jq -r '.vms[] | select(.name == "web01") | .id')
ctl poke vms "$id" has_illegal_images true
row 'illegal images' 12 "$vm: " 'it has illegal images' -- cl backup "$vm"
ctl poke vms "$id" has_illegal_images false
halt stream backup db01 "$vm"
ctl poke vms "$id" has_illegal_images true
go_on 1
says 'it has illegal images since the plan'
says 'db01: backed up'
ctl poke vms "$id" has_illegal_images false
next_run "$vm"
