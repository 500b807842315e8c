# SPDX-License-Identifier: Apache-2.0
# What device mapper, the SPM and an administrator do to logical volumes while a
# backup reads them: errors at some bytes, devices whose requests wait, volumes
# that are merged away or whose extents become another disk's.  What is wrong is
# never published, and what was active before is what is active after.
. "$(dirname "$0")/lib.sh"

lab_up --hosts 0 --guests 2 --block small
quick
settings 'ssh: { heartbeat = 30; stall_timeout = 30; };'
vm=blk-cow
ctl vm-stop "$vm"
HALT_S=300

# Volume $2 of disk $1, 0 = the leaf.
volume ()
{
  ctl chain "$vm" "$1" | sed -n "$(($2 + 1))p"
}

: >"$WORK/points"

# --- errors ----------------------------------------------------------------

# unreadable WHERE OFFSET LENGTH VERB TEXT: those bytes of the frozen volume
# cannot be read when the backup goes on from there, and no other host is up.  It
# is told which.
ctl host-status b1 maintenance
unreadable ()
{
  halt "$1" backup "$vm"
  frozen=$(volume "${vm}_Disk1" 1)
  on b2 "$4" "$frozen" "$2" "$3"
  go_on 9
  says "$vm: "
  says "disk ${vm}_Disk1"
  says 'host b2'
  says "$5"
  at=$(sed -n "s/^chainlift: .*error: .*read volume $frozen at \([0-9]*\).*/\1/p" \
    "$OUT" | tail -n 1)
  [ -n "$at" ] || die "the volume and the place are not told"
  [ "$at" -le "$2" ] && [ $(($2 - at)) -lt 4194304 ] \
    || die "told is $at, unreadable are $3 bytes from $2 on"
  [ "$4" = lv-error ] || on b2 lun-heal "$frozen"
  intact "bytes from $2 on cannot be read from $1 on"
}
unreadable stream 8388608 4096 lv-error 'Input/output error'
unreadable t1 0 65536 lun-error 'No data available'
ctl host-status b1 up

# LVM fails when all has been read: nothing has changed, and that is not told.
halt t1:1 backup "$vm"
inside b2 sh -c "echo 'case \"\$*\" in lvs*) echo broken >&2; exit 5 ;; esac' \
  >/run/lvm/hook"
go_on 7
says 'lvs of domain'
says 'ended with status 5'
says_not 'changed'
inside b2 rm /run/lvm/hook
intact 'LVM failed at t1'

# --- devices that are suspended --------------------------------------------

# vdsm has prepared it: at t0 it is there already.
ctl prepare b2 "$vm" "${vm}_Disk1"
frozen=$(volume "${vm}_Disk1" 0)
on b2 lv-suspend "$frozen"
expect 12 cl backup "$vm"
says "$vm: "
says "disk ${vm}_Disk1"
says "volume $frozen"
says 'is suspended for more than 10 s'
on b2 lv-resume "$frozen"
ctl teardown b2 "$vm" "${vm}_Disk1"
intact 'suspended for long at t0'

# While it is read, for ever.  The helpers hang; nothing can be put back until
# they do not.
settings 'ssh: { heartbeat = 10; stall_timeout = 15; connect_timeout = 15; };'
halt stream backup "$vm"
frozen=$(volume "${vm}_Disk1" 1)
on b2 lv-suspend "$frozen"
go_on 12
says "$vm: "
says 'is suspended'
listed_points >"$WORK/points.now"
cmp "$WORK/points" "$WORK/points.now" || die "a point of a hung read is listed"
expect 1 cl leftovers
says 'helper'
on b2 lv-resume "$frozen"
expect 0 cl leftovers --clean
intact 'suspended for long while it was read'

# When it is given back.
settings 'ssh: { heartbeat = 30; stall_timeout = 30; };'
vm=blk-off
halt t1:2 backup "$vm"
frozen=$(volume "${vm}_Disk2" 1)
on b2 lv-suspend "$frozen"
kill -CONT "$HALTED"
ended 1
says 'is suspended'
on b2 lv-resume "$frozen"
prove image "$(latest "$vm")" || die "suspended in the end: other bytes"
expect 0 cl leftovers --clean
clean
noted
echo 'ok: suspended when it is given back'
vm=blk-cow

# --- what others do in the engine ------------------------------------------

# The volume itself goes from the SPM, while it is mapped on this host.
user=$(ctl add-snapshot "$vm" 'of a user')
halt stream backup "$vm"
frozen=$(volume "${vm}_Disk1" 1)
ctl remove-snapshot "$vm" "$user"
go_on 12
says 'discarded'
intact "a volume was merged away while it was read"

# All of it goes, and its extents are another disk's.
halt stream backup "$vm"
ctl remove-vm "$vm"
domain=$(ctl inventory | jq -r \
  '.storagedomains[] | select(.name == "block_one") | .id')
api POST /disks "<disk><alias>other</alias><format>raw</format><sparse>false</sparse><provisioned_size>1073741824</provisioned_size><storage_domains><storage_domain id=\"$domain\"/></storage_domains></disk>" \
  >/dev/null
ctl idle >/dev/null
ctl baseline >/dev/null
go_on 12
says 'discarded'
intact 'the VM was removed while it was read, and its extents used again'
