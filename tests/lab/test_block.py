# SPDX-License-Identifier: Apache-2.0
"""The lab's block domains hold what they promise: test_block.py [--iscsi] [DIR [CASE...]].

Real LVM on shared LUNs, prepared and torn down as vdsm does; the hazards of a SAN happen; the
engine's storage actions do what the rows say; nothing stays.  DIR: use the lab that is up there.
--iscsi: the variant of the domain over iSCSI with two paths."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import uuid
import xml.etree.ElementTree as xml

import blockguest
import ctl
from hosts import Host

HERE = os.path.dirname(os.path.abspath(__file__))
API = os.path.join(HERE, '../e2e/api.py')
MIB = 1 << 20
EXTENT = 128 * MIB
WAIT_S = 120
LAB = None
REAL = '/usr/lib/lab/real/lvm'


def lab(*args, status=0):
    done = subprocess.run(['sh', HERE + '/lab.sh', *args], capture_output=True, text=True,
                          timeout=1800)
    if done.returncode != status:
        raise AssertionError('lab %s: %d: %s' % (args, done.returncode, done.stdout + done.stderr))
    return done.stdout


def until(test, what):
    end = time.monotonic() + WAIT_S
    while not (found := test()):
        if time.monotonic() > end:
            raise AssertionError('not reached in %d s: %s' % (WAIT_S, what))
        time.sleep(0.2)
    return found


class Base(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.env = {}
        with open(LAB + '/env') as source:
            for line in source:
                key, _, value = line.rstrip('\n').partition('=')
                cls.env[key] = value.strip("'")
        cls.one, cls.two = Host.load(LAB, 'b1'), Host.load(LAB, 'b2')
        rows = cls.rows()
        cls.sd = next(d['id'] for d in rows['storagedomains'] if d['name'] == 'block_one')
        cls.devices = ','.join('/dev/mapper/' + unit.get('id') for unit in cls.api(
            'GET', '/storagedomains/' + cls.sd).iter('logical_unit'))

    def tearDown(self):
        """Each case puts back what it changed."""
        self.assertEqual(lab('residue', LAB), '')

    @staticmethod
    def rows():
        return ctl.ask(LAB, 'inventory')

    @classmethod
    def call(cls, method, path, body):
        return subprocess.run(['python3', API, method, path] + ([body] if body else []),
                              capture_output=True, text=True, timeout=90,
                              env=dict(os.environ, **cls.env))

    @staticmethod
    def answer(done):
        assert done.returncode == 0, done.stderr
        return xml.fromstring(done.stdout)

    @classmethod
    def api(cls, method, path, body=None, refused=None):
        done = cls.call(method, path, body)
        if refused:
            assert done.returncode and refused in done.stderr, done.stdout + done.stderr
            return None
        return cls.answer(done)

    def disk(self, vm, number=1):
        return next(d for d in self.rows()['disks'] if d['alias'] == '%s_Disk%d' % (vm, number))

    def lvm(self, host, *args, status=0, binary=REAL):
        done = host.run([binary, args[0], '--devices', self.devices, *args[1:]], check=False)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def lv_size(self, vol):
        return int(self.lvm(self.one, 'lvs', '--noheadings', '--units', 'b', '--nosuffix', '-o',
                            'lv_size', self.sd + '/' + vol))

    def node(self, vol):
        return '/dev/%s/%s' % (self.sd, vol)

    def there(self, host, path):
        return host.run(['test', '-e', path], check=False).returncode == 0

    def add_disk(self, fmt, size, more=''):
        """-> the row of a new disk that belongs to no VM."""
        alias = 'new-' + uuid.uuid4().hex[:8]
        ident = self.api('POST', '/disks', (
            '<disk><alias>%s</alias><format>%s</format><sparse>%s</sparse>'
            '<provisioned_size>%d</provisioned_size>%s<storage_domains><storage_domain id="%s"/>'
            '</storage_domains></disk>') % (alias, fmt, 'true' if fmt == 'cow' else 'false', size,
                                            more, self.sd)).get('id')
        until(lambda: self.api('GET', '/disks/' + ident).findtext('status') == 'ok', 'disk ok')
        return next(d for d in self.rows()['disks'] if d['id'] == ident)

    def remove_disk(self, row):
        self.api('DELETE', '/disks/' + row['id'])
        until(lambda: all(d['id'] != row['id'] for d in self.rows()['disks']), 'disk removed')

    def begin(self, host, script):
        """Run a script in the background of a host: /run/lvm/done has its status in the end."""
        host.run(['rm', '-f', '/run/lvm/done'])
        host.run(['sh', '-c', '{ %s; echo $? >/run/lvm/status; mv /run/lvm/status /run/lvm/done; } '
                  '>/run/lvm/said 2>&1 &' % script])

    def ended(self, host):
        """-> (status, what was said) of it."""
        until(lambda: self.there(host, '/run/lvm/done'), 'the end of what was begun')
        return (int(host.run(['cat', '/run/lvm/done']).stdout),
                host.run(['cat', '/run/lvm/said']).stdout)

    def paths(self, host, wwid):
        """-> the states of a LUN's paths as multipath and the kernel have them, by name."""
        table = host.run(['multipathd', 'show', 'paths', 'raw', 'format', '%w %d %t %o']).stdout
        rows = (line.split(None, 2) for line in table.splitlines())
        return {row[1]: row[2] for row in rows if len(row) == 3 and row[0] == wwid}


class Block(Base):
    # -- the agent --------------------------------------------------------

    def test_agent_parts(self):
        """A request is whole when its first part is there before the word that the host side is."""
        each = 'for pid in $(pgrep -f lab/agent.py); do chrt %s -p %d $pid; done'
        self.two.run(['sh', '-ec', each % ('-f', 50)])
        for count in range(20):
            with blockguest.Port(self.two.dir, 30) as port:
                ask = json.dumps({'id': count, 'argv': ['echo', 'x' * 6000]}).encode()
                port.sock.sendall(b'\n' + ask[:5000])
                time.sleep(0.02)
                port.sock.sendall(ask[5000:] + b'\n')
                self.assertEqual(json.loads(port.line())['status'], 0)
            time.sleep(0.05)
        self.two.run(['sh', '-ec', each % ('-o', 0)])

    # -- what is there ----------------------------------------------------

    def test_layout(self):
        """Special LVs everywhere, master on the SPM; a running VM's chain on its host."""
        for host, master in ((self.one, True), (self.two, False)):
            for name in ('metadata', 'ids', 'inbox', 'outbox', 'leases', 'xleases'):
                self.assertTrue(self.there(host, self.node(name)), name)
            self.assertEqual(self.there(host, self.node('master')), master)
        tags = self.lvm(self.two, 'vgs', '--noheadings', '-o', 'vg_tags', self.sd)
        self.assertIn('RHAT_storage_domain', tags)
        self.assertIn('MDT_VERSION=5', tags)
        vol = self.disk('blk-cow')['image_id']
        img = self.disk('blk-cow')['id']
        self.assertTrue(self.there(self.one, '/run/vdsm/storage/%s/%s/%s' % (self.sd, img, vol)))
        self.assertFalse(self.there(self.two, self.node(vol)))
        owner = self.one.run(['stat', '-L', '-c', '%U:%G %a', self.node(vol)]).stdout.strip()
        self.assertEqual(owner, 'vdsm:qemu 660')
        off = self.disk('blk-off')['image_id']
        self.assertFalse(self.there(self.one, self.node(off)) or
                         self.there(self.two, self.node(off)))
        slot = re.search(r'MD_(\d+)', self.lvm(self.two, 'lvs', '-o', 'lv_tags',
                                               self.sd + '/' + vol)).group(1)
        text = self.two.run(['dd', 'if=' + self.node('metadata'), 'iflag=direct', 'bs=512',
                             'count=1', 'skip=%d' % (2048 + int(slot) * 16)]).stdout
        self.assertIn('CAP=%d\n' % ((1 << 30) + 4096), text)

    def test_variants(self):
        """A plain command sees the domain or not; the ways around work."""
        listing = ['-o', 'vg_name', '--noheadings', self.sd]
        wrapper = '/usr/sbin/lvm'
        self.lvm(self.two, 'vgs', *listing, binary=wrapper)
        for variant in ('el7', 'el8'):
            self.two.lvm(variant)
            done = self.two.run([wrapper, 'vgs', *listing], check=False)
            self.assertEqual(done.returncode, 5, variant)
            self.assertIn('not found', done.stderr)
            self.lvm(self.two, 'vgs', *listing, binary=wrapper,
                     status=3 if variant == 'el7' else 0)
        self.two.lvm('el7')
        accept = ''.join('"a|^%s$|",' % d for d in self.devices.split(','))
        config = 'devices { filter=[%s"r|.*|"] } global { locking_type=4 }' % accept
        done = self.two.run([wrapper, 'vgs', '--config', config, *listing])
        self.assertIn(self.sd, done.stdout)
        self.assertIn('2.02', self.two.run([wrapper, 'version']).stdout)
        self.assertIn('locking_type=4', self.two.run(['cat', '/run/lvm/asked']).stdout)
        self.two.lvm('plain')
        self.two.run([wrapper, 'vgs', *listing])

    # -- hazards ----------------------------------------------------------

    def test_stale_size(self):
        """An LV that the SPM extends stays short elsewhere until it is refreshed."""
        row = self.disk('blk-off')
        vol = row['image_id']
        ctl.ask(LAB, 'prepare', 'b2', 'blk-off', 'blk-off_Disk1')
        before = self.lv_size(vol)
        after = ctl.ask(LAB, 'extend-lv', 'blk-off', 'blk-off_Disk1', before + 1)
        self.assertEqual(after, before + EXTENT)

        def seen():
            return int(self.two.run(['blockdev', '--getsize64', self.node(vol)]).stdout)

        self.assertEqual(seen(), before)
        self.lvm(self.two, 'lvchange', '--available', 'y', self.sd + '/' + vol)
        self.assertEqual(seen(), before)
        self.lvm(self.two, 'lvchange', '--refresh', self.sd + '/' + vol)
        self.assertEqual(seen(), after)
        ctl.ask(LAB, 'teardown', 'b2', 'blk-off', 'blk-off_Disk1')

    def test_stale_cache_and_in_use(self):
        """While somebody holds a device open what was read stays, whatever the other host writes;
        and it can not be deactivated."""
        vol = self.disk('blk-off', 2)['image_id']
        for host in ('b1', 'b2'):
            ctl.ask(LAB, 'prepare', host, 'blk-off', 'blk-off_Disk2')
        node = self.node(vol)
        self.two.run(['sh', '-c', 'sleep 300 <%s >/dev/null 2>&1 & echo $! >/run/lvm/holder' % node])
        read = 'dd if=%s bs=4096 count=1 skip=5 %s 2>/dev/null | md5sum'
        old = self.two.run(['sh', '-c', read % (node, '')]).stdout
        self.one.run(['sh', '-c', 'head -c 4096 /dev/urandom | dd of=%s bs=4096 seek=5 '
                      'oflag=direct conv=notrunc iflag=fullblock' % node])
        self.assertEqual(self.two.run(['sh', '-c', read % (node, '')]).stdout, old)
        self.assertNotEqual(self.two.run(['sh', '-c', read % (node, 'iflag=direct')]).stdout, old)
        said = self.lvm(self.two, 'lvchange', '--available', 'n', self.sd + '/' + vol, status=5)
        self.assertIn('in use', said)
        self.two.run(['sh', '-c', 'kill $(cat /run/lvm/holder)'])
        for host in ('b1', 'b2'):
            ctl.ask(LAB, 'teardown', host, 'blk-off', 'blk-off_Disk2')

    def test_removed_under_us(self):
        """The SPM removes what another host has mapped: that host reads the next disk there."""
        row = self.add_disk('raw', MIB)
        vol = row['image_id']
        self.assertEqual(row['provisioned_size'], MIB)
        self.assertEqual(self.lv_size(vol), EXTENT)
        self.lvm(self.two, 'lvchange', '--available', 'y', self.sd + '/' + vol)
        read = ['dd', 'if=' + self.node(vol), 'bs=4096', 'skip=1', 'count=1', 'iflag=direct']
        self.assertIn('FOREIGN BYTES! ' + vol, self.two.run(read).stdout)
        self.remove_disk(row)
        other = self.add_disk('raw', MIB)
        self.assertIn('FOREIGN BYTES! ' + other['image_id'], self.two.run(read).stdout)
        self.assertIn('Failed to find logical volume', self.lvm(
            self.two, 'lvchange', '--available', 'n', self.sd + '/' + vol, status=5))
        name = next(n for n in self.two.look()[1] if n.endswith(vol.replace('-', '--')))
        self.assertIn('b2: mapping ' + name, lab('residue', LAB, status=1))
        self.two.run(['dmsetup', 'remove', name])
        self.remove_disk(other)

    def test_device_faults(self):
        """Errors at exact bytes; requests that wait."""
        vol = self.disk('blk-off', 2)['image_id']
        ctl.ask(LAB, 'prepare', 'b2', 'blk-off', 'blk-off_Disk2')
        read = 'dd if=%s of=/dev/null bs=4096 count=1 iflag=direct skip=%%d' % self.node(vol)
        lab('host', LAB, 'b2', 'lv-error', vol, str(16 * MIB), '4096')
        for skip, status in ((4095, 0), (4096, 1), (4097, 0)):
            done = self.two.run(['sh', '-c', read % skip], check=False)
            self.assertEqual(done.returncode, status, done.stderr)
            self.assertEqual('Input/output error' in done.stderr, bool(status), done.stderr)
        self.lvm(self.two, 'lvchange', '--available', 'y', self.sd + '/' + vol)
        self.assertIn(' -wi-a-----', self.lvm(self.two, 'lvs', '-o', 'lv_attr',
                                              self.sd + '/' + vol))
        lab('host', LAB, 'b2', 'lv-heal', vol)
        self.two.run(['sh', '-c', read % 4096])
        lab('host', LAB, 'b2', 'lv-suspend', vol)
        self.begin(self.two, read % 0)
        time.sleep(2)
        self.assertFalse(self.there(self.two, '/run/lvm/done'))
        lab('host', LAB, 'b2', 'lv-resume', vol)
        self.assertEqual(self.ended(self.two)[0], 0)
        ctl.ask(LAB, 'teardown', 'b2', 'blk-off', 'blk-off_Disk2')

    def test_lun_error(self):
        """Bytes of a LUN that can not be read: nobody else knows."""
        row = self.disk('blk-off', 2)
        vol = row['image_id']
        ctl.ask(LAB, 'prepare', 'b2', 'blk-off', 'blk-off_Disk2')
        read = 'dd if=%s of=/dev/null bs=4096 count=1 iflag=direct skip=%%d' % self.node(vol)
        lab('host', LAB, 'b2', 'lun-error', vol, str(16 * MIB), '4096')
        for action in (['--available', 'y'], ['--refresh']):
            self.lvm(self.two, 'lvchange', *action, self.sd + '/' + vol)
        for skip, status in ((4095, 0), (4096, 1), (4097, 0), (4096, 1)):
            done = self.two.run(['sh', '-c', read % skip], check=False)
            self.assertEqual(done.returncode, status, done.stderr)
        done = self.two.run(['sh', '-c', 'dd if=%s of=/dev/null bs=512 count=1 iflag=direct '
                             'skip=32775' % self.node(vol)], check=False)
        self.assertIn('No data available', done.stderr)
        self.one.run(['dd', 'if=/dev/mapper/' + self.devices.split(',')[0].split('/')[-1],
                      'of=/dev/null', 'bs=4096', 'count=1', 'iflag=direct'])
        for device in self.devices.split(','):
            self.assertEqual(set(self.paths(self.two, device.split('/')[-1]).values()),
                             {'active running'})
        self.lvm(self.two, 'lvs', self.sd + '/' + vol)
        lab('host', LAB, 'b2', 'lun-heal', vol)
        self.two.run(['sh', '-c', read % 4096])
        ctl.ask(LAB, 'teardown', 'b2', 'blk-off', 'blk-off_Disk2')

    def test_lun_hangs_and_is_lost(self):
        """Requests that wait while the path is well; no path: they wait, then fail, and it comes
        back."""
        vol = self.disk('blk-off', 2)['image_id']
        ctl.ask(LAB, 'prepare', 'b2', 'blk-off', 'blk-off_Disk2')
        (lun,) = {'lun1', 'lun2'} & set(self.two.luns_of(vol))
        wwid = self.two.wwids()[lun]
        read = 'dd if=%s of=/dev/null bs=4096 count=1 iflag=direct' % self.node(vol)
        lab('host', LAB, 'b2', 'lun-hang', vol)
        self.begin(self.two, read)
        time.sleep(3)
        self.assertFalse(self.there(self.two, '/run/lvm/done'))
        self.assertEqual(set(self.paths(self.two, wwid).values()), {'active running'})
        lab('host', LAB, 'b2', 'lun-heal', lun)
        self.assertEqual(self.ended(self.two)[0], 0)
        lab('host', LAB, 'b2', 'lun-lost', lun)
        self.begin(self.two, read)
        until(lambda: 'failed offline' in self.paths(self.two, wwid).values(), 'the path is lost')
        self.assertFalse(self.there(self.two, '/run/lvm/done'))
        status, said = self.ended(self.two)
        self.assertEqual(status, 1)
        self.assertIn('Input/output error', said)
        self.one.run(['dd', 'if=/dev/mapper/' + wwid, 'of=/dev/null', 'count=1', 'iflag=direct'])
        lab('host', LAB, 'b2', 'lun-heal', lun)
        until(lambda: self.two.run(['sh', '-c', read], check=False).returncode == 0, 'it is back')
        lab('host', LAB, 'b2', 'lun-hang', lun, '1')
        self.two.run(['sh', '-c', read])
        ctl.ask(LAB, 'teardown', 'b2', 'blk-off', 'blk-off_Disk2')

    # -- the engine -------------------------------------------------------

    def test_refusals_and_sizes(self):
        body = ('<disk><alias>x</alias><format>raw</format><sparse>true</sparse><provisioned_size>'
                '1048576</provisioned_size><storage_domains><storage_domain id="%s"/>'
                '</storage_domains></disk>') % self.sd
        self.api('POST', '/disks', body, refused='400')
        row = self.add_disk('cow', 1 << 30, '<initial_size>%d</initial_size>' % (200 * MIB))
        self.assertEqual(self.lv_size(row['image_id']), 2 * EXTENT)
        self.assertFalse(self.there(self.one, self.node(row['image_id'])))
        self.remove_disk(row)

    def transfer(self, row):
        host = next(h['id'] for h in self.rows()['hosts'] if h['name'] == 'b2')
        body = ('<image_transfer><disk id="%s"/><direction>upload</direction><host id="%s"/>'
                '<inactivity_timeout>0</inactivity_timeout></image_transfer>') % (row['id'], host)

        def begin():
            """What has made the disk may keep its lock a moment longer than the status tells."""
            done = self.call('POST', '/imagetransfers', body)
            return 'are locked' not in done.stderr and self.answer(done).get('id')

        path = '/imagetransfers/' + until(begin, 'a transfer')
        until(lambda: self.api('GET', path).findtext('phase') == 'transferring', 'transferring')
        return path

    def legality(self, vol):
        slot = re.search(r'MD_(\d+)', self.lvm(self.one, 'lvs', '-o', 'lv_tags',
                                               self.sd + '/' + vol)).group(1)
        text = self.one.run(['dd', 'if=' + self.node('metadata'), 'iflag=direct', 'bs=512',
                             'count=1', 'skip=%d' % (2048 + int(slot) * 16)]).stdout
        return re.search(r'LEGALITY=(\w+)', text).group(1)

    def test_transfer(self):
        """A hold: ILLEGAL and active on its host; finalized, LEGAL and not; cancelled, gone."""
        row = self.add_disk('cow', 64 * MIB)
        vol = row['image_id']
        path = self.transfer(row)
        self.assertEqual(self.legality(vol), 'ILLEGAL')
        self.assertTrue(self.there(self.two, self.node(vol)))
        self.api('POST', path + '/finalize', '<action/>')
        until(lambda: self.api('GET', path).findtext('phase') == 'finished_success', 'finished')
        self.assertEqual(self.legality(vol), 'LEGAL')
        self.assertFalse(self.there(self.two, self.node(vol)))
        path = self.transfer(row)
        self.api('POST', path + '/cancel', '<action/>')
        until(lambda: all(d['id'] != row['id'] for d in self.rows()['disks']), 'disk gone')

    def test_live_snapshot(self):
        """The oracle is what QEMU in the guest reads of the frozen chain; then the live merge."""
        disk = self.disk('blk-thin')
        host = next(h['name'] for h in self.rows()['hosts'] for v in self.rows()['vms']
                    if v['name'] == 'blk-thin' and v['host'] == h['id'])
        ctl.ask(LAB, 'add-snapshot', 'blk-thin', 'live')
        chain = ctl.ask(LAB, 'chain', 'blk-thin', 'blk-thin_Disk1')
        self.assertEqual(len(chain), 3)
        with open(ctl.ask(LAB, 'oracle', 'blk-thin', 'live', 'blk-thin_Disk1'), 'rb') as source:
            oracle = hashlib.file_digest(source, 'sha256').hexdigest()
        frozen = '/rhev/data-center/mnt/blockSD/%s/images/%s/%s' % (self.sd, disk['id'], chain[1])
        guest = Host.load(LAB, host)
        found = guest.run(['sh', '-c', 'qemu-img convert -U -f qcow2 -O raw %s /tmp/frozen && '
                           'sha256sum /tmp/frozen; rm -f /tmp/frozen' % frozen], timeout=180)
        self.assertEqual(found.stdout.split()[0], oracle)
        self.assertEqual(lab('residue', LAB, status=1).count('\n'), 1)
        ctl.ask(LAB, 'remove-snapshot', 'blk-thin', 'live')
        self.assertEqual(ctl.ask(LAB, 'chain', 'blk-thin', 'blk-thin_Disk1'), chain[1:])

    def test_cold_merge(self):
        before = self.disk('blk-old')
        ctl.ask(LAB, 'add-snapshot', 'blk-old', 'cold')
        self.assertEqual(len(ctl.ask(LAB, 'chain', 'blk-old', 'blk-old_Disk1')), 2)
        ctl.ask(LAB, 'remove-snapshot', 'blk-old', 'cold')
        self.assertEqual(self.disk('blk-old')['image_id'], before['image_id'])

    def test_start_and_stop(self):
        """A VM on the host that is asked for; a power loss of that host; back again."""
        ctl.ask(LAB, 'vm-start', 'blk-snaps', 'b2')
        vol = self.disk('blk-snaps')['image_id']
        self.assertTrue(self.there(self.two, self.node(vol)))
        ctl.ask(LAB, 'vm-stop', 'blk-snaps')
        self.assertFalse(self.there(self.two, self.node(vol)))

    def test_zz_power_loss(self):
        """The last case: VMs of that host end with it.  It is back before the engine looks."""
        told = max([0] + [int(e['id']) for e in ctl.ask(LAB, 'events')])
        ctl.ask(LAB, 'vm-start', 'blk-off', 'b2')
        boot = self.two.run(['cat', '/proc/sys/kernel/random/boot_id']).stdout
        with open(LAB + '/labd.ready') as source:
            labd = json.load(source)['pid']
        os.kill(labd, signal.SIGSTOP)
        try:
            self.two.kill()
            self.two.start()
        finally:
            os.kill(labd, signal.SIGCONT)
        ctl.ask(LAB, 'look', timeout=600)
        self.assertNotEqual(self.two.run(['cat', '/proc/sys/kernel/random/boot_id']).stdout, boot)
        self.assertTrue(self.there(self.two, self.node('metadata')))
        rows = self.rows()
        self.assertEqual(next(h['status'] for h in rows['hosts'] if h['name'] == 'b2'), 'up')
        self.assertEqual({v['name']: v['status'] for v in rows['vms']}['blk-off'], 'down')
        codes = [e['code'] for e in ctl.ask(LAB, 'events', told)]
        self.assertLess(codes.index(12), codes.index(13))


class Iscsi(Base):
    """The LUN of block_one comes from the san, by two portals."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.wwid = cls.devices.split('/')[-1]

    def setUp(self):
        """An LV that b2 reads."""
        ctl.ask(LAB, 'prepare', 'b2', 'blk-off', 'blk-off_Disk2')
        self.read = 'dd if=%s of=/dev/null bs=1M count=4 iflag=direct' % self.node(
            self.disk('blk-off', 2)['image_id'])

    def both_paths(self):
        """Of both hosts."""
        for host in (self.one, self.two):
            until(lambda: list(self.paths(host, self.wwid).values()) == ['active running'] * 2,
                  'two paths of ' + host.name)

    def tearDown(self):
        self.both_paths()
        ctl.ask(LAB, 'teardown', 'b2', 'blk-off', 'blk-off_Disk2')
        super().tearDown()

    def test_one_lun(self):
        """What one host writes the other reads; VMs run on it."""
        self.both_paths()
        for host in (self.one, self.two):
            said = host.run(['multipath', '-ll', self.wwid]).stdout
            self.assertEqual(said.count('active ready running'), 2, said)
            sessions = host.run(['iscsiadm', '-m', 'session']).stdout
            self.assertEqual(sessions.count('iqn.2026-11.lab:target'), 2, sessions)
        vol = self.disk('blk-off', 2)['image_id']
        ctl.ask(LAB, 'prepare', 'b1', 'blk-off', 'blk-off_Disk2')
        mark = uuid.uuid4().hex
        self.one.run(['dd', 'of=' + self.node(vol), 'bs=512', 'seek=9', 'conv=sync,notrunc',
                      'oflag=direct'], input=mark)
        ctl.ask(LAB, 'teardown', 'b1', 'blk-off', 'blk-off_Disk2')
        found = self.two.run(['dd', 'if=' + self.node(vol), 'bs=512', 'skip=9', 'count=1',
                              'iflag=direct']).stdout
        self.assertEqual(found.rstrip('\0'), mark)
        running = {v['name'] for v in self.rows()['vms'] if v['status'] == 'up'}
        self.assertEqual(running, {'blk-cow', 'blk-raw', 'blk-thin'})

    def test_one_path(self):
        """Reads go on, on either path."""
        for number in ('1', '2'):
            self.begin(self.two, 'while [ ! -e /run/lvm/stop ]; do %s || exit 7; '
                       'echo >>/run/lvm/count; done' % self.read)
            lab('san', LAB, 'portal-down', number)
            states = until(lambda: len(found := set(self.paths(self.two, self.wwid).values())) == 2
                           and found, 'one path is lost')
            self.assertIn('active running', states)
            count = self.there(self.two, '/run/lvm/count') and self.reads()
            until(lambda: self.reads() > count + 1, 'reads on one path')
            lab('san', LAB, 'portal-up', number)
            self.both_paths()
            self.two.run(['touch', '/run/lvm/stop'])
            status, said = self.ended(self.two)
            self.assertEqual(status, 0, said)
            self.two.run(['rm', '-f', '/run/lvm/stop', '/run/lvm/count'])

    def reads(self):
        return int(self.two.run(['sh', '-c', 'wc -l </run/lvm/count || echo 0']).stdout)

    def test_no_path(self):
        """An error within a bounded time; then all is well again."""
        lab('san', LAB, 'freeze')
        try:
            self.begin(self.two, self.read)
            status, said = self.ended(self.two)
        finally:
            lab('san', LAB, 'thaw')
        self.assertEqual(status, 1)
        self.assertIn('Input/output error', said)
        self.both_paths()
        self.two.run(['sh', '-c', self.read])
        self.lvm(self.one, 'lvs', self.sd)
        self.lvm(self.two, 'lvs', self.sd)

    def test_cut(self):
        """One host without paths: an error there, the other reads, and ssh goes on."""
        lab('san', LAB, 'cut', 'b2')
        try:
            self.begin(self.two, self.read)
            self.one.run(['dd', 'if=/dev/mapper/' + self.wwid, 'of=/dev/null', 'bs=1M', 'count=4',
                          'iflag=direct'])
            self.assertEqual(lab('run', LAB, 'b2', 'hostname').strip(), 'b2')
            status, said = self.ended(self.two)
            self.assertEqual(list(self.paths(self.one, self.wwid).values()),
                             ['active running'] * 2)
        finally:
            lab('san', LAB, 'join', 'b2')
        self.assertEqual(status, 1)
        self.assertIn('Input/output error', said)
        self.both_paths()
        self.two.run(['sh', '-c', self.read])

    def test_zz_restart(self):
        """A new guest logs in again."""
        ctl.ask(LAB, 'teardown', 'b2', 'blk-off', 'blk-off_Disk2')
        lab('host', LAB, 'b2', 'kill')
        lab('host', LAB, 'b2', 'start')
        ctl.ask(LAB, 'prepare', 'b2', 'blk-off', 'blk-off_Disk2')
        self.two.run(['sh', '-c', self.read])


def main(argv):
    global LAB
    cases, block = Block, 'all'
    if argv[:1] == ['--iscsi']:
        argv, cases, block = argv[1:], Iscsi, 'iscsi'
    with tempfile.TemporaryDirectory() as work:
        LAB = argv[0] if argv else os.path.join(work, 'lab')
        try:
            if not argv:
                begin = time.monotonic()
                print(lab('up', LAB, '--hosts', '0', '--guests', '2', '--block', block), end='',
                      flush=True)
                print('first up took %.0f s' % (time.monotonic() - begin), flush=True)
            load = unittest.defaultTestLoader
            suite = load.loadTestsFromTestCase(cases)
            if argv[1:]:
                suite = load.loadTestsFromNames(argv[1:], cases)
            good = unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful()
        finally:
            if not argv:
                lab('down', LAB)
        if not argv:
            left = subprocess.run(['pgrep', '-f', work], capture_output=True, text=True).stdout
            if left or os.path.exists(LAB):
                print('FAIL: left behind: %s' % left)
                good = False
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
