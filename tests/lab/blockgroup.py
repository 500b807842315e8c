# SPDX-License-Identifier: Apache-2.0
"""One block storage domain: a volume group as vdsm makes it, on LUNs of the guests.

LVM runs in the guests, with vdsm's own commands, and whatever changes the group on the one that is
the SPM.  The bytes of its LVs this process reads and writes in the LUN files, where the rows of lvs
say that they are: no guest's memory is in between.
"""

import os
import threading

import blockiscsi
from blockguest import ALL_LUNS
from volumes import META_MAX, StorageError, meta_text, parse_meta, round_up

EXTENT = 128 << 20
SPECIAL = {'metadata': 128 << 20, 'ids': 8 << 20, 'inbox': 16 << 20, 'outbox': 16 << 20,
           'leases': 2 << 30, 'xleases': 1 << 30, 'master': 1 << 30}
COLUMNS = 'lv_name,lv_uuid,lv_size,seg_start_pe,seg_size_pe,devices,lv_attr,lv_tags'
TIMEOUT = 180
# What a new LV is full of: pieces of somebody else's disk.
FOREIGN = b'FOREIGN BYTES! '
SOIL_STEP, SOIL_SIZE = 16 << 20, 64 << 10

# vdsm 4.5: lib/vdsm/storage/lvm.py, config_method=devices.
PRELUDE = r"""
set -e
SD=%(sd)s
DEVICES=%(devices)s
CONF='devices { preferred_names=["^/dev/mapper/"] ignore_suspended_devices=1 write_cache_state=0
 disable_after_error_count=3 hints="none" obtain_device_list_from_udev=0 }
 global { prioritise_write_locks=1 wait_for_locks=1 use_lvmpolld=1 }
 backup { retain_min=50 retain_days=0 }'
L ()
{
  name=$1
  shift
  /usr/lib/lab/real/lvm "$name" --devices "$DEVICES" --config "$CONF" "$@"
}
rows ()
{
  echo "== rows"
  L lvs --noheadings --units b --nosuffix --separator '|' --ignoreskippedcluster \
    -o %(columns)s $SD
}
"""

MAKE = r"""
first=${DEVICES%%,*}
for device in $(echo $DEVICES | tr , ' '); do
  L pvcreate --metadatasize 128m --metadatacopies 2 --metadataignore y -ff -y $device
done
L pvchange --metadataignore n $first
L vgcreate --setautoactivation n --physicalextentsize 128m --addtag RHAT_storage_domain_UNREADY \
  $SD $(echo $DEVICES | tr , ' ')
while read -r name size; do
  L lvcreate --autobackup n --contiguous n --size ${size}b --wipesignatures n --name $name $SD
done
L vgchange --deltag RHAT_storage_domain_UNREADY --addtag RHAT_storage_domain "$@" $SD
"""

# What a host has of a domain that it is connected to.
CONNECT = r"""
pool=$1
shift
L lvchange --autobackup n --available y $(for n in "$@"; do echo $SD/$n; done)
base=/rhev/data-center/mnt/blockSD/$SD
mkdir -p $base/dom_md $base/images /rhev/data-center/$pool
for name in "$@"; do
  [ $name = master ] || ln -sfn /dev/$SD/$name $base/dom_md/$name
done
ln -sfn $base /rhev/data-center/$pool/$SD
chown -h -R 36:36 $base /rhev/data-center/$pool
"""

# Arguments: the image, then the volumes of its chain; as prepareImage does, with a pool.
PREPARE = r"""
image=$1
shift
all=$(for n in "$@"; do echo $SD/$n; done)
there=$(for n in "$@"; do [ ! -e /dev/$SD/$n ] || echo $SD/$n; done)
L lvchange --autobackup n --available y $all
[ -z "$there" ] || L lvchange --refresh $there
links=/run/vdsm/storage/$SD/$image
mkdir -p $links
for name in "$@"; do
  ln -sfn /dev/$SD/$name $links/$name
done
rm -rf /rhev/data-center/mnt/blockSD/$SD/images/$image
ln -sfn $links /rhev/data-center/mnt/blockSD/$SD/images/$image
chown -h -R 36:36 /run/vdsm/storage/$SD
"""

# Arguments: the image, `all` or `volumes`, then what is deactivated.  What is in use stays.
TEARDOWN = r"""
image=$1 what=$2
shift 2
links=/run/vdsm/storage/$SD/$image
if [ $what = all ]; then
  rm -rf $links /rhev/data-center/mnt/blockSD/$SD/images/$image
  rmdir /run/vdsm/storage/$SD 2>/dev/null || true
else
  for name in "$@"; do
    rm -f $links/$name
  done
fi
[ $# -eq 0 ] || L lvchange --autobackup n --available n $(for n in "$@"; do echo $SD/$n; done) || true
"""


def mapped(sd, name):
    """The device mapper's name of an LV."""
    return '%s-%s' % (sd.replace('-', '--'), name.replace('-', '--'))


class Lv:
    """One row of lvs: uuid, size, tags, attr, parts = [(LUN file, offset, length)]."""

    def __init__(self, uuid_, size, attr, tags):
        self.uuid, self.size, self.attr, self.tags = uuid_, size, attr, tags
        self.parts = []

    def slot(self):
        return next((int(t[3:]) for t in self.tags if t.startswith('MD_')), None)

    def image(self):
        return next((t[3:] for t in self.tags if t.startswith('IU_')), None)


class Group:
    """One domain.  version and sd_id as those of a file domain; hosts: the guests, the SPM first;
    active: {host name: LVs that the lab itself has active there}."""

    def __init__(self, sd_id, name, luns, lun_dir, hosts, pool, version=5, kind='iscsi'):
        self.sd_id, self.name, self.luns, self.version = sd_id, name, luns, version
        self.kind, self.pool = kind, pool
        self.vg_uuid = None
        self.pe_start = {}
        self.lvs = {}
        self.lock = threading.RLock()
        self.join(lun_dir, hosts)

    def join(self, lun_dir, hosts):
        """These are the machines and files."""
        self.lun_dir, self.hosts = lun_dir, hosts
        self.active = {host.name: set() for host in hosts}

    def __getstate__(self):
        gone = ('lock', 'lun_dir', 'hosts', 'active')
        return {key: value for key, value in vars(self).items() if key not in gone}

    def __setstate__(self, state):
        vars(self).update(state)
        self.lock = threading.RLock()

    # -- commands ---------------------------------------------------------

    def script(self, host, text, *args, input='', timeout=TIMEOUT):
        """Run a script with vdsm's way to call LVM on a host; -> what it says."""
        devices = ','.join('/dev/mapper/' + ALL_LUNS[name][0] for name in self.luns)
        prelude = PRELUDE % {'sd': self.sd_id, 'devices': devices, 'columns': COLUMNS}
        done = host.run(
            ['sh', '-c', prelude + text, 'sh', *args], input=input, timeout=timeout, check=False
        )
        if done.returncode:
            raise StorageError('domain %s on %s: status %d: %s' % (
                self.name, host.name, done.returncode, ' '.join(done.stderr.split())[-400:]))
        return done.stdout

    @property
    def spm(self):
        for host in self.hosts:
            if host.pid():
                return host
        raise StorageError('domain %s: no host is up' % self.name)

    def change(self, text, *args, **more):
        """A script on the SPM that changes the group; the table of LVs is new after it."""
        with self.lock:
            said = self.script(self.spm, text + '\nrows\n', *args, **more)
            self._load(said.partition('== rows\n')[2])

    def _load(self, text):
        files = {'/dev/mapper/' + ALL_LUNS[name][0]: name for name in self.luns}
        table = {}
        for line in text.splitlines():
            fields = line.strip().split('|')
            if len(fields) != 8:
                continue
            name, ident, size, start, length, device, attr, tags = fields
            lv = table.setdefault(name, Lv(ident, int(size), attr, tags.split(',')))
            path, _, first = device.rstrip(')').partition('(')
            lun = files[path]
            lv.parts.append((int(start), lun, self.pe_start[lun] + int(first) * EXTENT,
                             int(length) * EXTENT))
        for lv in table.values():
            lv.parts = [part[1:] for part in sorted(lv.parts)]
        self.lvs = table

    # -- life -------------------------------------------------------------

    def make(self):
        """The group with its special LVs."""
        for host in self.hosts:
            self.login(host)
        special = {n: s for n, s in SPECIAL.items() if n != 'xleases' or self.version >= 4}
        tags = {'SDUUID': self.sd_id, 'TYPE': self.kind.upper(), 'CLASS': 'Data',
                'VERSION': self.version, 'POOL_UUID': self.pool, 'ROLE': 'Regular',
                'LOCKPOLICY': '', 'DESCRIPTION': self.name}
        if self.version >= 5:
            tags.update(ALIGNMENT=1 << 20, BLOCK_SIZE=512)
        more = [word for key in sorted(tags)
                for word in ('--addtag', 'MDT_%s=%s' % (key, tags[key]))]
        self.script(self.spm, MAKE, *more, input=''.join(
            '%s %d\n' % (name, round_up(size, EXTENT)) for name, size in special.items()))
        said = self.script(
            self.spm,
            "L pvs --noheadings --units b --nosuffix --separator '|' -o pv_name,pe_start,vg_uuid\n",
        )
        files = {'/dev/mapper/' + ALL_LUNS[name][0]: name for name in self.luns}
        for line in said.splitlines():
            name, start, self.vg_uuid = line.strip().split('|')
            self.pe_start[files[name]] = int(start)
        self.change('')

    def connect(self, host):
        """The host joins: what vdsm activates and links at connectStoragePool."""
        self.login(host)
        self.script(host, CONNECT, self.pool, *sorted(self.special(host)))
        self.active[host.name] = self.special(host)

    def login(self, host):
        """The host has the LUNs, if they are not its own disks."""
        if self.remote:
            blockiscsi.login(host)

    def leave(self, host):
        """And not any more: nothing of the domain is active there."""
        self.script(host, 'L vgchange --available n $SD')
        blockiscsi.logout(host)
        self.active[host.name] = set()

    @property
    def remote(self):
        return any(name in blockiscsi.LUNS for name in self.luns)

    def special(self, host):
        """-> the special LVs that are always active on the host: master only on the SPM."""
        first = host is self.hosts[0]
        return {name for name in self.lvs if name in SPECIAL and (name != 'master' or first)}

    def prepare(self, host, img, vols):
        with self.lock:
            self.script(host, PREPARE, img, *vols)
            self.active[host.name] |= set(vols)

    def teardown(self, host, img, vols, whole=True):
        """Links go; what nobody has open is not active any more."""
        with self.lock:
            if host.pid():
                self.script(host, TEARDOWN, img, 'all' if whole else 'volumes', *vols)
            self.active[host.name] -= set(vols)

    # -- LVs --------------------------------------------------------------

    def create(self, vol, size, img, parent):
        """A new LV, not active when this returns, and with a metadata slot; full of old bytes but
        for the first 4 KiB."""
        with self.lock:
            slot = self._free_slot()
            self.change(
                'L lvcreate --autobackup n --contiguous n --size "$2"m --wipesignatures n '
                '--addtag OVIRT_VOL_INITIALIZING --name $1 $SD >/dev/null\n'
                'L lvchange --autobackup n --addtag MD_$3 --addtag PU_$4 --addtag IU_$5 '
                '--deltag OVIRT_VOL_INITIALIZING $SD/$1 >/dev/null\n'
                'L lvchange --autobackup n --available n $SD/$1\n',
                vol, str(round_up(size, EXTENT) >> 20), str(slot), parent, img)
            self._soil(vol)

    def extend(self, vol, size):
        """To at least size bytes; a host that has it active does not see it yet."""
        with self.lock:
            if size > self.lvs[vol].size:
                self.change('L lvextend --autobackup n --size "$2"m $SD/$1 >/dev/null\n',
                            vol, str(round_up(size, EXTENT) >> 20))

    def refresh(self, host, vol):
        self.script(host, 'L lvchange --refresh $SD/$1', vol)

    def retag(self, vol, old, new):
        self.change('L lvchange --autobackup n --deltag $2 --addtag $3 $SD/$1 >/dev/null\n',
                    vol, old, new)

    def remove(self, img, vols):
        """As vdsm: first the tags say that they go, then they go."""
        with self.lock:
            vols = [vol for vol in vols if vol in self.lvs]
            if not vols:
                return
            slots = [self.lvs[vol].slot() for vol in vols]
            self.change(
                'image=$1\nshift\n'
                'all=$(for n in "$@"; do echo $SD/$n; done)\n'
                'L lvchange --autobackup n --deltag IU_$image --addtag IU__remove_me_$image $all '
                '>/dev/null\n'
                'L lvremove -f --autobackup n $all >/dev/null\n', img, *vols)
            for slot in slots:
                if slot is not None:
                    self.write('metadata', self._slot_offset(slot), bytes(META_MAX))
            for names in self.active.values():
                names -= set(vols)

    def images(self):
        """-> {IMG: [VOL]} by the tags."""
        found = {}
        for name, lv in self.lvs.items():
            if lv.image():
                found.setdefault(lv.image(), []).append(name)
        return found

    # -- metadata slots ---------------------------------------------------

    def _slot_offset(self, slot):
        return (1 << 20) + slot * 8192 if self.version >= 5 else slot * 512

    def _free_slot(self):
        used = {lv.slot() for lv in self.lvs.values()}
        return next(n for n in range(1 if self.version >= 5 else 4, 2000) if n not in used)

    def _slot(self, vol):
        try:
            slot = self.lvs[vol].slot()
        except KeyError:
            slot = None
        if slot is None:
            raise StorageError('domain %s has no volume %s' % (self.name, vol))
        return self._slot_offset(slot)

    def read_meta(self, vol):
        return parse_meta(self.read('metadata', self._slot(vol), META_MAX).decode(errors='replace'))

    def write_meta(self, vol, meta):
        text = meta_text(vol, meta)
        self.write('metadata', self._slot(vol), text + bytes(META_MAX - len(text)))

    # -- bytes ------------------------------------------------------------

    def _ranges(self, vol, offset, length):
        """-> (LUN file, offset in it, offset in the LV, length) of what is asked for."""
        start = 0
        for lun, where, size in self.lvs[vol].parts:
            low, high = max(offset, start), min(offset + length, start + size)
            if low < high:
                yield os.path.join(self.lun_dir, lun), where + low - start, low, high - low
            start += size

    def read(self, vol, offset, length):
        data = b''
        for path, where, _, size in self._ranges(vol, offset, length):
            with open(path, 'rb') as lun:
                data += os.pread(lun.fileno(), size, where)
        return data

    def write(self, vol, offset, data):
        for path, where, low, size in self._ranges(vol, offset, len(data)):
            with open(path, 'r+b') as lun:
                os.pwrite(lun.fileno(), data[low - offset:low - offset + size], where)

    def data(self, vol):
        """-> (offset, bytes) of everything in an LV that the LUN has data for."""
        for path, where, low, size in self._ranges(vol, 0, self.lvs[vol].size):
            with open(path, 'rb') as lun:
                position, end = where, where + size
                while position < end:
                    try:
                        position = os.lseek(lun.fileno(), position, os.SEEK_DATA)
                        hole = min(os.lseek(lun.fileno(), position, os.SEEK_HOLE), end)
                    except OSError:
                        break
                    while position < hole:
                        part = os.pread(lun.fileno(), min(hole - position, 1 << 20), position)
                        yield low + position - where, part
                        position += len(part)

    def copy_out(self, vol, path, size=None):
        """The LV, or its first size bytes, as a sparse file."""
        size = size or self.lvs[vol].size
        with open(path, 'w+b') as out:
            for offset, part in self.data(vol):
                if offset < size:
                    out.seek(offset)
                    out.write(part[:size - offset])
            out.truncate(size)

    def copy_in(self, vol, path, holes=True):
        """A file onto the LV; what is behind its end stays, and in its holes if those are left
        out."""
        with open(path, 'rb') as source:
            offset, end = 0, os.fstat(source.fileno()).st_size
            while offset < end:
                if not holes:
                    try:
                        offset = os.lseek(source.fileno(), offset, os.SEEK_DATA)
                    except OSError:
                        break
                part = os.pread(source.fileno(), 1 << 20 if holes else 1 << 16, offset)
                self.write(vol, offset, part)
                offset += len(part)

    def _soil(self, vol):
        mark = (FOREIGN + vol.encode() + b'\n') * 2000
        size = self.lvs[vol].size
        for offset in list(range(0, size, SOIL_STEP)) + [size - SOIL_SIZE]:
            skip = 4096 if offset == 0 else 0
            self.write(vol, offset + skip, mark[:SOIL_SIZE - skip])
