# SPDX-License-Identifier: Apache-2.0
# The helper's duty for the volumes that it opens, when LVM is slow, vdsm comes
# between, or a process that nobody knows has one open: what stays active is told,
# remembered, and put back later; and how it opens them.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/parts/alone.sh"

# hook NAME: the standard input stands before each command of LVM there.
hook ()
{
  "$WORK/$1" 'cat >/run/lvm/hook.new && mv /run/lvm/hook.new /run/lvm/hook'
}
no_hook ()
{
  "$WORK/$1" rm -f /run/lvm/hook
}
# A process of guest $1 that vdsm knows nothing of opens a layer.
holder ()
{
  in_guest "$1" <<END
nohup sh -c 'exec 3</dev/$SD/$TOPV; exec sleep 300' >/dev/null 2>&1 </dev/null &
echo \$! >/root/holder
END
  until_true opened "$1" "$TOPV" "$2"
}
no_holder ()
{
  "$WORK/$1" 'kill $(cat /root/holder)'
}
# opened NAME VOLUME N: the device is open that often.
opened ()
{
  device=$(echo "$SD-" | sed 's/-/--/g; s/--$/-/')$(echo "$2" | sed 's/-/--/g')
  [ "$("$WORK/$1" dmsetup info -c --noheadings -o open "$device")" = "$3" ]
}
has_record ()
{
  active "$1" | grep -q '^lv\.'
}
reaps ()
{
  expect 0 "$drive" "$WORK/helper.$1" reap
  says "$2 $SD/$TOPV"
}

# --- how they are open -----------------------------------------------------

held pull b1 pause
attr=$(lvm_in b1 lvs --noheadings -o lv_attr "$SD/$TOPV" "$SD/$BASE")
[ "$(echo "$attr" | grep -c -- '-Ri-ao')" -eq 2 ] \
  || die "they are not read-only: $attr"
opened b1 metadata 0 || die "the domain's metadata are held open"
let_go 0
unchanged "layers are active read-only, the metadata are not held"

# The same size, but not the same extents: what b2 has mapped is another disk's.
table ()
{
  "$WORK/$1" "dmsetup table /dev/$SD/$TOPV" | awk '{ print $1, $2, $3, $5 }'
}
l="sh /root/domain.sh lvm $LUN"
# b1 gives the second extent to another disk, then a helper opens the volume on b2.
held_elsewhere ()
{
  in_guest b1 <<END
$l lvreduce -qq --autobackup n --force -L -128m $SD/$TOPV
$l lvcreate -qq --autobackup n -Z n -L 128m --wipesignatures n -n $OTHER $SD
$l lvextend -qq --autobackup n -L +128m $SD/$TOPV
$l lvchange -qq -ay $SD/$TOPV
END
  [ "$(table b1)" != "$(table b2)" ] || die "it has the same extents as before"
  held pull b2 pause
  [ "$(table b1)" = "$(table b2)" ] || die "an old table is read"
}
"$WORK/b1" "$l vgcfgbackup -qq -f /root/vg.before $SD;
  $l lvextend -qq --autobackup n -L +128m $SD/$TOPV"
lvm_in b2 lvchange -qq -ay "$SD/$TOPV"
held_elsewhere
let_go 0
lvm_in b2 lvchange -qq -an "$SD/$TOPV"
same_as_before ()
{
  in_guest b1 <<END
$l lvchange -qq -an $SD/$TOPV
$l lvremove -qq -f --autobackup n $SD/$OTHER
$l vgcfgrestore -qq -y -f /root/vg.before $SD
END
}
same_as_before
unchanged "a table that maps extents of another disk"

# The same of a volume that a killed helper has left active, which cannot be put
# back because somebody has it open.
"$WORK/b1" "$l lvextend -qq --autobackup n -L +128m $SD/$TOPV"
held pull b2 pause
holder b2 2
held_killed b2
until_true no_helper b2
held_elsewhere
no_holder b2
let_go 0
reaps b2 gone
same_as_before
unchanged "the same of a volume that a killed helper left"

# --- in use by others --------------------------------------------------------

held pull b1 pause
holder b1 2
let_go 0
says "left $SD/$TOPV: a process that vdsm does not know of has it open"
has_record b1 || die "no record of the volume that is active"
reaps b1 left
no_holder b1
until_true opened b1 "$TOPV" 0
reaps b1 off
unchanged "a process that vdsm does not know of"

# vdsm had it in use and gives it up while we read, and somebody else opens it.
prepare b1
held pull b1 pause
teardown b1
holder b1 2
let_go 0
says "left $SD/$TOPV: a process that vdsm does not know of has it open"
no_holder b1
until_true opened b1 "$TOPV" 0
reaps b1 off
unchanged "the same, of a volume that vdsm gave up"

# vdsm prepares the chain just when we deactivate it: it gets it back.
hook b1 <<END
case "\$*" in
  lvchange*"--available n"*)
    \$real "\$@" || exit
    mkdir -p $RUN
    ln -sfn /dev/$SD/$TOPV $RUN/$TOPV
    ln -sfn /dev/$SD/$BASE $RUN/$BASE
    exit 0
    ;;
esac
END
both_active ()
{
  [ "$(lvm_in b1 lvs --noheadings -o lv_active "$SD/$TOPV" "$SD/$BASE" \
    | grep -c active)" -eq 2 ] || die "what vdsm wants is not active: $1"
}
wanted ()
{
  expect 0 pull b1 scan
  says "used $SD/$TOPV: $RUN/$TOPV"
  no_hook b1
  both_active "$1"
  teardown b1
  unchanged "vdsm begins to use it $1"
}
wanted 'while it is deactivated'

# Or it had seen that it was active, and activates the leaf before it links.
hook b1 <<END
case "\$*" in
  lvchange*"--available n"*)
    sh -c 'sleep 3; mkdir -p $RUN; for v in $TOPV $BASE; do
      ln -sfn /dev/$SD/\$v $RUN/\$v; done' \
      lvm lvchange --available y $SD/$COW >/dev/null 2>&1 </dev/null &
    ;;
esac
END
wanted 'after it was deactivated'

# A command of LVM is at it: it is left alone until that has ended.
held pull b1 pause
in_guest b1 <<END
nohup sh -c 'sleep 4; mkdir -p $RUN; for v in $TOPV $BASE; do
  ln -sfn /dev/$SD/\$v $RUN/\$v; done' \
  lvm lvchange --refresh $SD/$TOPV $SD/$BASE >/dev/null 2>&1 </dev/null &
END
let_go 0
says "used $SD/$TOPV: $RUN/$TOPV"
both_active 'while it is refreshed'
teardown b1
unchanged "vdsm begins to use it before it is deactivated"

# What is linked but inactive is so because of a helper that was killed.
held pull b1 pause
held_killed b1
until_true no_helper b1
lvm_in b1 lvchange -qq -an "$SD/$TOPV" "$SD/$BASE"
"$WORK/b1" "mkdir -p $RUN; for v in $TOPV $BASE; do
  ln -sfn /dev/$SD/\$v $RUN/\$v; done"
reaps b1 used
both_active 'and is inactive'
teardown b1
unchanged "vdsm wants what a killed helper's lvchange deactivated"

# The worker of a killed helper waits for the storage with a volume open that vdsm
# uses: that will not be able to deactivate it.
waits ()
{
  "$WORK/$1" 'cat /proc/[0-9]*/task/[0-9]*/stat 2>/dev/null || true' \
    >"$WORK/threads"
  grep -q '(chainlift-remot) D' "$WORK/threads"
}
prepare b1
held pull b1 pause
"$WORK/b1" dmsetup suspend --noflush --nolockfs "/dev/$SD/$TOPV"
exec 7>&-
until_true waits b1
kill_both b1
kill -KILL "$pid"
wait "$pid" 2>/dev/null || true
pid=
reaps b1 left
says 'worker of a killed helper'
has_record b1 || die "the record of what a dying worker has open is gone"
"$WORK/b1" dmsetup resume "/dev/$SD/$TOPV"
until_true no_helper b1
teardown b1
expect 0 "$drive" "$WORK/helper.b1" reap
unchanged "a worker outlives its guard"

# --- slow --------------------------------------------------------------------

# Both processes are killed while their lvchange waits: it goes on, and what it
# activates in the end is not forgotten.
hook b1 <<'END'
case "$*" in
  lvchange*"--available y"*)
    touch /run/lvm/slow
    sleep 40
    ;;
esac
END
pull b1 scan >"$OUT" 2>&1 </dev/null &
pid=$!
until_true "$WORK/b1" test -e /run/lvm/slow
kill_both b1
wait "$pid" || true
pid=
until_true no_helper b1
expect 0 "$drive" "$WORK/helper.b1" reap
says "left $SD/$TOPV: lvchange"
has_record b1 || die "the record of a volume that will be active is gone"
is_active ()
{
  lvm_in b1 lvs --noheadings -o lv_active "$SD/$TOPV" | grep -q active
}
n=0
until is_active; do
  n=$((n + 1))
  [ "$n" -lt 120 ] || die "the slow lvchange does not end"
  sleep 0.5
done
no_hook b1
reaps b1 off
unchanged "SIGKILL of both while their lvchange waits"
