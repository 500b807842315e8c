# SPDX-License-Identifier: Apache-2.0
# A repository on cold storage: looking through a point takes longer than a
# helper lives that hears nothing.  None is there meanwhile, neither at the first
# disk nor at the next one, so that no host is left for that.
. "$(dirname "$0")/lib.sh"

lab_up --vms small
quick
settings 'ssh: { heartbeat = 5; stall_timeout = 5; connect_timeout = 2; };'
vm=web01
domain=$(ctl inventory | jq -r '.storagedomains[] | select(.name == "data_one")
  | .id')
# Of an odd size: the new one gets more than the engine tells.
disk=$(cat /proc/sys/kernel/random/uuid)
api POST /disks "<disk id=\"$disk\"><alias>web01_more</alias><format>raw</format>\
<sparse>true</sparse><provisioned_size>8389120</provisioned_size><storage_domains>\
<storage_domain id=\"$domain\"/></storage_domains></disk>" >/dev/null
ctl idle >/dev/null
on_vm=$(ctl inventory | jq -r --arg n "$vm" '.vms[] | select(.name == $n) | .id')
api POST "/vms/$on_vm/diskattachments" "<disk_attachment><disk \
id=\"$disk\"/><interface>virtio</interface><bootable>false</bootable>\
<active>true</active></disk_attachment>" >/dev/null
ctl idle >/dev/null
ctl baseline >/dev/null
next_run "$vm"
point=$(latest "$vm")

for disk in 1 2; do
  halt "map:$disk" restore "$point" --as "copy-$disk"
  if residue | grep 'process' | grep -v 'process sshd:'; then
    die "disk $disk: a helper waits"
  fi
  sleep 7
  go_on 0
  says_not 'starting over'
  prove vm "$point" "copy-$disk" || die "disk $disk: the copy is wrong"
  ctl remove-vm "copy-$disk"
  clean
  echo "ok: slow at disk $disk"
done
