#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The helper alone, over pipes: volumes that qemu-img made, laid out as vdsm
# does below /rhev of a private mount namespace; what it reads and writes is
# compared with qemu-img, and what must be refused is.
set -u
[ "$(id -u)" = 0 ] || { echo "needs root"; exit 77; }
BUILD=${BUILD:?}
if [ "${1-}" != inner ]; then
  work=$(mktemp -d)
  # outside of the mount namespace, where nothing is mounted below it
  trap 'rm -rf --one-file-system "$work"' EXIT
  trap 'exit 130' INT TERM
  unshare -m --propagation private sh "$0" inner "$work"
  exit $?
fi

work=$2
cd "$work" || exit 2
drive=$BUILD/tests/e2e/helper_drive
helper=$BUILD/remote/chainlift-remote
mkdir up wk root store out
mount -t overlay overlay -o "lowerdir=/,upperdir=$work/up,workdir=$work/wk" \
  root || exit 2
mkdir -p root/rhev
mount --bind store root/rhev
mount --bind /proc root/proc
mkdir -p root/dev
mknod -m 666 root/dev/null c 1 3
printf '#!/bin/sh\nexec chroot %s/root %s\n' "$work" "$helper" >start
# vdsm itself, without root; its own copy, as a push would make it
cp "$helper" root/helper.bin
chmod 755 start root/helper.bin "$work"
printf '#!/bin/sh\nexec chroot --userspec=36:36 --groups= %s/root %s\n' \
  "$work" /helper.bin >start-vdsm
printf '#!/bin/sh\nexec chroot %s/root %s --unlink %s\n' "$work" \
  /run/pushed/helper /run/pushed/helper >start-pushed
chmod 755 start-vdsm start-pushed

failed=0
say () { echo "$@"; }
bad () { echo "FAILED: $*"; failed=$((failed + 1)); }
uuid () { cat /proc/sys/kernel/random/uuid; }

SD=$(uuid)
BLANK=00000000-0000-0000-0000-000000000000
dir=/rhev/data-center/mnt/nas:_exp_my__data/$SD
dom=$work/store/data-center/mnt/nas:_exp_my__data/$SD
mkdir -p "$dom/images" "$dom/dom_md"
chown -R 36:36 store

# meta IMG VOL PARENT FORMAT VOLTYPE CAP [KEY=VALUE...]
meta ()
{
  m_file=$dom/images/$1/$2.meta
  {
    echo "CAP=$6"
    echo CTIME=1700000000
    echo 'DESCRIPTION={"DiskAlias":"a=b","DiskDescription":""}'
    echo DISKTYPE=DATA
    echo "DOMAIN=$SD"
    echo "FORMAT=$4"
    echo GEN=0
    echo "IMAGE=$1"
    echo LEGALITY=LEGAL
    echo "PUUID=$3"
    echo TYPE=SPARSE
    echo "VOLTYPE=$5"
    echo EOF
  } >"$m_file"
  shift 6
  for m_change; do
    sed -i "s|^${m_change%%=*}=.*|$m_change|" "$m_file"
  done
  chown 36:36 "$m_file" "${m_file%.meta}"
  chmod 660 "$m_file" "${m_file%.meta}"
}

# Write SEED-dependent data all over FILE (format, virtual size)
scribble ()
{
  python3 - "$@" <<'EOF'
import random, subprocess, sys
path, fmt, size, seed, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
rnd = random.Random(seed)
cmds = []
for i in range(count):
    length = rnd.choice([512, 4096, 65536, 300 * 512, 200000 // 512 * 512, 1 << 20])
    length = min(length, size)
    off = rnd.randrange(0, (size - length) // 512 + 1) * 512
    op = rnd.choice(['w', 'w', 'w', 'w', 'z', 'u', 'd', '0'])
    if op == 'w':
        cmds.append(f'write -q -P {rnd.randrange(1, 256)} {off} {length}')
    elif op == '0':
        cmds.append(f'write -q -P 0 {off} {length}')
    elif op == 'z':
        cmds.append(f'write -q -z {off} {length}')
    elif op == 'u':
        cmds.append(f'write -q -z -u {off} {length}')
    else:
        cmds.append(f'discard -q {off} {length}')
subprocess.run(['qemu-io', '-f', fmt, path], input='\n'.join(cmds) + '\n', text=True, check=True,
               stdout=subprocess.DEVNULL)
EOF
}

same ()
{
  cmp "$1" "$2" >/dev/null 2>&1 || bad "$3: the bytes differ"
}

# A chain of three layers: make_chain BASE-FORMAT CLUSTER VERSION SIZE; sets
# img a b c (c on top) and cap.
make_chain ()
{
  img=$(uuid) a=$(uuid) b=$(uuid) c=$(uuid) cap=$4
  i=$dom/images/$img
  mkdir "$i"
  chown 36:36 "$i"
  if [ "$1" = raw ]; then
    qemu-img create -q -f raw "$i/$a" "$cap"
  else
    qemu-img create -q -f qcow2 -o "compat=$3,cluster_size=$2" "$i/$a" "$cap"
  fi
  scribble "$i/$a" "$1" "$cap" 1 60
  (cd "$i" && qemu-img create -q -f qcow2 -o "compat=$3,cluster_size=$2" \
    -b "$a" -F "$1" -u "$b" "$cap")
  scribble "$i/$b" qcow2 "$cap" 2 40
  (cd "$i" && qemu-img create -q -f qcow2 -o "compat=$3,cluster_size=$2" \
    -b "$b" -F qcow2 -u "$c" "$cap")
  scribble "$i/$c" qcow2 "$cap" 3 40
  f_a=COW
  [ "$1" = raw ] && f_a=RAW
  meta "$img" "$a" $BLANK $f_a INTERNAL "$cap"
  meta "$img" "$b" "$a" COW INTERNAL "$cap"
  meta "$img" "$c" "$b" COW INTERNAL "$cap"
  l_a=$img,$a,-,$(echo $f_a | tr A-Z a-z),$cap
  l_b=$img,$b,$a,cow,$cap
  l_c=$img,$c,$b,cow,$cap
}

pull () { timeout 60 "$drive" "$work/start" pull "$dir" "$@"; }

# refused CODE TEXT COMMAND...: it ends with that code, and says TEXT
refused ()
{
  r_code=$1 r_text=$2
  shift 2
  "$@" >out/log 2>&1
  r_rc=$?
  if [ $r_rc -ne "$r_code" ] || ! grep -q -- "$r_text" out/log; then
    bad "expected $r_code '$r_text', got $r_rc: $(tail -n 2 out/log)"
  else
    say "ok   refused: $r_text"
  fi
}

say "== reading, merged and in parts"
for how in "raw 65536 1.1 20971520" "qcow2 65536 1.1 104857600" \
  "qcow2 65536 0.10 33554944" "raw 65536 1.1 33554944" \
  "qcow2 4096 1.1 20975616" "qcow2 2097152 1.1 20975616" \
  "raw 512 1.1 10486272" "qcow2 65536 1.1 66048" "raw 65536 1.1 512"; do
  # shellcheck disable=SC2086
  make_chain $how
  qemu-img convert -f qcow2 -O raw "$i/$c" out/want
  rm -f out/got
  if pull out/got scan "$l_c" "$l_b" "$l_a" >out/log 2>&1; then
    same out/want out/got "merged $how"
    say "ok   merged $how: $(grep ^read out/log)"
  else
    bad "merged $how: $(cat out/log)"
  fi
  rm -f out/got
  pull out/got lz4 "$l_c" "$l_b" "$l_a" >out/log 2>&1 || bad "lz4 $how"
  same out/want out/got "lz4 $how"
  # the upper part over the state below it
  qemu-img convert -f "$(echo "$how" | cut -d' ' -f1)" -O raw "$i/$a" out/got
  if pull out/got part "$l_c" "$l_b" >out/log 2>&1; then
    same out/want out/got "part $how"
    say "ok   part   $how: $(grep ^read out/log)"
  elif grep -q 'take a full' out/log; then
    case $how in
      *" 65536 "*) bad "part $how: $(cat out/log)" ;;
      *) say "ok   part   $how: refused, $(grep -o 'only a part.*' out/log)" ;;
    esac
  else
    bad "part $how: $(cat out/log)"
  fi
  # the same with the layer below it, which completes blocks
  qemu-img convert -f "$(echo "$how" | cut -d' ' -f1)" -O raw "$i/$a" out/got
  if pull out/got part,lower "$l_c" "$l_b" "$l_a" >out/log 2>&1; then
    same out/want out/got "part over lower $how"
    say "ok   lower  $how: $(grep ^read out/log)"
  else
    bad "part over lower $how: $(cat out/log)"
  fi
done

say "== a template below, compressed; a layer that is shorter"
make_chain qcow2 65536 1.1 20971520
timg=$(uuid)
mkdir "$dom/images/$timg"
qemu-img convert -c -f qcow2 -O qcow2 "$i/$a" "$dom/images/$timg/$a"
chown -R 36:36 "$dom/images/$timg"
rm "$i/$a"
meta "$timg" "$a" $BLANK COW SHARED "$cap"
ln "$dom/images/$timg/$a" "$i/$a"
ln -f "$dom/images/$timg/$a.meta" "$i/$a.meta"
qemu-img convert -f qcow2 -O raw "$i/$c" out/want
rm -f out/got
pull out/got - "$l_c" "$l_b" "$l_a" >out/log 2>&1 || bad "template $(cat out/log)"
same out/want out/got "template"
make_chain qcow2 65536 1.1 20971520
qemu-img resize -q -f qcow2 "$i/$c" 41943040
scribble "$i/$c" qcow2 41943040 5 20
meta "$img" "$c" "$b" COW INTERNAL 41943040
l_c=$img,$c,$b,cow,41943040
qemu-img convert -f qcow2 -O raw "$i/$c" out/want
rm -f out/got
pull out/got - "$l_c" "$l_b" "$l_a" >out/log 2>&1 || bad "shorter $(cat out/log)"
same out/want out/got "shorter"
qemu-img convert -f qcow2 -O raw "$i/$b" out/got
pull out/got part "$l_c" >out/log 2>&1 || bad "shorter part $(cat out/log)"
same out/want out/got "shorter part"

# compressed clusters on top of what is not read: read through a part of a
# chain all the same
make_chain qcow2 65536 1.1 20971520
(cd "$i" && qemu-img convert -f qcow2 -O qcow2 -c -B "$a" -F qcow2 "$c" packed)
mv "$i/packed" "$i/$c"
meta "$img" "$c" "$a" COW INTERNAL "$cap"
qemu-img convert -f qcow2 -O raw "$i/$c" out/want
qemu-img convert -f qcow2 -O raw "$i/$a" out/got
pull out/got part "$img,$c,$a,cow,$cap" >out/log 2>&1 \
  || bad "compressed part $(cat out/log)"
same out/want out/got "compressed part"

say "== what must be refused"
make_chain qcow2 65536 1.1 20971520
top () { pull out/x "${flags:--}" "$l_c" "$l_b" "$l_a"; }
flags=-
change ()
{
  ch_code=$1 ch_text=$2
  shift 2
  meta "$img" "$b" "$a" COW INTERNAL "$cap" "$@"
  refused "$ch_code" "$ch_text" top
  meta "$img" "$b" "$a" COW INTERNAL "$cap"
}
change 12 'a guest may write' VOLTYPE=LEAF
change 12 'LEGALITY=ILLEGAL' LEGALITY=ILLEGAL
change 12 'LEGALITY=FAKE' LEGALITY=FAKE
change 13 'not a disk of a guest' DISKTYPE=SCRD
change 13 'not a disk of a guest' DISKTYPE=OVFS
change 13 'not a disk of a guest' DISKTYPE=MEMD
change 12 'the chain was changed' "PUUID=$c"
change 13 'expected' "IMAGE=$(uuid)"
change 13 'expected' "DOMAIN=$(uuid)"
change 13 'FORMAT=RAW' FORMAT=RAW
change 13 'capacity' CAP=4096
sed -i "1i PUUID=$a" "$i/$b.meta"
refused 13 'stands twice' top
printf 'NONE\nNONE\n' >"$i/$b.meta"
refused 13 'cleared' top
rm "$i/$b.meta"
refused 11 'open' top
ln -s "$a.meta" "$i/$b.meta"
refused 9 'open' top
rm "$i/$b.meta"
meta "$img" "$b" "$a" COW INTERNAL "$cap"
mv "$i/$b" "$i/x"
refused 11 'open volume' top
ln -s x "$i/$b"
refused 9 'open volume' top
rm "$i/$b"
mkfifo "$i/$b"
refused 13 'not a regular file' top
rm "$i/$b"
mv "$i/x" "$i/$b"
(cd "$i" && qemu-img rebase -q -u -b /etc/passwd -F raw -f qcow2 "$b")
refused 13 "$b" top
(cd "$i" && qemu-img rebase -q -u -b "$a" -F raw -f qcow2 "$b")
refused 13 "$b" top
(cd "$i" && qemu-img rebase -q -u -b "../$img/$a" -F qcow2 -f qcow2 "$b")
top >out/log 2>&1 || bad "../IMG/VOL: $(cat out/log)"
(cd "$i" && qemu-img rebase -q -u -b "$a" -F qcow2 -f qcow2 "$b")
(
  exec 9<>"$i/$b"
  flags=scan
  refused 12 'open for writing' top
) || failed=$((failed + 1))
flags=-
refused 8 'its parent is' pull out/x - "$l_c" "$l_a"
refused 8 'its parent is' pull out/x - "$l_c"
for wrong in "/rhev/data-center/mnt/../mnt/nas:_exp_my__data/$SD" \
  "/tmp/$SD" "/rhev/data-center/mnt/nas:_exp_my__data/$SD/../$SD"; do
  refused 8 'domain directory' timeout 60 "$drive" "$work/start" pull \
    "$wrong" out/x - "$l_c" "$l_b" "$l_a"
done
refused 11 'domain directory' timeout 60 "$drive" "$work/start" pull \
  "/rhev/data-center/mnt/other/$SD" out/x - "$l_c" "$l_b" "$l_a"

say "== started by vdsm, and pushed"
timeout 60 "$drive" "$work/start-vdsm" pull "$dir" out/x - \
  "$l_c" "$l_b" "$l_a" >out/log 2>&1 || bad "as vdsm: $(cat out/log)"
refused 7 'open files' timeout 60 "$drive" "$work/start-vdsm" pull \
  "$dir" out/x scan "$l_c" "$l_b" "$l_a"
mkdir -p root/run
mkdir -m 700 root/run/pushed
cp "$helper" root/run/pushed/helper
timeout 60 "$drive" "$work/start-pushed" pull "$dir" out/x - \
  "$l_c" "$l_b" "$l_a" >out/log 2>&1 || bad "pushed: $(cat out/log)"
grep -q 'flags \(7\|15\) ' out/log || bad "pushed: $(grep flags out/log)"
[ ! -e root/run/pushed ] || bad "the pushed helper is still there"

say "== links that vdsm makes"
pool=$(uuid)
mkdir -p "store/data-center/$pool" root/data
ln -s "$dir" "store/data-center/$pool/$SD"
chown -h 36:36 "store/data-center/$pool/$SD"
timeout 60 "$drive" "$work/start" pull "/rhev/data-center/$pool/$SD" out/x - \
  "$l_c" "$l_b" "$l_a" >out/log 2>&1 || bad "pool link: $(cat out/log)"
ln -s /rhev/data-center/mnt/nas:_exp_my__data \
  store/data-center/mnt/_data_images
chown -h 36:36 store/data-center/mnt/_data_images
timeout 60 "$drive" "$work/start" pull \
  "/rhev/data-center/mnt/_data_images/$SD" out/x - "$l_c" "$l_b" "$l_a" \
  >out/log 2>&1 || bad "local domain's link: $(cat out/log)"
chown -h 1000:1000 store/data-center/mnt/_data_images
refused 13 'neither vdsm nor root' timeout 60 "$drive" "$work/start" pull \
  "/rhev/data-center/mnt/_data_images/$SD" out/x - "$l_c" "$l_b" "$l_a"
ln -s "$img" "$dom/images/link"
mv "$dom/images/$img" "$dom/images/moved"
ln -s moved "$dom/images/$img"
refused 9 'open images' top
rm "$dom/images/$img"
mv "$dom/images/moved" "$dom/images/$img"

# A pull that pauses between its data and t1, in the background: its pid goes
# to paused, and close_gate lets it go on.
mkfifo gate
pull_paused ()
{
  rm -f out/log # that of the last one, in which it paused too
  pull out/x pause "$l_c" "$l_b" "$l_a" <gate >out/log 2>&1 &
  paused=$!
  exec 8>gate
  w_n=0
  until grep -q ^paused out/log; do
    w_n=$((w_n + 1))
    [ $w_n -lt 300 ] || { bad "no pause: $(cat out/log)"; return; }
    sleep 0.1
  done
}
close_gate ()
{
  exec 8>&-
  wait "$paused"
}

# The two processes of the helper of this test: their pids go to guard and
# worker.
find_processes ()
{
  guard='' worker=''
  for p in /proc/[0-9]*; do
    [ "$(readlink "$p/root" 2>/dev/null)" = "$work/root" ] || continue
    u=$(awk '/^Uid:/ { print $2, $3, $4, $5 }' "$p/status")
    case $u in
      "0 0 0 0") guard=$guard${p#/proc/} ;;
      "36 36 36 36") worker=$worker${p#/proc/} ;;
      *) bad "uid $u" ;;
    esac
  done
  [ -d "/proc/${guard:-none}" ] && [ -d "/proc/${worker:-none}" ] \
    || bad "processes of a helper: $guard and $worker"
}

say "== a change while it reads"
pull_paused
meta "$img" "$b" "$a" COW INTERNAL "$cap" GEN=1
close_gate
rc=$?
[ $rc = 13 ] && grep -q 't1 differs' out/log \
  || bad "a change while it reads: $rc $(tail -n 2 out/log)"
meta "$img" "$b" "$a" COW INTERNAL "$cap"

say "== its names"
pull_paused
find_processes
for p in /proc/$guard /proc/$worker; do
  [ "$(cat "$p/comm")" = chainlift-remot ] || bad "comm $(cat "$p/comm")"
  [ "$(tr -d '\0' <"$p/cmdline")" = "chainlift-remote drive" ] \
    || bad "cmdline $(tr '\0' ' ' <"$p/cmdline")"
done
close_gate || bad "after a pause: $(tail -n 2 out/log)"
"$helper" --version | grep -q "^chainlift-remote [0-9.]*$" \
  || bad "--version: $("$helper" --version)"
"$helper" --selftest >/dev/null || bad "--selftest"

say "== each of its processes is killed"
# Does process $1 still run (a zombie does not)?
lives ()
{
  case $(awk '/^State:/ { print $2 }' "/proc/$1/status" 2>/dev/null) in
    "" | Z | X) return 1 ;;
  esac
}
for who in guard worker; do
  for signal in KILL TERM; do
    pull_paused
    find_processes
    eval "kill -$signal \$$who"
    k=0
    while lives "$guard" || lives "$worker"; do
      k=$((k + 1))
      [ $k -lt 200 ] || { bad "$signal of the $who: the other lives"; break; }
      sleep 0.1
    done
    close_gate && bad "$signal of the $who: the driver is content"
  done
done

say "== controllers that break"
broken () { timeout 30 "$drive" "$work/start" "$1" "$dir" "$l_c" "$l_b" "$l_a"; }
for how in silent eof garbage deaf flood stopped; do
  broken $how >out/log 2>&1 || bad "$how: $(cat out/log)"
  say "ok   $how: $(grep ended out/log)"
done

if "$drive" "$work/start" eof | grep -q 'flags 1[0-5]'; then
  for phase in hello t0 map stream t1; do
    refused 237 'ended with' pull out/x stop=$phase "$l_c" "$l_b" "$l_a"
  done
else
  say "     no test hooks in this build: kills are left out"
fi

say "== writing"
# fresh FORMAT CAPACITY: an empty volume as vdsm makes it; sets img v
fresh ()
{
  img=$(uuid) v=$(uuid) cap=$2
  i=$dom/images/$img
  mkdir "$i"
  chown 36:36 "$i"
  if [ "$1" = raw ]; then
    qemu-img create -q -f raw "$i/$v" "$cap"
    meta "$img" "$v" $BLANK RAW LEAF "$cap"
  else
    qemu-img create -q -f qcow2 -o compat=1.1 "$i/$v" "$cap"
    meta "$img" "$v" $BLANK COW LEAF "$cap"
  fi
}
push ()
{
  p_start=$1 p_format=$2 p_file=$3 p_flags=$4
  timeout 60 "$drive" "$work/$p_start" push "$dir" "$img" "$v" "$p_format" \
    "$cap" "$p_file" "$p_flags"
}
for size in 512 4096 66048 1048576 20975104 33554432; do
  rm -f out/raw out/cow
  qemu-img create -q -f raw out/raw $size
  scribble out/raw raw $size 11 30
  qemu-img convert -f raw -O qcow2 out/raw out/cow
  fresh raw $size
  if push start raw out/raw fresh >out/log 2>&1; then
    same out/raw "$i/$v" "push raw $size"
    [ "$(stat -c %u:%g:%a:%s "$i/$v")" = "36:36:660:$size" ] \
      || bad "push raw $size: $(stat -c %u:%g:%a:%s "$i/$v")"
    say "ok   raw $size"
  else
    bad "push raw $size: $(cat out/log)"
  fi
  fresh cow $size
  if push start cow out/cow fresh >out/log 2>&1; then
    qemu-img check -q -f qcow2 "$i/$v" || bad "push cow $size: check"
    qemu-img compare -q -f raw -F qcow2 out/raw "$i/$v" \
      || bad "push cow $size: the bytes differ"
    say "ok   cow $size"
  else
    bad "push cow $size: $(cat out/log)"
  fi
done
cp out/cow out/cow2
qemu-img resize -q -f qcow2 out/cow2 67108864
refused 13 'not a fresh volume' push start cow out/cow fresh
fresh cow 33554432
push start cow out/cow fresh,noseal >out/log 2>&1 || bad "noseal $(cat out/log)"
[ "$(head -c 65536 "$i/$v" | tr -d '\0' | wc -c)" = 0 ] \
  || bad "an image that was not sealed has a header"
push start cow out/cow - >out/log 2>&1 || bad "again: $(cat out/log)"
qemu-img compare -q -f raw -F qcow2 out/raw "$i/$v" || bad "again: bytes"
fresh raw 33554432
printf x | dd of="$i/$v" bs=1 seek=5000000 conv=notrunc status=none
refused 13 'not a fresh volume' push start raw out/raw fresh
fresh raw 33554432
meta "$img" "$v" $BLANK RAW LEAF "$cap" LEGALITY=ILLEGAL
refused 12 'LEGALITY=ILLEGAL' push start raw out/raw fresh
push start raw out/raw fresh,locked >out/log 2>&1 || bad "locked $(cat out/log)"
same out/raw "$i/$v" "locked"
fresh raw 33554432
refused 12 'LEGALITY=LEGAL' push start raw out/raw fresh,locked
ln "$i/$v" "$i/second"
refused 13 'names' push start raw out/raw fresh
rm "$i/second"
chown 0:36 "$i/$v"
chmod 666 "$i/$v"
refused 13 'not to vdsm' push start raw out/raw fresh
chown 36:36 "$i/$v"
meta "$img" "$v" "$(uuid)" RAW LEAF "$cap"
refused 13 'PUUID' push start raw out/raw fresh
meta "$img" "$v" $BLANK RAW SHARED "$cap"
refused 13 'VOLTYPE' push start raw out/raw fresh
meta "$img" "$v" $BLANK RAW LEAF "$cap"
truncate -s 33558528 out/long
cp out/raw out/long
truncate -s 33558528 out/long
printf x | dd of=out/long bs=1 seek=33555000 conv=notrunc status=none
refused 8 'beyond the end' push start raw out/long -
(
  exec 9<>"$i/$v"
  refused 12 'open for writing' push start raw out/raw fresh
) || failed=$((failed + 1))

say "== a file system without O_DIRECT"
# the bind mount below root was made before: it must appear there too
mkdir -p root/rhev/data-center/mnt/ram
mount -t ramfs ramfs root/rhev/data-center/mnt/ram
mkdir -p "root/rhev/data-center/mnt/ram/$SD/images"
chown -R 36:36 root/rhev/data-center/mnt/ram
chmod 755 root/rhev/data-center/mnt/ram
dir=/rhev/data-center/mnt/ram/$SD
dom=$work/root/rhev/data-center/mnt/ram/$SD
make_chain raw 65536 1.1 20972032
qemu-img convert -f qcow2 -O raw "$i/$c" out/want
rm -f out/got
pull out/got - "$l_c" "$l_b" "$l_a" >out/log 2>&1 || bad "ramfs $(cat out/log)"
same out/want out/got "ramfs"
grep -q 'layer 0 io buffered' out/log || bad "ramfs: $(grep ' io ' out/log)"
fresh raw 20972032
push start raw out/want fresh >out/log 2>&1 || bad "ramfs push $(cat out/log)"
same out/want "$i/$v" "ramfs push"
qemu-img convert -f raw -O qcow2 out/want out/cow
fresh cow 20972032
push start cow out/cow fresh >out/log 2>&1 || bad "ramfs push $(cat out/log)"
qemu-img compare -q -f raw -F qcow2 out/want "$i/$v" || bad "ramfs push cow"

say "== leftovers"
# What still ends is given some time
k=0
while :; do
  left=
  for p in /proc/[0-9]*; do
    case $(readlink "$p/root" 2>/dev/null) in
      "$work"/*) left="$left ${p#/proc/}" ;;
    esac
  done
  [ -n "$left" ] && [ $k -lt 100 ] || break
  k=$((k + 1))
  sleep 0.1
done
[ -z "$left" ] || bad "these processes are left:$left"

[ $failed -eq 0 ] || { echo "$failed failed"; exit 1; }
echo "all right"
