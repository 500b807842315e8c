# SPDX-License-Identifier: Apache-2.0
# A user who is no root, with the rights of conf/sudoers.example and no others:
# backup, restore onto a block domain, leftovers; with the helper pushed and
# with the one that an administrator placed.  Without sudo the error names it.
. "$(dirname "$0")/lib.sh"

lab_up --hosts 0 --vms none --guests 2 --block "${BLOCK:-small}"
quick

may_not ()
{
  ! inside b1 setpriv --reuid 1000 --regid 1000 --clear-groups \
    sudo -n "$@" >"$OUT" 2>&1 || die "the user may run: $*"
  grep -Eq 'password is required|not allowed to' "$OUT" || die "not refused: $*"
}

# The rules are those of the example: no command but the shell.
inside b1 visudo -cqf /etc/sudoers.d/chainlift
for command in /usr/sbin/lvm /usr/sbin/dmsetup /usr/bin/cat /usr/bin/id; do
  may_not "$command"
done

settings 'ssh: { user = "backup"; sudo = true; };'
expect 0 cl backup blk-cow
point=$(latest blk-cow)
prove image "$point" || die "a wrong point"
clean
expect 0 cl restore "$point" --as copy --cluster blockcluster \
  --storage block_one
prove vm "$point" copy || die "the copy is wrong"
expect 0 cl leftovers
id=$(ctl inventory | jq -r '.vms[] | select(.name == "copy") | .id')
api DELETE "/vms/$id" >/dev/null
clean
echo "ok: a user with the rights of the example"

settings 'ssh: { user = "backup"; };'
noted
row 'backup without sudo' 7 'ssh.sudo' -- cl backup blk-cow
row 'restore without sudo' 7 'ssh.sudo' -- cl restore "$point" --as copy \
  --cluster blockcluster --storage block_one

# The second half of the example, on the host of the VM: the helper is placed,
# and there is no shell.
sh "$TOP/tests/lab/lab.sh" run "$LAB" b1 sh -c 'mkdir -p /usr/local/libexec
cat >/usr/local/libexec/chainlift-remote
chmod 755 /usr/local/libexec/chainlift-remote' <"$CHAINLIFT_HELPER"
inside b1 sh -ec 'f=/etc/sudoers.d/chainlift
sed -i -e "s/^backup/#&/" -e "/^#Cmnd_Alias/,\$ s/^#//" $f
visudo -cqf $f
grep -v "^#" $f' >"$WORK/rules"
grep -q '^backup.*CHAINLIFT' "$WORK/rules" || die "no rules for a placed helper"
may_not /bin/sh -c true
settings 'ssh: { user = "backup"; sudo = true;
  helper_path = "/usr/local/libexec/chainlift-remote"; };'
expect 0 cl backup blk-cow
prove image "$(latest blk-cow)" || die "a wrong point"
clean
echo "ok: a helper that was placed"
