# SPDX-License-Identifier: Apache-2.0
# Disks of a restore held by upload transfers, which own them: nobody else can
# take a disk, what the engine rejects is told, nothing of it stays, and
# `leftovers --clean` ends a transfer only together with its disk.
. "$(dirname "$0")/lib.sh"

lab_up --vms small
quick
quick_ssh='ssh: { heartbeat = 5; stall_timeout = 5; connect_timeout = 2; };'
always="restore_lock = \"always\"; $quick_ssh"
settings "$always"
vm=$(ctl inventory | jq -r '.vms[] | select(.attachments != {}) | .name' \
  | head -n 1)
expect 0 cl backup "$vm"
point=$(latest "$vm")
clean
n=0

transfers ()
{
  ctl extra | grep -c '^+ transfer' || true
}

drop_copy ()
{
  id=$(ctl inventory | jq -r --arg n "$1" \
    '.vms[] | select(.name == $n) | .id')
  api DELETE "/vms/$id" >/dev/null
  ctl idle >/dev/null
}

# works FORMAT ARG...: the one disk of the copy comes out in that format.
works ()
{
  n=$((n + 1))
  format=$1
  shift
  expect 0 cl restore "$point" --as "copy-$n" "$@"
  prove vm "$point" "copy-$n" "$format" || die "copy-$n is wrong: $*"
  drop_copy "copy-$n"
  clean
}

refused ()
{
  name=$1
  wanted=$2
  text=$3
  n=$((n + 1))
  expect "$wanted" cl restore "$point" --as "copy-$n"
  says "$text"
  ctl clear-faults >/dev/null
  clean
  echo "ok: $name: $(tail -n 1 "$OUT")"
}

# --- held, and by default not on file domains
halt write restore "$point" --as held
disk=$(ctl extra | sed -n 's/^+ transfer .* of disk //p' | head -n 1)
[ -n "$disk" ] || die "no transfer holds a disk"
status=0
api DELETE "/disks/$disk" >"$WORK/delete" 2>&1 || status=$?
[ "$status" -ne 0 ] || die "somebody else could delete the disk"
go_on 0
[ "$(transfers)" -eq 0 ] || die "a transfer stays"
prove vm "$point" held || die "the restored VM is wrong"
drop_copy held
clean
echo "ok: held"

for words in '' 'restore_lock = "none";'; do
  settings "$words $quick_ssh"
  halt write restore "$point" --as free
  [ "$(transfers)" -eq 0 ] || die "a transfer although: $words"
  go_on 0
  drop_copy free
  clean
done
echo "ok: not held"

# --- refused and rejected
settings "$always"
ctl fail 'POST /imagetransfers$' 1000 403 \
  'User is not authorized to perform this action.' >/dev/null
refused "the engine refuses" 4 'restore_lock = "none"'
ctl fail-task transfer-start 1 >/dev/null
refused "no imageio" 7 'is ovirt-imageio running'
ctl fail-task transfer-finalize 1 >/dev/null
refused "rejected" 13 'rejected the image'

# --- killed: what is left is listed, and is cleaned
for at in ${STOPS:-create:2 hold:2 hold:3 write verify hold:4 hold:5 vm}; do
  n=$((n + 1))
  halt "$at" restore "$point" --as "copy-$n"
  kill_halted
  ctl idle >/dev/null
  had=$(transfers)
  ctl extra | sed -n 's/^+ disk \([^ ]*\).*/\1/p' | sort >"$WORK/extra"
  cl --json leftovers >"$OUT" 2>&1 || true
  jq -r 'select(.type == "leftover" and .kind == "disk") | .id' "$OUT" \
    | sort >"$WORK/listed"
  cmp "$WORK/extra" "$WORK/listed" || die "$at: not all disks are listed"
  [ "$had" -eq 0 ] || says 'held by its upload transfer'
  expect 0 cl leftovers --clean
  clean
  echo "ok: killed at $at, $had transfers"
done

# --- the form of the disks
works raw -O raw
works cow -O qcow2
expect 0 cl restore "$point" --as planned -O raw --dry-run
says 'raw, '
clean
