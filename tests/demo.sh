#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The main job, to watch: a running VM is backed up in full from a hypervisor
# over SSH, restored as a new VM, and proven identical.  Against the lab of
# tests/lab: its engine, its hypervisor (own namespaces, own sshd) and its
# storage are made for this and taken down again.  Does its own set-up.
set -eu
. "$(dirname "$0")/setup.sh"
cd "$TOP"

step ()
{
  printf '\n\033[1m== %s\033[0m\n' "$*"
}

if [ "$(id -u)" != 0 ]; then
  echo "demo.sh: run it as root: it makes namespaces and mounts" >&2
  exit 1
fi
step "Setting up: packages, configure, make"
setup_packages
setup_build build-demo
BUILD=$TOP/build-demo
CHAINLIFT_HELPER=$BUILD/remote/chainlift-remote
WORK=$(mktemp -d)
LAB=$WORK/lab
export BUILD CHAINLIFT_HELPER TOP WORK LAB
trap 'sh tests/lab/lab.sh down "$LAB" >/dev/null 2>&1; rm -rf --one-file-system "$WORK"' EXIT
trap 'exit 130' INT TERM

step "An engine, two hypervisors and a running VM whose guest keeps writing"
sh tests/lab/lab.sh up "$LAB" --vms small
. "$LAB/env"
LAB_REPO=$LAB/repo
export LAB_CONF LAB_REPO
PATH=$BUILD/src:$PATH
chainlift --config "$LAB_CONF" config-check
chainlift --config "$LAB_CONF" hosts
chainlift --config "$LAB_CONF" vms
vm=$(chainlift --config "$LAB_CONF" --json vms \
  | jq -r 'select(.type == "vm" and .status == "up") | .name' | head -n 1)

step "chainlift backup $vm"
chainlift --config "$LAB_CONF" backup "$vm"
step "chainlift points, show, verify: every digest, then a foreign decoder"
chainlift --config "$LAB_CONF" points
chainlift --config "$LAB_CONF" show "$vm@latest"
chainlift --config "$LAB_CONF" verify "$vm@latest"

step "chainlift restore $vm@latest --as $vm-copy"
chainlift --config "$LAB_CONF" restore "$vm@latest" --as "$vm-copy"
chainlift --config "$LAB_CONF" vms

step "Proof, by qemu-img and cmp, against what the guest had at the snapshot"
point=$(chainlift --config "$LAB_CONF" --json points "$vm" \
  | jq -r 'select(.type == "point") | .point' | head -n 1)
/usr/bin/python3 tests/e2e/prove.py point "$point"
/usr/bin/python3 tests/e2e/prove.py vm "$point" "$vm-copy"

step "Nothing is left behind"
chainlift --config "$LAB_CONF" leftovers
# The restored VM and its disk are all that there may be.
sh tests/lab/lab.sh residue "$LAB" >"$WORK/left" 2>"$WORK/errors" || true
[ ! -s "$WORK/errors" ] && grep -q "vm .*($vm-copy)" "$WORK/left" || {
  cat "$WORK/errors"
  exit 1
}
left=$(grep -v "($vm-copy)" "$WORK/left" \
  | grep -Ev '^engine: \+ (disk|attachment) ' || true)
[ -z "$left" ] || { echo "$left"; exit 1; }
[ "$(grep -c '^engine: + disk ' "$WORK/left")" -eq 1 ] || exit 1
echo "no snapshot, no process, no file on engine, hosts and storage"
printf '\nThe restored VM is the VM.  Everything that this made is removed now.\n'
