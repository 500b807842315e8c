# SPDX-License-Identifier: Apache-2.0
"""The engine over the lab's real storage: what a backup and a restore do,
by hand, with the bytes compared.

    python3 tests/lab/test_cycle.py        (root; brings up a lab)"""

import filecmp
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.parse
import uuid
import xml.etree.ElementTree as ET

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import ctl                                          # noqa: E402
from stub import Client, strip                      # noqa: E402

LAB = os.path.join(HERE, 'lab.sh')


def lab(*args, check=True):
    return subprocess.run([LAB, *args], check=check, timeout=150,
                          stdout=subprocess.PIPE, text=True).stdout


class Lab:
    """One lab with a client that is logged in."""

    def __init__(self, vms='all'):
        self.top = tempfile.mkdtemp()
        self.clients = []
        self.dir = os.path.join(self.top, 'lab')
        lab('up', self.dir, '--vms', vms)
        with open(os.path.join(self.dir, 'labd.ready')) as source:
            self.ready = json.load(source)

    def client(self):
        port = urllib.parse.urlsplit(self.ready['url']).port
        client = Client(self.ready['ca_file'], port)
        self.clients.append(client)
        with open(self.ready['password_file']) as source:
            client.login(source.read().rstrip('\n'), self.ready['user'])
        return client

    def ctl(self, *args):
        return ctl.ask(self.dir, *args)

    def down(self):
        for client in self.clients:
            client.http.close()
        lab('down', self.dir)
        gone = not os.path.exists(self.dir)
        shutil.rmtree(self.top, ignore_errors=True)
        return gone


class Case(unittest.TestCase):
    vms = 'all'

    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(cls.vms)
        for name, seconds in (('locked', 0.1), ('tail', 0.1),
                              ('grace', 0.05)):
            cls.lab.ctl('delay', name, seconds)
        inventory = cls.lab.ctl('inventory')
        cls.domains = {row['id']: row for row in inventory['storagedomains']}
        cls.all_vms = {row['name']: row for row in inventory['vms']}

    @classmethod
    def tearDownClass(cls):
        assert cls.lab.down(), 'the lab left its directory'

    def setUp(self):
        self.c = self.lab.client()
        self.addCleanup(self.c.http.close)

    def ctl(self, *args):
        return self.lab.ctl(*args)

    def wait(self, test, limit=60.0):
        end = time.monotonic() + limit
        while not test():
            self.assertLess(time.monotonic(), end, 'not reached in time')
            time.sleep(0.05)

    def wait_jobs(self, correlation):
        path = '/jobs?search=correlation_id%3D' + correlation
        self.wait(lambda: all(job.findtext('status') != 'started'
                              for job in self.c.get(path)))

    def do(self, method, path, body=None, expect=(200, 201, 202)):
        """A call that may be refused as busy a few times."""
        end = time.monotonic() + 20
        while True:
            correlation = 't-' + uuid.uuid4().hex[:12]
            status, doc = self.c.call(method, path, body,
                                      Correlation_Id=correlation)
            if status != 409 or time.monotonic() > end:
                break
            time.sleep(0.1)
        self.assertIn(status, expect, ET.tostring(doc) if
                      isinstance(doc, ET.Element) else doc)
        return correlation, doc

    def snapshot(self, vm):
        correlation, doc = self.do(
            'POST', '/vms/%s/snapshots' % vm, '<snapshot><description>cycle'
            '</description><persist_memorystate>false</persist_memorystate>'
            '</snapshot>')
        path = '/vms/%s/snapshots/%s' % (vm, doc.get('id'))
        self.wait(lambda: self.c.get(path).findtext('snapshot_status')
                  == 'ok')
        self.wait_jobs(correlation)
        return doc.get('id')

    def remove(self, vm, snap):
        path = '/vms/%s/snapshots/%s' % (vm, snap)
        correlation, _ = self.do('DELETE', path)
        self.wait(lambda: self.c.call('GET', path)[0] == 404)
        self.wait_jobs(correlation)

    def volume_path(self, sd, img, vol):
        """The file of a volume, found by name below the lab's storage."""
        top = os.path.join(self.lab.dir, 'storage')
        for base in os.listdir(top):
            path = os.path.join(top, base, sd, 'images', img, vol)
            if os.path.exists(path):
                return path
        raise LookupError(vol)

    def clean(self):
        self.ctl('idle')
        self.assertEqual(self.ctl('extra'), [])


class Cycle(Case):
    def test_snapshot_is_the_oracle_and_leaves_no_trace(self):
        for name, row in sorted(self.all_vms.items()):
            with self.subTest(vm=name):
                before = self.ctl('fingerprint', name)
                snap = self.snapshot(row['id'])
                for disk in self.c.get('/vms/%s/snapshots/%s/disks'
                                       % (row['id'], snap)):
                    self.compare(row['id'], snap, disk)
                self.remove(row['id'], snap)
                self.assertEqual(self.ctl('fingerprint', name), before)
        self.clean()

    def compare(self, vm, snap, disk):
        img, vol = disk.get('id'), disk.findtext('image_id')
        sd = disk.find('storage_domains/storage_domain').get('id')
        # qemu resolves the bare backing name in the volume's own folder.
        path = self.volume_path(sd, img, vol)
        fmt = {'cow': 'qcow2', 'raw': 'raw'}[disk.findtext('format')]
        out = os.path.join(self.lab.top, 'flat.raw')
        subprocess.run(['qemu-img', 'convert', '-U', '-f', fmt, '-O', 'raw',
                        path, out], check=True, timeout=60)
        oracle = self.ctl('oracle', vm, snap, img)
        self.assertTrue(filecmp.cmp(out, oracle, shallow=False), img)
        os.unlink(out)
        os.unlink(oracle)

    def test_user_deletes_below_ours(self):
        vm = self.all_vms['snaps']['id']
        snap = self.snapshot(vm)
        oldest = self.ctl('add-snapshot', 'snaps', 'above ours')
        disks = self.c.get('/vms/%s/snapshots/%s/disks' % (vm, snap))
        volumes = {d.get('id'): d.findtext('image_id') for d in disks}
        below = [row for row in self.ctl('snapshots', 'snaps')][-3]
        self.ctl('remove-snapshot', 'snaps', below['id'])
        disks = self.c.get('/vms/%s/snapshots/%s/disks' % (vm, snap))
        moved = {d.get('id'): d.findtext('image_id') for d in disks}
        self.assertEqual(set(moved), set(volumes))
        for img in volumes:
            # Another volume carries the snapshot now: the one below.
            self.assertEqual(moved[img], below['disks'][img])
            chain = self.ctl('chain', 'snaps', img)
            self.assertIn(moved[img], chain)
            self.assertNotIn(volumes[img], chain)
        self.ctl('remove-snapshot', 'snaps', oldest)
        self.remove(vm, snap)
        # What a user removed is missed, nothing else.
        self.ctl('idle')
        self.assertEqual(self.ctl('extra'), [
            '- snapshot %s of VM %s (%s)' % (below['id'], vm,
                                             below['description'])])
        self.ctl('baseline')

    def test_restore_by_hand(self):
        source = self.all_vms['web01']
        snap = self.snapshot(source['id'])
        doc = self.c.get('/vms/%s/snapshots/%s?all_content=true'
                         % (source['id'], snap))
        ovf = strip(doc.findtext('initialization/configuration/data'))
        img = next(iter(source['attachments']))
        oracle = self.ctl('oracle', 'web01', snap, img)
        self.remove(source['id'], snap)
        disk = self.upload(oracle)
        vm = self.import_vm('restored-one', ovf)
        self.do('POST', '/vms/%s/diskattachments' % vm,
                '<disk_attachment><active>true</active><bootable>true'
                '</bootable><interface>virtio_scsi</interface>'
                '<disk id="%s"/></disk_attachment>' % disk)
        self.do('POST', '/vms/%s/start' % vm, '<action/>')
        self.wait(lambda: self.c.get('/vms/' + vm).findtext('status')
                  == 'up')
        self.remove(vm, self.snapshot(vm))
        self.do('POST', '/vms/%s/stop' % vm, '<action/>')
        self.wait(lambda: self.c.get('/vms/' + vm).findtext('status')
                  == 'down')
        self.do('DELETE', '/vms/' + vm)
        self.wait(lambda: self.c.call('GET', '/vms/' + vm)[0] == 404)
        self.clean()
        self.assertEqual(self.c.call('GET', '/disks/' + disk)[0], 404)

    def new_disk(self, size, fmt='cow'):
        sd = next(row['id'] for row in self.domains.values()
                  if row['name'] == 'data_one')
        disk, vol = str(uuid.uuid4()), str(uuid.uuid4())
        correlation, _ = self.do(
            'POST', '/disks', '<disk id="%s"><image_id>%s</image_id><alias>r'
            '</alias><format>%s</format><sparse>true</sparse>'
            '<provisioned_size>%d</provisioned_size><storage_domains>'
            '<storage_domain id="%s"/></storage_domains></disk>'
            % (disk, vol, fmt, size, sd))
        self.wait_jobs(correlation)
        self.assertEqual(self.c.get('/disks/' + disk).findtext('status'),
                         'ok')
        return disk, self.volume_path(sd, disk, vol)

    def transfer(self, disk):
        _, doc = self.do(
            'POST', '/imagetransfers', '<image_transfer><disk id="%s"/>'
            '<direction>upload</direction><inactivity_timeout>0'
            '</inactivity_timeout></image_transfer>' % disk)
        path = '/imagetransfers/' + doc.get('id')
        self.wait(lambda: self.c.get(path).findtext('phase')
                  == 'transferring')
        return path

    def finalize(self, path, phase):
        self.do('POST', path + '/finalize', '<action/>')
        self.wait(lambda: self.c.get(path).findtext('phase') == phase)

    def upload(self, raw):
        """A disk with the bytes of a raw image, written as the tool does:
        into the volume that the engine made."""
        disk, path = self.new_disk(os.path.getsize(raw))
        transfer = self.transfer(disk)
        with open(path + '.meta') as source:
            self.assertIn('LEGALITY=ILLEGAL\n', source.read())
        subprocess.run(['qemu-img', 'convert', '-n', '-f', 'raw', '-O',
                        'qcow2', raw, path], check=True, timeout=60)
        self.finalize(transfer, 'finished_success')
        with open(path + '.meta') as source:
            self.assertIn('LEGALITY=LEGAL\n', source.read())
        self.assertEqual(self.c.get('/disks/' + disk).findtext('status'),
                         'ok')
        self.ctl('idle')
        return disk

    def import_vm(self, name, ovf):
        vm = ET.Element('vm')
        ET.SubElement(vm, 'name').text = name
        ET.SubElement(ET.SubElement(vm, 'cluster'), 'name').text = 'Default'
        init = ET.SubElement(vm, 'initialization')
        ET.SubElement(init, 'regenerate_ids').text = 'true'
        conf = ET.SubElement(init, 'configuration')
        ET.SubElement(conf, 'type').text = 'ovf'
        ET.SubElement(conf, 'data').text = ovf
        return self.do('POST', '/vms', ET.tostring(vm))[1].get('id')

    def test_bad_upload_is_deleted(self):
        disk, path = self.new_disk(8 << 20)
        transfer = self.transfer(disk)
        subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', '-u', '-b',
                        '/etc/shadow', '-F', 'raw', path, '8M'], check=True,
                       timeout=60)
        self.finalize(transfer, 'finished_failure')
        self.assertEqual(self.c.call('GET', '/disks/' + disk)[0], 404)
        self.assertFalse(os.path.exists(os.path.dirname(path)))
        self.clean()

    def test_raw_and_extend(self):
        disk, path = self.new_disk(8 << 20, 'raw')
        self.do('PUT', '/disks/' + disk, '<disk><provisioned_size>%d'
                '</provisioned_size></disk>' % (16 << 20))
        self.wait(lambda: os.path.getsize(path) == 16 << 20)
        self.ctl('idle')
        self.assertEqual(self.c.get('/disks/' + disk).findtext(
            'provisioned_size'), str(16 << 20))
        self.do('DELETE', '/disks/' + disk)
        self.wait(lambda: self.c.call('GET', '/disks/' + disk)[0] == 404)
        self.clean()

    def test_false_success(self):
        vm = self.all_vms['web01']['id']
        self.ctl('false-success')
        snap = self.snapshot(vm)
        img = next(iter(self.all_vms['web01']['attachments']))
        frozen = self.c.get('/vms/%s/snapshots/%s/disks/%s'
                            % (vm, snap, img))
        sd = next(iter(frozen.iter('storage_domain'))).get('id')
        path = self.volume_path(sd, img, frozen.findtext('image_id'))
        # QEMU has it open for writing still: it refuses to share it.
        done = subprocess.run(['qemu-img', 'info', path],
                              capture_output=True, text=True, timeout=60)
        self.assertIn('lock', done.stderr)
        codes = [e.findtext('code') for e in self.c.get('/events?max=20')]
        self.assertIn('170', codes)
        # Only a restart of the VM mends it, as the event says.
        self.ctl('vm-stop', 'web01')
        self.remove(vm, snap)
        self.ctl('vm-start', 'web01')
        self.clean()


class Rough(Case):
    """Killed engines, clients that vanish, two labs at once."""

    vms = 'small'

    def test_two_labs(self):
        other = Lab('small')
        try:
            second = other.client()
            mine = self.c.ids('/vms')
            theirs = second.ids('/vms')
            self.assertEqual(len(set(mine) | set(theirs)), 2)
            self.assertEqual(second.call('GET', '/vms/' + mine[0])[0], 404)
            self.c.token, keep = second.token, self.c.token
            self.assertEqual(self.c.call('GET', '/vms')[0], 401)
            self.c.token = keep
            self.snapshot(mine[0])
            self.ctl('remove-snapshot', 'web01', 'latest')
            self.clean()
        finally:
            self.assertTrue(other.down())

    def test_client_killed_in_a_call(self):
        before = threading.active_count()
        self.ctl('stall', 'GET /hosts', 4, 0.5)
        for _ in range(4):
            client = self.lab.client()
            client.http.request('GET', '/ovirt-engine/api/hosts', headers={
                'Authorization': 'Bearer ' + client.token})
            client.http.sock.close()
        self.assertEqual(len(self.c.get('/vms')), 1)
        self.assertEqual(threading.active_count(), before)
        self.ctl('clear-faults')

    def test_down_while_requests_run(self):
        victim = Lab('small')
        client = victim.client()
        vm = client.ids('/vms')[0]
        victim.ctl('stall', 'GET /clusters', 1, 60)
        thread = threading.Thread(target=self.swallow, args=(
            client.call, 'GET', '/clusters'), daemon=True)
        thread.start()
        second = victim.client()
        second.call('POST', '/vms/%s/snapshots' % vm, '<snapshot>'
                    '<description>x</description><persist_memorystate>false'
                    '</persist_memorystate></snapshot>')
        begin = time.monotonic()
        self.assertTrue(victim.down())
        self.assertLess(time.monotonic() - begin, 15)
        thread.join(10)
        self.assertFalse(thread.is_alive())

    @staticmethod
    def swallow(call, *args):
        try:
            call(*args)
        except (OSError, http.client.HTTPException):
            pass

    def test_host_dies_and_returns(self):
        vm = self.c.get('/vms')[0]
        host = '/hosts/' + vm.find('host').get('id')
        name = self.c.get(host).findtext('name')

        def status(path, wanted):
            self.wait(lambda: self.c.get(path).findtext('status') == wanted)
        path = '/vms/' + vm.get('id')
        lab('host', self.lab.dir, name, 'kill')
        status(host, 'non_responsive')
        status(path, 'unknown')
        self.assertEqual(self.c.call(
            'POST', path + '/snapshots', '<snapshot><description>x'
            '</description><persist_memorystate>false</persist_memorystate>'
            '</snapshot>')[0], 409)
        lab('host', self.lab.dir, name, 'start')
        status(host, 'up')
        status(path, 'down')
        self.ctl('vm-start', 'web01')
        self.remove(vm.get('id'), self.snapshot(vm.get('id')))
        self.clean()

    def test_many_at_once(self):
        """Clients that are cut, engines that fail, snapshots that users
        take: at the end nothing is locked and nothing is left."""
        vm = self.c.ids('/vms')[0]
        before = self.ctl('fingerprint', 'web01')
        self.ctl('drop', 'GET /jobs', 5)
        self.ctl('fail', 'GET /vms/[^/]+/snapshots/', 5, 503)
        self.ctl('fail-task', 'snapshot')
        stop = time.monotonic() + 8
        threads = [threading.Thread(target=self.storm, args=(vm, stop))
                   for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        self.ctl('clear-faults')
        self.ctl('idle')
        for row in self.ctl('snapshots', 'web01'):
            self.assertEqual(row['status'], 'ok')
            self.ctl('remove-snapshot', 'web01', row['id'])
        self.assertEqual(self.ctl('fingerprint', 'web01'), before)
        self.clean()

    def storm(self, vm, stop):
        path = '/vms/%s/snapshots' % vm
        while time.monotonic() < stop:
            client = self.lab.client()
            try:
                client.call('POST', path, '<snapshot><description>s'
                            '</description><persist_memorystate>false'
                            '</persist_memorystate></snapshot>')
                for snap in client.ids(path)[1:]:
                    client.call('DELETE', path + '/' + snap)
                client.get('/jobs')
                client.get(path + '?all_content=true')
            except (OSError, http.client.HTTPException, AssertionError):
                pass
            client.http.close()

    def test_engine_killed(self):
        victim = Lab('small')
        client = victim.client()
        vm = client.ids('/vms')[0]
        client.call('POST', '/vms/%s/snapshots' % vm, '<snapshot>'
                    '<description>x</description><persist_memorystate>false'
                    '</persist_memorystate></snapshot>')
        os.kill(victim.ready['pid'], signal.SIGKILL)
        with self.assertRaises((OSError, http.client.HTTPException)):
            for _ in range(20):
                client.get('/vms')
                time.sleep(0.05)
        self.assertTrue(victim.down())


if __name__ == '__main__':
    if os.geteuid():
        print('skip: the lab needs root')
        sys.exit(77)
    unittest.main()
