# SPDX-License-Identifier: Apache-2.0
# What the kernel of the host counts while a disk is read: every allocated
# cluster once, in large requests, and not by way of the page cache.  The disk
# is laid out here; it is looked at before the helper gives it back.
. "$(dirname "$0")/lib.sh"

LARGE=262144
TABLES=1048576 # header, L1 and L2 tables, for the map, the bytes and the proof
host=b2 # of the two that is up and not the SPM

# KEY of disk N (from 0) of the VM
disk ()
{
  ctl inventory | jq -r --arg n "$1" --argjson i "$2" --arg k "$3" \
    '(.vms[] | select(.name == $n) | .attachments | keys) as $a
     | [.disks[] | select(.id as $i | $a | index($i))]
     | sort_by(.alias) | .[$i][$k]'
}

lab_up --hosts 0 --vms none --guests 2 --block "${BLOCK:-small}"
quick
# The controller rests while it is looked at the host.
settings 'ssh: { heartbeat = 300; stall_timeout = 600; };'
HALT_S=300
domain=$(disk blk-off 0 domain)
size=$(disk blk-off 0 provisioned_size)
cow=$(disk blk-off 0 image_id)
raw=$(disk blk-off 1 image_id)

# --- a qcow2 disk whose clusters lie one after the other ------------------
ctl prepare b1 blk-off blk-off_Disk1
inside b1 sh -ec '
cd /rhev/data-center/mnt/blockSD/$1/images/$2
qemu-img create -q -f qcow2 -o compat=1.1 $3 $4
qemu-io -t none -f qcow2 -c "write -q -P 0x11 0 32M" \
  -c "write -q -P 0x22 200M 16M" -c "write -q -z 300M 8M" \
  -c "write -q -P 0x33 600M 16M" $3
qemu-img map --output=json -f qcow2 $3
' sh "$domain" "$(disk blk-off 0 id)" "$cow" "$size" >"$WORK/map"
ctl teardown b1 blk-off blk-off_Disk1
data=$(jq '[.[] | select(.data) | .length] | add' "$WORK/map")
[ "$data" -eq 67108864 ] || die "$data bytes are allocated"

# --- the counters ---------------------------------------------------------

# Prints for an LV: reads completed, bytes read, pages in the page cache, and
# the flags of each descriptor that a helper has on it.
cat >"$WORK/look.py" <<'END'
import ctypes, os, sys
path = os.path.realpath(sys.argv[1])
with open('/sys/class/block/%s/stat' % os.path.basename(path)) as stat:
    fields = stat.read().split()
print('reads', fields[0])
print('bytes', int(fields[2]) * 512)
fd = os.open(path, os.O_RDONLY)
size = os.lseek(fd, 0, os.SEEK_END)
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int,
                      ctypes.c_int, ctypes.c_int, ctypes.c_long)
where = libc.mmap(None, size, 1, 1, fd, 0)  # PROT_READ, MAP_SHARED
pages = (ctypes.c_ubyte * (size // 4096))()
if libc.mincore(ctypes.c_void_p(where), ctypes.c_size_t(size), pages):
    sys.exit('mincore: %s' % os.strerror(ctypes.get_errno()))
print('cached', sum(page & 1 for page in pages))
device = os.stat(path).st_rdev
for pid in filter(str.isdigit, os.listdir('/proc')):
    try:
        with open('/proc/%s/comm' % pid) as comm:
            if not comm.read().startswith('chainlift-remot'):
                continue
        for name in os.listdir('/proc/%s/fd' % pid):
            if os.stat('/proc/%s/fd/%s' % (pid, name)).st_rdev == device:
                with open('/proc/%s/fdinfo/%s' % (pid, name)) as info:
                    print(*info.read().split('\n')[1].split())
    except OSError:
        pass
END

# look VOLUME: at the moment, sets reads, bytes and cached.
look ()
{
  inside $host python3 - "/dev/$domain/$1" <"$WORK/look.py" >"$WORK/seen"
  reads=$(awk '$1 == "reads" { print $2 }' "$WORK/seen")
  bytes=$(awk '$1 == "bytes" { print $2 }' "$WORK/seen")
  cached=$(awk '$1 == "cached" { print $2 }' "$WORK/seen")
  awk '$1 == "flags:" { print $2 }' "$WORK/seen" >"$WORK/flags"
}

# fits NAME READS BYTES DATA: so much was read of so much data.
fits ()
{
  echo "$1: $3 bytes in $2 requests of $4, $cached pages cached"
  [ "$3" -ge "$4" ] || die "$1: not all was read"
  [ "$3" -le $(($4 + TABLES)) ] || die "$1: more was read"
  [ $(($3 / $2)) -ge $LARGE ] || die "$1: a request is of $(($3 / $2)) bytes"
  [ "$cached" -eq 0 ] || die "$1: $cached pages are in the cache"
}

# Active before and after, as if a VM were there, so that the counters stay; and
# open, so that what comes into the page cache stays there.
for n in 1 2; do
  ctl prepare $host blk-off blk-off_Disk$n
done
inside $host sh -c 'for volume; do
  sleep 1000 <$volume >/dev/null 2>&1 &
  echo $!
done >/run/holders' sh "/dev/$domain/$raw" "/dev/$domain/$cow"
look "$raw"
raw_reads=$reads
raw_bytes=$bytes
look "$cow"
cow_reads=$reads
cow_bytes=$bytes

halt t1 backup blk-off
look "$cow"
grep -q . "$WORK/flags" || die "no helper has $cow open"
while read -r flags; do
  [ $((0$flags & 040000)) -ne 0 ] || die "open without O_DIRECT: $flags"
done <"$WORK/flags"
fits qcow2 $((reads - cow_reads)) $((bytes - cow_bytes)) "$data"
go_on 0
look "$raw"
fits raw $((reads - raw_reads)) $((bytes - raw_bytes)) "$size"
prove image "$(latest blk-off)" || die "a wrong point"
inside $host sh -c 'kill $(cat /run/holders); rm /run/holders'
for n in 1 2; do
  ctl teardown $host blk-off blk-off_Disk$n
done
clean
