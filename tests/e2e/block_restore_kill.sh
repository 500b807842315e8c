# SPDX-License-Identifier: Apache-2.0
# SIGKILL of the controller, of the helper, and of both, in the phases of two
# restores at once onto a block domain: one whose disks are held by transfers,
# one whose are not.  After `leftovers --clean` nothing is in the engine, and
# LVM itself says on both hosts that exactly the logical volumes are active
# that were before.  ALL=1: every row.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/parts/kill.sh"

HALT_S=300
lab_up --vms tiny --guests 2 --block small
quick
quick_ssh='ssh: { heartbeat = 5; stall_timeout = 10; };'
settings "restore_lock = \"none\"; $quick_ssh"
mkdir -p "$LAB/auto/conf.d"
cp "$LAB_CONF" "$LAB/auto/"
cp "$LAB"/conf.d/* "$LAB/auto/conf.d/"
echo "restore_lock = \"auto\"; $quick_ssh" >"$LAB/auto/conf.d/test.conf"
expect 0 cl backup mini
point=$(latest mini)
clean
lvs_noted
n=0
locks='none auto'

begin_all ()
{
  n=$((n + 1))
  for lock in $locks; do
    CREW_CONF=$LAB_CONF
    [ "$lock" = none ] || CREW_CONF=$LAB/auto/${LAB_CONF##*/}
    crew "$lock" restore "$point" --as "copy-$n-$lock" \
      --cluster blockcluster --storage block_one
  done
}

cleaned ()
{
  wait_until 120 no_helper
  expect 0 cl leftovers --clean
  lvs_same "$1"
  clean
  echo "ok: $1, locks: $locks"
}

# Nobody is left on the host to put the volumes back.  Those of a disk that is
# held are active by the engine's doing, until --clean ends the transfer.
both ()
{
  halt_all "$1"
  guests 'kill -KILL $(pgrep chainlift-remot) || true' 2>/dev/null
  crew_kill
  lvs_differ "both killed at $1"
  cleaned "both killed at $1"
}

if [ -n "${ALL:-}" ]; then
  STOPS='plan create create:2 create:3 prove prove:2 prove:3 write write:3
    verify verify:2 vm vm:2 attach attach:2 release release:2'
  REMOTE_STOPS='hello prove active write verify seal'
  BOTH='prove:2 write write:3 verify verify:2'
fi
for at in ${BOTH-write:3 verify:2}; do
  both "$at"
done
for at in ${REMOTE_STOPS-active write verify seal}; do
  helper "$at"
done
for at in ${STOPS-plan create:2 prove:2 write:3 verify:2 vm attach:2 \
  release:2}; do
  controller "$at"
done
locks=auto
for at in ${HOLD-hold:3}; do
  controller "$at"
done
