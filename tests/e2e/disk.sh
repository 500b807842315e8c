#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The real helper behind a real sshd of the lab, without our engine client and
# repository: every frozen chain is read over one and two sessions, plain and
# compressed, and compared with qemu-img; new volumes are written.
. "$(dirname "$0")/lib.sh"

lab_up --hosts 1
peer=$BUILD/tests/e2e/disk_peer
PIN=$(awk -v host="$LAB_ADDRESS_h1" '$1 ~ host && /ed25519/ { print $2, $3 }' \
  "$LAB_KNOWN_HOSTS" | head -n 1)

d ()
{
  "$peer" -a "$LAB_ADDRESS_h1" -k "$LAB_KEY_ED25519" -H "$PIN" "$@"
}

# Lines "DIR IMAGE STORAGE-DIR FORMAT VOLUME LAYER..." of all chains below an
# active volume, as VDSM's metadata tells them.
cat >"$WORK/chains.py" <<'EOF'
import glob, os, subprocess, sys
lab, tool = sys.argv[1:]
here = {}
for path in glob.glob(lab + '/storage/**/images/*/*.meta', recursive=True):
    meta = dict(line.split('=', 1) for line in open(path).read().split('\n')
                if '=' in line)
    here[path[:-5]] = meta
def run(*argv):
    return subprocess.run(['sh', tool, 'run', lab, 'h1', *argv], check=True,
                          capture_output=True, text=True).stdout
there = run('sh', '-c', 'ls -d /rhev/data-center/mnt/*/*/images/*').split()
where = {os.path.basename(path): path for path in there}
for path, meta in sorted(here.items()):
    image = os.path.basename(os.path.dirname(path))
    if meta['VOLTYPE'] != 'LEAF' or meta['DISKTYPE'] != 'DATA' \
            or meta['PUUID'].startswith('00000000') or image not in where:
        continue
    layers, top, volume = [], None, meta['PUUID']
    while not volume.startswith('00000000'):
        m = here[os.path.join(os.path.dirname(path), volume)]
        top = top or (volume, m)
        parent = m['PUUID']
        layers.append(':'.join([image, volume,
            '-' if parent.startswith('00000000') else parent,
            '2' if m['FORMAT'] == 'COW' else '1', '6',
            m.get('CAP') or str(int(m['SIZE']) * 512)]))
        volume = parent
    print(where[image].split('/images/')[0], os.path.dirname(path),
          'qcow2' if top[1]['FORMAT'] == 'COW' else 'raw', top[0], *layers)
EOF
# Chains that qemu does not merge meanwhile: the lab is idle.
ctl idle >/dev/null
/usr/bin/python3 "$WORK/chains.py" "$LAB" "$TOP/tests/lab/lab.sh" \
  >"$WORK/chains"
[ -s "$WORK/chains" ] || die "the lab has no chain"
while read -r dir folder format top layers; do
  (cd "$folder" && qemu-img convert -U -f "$format" -O raw "$top" \
    "$WORK/wanted")
  for options in "-n 1" "-n 2" "-n 1 -L"; do
    # shellcheck disable=SC2086
    expect 0 d $options read "$CHAINLIFT_HELPER" "$dir" "$WORK/got" $layers
    cmp "$WORK/wanted" "$WORK/got" || die "$folder differs with $options"
  done
done <"$WORK/chains"
echo "$(wc -l <"$WORK/chains") chains are what qemu-img reads"

# A layer whose parent is left out is not what it is said to be.
awk 'NF > 5' "$WORK/chains" >"$WORK/deep"
read -r dir folder format top layers <"$WORK/deep"
layer=${layers%% *}
expect 12 d read "$CHAINLIFT_HELPER" "$dir" - \
  "${layer%%:*}:$top:-:2:6:${layer##*:}"
says "the chain was changed"

# New volumes.
domain=${dir##*/}
size=$((5 * 1024 * 1024))
make_disk ()
{
  api POST /disks "<disk><name>w$1</name><format>$1</format>
    <sparse>true</sparse><provisioned_size>$size</provisioned_size>
    <storage_domains><storage_domain id=\"$domain\"/></storage_domains>
    </disk>" >"$WORK/disk"
  disk=$(grep -o '<disk href="[^"]*" id="[^"]*' "$WORK/disk" \
    | sed 's/.*"//' | head -n 1)
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    api GET "/disks/$disk" >"$WORK/disk"
    grep -q '<status>ok' "$WORK/disk" && break
    sleep 0.5
  done
  volume=$(grep -o '<image_id>[^<]*' "$WORK/disk" | sed 's/.*>//')
  file=$(find "$LAB/storage" -path "*/images/$disk/$volume" | head -n 1)
}
head -c "$size" /dev/urandom >"$WORK/in.raw"
qemu-img create -q -f qcow2 -o compat=1.1 "$WORK/in.cow" "$size"
qemu-io -f qcow2 -c 'write -P 7 100k 3M' "$WORK/in.cow" >/dev/null
for format in raw cow; do
  make_disk $format
  number=1
  [ $format = raw ] || number=2
  expect 0 d write "$CHAINLIFT_HELPER" "$dir" "$disk" "$volume" $number \
    "$size" "$WORK/in.$format"
  cmp "$WORK/in.$format" "$file" || die "the $format volume differs"
  # It is no empty volume any more.
  status=0
  d -L write "$CHAINLIFT_HELPER" "$dir" "$disk" "$volume" $number \
    $((size * 2)) "$WORK/in.$format" >"$OUT" 2>&1 || status=$?
  [ $status -ne 0 ] || die "a volume of another capacity was written"
done
