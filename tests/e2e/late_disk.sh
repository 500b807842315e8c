# SPDX-License-Identifier: Apache-2.0
# A disk that a VM got after the plan was made: its backup says so and fails,
# rather than list a point without it.
. "$(dirname "$0")/lib.sh"

lab_up --vms pair
quick
halt stream backup db01 web01
says 'db01: reading'
domain=$(ctl inventory | jq -r '.disks[0].domain')
vm_id=$(ctl inventory | jq -r '.vms[] | select(.name == "web01") | .id')
disk=$(api POST /disks "<disk><alias>late</alias><format>cow</format>\
<sparse>true</sparse><provisioned_size>67108864</provisioned_size>\
<storage_domains><storage_domain id=\"$domain\"/></storage_domains></disk>" \
  | tr -d '\n' | sed 's/.*<disk [^>]*id="\([^"]*\)".*/\1/')
ctl idle
api POST "/vms/$vm_id/diskattachments" "<disk_attachment><disk id=\"$disk\"/>\
<interface>virtio_scsi</interface><bootable>false</bootable>\
<active>true</active></disk_attachment>" >/dev/null
ctl idle
go_on 1
says 'web01: a disk was attached, plugged or unplugged since the plan'
if listed_points | grep '^web01'; then
  die 'a point without the disk is listed'
fi
ctl baseline >/dev/null
next_run web01
