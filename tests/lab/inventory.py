# SPDX-License-Identifier: Apache-2.0
"""The standard VMs of a lab, made on storage and registered with the engine.

SETS names the sets of `lab.sh up --vms`.  `small` is one running VM; `thin` has VMs on a cow and on a raw
template; `all` has each layout of disks that oVirt makes. Everything is seeded: two labs hold the same bytes, but for what the running
guests write.
"""

import concurrent.futures
import json
import os
import random
import subprocess
import uuid

from volumes import StorageError, qemu_img

MIB = 1 << 20
TEXT = (
    'restore',
    'volume',
    'snapshot',
    'kernel:',
    'systemd[1]:',
    'sshd',
    'started',
    'chain',
    'layer',
    'backup',
    'error=0',
    'user=root',
    'session',
    'closed',
    'for',
    'from',
    '10.0.0.7',
    'port',
    '22',
    'ok',
    'INFO',
    'WARN',
    'GET',
    '/index.html',
)
RATE_SUM = 60
WEIRD_ALIAS = 'we"ird & näme $(x) \'q\' <1>'
WEIRD_NAME = 'näme+x_1.ö'
SMALL_DOMAIN = 48 * MIB


def new_id():
    return str(uuid.uuid4())


class Content:
    """Mixed content made fast: text that compresses, random bytes that do not, and nothing."""

    def __init__(self, seed=1):
        source = random.Random(seed)
        words = [source.choice(TEXT) for _ in range(200000)]
        self.text = ' '.join(words).encode()[: 1 * MIB]
        self.noise = source.randbytes(2 * MIB)

    def fill(self, path, size, share, seed):
        """Write about share (0 to 1) of a raw image of `size` bytes, in runs of 64 KiB to 1 MiB;
        first and last sector always."""
        source = random.Random(seed)
        with open(path, 'r+b' if os.path.exists(path) else 'w+b') as image:
            image.truncate(size)
            offset = 0
            while offset < size:
                length = min(source.randrange(1, 17) * 65536, size - offset)
                if source.random() < share:
                    image.seek(offset)
                    image.write(self.piece(source, length))
                offset += length
            for offset in (0, size - 512):
                image.seek(offset)
                image.write(self.piece(source, 512))

    def piece(self, source, length):
        kind = source.random()
        pool = self.text if kind < 0.5 else self.noise
        start = source.randrange(0, len(pool) - 65536)
        data = pool[start:] + pool[:start]
        data = data[:length] + bytes(max(0, length - len(data)))
        if kind > 0.85:
            data = data[: length // 2] + bytes(length - length // 2)
        return data


class Builder:
    """Makes disks and VMs on storage and in the state of the engine."""

    rate_sum = RATE_SUM

    def __init__(self, state, storage):
        self.state = state
        self.storage = storage
        self.content = Content()
        self.scratch = os.path.join(storage.lab_dir, 'scratch')
        os.makedirs(self.scratch, exist_ok=True)

    # -- the places -------------------------------------------------------

    def places(self):
        """Data center, clusters, domains, hosts, networks, tags."""
        state = self.state
        self.dc = state.add_datacenter('Default')
        self.cluster = state.add_cluster('Default', self.dc)
        self.archive = state.add_cluster('archive', self.dc)
        self.domains = {}
        for name, path, size in (
            ('data_one', '/export/data_one', None),
            ('data_two', '/export/sub_dir/two', None),
            ('small', '/export/small', SMALL_DOMAIN),
        ):
            sd = new_id()
            self.storage.add_domain(sd, name, '10.0.0.1', path, size=size)
            self.domains[name] = state.add_domain(
                name, self.dc, '10.0.0.1', path, id=sd, master=name == 'data_one'
            )
        self.hosts = []
        for host in self.storage.hosts:
            if not hasattr(host, 'kind'):
                self.hosts.append(self.host_row(host, self.cluster, spm=not self.hosts))
        self.profile = state.add_vnicprofile('ovirtmgmt', 'ovirtmgmt', self.dc)
        self.nightly = state.add_tag('nightly')

    def host_row(self, host, cluster, spm):
        return self.state.add_host(
            host.name,
            host.address,
            cluster,
            ssh_port=host.ssh_port,
            public_key=host.hostkey_pub,
            fingerprint=host.fingerprint,
            id=host.id,
            spm=spm,
        )

    # -- disks ------------------------------------------------------------

    def raw_image(self, size, share, seed):
        path = os.path.join(self.scratch, '%d.raw' % seed)
        self.content.fill(path, size, share, seed)
        return path

    def disk(
        self, alias, domain, size, fmt, seed, share=0.35, sparse=True, exact=False, template=None
    ):
        """A base volume with content, and its row.  exact: the size is kept where vdsm would round
        it up."""
        sd, img, vol = self.domains[domain]['id'], new_id(), new_id()
        description = json.dumps({'DiskAlias': alias, 'DiskDescription': ''}, ensure_ascii=False)
        if exact:
            image = source = self.raw_image(size, share, seed)
            if fmt == 'cow':
                image = source + '.qcow2'
                qemu_img('convert', '-f', 'raw', '-O', 'qcow2', source, image)
                os.unlink(source)
            self.storage.import_volume(
                sd, img, vol, image, size, fmt, sparse, description=description
            )
        else:
            self.storage.create_volume(sd, img, vol, size, fmt, sparse, description=description)
            path = self.storage.volume_path(sd, img, vol)
            if fmt == 'cow':
                source = self.raw_image(size, share, seed)
                qemu_img('convert', '-n', '-f', 'raw', '-O', 'qcow2', source, path)
                os.unlink(source)
            else:
                self.content.fill(path, size, share, seed)
        return self.state.add_disk(alias, sd, fmt, sparse, size, vol, id=img, template=template)

    def thin_disk(self, alias, base):
        """A disk thin on a disk of a template: hard links of the base, and an empty child."""
        sd, img, vol = base['domain'], new_id(), new_id()
        self.storage.share_template(sd, base['id'], base['image_id'], img)
        self.storage.create_volume(
            sd,
            img,
            vol,
            base['provisioned_size'],
            'cow',
            True,
            parent=base['image_id'],
            description=json.dumps({'DiskAlias': alias, 'DiskDescription': ''}),
        )
        return self.state.add_disk(
            alias, sd, 'cow', True, base['provisioned_size'], vol, id=img, parent=base['image_id']
        )

    def scribble(self, disk, seed, count=12):
        """Write data, zeroes and discards into the leaf of a disk that no VM has open."""
        path = self.storage.volume_path(disk['domain'], disk['id'], disk['image_id'])
        self.scribble_file(path, disk, seed, count)

    def scribble_file(self, path, disk, seed, count):
        size = self.storage.capacity(disk['domain'], disk['id'], disk['image_id'])
        source = random.Random(seed)
        piece = 'piece-' + disk['id']
        with open(os.path.join(self.scratch, piece), 'wb') as out:
            out.write(self.content.piece(source, 256 * 1024))
        commands = []
        for number in range(count):
            offset = source.randrange(0, size // 4096) * 4096
            length = min(source.choice((4096, 65536, 131072, 524288)), size - offset) // 512 * 512
            if number % 3 == 0:
                commands.append(
                    'write -q -z %s %d %d' % ('-u' if number % 2 else '', offset, length)
                )
            elif number % 3 == 1:
                commands.append(
                    'discard -q %d %d' % (offset // 65536 * 65536, min(length, size - offset))
                )
            commands.append(
                'write -q -s %s %d %d'
                % (piece, (offset + length) % (size - 65536) // 512 * 512, 65536)
            )
        commands.append('write -q -s %s %d 512' % (piece, size - 512))
        done = subprocess.run(
            ['qemu-io', '-f', 'qcow2', '-d', 'unmap']
            + [w for c in commands for w in ('-c', c)]
            + [path],
            cwd=self.scratch,
            capture_output=True,
            text=True,
            timeout=60,
        )
        os.unlink(os.path.join(self.scratch, piece))
        if done.returncode or done.stdout.strip() or done.stderr.strip():
            raise StorageError('qemu-io: %s' % (done.stdout + done.stderr).strip())

    def snapshot(self, vm, description, disks):
        """A user's snapshot of a VM that does not run yet."""
        leaves = {}
        for disk in disks:
            leaf = new_id()
            self.storage.snapshot(vm['id'], [(disk['domain'], disk['id'], disk['image_id'], leaf)])
            leaves[disk['id']] = leaf
        self.state.add_snapshot(vm, description, leaves)

    def grow(self, disk, size):
        size = self.storage.resize(None, disk['domain'], disk['id'], disk['image_id'], size)
        with self.state.lock:
            disk['provisioned_size'] = size
            self.state.volumes[disk['image_id']]['provisioned_size'] = size

    # -- machines ---------------------------------------------------------

    def vm(self, name, disks, cluster=None, bus='virtio_scsi', **more):
        vm = self.state.add_vm(
            name,
            cluster or self.cluster,
            nics=[{'name': 'nic1', 'vnicprofile': self.profile}],
            **more
        )
        for index, disk in enumerate(disks):
            self.state.attach(
                vm, disk, bootable=index == 0, interface=bus if index else 'virtio_scsi'
            )
        self.storage.vms.guest(vm['id'], RATE_SUM / 6)
        return vm

    def run(self, machines):
        """Start VMs, on the hosts in turn."""
        for index, vm in enumerate(machines):
            host = self.hosts[index % len(self.hosts)]
            disks = []
            for img, attachment in vm['attachments'].items():
                disk = self.state.disks[img]
                if attachment['active']:
                    disks.append((disk['domain'], img, disk['image_id']))
            self.storage.vms.guest(vm['id'], self.rate_sum / len(machines))
            self.storage.vms.start(vm['id'], host['name'], disks, seed=index + 1)
            with self.state.lock:
                vm['status'] = 'up'
                vm['host'] = host['id']


# -- the machines: each function makes what it names and returns those that shall run ---------


def web(b):
    disk = b.disk('web01_Disk1', 'data_one', 100 * MIB, 'cow', 101, share=0.3)
    return [b.vm('web01', [disk], tags=[b.nightly], description='cow, running')]


def raw(b):
    sparse = b.disk('raw-sparse_Disk1', 'data_one', 96 * MIB, 'raw', 111, share=0.25)
    full = b.disk('raw-full_Disk1', 'data_two', 40 * MIB, 'raw', 112, sparse=False)
    b.vm('raw-full', [full], description='raw preallocated, stopped')
    return [b.vm('raw-sparse', [sparse], description='raw sparse, running')]


def several(b):
    disks = [
        # Enough data for two streams; the next disks need one.
        b.disk('db_system', 'data_one', 80 * MIB, 'cow', 121, share=0.6),
        b.disk('db_data', 'data_two', 48 * MIB, 'raw', 122, share=0.3),
        b.disk('db_log', 'data_two', 33 * MIB, 'cow', 123, share=0.3),
    ]
    return [
        b.vm(
            'db01',
            disks,
            bus='virtio',
            tags=[b.nightly],
            description='three disks on two domains, running',
        )
    ]


def thin(b):
    template = b.state.add_template('debian-base', b.cluster)
    base = b.disk(
        'debian-base_Disk1', 'data_one', 64 * MIB, 'cow', 131, share=0.3, template=template
    )
    machines = []
    for name, seed in (('thin01', 132), ('thin02', 133)):
        disk = b.thin_disk(name + '_Disk1', base)
        b.scribble(disk, seed)
        machines.append(b.vm(name, [disk], template=template, description='thin on a template'))
    return machines[:1]


def thin_raw(b):
    template = b.state.add_template('raw-base', b.cluster)
    base = b.disk(
        'raw-base_Disk1', 'data_two', 41 * MIB + 4096, 'raw', 134, share=0.4, template=template
    )
    disk = b.thin_disk('thin-raw_Disk1', base)
    b.scribble(disk, 135)
    b.vm('thin-raw', [disk], template=template, description='thin on a raw template, stopped')
    return []


def chains(b):
    cow = b.disk('snaps_Disk1', 'data_one', 72 * MIB, 'cow', 141, share=0.2)
    on_raw = b.disk('snaps_Disk2', 'data_two', 48 * MIB, 'raw', 142, share=0.2)
    vm = b.vm('snaps', [cow, on_raw], description='three snapshots of a user, running')
    for number, text in enumerate(('before update', 'after "update" & <reboot>', 'drei')):
        b.snapshot(vm, text, [cow, on_raw])
        if number == 1:
            b.grow(cow, 120 * MIB)
        b.scribble(cow, 143 + number)
        b.scribble(on_raw, 153 + number, count=6)
    return [vm]


def stopped(b):
    cow = b.disk('stopped_Disk1', 'data_two', 60 * MIB, 'cow', 161)
    b.vm('stopped', [cow], cluster=b.archive, description='stopped, in a cluster without hosts')
    base = b.disk('stopped-snap_Disk1', 'data_one', 32 * MIB, 'raw', 162)
    vm = b.vm('stopped-snap', [base], description='stopped, raw below a snapshot')
    b.snapshot(vm, 'only one', [base])
    b.scribble(base, 163)
    return []


def odd(b):
    sector = b.disk('odd_Disk1', 'data_one', 40 * MIB + 512, 'cow', 171, exact=True)
    page = b.disk('odd_Disk2', 'data_two', 70 * MIB + 12288, 'cow', 172, share=0.2)
    plain = b.disk('odd_Disk3', 'data_two', 32 * MIB + 1536, 'raw', 173, exact=True)
    b.vm('odd', [sector, page, plain], description='odd sizes, stopped')
    weird = b.disk(WEIRD_ALIAS, 'data_two', 35 * MIB + 65536 + 512, 'cow', 181, exact=True)
    return [
        b.vm(WEIRD_NAME, [weird], description='<needs> "quoting" & more\' $(x)', comment='ü & <b>')
    ]


def image(b):
    """A stopped VM with the qcow2 image that CHAINLIFT_LAB_IMAGE names, which is moved here."""
    path = os.environ['CHAINLIFT_LAB_IMAGE']
    info = json.loads(qemu_img('info', '--output=json', '-f', 'qcow2', path))
    sd, img, vol = b.domains['data_one']['id'], new_id(), new_id()
    size = info['virtual-size']
    b.storage.import_volume(sd, img, vol, path, size, 'cow', True)
    disk = b.state.add_disk('image_Disk1', sd, 'cow', True, size, vol, id=img)
    b.vm('image', [disk], description='an image from outside, stopped')
    return []


def tiny(b):
    """For runs of hundreds of cases: small disks under a snapshot of a user, which nobody else may
    touch, and a stopped VM beside it."""
    cow = b.disk('mini_Disk1', 'data_one', 40 * MIB, 'cow', 191, share=0.1)
    raw = b.disk('mini_Disk2', 'data_two', 34 * MIB + 1536, 'raw', 192, share=0.1, exact=True)
    vm = b.vm('mini', [cow, raw], description='small, running')
    b.snapshot(vm, 'of a user', [cow, raw])
    b.scribble(cow, 193)
    still = b.disk('still_Disk1', 'data_two', 12 * MIB, 'cow', 194, share=0.2)
    other = b.vm('still', [still], description='small, stopped')
    b.snapshot(other, 'also of a user', [still])
    b.scribble(still, 195, count=4)
    return [vm]


def mixed(b):
    """What a disk of a file domain can be, and a block domain cannot hold as it is."""
    cow = b.disk('mixed_Disk1', 'data_one', 40 * MIB, 'cow', 196, share=0.1)
    raw = b.disk('mixed_Disk2', 'data_two', 34 * MIB + 1536, 'raw', 197, share=0.1, exact=True)
    b.vm('mixed', [cow, raw], description='qcow2 and thin raw, stopped')
    return []


SETS = {
    'image': (image,),
    'mixed': (mixed,),
    'tiny': (tiny,),
    'none': (),
    'small': (web,),
    'pair': (web, several),
    'thin': (thin, thin_raw),
    'all': (web, several, thin, chains, raw, stopped, odd),
}


def build(state, storage, hosts, vm_set, block_set='none'):
    """Make the places, start the hosts that are down, make the VMs of the sets, start those that
    run; block_set is for the hosts that are machines.

    Returns when every guest writes.  When it raises the lab is of no use."""
    if vm_set not in SETS:
        raise ValueError('no set of VMs %s; there are: %s' % (vm_set, ' '.join(sorted(SETS))))
    plain = [host for host in hosts if not hasattr(host, 'kind')]
    if plain:
        build_plain(Builder(state, storage), plain, vm_set)
    if len(plain) < len(hosts):
        import blockinventory

        builder, machines = blockinventory.build(state, storage, block_set)
        builder.run(machines)
    os.rmdir(os.path.join(storage.lab_dir, 'scratch'))
    for host in hosts:
        host.note_baseline()


def build_plain(builder, hosts, vm_set):
    builder.places()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        booting = [pool.submit(host.start) for host in hosts if not host.pid()]
        groups = [pool.submit(make, builder) for make in SETS[vm_set]]
        for work in booting:
            work.result()
        machines = [vm for group in groups for vm in group.result()]
    builder.run(machines)
