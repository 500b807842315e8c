# SPDX-License-Identifier: Apache-2.0
"""The engine client against the lab's engine: normal work, and every way in
which an engine answers late, wrongly or not at all."""

import os
import subprocess
import sys
import tempfile
import time
import unittest
import uuid

sys.dont_write_bytecode = True
TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, 'tests', 'lab'))

from stub import API, GIB, PASSWORD, USER, Base     # noqa: E402

PROGRAM = os.path.join(os.environ.get('BUILD', os.path.join(TOP, 'build')),
                       'tests', 'e2e', 'engine_drive')


def open_text(path):
    with open(path) as source:
        return source.read()


class Drive:
    """One engine_drive; run() is one command."""

    def __init__(self, url, ca, password=PASSWORD, retry=5, busy=5, poll=40,
                 user=USER):
        self.log = tempfile.NamedTemporaryFile('w+', prefix='drive-')
        self.process = subprocess.Popen(
            [PROGRAM, url, ca, user, password, 'r%s' % uuid.uuid4().hex[:6],
             str(poll), str(retry), str(busy)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
            text=True)
        self.said = None
        self.opened = self.answer()

    def answer(self):
        lines = []
        for line in self.process.stdout:
            line = line.rstrip('\n')
            if line == '.':
                return 'ok', lines
            if line.startswith('! '):
                return tuple(line[2:].split(' ', 1))
            lines.append(line)
        raise AssertionError('engine_drive died: ' + self.text())

    def run(self, *words):
        self.process.stdin.write('\t'.join(map(str, words)) + '\n')
        self.process.stdin.flush()
        return self.answer()

    def text(self):
        return self.said or open_text(self.log.name)

    def close(self):
        self.process.stdin.close()
        self.process.stdout.read()
        self.process.stdout.close()
        status = self.process.wait(60)
        self.said = open_text(self.log.name)
        self.log.close()
        return status


class Client(Base):
    def drive(self, **more):
        drive = Drive(self.engine.url(), self.engine.ca, **more)
        self.addCleanup(lambda: drive.process.poll() is None and
                        drive.close())
        return drive

    def setUp(self):
        super().setUp()
        self.d = self.drive()
        self.assertEqual(self.d.opened[0], 'ok', self.d.opened)
        self.mark = len(self.engine.calls)

    def tearDown(self):
        log = self.d.text()
        self.assertNotIn(PASSWORD, log)
        self.assertNotIn('Bearer', log)
        for token in self.tokens():
            self.assertNotIn(token, log)
        self.assertEqual(self.d.close(), 0)

    def tokens(self):
        return list(getattr(self.engine.auth, 'tokens', {}))

    def ok(self, *words):
        code, lines = self.d.run(*words)
        self.assertEqual(code, 'ok', '%s: %s' % (words, lines))
        return lines

    def fails(self, code, *words):
        got, text = self.d.run(*words)
        self.assertEqual(got, code, '%s: %s' % (words, text))
        self.assertNotIn(PASSWORD, text)
        return text

    def calls(self, method, path=''):
        return [c for c in self.engine.calls[self.mark:]
                if c['method'] == method and path in c['path']]

    def done(self, method, path=''):
        """Without those that were refused for being busy."""
        return [c for c in self.calls(method, path) if c.get('done', c['status']) != 409]

    def make_snapshot(self, vm='vm1', text='chainlift:R:1', disks=None):
        disks = disks or [self.disk('vm1_Disk1'), self.disk('vm1_Disk2')]
        lines = self.ok('snapshot-create', self.vm(vm), text, *disks)
        return lines[0].split()[1], lines[1].split()[1]


class Reading(Client):
    def test_about(self):
        self.assertTrue(self.ok('about')[0].startswith('4.5.'))

    def test_inventory(self):
        text = '\n'.join(self.ok('inventory'))
        self.assertIn('host h1 up 127.0.0.1:2222 ssh-ed25519 AAAAh1 '
                      'SHA256:h1 spm=1', text)
        self.assertIn('nas:_exp_my__data/', text)
        self.assertIn('nfs active v5', text)

    def test_vms(self):
        lines = self.ok('vms')
        vms = [line for line in lines if line.startswith('vm ')]
        self.assertEqual(len(vms), len(self.engine.state.vms))
        text = '\n'.join(lines)
        self.assertIn('name=a <b> & "c" d', text)
        self.assertIn(str(10 * GIB - 512), text)
        self.assertIn(' tag gold', text)
        self.assertIn(' nic nic1', '\n'.join(self.ok('vm', self.vm('vm1'))))

    def test_paging(self):
        state = self.engine.state
        cluster = next(iter(state.clusters))
        made = [state.add_vm('page%03d' % (n // 2), cluster)['id']
                for n in range(250)]
        try:
            vms = [line.split()[1] for line in self.ok('vms')
                   if line.startswith('vm ')]
            self.assertEqual(sorted(vms), sorted(state.vms))
        finally:
            with state.lock:
                for vm in made:
                    del state.vms[vm]

    def test_unfollowed(self):
        """An engine that leaves the links where they are."""
        from engine import server
        kept = server.follow
        server.follow = lambda *args: None
        try:
            text = '\n'.join(self.ok('vms') + self.ok('vm', self.vm('vm1')))
        finally:
            server.follow = kept
        self.assertIn(self.disk('vm1_Disk1'), text)
        self.assertIn(' tag gold', text)
        self.assertIn(' nic nic1', text)

    def test_layers(self):
        state = self.engine.state
        img = self.disk('thin_Disk1')
        disk = state.disks[img]
        words = ('layers', img, disk['image_id'], disk['domain'],
                 self.vm('thin'),
                 state.vms[self.vm('thin')]['template'])
        lines = self.ok(*words)
        self.assertEqual(len(lines), 2)
        self.assertIn(' own ', lines[0])
        self.assertIn(' template ', lines[1])
        self.assertIn(self.disk('tmpl_Disk1'), lines[1])
        text = self.fails('corrupt', 'layers', img, str(uuid.uuid4()),
                          disk['domain'], self.vm('thin'), '-')
        self.assertIn('where the chain begins', text)

    def test_absent(self):
        text = self.fails('notfound', 'disk', uuid.uuid4())
        self.assertIn('disk ', text)
        self.assertEqual(len(self.calls('GET', '/disks/')), 2)
        self.fails('proto', 'disk', '../vms')

    def test_absent_for_a_moment(self):
        """404 while the engine is not deployed means nothing."""
        img = self.disk('vm1_Disk1')
        self.ctl('fail', 'GET /', 4, 404, 'html')
        self.ok('disk', img)

    def test_html_and_503(self):
        for status in (503, 502, 500, 200):
            self.ctl('fail', 'GET /hosts$', 3, status, 'html')
            self.ok('inventory')
        self.ctl('drop', 'GET /hosts$', 2)
        self.ok('inventory')
        self.ctl('fail', 'GET /hosts$', 999, 503, 'html')
        began = time.monotonic()
        text = self.fails('net', 'inventory')
        self.assertIn('503', text)
        self.assertIn('tried for 5 s', text)
        self.assertLess(time.monotonic() - began, 9)

    def test_fault_text(self):
        self.ctl('fail', 'GET /hosts$', 1, 400, 'The word is xyzzy.')
        text = self.fails('remote', 'inventory')
        self.assertIn('The word is xyzzy', text)
        self.ctl('fail', 'GET /hosts$', 1, 403, 'No permission here')
        text = self.fails('auth', 'inventory')
        self.assertIn('No permission here', text)

    def test_cancel(self):
        self.ctl('fail', 'GET /hosts$', 999, 503, 'html')
        self.ok('cancel', 300)
        began = time.monotonic()
        self.fails('cancelled', 'inventory')
        self.assertLess(time.monotonic() - began, 2)

    def test_cancel_in_request(self):
        self.ctl('stall', 'GET /hosts$', 1, 8)
        self.ok('cancel', 300)
        began = time.monotonic()
        self.fails('cancelled', 'inventory')
        self.assertLess(time.monotonic() - began, 3)

    def test_events(self):
        last = int(self.ok('last-event')[0])
        self.engine.tasks.event(33, 'one', vm=self.vm('vm1'))
        self.engine.tasks.event(34, 'two', vm=self.vm('thin'))
        self.assertEqual(len(self.ok('events', last)), 2)
        lines = self.ok('events', last, self.vm('vm1'))
        self.assertEqual(len(lines), 1)
        self.assertIn(' 33 ', lines[0])
        for number in range(1100):
            self.engine.tasks.event(35, 'n%d' % number, vm=self.vm('vm1'))
        lines = self.ok('events', last, self.vm('vm1'))
        self.assertEqual(len(lines), 1101)
        ids = [int(line.split()[1]) for line in lines]
        self.assertEqual(ids, sorted(set(ids)))


class Tokens(Client):
    def logins(self):
        return len(self.calls('POST', '/sso/oauth/token'))

    def test_expiry(self):
        self.ctl('expire-tokens')
        self.ok('vm', self.vm('vm1'))
        self.assertEqual(self.logins(), 1)
        self.ctl('expire-tokens')
        self.make_snapshot_and_remove()
        self.assertEqual(self.logins(), 2)

    def make_snapshot_and_remove(self):
        correlation, snap = self.make_snapshot(text='chainlift:R:token')
        self.ok('snapshot-wait', self.vm('vm1'), snap, correlation)
        self.ok('snapshot-delete', self.vm('vm1'), snap)

    def test_expiry_under_threads(self):
        self.ctl('expire-tokens')
        self.assertEqual(self.ok('threads', 8, 20), ['good 160'])
        self.assertEqual(self.logins(), 1)

    def test_login_fails_for_a_while(self):
        self.ctl('expire-tokens')
        self.ctl('fail', 'POST /ovirt-engine/sso', 3, 503, 'html')
        self.ok('vm', self.vm('vm1'))

    def test_token_never_accepted(self):
        self.ctl('fail', 'GET /hosts$', 999, 401, 'html')
        text = self.fails('auth', 'inventory')
        self.assertIn('refuses a token', text)
        self.assertLess(self.logins(), 10)

    def test_wrong_password(self):
        d = Drive(self.engine.url(), self.engine.ca, password='wrong')
        self.assertEqual(d.opened[0], 'auth')
        self.assertIn('engine.password_file', d.opened[1])
        self.assertNotIn('wrong', d.opened[1])
        d.close()

    def test_wrong_place(self):
        d = Drive('http://localhost', self.engine.ca)
        self.assertEqual(d.opened[0], 'conf')
        d.close()
        d = Drive('https://localhost:1', self.engine.ca, retry=1)
        self.assertEqual(d.opened[0], 'net')
        d.close()

    def test_tls(self):
        url = self.engine.url()
        d = Drive(url, self.other_ca())
        self.assertEqual(d.opened[0], 'conf', d.opened)
        self.assertIn('engine.ca_file', d.opened[1])
        self.assertIn('pki-resource', d.opened[1])
        d.close()

    def other_ca(self):
        from engine import pki
        where = os.path.join(self.dir, 'other')
        return pki.make(where)[0]

    def test_host_name(self):
        """The right CA is not enough: the name must be the engine's."""
        url = self.engine.url().replace('localhost', 'other.localhost')
        d = Drive(url, self.engine.ca, retry=1)
        self.assertEqual(d.opened[0], 'conf', d.opened)
        d.close()


class Changing(Client):
    def test_snapshot(self):
        vm, img = self.vm('vm1'), self.disk('vm1_Disk1')
        frozen = self.engine.state.disks[img]['image_id']
        correlation, snap = self.make_snapshot(text='chainlift:R:s & <t>')
        line = self.ok('snapshot-wait', vm, snap, correlation)[0]
        self.assertIn(' ok regular ', line)
        post = self.done('POST', '/snapshots')
        self.assertEqual(len(post), 1)
        self.assertIn('<persist_memorystate>false<', post[0]['body'])
        self.assertEqual(post[0]['correlation_id'], correlation)
        self.assertLessEqual(len(correlation), 30)
        disks = '\n'.join(self.ok('snapshot-disks', vm, snap))
        self.assertIn(frozen, disks)
        out = os.path.join(self.dir, 'out.ovf')
        ovf = self.ok('snapshot-ovf', vm, snap, out)
        self.assertEqual(ovf[0], 'ovf %s 2' % vm)
        with open(out) as source:
            text = source.read()
        self.assertNotIn(img, text)
        self.assertIn('nic1', text)
        self.assertIn('TpmData', text)
        active = self.engine.state.disks[img]['image_id']
        sd = self.engine.state.disks[img]['domain']
        layers = self.ok('layers', img, active, sd, vm, '-')
        self.assertEqual([line.split()[1] for line in layers],
                         [active, frozen])
        ours = self.ok('snapshots-ours', 'chainlift:R:')
        self.assertEqual(len(ours), 1)
        self.assertIn('vm=vm1 ', ours[0])
        self.ok('snapshot-delete', vm, snap)
        self.assertTrue(self.gone('/vms/%s/snapshots/%s' % (vm, snap)))
        self.ok('snapshot-delete', vm, snap)
        self.assertEqual(self.ok('snapshots-ours', 'chainlift:'), [])

    def test_memory_of_last_answer(self):
        """The work is done but the answer is lost: not made twice."""
        self.ctl('drop-after', 'POST /vms/[^/]+/snapshots$', 1)
        correlation, snap = self.make_snapshot(text='chainlift:R:lost')
        self.ok('snapshot-wait', self.vm('vm1'), snap, correlation)
        self.assertEqual(len(self.done('POST', '/snapshots')), 1)
        self.assertEqual(len(self.ok('snapshots-ours', 'chainlift:')), 1)
        self.ctl('drop-after', 'DELETE /vms/[^/]+/snapshots/', 1)
        self.ok('snapshot-delete', self.vm('vm1'), snap)
        self.assertEqual(len(self.done('DELETE', '/snapshots/')), 1)

    def test_lost_before(self):
        """The connection is cut and nothing was done: made once, later."""
        for mode in (('drop', 1), ('fail', 1, 503, 'html')):
            self.mark = len(self.engine.calls)
            self.ctl(mode[0], 'POST /vms/[^/]+/snapshots$', *mode[1:])
            correlation, snap = self.make_snapshot(text='chainlift:R:cut')
            self.ok('snapshot-wait', self.vm('vm1'), snap, correlation)
            post = self.done('POST', '/snapshots')
            self.assertEqual(len(post), 2)
            self.assertNotEqual(post[0]['correlation_id'],
                                post[1]['correlation_id'])
            looks = [c for c in self.engine.calls[self.mark:]
                     if c['method'] == 'GET' and
                     c['path'].endswith('/snapshots')]
            self.assertGreaterEqual(len(looks), 5)
            self.ok('snapshot-delete', self.vm('vm1'), snap)

    def test_busy(self):
        """409 right after ok, and while another snapshot is taken."""
        vm = self.vm('vm1')
        self.ctl('fail', 'POST /vms/[^/]+/snapshots$', 2, 409,
                 '[Cannot create Snapshot. Snapshot is currently being '
                 'created for VM vm1.]')
        correlation, snap = self.make_snapshot(text='chainlift:R:busy')
        ids = [c['correlation_id'] for c in self.calls('POST', '/snapshots')]
        self.assertEqual(len(set(ids)), 3)
        self.ok('snapshot-wait', vm, snap, correlation)
        self.ok('snapshot-delete', vm, snap)
        self.ctl('fail', 'POST /vms/[^/]+/snapshots$', 999, 409,
                 '[Cannot create Snapshot. VM is locked.]')
        text = self.fails('busy', 'snapshot-create', vm, 'chainlift:R:b',
                          self.disk('vm1_Disk1'))
        self.assertIn('VM is locked', text)

    def test_refused(self):
        text = self.fails('remote', 'snapshot-create', self.vm('vm1'),
                          'chainlift:R:x', self.disk('thin_Disk1'))
        self.assertIn('Cannot create Snapshot', text)
        self.assertEqual(len(self.calls('POST', '/snapshots')), 1)

    def test_task_fails(self):
        """The snapshot vanishes after it was accepted."""
        self.ctl('fail-task', 'snapshot', 1)
        correlation, snap = self.make_snapshot(text='chainlift:R:fail')
        text = self.fails('remote', 'snapshot-wait', self.vm('vm1'), snap,
                          correlation)
        self.assertIn('vanished', text)
        self.assertIn('event 69', text)
        self.settle()

    def test_removed_behind_our_back(self):
        correlation, snap = self.make_snapshot(text='chainlift:R:gone')
        vm = self.vm('vm1')
        self.ok('snapshot-wait', vm, snap, correlation)
        self.ctl('remove-snapshot', 'vm1', snap)
        self.fails('remote', 'snapshot-wait', vm, snap)
        self.fails('notfound', 'snapshot-disks', vm, snap)
        self.ok('snapshot-delete', vm, snap)

    def test_false_success(self):
        self.ctl('false-success', 1)
        correlation, snap = self.make_snapshot(text='chainlift:R:lie')
        text = self.fails('remote', 'snapshot-wait', self.vm('vm1'), snap,
                          correlation)
        self.assertIn('event 170', text)
        self.ok('snapshot-delete', self.vm('vm1'), snap)

    def test_merge_fails(self):
        correlation, snap = self.make_snapshot(text='chainlift:R:merge')
        vm = self.vm('vm1')
        self.ok('snapshot-wait', vm, snap, correlation)
        self.ctl('fail-task', 'snapshot-delete', 1)
        text = self.fails('remote', 'snapshot-delete', vm, snap)
        self.assertIn('event 357', text)
        self.settle()
        for volume in self.engine.state.volumes.values():
            volume['status'] = 'ok'
        self.ok('snapshot-delete', vm, snap)

    def test_ovf_absent_then_present(self):
        state = self.engine.state
        leaf = state.volumes[state.disks[self.disk('vm1_Disk1')]['image_id']]
        leaf['status'] = 'locked'
        import threading
        timer = threading.Timer(0.7, leaf.update, [{'status': 'ok'}])
        timer.start()
        self.assertIn('ovf ', self.ok('vm-ovf', self.vm('vm1'))[0])
        timer.join()
        self.assertGreater(len(self.calls('GET', '/vms/')), 2)

    def test_restore(self):
        state = self.engine.state
        vm, sd = self.vm('vm1'), next(iter(state.storagedomains))
        correlation, snap = self.make_snapshot(text='chainlift:R:r')
        self.ok('snapshot-wait', vm, snap, correlation)
        out = os.path.join(self.dir, 'r.ovf')
        self.ok('snapshot-ovf', vm, snap, out)
        self.ok('snapshot-delete', vm, snap)
        img, vol = str(uuid.uuid4()), str(uuid.uuid4())
        create = ('disk-create', img, vol, 'new & <disk>',
                  'chainlift:R:run7', sd, 'cow', 10 * GIB - 512)
        self.ctl('drop-after', 'POST /disks$', 1)
        line = self.ok(*create)[0]
        self.assertEqual(len(self.done('POST', '/disks')), 1)
        self.assertIn(vol, line)
        self.fails('busy', *create)
        self.assertIn(img, self.ok('disks-ours', 'chainlift:R:')[0])
        host = next(iter(state.hosts))
        self.ctl('drop-after', 'POST /imagetransfers$', 1)
        transfer = self.ok('lock', img, host)[0].split()
        self.assertEqual(transfer[2], 'transferring')
        self.ctl('drop-after', 'POST /imagetransfers/[^/]+/finalize$', 1)
        self.ok('unlock', 'finalize', transfer[1], img)
        self.ctl('drop-after', 'POST /vms$', 1)
        new = self.ok('vm-create', 'back_again',
                      next(iter(state.clusters)), 'chainlift:R:run7', 'new',
                      out)[0].split()[1]
        self.assertEqual(len(self.done('POST', '/vms')) -
                         len(self.done('POST', '/vms/')), 1)
        self.ctl('drop-after', 'POST /vms/[^/]+/diskattachments$', 1)
        self.ok('vm-attach', new, img)
        text = '\n'.join(self.ok('vm', new))
        self.assertIn(img, text)
        self.assertIn('boot=1 active=1', text)
        self.ok('vm-update-disk', new, img, 'plain words')
        self.ok('vm-update', new, 'back', 'a description')
        self.ctl('drop-after', 'POST /vms/[^/]+/start$', 1)
        self.ok('vm-start', new)
        self.ctl('vm-stop', 'back')
        self.ok('vm-delete', new)
        self.ok('vm-delete', new)
        self.assertIn('vm= ', self.ok('disk', img)[0])
        self.ctl('drop-after', 'DELETE /disks/', 1)
        self.ok('disk-delete', img)
        self.ok('disk-delete', img)
        self.assertEqual(self.ctl('extra'), [])

    def test_detach(self):
        vm, img = self.vm('thin'), self.disk('thin_Disk1')
        self.ok('vm-detach', vm, img)
        self.ok('vm-detach', vm, img)
        self.ok('vm-attach', vm, img)

    def test_transfer_rejected(self):
        state = self.engine.state
        sd, host = next(iter(state.storagedomains)), next(iter(state.hosts))
        for how in ('reject', 'cancel'):
            img = str(uuid.uuid4())
            self.ok('disk-create', img, str(uuid.uuid4()), 't',
                    'chainlift:R:t', sd, 'cow', GIB)
            transfer = self.ok('lock', img, host)[0].split()[1]
            if how == 'reject':
                self.storage.broken = 'backing file is not the parent'
                text = self.fails('corrupt', 'unlock', 'finalize', transfer,
                                  img)
                self.storage.broken = None
                self.assertIn('rejected', text)
            else:
                self.ok('unlock', 'cancel', transfer, img)
            self.settle()
            self.ok('disk-delete', img)
        self.assertEqual(self.ctl('extra'), [])

    def test_disk_task_fails(self):
        self.ctl('fail-task', 'disk', 1)
        img = str(uuid.uuid4())
        sd = next(iter(self.engine.state.storagedomains))
        text = self.fails('remote', 'disk-create', img, uuid.uuid4(), 't',
                          'chainlift:R:t', sd, 'cow', GIB)
        self.assertIn('job failed', text)
        self.settle()
        self.ok('disk-delete', img)

    def test_freeze(self):
        self.ok('freeze', self.vm('vm1'))
        self.fails('remote', 'freeze', self.vm('thin'))

    def test_cancel_leaves_shielded_logout(self):
        """A stop in a wait is heard at once; the token is given back."""
        self.engine.delays['locked'] = 5
        try:
            correlation, snap = self.make_snapshot(text='chainlift:R:c')
            self.ok('cancel', 200)
            began = time.monotonic()
            self.fails('cancelled', 'snapshot-wait', self.vm('vm1'), snap,
                       correlation)
            self.assertLess(time.monotonic() - began, 2)
            self.assertEqual(self.d.close(), 0)
            self.assertEqual(len(self.calls('POST', 'sso-logout')), 1)
        finally:
            self.engine.delays['locked'] = 0.1
            self.settle()
            self.d = self.drive()
            self.ok('snapshot-delete', self.vm('vm1'), snap)


class Older(Client):
    """What engines before 4.5 leave out of their lists of layers."""

    def become(self, minor, build):
        router = self.engine.router
        kept = list(router.routes)
        self.addCleanup(lambda: router.routes.__setitem__(slice(None), kept))

        def wrap(change, handler):
            def older(engine, request, **ids):
                return change(handler, engine, request, ids)
            return older

        for index, (method, regex, handler) in enumerate(kept):
            if method != 'GET':
                continue
            if regex.match('/'):
                router.routes[index] = (method, regex, wrap(
                    lambda *a: self.root(minor, build, *a), handler))
            elif 'disksnapshots' in regex.pattern:
                router.routes[index] = (method, regex, wrap(
                    lambda *a: self.layers(minor, *a), handler))
        self.d.close()
        self.d = self.drive()

    def root(self, minor, build, handler, engine, request, ids):
        doc = handler(engine, request, **ids)
        version = doc.find('product_info/version')
        version.find('minor').text = str(minor)
        version.find('build').text = str(build)
        return doc

    def layers(self, minor, handler, engine, request, ids):
        self.assertIn('sd', ids)    # the form below /disks is not for these
        request.query.pop('include_template', None)
        if minor < 4:
            request.query.pop('include_active', None)
        doc = handler(engine, request, **ids)
        for layer in doc if minor < 4 else []:
            for parent in layer.findall('parent'):
                layer.remove(parent)
        return doc

    def chain(self, minor, build):
        self.become(minor, build)
        state = self.engine.state
        vm, img = self.vm('thin'), self.disk('thin_Disk1')
        correlation, snap = self.make_snapshot('thin', 'chainlift:R:o',
                                               [img])
        self.ok('snapshot-wait', vm, snap, correlation)
        disk = state.disks[img]
        want = [v['id'] for v in state.disk_volumes(img)]
        want.append(state.volumes[want[-1]]['parent'])
        lines = self.ok('layers', img, disk['image_id'], disk['domain'], vm,
                        state.vms[vm]['template'])
        self.assertEqual([line.split()[1] for line in lines], want)
        self.assertEqual(len(want), 3)
        self.assertIn(' template ', lines[2])
        below = self.ok('layers', img, want[1], disk['domain'], vm,
                        state.vms[vm]['template'])
        self.assertEqual(below, lines[1:])
        self.ok('snapshot-delete', vm, snap)

    def test_4_4(self):
        self.chain(4, 10)

    def test_4_2(self):
        self.chain(2, 8)


if __name__ == '__main__':
    unittest.main(verbosity=2)
