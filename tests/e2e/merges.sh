# SPDX-License-Identifier: Apache-2.0
# snapshot.merges_per_domain, over runs side by side: db01 has disks on the domain
# of web01 and on another one.
. "$(dirname "$0")/lib.sh"

lab_up --vms pair
quick
ours ()
{
  ctl snapshots "$1" | jq -r '.[] | select(.description
    | startswith("chainlift:")) | .id'
}
waits ()
{
  grep -q 'waiting for a place: other runs merge 1 on storage domain data_one' \
    "$WORK/second"
}
# The first run is stopped while it has its place, the second one comes.
both ()
{
  halt release:2 backup web01
  "$BUILD/src/chainlift" --config "$LAB_CONF" backup db01 \
    >"$WORK/second" 2>&1 </dev/null &
  second=$!
  cleanup_fn "kill -KILL $second 2>/dev/null"
}
over ()
{
  got=0
  wait "$second" || got=$?
  [ "$got" -eq 0 ] || die "$1: exit $got: $(cat "$WORK/second")"
  [ -z "$(ours db01)" ] || die "$1: a snapshot is left"
  prove image "$(latest db01)"
}

settings 'snapshot: { keep = false; merges_per_domain = 1; };'
both
wait_until 60 waits
[ -n "$(ours db01)" ] || die 'the snapshot is gone before its turn'
sleep 2
[ -n "$(ours db01)" ] || die 'it did not wait'
go_on 0
over 'one at a time'
clean
echo 'ok: one at a time'

both
wait_until 60 waits
kill_halted
over 'the other one was killed'
expect 0 cl backup web01
prove image "$(latest web01)"
clean
echo 'ok: the place of one that was killed is free'

# The base of increments, removed by settle; the place is taken by a stranger.
settings 'snapshot: { keep = true; merges_per_domain = 1; };'
expect 0 cl backup db01
domain=$(ctl inventory | jq -r '.storagedomains[] | select(.name == "data_one")
  | .id')
/usr/bin/python3 -c 'import fcntl, sys, time
with open(sys.argv[1], "r+") as place:
    fcntl.lockf(place, fcntl.LOCK_EX)
    print("locked", flush=True)
    time.sleep(600)' "$LAB_REPO/leases/merge.$domain.1" >"$WORK/stranger" &
stranger=$!
cleanup_fn "kill -KILL $stranger 2>/dev/null"
wait_until 30 grep -q locked "$WORK/stranger"
begin backup db01
wait_until 60 grep -q 'waiting for a place: other runs merge 1' "$OUT"
[ "$(ours db01 | wc -l)" = 2 ] || die 'the kept snapshot did not wait'
kill -KILL "$stranger"
ended 0
[ "$(ours db01 | wc -l)" = 1 ] || die 'not one snapshot'
prove image "$(latest db01)"
echo 'ok: a kept snapshot waits too'

settings 'snapshot: { keep = false; merges_per_domain = 2; };'
expect 0 cl backup web01 db01
[ -z "$(ours db01)" ] || die 'a snapshot is left'
ctl baseline >/dev/null
both
over 'two at a time'
grep -q waiting "$WORK/second" && die 'it waited'
go_on 0
clean
echo 'ok: two at a time'
