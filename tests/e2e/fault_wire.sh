# SPDX-License-Identifier: Apache-2.0
# Between the controller and a hypervisor: keys, users, the network and the
# places where the helper may run.
. "$(dirname "$0")/lib.sh"

lab_up --vms small
quick
vm=web01
host=h1
next_run "$vm"
point=$(latest "$vm")
eval "address=\$LAB_ADDRESS_$host"
row_of ()
{
  ctl inventory | jq -r --arg n "$host" \
    ".hosts[] | select(.name == \$n) | .$1"
}
host_id=$(row_of id)
key=$(row_of public_key)
print=$(row_of fingerprint)

on_host ()
{
  sh "$TOP/tests/lab/lab.sh" host "$LAB" "$host" "$@"
}

in_host ()
{
  sh "$TOP/tests/lab/lab.sh" run "$LAB" "$host" "$@"
}

# A good run in spite of NAME.
done_well ()
{
  clean
  [ "$(listed_points | wc -l)" -eq $(($(wc -l <"$WORK/points") + 1)) ] \
    || die "$1: not one point more"
  prove image "$(latest "$vm")" || die "$1: the point is wrong"
  noted
  echo "ok: $1: $(grep 'warning:' "$OUT" | head -n 2)"
}

# Not reached, not trusted, not let in.
settings 'ssh: { connect_timeout = 2; };'
on_host drop
row 'host is silent' 6 "$vm: " "host $host" "$address" -- cl backup "$vm"
ctl host-status h2 maintenance
row 'restore: host is silent' 6 "$host" -- cl restore "$point" --as copy
on_host reset
row 'host refuses connections' 6 "$vm: " "host $host" "$address" -- \
  cl backup "$vm"
on_host heal
ctl poke hosts "$host_id" public_key \
  "\"ssh-rsa $(cut -d ' ' -f 2 "$LAB_KEY_RSA.pub")\""
row 'key of another host' 5 "$vm: " "host $host" -- cl backup "$vm"
ctl poke hosts "$host_id" public_key '""'
ctl poke hosts "$host_id" fingerprint '""'
row 'engine tells no key' 5 "$vm: " "host $host" -- cl backup "$vm"
ctl poke hosts "$host_id" fingerprint "\"$print\""
expect 0 cl backup "$vm"
done_well 'only a fingerprint'
ctl poke hosts "$host_id" public_key "\"$key\""
ssh-keygen -q -t ed25519 -N '' -f "$WORK/stranger"
settings "ssh: { key_file = \"$WORK/stranger\"; };"
row 'our key is refused' 4 "$vm: " "host $host" root ssh.key_file -- \
  cl backup "$vm"
ssh-keygen -q -t ed25519 -N secret -f "$WORK/locked"
settings "ssh: { key_file = \"$WORK/locked\"; };"
row 'key with a passphrase' 3 "$WORK/locked" passphrase -- cl backup "$vm"
settings "ssh: { key_file = \"$WORK/nothing\"; };"
row 'no key file' 3 "$WORK/nothing" ssh.key_file -- cl backup "$vm"

# Who it is that logs in.
settings 'ssh: { user = "backup"; sudo = true; };'
expect 0 cl backup "$vm"
done_well 'a user with sudo'
expect 0 cl restore "$point" --as copy
prove vm "$point" copy
id=$(ctl inventory | jq -r '.vms[] | select(.name == "copy") | .id')
api DELETE "/vms/$id" >/dev/null
in_host sh -c 'echo "backup ALL=(ALL) ALL" >/etc/sudoers.d/backup'
row 'sudo wants a password' 7 "host $host" sudo NOPASSWD -- cl backup "$vm"
settings 'ssh: { user = "backup"; };'
row 'a user without rights' 7 "host $host" ssh.sudo -- cl backup "$vm"

# Where the helper may run.
settings ''
in_host sh -c 'mount -o remount,noexec /run; mount -o remount,noexec /dev/shm
  mount -t tmpfs -o noexec tmpfs /var/tmp; mount -o remount,noexec /tmp'
row 'no place to run programs' 7 "host $host" noexec ssh.helper_path -- \
  cl backup "$vm"
cp "$CHAINLIFT_HELPER" "$WORK/placed"
in_host sh -c 'cat >/usr/local/bin/placed; chmod 755 /usr/local/bin/placed' \
  <"$WORK/placed"
settings 'ssh: { helper_path = "/usr/local/bin/placed"; };'
expect 0 cl backup "$vm"
done_well 'helper placed by the administrator'
settings 'ssh: { helper_path = "/usr/local/bin/missing"; };'
row 'no helper at its path' 7 "host $host" /usr/local/bin/missing \
  ssh.helper_path -- cl backup "$vm"
settings 'ssh: { helper_path = "/bin/true"; };'
row 'something else at its path' 7 "host $host" /bin/true -- cl backup "$vm"
settings ''
in_host sh -c 'mount -o remount,exec /run; umount /var/tmp
  mount -o remount,exec /dev/shm; mount -o remount,exec /tmp'
on_host fill /run
expect 0 cl backup "$vm"
done_well '/run is full'
on_host unfill /run

# The network in the middle of a stream.
settings 'ssh: { stall_timeout = 5; connect_timeout = 2; };'
halt stream backup "$vm"
on_host link-down
kill -CONT "$HALTED"
sleep 1
on_host link-up
ended 0
done_well 'link down for a second'
on_host reset-after 3000000
begin backup "$vm"
wait_until 60 grep -q 'trying again' "$OUT"
on_host heal
ended 0
done_well 'connection reset in the middle'
on_host drop-after 3000000
begin backup "$vm"
wait_until 60 grep -q 'trying again' "$OUT"
on_host heal
ended 0
done_well 'silence in the middle'
on_host reset-after 3000000
row 'connection broken for good' 6 "$vm: " "host $host" -- cl backup "$vm"
on_host heal
halt stream backup "$vm"
on_host freeze
kill -CONT "$HALTED"
wait_until 60 grep -q 'trying again' "$OUT"
on_host thaw
ended 0
done_well 'host frozen for a while'

# A restore whose connection breaks is over, and undone.
settings 'ssh: { stall_timeout = 5; connect_timeout = 2; heartbeat = 5; };'
on_host drop-after-in 3000000
begin restore "$point" --as copy
wait_until 60 sh -c "! kill -0 $HALTED || grep -q 'no .* from\|silent\|stall' '$OUT'"
on_host heal
ended 6
says web01_Disk1
intact 'restore: silence in the middle'

# The host dies with the VM on it.
halt stream backup "$vm"
on_host kill
go_on 6
says "$vm: "
listed_points >"$WORK/points.now"
cmp "$WORK/points" "$WORK/points.now" || die "host killed: the points changed"
on_host start
wait_until 30 sh -c "sh '$TOP/tests/lab/lab.sh' ctl '$LAB' inventory \
  | jq -e '.hosts | all (.status == \"up\")'"
wait_until 30 sh -c "sh '$TOP/tests/lab/lab.sh' ctl '$LAB' inventory \
  | jq -e '.vms | all (.status == \"down\")'"
next_run "$vm"
echo 'ok: host killed in the middle'
