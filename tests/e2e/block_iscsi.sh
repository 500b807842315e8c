# SPDX-License-Identifier: Apache-2.0
# The same over iSCSI with multipath: two paths to one LUN.
BLOCK=iscsi
READ_STEPS=yes
. "$(dirname "$0")/block_read.sh"

san ()
{
  sh "$TOP/tests/lab/lab.sh" san "$LAB" "$@"
}

# The host b2 loses all paths, and the run that has stopped goes on to its end,
# whose exit status is in $status.
cut_off ()
{
  san cut b2
  kill -CONT "$HALTED"
  status=0
  wait "$HALTED" || status=$?
  HALTED=
}

begin_lab
back_up full blk-cow blk-raw blk-off blk-thin
# One of the two paths is lost: multipath goes on by the other.
san portal-down 1
writing blk-cow blk-thin
scribbled blk-off
back_up increment blk-cow blk-off blk-thin
differ blk-cow blk-off blk-thin
san portal-up 1
restored blk-thin cow --cluster blockcluster --storage block_one
restored blk-cow cow --cluster blockcluster --storage block_one
# Raw, with holes: those are zeroed by the SAN.
restored blk-raw raw --cluster blockcluster --storage block_one

# The host that reads loses all of its own: after a bounded wait that is an I/O
# error, and the other host goes on.
settings 'snapshot: { keep = true; };
ssh: { heartbeat = 30; stall_timeout = 120; };'
HALT_S=300
ctl vm-stop blk-cow
halt stream backup --full blk-cow
cut_off
says 'Input/output error'
says 'going on from host b1'
went=$(grep 'going on' "$OUT")
san join b2
# LVM there had no path to the end: then what stays active is told, and can be
# mended.
case $status in
  0) ;;
  1)
    says 'still active'
    wait_until 120 cl leftovers --clean
    ;;
  *) die "exit $status when all paths of a host were lost" ;;
esac
prove image "$(latest blk-cow)" || die "all paths lost: a wrong point"
ctl baseline >/dev/null
clean
echo "ok: all paths of b2 lost, exit $status: $went"

# The same while a restore writes: it starts over on the other host.
settings 'snapshot: { keep = true; }; restore_lock = "none";
ssh: { heartbeat = 30; stall_timeout = 120; };'
point=$(latest blk-cow)
halt write:2 restore "$point" --as cut --cluster blockcluster \
  --storage block_one
cut_off
says 'starting over on host b1, with new disks'
went=$(grep 'starting over' "$OUT")
san join b2
[ "$status" -le 1 ] || die "exit $status when the host that writes lost its paths"
prove vm "$point" cut || die "written elsewhere: the copy is wrong"
wait_until 120 cl leftovers --clean
id=$(ctl inventory | jq -r '.vms[] | select(.name == "cut") | .id')
api DELETE "/vms/$id" >/dev/null
clean
echo "ok: all paths of b2 lost while it wrote, exit $status: $went"
