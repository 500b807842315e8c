# SPDX-License-Identifier: Apache-2.0
"""The lab's engine by itself, over HTTPS, with storage that is a table.

    python3 tests/lab/test_engine.py"""

import base64
import http.client
import json
import os
import sys
import threading
import time
import unittest
import urllib.parse
import uuid

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from stub import API, GIB, PASSWORD, USER, Base
from test_engine_disks import Disks, Machines  # noqa: F401, E402
from test_engine_snapshots import Snapshots  # noqa: F401, E402


class Login(Base):
    def test_wrong_password(self):
        status, obj = self.c.login('wrong')
        self.assertEqual(status, 400)
        self.assertEqual(obj['error_code'], 'access_denied')

    def test_scope_is_mandatory(self):
        reply, text = self.c.raw(
            'POST', '/ovirt-engine/sso/oauth/token',
            'grant_type=password&username=%s&password=x' % USER)
        self.assertEqual(reply.status, 400)
        self.assertIn('error_code', json.loads(text))

    def test_root(self):
        doc = self.c.get('')
        self.assertEqual(doc.findtext('product_info/version/major'), '4')
        self.assertEqual(doc.findtext('product_info/version/minor'), '5')

    def test_no_token(self):
        self.c.token = 'x'
        status, text = self.c.call('GET', '/vms')
        self.assertEqual(status, 401)
        self.assertIn('Basic', self.c.reply.getheader('WWW-Authenticate'))
        self.assertIn(b'<html>', text)

    def test_expiry_idle_logout(self):
        self.assertEqual(self.c.call('GET', '')[0], 200)
        self.ctl('expire-tokens')
        self.assertEqual(self.c.call('GET', '')[0], 401)
        self.c.login()
        self.ctl('token-life', 360000, 0.05)
        time.sleep(0.1)
        self.assertEqual(self.c.call('GET', '')[0], 401)
        self.ctl('token-life', 360000)
        self.c.login()
        self.c.raw('POST', '/ovirt-engine/services/sso-logout',
                   'scope=ovirt-app-api&token=' + self.c.token)
        self.assertEqual(self.c.call('GET', '')[0], 401)

    def test_basic(self):
        pair = base64.b64encode(('%s:%s' % (USER, PASSWORD)).encode())
        reply, _ = self.c.raw('GET', API, headers={
            'Authorization': 'Basic ' + pair.decode()})
        self.assertEqual(reply.status, 200)

    def test_version_and_ca(self):
        self.assertEqual(self.c.call('GET', '', Version='3')[0], 400)
        reply, text = self.c.raw(
            'GET', '/ovirt-engine/services/pki-resource?resource='
            'ca-certificate&format=X509-PEM-CA')
        with open(self.engine.ca, 'rb') as source:
            self.assertEqual(text, source.read())

    def test_keep_alive(self):
        self.c.get('')
        sock = self.c.http.sock
        self.c.call('GET', '/vms/none')
        self.c.get('/vms')
        self.assertIs(self.c.http.sock, sock)


class Reading(Base):
    def names(self, path):
        return [e.findtext('name') for e in self.c.get(path)]

    def test_paging(self):
        seen = []
        for page in range(1, 10):
            query = urllib.parse.quote('sortby name asc page %d' % page)
            part = self.names('/vms?search=%s&max=7' % query)
            seen += part
            if len(part) < 7:
                break
        self.assertEqual(len(seen), 24)
        self.assertEqual(seen, sorted(seen, key=str.lower))

    def test_syntax_error_is_an_empty_list(self):
        for query in ('sortby name page 1', 'nosuchfield=1', 'name=',
                      'name="x', 'name=a name=b', 'sortby name asc page x'):
            self.assertEqual(self.names('/vms?search=' +
                                        urllib.parse.quote(query)), [], query)
        self.assertEqual(self.c.ids('/jobs?search=status%3Dstarted'), [])

    def test_search(self):
        def find(query):
            return self.names('/vms?search=' + urllib.parse.quote(query))
        self.assertEqual(find('name=VM1'), ['vm1'])
        self.assertEqual(len(find('name=many1*')), 10)
        self.assertEqual(find('tag=gold and status=up'), ['vm1'])
        self.assertEqual(find('name="a <b> & ""'), [])
        self.assertEqual(find('name=vm1 or name=thin'), ['vm1', 'thin'])
        self.assertEqual(self.names('/vms?case_sensitive=true&search='
                                    'name%3DVM1'), [])

    def test_follow(self):
        doc = self.c.get('/vms?search=name%3Dvm1&follow='
                         'disk_attachments.disk,nics,snapshots')
        vm = doc[0]
        disks = vm.findall('disk_attachments/disk_attachment/disk')
        self.assertEqual([d.findtext('alias') for d in disks],
                         ['vm1_Disk1', 'vm1_Disk2'])
        self.assertEqual(disks[0].findtext('provisioned_size'),
                         str(10 * GIB - 512))
        self.assertEqual(len(vm.findall('nics/nic')), 1)
        self.assertEqual(vm.findtext('snapshots/snapshot/snapshot_type'),
                         'active')
        self.assertNotIn('nics', [e.get('rel') for e in vm.findall('link')])

    def test_host_and_domain(self):
        host = self.c.get('/hosts?search=name%3Dh1')[0]
        self.assertEqual(host.findtext('ssh/public_key'),
                         'ssh-ed25519 AAAAh1')
        self.assertEqual(host.findtext('ssh/port'), '2222')
        self.assertEqual(host.findtext('spm/status'), 'spm')
        sd = self.c.get('/storagedomains')[0]
        self.assertIsNone(sd.find('status'))
        dc = sd.find('data_centers/data_center').get('id')
        sd = self.c.get('/datacenters/%s/storagedomains/%s'
                        % (dc, sd.get('id')))
        self.assertEqual(sd.findtext('status'), 'active')
        self.assertEqual(sd.findtext('storage/path'), '/exp/my_data')

    def test_unknown_and_bad_ids(self):
        status, body = self.c.call('GET', '/vms/%s' % uuid.uuid4())
        self.assertEqual((status, body), (404, b''))
        for path in ('/vms/42', '/nothing'):
            status, body = self.c.call('GET', path)
            self.assertEqual(status, 404)
            self.assertIn(b'<html>', body)

    def test_disks_do_not_page(self):
        query = 'sortby%%20alias%%20asc%%20page%%20%d'
        pages = [self.c.ids('/disks?max=2&search=' + query % number)
                 for number in (1, 2)]
        self.assertEqual(len(pages[0]), 2)
        self.assertEqual(pages[0], pages[1])

    def test_thin_chain(self):
        img = self.disk('thin_Disk1')
        path = '/disks/%s/disksnapshots' % img
        self.assertEqual(self.c.ids(path), [])
        rows = self.c.get(path + '?include_active=1&include_template=true')
        self.assertEqual(len(rows), 2)
        self.assertEqual(rows[0].find('parent').get('id'), rows[1].get('id'))
        self.assertEqual(rows[1].find('disk').get('id'),
                         self.disk('tmpl_Disk1'))
        self.assertEqual(len(self.c.ids(path + '?include_active=true')), 1)

    def test_correlation_id(self):
        self.c.call('GET', '', Correlation_Id='a b$c' + 'x' * 60)
        self.assertEqual(self.c.reply.getheader('Correlation-Id'),
                         'abc' + 'x' * 33)

    def test_events_from(self):
        for number in range(3):
            self.engine.tasks.event(30, 'e%d' % number, correlation='ev')
        rows = self.c.get('/events?search=correlation_id%3Dev')
        ids = [int(e.get('id')) for e in rows]
        self.assertEqual(ids, sorted(ids, reverse=True))
        later = self.c.get('/events?from=%d&search=correlation_id%%3Dev'
                           % ids[-1])
        self.assertEqual(len(later), 2)


class Spoiled(Base):
    def test_fail_text_and_html(self):
        self.ctl('fail', 'GET /hosts$', 1, 409, 'busy today')
        status, doc = self.c.call('GET', '/hosts')
        self.assertEqual(status, 409)
        self.assertEqual(doc.findtext('detail'), '[busy today]')
        self.assertEqual(self.c.call('GET', '/hosts')[0], 200)
        self.ctl('fail', 'GET /hosts$', 2, 503)
        status, text = self.c.call('GET', '/hosts')
        self.assertEqual(status, 503)
        self.assertIn(b'<html>', text)

    def test_after(self):
        self.ctl('fail', '* /hosts', 1, 500, 'third', 2)
        self.assertEqual([self.c.call('GET', '/hosts')[0] for _ in range(4)],
                         [200, 200, 500, 200])

    def test_drop(self):
        self.ctl('drop', 'GET /clusters', 1)
        with self.assertRaises((OSError, http.client.HTTPException)):
            self.c.call('GET', '/clusters')
        self.c.http.close()
        self.assertEqual(self.c.call('GET', '/clusters')[0], 200)

    def test_drop_after_has_done_it(self):
        vm = self.vm('thin')
        self.ctl('drop-after', 'POST /vms/[^/]+/snapshots$', 1)
        with self.assertRaises((OSError, http.client.HTTPException)):
            self.take(vm, 'lost')
        self.c.http.close()
        self.settle()
        self.assertEqual(self.codes('lost'), [45, 68])
        self.ctl('remove-snapshot', 'thin', 'latest')

    def test_stall(self):
        self.ctl('stall', 'GET /tags', 1, 0.3)
        begin = time.monotonic()
        self.c.get('/tags')
        self.assertGreater(time.monotonic() - begin, 0.3)

    def test_restart(self):
        self.ctl('restart', 0.2)
        status, text = self.c.call('GET', '/vms')
        self.assertEqual(status, 503)
        self.assertIn(b'<html>', text)
        self.assertEqual(self.c.raw('POST', '/ovirt-engine/sso/oauth/token',
                                    '')[0].status, 503)
        time.sleep(0.25)
        self.assertEqual(self.c.call('GET', '/vms')[0], 401)

    def test_idle_connection_is_cut(self):
        self.ctl('keep-alive', 0.1)
        self.c.get('/tags')
        time.sleep(0.3)
        self.ctl('keep-alive', 120)
        with self.assertRaises((OSError, http.client.HTTPException)):
            self.c.get('/tags')
        self.c.http.close()
        self.c.get('/tags')

    def test_log_has_bodies(self):
        self.take(self.vm('thin'), 'logged', text='a mark')
        self.settle()
        self.ctl('remove-snapshot', 'thin', 'a mark')
        rows = [row for row in self.ctl('log')
                if row['correlation_id'] == 'logged']
        self.assertEqual(len(rows), 1)
        self.assertEqual(rows[0]['status'], 202)
        self.assertIn('a mark', rows[0]['body'])
        self.assertNotIn(PASSWORD.split('&')[0], json.dumps(
            [row.get('body') for row in self.ctl('log')
             if 'token' in row['path']]))

    def test_many_clients(self):
        failures = []

        def one():
            try:
                client = self.client()
                client.login()
                for _ in range(10):
                    client.get('/vms?max=5&follow=nics')
                client.http.close()
            except Exception as err:
                failures.append(err)
        threads = [threading.Thread(target=one) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])

    def test_control_errors(self):
        for args in (('nonsense',), ('snapshots', 'no VM'), ('fail', 'x', 1,
                                                             500)):
            with self.assertRaises(RuntimeError):
                self.ctl(*args)

    def test_host_and_migration(self):
        self.ctl('vm-migrate', 'vm1', 'h2')
        doc = self.c.get('/vms/' + self.vm('vm1'))
        host = self.c.get('/hosts/' + doc.find('host').get('id'))
        self.assertEqual(host.findtext('name'), 'h2')
        self.ctl('host-status', 'h2', 'non_responsive')
        host = self.c.get('/hosts/' + host.get('id'))
        self.assertEqual(host.findtext('status'), 'non_responsive')
        self.ctl('host-status', 'h2', 'up')


if __name__ == '__main__':
    unittest.main()
