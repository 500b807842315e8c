# SPDX-License-Identifier: Apache-2.0
# A run that is killed between two VMs: its journal, in which all is settled,
# goes with the next run.
. "$(dirname "$0")/lib.sh"

lab_up --vms pair
quick
# The fourth stop: the second VM, before its intention.
halt snapshot:4 backup db01 web01
kill_halted
[ -n "$(ls "$LAB_REPO/journal")" ] || die 'no journal is left'
# One of a run that lives stays.
halt stream backup db01
run=$(ctl snapshots db01 | jq -r '.[-1].description' | sed 's/.*:\([^ ]*\) .*/\1/')
expect 0 cl backup web01
[ "$(ls "$LAB_REPO/journal")" = "$run" ] || die "$(ls "$LAB_REPO/journal")"
go_on 0
clean
