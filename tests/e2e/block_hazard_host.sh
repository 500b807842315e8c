# SPDX-License-Identifier: Apache-2.0
# What a backup that reads logical volumes meets on a host, and gets over: LVM
# that sees other devices than ours, a mapping that is shorter than the volume, a
# device that is suspended for a moment, VMs that start and stop, a host or domain
# that leaves.
. "$(dirname "$0")/lib.sh"

lab_up --hosts 0 --guests 2 --block small
quick
usual='ssh: { heartbeat = 30; stall_timeout = 30; };'
settings "$usual"
vm=blk-cow
ctl vm-stop "$vm"
HALT_S=300

volume ()
{
  ctl chain "$vm" "$1" | sed -n "$(($2 + 1))p"
}
mapped ()
{
  inside "$1" dmsetup ls | grep -q "$(echo "$2" | sed 's/-/--/g')"
}
right ()
{
  prove image "$(latest "$vm")" || die "$1: other bytes than the guest had"
  clean
  noted
  echo "ok: $1"
}
: >"$WORK/points"

# --- what LVM on the host sees ---------------------------------------------

lvm_files ()
{
  inside "$1" sh -c 'cat /etc/lvm/lvmlocal.conf /etc/lvm/devices/* 2>&1 || true'
}
# lvm_is VARIANT: from now on, and what is asked is noted anew.
lvm_is ()
{
  for host in b1 b2; do
    on "$host" lvm "$1"
    inside "$host" truncate -s 0 /run/lvm/asked
    lvm_files "$host" >"$WORK/lvm.$host"
  done
}
# only_looked MUST...: LVM was asked on b2, with MUST each time, and for nothing
# that an SPM alone may do; its configuration is what it was.
only_looked ()
{
  inside b2 cat /run/lvm/asked >"$WORK/asked"
  for word in lvs vgs lvchange; do
    grep -q "^lvm $word" "$WORK/asked" || die "nobody asked: lvm $word"
  done
  grep -vE '^lvm (version|lvs --help)$' "$WORK/asked" >"$WORK/did"
  grep -vE '^lvm (lvs|vgs) |^lvm lvchange .*(--autobackup n --available [yn]|--refresh) [^ -][^ ]*/' \
    "$WORK/did" && die "LVM was asked for more than to look and to activate"
  grep -E -- '(add|del)tag|--size|extend|reduce|--permission|rename|autobackup y' \
    "$WORK/did" && die "LVM was asked to change a volume"
  for text in "$@"; do
    grep -vF -- "$text" "$WORK/did" && die "LVM was asked without $text"
  done
  for host in b1 b2; do
    lvm_files "$host" | cmp - "$WORK/lvm.$host" \
      || die "the configuration of LVM was changed"
  done
}

# A mapping that is shorter than the volume, of which something that must be
# read is behind its end: b1 grows the volume, and fills it.
lvm_is el7
leaf=$(volume "${vm}_Disk1" 0)
ctl prepare b2 "$vm" "${vm}_Disk1"
node=/dev/mapper/$(inside b2 dmsetup ls \
  | awk -v v="$(echo "$leaf" | sed 's/-/--/g')" 'index ($1, v) { print $1 }')
size=$(inside b2 blockdev --getsize64 "$node")
ctl extend-lv "$vm" "${vm}_Disk1" $((3 * size)) >/dev/null
ctl prepare b1 "$vm" "${vm}_Disk1"
for at in 300 360 420; do
  inside b1 qemu-io -f qcow2 -t none -c "write -P 0 ${at}M 60M" "$node"
done >/dev/null
inside b1 qemu-io -f qcow2 -t none -c 'write -P 0x5a 480M 1M' "$node" >/dev/null
ctl teardown b1 "$vm" "${vm}_Disk1"
[ "$(inside b2 blockdev --getsize64 "$node")" = "$size" ] \
  || die "the mapping on b2 has grown by itself"
# And the device is suspended, when it is looked at and while it is read; the
# backup waits for it.  Whatever the load of the machine is, b2 lets it go itself
# as soon as COMMAND is true there: $1 is the device, $2 the volume.
let_go_when ()
{
  inside b2 sh -c 'rm -f /run/lvm/opened
    nohup sh -c "until $1; do sleep 0.1; done
      dmsetup info -c --noheadings -o open \$1 >/run/lvm/opened
      dmsetup resume \$1" sh "$2" "$3" >/dev/null 2>&1 </dev/null &' \
    sh "$1" "$node" "$leaf"
}
on b2 lv-suspend "$leaf"
let_go_when 'grep -q "^lvm lvs .*$2" /run/lvm/asked'
halt stream backup "$vm"
[ "$(inside b2 cat /run/lvm/opened)" = 0 ] || die "it did not wait at t0"
on b2 lv-suspend "$leaf"
let_go_when 'cat /proc/[0-9]*/task/[0-9]*/stat | grep -q "(chainlift-remot) D"'
go_on 0
[ "$(inside b2 cat /run/lvm/opened)" -gt 0 ] || die "it did not wait in a read"
only_looked 'filter=["a|^/dev/mapper/35000c50015ea7101$|^/dev/mapper/35000c50015ea7102$|","r|.*|"]' \
  locking_type=4
grep -q -- --refresh "$WORK/did" || die "nothing was refreshed"
ctl teardown b2 "$vm" "${vm}_Disk1"
right 'a mapping that is too short, and suspended for moments; LVM of EL7'

# --- VMs that start and stop -----------------------------------------------

lvm_is el8
halt stream backup "$vm"
ctl vm-start "$vm" b2
go_on 0
mapped b2 "$leaf" || die "a volume of the VM is not active any more"
only_looked '--devices /dev/mapper/35000c50015ea7101,/dev/mapper/35000c50015ea7102 '
grep -E 'filter|locking_type' "$WORK/did" && die "a filter or locking_type on EL8"
prove image "$(latest "$vm")" || die "a VM started: other bytes"
# The processes of the VM are not of the lab's first inventory.
residue | grep -vE ' process (/usr/bin/python3 .*/writer.py|qemu-storage-daemon) ' \
  && die "something is left behind"
noted
echo 'ok: a VM started on the host while it was read; LVM of EL8'
lvm_is plain

halt stream backup "$vm"
ctl vm-stop "$vm"
frozen=$(volume "${vm}_Disk1" 1)
mapped b2 "$frozen" || die "the volume that we read went with the VM"
go_on 0
right 'a VM stopped while it was read'

# --- hosts and domains that leave ------------------------------------------

settings "$usual transfer: { bandwidth = 4000000; };"
halt stream backup "$vm"
frozen=$(volume "${vm}_Disk1" 1)
mapped b2 "$frozen" || die "nothing is active on b2"
ctl host-status b2 maintenance
kill -CONT "$HALTED"
ended 0
says 'host b2 is maintenance in the engine; going on from host b1'
mapped b2 "$frozen" && die "a volume is active on the host that was left"
ctl host-status b2 up
right 'the host left while it was read'

# The domain goes: that is not better elsewhere.
domain=$(ctl inventory | jq -r \
  '.storagedomains[] | select(.name == "block_one") | .id')
halt stream backup "$vm"
ctl poke storagedomains "$domain" status '"maintenance"'
go_on 12
says 'storage domain block_one is maintenance in the engine'
ctl poke storagedomains "$domain" status '"active"'
cl leftovers --clean >/dev/null 2>&1 || true
intact 'the domain left while it was read'
