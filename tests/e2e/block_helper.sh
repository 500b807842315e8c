#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The helper alone on logical volumes: two guests of the lab with one LUN, real
# LVM, and what vdsm or an administrator of the SAN can do to a helper that
# reads or writes.  What it reads is compared with qemu-img in the guest;
# after each case the volumes that are active are those that were before.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/parts/alone.sh"
truncate -s 20M "$WORK/image"
head -c 3000000 /dev/urandom | dd of="$WORK/image" conv=notrunc status=none
head -c 200192 /dev/urandom >>"$WORK/image" # 20 MiB, 3 blocks, 3584 bytes
cp "$WORK/image" "$WORK/image.full"
truncate -s "$CAP" "$WORK/image.full"
qemu-img create -q -f qcow2 "$WORK/image.qcow2" 128M
qemu-img convert -n -f raw -O qcow2 "$WORK/image.full" "$WORK/image.qcow2"

# --- reading -------------------------------------------------------------

expect 0 pull b1 scan
same_bytes read
says "off $SD/$TOPV"
says "layer 0 slot 6"
unchanged "a stopped VM's chain"

# Only this LUN may be seen, whatever the host's configuration says.
in_guest b2 <<'END'
mkdir -p /etc/lvm/devices
cp -a /etc/lvm/lvm.conf /root/lvm.conf 2>/dev/null || : >/root/lvm.conf
echo 'devices { filter=["r|.*|"] use_devicesfile=1 }' >/etc/lvm/lvm.conf
echo 'VERSION=1.1.1' >/etc/lvm/devices/system.devices
! lvm lvs --noheadings 2>/dev/null | grep -q .
END
expect 0 pull b2 scan
same_bytes filter
in_guest b2 <<'END'
cp -a /root/lvm.conf /etc/lvm/lvm.conf
rm -r /etc/lvm/devices/system.devices
END
unchanged "a filter and a devices file that hide the domain"

# b2 mapped the volume before it grew on b1.
prepare b2
lvm_in b1 lvextend -qq --autobackup n -L +128m "$SD/$TOPV"
expect 0 pull b2 -
says "layer 0 size 268435456"
same_bytes size
teardown b2
lvm_in b1 lvreduce -qq --autobackup n --force -L -128m "$SD/$TOPV"
unchanged "a device that is smaller than the volume"

# Pages of b2 are older than what b1 writes.
prepare b2
in_guest b2 <<END
nohup sh -c 'exec 3</dev/$SD/$BASE; head -c 1048576 <&3 >/dev/null; exec sleep 300' \
  >/dev/null 2>&1 </dev/null &
echo \$! >/root/holder
END
lvm_in b1 lvchange -qq -ay "$SD/$BASE"
in_guest b1 <<END
dd if=/dev/urandom of=/root/block bs=65536 count=1 status=none
dd if=/root/block of=/dev/$SD/$BASE bs=65536 oflag=direct conv=notrunc \
  status=none
END
"$WORK/b1" 'cat /root/block' | dd of="$WORK/oracle" conv=notrunc status=none
lvm_in b1 lvchange -qq -an "$SD/$BASE"
expect 0 pull b2 -
same_bytes cache
"$WORK/b2" 'kill $(cat /root/holder)'
teardown b2
unchanged "pages of the host that are older than the volume"

# A process has a layer open for writing: it is no frozen state.
prepare b1
in_guest b1 <<END
nohup sh -c 'exec 3<>/dev/$SD/$BASE; exec sleep 300' >/dev/null 2>&1 </dev/null &
echo \$! >/root/holder
END
expect 12 pull b1 scan
says "has it open for writing"
"$WORK/b1" 'kill $(cat /root/holder)'
teardown b1
unchanged "a writer"

# The engine and vdsm say other things of the volume than the controller.
expect 13 pull b1 - "$IMG2,$TOPV,$BASE,cow,$CAP" "$BASE_LAYER"
expect 13 pull b1 - "$IMG,$TOPV,$BASE,cow,4096" "$BASE_LAYER"
expect 11 pull b1 - "$IMG,$OTHER,$BASE,cow,$CAP" "$BASE_LAYER"
says "does not have it"
dom b1 meta "$SD" "$IMG" "$BASE" "$BLANK" raw 5 "$CAP" INTERNAL LEGALITY=ILLEGAL
expect 12 pull b1 -
says "LEGALITY=ILLEGAL"
dom b1 meta "$SD" "$IMG" "$BASE" "$BLANK" raw 5 "$CAP" INTERNAL DISKTYPE=SCRD
expect 13 pull b1 -
dom b1 meta "$SD" "$IMG" "$BASE" "$BLANK" raw 5 "$CAP" INTERNAL
for tag in OVIRT_VOL_INITIALIZING "IU__remove_me_$IMG"; do
  lvm_in b1 lvchange -qq --autobackup n --addtag "$tag" "$SD/$BASE"
  expect 12 pull b1 -
  lvm_in b1 lvchange -qq --autobackup n --deltag "$tag" "$SD/$BASE"
done
unchanged "volumes that are not what they should be"

# --- what happens while it reads -----------------------------------------

# The volume is removed on the SPM, and its extents are another disk's.
held pull b2 pause
in_guest b1 <<END
l='sh /root/domain.sh lvm $LUN'
\$l vgcfgbackup -qq -f /root/vg.before $SD
\$l lvremove -qq -f --autobackup n $SD/$TOPV
\$l lvcreate -qq --autobackup n -Z n -L 128m --wipesignatures n -n $OTHER $SD
END
let_go 13
says "removed from the domain"
until_true no_helper b2
active b2 >"$WORK/now.b2"
cmp "$WORK/before.b2" "$WORK/now.b2" || die "the stale mapping is still there"
in_guest b1 <<END
l='sh /root/domain.sh lvm $LUN'
\$l lvremove -qq -f --autobackup n $SD/$OTHER
\$l vgcfgrestore -qq -y -f /root/vg.before $SD
END
unchanged "a volume that was removed while it was read"

# A VM begins to use the chain while we read it.
held pull b1 pause
prepare b1
let_go 0
says "used $SD/$TOPV"
lvm_in b1 lvs --noheadings -o lv_attr "$SD/$TOPV" | grep -q 'wi-a' \
  || die "the volume of a VM was deactivated"
teardown b1
unchanged "a VM that starts while we read"

# vdsm gives the chain up while we read it, and cannot deactivate it.
prepare b1
held pull b1 pause
teardown b1
let_go 0
says "off $SD/$TOPV"
unchanged "a VM that stops while we read"

# Two helpers on one chain; the last one closes it.
held pull b1 pause
rm -f "$WORK/second"
"$drive" "$WORK/helper.b1" pull "$DIR" "$WORK/second" "$ON" "$TOP_LAYER" \
  "$BASE_LAYER" >"$WORK/second.out" 2>&1 </dev/null || die "the second fails"
grep -q "^used $SD/$TOPV" "$WORK/second.out" || die "the second closed it"
let_go 0
says "off $SD/$TOPV"
unchanged "two helpers on one chain"

# --- the helper's end ----------------------------------------------------

# SIGKILL of the worker, of both, and of the controller.
held pull b1 pause
worker=$(sed -n 's/^welcome.* pid \([0-9]*\) .*/\1/p' "$OUT")
"$WORK/b1" kill -KILL "$worker"
wait "$pid" || true
exec 7>&-
until_true no_helper b1
unchanged "SIGKILL of the worker"

held pull b1 pause
kill_both b1
wait "$pid" || true
exec 7>&-
until_true no_helper b1
active b1 | grep -q "^lv\." || die "no record of the volumes that are active"
expect 0 "$drive" "$WORK/helper.b1" reap
says "off $SD/$TOPV"
says "off $SD/$BASE"
grep -q '^welcome.* flags 27 ' "$OUT" || die "WELCOME does not ask for REAP"
unchanged "SIGKILL of both, then REAP"

held pull b1 pause
kill -KILL "$pid"
wait "$pid" 2>/dev/null || true
exec 7>&-
until_true no_helper b1
unchanged "a controller that is gone"

for phase in t0 active map stream t1; do
  expect 100 sh -c '"$@" || exit 100' sh "$drive" "$WORK/helper.b1" pull \
    "$DIR" "$WORK/got" "$ON,stop=$phase" "$TOP_LAYER" "$BASE_LAYER"
  says "the helper ended with"
  until_true no_helper b1
  expect 0 "$drive" "$WORK/helper.b1" reap
  [ "$phase" = t0 ] || says "off $SD/$TOPV" # nothing is active at t0
  unchanged "SIGKILL of both at $phase, then REAP"
done

# --- writing -------------------------------------------------------------

head -c 3145728 /dev/urandom >"$WORK/part"
expect 8 push b1 "$RAW" raw "$WORK/part" noholes,fresh
says "the block at 3145728 was not written"
unchanged "a raw volume of which not all was written"
expect 8 push b1 "$RAW" raw "$WORK/part" noholes,fresh,cut
says "TRUNCATE of a logical volume"
unchanged "TRUNCATE of a logical volume"
expect 0 push b1 "$RAW" raw "$WORK/image" fresh
expect 0 push b1 "$COW" cow "$WORK/image.qcow2" fresh
says "off $SD/$COW"
unchanged "raw and cow written"
in_guest b2 <<END
sh /root/domain.sh lvm $LUN lvchange -qq -ay $SD/$RAW $SD/$COW
cd /dev/$SD
qemu-img check -q -f qcow2 $COW
qemu-img convert -f qcow2 -O raw $COW /root/cow
cmp /dev/$SD/$RAW /root/cow
rm /root/cow
dd if=/dev/$SD/$RAW bs=1M iflag=direct status=none | sha256sum >/root/sum
END
[ "$("$WORK/b2" 'cat /root/sum')" = "$(sha256sum <"$WORK/image.full")" ] \
  || die "other bytes than were written"
lvm_in b2 lvchange -qq -an "$SD/$RAW" "$SD/$COW"
unchanged "what was written, on the other host"

# Somebody else uses it; it is too small; a raw one as cow.
lvm_in b1 lvchange -qq -ay "$SD/$RAW"
expect 12 push b1 "$RAW" raw "$WORK/image" fresh
says "active already"
lvm_in b1 lvchange -qq -an "$SD/$RAW"
expect 13 push b1 "$RAW" cow "$WORK/image.qcow2" fresh
truncate -s 300M "$WORK/large"
expect 10 push b1 "$COW" cow "$WORK/large" fresh
says "are needed"
unchanged "volumes that are not to be written"

for phase in active write seal; do
  expect 100 sh -c '"$@" || exit 100' sh "$drive" "$WORK/helper.b1" push \
    "$DIR" "$IMG2" "$RAW" raw "$CAP" "$WORK/image" "$ON,fresh,stop=$phase"
  says "the helper ended with"
  until_true no_helper b1
  expect 0 "$drive" "$WORK/helper.b1" reap
  says "off $SD/$RAW"
  unchanged "SIGKILL of both at $phase while writing, then REAP"
done

# The disk is removed on the SPM while we write, and its extents are another
# one's: when the proof is due not one byte of that changes.
extents=$(lvm_in b1 lvs --noheadings -o seg_pe_ranges "$SD/$RAW")
held push b2 "$RAW" raw "$WORK/image" pause
in_guest b1 <<END
l='sh /root/domain.sh lvm $LUN'
\$l vgcfgbackup -qq -f /root/vg.before $SD
\$l lvremove -qq -f --autobackup n $SD/$RAW
\$l lvcreate -qq --autobackup n -Z n -L 128m --wipesignatures n -n $OTHER $SD
tr '\\0' Y </dev/zero | dd of=/dev/$SD/$OTHER bs=1M count=128 iflag=fullblock \
  oflag=direct status=none
END
[ "$(lvm_in b1 lvs --noheadings -o seg_pe_ranges "$SD/$OTHER")" = "$extents" ] \
  || die "the other disk has other extents"
sleep 11 # longer than a proof is believed
let_go 13
says "removed from the domain"
until_true no_helper b2
in_guest b1 <<END
l='sh /root/domain.sh lvm $LUN'
left=\$(dd if=/dev/$SD/$OTHER bs=1M iflag=direct status=none | tr -dc Y | wc -c)
[ "\$left" -eq $CAP ] || {
  echo "FAIL: the other disk keeps \$left of $CAP bytes" >&2
  exit 1
}
\$l lvremove -qq -f --autobackup n $SD/$OTHER
\$l vgcfgrestore -qq -y -f /root/vg.before $SD
END
unchanged "a volume that was removed while it was written"

# --- a domain of version 4 -----------------------------------------------

SD4=$(cat /proc/sys/kernel/random/uuid)
LUN2=35000c50015ea7102
DIR4=/rhev/data-center/mnt/blockSD/$SD4
in_guest b1 <<END
exec 2>/root/setup.log
d='sh /root/domain.sh'
\$d make $LUN2 $SD4 4
\$d volume $SD4 $IMG $BASE $BLANK raw 128 5 $CAP INTERNAL
dd if=/root/data of=/dev/$SD4/$BASE bs=1M oflag=direct status=none
\$d lvm $LUN2 lvchange -qq -an $SD4/$BASE
END
expect 13 "$drive" "$WORK/helper.b1" pull "$DIR4" "$WORK/got" \
  "lun=$LUN2,version=5" "$BASE_LAYER"
says "MDT_VERSION=4"
expect 0 "$drive" "$WORK/helper.b1" pull "$DIR4" "$WORK/got" \
  "lun=$LUN2,version=4" "$BASE_LAYER"
"$WORK/b1" 'cat /root/data' | cmp -n 8388608 - "$WORK/got" \
  || die "version 4: other bytes"
# the LUN of another domain, and none that is there
expect 7 "$drive" "$WORK/helper.b1" pull "$DIR" "$WORK/got" \
  "lun=$LUN2,version=5" "$BASE_LAYER"
expect 7 "$drive" "$WORK/helper.b1" pull "$DIR" "$WORK/got" \
  "lun=35000c50015ea7fff,version=5" "$BASE_LAYER"
says "is not connected"
echo "all right"
