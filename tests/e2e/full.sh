# SPDX-License-Identifier: Apache-2.0
# Every VM of the lab: full backup, verify, restore to files and as a new VM,
# all bytes against the oracle; nothing is left, the sources are as before.
. "$(dirname "$0")/lib.sh"

lab_up
ctl inventory | jq -r '.vms[] | select(.attachments != {}) | .name' \
  >"$WORK/vms"
while IFS= read -r vm; do
  ctl fingerprint "$vm" >"$WORK/before.$(printf %s "$vm" | md5sum | cut -c1-8)"
done <"$WORK/vms"

expect 0 cl backup '*'
clean
expect 0 cl verify
says libqcow

n=0
while IFS= read -r vm; do
  n=$((n + 1))
  point=$(latest "$vm")
  [ -n "$point" ] || die "no point of $vm"
  prove point "$point"
  # One of them elsewhere, and started: its guest writes nothing.
  if [ "$n" -eq 1 ]; then
    expect 0 cl restore "$point" --as "again-$n" --cluster Default \
      --storage data_two --start
    ctl inventory | jq -e '.vms[] | select(.name == "again-1")
      | select(.status == "up")' >/dev/null || die "again-1 is not started"
    ctl inventory | jq -e '.storagedomains[] | select(.name == "data_two")
      | .id' >"$WORK/two"
    ctl inventory | jq -e --slurpfile sd "$WORK/two" '(.vms[]
      | select(.name == "again-1") | .attachments | keys) as $k
      | [.disks[] | select(.id as $i | $k | index($i)) | .domain]
      | all(. == $sd[0])' >/dev/null || die "again-1 is not on data_two"
  else
    expect 0 cl restore "$point" --as "again-$n"
  fi
  prove vm "$point" "again-$n"
  ctl fingerprint "$vm" >"$WORK/after"
  cmp "$WORK/before.$(printf %s "$vm" | md5sum | cut -c1-8)" "$WORK/after"
done <"$WORK/vms"
[ "$n" -ge 8 ] || die "only $n VMs"
expect 0 cl leftovers

# What the restores made is what they were to make.
ctl idle >/dev/null
ctl extra >"$WORK/extra"
grep -E '^\+ (vm|disk|attachment) ' "$WORK/extra" >"$WORK/wanted" || true
cmp "$WORK/extra" "$WORK/wanted" || die "more than VMs and disks is left"
[ "$(grep -c '^+ vm ' "$WORK/extra")" -eq "$n" ] || die "not $n new VMs"
[ "$(grep -c '^+ disk ' "$WORK/extra")" -eq \
  "$(grep -c '^+ attachment ' "$WORK/extra")" ] || die "a disk floats"
ctl baseline >/dev/null
clean
