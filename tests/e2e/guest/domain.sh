#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# In a guest of the lab: a storage domain on a LUN with the flags that vdsm
# uses (lib/vdsm/storage/lvm.py, blockSD.py), and volumes in it.
#
#   domain.sh make WWID SD VERSION
#   domain.sh volume SD IMAGE VOLUME PARENT raw|cow MIB SLOT CAP VOLTYPE
#   domain.sh meta SD IMAGE VOLUME PARENT raw|cow SLOT CAP VOLTYPE [KEY=VALUE]
#   domain.sh lvm WWID ARGS...        any command on that LUN
set -eu
BLANK=00000000-0000-0000-0000-000000000000
CONFIG='devices { preferred_names=["^/dev/mapper/"] ignore_suspended_devices=1
  write_cache_state=0 disable_after_error_count=3 hints="none"
  obtain_device_list_from_udev=0 } global { prioritise_write_locks=1
  wait_for_locks=1 use_lvmpolld=1 } backup { retain_min=50 retain_days=0 }'

# Commands of the domain see its LUN alone.
lun()
{
  WWID=$1
}
l()
{
  what=$1
  shift
  lvm "$what" --devices "/dev/mapper/$WWID" --config "$CONFIG" "$@"
}
of()
{
  lun "$(cat "/root/lun.$1")"
}

make()
{
  lun "$1"
  echo "$1" >"/root/lun.$2"
  l pvcreate -q --metadatasize 128m --metadatacopies 2 --metadataignore y -ff \
    -y "/dev/mapper/$1"
  l pvchange -q --metadataignore n "/dev/mapper/$1"
  l vgcreate -q --setautoactivation n --physicalextentsize 128m \
    --addtag RHAT_storage_domain_UNREADY "$2" "/dev/mapper/$1"
  l lvcreate -q --autobackup n --contiguous n --size 128m --wipesignatures n \
    --name metadata "$2"
  l vgchange -q --deltag RHAT_storage_domain_UNREADY \
    --addtag RHAT_storage_domain --addtag "MDT_SDUUID=$2" \
    --addtag "MDT_VERSION=$3" --addtag "MDT_TYPE=FCP" "$2"
}

# The slot of a volume, as vdsm writes it.
meta()
{
  version=$(l vgs --noheadings -o vg_tags "$1" \
    | tr , '\n' | sed -n 's/.*MDT_VERSION=//p')
  format=$(echo "$5" | tr a-z A-Z)
  {
    [ "$version" -lt 5 ] || echo "CAP=$7"
    printf 'CTIME=1574000000\nDESCRIPTION=\nDISKTYPE=DATA\n'
    printf 'DOMAIN=%s\nFORMAT=%s\nGEN=0\nIMAGE=%s\nLEGALITY=LEGAL\n' \
      "$1" "$format" "$2"
    printf 'PUUID=%s\n' "$4"
    [ "$version" -ge 5 ] || printf 'SIZE=%s\n' $(($7 / 512))
    printf 'TYPE=SPARSE\nVOLTYPE=%s\nEOF\n' "$8"
  } | if [ -n "${9:-}" ]; then sed "s/^${9%%=*}=.*/$9/"; else cat; fi >/root/slot
  truncate -s 512 /root/slot
  at=$(($6 * 512))
  [ "$version" -lt 5 ] || at=$((1048576 + $6 * 8192))
  dd if=/root/slot of="/dev/$1/metadata" bs=512 seek=$((at / 512)) \
    oflag=direct conv=notrunc status=none
}

volume()
{
  l lvcreate -q --autobackup n --contiguous n --size "$6m" --wipesignatures n \
    --addtag OVIRT_VOL_INITIALIZING --name "$3" "$1"
  l lvchange -q --autobackup n --addtag "MD_$7" --addtag "PU_$4" \
    --addtag "IU_$2" --deltag OVIRT_VOL_INITIALIZING "$1/$3"
  meta "$1" "$2" "$3" "$4" "$5" "$7" "$8" "$9"
}

command=$1
shift
case $command in
  make) make "$@" ;;
  lvm)
    lun "$1"
    shift
    l "$@"
    ;;
  volume | meta)
    of "$1"
    "$command" "$@"
    ;;
  *) exit 2 ;;
esac
