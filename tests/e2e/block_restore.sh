# SPDX-License-Identifier: Apache-2.0
# Restores onto block domains and from them: qcow2 and raw, each byte of the
# new volume against the oracle (and zeros behind it, on logical volumes that
# the lab fills with foreign bytes when they are made), held by transfers or
# not; then no volume is active that was not before.
. "$(dirname "$0")/lib.sh"

lab_up --vms mixed --guests 2 --block small
quick
quick_ssh='ssh: { heartbeat = 5; stall_timeout = 10; };'
n=0

drop_copy ()
{
  id=$(ctl inventory | jq -r --arg n "$1" \
    '.vms[] | select(.name == $n) | .id')
  api DELETE "/vms/$id" >/dev/null
  ctl idle >/dev/null
}

# restored POINT "FORMATS" ARG...: it works, and the bytes are right.
restored ()
{
  from=$1
  formats=$2
  shift 2
  n=$((n + 1))
  expect 0 cl restore "$from" --as "copy-$n" "$@"
  # shellcheck disable=SC2086
  prove vm "$from" "copy-$n" $formats || die "copy-$n is wrong: $*"
  drop_copy "copy-$n"
  clean
  echo "ok: $from $*: $(grep -c 'holding' "$OUT" || true) held"
}

refused ()
{
  name=$1
  wanted=$2
  text=$3
  shift 3
  n=$((n + 1))
  expect "$wanted" cl restore "$point" --as "copy-$n" "$@"
  says "$text"
  ctl clear-faults >/dev/null
  clean
  echo "ok: $name: $(tail -n 1 "$OUT")"
}

to_one='--cluster blockcluster --storage block_one'
to_old='--cluster blockcluster --storage block_old'

# --- files to blocks: a thin raw disk becomes qcow2, unless raw is wanted
settings "$quick_ssh"
expect 0 cl backup mixed
point=$(latest mixed)
# shellcheck disable=SC2086
{
  expect 0 cl restore "$point" --as planned $to_one --dry-run
  says 'it was raw, which cannot be thin on block storage'
  restored "$point" 'cow cow' $to_one
  grep -q 'holding the disks' "$OUT" || die "the disks were not held"
  restored "$point" 'raw raw' $to_one -O raw
  settings "restore_lock = \"none\"; $quick_ssh"
  restored "$point" 'raw raw' $to_one -O raw
  restored "$point" 'cow cow' $to_old
}

# --- the lock is refused
settings "$quick_ssh"
ctl fail 'POST /imagetransfers$' 1000 409 \
  'Cannot transfer Virtual Disk. Image IO is not available.' >/dev/null
# shellcheck disable=SC2086
refused "no transfer" 7 'restore_lock = "none"' $to_one

# --- blocks to blocks and to files: odd sizes, of qcow2 and of raw
expect 0 cl backup blk-off blk-cow
point=$(latest blk-off)
clean
restored "$point" ''
restored "$point" 'cow cow' --cluster Default --storage data_one -O qcow2
restored "$(latest blk-cow)" 'raw' --cluster Default --storage data_one -O raw
