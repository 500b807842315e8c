# SPDX-License-Identifier: Apache-2.0
# What becomes of a restore onto a logical volume when its host loses the storage
# or its power, or when its writes hang in the kernel: no disk is removed while
# somebody may still write to it.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/parts/hang.sh"

# --- errors -----------------------------------------------------------------

settings "restore_lock = \"none\"; $slow"
onto begin
wait_until 120 writes
leaf=$(leaf_of "$(made)")
on b2 lv-error "$leaf" 0 134217728
ended 9
says 'disk blk-cow_Disk1'
says 'host b2'
says "$leaf at "
says 'Input/output error'
says 'no other host of its data center is up'
clean
echo "ok: it can not be written: $(tail -n 1 "$OUT")"

# --- in use ------------------------------------------------------------------

# A process that nobody knows opens the new volume while it is written, so that it
# stays active: no VM gets the disk, and nobody removes it.
settings "restore_lock = \"none\"; $quick_ssh"
onto halt write:3
disk=$(made)
leaf=$(leaf_of "$disk")
inside b2 sh -c "nohup sh -c 'exec 3</dev/$domain/$leaf; exec sleep 600' \
  >/dev/null 2>&1 </dev/null & echo \$! >/run/lvm/holder"
kill -CONT "$HALTED"
wait_until 120 has_ended
wait "$HALTED" && die "a disk that is in use was attached"
HALTED=
says 'a process that vdsm does not know of has it open'
says 'may have the logical volumes of new disks active'
[ "$(made)" = "$disk" ] || die "the disk is gone, or a VM has it"
stays --clean
says 'volume active'
mapped "$leaf" || die "it was not in use at all"
inside b2 sh -c 'kill $(cat /run/lvm/holder)'
expect 0 cl leftovers --clean
clean
echo 'ok: in use by a process that vdsm does not know of'

# --- power loss -----------------------------------------------------------------

frozen none
kill_halted
stays --clean
# The engine has seen it: the host gets its domains back.
status_is ()
{
  ctl inventory | jq -e --arg s "$1" \
    '.hosts[] | select(.name == "b2") | .status == $s'
}
on b2 kill
wait_until 60 status_is non_responsive
on b2 start
wait_until 60 status_is up
expect 0 cl leftovers --clean
clean
echo 'ok: power loss of the frozen host'

# --- killed while its writes hang ----------------------------------------------

# SIGKILL ends neither what hangs in the kernel nor its write.
hangs ()
{
  inside b2 sh -c 'cat /proc/[0-9]*/task/[0-9]*/stat 2>/dev/null || true' \
    | grep -q '(chainlift-remot) D'
}
settings "restore_lock = \"none\"; $slow"
onto begin
wait_until 120 writes
disk=$(made)
leaf=$(leaf_of "$disk")
on b2 lv-suspend "$leaf"
wait_until 60 hangs
inside b2 ps -e -ww -o pid=,args= >"$WORK/ps"
ids=$(awk '/chainlift-remote/ { print $1 }' "$WORK/ps")
# shellcheck disable=SC2086
inside b2 kill -KILL $ids
begun=$(date +%s)
gave_up
says 'hangs in the kernel'
on b2 lv-resume "$leaf"
wait_until 60 no_helper
expect 0 cl leftovers --clean
clean
echo "ok: killed while its writes hang; gave up in $took s"
