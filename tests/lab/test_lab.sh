#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The lab holds what it promises: two labs side by side, hosts with pinned
# keys, faults, real snapshots and merges with an oracle, and no trace after.
#
# It runs in namespaces of its own (mounts, network, processes), so that what
# is there before and after can be compared to the last line.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if [ -z "${LAB_TEST_INSIDE:-}" ]; then
  [ "$(id -u)" = 0 ] || { echo "skip: the lab needs root"; exit 77; }
  exec env LAB_TEST_INSIDE=1 unshare -m -n -p -f --kill-child --mount-proc \
    --propagation private timeout -k 10 240 bash "$here/test_lab.sh" "$@"
fi

lab=$here/lab.sh
work=$(mktemp -d)
notes=$(mktemp -d)
a=$work/a
b=$work/b
failed=0

finish ()
{
  "$lab" down "$a" || true
  "$lab" down "$b" || true
  rm -rf "$work" "$notes"
}
trap finish EXIT

# verdict WHAT STATUS: the details are in notes/out.
verdict ()
{
  if [ "$2" = 0 ]; then
    echo "ok: $1"
  else
    echo "FAIL: $1"
    tail -n 20 "$notes/out"
    failed=1
  fi
}

# The command succeeds; it fails; two texts are the same.
expect ()
{
  local what=$1 status=0
  shift
  "$@" >"$notes/out" 2>&1 || status=1
  verdict "$what" $status
}

refuse ()
{
  local what=$1 status=1
  shift
  "$@" >"$notes/out" 2>&1 || status=0
  verdict "$what" $status
}

equal ()
{
  echo "$2" >"$notes/one"
  echo "$3" >"$notes/two"
  expect "$1" diff "$notes/one" "$notes/two"
}

# Links, mounts, namespaces, files and processes of this test's own world; its
# own shells and pipes do not count.
world ()
{
  local process exe
  ip -o link | sed 's/^[0-9]*: \([^:@]*\).*/link \1/'
  sed 's/^[^ ]* \([^ ]*\).*/mount \1/' /proc/mounts
  ip netns list | sed 's/^/netns /'
  find "$work" -mindepth 1 | sed 's/^/file /'
  for process in /proc/[0-9]*; do
    exe=$(readlink "$process/exe" 2>/dev/null) || continue
    case $exe in
      */bash | */timeout | */sed | */sort | */readlink) ;;
      *) echo "process $exe $(tr '\0' ' ' <"$process/cmdline")" ;;
    esac
  done
}

# remote DIR HOST KEY USER COMMAND: KEY is a type, or the path of a key.
remote ()
{
  local dir=$1 host=$2 key=$3 user=$4
  shift 4
  case $key in
    */*) ;;
    *) key=$dir/keys/id_$key ;;
  esac
  (
    # shellcheck source=/dev/null
    . "$dir/env"
    address=LAB_ADDRESS_$host
    port=LAB_PORT_$host
    exec ssh -i "$key" -o IdentitiesOnly=yes -o BatchMode=yes \
      -o StrictHostKeyChecking=yes -o UserKnownHostsFile="$LAB_KNOWN_HOSTS" \
      -o GlobalKnownHostsFile=/dev/null -o ConnectTimeout=3 \
      -o ServerAliveInterval=1 -o ServerAliveCountMax=3 \
      -p "${!port}" "$user@${!address}" "$@" </dev/null
  )
}

ctl ()
{
  local dir=$1
  shift
  "$lab" ctl "$dir" "$@"
}

# inventory DIR [JQ-OPTION...] PROGRAM
inventory ()
{
  local dir=$1
  shift
  ctl "$dir" inventory >"$notes/inventory"
  jq -r "$@" "$notes/inventory"
}

chain () { ctl "$a" chain "$1" "$2"; }
layer () { chain "$1" "$2" | sed -n "$3p"; }
file_of () { find "$a/storage" -path "*/images/*/$1" | sort | sed -n 1p; }

# The volumes that processes of host $1 of lab a hold open for writing.
writable ()
{
  "$lab" run "$a" "$1" sh -c 'for fd in /proc/[0-9]*/fd/*; do
    path=$(readlink "$fd") || continue
    case $path in */images/*) ;; *) continue ;; esac
    info=${fd%/fd/*}/fdinfo/${fd##*/}
    case $(sed -n "s/^flags:[[:space:]]*//p" "$info") in
      *[12]) echo "${path##*/}" ;;
    esac
  done' | sort -u
}

ip link set lo up
world | sort >"$notes/before"

# -- up, twice ------------------------------------------------------------
begin=$(date +%s)
"$lab" up "$a" &
one=$!
"$lab" up "$b" --vms small --hosts 3 &
two=$!
expect "lab a is up" wait $one
expect "lab b is up" wait $two
[ $failed = 0 ] || exit 1
expect "in less than 20 s" test $(($(date +%s) - begin)) -lt 20
refuse "a second lab in the same directory" "$lab" up "$a"
expect "lab a is clean" "$lab" residue "$a"
expect "lab b is clean" "$lab" residue "$b"
refuse "networks differ" diff <(grep NETWORK "$a/env") <(grep NETWORK "$b/env")

# -- hosts ----------------------------------------------------------------
for host in h1 h2; do
  for key in ed25519 ecdsa rsa; do
    equal "ssh to $host as root with $key" \
      "$(remote "$a" $host $key root 'hostname; id -u')" "$host"$'\n'0
  done
  # What conf/sudoers.example allows, and no more.
  equal "sudo on $host" "$(remote "$a" $host ed25519 backup \
    'echo $(id -u; sudo -n /bin/sh -c "id -u"; id -g vdsm)')" "1000 0 36"
  refuse "another command by sudo on $host" \
    remote "$a" $host ed25519 backup 'sudo -n id'
done
expect "ssh to the third host" remote "$b" h3 ed25519 root true
refuse "the key of another lab" remote "$b" h1 "$a/keys/id_ed25519" root true
for host in h1 h2 h3; do
  pinned=$(inventory "$b" \
    ".hosts[] | select(.name == \"$host\") | .public_key")
  finger=$(inventory "$b" \
    ".hosts[] | select(.name == \"$host\") | .fingerprint")
  expect "the engine knows the key of $host" grep -F " $pinned" \
    "$b/known_hosts"
  equal "its fingerprint" \
    "$(echo "$pinned" | ssh-keygen -l -f - | cut -d' ' -f2)" "$finger"
done
remote "$a" h1 ed25519 root "echo x >/usr/lab-test; mkdir /lab-test"
expect "which a host can write" remote "$a" h1 ed25519 root test -d /lab-test
refuse "does not reach the machine" ls -d /usr/lab-test /lab-test
refuse "nor the other host" remote "$a" h2 ed25519 root test -d /lab-test

# -- volumes as vdsm has them ----------------------------------------------
equal "36:36 0660" "$(find "$a/storage" -path '*/images/*' -type f \
  \( -not -user 36 -o -not -group 36 -o -not -perm 660 \))" ""
expect "escaped mounts" test -d "$a/storage/10.0.0.1:_export_sub__dir_two"
base=$(layer thin01 thin01_Disk1 2)
equal "hard links of the template's volume" \
  "$(stat -c %h "$(file_of "$base")")" 3
equal "three snapshots of a user" "$(chain snaps snaps_Disk1 | wc -l)" 4
top=$(file_of "$(layer snaps snaps_Disk1 2)")
equal "backing string is the bare parent" \
  "$(qemu-img info -U -f qcow2 --output=json "$top" |
    jq -r '."backing-filename"')" "$(layer snaps snaps_Disk1 3)"
qemu-img map -U -f qcow2 --output=json "$top" >"$notes/map"
expect "a layer has zero clusters over data" \
  jq -e 'any(.depth == 0 and .zero and .present)' "$notes/map"
for size in $((40 * 1048576 + 512)) $((70 * 1048576 + 12288)); do
  expect "a disk of $size bytes" \
    test -n "$(inventory "$a" ".disks[] | select(.provisioned_size == $size)")"
done

# -- live snapshot, oracle, live merge ------------------------------------
# one_moment VM SNAP: all of what a snapshot of a running VM must be.
one_moment ()
{
  local vm=$1 snap=$2 host disk leaf frozen oracle format first tick open
  host=$(inventory "$a" --arg vm "$vm" '. as $all | .vms[] |
    select(.name == $vm) | .host as $host | $all.hosts[] |
    select(.id == $host) | .name')
  open=$(writable "$host")
  first=
  for disk in $disks; do
    leaf=$(layer "$vm" "$disk" 1)
    frozen=$(layer "$vm" "$disk" 2)
    oracle=$(ctl "$a" oracle "$vm" "$snap" "$disk")
    case $(cat "$(file_of "$frozen.meta")") in
      *FORMAT=RAW*) format=raw ;;
      *) format=qcow2 ;;
    esac
    expect "$vm: the oracle is the frozen chain" qemu-img compare -U -f raw \
      -F $format "$oracle" "$(find "$a/storage" -path "*/$disk/$frozen")"
    expect "$vm: the guest writes into the leaf" grep -x "$leaf" <<<"$open"
    refuse "$vm: and not below" grep -x "$frozen" <<<"$open"
    tick=$(dd if="$oracle" bs=512 skip=16 count=1 status=none |
      sed -n 's/^tick \([0-9]*\).*/\1/p')
    first=${first:-$tick}
    expect "$vm: tick $tick with $first" \
      test "$tick" -le "$first" -a "$tick" -ge $((first - 1))
  done
}

chains () { for disk in $disks; do chain "$1" "$disk"; done; }

for vm in web01 db01 snaps raw-sparse thin01; do
  disks=$(inventory "$a" --arg vm "$vm" \
    '.vms[] | select(.name == $vm) | .attachments | keys[]')
  before=$(chains "$vm")
  snap=$(ctl "$a" add-snapshot "$vm" "test of the lab")
  sleep 0.3
  one_moment "$vm" "$snap"
  ctl "$a" remove-snapshot "$vm" "$snap" >/dev/null
  equal "$vm: the chain after the merge" "$(chains "$vm")" "$before"
done

# A snapshot of the user in the middle goes, while the VM runs.
ctl "$a" snapshots snaps >"$notes/snapshots"
ctl "$a" remove-snapshot snaps "$(jq -r '.[1].id' "$notes/snapshots")" \
  >/dev/null
equal "a live merge in the middle" "$(chain snaps snaps_Disk1 | wc -l)" 3
ctl "$a" vm-stop snaps >/dev/null
for number in 1 2 3; do
  expect "qemu-img check of layer $number" qemu-img check -q -f qcow2 \
    "$(file_of "$(layer snaps snaps_Disk1 $number)")"
done
expect "qemu-img check over a raw base" qemu-img check -q -f qcow2 \
  "$(file_of "$(layer snaps snaps_Disk2 1)")"

# The same for a VM that is stopped: the bytes stay.
qemu-img convert -f qcow2 -O raw \
  "$(file_of "$(layer stopped-snap stopped-snap_Disk1 1)")" "$notes/cold.raw"
ctl "$a" remove-snapshot stopped-snap "only one" >/dev/null
expect "a cold merge keeps the bytes" cmp "$notes/cold.raw" \
  "$(file_of "$(layer stopped-snap stopped-snap_Disk1 1)")"

# -- residue --------------------------------------------------------------
ctl "$b" add-snapshot web01 left >/dev/null
remote "$b" h1 ed25519 root \
  'touch /run/left; setsid -f sleep 60 >/dev/null 2>&1'
refuse "residue is found" "$lab" residue "$b"
"$lab" residue "$b" >"$notes/residue" || true
for what in "h1: file /run/left" "h1: process sleep 60" "(left)"; do
  expect "namely $what" grep -F "$what" "$notes/residue"
done

# -- faults ---------------------------------------------------------------
"$lab" host "$b" h2 drop-after 3000000
count=$(remote "$b" h2 ed25519 root 'head -c 20000000 /dev/zero' \
  2>/dev/null | wc -c) || true
expect "a host falls silent after 3 MB: $count bytes" \
  test "$count" -gt 1000000 -a "$count" -lt 3000000
"$lab" host "$b" h2 heal
expect "and is healed" remote "$b" h2 ed25519 root true
"$lab" host "$b" h2 reset
refuse "connections are reset" remote "$b" h2 ed25519 root true
"$lab" host "$b" h2 heal
"$lab" host "$b" h2 link-down
refuse "a dead link" remote "$b" h2 ed25519 root true
"$lab" host "$b" h2 link-up
"$lab" host "$b" h2 freeze
refuse "a frozen host" remote "$b" h2 ed25519 root true
"$lab" host "$b" h2 thaw
"$lab" host "$b" h2 fill /run
refuse "a full /run" remote "$b" h2 ed25519 root 'echo x >/run/x'
"$lab" host "$b" h2 unfill /run
boot=$(remote "$b" h2 ed25519 root 'cat /proc/sys/kernel/random/boot_id')
"$lab" host "$b" h2 kill
refuse "a dead host" remote "$b" h2 ed25519 root true
"$lab" host "$b" h2 start
refuse "after its boot, the boot id of before" remote "$b" h2 ed25519 root \
  "grep $boot /proc/sys/kernel/random/boot_id"
expect "but another" remote "$b" h2 ed25519 root \
  "grep -v $boot /proc/sys/kernel/random/boot_id"

# -- down, from any state -------------------------------------------------
kill -9 "$(jq .pid "$b/labd.ready")" "$(jq .pid "$a/hosts/h1/pid")"
expect "down without a host" "$lab" down "$a"
expect "down without an engine" "$lab" down "$b"
expect "down of a lab that is not there" "$lab" down "$a"
refuse "a set that does not exist" "$lab" up "$a" --vms nothing
mv "$notes/out" "$notes/reason"
expect "for a reason that is told" grep 'no set of VMs' "$notes/reason"
for ms in 050 150 300 450 600 800 1000; do
  "$lab" up "$a" >/dev/null 2>&1 &
  victim=$!
  sleep "$(echo $ms | sed 's/\(...\)$/.\1/')"
  kill -9 $victim 2>/dev/null || true
  wait $victim 2>/dev/null || true
  expect "down after an up that was killed at $ms ms" "$lab" down "$a"
done
mkdir "$work/c"
touch "$work/c/mine"
refuse "up in a directory in use" "$lab" up "$work/c"
refuse "down of a directory that is no lab" "$lab" down "$work/c"
expect "which stays as it was" rm "$work/c/mine"
rmdir "$work/c"
world | sort >"$notes/after"
# What others on this machine took down meanwhile does not matter.
comm -13 "$notes/before" "$notes/after" >"$notes/more"
expect "nothing is left" diff /dev/null "$notes/more"

[ $failed = 0 ] && echo "lab: all well"
exit $failed
