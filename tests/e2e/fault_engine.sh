# SPDX-License-Identifier: Apache-2.0
# The engine refuses, is silent, loses answers or fails at its work: what is
# told, that nothing is done twice, that nothing stays, and that the next run
# works.
. "$(dirname "$0")/lib.sh"

lab_up --vms small
quick
vm=web01
create='POST /vms/[^/]+/snapshots$'
remove='DELETE /vms/[^/]+/snapshots/'
busy='Cannot create Snapshot. Related operation is currently in progress. Please try again later.'

mark ()
{
  noted
  since=$(ctl events | jq -r '.[-1].id // 0')
}

# The run was good in spite of the fault NAME: one point more, right bytes,
# and the engine was made to take one snapshot, not two.
done_well ()
{
  ctl clear-faults >/dev/null
  clean
  [ "$(listed_points | wc -l)" -eq $(($(wc -l <"$WORK/points") + 1)) ] \
    || die "$1: not one point more"
  prove image "$(latest "$vm")" || die "$1: the point is wrong"
  taken=$(ctl events "$since" | jq '[.[] | select(.code == 45)] | length')
  [ "$taken" -eq 1 ] || die "$1: $taken snapshots were taken"
  echo "ok: $1"
  mark
}

next_run "$vm"
point=$(latest "$vm")
mark

# Before anything is changed.
echo 'not the password' >"$WORK/bad"
chmod 600 "$WORK/bad"
settings "engine: { password_file = \"$WORK/bad\"; };"
row 'wrong password' 4 'log in to https://localhost' backup@internal \
  engine.password_file -- cl backup "$vm"
says_not 'not the password'
chmod 644 "$WORK/bad"
row 'password for all to read' 3 "$WORK/bad" 0600 -- cl backup "$vm"
openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=other -days 2 \
  -keyout /dev/null -out "$WORK/other.pem" 2>/dev/null
settings "engine: { ca_file = \"$WORK/other.pem\"; };"
row 'CA of another' 3 'the certificate of https://localhost' engine.ca_file \
  "$WORK/other.pem" -- cl backup "$vm"
settings 'engine: { url = "https://localhost:1/ovirt-engine"; retry = 1; };'
row 'no engine there' 6 https://localhost:1 'tried for 1 s' -- cl backup "$vm"
settings ''
row 'no such VM' 11 '"nobody"' 'chainlift vms' -- cl backup nobody
ctl fail 'GET /vms' 100 503 html >/dev/null
settings 'engine: { retry = 1; };'
row 'engine restarts for too long' 6 'answers 503' 'tried for 1 s' -- \
  cl backup "$vm"
settings ''

# Overcome.
halt stream backup "$vm"
ctl expire-tokens >/dev/null
go_on 0
done_well 'token ends in the middle'
ctl fail 'GET /' 4 503 html 12 >/dev/null
expect 0 cl backup "$vm"
done_well 'some pages of 503'
halt config backup "$vm"
ctl restart 2 >/dev/null
go_on 0
done_well 'engine restarts'
ctl fail "$create" 2 409 "$busy" >/dev/null
expect 0 cl backup "$vm"
done_well 'busy for a while'
ctl fail "$create" 1 500 >/dev/null
expect 0 cl backup "$vm"
done_well '500 to the snapshot, nothing done'
ctl drop "$create" 1 >/dev/null
expect 0 cl backup "$vm"
done_well 'connection cut before the snapshot'
ctl drop-after "$create" 1 >/dev/null
ctl drop "$remove" 1 >/dev/null
expect 0 cl backup "$vm"
done_well 'answer to the snapshot lost, its removal cut'
ctl drop-after "$remove" 1 >/dev/null
expect 0 cl backup "$vm"
done_well 'answer to the removal lost'

# Not overcome.
ctl fail "$create" 100 409 "$busy" >/dev/null
row 'busy for ever' 12 "$vm: " 'create a snapshot' 'in progress' -- \
  cl backup "$vm"
ctl fail "$create" 1 409 'Cannot create Snapshot. VM is previewing a Snapshot.' \
  >/dev/null
row 'refused' 7 "$vm: " 'VM is previewing a Snapshot' -- cl backup "$vm"
ctl fail "$create" 1 403 'User is not authorized to perform this action.' \
  >/dev/null
row 'no right to take a snapshot' 4 'backup@internal' 'not authorized' -- \
  cl backup "$vm"
ctl fail "$create" 1 409 'Cannot create Snapshot. Low disk space on Storage Domain data_one.' \
  >/dev/null
row 'domain full' 10 "$vm: " 'Low disk space' data_one -- cl backup "$vm"
ctl fail "$create" 100 500 >/dev/null
row '500 to the snapshot for ever' 6 "$vm: " 'answers 500' -- cl backup "$vm"
ctl fail-task snapshot >/dev/null
row 'the job of the snapshot fails' 7 "$vm: " 'failure asked for' -- \
  cl backup "$vm"
says_not 'left in place'
next_run "$vm"

# The removal fails: the point is good, the snapshot stays and is listed; the
# next run removes it first.
ctl fail-task snapshot-delete >/dev/null
expect 1 cl backup "$vm"
says 'failure asked for'
ctl idle >/dev/null
prove image "$(latest "$vm")"
expect 1 cl leftovers
says 'snapshot'
says 'the next backup of this VM removes it'
[ "$(ctl extra | wc -l)" -eq 1 ] || die "more than the snapshot is left"
next_run "$vm"
mark

# Restores: each change of the engine with its answer lost, or cut before.
again ()
{
  ctl clear-faults >/dev/null
  prove vm "$point" "$2" || die "$1: the restored VM is wrong"
  id=$(ctl inventory | jq -r --arg n "$2" '.vms[] | select(.name == $n) | .id')
  api DELETE "/vms/$id" >/dev/null
  intact "$1"
}
for mode in drop drop-after; do
  for call in 'POST /disks$' 'POST /vms$' \
    'POST /vms/[^/]+/diskattachments$' 'PUT /vms/[^/]+$'; do
    ctl "$mode" "$call" 1 >/dev/null
  done
  expect 0 cl restore "$point" --as "$mode"
  again "restore with $mode of every change" "$mode"
done
ctl fail-task disk >/dev/null
row 'restore: the disk is not made' 7 web01_Disk1 'failure asked for' -- \
  cl restore "$point" --as copy
ctl fail 'POST /disks$' 1 409 'Cannot add Virtual Disk. Low disk space on Storage Domain data_one.' \
  >/dev/null
row 'restore: domain full' 10 web01_Disk1 data_one -- \
  cl restore "$point" --as copy
ctl fail 'POST /vms$' 1 400 'Cannot import VM. The OVF configuration could not be parsed.' \
  >/dev/null
row 'restore: the VM is refused' 7 'OVF configuration' -- \
  cl restore "$point" --as copy
ctl fail 'POST /vms/[^/]+/diskattachments$' 1 400 'Cannot attach Virtual Disk.' \
  >/dev/null
row 'restore: the attachment is refused' 7 'Cannot attach' -- \
  cl restore "$point" --as copy
expect 0 cl restore "$point" --as copy
again 'restore after all this' copy
