# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with the LUNs of a guest and with its mapped LVs; blockguest.Guest has it all.

One fault of a LUN at a time: a new one takes the place of the one before, lun_heal ends it.  A LUN is
named by itself (lun1) or by an LV that is on it.
"""

import time

from hosts import HostError

SECTOR = 512
ERROR_MAX = 1 << 20

# Where an LV is: rows PV|first byte of its extents|bytes of an extent|extent there|extents|extent of
# the LV.
WHERE = r"""
devices=$(for name in $2; do [ ! -e /dev/mapper/$name ] || echo /dev/mapper/$name; done)
/usr/lib/lab/real/lvm pvs --segments --devices "$(echo $devices | tr ' ' ,)" --noheadings --units b --nosuffix \
  --separator '|' --select "lv_name=$1" \
  -o pv_name,pe_start,vg_extent_size,pvseg_start,pvseg_size,seg_start_pe
"""

# The state of the SCSI disks with that NAA id: offline or running.
SET_STATE = r"""
found=
for disk in /sys/block/sd*/device; do
  [ "$(cat $disk/wwid)" != "naa.$1" ] || { echo $2 >$disk/state; found=1; }
done
[ "$found" ]
"""

# What device mapper does to an LV, whose name ends the one of its mapping.  Errors are in a device
# below it: LVM wants its own segments in the table of an LV, or does not know it as active.
MAPPING = r"""
import os, subprocess, sys
verb, vol = sys.argv[1:3]
def dm(*argv, **more):
    return subprocess.run(('dmsetup',) + argv, check=True, capture_output=True, text=True,
                          **more).stdout
names = [line.split()[0] for line in dm('ls').splitlines()]
found = [name for name in names if name.endswith(vol.replace('-', '--'))]
kept = '/run/lvm/table-' + vol
below = 'lab-%s-' % vol[:8]
def load(table):
    dm('reload', found[0], input=table)
    dm('resume', found[0])
def heal():
    if os.path.exists(kept):
        with open(kept) as source:
            if found:
                load(source.read())
        os.unlink(kept)
    for name in names:
        if name.startswith(below):
            dm('remove', name)
if verb == 'heal':
    heal()
    sys.exit()
if len(found) != 1:
    sys.exit('no mapping of %s' % vol)
if verb == 'error':
    heal()
    first, count = int(sys.argv[3]) // 512, int(sys.argv[4]) // 512
    table = dm('table', found[0])
    with open(kept, 'w') as out:
        out.write(table)
    lines = []
    for number, line in enumerate(table.splitlines()):
        start, length, kind, device, where = line.split()
        start, length, where = int(start), int(length), int(where)
        low, high = max(first, start) - start, min(first + count, start + length) - start
        if low < high:
            parts = []
            if low:
                parts.append('0 %d linear %s %d' % (low, device, where))
            parts.append('%d %d error' % (low, high - low))
            if high < length:
                parts.append('%d %d linear %s %d' % (high, length - high, device, where + high))
            name = below + str(number)
            dm('create', name, input='\n'.join(parts) + '\n')
            device = dm('info', '-c', '--noheadings', '-o', 'major,minor', '--separator', ':',
                        name).strip()
            line = '%d %d linear %s 0' % (start, length, device)
        lines.append(line)
    load('\n'.join(lines) + '\n')
else:
    dm(verb, '--noflush', found[0]) if verb == 'suspend' else dm(verb, found[0])
"""


class LunFaults:
    # -- of a LUN ---------------------------------------------------------

    def lun_error(self, vol, offset, length):
        """From now on whoever asks for these bytes of an LV hears from the LUN that the medium is
        bad (ENODATA of a direct read; EIO through the page cache), as of a SAN.  LVM, multipath and
        everything else see a healthy LUN.  Whole sectors."""
        if offset % SECTOR or length % SECTOR or not 0 < length <= ERROR_MAX:
            raise HostError('lun-error: whole sectors, %d bytes at the most' % ERROR_MAX)
        bad = {}
        for lun, start, first, size in self.where(vol):
            low, high = max(offset, start), min(offset + length, start + size)
            for byte in range(low, high, SECTOR):
                bad.setdefault(lun, []).append((first + byte - start) // SECTOR)
        if not bad:
            raise HostError('LV %s has no byte %d' % (vol, offset))
        for lun, sectors in bad.items():
            self.lun_heal(lun)
            with self.monitor() as qmp:
                # ENODATA is what QEMU tells as MEDIUM ERROR; EIO would count as a dead path.
                qmp.command('blockdev-add', driver='blkdebug', node_name=lun + '-fault',
                            image=lun + '-file', inject_error=[
                                {'event': 'none', 'errno': 61, 'sector': sector}
                                for sector in sectors])
                self._put_below(qmp, lun, lun + '-fault')

    def lun_hang(self, name, seconds=None):
        """From now on requests of a LUN wait, while it answers that it is well; seconds: return
        when they have passed and all is well again."""
        for lun in self.luns_of(name):
            self.lun_heal(lun)
            with self.monitor() as qmp:
                qmp.command('object-add', qom_type='throttle-group', id=lun + '-group',
                            limits={'iops-total': 1, 'bps-total': 1})
                qmp.command('blockdev-add', driver='throttle', node_name=lun + '-fault',
                            throttle_group=lun + '-group', file=lun + '-file')
                self._put_below(qmp, lun, lun + '-fault')
                # The first request takes what there is for hours.
                qmp.command('human-monitor-command',
                            command_line='qemu-io %s "read 0 65536"' % lun)
        self._until_healed(name, seconds)

    def lun_lost(self, name, seconds=None):
        """From now on there is no path to a LUN: requests wait in multipath until it gives up
        (EIO)."""
        for lun in self.luns_of(name):
            self.lun_heal(lun)
            self._set_state(lun, 'offline')
        self._until_healed(name, seconds)

    def lun_heal(self, name):
        """Paths that were lost are found by multipathd within its interval."""
        for lun in self.luns_of(name):
            self._set_state(lun, 'running')
            with self.monitor() as qmp:
                nodes = [n['node-name'] for n in qmp.command('query-named-block-nodes', flat=True)]
                if lun + '-fault' in nodes:
                    self._put_below(qmp, lun, lun + '-file')
                    qmp.command('blockdev-del', node_name=lun + '-fault')
                groups = [o['name'] for o in qmp.command('qom-list', path='/objects')]
                if lun + '-group' in groups:
                    qmp.command('object-del', id=lun + '-group')

    @staticmethod
    def _put_below(qmp, lun, node):
        qmp.command('blockdev-reopen', options=[
            {'driver': 'raw', 'node-name': lun, 'discard': 'unmap', 'file': node}])

    def _set_state(self, lun, state):
        self.run(['sh', '-c', SET_STATE, 'sh', self.wwids()[lun][1:], state])

    def _until_healed(self, name, seconds):
        if seconds is not None:
            time.sleep(seconds)
            self.lun_heal(name)

    def luns_of(self, name):
        """-> names of LUNs: the one that is named, or those of an LV."""
        return [name] if name in self.wwids() else sorted({lun for lun, *_ in self.where(name)})

    def where(self, vol):
        """-> [(LUN, offset in the LV, offset on the LUN, bytes)] of an LV, active or not."""
        luns = {'/dev/mapper/' + wwid: lun for lun, wwid in self.wwids().items()}
        said = self.run(['sh', '-c', WHERE, 'sh', vol, ' '.join(self.wwids().values())]).stdout
        found = []
        for line in said.splitlines():
            path, *numbers = line.strip().split('|')
            base, extent, first, count, start = map(int, numbers)
            found.append((luns[path], start * extent, base + first * extent, count * extent))
        if not found:
            raise HostError('host %s: no LUN and no LV %s' % (self.name, vol))
        return found

    # -- of a mapped LV ---------------------------------------------------

    def lv_error(self, vol, offset, length):
        """From now on these bytes of a mapped LV can not be read or written: EIO.  LVM sees nothing
        of it; who refreshes the LV heals it."""
        self._mapping('error', vol, str(offset), str(length))

    def lv_heal(self, vol):
        self._mapping('heal', vol)

    def lv_suspend(self, vol):
        """From now on its requests wait."""
        self._mapping('suspend', vol)

    def lv_resume(self, vol):
        self._mapping('resume', vol)

    def _mapping(self, verb, vol, *args):
        self.run(['python3', '-c', MAPPING, verb, vol, *args])
