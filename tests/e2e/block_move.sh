# SPDX-License-Identifier: Apache-2.0
# Block domains and a host that is no good: config-check tells what LVM does not
# find there; one that cannot read its storage, or is put into maintenance, is
# left, by reads with what they have, by writes with new disks; nothing stays
# active on it.
. "$(dirname "$0")/lib.sh"

lab_up --hosts 0 --guests 2 --block small --vms none
quick
settings 'ssh: { heartbeat = 5; stall_timeout = 20; };'
HALT_S=300

domain_id ()
{
  ctl inventory | jq -r --arg n "$1" \
    '.storagedomains[] | select(.name == $n) | .id'
}

# --- what LVM finds
expect 0 cl config-check
says 'b1: finds 2 block domains'
says 'b2: finds 2 block domains'
for variant in el7 el8; do
  on b2 lvm "$variant"
  expect 0 cl config-check
  says 'b2: finds 2 block domains'
done
on b2 lvm plain
echo 'ok: LVM finds its domains, whatever the host hides'

lun_of ()
{
  api GET "/storagedomains/$(domain_id "$1")" \
    | sed -n 's/.*<logical_unit id="\([^"]*\)".*/\1/p' | head -n 1
}
lun=/dev/mapper/$(lun_of block_old)
inside b2 mv "$lun" /run/lvm/lun
expect 7 cl config-check
says "domain block_old: host b2: $lun: LUN"
says 'is not connected to this host'
says 'b2: finds 1 block domain'
says 'b1: finds 2 block domains'
inside b2 mv /run/lvm/lun "$lun"
echo 'ok: a LUN that is not there is told'

# --- a domain that is extended while the run is on
id=$(domain_id block_one)
vg=$(ctl inventory | jq -c --arg d "$id" \
  '.storagedomains[] | select(.id == $d) | .vg')
[ "$(echo "$vg" | jq '.luns | length')" -gt 1 ] || die 'it has one LUN'
ctl poke storagedomains "$id" vg "$(echo "$vg" | jq -c '.luns |= .[:1]')"
halt plan:2 backup --full blk-off
ctl poke storagedomains "$id" vg "$vg"
go_on 0
prove image "$(latest blk-off)" || die 'a LUN was added: the point is wrong'
clean
echo 'ok: a LUN was added since the plan'

# --- a host that cannot read
lun=/dev/mapper/$(lun_of block_one)
inside b2 mv "$lun" /run/lvm/lun
expect 0 cl backup --full blk-off
inside b2 mv /run/lvm/lun "$lun"
says 'is not connected to this host'
says 'reading from host b1'
prove image "$(latest blk-off)" || die 'read elsewhere: the point is wrong'
clean
echo 'ok: read elsewhere: its LUN is not there'
halt stream backup blk-off
frozen=$(ctl chain blk-off blk-off_Disk1 | sed -n 2p)
on b2 lun-error "$frozen" 1048576 1048576
go_on 0
on b2 lun-heal "$frozen"
says 'going on from host b1'
point=$(latest blk-off)
prove image "$point" || die 'read elsewhere: the point is wrong'
clean
echo "ok: read elsewhere: $(grep 'going on' "$OUT")"

# --- writing: the host leaves
settings 'ssh: { heartbeat = 5; stall_timeout = 20; };'
expect 0 cl backup blk-old
point=$(latest blk-old)
clean
for lock in none auto; do
  settings "restore_lock = \"$lock\"; ssh: { heartbeat = 5; stall_timeout = 20; };
    transfer: { bandwidth = 4000000; };"
  halt write:2 restore "$point" --as "copy-$lock" --cluster blockcluster \
    --storage block_one
  ctl host-status b2 maintenance
  go_on 0
  says 'starting over on host b1, with new disks'
  prove vm "$point" "copy-$lock" || die "lock $lock: the copy is wrong"
  ctl host-status b2 up
  id=$(ctl inventory | jq -r --arg n "copy-$lock" \
    '.vms[] | select(.name == $n) | .id')
  api DELETE "/vms/$id" >/dev/null
  clean
  echo "ok: written elsewhere, lock $lock: $(grep 'starting over' "$OUT")"
done
