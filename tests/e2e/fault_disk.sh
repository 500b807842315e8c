# SPDX-License-Identifier: Apache-2.0
# The repository and the targets of restores: full, read-only, damaged.
. "$(dirname "$0")/lib.sh"

lab_up --vms small
quick
vm=web01
next_run "$vm"
point=$(latest "$vm")
keep=$LAB_REPO

# A repository on a file system of its own, of SIZE.
small_repo ()
{
  mkdir -p "$WORK/disk"
  cleanup_fn "umount -l '$WORK/disk' 2>/dev/null"
  mount -t tmpfs -o "size=$1,mode=700" tmpfs "$WORK/disk"
  settings "repository = \"$WORK/disk/repo\";"
  LAB_REPO=$WORK/disk/repo
  noted
}

no_repo ()
{
  umount "$WORK/disk"
  settings ''
  LAB_REPO=$keep
  noted
}

small_repo 48m
row 'too small for what is to come' 10 "$vm: " "$WORK/disk/repo" \
  'MiB are free' 'remove old points' -- cl backup "$vm"
no_repo
small_repo 256m
halt stream:2 backup "$vm"
dd if=/dev/zero of="$WORK/disk/other" bs=1M status=none 2>/dev/null || true
go_on 10
says "$vm: "
says 'No space left'
says "make room in repository $WORK/disk/repo"
intact 'full while data come'
row 'full from the beginning' 10 "$vm: " -- cl backup "$vm"
rm "$WORK/disk/other"
next_run "$vm"
mine=$(latest "$vm")

# Nothing but reading works where nothing can be written.
mount -o remount,ro "$WORK/disk"
row 'read-only repository' 9 'Read-only file system' -- cl backup "$vm"
expect 0 cl points
says "$mine"
expect 0 cl verify "$mine"
prove point "$mine"
mount -o remount,rw "$WORK/disk"
no_repo

settings "repository = \"$WORK/nothing\";"
LAB_REPO=$WORK/nothing
noted
row 'no repository' 11 "$WORK/nothing" -- cl restore "$point" --as copy
mkdir "$WORK/strange"
echo 'something else' >"$WORK/strange/file"
settings "repository = \"$WORK/strange\";"
row 'a folder of somebody else' 2 "$WORK/strange" -- cl backup "$vm"
[ "$(ls "$WORK/strange")" = file ] || die "we wrote into a foreign folder"
settings ''
LAB_REPO=$keep
noted

# Targets of restores.
domain=$(find "$LAB/storage" -maxdepth 1 -name '*small')
dd if=/dev/zero of="$domain/other" bs=1M count=40 status=none
row 'restore: the domain fills' 10 web01_Disk1 \
  'make room on storage domain small' -- cl restore "$point" --as copy \
  --storage small
rm "$domain/other"
mkdir "$WORK/target"
cleanup_fn "umount -l '$WORK/target' 2>/dev/null"
mount -t tmpfs -o size=8m tmpfs "$WORK/target"
for form in raw qcow2; do
  row "restore to a file: full, $form" 10 "$WORK/target/disk" 'No space left' -- \
    cl restore "$point" --disk web01_Disk1 --to "$WORK/target/disk" -O "$form"
  [ ! -e "$WORK/target/disk" ] || die "half a file is left"
done
echo precious >"$WORK/target/disk"
row 'restore to a file: it exists' 2 "$WORK/target/disk" -- \
  cl restore "$point" --disk web01_Disk1 --to "$WORK/target/disk"
[ "$(cat "$WORK/target/disk")" = precious ] || die "a file was overwritten"
row 'restore to a file: no folder' 9 "$WORK/none/disk" -- \
  cl restore "$point" --disk web01_Disk1 --to "$WORK/none/disk"
row 'restore to a file: no such disk' 11 nodisk web01_Disk1 -- \
  cl restore "$point" --disk nodisk --to "$WORK/target/new"
for form in raw qcow2; do
  got=$({
    status=0
    "$BUILD/src/chainlift" --config "$LAB_CONF" restore "$point" \
      --disk web01_Disk1 --to - -O "$form" 2>"$OUT" || status=$?
    echo "$status" >"$WORK/status"
  } | head -c 100000 | wc -c; cat "$WORK/status")
  # shellcheck disable=SC2086
  set -- $got
  [ "$1 $2" = '100000 141' ] || die "closed pipe: $1 bytes, exit $2"
done
echo 'ok: restore to a pipe that is closed'

# Damage.
folder=$(find "$LAB_REPO/vms" -mindepth 2 -maxdepth 2 -name "${point#*@}")
image=$(find "$folder" -name '*.qcow2')
sum=$(find "$folder" -name '*.sum')
cp -a "$folder" "$WORK/whole"

# flip FILE OFFSET: one bit
flip ()
{
  /usr/bin/python3 - "$1" "$2" <<'P'
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
at = int(sys.argv[2])
if at < 0:
    at += os.fstat(fd).st_size
os.pwrite(fd, bytes([os.pread(fd, 1, at)[0] ^ 4]), at)
P
}

heal ()
{
  for file in "$WORK/whole"/*; do
    cat "$file" >"$folder/${file##*/}"
  done
}

damaged ()
{
  row "$1: verify" 13 "$point" -- cl verify "$point"
  row "$1: restore to a file" 13 "${point#*@}" -- \
    cl restore "$point" --disk web01_Disk1 --to "$WORK/out.raw"
  [ ! -e "$WORK/out.raw" ] || die "$1: wrong bytes were restored"
  row "$1: restore" 13 -- cl restore "$point" --as copy
}

chmod -R u+w "$folder"
# The first data cluster of an image that has one L2 table or more: by its map.
at=$(qemu-img map -f qcow2 --output=json "$image" \
  | jq '[.[] | select(.data and .offset != null) | .offset][3]')
flip "$image" $((at + 1000))
damaged 'a bit of data'
expect 13 cl verify "$point"
says web01_Disk1
says 'the 64 KiB at'
heal
# The first entry of the first L2 table, by the header and the L1 table.
at=$(/usr/bin/python3 - "$image" <<'P'
import struct, sys
with open(sys.argv[1], 'rb') as f:
    f.seek(40)
    f.seek(struct.unpack('>Q', f.read(8))[0])
    print(struct.unpack('>Q', f.read(8))[0] & 0xfffffffffffe00)
P
)
flip "$image" $((at + 5))
damaged 'a bit of a table of the image'
heal
flip "$image" 30
damaged "a bit of the image's header"
heal
truncate -s -65536 "$image"
damaged 'an image cut off'
heal
flip "$sum" 100
damaged 'a bit of the sums'
heal
truncate -s -32 "$sum"
damaged 'sums cut off'
heal
flip "$folder/vm.ovf" 2000
row 'a bit of the OVF: verify' 13 "$point" vm.ovf -- cl verify "$point"
row 'a bit of the OVF: restore' 13 vm.ovf -- cl restore "$point" --as copy
heal
# By its name a VM is known from what is left of its points.
flip "$folder/manifest" 200
expect 13 cl verify
says manifest
next_run "$vm"
row 'a bit of the manifest: verify' 13 "${point#*@}" manifest -- \
  cl verify "$point"
row 'a bit of the manifest: restore' 13 "${point#*@}" manifest -- \
  cl restore "$point" --as copy
heal
expect 0 cl verify
noted
mv "$image" "$WORK/away"
damaged 'an image that is gone'
mv "$WORK/away" "$image"
mv "$image" "$WORK/away"
ln -s "$WORK/away" "$image"
damaged 'a link in the place of an image'
mv "$WORK/away" "$image"
expect 0 cl verify
next_run "$vm"
