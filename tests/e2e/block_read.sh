# SPDX-License-Identifier: Apache-2.0
# VMs on block domains, running and stopped: full, increment and restore, cow
# and raw, odd sizes, thin on a template, a domain of version 4.  Each byte
# against the oracle; a running VM is read on its host, a stopped one on a host
# that is not the SPM, and no volume is active that was not before.
#
#   BLOCK       VMs and LUNs of the lab
#   READ_STEPS  not empty: define the steps, for a script that sources this one
. "$(dirname "$0")/lib.sh"

BLOCK=${BLOCK:-all}
HOSTS='b1 b2'

# --- what the lab tells ---------------------------------------------------

# FILTER over all objects, with $n the VM's name: asked VM FILTER
asked ()
{
  ctl inventory | jq -r --arg n "$1" \
    '(.vms[] | select(.name == $n)) as $vm
     | [.disks[] | select(.id as $i | $vm.attachments | has($i))] as $disks
     | '"$2"
}

# Where the disks of VM $1 are read: the lab's own rows.
host_of ()
{
  asked "$1" '($vm.host // null) as $h
    | (.clusters[] | select(.id == $vm.cluster) | .id) as $c
    | [.hosts[] | select(if $h then .id == $h else
        .spm == false and .cluster == $c end) | .name] | first'
}

# The volume that VM $1 writes to, or would: one line for each disk.
leaves ()
{
  asked "$1" '$disks[].image_id'
}

point_key ()
{
  cl --json show "$1" | jq -r ".$2"
}

# --- steps ----------------------------------------------------------------

# The judge of what stays active is none that is always content.
judge ()
{
  volume=$(leaves "$1" | head -n 1)
  domain=$(asked "$1" '$disks[0].domain')
  inside b2 /usr/lib/lab/real/lvm lvchange -qq -ay "$domain/$volume"
  residue >"$WORK/there"
  grep -q '^b2: mapping ' "$WORK/there" || die "an active volume is not told"
  inside b2 /usr/lib/lab/real/lvm lvchange -qq -an "$domain/$volume"
  clean
}

# back_up KIND VM...: the next point of each, in one run.
back_up ()
{
  kind=$1
  shift
  for vm; do
    leaves "$vm" >"$WORK/frozen.$vm"
    host_of "$vm" >"$WORK/host.$vm"
  done
  expect 0 cl backup "$@"
  for vm; do
    point=$(latest "$vm")
    prove image "$point" || die "$kind: a wrong point of $vm"
    wrong=$(point_key "$point" 'disks[].kind' | grep -vx "$kind" || true)
    [ -z "$wrong" ] || die "$vm: $wrong, not $kind"
  done
  ctl baseline >/dev/null # one snapshot of ours stays on each
  clean
  for host in $HOSTS; do
    inside "$host" cat /run/lvm/asked >"$WORK/asked.$host"
  done
  for vm; do
    read_on "$vm"
  done
  echo "ok: $kind of $*"
}

# The helper of VM $1 asked LVM for its volumes on one host alone.
read_on ()
{
  there=$(cat "$WORK/host.$1")
  while read -r volume; do
    for host in $HOSTS; do
      found=no
      ! grep -q "$volume" "$WORK/asked.$host" || found=yes
      case $host,$found in
        "$there,yes") ;;
        "$there,no") die "$1: $volume was not read on $host" ;;
        *,yes) die "$1: $volume was read on $host, not on $there" ;;
      esac
    done
  done <"$WORK/frozen.$1"
}

# It has written to volume $2 on host $1 since that was mapped there.
has_written ()
{
  count=$(inside "$1" sh -c \
    'set -- $(cat /sys/class/block/$(basename $(readlink -f $1))/stat); echo $5' \
    sh "/dev/$domain/$2")
  [ "$count" -ge 20 ]
}

# The guests of running VMs write to the volumes that the snapshot made.
writing ()
{
  for vm; do
    domain=$(asked "$vm" '$disks[0].domain')
    for volume in $(leaves "$vm"); do
      wait_until 120 has_written "$(host_of "$vm")" "$volume"
    done
  done
}

# The disks of stopped VMs change, as qemu-img would do it.
scribbled ()
{
  for vm; do
    asked "$vm" '$disks[] | .id + " /rhev/data-center/mnt/blockSD/" + .domain
      + "/images/" + .id + "/" + .image_id' >"$WORK/disks"
    while read -r disk path; do
      ctl prepare b2 "$vm" "$disk"
      inside b2 qemu-io -f qcow2 -c 'write -q -P 0x5a 1M 128k' \
        -c 'write -q -P 0xa5 20M 3k' -c 'write -q -z 2M 1M' "$path" </dev/null
      ctl teardown b2 "$vm" "$disk"
    done <"$WORK/disks"
  done
}

# Each disk of these holds other bytes than at the point before.
differ ()
{
  for vm; do
    id=$(asked "$vm" '$vm.id')
    for disk in $(asked "$vm" '$disks[].id'); do
      set -- "$LAB/oracle/$id"/*/"$disk.raw"
      [ $# -eq 2 ] || die "$vm: $# oracles"
      ! cmp -s "$1" "$2" || die "$vm: nothing was written in between"
    done
  done
}

n=0
# restored VM "FORMATS" ARG...: its newest point, onto a block domain.
restored ()
{
  vm=$1
  formats=$2
  shift 2
  point=$(latest "$vm")
  n=$((n + 1))
  expect 0 cl restore "$point" --as "copy-$n" "$@"
  # shellcheck disable=SC2086
  prove vm "$point" "copy-$n" $formats || die "copy-$n of $vm is wrong: $*"
  api DELETE "/vms/$(asked "copy-$n" '$vm.id')" >/dev/null
  clean
  echo "ok: restored $vm $*"
}

# The base of the template of VM $1 is stored once, also for a full again.
base_once ()
{
  base=$(ls -A "$LAB_REPO/bases")
  [ "$(echo "$base" | wc -w)" -eq 1 ] || die "not one base but: $base"
  stored=$(stat -c %i.%Y.%s "$LAB_REPO/bases/$base"/*.qcow2)
  full=$(listed_points | wc -l)
  expect 0 cl backup --full "$1"
  point=$(latest "$1")
  prove image "$point" || die "a wrong full of $1"
  [ "$(point_key "$point" 'disks[0].base')" = "$base" ] || die "over no base"
  [ "$(listed_points | wc -l)" -eq $((full + 1)) ] || die "no new point"
  [ "$(ls -A "$LAB_REPO/bases")" = "$base" ] || die "more than base $base"
  [ "$(stat -c %i.%Y.%s "$LAB_REPO/bases/$base"/*.qcow2)" = "$stored" ] \
    || die "base $base was stored again"
  ctl baseline >/dev/null
  clean
  echo "ok: full of $1 over its template's base again"
}

begin_lab ()
{
  lab_up --hosts 0 --vms none --guests 2 --block "$BLOCK"
  quick
  settings 'snapshot: { keep = true; };'
}

[ -z "${READ_STEPS:-}" ] || return 0

running='blk-cow blk-raw blk-thin'
to_one='--cluster blockcluster --storage block_one'
to_old='--cluster blockcluster --storage block_old'

begin_lab
judge blk-off
# shellcheck disable=SC2086
{
  back_up full $running blk-off blk-old
  writing $running
  scribbled blk-off
  back_up increment $running blk-off
  differ $running blk-off
  restored blk-off 'cow raw' $to_one
  restored blk-raw raw $to_old
  restored blk-thin cow
}
base_once blk-thin
