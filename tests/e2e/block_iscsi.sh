# SPDX-License-Identifier: Apache-2.0
# The same over iSCSI with multipath: two paths to one LUN.
BLOCK=iscsi
READ_STEPS=yes
. "$(dirname "$0")/block_read.sh"

begin_lab
back_up full blk-cow blk-off
# One of the two paths is lost: multipath goes on by the other.
sh "$TOP/tests/lab/lab.sh" san "$LAB" portal-down 1
writing blk-cow
scribbled blk-off
back_up increment blk-cow blk-off
differ blk-cow blk-off
sh "$TOP/tests/lab/lab.sh" san "$LAB" portal-up 1
restored blk-cow cow --cluster blockcluster --storage block_one

# All are lost while it reads: after a bounded wait that is an I/O error, and the
# other host goes on, which has them back by then.
settings 'snapshot: { keep = true; };
ssh: { heartbeat = 30; stall_timeout = 120; };'
HALT_S=300
ctl vm-stop blk-cow
halt stream backup --full blk-cow
sh "$TOP/tests/lab/lab.sh" san "$LAB" freeze
kill -CONT "$HALTED"
wait_until 300 grep -q 'going on from host' "$OUT"
sh "$TOP/tests/lab/lab.sh" san "$LAB" thaw
status=0
wait "$HALTED" || status=$?
HALTED=
says 'Input/output error'
went=$(grep 'going on' "$OUT")
# LVM on the host that was left may have had no path for as long as the run
# lasted: then that is told, and can be mended.
case $status in
  0) ;;
  1)
    says 'still active'
    wait_until 120 cl leftovers --clean
    ;;
  *) die "exit $status when all paths were lost" ;;
esac
prove image "$(latest blk-cow)" || die "all paths lost: a wrong point"
ctl baseline >/dev/null
clean
echo "ok: all paths lost for a while, exit $status: $went"
