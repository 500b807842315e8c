# SPDX-License-Identifier: Apache-2.0
# Sourced by scripts that let a restore onto a logical volume of b2 hang.
HALT_S=300
lab_up --hosts 0 --guests 2 --block small
quick
quick_ssh='ssh: { heartbeat = 20; stall_timeout = 20; connect_timeout = 15; };'
slow="$quick_ssh transfer: { bandwidth = \"1M\"; };"
expect 0 cl backup blk-cow
point=$(latest blk-cow)
clean
# Nobody can go on for b2.
ctl host-status b1 maintenance
n=0
domain=$(ctl inventory | jq -r \
  '.storagedomains[] | select(.name == "block_one") | .id')

onto ()
{
  n=$((n + 1))
  "$@" restore "$point" --as "copy-$n" --cluster blockcluster \
    --storage block_one
}
# Disks that no VM had before this began.
made ()
{
  ctl extra | sed -n 's/^+ disk \([^ ]*\).*/\1/p'
}
leaf_of ()
{
  ctl inventory | jq -r --arg d "$1" '.disks[] | select(.id == $d) | .image_id'
}
mapped ()
{
  inside b2 dmsetup ls | grep -q "$(echo "$1" | sed 's/-/--/g')"
}
no_helper ()
{
  inside b2 ps -e -ww -o args= >"$WORK/ps" \
    && ! grep -q chainlift-remote "$WORK/ps"
}
# The process of the helper that writes has written half a MiB.
writes ()
{
  worker=$(inside b2 ps -e -ww -o pid=,user=,args= \
    | awk '/chainlift-remote/ && $2 == "vdsm" { print $1; exit }')
  [ -n "$worker" ] && inside b2 cat "/proc/$worker/io" \
    | awk '$1 == "write_bytes:" { exit $2 < 524288 }'
}

# Nothing is on its way to the storage: what is there nobody can call back, so
# that only a transfer that holds the disk is a guard against it.
rests ()
{
  inside b2 sh -c 'cat /proc/[0-9]*/task/[0-9]*/stat 2>/dev/null || true' \
    >"$WORK/threads"
  grep -q '(chainlift-remot) S' "$WORK/threads" \
    && ! grep -q '(chainlift-remot) [DR]' "$WORK/threads"
}

# frozen LOCK: the host freezes in the middle of a restore with that lock, and
# the controller sends more.
frozen ()
{
  settings "restore_lock = \"$1\"; $quick_ssh"
  onto halt write:3
  rests && rests || wait_until 10 rests
  on b2 freeze
  kill -CONT "$HALTED"
  begun=$(date +%s)
  disk=$(made)
  leaf=$(leaf_of "$disk")
}
# That is told, and `leftovers --clean` does not dare either.
stays ()
{
  expect 1 cl leftovers "$@"
  says "$disk"
  [ "$(made)" = "$disk" ] || die "the disk was removed under a helper"
}
# The restore gives up in bounded time, and leaves the disk alone.
gave_up ()
{
  wait_until 240 has_ended
  wait "$HALTED" || true
  HALTED=
  took=$(($(date +%s) - begun))
  says 'left behind'
  [ "$(made)" = "$disk" ] || die "the disk was removed under a helper"
  stays
}
has_ended ()
{
  ! kill -0 "$HALTED" 2>/dev/null || grep -qs '^State:.Z' "/proc/$HALTED/status"
}
thawed ()
{
  on b2 thaw
  wait_until 120 no_helper
}
