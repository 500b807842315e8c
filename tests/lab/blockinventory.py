# SPDX-License-Identifier: Apache-2.0
"""The VMs of a lab with guests: a data center of its own, two block domains, each layout of disks.

    block_one   version 5, iSCSI, on two LUNs
    block_old   version 4, Fibre Channel, on one

The LUNs are disks of the guests, whatever the engine says; in the set `iscsi` that of block_one
really comes by iSCSI.

Making all that takes LVM in a guest minutes.  So it is made once for a checkout: the guests, with
the domains connected and nothing prepared, the LUNs and the rows of the engine are kept beside the
image, and each lab goes on from there.  Ids and bytes are the same in all labs of a checkout; keys
and addresses are not.
"""

import concurrent.futures
import fcntl
import hashlib
import os
import pickle
import tempfile

import blockguest
import blockiscsi
from blockgroup import EXTENT, Group
from engine.state import State
from inventory import MIB, Builder, new_id
from volumes import qemu_img, round_up

GIB = 1 << 30
RATE_SUM = 12
TABLES = ('datacenters', 'clusters', 'storagedomains', 'templates', 'vms', 'disks', 'volumes',
          'snapshots', 'tags', 'vnicprofiles')
OLD = ('block_old', ('lun3',), 4, 'fcp')
DOMAINS = (('block_one', ('lun1', 'lun2'), 5, 'iscsi'), OLD)
REMOTE_DOMAINS = (('block_one', tuple(blockiscsi.LUNS), 5, 'iscsi'), OLD)


class BlockBuilder(Builder):
    """As Builder, on block domains."""

    rate_sum = RATE_SUM
    layout = DOMAINS

    def places(self):
        state = self.state
        self.dc = state.add_datacenter('blockdc')
        self.cluster = self.archive = state.add_cluster('blockcluster', self.dc)
        self.domains = {}
        guests = [host for host in self.storage.hosts if isinstance(host, blockguest.Guest)]
        for name, luns, version, kind in self.layout:
            group = Group(new_id(), name, luns, os.path.join(self.storage.lab_dir, 'luns'), guests,
                          self.dc['id'], version, kind)
            group.make()
            self.storage.add_group(group)
            for host in guests:
                group.connect(host)
            self.domains[name] = state.add_domain(
                name, self.dc, '10.0.0.1', None, id=group.sd_id, storage_type=kind,
                storage_format='v%d' % version, master=name == 'block_one')
            self.domains[name]['vg'] = {
                'id': group.vg_uuid,
                'luns': [dict(zip(('id', 'size'), blockguest.ALL_LUNS[lun]), serial=lun)
                         for lun in luns]}
        self.profile = state.add_vnicprofile('blocknet', 'blocknet', self.dc)
        self.nightly = state.add_tag('block-nightly')

    def disk(self, alias, domain, size, fmt, seed, share=0.35, sparse=True, exact=False,
             template=None):
        """As a created disk, raw capacity is whole extents; exact: it stays, as of old versions.
        What a raw disk was not written to is what the extents had before."""
        sd, img, vol = self.domains[domain]['id'], new_id(), new_id()
        image = self.raw_image(size, share, seed)
        if fmt == 'cow':
            compat = 'compat=' + self.storage._compat(sd)
            qemu_img('convert', '-f', 'raw', '-O', 'qcow2', '-o', compat, image, image + '.qcow2')
            os.unlink(image)
            image += '.qcow2'
        elif not exact:
            size = round_up(size, EXTENT)
        self.storage.import_volume(sd, img, vol, image, size, fmt, fmt == 'cow')
        return self.state.add_disk(
            alias, sd, fmt, fmt == 'cow', size, vol, id=img, template=template,
            qcow_version='qcow2_v3' if self.storage.domains[sd].version >= 4 else 'qcow2_v2')

    def scribble(self, disk, seed, count=12):
        """The chain is taken out, its leaf changed by QEMU and put back."""
        sd, img, leaf = disk['domain'], disk['id'], disk['image_id']
        with tempfile.TemporaryDirectory(dir=self.scratch) as work:
            for vol in self.storage.chain(sd, img, leaf):
                self.storage.layer_file(sd, img, vol, work)
            self.scribble_file(os.path.join(work, leaf), disk, seed, count)
            self.storage.groups[sd].copy_in(leaf, os.path.join(work, leaf))


# -- the machines ---------------------------------------------------------


def cow(b):
    disk = b.disk('blk-cow_Disk1', 'block_one', GIB + 4096, 'cow', 301, share=0.03)
    return [b.vm('blk-cow', [disk], tags=[b.nightly], description='cow, running')]


def raw(b):
    disk = b.disk('blk-raw_Disk1', 'block_one', 100 * MIB, 'raw', 302, share=0.2)
    return [b.vm('blk-raw', [disk], description='raw preallocated, running')]


def thin(b):
    template = b.state.add_template('block-base', b.cluster)
    base = b.disk('block-base_Disk1', 'block_one', 64 * MIB, 'cow', 303, share=0.3,
                  template=template)
    disk = b.thin_disk('blk-thin_Disk1', base)
    b.scribble(disk, 304, count=6)
    return [b.vm('blk-thin', [disk], template=template, description='thin, running')]


def stopped(b):
    odd = b.disk('blk-off_Disk1', 'block_one', GIB + 512, 'cow', 305, share=0.02, exact=True)
    plain = b.disk('blk-off_Disk2', 'block_one', GIB + 512, 'raw', 306, share=0.02, exact=True)
    b.vm('blk-off', [odd, plain], description='odd sizes, stopped')
    return []


def snaps(b):
    on_raw = b.disk('blk-snaps_Disk1', 'block_one', 128 * MIB, 'raw', 307, share=0.1)
    vm = b.vm('blk-snaps', [on_raw], description="a user's snapshot on raw, stopped")
    b.snapshot(vm, 'only one', [on_raw])
    b.scribble(on_raw, 308, count=6)
    return []


def old(b):
    disk = b.disk('blk-old_Disk1', 'block_old', 48 * MIB, 'cow', 309, share=0.3)
    b.vm('blk-old', [disk], description='on a domain of version 4, stopped')
    return []


SETS = {
    'none': (),
    'iscsi': (cow, raw, thin, stopped),
    'all': (cow, raw, thin, stopped, snaps, old),
}
# Other sets: what they are made of, and which VMs run.
PARTS = {'small': ('all', ('blk-cow',))}


# -- made or found --------------------------------------------------------


def key(image, vm_set):
    """Of everything that a kept lab depends on."""
    here = os.path.dirname(os.path.abspath(__file__))
    found = hashlib.sha256((vm_set + blockguest.machine_key(image)).encode())
    for name in ('blockinventory.py', 'blockgroup.py', 'blockiscsi.py', 'engine/state.py'):
        with open(os.path.join(here, name), 'rb') as source:
            found.update(source.read())
    return found.hexdigest()


def layout(vm_set):
    return REMOTE_DOMAINS if vm_set == 'iscsi' else DOMAINS


def luns(vm_set):
    """-> names of the LUNs that hold something."""
    return [name for _, names, *_ in layout(vm_set) for name in names]


def copy(source, target):
    blockguest.run(['cp', '--sparse=always', source, target], timeout=300)


def on_all(hosts, work):
    with concurrent.futures.ThreadPoolExecutor(len(hosts)) as pool:
        list(pool.map(work, hosts))


def make(storage, guests, vm_set, kept):
    """Make everything and keep it; the guests end saved."""
    on_all(guests, lambda host: host.start())
    builder = BlockBuilder(State(), storage)
    builder.layout = layout(vm_set)
    builder.state.mac_next += 1 << 16
    builder.places()
    machines = [vm for make_one in SETS[vm_set] for vm in make_one(builder)]
    storage.settle()
    for group in storage.groups.values():
        if group.remote:
            on_all(guests, group.leave)
    os.makedirs(kept, exist_ok=True)
    on_all(guests, lambda host: host.save(os.path.join(kept, host.name + '.state')))
    for name in luns(vm_set):
        copy(os.path.join(storage.lab_dir, 'luns', name), os.path.join(kept, name))
    rows = {name: getattr(builder.state, name) for name in TABLES}
    with open(os.path.join(kept, 'rows'), 'wb') as out:
        pickle.dump((rows, list(storage.groups.values()), [vm['id'] for vm in machines]), out)
    storage.groups.clear()


def build(state, storage, vm_set):
    """Everything of the block domains in the state of the engine and on the guests; -> (builder,
    VMs that shall run)."""
    guests = [host for host in storage.hosts if isinstance(host, blockguest.Guest)]
    vm_set, chosen = PARTS.get(vm_set, (vm_set, None))
    if vm_set not in SETS:
        raise ValueError('no block set %s; there are: %s' % (
            vm_set, ' '.join(sorted([*SETS, *PARTS]))))
    image = guests[0].image
    if vm_set == 'iscsi':
        blockiscsi.San.start(storage.lab_dir, guests[0].bridge, guests[0].address.rpartition('.')[0])
    kept = os.path.join(image, 'kept-%s-%d' % (vm_set, len(guests)))
    with open(kept + '.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = key(image, vm_set)
        try:
            with open(os.path.join(kept, 'key')) as source:
                known = source.read()
        except FileNotFoundError:
            known = None
        if known != wanted:
            if known:
                os.unlink(os.path.join(kept, 'key'))
            make(storage, guests, vm_set, kept)
            with open(os.path.join(kept, 'key'), 'w') as out:
                out.write(wanted)
        else:
            for name in luns(vm_set):
                copy(os.path.join(kept, name), os.path.join(storage.lab_dir, 'luns', name))
        with open(os.path.join(kept, 'rows'), 'rb') as source:
            rows, groups, running = pickle.load(source)
        on_all(guests, lambda host: host.start(state=os.path.join(kept, host.name + '.state')))
    if chosen is not None:
        running = [ident for ident in running if rows['vms'][ident]['name'] in chosen]
    return adopt(state, storage, guests, rows, groups, running)


def adopt(state, storage, guests, rows, groups, running):
    """What was kept, as part of this lab."""
    for name, table in rows.items():
        known = getattr(state, name)
        known.update((ident, row) for ident, row in table.items() if ident not in known)
    for group in groups:
        group.join(os.path.join(storage.lab_dir, 'luns'), guests)
        storage.add_group(group)
        if group.remote:
            portal = blockiscsi.San(storage.lab_dir).portals[0]
            state.storagedomains[group.sd_id]['address'] = portal.partition(':')[0]
            on_all(guests, group.connect)
        for host in guests:
            group.active[host.name] = group.special(host)
    builder = BlockBuilder(state, storage)
    (cluster,) = rows['clusters'].values()
    builder.hosts = [builder.host_row(host, cluster, spm=host is guests[0]) for host in guests]
    for vm in rows['vms'].values():
        storage.vms.guest(vm['id'], RATE_SUM / 6)
    return builder, [rows['vms'][ident] for ident in running]
