# SPDX-License-Identifier: Apache-2.0
# SIGINT and SIGTERM in each phase: exit 14, all undone.  A second controller.
. "$(dirname "$0")/lib.sh"

lab_up --vms small
quick
vm=web01
next_run "$vm"
point=$(latest "$vm")

signal=INT
stop ()
{
  at=$1
  shift
  halt "$at" "$@"
  case $signal in
    INT) signal=TERM ;;
    *) signal=INT ;;
  esac
  kill -s "$signal" "$HALTED"
}

for at in plan snapshot snapshot:2 snapshot:3 config t0 t0:2 map stream \
  stream:2 t1; do
  stop "$at" backup "$vm"
  go_on 14
  [ "$at" = plan ] || says "$vm: "
  intact "$signal at $at"
done
# The point is there: what is left to do is done.
for at in publish:2 release release:2; do
  stop "$at" backup "$vm"
  go_on 0
  prove image "$(latest "$vm")" || die "$at: the point is wrong"
  noted
  intact "$signal at $at"
done
for at in plan create create:2 prove prove:2 write write:3 verify verify:2 vm \
  vm:2 attach attach:2 release; do
  stop "$at" restore "$point" --as copy
  go_on 14
  intact "restore: $signal at $at"
done
stop write:2 restore "$point" --disk web01_Disk1 --to "$WORK/out.raw"
go_on 14
[ ! -e "$WORK/out.raw" ] || die "half a file is left"

# A second one for the same VM; reading goes on.
halt stream backup "$vm"
holder=$HALTED
expect 12 cl backup "$vm"
says "$vm: "
says "$holder"
says "$(hostname)"
cp "$OUT" "$WORK/second"
expect 0 cl verify "$point"
expect 0 cl points
status=0
cl leftovers >"$OUT" 2>&1 || status=$?
[ "$status" -eq 0 ] || die "leftovers of a run that lives: exit $status"
go_on 0
prove image "$(latest "$vm")"
noted
cp "$WORK/second" "$OUT"
intact 'a second controller'
expect 0 cl restore "$point" --as copy
prove vm "$point" copy
