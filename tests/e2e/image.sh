# SPDX-License-Identifier: Apache-2.0
# `chainlift image` on every flavour of image against qemu-img, its output as
# libqcow reads it, and what it must refuse to follow.
. "$(dirname "$0")/lib.sh"

image ()
{
  "$BUILD/src/chainlift" image "$@"
}

cc -O1 -o "$WORK/decode" "$TOP/tests/image/decode.c" -lqcow
DECODE=$WORK/decode
export DECODE
/usr/bin/python3 "$TOP/tests/image/compare.py"

# Backing files: beside the image, or in another point; nothing else.
cd "$WORK"
mkdir chain
cd chain
qemu-img create -q -f qcow2 base 1M
qemu-io -f qcow2 -c 'write -q -P 7 64k 128k' base
qemu-img convert -f qcow2 -O raw base want
over ()
{
  qemu-img create -q -f qcow2 -u -b "$1" ${2:+-F "$2"} top 1M
}
over base qcow2
expect 0 image flatten --follow-backing top got
cmp got want
expect 2 image flatten top again
says 'has the backing file "base"; add --follow-backing'
[ ! -e again ]
expect 2 image flatten --follow-backing top got
says 'got exists already: nothing is overwritten'
over "../chain/base" qcow2
expect 0 image flatten --follow-backing top - && cmp "$OUT" want
for name in "$PWD/base" ./base ../other/base ../chain/../chain/base \
  'json:{"driver":"raw","file":{"filename":"/etc/shadow"}}' \
  nbd://127.0.0.1:1/x fat:/etc .. ../chain/..; do
  over "$name" qcow2
  expect 13 image flatten --follow-backing top again
  says 'is neither in the same folder nor'
done
over base qcow2
/usr/bin/python3 -c 'd = open("top", "rb").read()
open("top", "wb").write(d.replace(b"\xe2\x79\x2a\xca", b"\x12\x34\x56\x78", 1))'
expect 13 image flatten --follow-backing top again
says 'records no format of its backing file, and formats are never guessed'
over base vmdk
expect 13 image flatten --follow-backing top again
says 'records the format "vmdk" of its backing file'
over nothing qcow2
expect 11 image flatten --follow-backing top again
says './nothing: No such file'
ln -s base link
over link qcow2
expect 9 image flatten --follow-backing top again
says 'Too many levels of symbolic links'
mkfifo fifo
over fifo raw
expect 9 image flatten --follow-backing top again
says 'fifo: is neither a regular file nor a block device'
over self qcow2
mv top self
expect 13 image flatten --follow-backing self again
says 'the chain is a loop'
qemu-img create -q -f qcow2 -u -b top -F qcow2 lower 1M
over lower qcow2
expect 13 image map --follow-backing top
says 'the chain is a loop'
# The format is what the header says: a raw layer that begins as a qcow2.
over base raw
expect 0 image flatten --follow-backing top got2
cmp -n "$(stat -c %s base)" got2 base
expect 0 image flatten -f raw base got3
cmp -n "$(stat -c %s base)" got3 base
expect 13 image map want
says 'does not begin with QFI'
[ ! -e again ]
cd ..

# Two points of a repository.
id=11111111-2222-4333-8444-555555555555
mkdir -p vm/20261120T010000Z vm/20261121T010000Z-2 vm/other
qemu-img create -q -f qcow2 "vm/20261120T010000Z/$id.qcow2" 1M
qemu-io -f qcow2 -c 'write -q -P 7 64k 128k' "vm/20261120T010000Z/$id.qcow2"
point ()
{
  qemu-img create -q -f qcow2 -u -b "$1" -F qcow2 \
    "vm/20261121T010000Z-2/$id.qcow2" 1M
}
point "../20261120T010000Z/$id.qcow2"
expect 0 image flatten --follow-backing "vm/20261121T010000Z-2/$id.qcow2" got
cmp got chain/want
cp "vm/20261120T010000Z/$id.qcow2" vm/other
cp "vm/20261120T010000Z/$id.qcow2" vm/20261120T010000Z/other.qcow2
for name in "../other/$id.qcow2" ../20261120T010000Z/other.qcow2 \
  "../../vm/20261120T010000Z/$id.qcow2" "../20261120T010000Z/../x/$id.qcow2"; do
  point "$name"
  expect 13 image map --follow-backing "vm/20261121T010000Z-2/$id.qcow2"
  says 'is neither in the same folder nor'
done

# The base of a template, from the folder of a point alone.
volume=b0b0b0b0-0000-4000-8000-000000000001
base=bases/$volume/$id.qcow2
mkdir -p repo/vms "bases/$volume" "repo/bases/$volume"
mv vm repo/vms/vm
mv "repo/vms/vm/20261120T010000Z/$id.qcow2" "repo/$base"
cp "repo/$base" "$base"
for name in "../../../$base" "../../../../$base" "../../../repo/$base" \
  "../../../bases/$volume/../$volume/$id.qcow2" ../../../bases/x/y.qcow2 \
  "../../../bases/$volume/other.qcow2" "../../../bases/$volume"; do
  qemu-img create -q -f qcow2 -u -b "$name" -F qcow2 \
    "repo/vms/vm/20261121T010000Z-2/$id.qcow2" 1M
  if [ "$name" = "../../../$base" ]; then
    expect 0 image flatten --follow-backing \
      "repo/vms/vm/20261121T010000Z-2/$id.qcow2" got2
    cmp got2 chain/want
    continue
  fi
  expect 13 image map --follow-backing \
    "repo/vms/vm/20261121T010000Z-2/$id.qcow2"
  says 'is neither in the same folder nor'
done

# A damaged refcount is found, told and an error; a leak is told.
cd chain
cp base damaged
printf '\0\0' | dd of=damaged bs=1 seek=$((0x20008)) conv=notrunc status=none
expect 13 image check damaged
says 'refcounts are too low'
cp base damaged
printf '\0\1' | dd of=damaged bs=1 seek=$((0x20010)) conv=notrunc status=none
truncate -s 1M damaged
expect 0 image check damaged
says '1 cluster is leaked; it only wastes room'
expect 0 image check base
says ': sound'
