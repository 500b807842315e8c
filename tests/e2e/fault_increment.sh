# SPDX-License-Identifier: Apache-2.0
# What happens behind the back of an increment: connections break, snapshots
# go, come and are renamed.  No wrong point, and no increment on something that
# is not what the newest point says.
. "$(dirname "$0")/lib.sh"

lab_up --vms small
quick
vm=web01
settings 'snapshot: { keep = true; };'

ours ()
{
  ctl snapshots "$vm" | jq -r '.[] | select(.description
    | startswith("chainlift:")) | .id'
}
# A run makes a right point whose disk was read because of $2.
next_is ()
{
  expect 0 cl backup "$vm"
  prove image "$(latest "$vm")" || die "$1: the point is wrong"
  cl --json show "$(latest "$vm")" | grep -qF "$2" || die "$1: not $2"
  [ "$(ours | wc -l)" = 1 ] || die "$1: snapshots: $(ours)"
  expect 0 cl leftovers
  noted
  echo "ok: $1"
}
# The halted run fails, nothing is published, the kept snapshot is as it was.
discards ()
{
  go_on "$2"
  says "$vm: "
  listed_points >"$WORK/points.now"
  cmp "$WORK/points" "$WORK/points.now" || die "$1: the points changed"
  [ "$(ours)" = "$3" ] || die "$1: snapshots: $(ours)"
}
planned ()
{
  expect 0 cl --json backup --dry-run "$vm"
  says "$1"
}

next_is 'first' 'full: no point yet'
next_is 'second' 'increment on'

# What had come before a connection broke is not stored twice, zeros neither.
for bytes in 400000 1500000; do
  sleep 2
  for host in $LAB_HOSTS; do
    sh "$TOP/tests/lab/lab.sh" host "$LAB" "$host" reset-after "$bytes"
  done
  begin backup "$vm"
  wait_until 30 grep -q 'reading: ' "$OUT"
  sleep 1
  for host in $LAB_HOSTS; do
    sh "$TOP/tests/lab/lab.sh" host "$LAB" "$host" heal
  done
  wait_until 50 grep -q 'trying again' "$OUT"
  ended 0
  prove image "$(latest "$vm")" || die "broken after $bytes: wrong"
  next_is "broken after $bytes" 'increment on'
done

# The kept snapshot goes while the layers above it are read.
for moment in config:12 t0:11 stream:12 t1:12; do
  kept=$(ours)
  halt "${moment%:*}" backup "$vm"
  ctl remove-snapshot "$vm" "$kept"
  discards "$moment" "${moment#*:}" ''
  next_is "kept snapshot removed at ${moment%:*}" 'full: kept snapshot is gone'
  next_is 'the run after' 'increment on'
done

# Snapshots of users come and go around it meanwhile.
below=$(ctl add-snapshot "$vm" 'of a user')
next_is 'above a snapshot of a user' 'increment on'
kept=$(ours)
halt stream backup "$vm"
ctl remove-snapshot "$vm" "$below"
discards 'the layer below merged' 12 "$kept"
next_is 'after that' 'increment on'
halt stream backup "$vm"
above=$(ctl add-snapshot "$vm" 'later')
go_on 0
prove image "$(latest "$vm")"
ctl remove-snapshot "$vm" "$above"
next_is 'a later snapshot of a user' 'increment on'

# It is there, but not as it was.
kept=$(ours)
mark=$(ctl snapshots "$vm" | jq -r '.[-1].description')
ctl poke snapshots "$kept" status '"in_preview"'
planned 'full: kept snapshot is in preview'
ctl poke snapshots "$kept" status '"ok"'
planned 'increment on'
ctl poke snapshots "$kept" description '"of nobody"'
planned 'full: kept snapshot does not carry our mark any more'
expect 0 cl backup "$vm"
prove image "$(latest "$vm")"
[ "$(ctl snapshots "$vm" | jq length)" = 2 ] || die 'a foreign snapshot went'
ctl poke snapshots "$kept" description "\"$mark\""
next_is 'two of ours' 'increment on'
