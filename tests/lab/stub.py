# SPDX-License-Identifier: Apache-2.0
"""For the tests of the engine: a storage that is a table, a client, a lab."""

import base64
import http.client
import json
import os
import shutil
import ssl
import sys
import tempfile
import time
import unittest
import urllib.parse
import uuid
import xml.etree.ElementTree as ET

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import ctl                                          # noqa: E402
from engine.control import Control, baseline        # noqa: E402
from engine.core import Engine                      # noqa: E402
from engine.state import State                      # noqa: E402

API = '/ovirt-engine/api'
USER = 'backup@internal'
PASSWORD = 's&cret +%'
GIB = 1 << 30
RASD = '{http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/' \
    'CIM_ResourceAllocationSettingData}'




class StubVms:
    def __init__(self):
        self.up = {}

    def start(self, vm_id, host_name, disks, seed=0, rate=12):
        self.up[vm_id] = host_name

    def stop(self, vm_id):
        self.up.pop(vm_id, None)

    def migrate(self, vm_id, host_name):
        self.up[vm_id] = host_name

    def plug(self, vm_id, sd, img, vol):
        pass

    def unplug(self, vm_id, img):
        pass


class StubStorage:
    """volumes[(img, vol)] = parent; calls = what was asked for."""

    def __init__(self):
        self.volumes = {}
        self.metas = {}
        self.calls = []
        self.broken = None
        self.vms = StubVms()

    def create_volume(self, sd, img, vol, cap, fmt, sparse, parent=None,
                      disktype='DATA', initial_size=None, description=''):
        self.calls.append(('create', img, vol, fmt, sparse))
        if initial_size is not None:
            raise RuntimeError('initial size on a file domain')
        self.volumes[img, vol] = parent
        return -(-cap // 4096) * 4096

    def prepare(self, host_name, sd, img, vol):
        pass

    def teardown(self, host_name, sd, img):
        pass

    def connect(self, host_name):
        pass

    def expected(self):
        return {}

    def unknown_images(self, known):
        return []

    def set_meta(self, sd, img, vol, **keys):
        self.metas.setdefault((img, vol), {}).update(keys)

    def snapshot(self, vm, pairs, quiet_failure=False):
        self.calls.append(('snapshot', vm, quiet_failure))
        for _, img, old, new in pairs:
            self.volumes[img, new] = old

    def oracle_save(self, vm_id, snap_id, img, sd, vol, cap):
        self.calls.append(('oracle', vm_id, snap_id, img, vol, cap))

    def merge(self, vm, sd, img, base_vol, child_vol):
        self.calls.append(('merge', vm, img, base_vol, child_vol))
        assert self.volumes[img, child_vol] == base_vol
        for key, parent in list(self.volumes.items()):
            if key[0] == img and parent == child_vol:
                self.volumes[key] = base_vol
        del self.volumes[img, child_vol]

    def delete_image(self, sd, img):
        self.calls.append(('delete', img))
        for key in [k for k in self.volumes if k[0] == img]:
            del self.volumes[key]

    def resize(self, vm, sd, img, leaf_vol, cap):
        return cap

    def verify_untrusted(self, sd, img, vol):
        return self.broken

    def chain(self, sd, img, vol):
        found = []
        while vol:
            found.append(vol)
            vol = self.volumes.get((img, vol))
        return found

    def actual_size(self, sd, img, vol):
        return 65536

    def chain_fingerprint(self, sd, img):
        return '\n'.join(sorted('%s %s' % (k[1], v) for k, v in
                                self.volumes.items() if k[0] == img))


def fill(state, storage):
    """One data center, two hosts, a template, VMs of all kinds."""
    dc = state.add_datacenter('Default')
    cluster = state.add_cluster('Default', dc)
    for name in ('h1', 'h2'):
        state.add_host(name, '127.0.0.1', cluster, ssh_port=2222,
                       public_key='ssh-ed25519 AAAA' + name,
                       fingerprint='SHA256:' + name, spm=name == 'h1')
    sd = state.add_domain('data_1', dc, 'nas', '/exp/my_data', master=True)
    profile = state.add_vnicprofile('ovirtmgmt', 'ovirtmgmt', dc)
    tag = state.add_tag('gold')

    def disk(alias, size=10 * GIB, fmt='cow', **more):
        row = state.add_disk(alias, sd, fmt, True, size, str(uuid.uuid4()),
                             **more)
        storage.volumes[row['id'], row['image_id']] = more.get('parent')
        return row

    template = state.add_template('tmpl', cluster)
    base = disk('tmpl_Disk1', template=template)
    vm = state.add_vm(
        'vm1', cluster, status='up', host=next(iter(state.hosts)),
        nics=[{'name': 'nic1', 'vnicprofile': profile}], tags=[tag],
        tpm=base64.b64encode(b'tpm state').decode(),
        nvram=base64.b64encode(b'nvram state').decode())
    state.attach(vm, disk('vm1_Disk1', 10 * GIB - 512), bootable=True)
    state.attach(vm, disk('vm1_Disk2', GIB, 'raw'))
    storage.vms.up[vm['id']] = 'h1'
    mixed = state.add_vm('mixed', cluster)
    state.attach(mixed, disk('mixed_Disk1'), bootable=True)
    state.attach(mixed, state.add_lun('mixed_lun', '360014', 3 * GIB))
    state.attach(mixed, disk('mixed_shared', shareable=True))
    thin = state.add_vm('thin', cluster, template=template)
    state.attach(thin, disk('thin_Disk1', parent=base['image_id']),
                 bootable=True)
    state.add_vm('a <b> & "c" d', cluster)
    for number in range(20):
        state.add_vm('many%02d' % number, cluster)


class Client:
    """A connection of its own that stays open."""

    def __init__(self, ca, port):
        context = ssl.create_default_context(cafile=ca)
        self.http = http.client.HTTPSConnection('localhost', port,
                                                context=context, timeout=30)
        self.token = None

    def raw(self, method, path, body=None, headers=None):
        self.http.request(method, path, body, headers or {})
        reply = self.http.getresponse()
        return reply, reply.read()

    def login(self, password=PASSWORD, user=USER):
        body = urllib.parse.urlencode({
            'grant_type': 'password', 'scope': 'ovirt-app-api',
            'username': user, 'password': password})
        reply, text = self.raw(
            'POST', '/ovirt-engine/sso/oauth/token', body,
            {'Content-Type': 'application/x-www-form-urlencoded',
             'Accept': 'application/json'})
        obj = json.loads(text)
        self.token = obj.get('access_token')
        return reply.status, obj

    def call(self, method, path, body=None, **headers):
        """(status, document or bytes)"""
        head = {'Version': '4', 'Accept': 'application/xml',
                'Authorization': 'Bearer %s' % self.token}
        head.update({key.replace('_', '-'): value for key, value in
                     headers.items()})
        if body is not None:
            head['Content-Type'] = 'application/xml'
        reply, text = self.raw(method, API + path, body, head)
        self.reply = reply
        if 'xml' in (reply.getheader('Content-Type') or ''):
            return reply.status, ET.fromstring(text)
        return reply.status, text

    def get(self, path, **headers):
        status, doc = self.call('GET', path, **headers)
        if status != 200:
            raise AssertionError('GET %s: %d %r' % (path, status, doc))
        return doc

    def ids(self, path):
        return [child.get('id') for child in self.get(path)]


def strip(text):
    """Without disks and snapshots, as a restore has to post it."""
    top = ET.fromstring(text.encode())
    for parent in list(top.iter()):
        for child in list(parent):
            local = child.tag.rsplit('}', 1)[-1]
            kind = child.get('{http://www.w3.org/2001/XMLSchema-instance'
                             '}type', '')
            if local in ('File', 'Disk') or \
                    kind == 'ovf:SnapshotsSection_Type' or \
                    child.findtext(RASD + 'ResourceType') == '17':
                parent.remove(child)
    return ET.tostring(top, encoding='unicode')


class Base(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp()
        cls.storage = StubStorage()
        cls.notes = []
        state = State()
        fill(state, cls.storage)
        cls.engine = Engine(cls.dir, cls.storage, {USER: PASSWORD}, state)
        cls.engine.delays.update(locked=0.1, tail=0.1, grace=0.05,
                                 transfer=0.05, start=0.05)
        cls.engine.note = cls.notes.append
        cls.engine.serve()
        cls.engine.start_watching()
        cls.control = Control(cls.engine, os.path.join(cls.dir, 'ctl.sock'))
        baseline(cls.engine)

    @classmethod
    def tearDownClass(cls):
        cls.control.close()
        cls.engine.close()
        shutil.rmtree(cls.dir)

    def setUp(self):
        self.c = self.client()
        self.c.login()
        self.addCleanup(self.c.http.close)
        self.addCleanup(self.ctl, 'clear-faults')

    def client(self):
        return Client(self.engine.ca, self.engine.server.server_port)

    def ctl(self, *args):
        return ctl.ask(self.dir, *args)

    def vm(self, name):
        return self.engine.state.vm_by_name(name)['id']

    def disk(self, alias):
        for row in self.engine.state.disks.values():
            if row['alias'] == alias:
                return row['id']
        raise KeyError(alias)

    def wait(self, test, limit=5.0):
        end = time.monotonic() + limit
        while not test():
            self.assertLess(time.monotonic(), end, 'not reached in time')
            time.sleep(0.01)

    def job_status(self, correlation):
        doc = self.c.get('/jobs?search=correlation_id%3D' + correlation)
        return [job.findtext('status') for job in doc]

    def wait_jobs(self, correlation):
        self.wait(lambda: 'started' not in self.job_status(correlation))

    def codes(self, correlation):
        doc = self.c.get('/events?search=correlation_id%3D' + correlation)
        return sorted(int(e.findtext('code')) for e in doc)

    def settle(self):
        self.ctl('idle')

    def snapshot_body(self, text='t', memory='false', more=''):
        return ('<snapshot><description>%s</description>'
                '<persist_memorystate>%s</persist_memorystate>%s</snapshot>'
                % (text, memory, more))

    def take(self, vm, correlation, **more):
        status, doc = self.c.call('POST', '/vms/%s/snapshots' % vm,
                                  self.snapshot_body(**more),
                                  Correlation_Id=correlation)
        self.assertEqual(status, 202, ET.tostring(doc))
        return doc

    def gone(self, path):
        return self.c.call('GET', path)[0] == 404
