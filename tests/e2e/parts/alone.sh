# SPDX-License-Identifier: Apache-2.0
# Sourced by scripts that drive the helper alone: two guests of the lab, bare but
# for a domain on one LUN that domain.sh makes.
drive=$BUILD/tests/e2e/helper_drive
SD=$(cat /proc/sys/kernel/random/uuid)
IMG=aaaaaaaa-0000-4000-8000-000000000001
IMG2=aaaaaaaa-0000-4000-8000-000000000002
BASE=b0000000-0000-4000-8000-000000000000
TOPV=b1000000-0000-4000-8000-000000000001
RAW=c0000000-0000-4000-8000-000000000000
COW=c1000000-0000-4000-8000-000000000001
OTHER=d0000000-0000-4000-8000-000000000000
BLANK=00000000-0000-0000-0000-000000000000
LUN=35000c50015ea7101
CAP=134217728
DIR=/rhev/data-center/mnt/blockSD/$SD
ON="lun=$LUN,version=5"
TOP_LAYER=$IMG,$TOPV,$BASE,cow,$CAP
BASE_LAYER=$IMG,$BASE,-,raw,$CAP
RUN=/run/vdsm/storage/$SD/$IMG
pid=

# in_guest NAME: the script of the standard input, as root.
in_guest ()
{
  "$WORK/$1" sh -eus
}
# dom NAME ARG...: domain.sh there.
dom ()
{
  name=$1
  shift
  "$WORK/$name" sh /root/domain.sh "$@"
}
lvm_in ()
{
  name=$1
  shift
  dom "$name" lvm "$LUN" "$@"
}
# Active volumes of guest $1, and the records that helpers keep there.
active ()
{
  "$WORK/$1" 'ls /dev/mapper; ls /run/chainlift 2>/dev/null || true' \
    | grep -v '^control$' | sort
}
unchanged ()
{
  for name in b1 b2; do
    active "$name" >"$WORK/now.$name"
    cmp -s "$WORK/before.$name" "$WORK/now.$name" || {
      diff "$WORK/before.$name" "$WORK/now.$name" >&2 || true
      die "$1: other volumes are active on $name than before"
    }
  done
  echo "ok $1"
}

# pull NAME FLAGS [LAYER...]: read the chain into $WORK/got.
pull ()
{
  name=$1
  flags=$2
  shift 2
  [ $# -gt 0 ] || set -- "$TOP_LAYER" "$BASE_LAYER"
  rm -f "$WORK/got"
  "$drive" "$WORK/helper.$name" pull "$DIR" "$WORK/got" "$ON,$flags" "$@"
}
push ()
{
  "$drive" "$WORK/helper.$1" push "$DIR" "$IMG2" "$2" "$3" "$CAP" "$4" "$ON,$5"
}

# held WHAT...: run pull or push in the background until it pauses.  Its output
# is emptied before it opens the FIFO: the last pause is not taken for this one.
held ()
{
  mkfifo "$WORK/go" 2>/dev/null || true
  "$@" >"$OUT" 2>&1 <"$WORK/go" &
  pid=$!
  exec 7>"$WORK/go"
  n=0
  until grep -q '^paused' "$OUT"; do
    kill -0 "$pid" 2>/dev/null || die "it does not pause: $*"
    n=$((n + 1))
    [ "$n" -lt 3000 ] || die "it does not pause in five minutes: $*"
    sleep 0.1
  done
}
# let_go STATUS: it goes on, and ends with that.
let_go ()
{
  exec 7>&-
  got=0
  wait "$pid" || got=$?
  pid=
  [ "$got" -eq "$1" ] || die "it ended with $got, not $1"
}
same_bytes ()
{
  cmp "$WORK/oracle" "$WORK/got" || die "$1: other bytes than qemu-img reads"
}
# Wait until the command is true, at most half a minute.
until_true ()
{
  n=0
  until "$@"; do
    n=$((n + 1))
    [ "$n" -lt 60 ] || die "does not become true: $*"
    sleep 0.5
  done
}
# Helpers of guest $1 that run.
helpers ()
{
  "$WORK/$1" 'cat /proc/[0-9]*/comm 2>/dev/null | grep -c "^chainlift-remot" \
    || true'
}
no_helper ()
{
  [ "$(helpers "$1")" = 0 ]
}
# Guard and worker of guest $1, whose helper has said in $OUT which the worker is.
kill_both ()
{
  worker=$(sed -n 's/^welcome.* pid \([0-9]*\) .*/\1/p' "$OUT")
  "$WORK/$1" "kill -KILL \$(cut -d' ' -f4 /proc/$worker/stat) $worker"
}
# The same of what `held` has begun, which then ends.
held_killed ()
{
  kill_both "$1"
  exec 7>&-
  wait "$pid" || true
  pid=
}
# What vdsm does when it prepares an image, and gives it up.
prepare ()
{
  lvm_in "$1" lvchange -qq -ay "$SD/$TOPV" "$SD/$BASE"
  "$WORK/$1" "mkdir -p $RUN; for v in $TOPV $BASE; do
    ln -sfn /dev/$SD/\$v $RUN/\$v; done"
}
teardown ()
{
  "$WORK/$1" "rm -rf $RUN"
  lvm_in "$1" lvchange -qq -an "$SD/$TOPV" "$SD/$BASE" || true
}

# --- two guests and a domain ---------------------------------------------

lab_up --hosts 0 --guests 2 --bare
for name in b1 b2; do
  eval "address=\$LAB_ADDRESS_$name"
  cat >"$WORK/$name" <<END
#!/bin/sh
exec ssh -F none -o BatchMode=yes -o LogLevel=ERROR -i '$LAB_KEY_ED25519' \\
  -o 'UserKnownHostsFile=$LAB_KNOWN_HOSTS' -o ControlMaster=auto \\
  -o 'ControlPath=$WORK/cm.$name' -o ControlPersist=120 root@$address "\$@"
END
  printf '#!/bin/sh\nexec %s/%s /root/chainlift-remote\n' "$WORK" "$name" \
    >"$WORK/helper.$name"
  chmod 755 "$WORK/$name" "$WORK/helper.$name"
  cleanup_fn "'$WORK/$name' -O exit 2>/dev/null"
  "$WORK/$name" true
  tar cf - -C "$TOP/tests/e2e/guest" domain.sh -C "$BUILD/remote" \
    chainlift-remote | "$WORK/$name" 'tar xf - -C /root'
done
in_guest b1 <<END
exec 2>/root/setup.log
d='sh /root/domain.sh'
\$d make $LUN $SD 5
\$d volume $SD $IMG $BASE $BLANK raw 128 5 $CAP INTERNAL
\$d volume $SD $IMG $TOPV $BASE cow 128 6 $CAP INTERNAL
\$d volume $SD $IMG2 $RAW $BLANK raw 128 7 $CAP LEAF
\$d volume $SD $IMG2 $COW $BLANK cow 128 8 $CAP LEAF
for v in $RAW $TOPV; do
  tr '\\0' X </dev/zero | dd of=/dev/$SD/\$v bs=1M count=128 iflag=fullblock \\
    oflag=direct status=none
done
head -c 8388608 /dev/urandom >/root/data
dd if=/root/data of=/dev/$SD/$BASE bs=1M oflag=direct status=none
cd /dev/$SD
qemu-img create -q -f qcow2 -o compat=1.1 -b $BASE -F raw -u $TOPV 128M
qemu-io -f qcow2 -c 'write -P 0x11 1M 2M' -c 'write -z 4M 1M' $TOPV >/dev/null
qemu-img create -q -f qcow2 $COW 128M
qemu-img convert -f qcow2 -O qcow2 $TOPV /root/oracle
cd /
\$d lvm $LUN lvchange -qq -an $SD/$BASE $SD/$TOPV $SD/$RAW $SD/$COW
END
"$WORK/b1" 'cat /root/oracle' >"$WORK/oracle.qcow2"
qemu-img convert -f qcow2 -O raw "$WORK/oracle.qcow2" "$WORK/oracle"
in_guest b2 <<END
echo $LUN >/root/lun.$SD
sh /root/domain.sh lvm $LUN lvchange -qq -ay $SD/metadata
END
for name in b1 b2; do
  active "$name" >"$WORK/before.$name"
done
