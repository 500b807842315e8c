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

# No snapshot is taken for a host that cannot be reached.
quiet_row ()
{
  since=$(ctl events | jq -r '.[-1].id // 0')
  row "$@"
  taken=$(ctl events "$since" | jq '[.[] | select(.code == 45)] | length')
  [ "${taken:-0}" -eq 0 ] || die "$1: a snapshot was taken"
}

# Not reached, not trusted, not let in.
settings 'ssh: { connect_timeout = 2; };'
on_host drop
quiet_row 'host is silent' 6 "$vm: " "host $host" "$address" -- cl backup "$vm"
ctl host-status h2 maintenance
row 'restore: host is silent' 6 "$host" -- cl restore "$point" --as copy
ctl host-status h2 up
on_host reset
quiet_row 'host refuses connections' 6 "$vm: " "host $host" "$address" -- \
  cl backup "$vm"
on_host heal
ctl poke hosts "$host_id" public_key \
  "\"ssh-rsa $(cut -d ' ' -f 2 "$LAB_KEY_RSA.pub")\""
quiet_row 'key of another host' 5 "$vm: " "host $host" -- cl backup "$vm"
ctl poke hosts "$host_id" public_key '""'
ctl poke hosts "$host_id" fingerprint '""'
quiet_row 'engine tells no key' 5 "$vm: " "host $host" -- cl backup "$vm"
ctl poke hosts "$host_id" fingerprint "\"$print\""
expect 0 cl backup "$vm"
done_well 'only a fingerprint'
ctl poke hosts "$host_id" public_key "\"$key\""
ssh-keygen -q -t ed25519 -N '' -f "$WORK/stranger"
settings "ssh: { key_file = \"$WORK/stranger\"; };"
quiet_row 'our key is refused' 4 "$vm: " "host $host" root ssh.key_file -- \
  cl backup "$vm"
ssh-keygen -q -t ed25519 -N secret -f "$WORK/locked"
settings "ssh: { key_file = \"$WORK/locked\"; };"
quiet_row 'key with a passphrase' 3 "$WORK/locked" passphrase -- cl backup "$vm"
settings "ssh: { key_file = \"$WORK/nothing\"; };"
quiet_row 'no key file' 3 "$WORK/nothing" ssh.key_file -- cl backup "$vm"

# Who it is that logs in.
settings 'ssh: { user = "backup"; sudo = true; };'
expect 0 cl backup "$vm"
done_well 'a user with sudo'
expect 0 cl restore "$point" --as copy
prove vm "$point" copy
id=$(ctl inventory | jq -r '.vms[] | select(.name == "copy") | .id')
api DELETE "/vms/$id" >/dev/null
in_host sh -c 'echo "backup ALL=(ALL) ALL" >/etc/sudoers.d/chainlift'
row 'sudo wants a password' 7 "host $host" sudo NOPASSWD -- cl backup "$vm"
settings 'ssh: { user = "backup"; };'
row 'a user without rights' 9 "host $host" ssh.sudo -- cl backup "$vm"

# Where the helper may run.
settings ''
for dir in /run /dev/shm /tmp /root /var/tmp; do
  in_host mount -o remount,bind,noexec "$dir"
done
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
for dir in /run /dev/shm /tmp /root /var/tmp; do
  in_host mount -o remount,bind,exec "$dir"
done
on_host fill /run
expect 0 cl backup "$vm"
on_host unfill /run
done_well '/run is full'
