# SPDX-License-Identifier: Apache-2.0
# Two machines that are thin on one template: its base is in the repository
# once, the points over it equal the oracle, by qemu-img alone too; it survives
# a controller that is killed while it is stored; what is not that base is not
# taken for it, and a base that is needed is never removed.
. "$(dirname "$0")/lib.sh"

lab_up --vms thin
quick
settings 'snapshot: { keep = true; };'
volume=$(ctl inventory | jq -r '.disks[] | select(.alias == "debian-base_Disk1")
  | .image_id')
disk=$(ctl inventory | jq -r '.disks[] | select(.alias == "thin-raw_Disk1")
  | .id')
home=$LAB_REPO/bases/$volume

bases ()
{
  ls -A "$LAB_REPO/bases"
}
show ()
{
  cl --json show "$(latest "$1")" | jq -r ".disks[0].$2"
}
image_of ()
{
  cl --json show "$1" | jq -r '[.vm_id, .stamp, .disks[0].file] | join ("/")' \
    | sed "s|^|$LAB_REPO/vms/|"
}
afresh ()
{
  rm -rf "${LAB_REPO:?}/vms"/* "${LAB_REPO:?}/bases"/*
}
right ()
{
  point=$(latest "$1")
  prove point "$point" || die "$2: a wrong point of $1"
}

# Killed at each step while the base is stored: never half a base; the next run
# begins again.
for at in base base:2 map stream stream:2 t1; do
  CHAINLIFT_STOP_AT=$at "$BUILD/src/chainlift" --config "$LAB_CONF" \
    backup thin01 >"$WORK/run.out" 2>&1 </dev/null &
  pid=$!
  wait_until 60 grep -q "stopped at $at" "$WORK/run.out"
  kill -KILL "$pid"
  wait "$pid" 2>/dev/null || true
  [ -z "$(bases)" ] || die "$at: a base is there"
  [ -z "$(listed_points)" ] || die "$at: a point is there"
  expect 1 cl leftovers
  echo "ok: killed at $at"
done

# The helper killed instead.
for at in t0 map stream t1; do
  status=0
  CHAINLIFT_STOP_REMOTE=$at cl backup thin01 >"$OUT" 2>&1 </dev/null \
    || status=$?
  case $status in
    6 | 7) ;;
    *) die "helper killed at $at: exit $status" ;;
  esac
  [ -z "$(bases)" ] || die "helper killed at $at: a base is there"
  [ -z "$(listed_points)" ] || die "helper killed at $at: a point is there"
  [ -z "$(ls -A "$LAB_REPO/tmp")" ] || die "helper killed at $at: a draft stays"
  echo "ok: helper killed at $at"
done

# The host is lost before its template is opened, and while that is read: a VM
# that is stopped is read from another one.
settings 'ssh: { heartbeat = 5; stall_timeout = 5; connect_timeout = 2; };'
for at in base map; do
  halt "$at" backup thin-raw
  on h2 kill
  go_on 0
  says 'host h2'
  says 'reading from host h1'
  on h2 start
  right thin-raw "its host was lost at $at"
  afresh
  clean
  echo "ok: host lost at $at"
done
settings 'snapshot: { keep = true; };'

# Right after it came to its place: whole, and used by the next run.
CHAINLIFT_STOP_AT=base:3 "$BUILD/src/chainlift" --config "$LAB_CONF" \
  backup thin01 >"$WORK/run.out" 2>&1 </dev/null &
pid=$!
wait_until 60 grep -q 'stopped at base:3' "$WORK/run.out"
kill -KILL "$pid"
wait "$pid" 2>/dev/null || true
[ "$(bases)" = "$volume" ] || die "not just the base: $(bases)"
[ -z "$(listed_points)" ] || die 'a point is there'
stored=$(stat -c %Y "$home/manifest")
expect 0 cl backup thin01
[ "$(stat -c %Y "$home/manifest")" = "$stored" ] || die 'stored again'
right thin01 'over the base that a killed run stored'
[ "$(show thin01 base)" = "$volume" ] || die 'thin01 is over no base'

# Another run stores it, and the host where the template is open meanwhile goes
# to maintenance: it is left.
afresh
halt base:2 backup thin01
"$BUILD/src/chainlift" --config "$LAB_CONF" --verbose backup thin02 \
  >"$WORK/second" 2>&1 </dev/null &
second=$!
cleanup_fn "kill -KILL $second 2>/dev/null"
wait_until 60 grep -q 'another run stores the base' "$WORK/second"
ctl host-status h2 maintenance
wait_until 60 grep -q 'host h2 is maintenance.*reading from host h1' \
  "$WORK/second"
ctl host-status h2 up
go_on 0
wait "$second" || die "the second: $(tail -n 1 "$WORK/second")"
right thin02 'its host was left while another run stored the base'
expect 0 cl leftovers
echo 'ok: a host is left while the base is waited for'

# Afresh, both at the same time: one stores, the other waits.
afresh
halt base:2 backup thin01
"$BUILD/src/chainlift" --config "$LAB_CONF" --verbose backup thin02 thin-raw \
  >"$WORK/second" 2>&1 </dev/null &
second=$!
wait_until 60 grep -q 'another run stores the base' "$WORK/second"
go_on 0
wait "$second" || die "the second run: $(tail -n 3 "$WORK/second")"
[ "$(bases | wc -l)" = 2 ] || die "bases: $(bases)"
for vm in thin01 thin02 thin-raw; do
  right "$vm" 'side by side'
  [ "$(show "$vm" kind)" = full ] || die "$vm: no full"
  [ "$(show "$vm" base)" != null ] || die "$vm: over no base"
done
[ "$(stat -c %a "$home"/*.qcow2)" = 400 ] || die 'the base can be written'
# What the machines have of their own is little: the template is there once.
base_bytes=$(stat -c %s "$home"/*.qcow2)
own_bytes=$(cat "$LAB_REPO"/vms/*/*/*.qcow2 | wc -c)
[ "$own_bytes" -lt "$base_bytes" ] \
  || die "$own_bytes bytes over a base of $base_bytes"
echo "ok: three points of $own_bytes bytes over bases of" \
  "$(cat "$LAB_REPO"/bases/*/*.qcow2 | wc -c)"
expect 0 cl verify
expect 0 cl verify --quick
expect 0 cl show "$(latest thin02)"
says 'full, on template'
expect 0 cl restore "$(latest thin-raw)" --as raw-copy
prove vm "$(latest thin-raw)" raw-copy
expect 0 cl restore "$(latest thin02)" --as copy
prove vm "$(latest thin02)" copy
ctl idle >/dev/null
ctl baseline >/dev/null
# Our tools for images follow the chain as qemu-img does.
image=$(image_of "$(latest thin01)")
expect 0 cl image flatten -O qcow2 --follow-backing "$image" "$WORK/flat.qcow2"
qemu-img compare -q -f qcow2 -F qcow2 "$image" "$WORK/flat.qcow2" \
  || die 'image flatten: other bytes'

# Increments, a disk that grew beyond the template, a full again.
expect 0 cl backup thin01 thin02 thin-raw
for vm in thin01 thin02 thin-raw; do
  right "$vm" 'increment'
  [ "$(show "$vm" kind)" = increment ] || die "$vm: no increment"
done
api PUT "/disks/$disk" '<disk><provisioned_size>58724352</provisioned_size></disk>' \
  >/dev/null
ctl idle >/dev/null
expect 0 cl backup --full thin-raw thin01
for vm in thin01 thin-raw; do
  right "$vm" 'full again'
  [ "$(show "$vm" kind)" = full ] || die "$vm: no full"
  [ "$(show "$vm" base)" != null ] || die "$vm: over no base"
done
[ "$(bases | wc -l)" = 2 ] || die "bases: $(bases)"
[ "$(stat -c %s "$home"/*.qcow2)" = "$base_bytes" ] || die 'the base changed'
expect 0 cl verify

# Another volume under the same id (its metadata are changed in place: they
# are one file with those of the template): never taken for the stored one.
meta=$(find "$LAB/storage" -path "*/images/*/$volume.meta" | head -n 1)
cp "$meta" "$WORK/meta"
for change in 's/^CTIME=.*/CTIME=1600000000/' 's/^GEN=.*/GEN=3/'; do
  sed "$change" "$WORK/meta" | cat >"$meta"
  cmp -s "$WORK/meta" "$meta" && die "nothing changed: $change"
  expect 0 cl backup --full thin01
  says "it is stored without its template's base"
  right thin01 "$change"
  [ "$(show thin01 base)" = null ] || die 'over another base'
  show thin01 reason | grep -q "full: asked for, without its template's base" \
    || die "the reason is not told: $(show thin01 reason)"
done
cat "$WORK/meta" >"$meta"
# A point without a base, as older versions wrote it, and increments over it.
expect 0 cl backup thin01
right thin01 'over a point without a base'
[ "$(show thin01 kind)" = increment ] || die 'no increment'

# It is damaged: the points over it are, and nothing new is put over it.
image=$(echo "$home"/*.qcow2)
cp -p "$image" "$WORK/base.qcow2"
printf 'x' | dd of="$image" bs=1 seek=70000 conv=notrunc status=none
expect 13 cl verify "$(latest thin02)"
says "template's base $volume"
expect 13 cl verify --quick "$(latest thin02)"
says "template's base $volume"
cat "$WORK/base.qcow2" >"$image"
expect 0 cl verify "$(latest thin02)"
mv "$image" "$WORK/away.qcow2"
expect 13 cl verify "$(latest thin02)"
says "template's base $volume"
expect 13 cl restore "$(latest thin02)" --disk thin02_Disk1 --to "$WORK/x.raw"
says "$volume"
expect 0 cl backup thin02
says 'it is damaged'
[ "$(show thin02 base)" = null ] || die 'over half a base'
show thin02 reason | grep -q 'full: the last point is damaged' \
  || die "the reason is not told: $(show thin02 reason)"
right thin02 'without a base'
# Gone: stored again, and of the same contents, so that old points are whole.
mv "$home" "$WORK/gone"
expect 13 cl verify "$(cl --json points thin02 | jq -r .point | tail -n 1)"
says "template's base $volume"
expect 0 cl backup --full thin02
[ "$(show thin02 base)" = "$volume" ] || die 'over no base'
right thin02 'stored again'
expect 0 cl verify

# A string in an image that leads out of the repository is not followed.
point=$(latest thin02)
image=$(image_of "$point")
cp "$image" "$WORK/good.qcow2"
secret=$WORK/secret.qcow2
qemu-img create -q -f qcow2 "$secret" 64M
for string in "$secret" "../../../../${secret##*/}" \
  "../../../bases/$volume/../../../../secret.qcow2"; do
  cp "$WORK/good.qcow2" "$image"
  qemu-img rebase -u -f qcow2 -F qcow2 -b "$string" "$image"
  expect 13 cl verify "$point"
  says 'backing'
  expect 13 cl restore "$point" --disk thin02_Disk1 --to "$WORK/x.raw"
  says 'backing'
done
cp "$WORK/good.qcow2" "$image"
expect 0 cl verify "$point"
mv "$home" "$WORK/real"
ln -s "$WORK/real" "$home"
expect 13 cl verify "$point"
says "template's base $volume"
rm "$home"
mv "$WORK/real" "$home"

# A base goes when no point is over it, and not before.
expect 0 cl leftovers
mkdir "$WORK/points"
mv "$LAB_REPO"/vms/* "$WORK/points"
settings 'snapshot: { keep = false; };'
expect 0 cl backup thin-raw
expect 1 cl --json leftovers
jq -r 'select(.kind == "base") | .id' "$OUT" >"$WORK/listed"
[ "$(cat "$WORK/listed")" = "$volume" ] || die "listed: $(cat "$WORK/listed")"
halt t0:2 backup thin-raw
expect 1 cl leftovers --clean
says 'a point is being written'
[ -e "$home/manifest" ] || die 'a base went under a run'
go_on 0
expect 0 cl leftovers --clean
says "base $volume"
[ "$(bases | wc -l)" = 1 ] || die "bases: $(bases)"
expect 0 cl backup thin01
[ "$(show thin01 base)" = "$volume" ] || die 'over no base'
right thin01 'stored once more'
expect 0 cl verify
expect 0 cl backup thin01 thin02 thin-raw
expect 0 cl leftovers
[ -z "$(ctl snapshots thin01 | jq -r '.[] | select(.description
  | startswith("chainlift:")) | .id')" ] || die 'a snapshot of ours is left'
ctl baseline >/dev/null
clean
