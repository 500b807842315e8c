# SPDX-License-Identifier: Apache-2.0
# Snapshots that are kept for increments: listed, warned of when they are old,
# and removed from all VMs, also from those that no run selects, when nothing is
# kept any more.
. "$(dirname "$0")/lib.sh"

lab_up --vms pair
quick
settings 'snapshot: { keep = true; };'
ours ()
{
  ctl snapshots "$1" | jq -r '.[] | select(.description
    | startswith("chainlift:")) | .id'
}

expect 0 cl backup web01 db01
expect 0 cl --json leftovers
for vm in web01 db01; do
  grep '^{' "$OUT" | jq -se --arg vm "$vm" --arg id "$(ours "$vm")" \
    --arg p "$(latest "$vm")" 'any(.[]; .type == "kept" and .vm == $vm
    and .id == $id and .vm + "@" + .point == $p and .old == false)' >/dev/null \
    || die "$vm: its kept snapshot is not listed"
done
says_not '"leftover"'
expect 0 cl leftovers
says '2 snapshots are kept for increments (--kept lists them)'
says_not 'for increments on point'
expect 0 cl leftovers --kept
[ "$(grep -c 'for increments on point' "$OUT")" = 2 ] || die 'not both listed'
expect 2 cl leftovers --kept --clean
echo 'ok: listed'

# Nobody backs up db01 any more: its snapshot gets old.
ctl clock $((9 * 24 * 3600))
expect 0 cl backup web01
expect 0 cl leftovers
says 'warning: 1 of their VMs got no point for more than 8 days'
grep -E '^snapshot +db01 .* kept ' "$OUT" || die 'the old one is not shown'
if grep -E '^snapshot +web01' "$OUT"; then
  die 'the other is shown'
fi
settings 'snapshot: { keep = true; kept_days = 10; };'
expect 0 cl leftovers
says_not 'got no point'
expect 0 cl backup web01
[ -n "$(ours db01)" ] || die 'a kept snapshot of another VM went'
expect 0 cl leftovers --clean
[ -n "$(ours db01)" ] || die 'a kept snapshot was cleaned'
echo 'ok: old'

# Nothing is kept any more: a run of one VM does it for all, if it can.
settings 'snapshot: { keep = false; };'
db_id=$(ctl inventory | jq -r '.vms[] | select(.name == "db01") | .id')
expect 0 cl backup --dry-run web01
[ -n "$(ours db01)" ] && [ -n "$(ours web01)" ] || die 'a dry run removed it'
ctl fail 'DELETE /vms/'"$db_id"'/snapshots/' 1 400 'Not today.' >/dev/null
expect 1 cl backup web01
says 'warning: db01: snapshot'
says 'Not today'
[ -z "$(ours web01)" ] || die 'its own stays'
[ -n "$(ours db01)" ] || die 'it went'
expect 0 cl backup web01
says 'is removed, nothing needs it any more'
[ -z "$(ours db01)" ] || die 'it stays'
clean
expect 0 cl leftovers
prove image "$(latest web01)"
prove image "$(latest db01)"
