# SPDX-License-Identifier: Apache-2.0
"""Running VMs: one qemu-storage-daemon and one guest writer a VM, both inside a host's namespaces.

The daemon has the same block layer as QEMU: the chain of each disk is open as a hypervisor has it
open, the leaf for writing, everything below for reading, and the guest's I/O comes through an NBD
export of the leaf's node that follows snapshots and commits.  It runs as qemu (107) with the group
kvm, like VMs of libvirt on an oVirt host.
"""

import json
import os
import threading
import time

import hosts as hypervisors
from qmp import QmpError
from volumes import StorageError

QEMU_USER = (107, 107, (36,))
RUN = '/run/libvirt/qemu'
BOOT_TIMEOUT = 60
JOB_TIMEOUT = 120


class VmError(Exception):
    """QEMU refused, or a VM is not as it should be; str() is one line."""


class Vm:
    """One running VM: disks is a dict IMG -> [index, sd, [(vol, node), ...] leaf first]."""

    def __init__(self, vm_id, host, seed, rate):
        self.id = vm_id
        self.host = host
        self.seed = seed
        self.rate = rate
        self.disks = {}
        self.lock = threading.RLock()
        self.process = None
        self.counter = 0

    def file(self, end):
        return '%s/%s.%s' % (RUN, self.id, end)

    def new_node(self):
        self.counter += 1
        return 'n%d' % self.counter

    def alive(self):
        return self.process is not None and self.host.lives(self.process)

    def qmp(self):
        try:
            return self.host.qmp(self.file('qmp'))
        except (QmpError, hypervisors.HostError) as error:
            raise VmError('VM %s: %s' % (self.id, error))


class Vms:
    """The running VMs of one lab; storage.vms.  All ids are plain UUID strings."""

    def __init__(self, storage):
        self.storage = storage
        self.guard = threading.Lock()
        self.table = {}
        self.rates = {}

    # -- life -------------------------------------------------------------

    def guest(self, vm_id, rate):
        """From its next start on the guest of VM does so many operations a second.  A VM of which
        nothing was said has a guest that writes nothing: a restored one keeps the bytes that it was
        given."""
        self.rates[vm_id] = rate

    def start(self, vm_id, host_name, disks, seed=0):
        """Start VM on the host; disks = [(sd, img, leaf_vol)] are the plugged ones.  Returns when
        the guest writes."""
        host = self._host(host_name)
        rate = self.rates.get(vm_id, 0)
        vm = Vm(vm_id, host, seed, rate)
        with self.guard:
            old = self.table.get(vm_id)
            if old and old.alive():
                raise VmError('VM %s runs already' % vm_id)
            self.table[vm_id] = vm
        with vm.lock:
            try:
                for sd, img, vol in disks:
                    self.storage.prepare(host.name, sd, img, vol)
                self._boot(vm, disks)
            except (hypervisors.HostError, StorageError, OSError) as error:
                self._reap(vm)
                self._teardown(vm, disks)
                raise VmError('VM %s: %s; %s' % (vm_id, error, self._log(vm)))

    def stop(self, vm_id):
        """Power off; returns when the volumes are closed."""
        vm = self.table.get(vm_id)
        if not vm:
            return
        with vm.lock:
            if vm.alive():
                try:
                    with vm.qmp() as qmp:
                        qmp.command('quit')
                except (VmError, QmpError):
                    pass
                self._wait_dead(vm, 10)
            self._reap(vm)
            self._teardown(vm, [(sd, img, None) for img, (_, sd, _) in vm.disks.items()])
        with self.guard:
            if self.table.get(vm_id) is vm:
                del self.table[vm_id]

    def migrate(self, vm_id, host_name):
        """Stop on one host and go on on the other."""
        vm = self._running(vm_id)
        with vm.lock:
            disks = [(sd, img, chain[0][0]) for img, (_, sd, chain) in vm.disks.items()]
            self.stop(vm_id)
            self.start(vm_id, host_name, disks, vm.seed + 1)

    def is_running(self, vm_id):
        """-> bool; False also after the host or the process died."""
        vm = self.table.get(vm_id)
        return bool(vm and vm.alive())

    def has_disk(self, vm_id, img):
        """-> whether the VM runs with this disk plugged."""
        return self.is_running(vm_id) and img in self.table[vm_id].disks

    def host_of(self, vm_id):
        """-> host name or None."""
        return self.table[vm_id].host.name if self.is_running(vm_id) else None

    # -- disks ------------------------------------------------------------

    def plug(self, vm_id, sd, img, vol):
        """Hot-plug a disk (no guest writes to it)."""
        vm = self._running(vm_id)
        self.storage.prepare(vm.host.name, sd, img, vol)
        with vm.lock, vm.qmp() as qmp:
            nodes, chain = self._nodes(vm, sd, img, vol)
            added = []
            try:
                for node in nodes:
                    qmp.command('blockdev-add', **node)
                    added.append(node['node-name'])
                self._export(qmp, 'x' + chain[0][1], img, chain)
            except QmpError as error:
                for name in reversed(added):
                    qmp.command('blockdev-del', node_name=name)
                raise VmError('VM %s: plug disk %s: %s' % (vm_id, img, error))
            vm.disks[img] = ['x' + chain[0][1], sd, chain]

    def unplug(self, vm_id, img):
        """Hot-unplug a disk."""
        vm = self._running(vm_id)
        with vm.lock, vm.qmp() as qmp:
            if img not in vm.disks:
                raise VmError('VM %s: disk %s is not plugged' % (vm_id, img))
            export, sd, chain = vm.disks[img]
            try:
                self._unexport(qmp, export)
                for _vol, node in chain:
                    self._close(qmp, node)
            except QmpError as error:
                raise VmError('VM %s: unplug disk %s: %s' % (vm_id, img, error))
            del vm.disks[img]
        self.storage.teardown(vm.host.name, sd, img)

    def switch(self, vm_id, pairs):
        """Live snapshot: pairs = [(sd, img, old_vol, new_vol)]; all plugged disks in one
        transaction."""
        vm = self._running(vm_id)
        for sd, img, _old, new in pairs:
            if img in vm.disks:
                self.storage.prepare(vm.host.name, sd, img, new)
        with vm.lock, vm.qmp() as qmp:
            added = []
            actions = []
            done = []
            try:
                for sd, img, old, new in pairs:
                    if img not in vm.disks:
                        continue
                    leaf, node = vm.disks[img][2][0]
                    if leaf != old:
                        raise VmError('VM %s writes into %s, not into %s' % (vm_id, leaf, old))
                    name = vm.new_node()
                    for part in self._layer(sd, img, new, 'qcow2', name, None, True):
                        qmp.command('blockdev-add', **part)
                        added.append(part['node-name'])
                    actions.append(
                        {'type': 'blockdev-snapshot', 'data': {'node': node, 'overlay': name}}
                    )
                    done.append((img, new, name))
                if actions:
                    qmp.command('transaction', actions=actions)
            except (QmpError, VmError) as error:
                for name in reversed(added):
                    qmp.command('blockdev-del', node_name=name)
                raise VmError(str(error))
            for img, new, name in done:
                vm.disks[img][2].insert(0, (new, name))

    def commit(self, vm_id, img, base_vol, child_vol, active):
        """Live merge of child_vol into base_vol; active: child_vol is the leaf."""
        vm = self._running(vm_id)
        with vm.lock, vm.qmp() as qmp:
            chain = vm.disks[img][2]
            nodes = dict(chain)
            job = 'merge-' + vm.new_node()
            more = {} if active else {'top_node': nodes[child_vol], 'backing_file': base_vol}
            try:
                qmp.command(
                    'block-commit',
                    job_id=job,
                    device=chain[0][1],
                    base_node=nodes[base_vol],
                    **more
                )
                ours = lambda data: data.get('device') == job
                ends = ('BLOCK_JOB_COMPLETED', 'BLOCK_JOB_CANCELLED', 'BLOCK_JOB_READY')
                name, data = qmp.wait(ends, ours, JOB_TIMEOUT)
                if name == 'BLOCK_JOB_READY':
                    qmp.command('job-complete', id=job)
                    name, data = qmp.wait(ends[:2], ours, JOB_TIMEOUT)
                if name != 'BLOCK_JOB_COMPLETED' or data.get('error'):
                    raise VmError(
                        'VM %s: merge of %s: %s'
                        % (vm_id, child_vol, data.get('error', 'cancelled'))
                    )
                qmp.wait(
                    ('JOB_STATUS_CHANGE',),
                    lambda d: d['id'] == job and d['status'] == 'null',
                    JOB_TIMEOUT,
                )
                self._close(qmp, nodes[child_vol])
            except QmpError as error:
                raise VmError('VM %s: merge of %s: %s' % (vm_id, child_vol, error))
            chain.remove((child_vol, nodes[child_vol]))

    def resize(self, vm_id, img, cap):
        """Live growth.  The export forbids it, so that it goes for a moment; the guest connects
        again."""
        vm = self._running(vm_id)
        with vm.lock, vm.qmp() as qmp:
            export, _sd, chain = vm.disks[img]
            try:
                self._unexport(qmp, export)
                try:
                    qmp.command('block_resize', node_name=chain[0][1], size=cap)
                finally:
                    self._export(qmp, export, img, chain)
            except QmpError as error:
                raise VmError('VM %s: resize disk %s: %s' % (vm_id, img, error))

    # -- inner workings ---------------------------------------------------

    def _host(self, name):
        for host in self.storage.hosts:
            if name in (host.name, host.id):
                return host
        raise VmError('no host %s' % name)

    def _running(self, vm_id):
        vm = self.table.get(vm_id)
        if not vm or not vm.alive():
            raise VmError('VM %s does not run' % vm_id)
        return vm

    def _layer(self, sd, img, vol, driver, name, backing, writable):
        """The two block nodes of one volume: the file, which is opened for writing only while it
        must be, and the format."""
        cache = {'direct': self.storage.can_direct(sd, img, vol), 'no-flush': False}
        yield {
            'driver': self.storage.protocol(sd),
            'node-name': name + 'f',
            'filename': self.storage.host_path(sd, img, vol),
            'auto-read-only': True,
            'discard': 'unmap',
            'aio': 'threads',
            'cache': cache,
        }
        node = {
            'driver': driver,
            'node-name': name,
            'file': name + 'f',
            'read-only': not writable,
            'discard': 'unmap',
            'cache': cache,
        }
        if driver == 'qcow2':
            node['backing'] = backing
        yield node

    def _nodes(self, vm, sd, img, vol):
        """-> (the nodes of a chain, base first; [(vol, node)], leaf first)."""
        nodes = []
        chain = []
        below = None
        for name in reversed(self.storage.chain(sd, img, vol)):
            driver = {'COW': 'qcow2', 'RAW': 'raw'}[
                self.storage.volume_meta(sd, img, name)['FORMAT']
            ]
            node = vm.new_node()
            nodes += self._layer(sd, img, name, driver, node, below, name == vol)
            chain.insert(0, (name, node))
            below = node
        return nodes, chain

    def _boot(self, vm, disks):
        argv = [
            'qemu-storage-daemon',
            '--pidfile',
            vm.file('pid'),
            '--daemonize',
            '--chardev',
            'socket,id=c,path=%s,server=on,wait=off' % vm.file('qmp'),
            '--monitor',
            'chardev=c',
            '--nbd-server',
            'addr.type=unix,addr.path=' + vm.file('nbd'),
        ]
        exports = []
        for sd, img, vol in disks:
            nodes, chain = self._nodes(vm, sd, img, vol)
            for node in nodes:
                argv += ['--blockdev', json.dumps(node)]
            export = 'x' + chain[0][1]
            exports += [
                '--export',
                json.dumps(
                    {
                        'type': 'nbd',
                        'id': export,
                        'node-name': chain[0][1],
                        'name': img,
                        'writable': True,
                    }
                ),
            ]
            vm.disks[img] = [export, sd, chain]
        vm.host.run(['rm', '-f'] + [vm.file(end) for end in ('pid', 'qmp', 'nbd', 'guest.pid')])
        vm.host.run(argv + exports, timeout=BOOT_TIMEOUT, user=QEMU_USER)
        self._find(vm)
        if disks and vm.rate:
            vm.host.run(
                [
                    '/usr/bin/python3',
                    '/usr/lib/lab/writer.py',
                    vm.file('nbd'),
                    vm.file('guest.pid'),
                    str(vm.seed),
                    str(vm.rate),
                ]
                + [img for _sd, img, _vol in disks],
                timeout=BOOT_TIMEOUT,
                user=QEMU_USER,
            )

    def _find(self, vm):
        """The daemon's pid as the machine numbers it."""
        deadline = time.monotonic() + BOOT_TIMEOUT
        while True:
            try:
                vm.process = vm.host.find_process(vm.file('pid'))
                return
            except (OSError, ValueError, LookupError) as error:
                if time.monotonic() > deadline:
                    raise hypervisors.HostError('qemu-storage-daemon did not start: %s' % error)
            time.sleep(0.02)

    @staticmethod
    def _export(qmp, export, img, chain):
        qmp.command(
            'block-export-add',
            type='nbd',
            id=export,
            node_name=chain[0][1],
            name=img,
            writable=True,
        )

    @staticmethod
    def _unexport(qmp, export):
        qmp.command('block-export-del', id=export, mode='hard')
        qmp.wait(('BLOCK_EXPORT_DELETED',), lambda data: data['id'] == export)

    def _close(self, qmp, node):
        """Remove a format node and its file node, which QEMU may hold for a moment longer."""
        for name in (node, node + 'f'):
            deadline = time.monotonic() + 10
            while True:
                try:
                    qmp.command('blockdev-del', node_name=name)
                    break
                except QmpError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.02)

    def _wait_dead(self, vm, timeout):
        deadline = time.monotonic() + timeout
        while vm.alive():
            if time.monotonic() > deadline:
                vm.host.end_process(vm.process)
                deadline += 10
            time.sleep(0.01)

    def _reap(self, vm):
        """Whatever is left of a VM on its host goes."""
        if vm.alive():
            vm.host.end_process(vm.process)
            self._wait_dead(vm, 10)
        if vm.host.pid():
            vm.host.run(
                [
                    'sh',
                    '-c',
                    'kill -9 $(cat "$1.guest.pid" 2>/dev/null) 2>/dev/null; '
                    'rm -f "$1.pid" "$1.qmp" "$1.nbd" "$1.guest.pid"',
                    'sh',
                    '%s/%s' % (RUN, vm.id),
                ],
                check=False,
            )

    def _teardown(self, vm, disks):
        for sd, img, _vol in disks:
            self.storage.teardown(vm.host.name, sd, img)

    def _log(self, vm):
        return 'console of %s: %s' % (
            vm.host.name,
            hypervisors.tail(os.path.join(vm.host.dir, 'console.log'), 3),
        )
