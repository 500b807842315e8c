# SPDX-License-Identifier: Apache-2.0
# SIGKILL of the controller and of the helper in each phase of a restore: no
# VM carries the wanted name unless it is whole, no helper stays, what is left
# in the engine is what `leftovers` lists and `leftovers --clean` removes, the
# next restore works.
. "$(dirname "$0")/lib.sh"

lab_up --vms small
vm=$(ctl inventory | jq -r '.vms[] | select(.attachments != {}) | .name' \
  | head -n 1)
expect 0 cl backup "$vm"
point=$(latest "$vm")
clean
n=0

check_listed ()
{
  ctl idle >/dev/null
  ctl extra | sed -n 's/^+ \([a-z]*\) \([^ ]*\).*/\1 \2/p' \
    | grep -v '^attachment' | sort >"$WORK/extra"
  cl --json leftovers >"$OUT" 2>"$WORK/err" || true
  jq -r 'select(.type == "leftover" and .kind != "helper")
    | .kind + " " + .id' "$OUT" \
    | sort >"$WORK/listed"
  cmp "$WORK/extra" "$WORK/listed" \
    || die "$1: leftovers does not list what is left"
  wait_until 20 no_process
}


tidy ()
{
  expect 0 cl leftovers --clean
  ctl idle >/dev/null
  ctl extra >"$WORK/extra.now"
  [ ! -s "$WORK/extra.now" ] || die "$1: not cleaned: $(cat "$WORK/extra.now")"
  left=$(find "$LAB_REPO/journal" -mindepth 1)
  [ -z "$left" ] || die "$1: left in the journal: $left"
  expect 0 cl leftovers
}

drop_copy ()
{
  id=$(ctl inventory | jq -r --arg n "$1" \
    '.vms[] | select(.name == $n) | .id')
  api DELETE "/vms/$id" >/dev/null
  ctl idle >/dev/null
}

again ()
{
  expect 0 cl restore "$point" --as "$2"
  prove vm "$point" "$2" || die "$1: the next restore is wrong"
  drop_copy "$2"
  clean
  echo "ok: $1"
}

controller ()
{
  n=$((n + 1))
  CHAINLIFT_STOP_AT=$1 "$BUILD/src/chainlift" --config "$LAB_CONF" \
    restore "$point" --as "copy-$n" >"$WORK/run.out" 2>&1 </dev/null &
  pid=$!
  wait_until 60 grep -q "stopped at $1" "$WORK/run.out"
  kill -KILL "$pid"
  wait "$pid" 2>/dev/null || true
  if ctl inventory | jq -e --arg n "copy-$n" \
    '.vms[] | select(.name == $n)' >/dev/null; then
    prove vm "$point" "copy-$n" || die "$1: a VM of that name is not whole"
    drop_copy "copy-$n"
  fi
  check_listed "controller killed at $1"
  tidy "controller killed at $1"
  again "controller killed at $1" "copy-$n"
}

helper ()
{
  n=$((n + 1))
  status=0
  CHAINLIFT_STOP_REMOTE=$1 cl restore "$point" --as "copy-$n" >"$OUT" 2>&1 \
    </dev/null || status=$?
  case $status in
    6 | 7) ;;
    *) die "helper killed at $1: exit $status" ;;
  esac
  clean
  again "helper killed at $1" "copy-$n"
}

for at in ${REMOTE_STOPS:-prove write verify seal}; do
  helper "$at"
done
for at in ${STOPS:-plan create create:2 prove prove:2 write write:3 verify \
  verify:2 vm vm:2 attach attach:2 release release:2 release:3}; do
  controller "$at"
done
