# SPDX-License-Identifier: Apache-2.0
"""Engine tests: the life of snapshots."""

import base64
import uuid
import xml.etree.ElementTree as ET

from stub import GIB, RASD, Base


class Snapshots(Base):
    def test_life_with_409_after_ok(self):
        vm = self.vm('vm1')
        doc = self.take(vm, 'life1')
        snap = '/vms/%s/snapshots/%s' % (vm, doc.get('id'))
        self.assertEqual(doc.findtext('creation_status'), 'in_progress')
        self.assertEqual(doc.findtext('snapshot_status'), 'locked')
        self.assertEqual(self.c.call('DELETE', snap)[0], 409)
        status, text = self.c.call('GET', '/vms/%s?all_content=true' % vm)
        self.assertIsNone(text.find('initialization/configuration'))
        self.wait(lambda: self.c.get(snap).findtext('snapshot_status')
                  == 'ok')
        # `ok` already, and still busy: the job has not ended.
        self.assertEqual(self.job_status('life1'), ['started'])
        status, doc = self.c.call('DELETE', snap)
        self.assertEqual(status, 409)
        self.assertIn('in progress', doc.findtext('detail'))
        self.wait_jobs('life1')
        self.assertEqual(self.codes('life1'), [45, 68])
        self.settle()
        self.check_view(vm, snap)
        self.check_delete(vm, snap)

    def check_view(self, vm, snap):
        oracles = [c for c in self.storage.calls if c[0] == 'oracle']
        self.assertEqual(len(oracles), 2)
        self.assertEqual({c[5] for c in oracles}, {10 * GIB - 512, GIB})
        disks = self.c.get(snap + '/disks')
        self.assertEqual(len(disks), 2)
        # From the stored OVF: whole GiB, the exact size is elsewhere.
        self.assertEqual(disks[0].findtext('provisioned_size'),
                         str(10 * GIB))
        img = disks[0].get('id')
        frozen = disks[0].findtext('image_id')
        active = self.c.get('/disks/' + img).findtext('image_id')
        self.assertNotEqual(frozen, active)
        chain = self.c.get('/disks/%s/disksnapshots?include_active=true'
                           % img)
        self.assertEqual([e.get('id') for e in chain], [active, frozen])
        self.assertEqual(chain[1].findtext('provisioned_size'),
                         str(10 * GIB - 512))
        self.check_ovf(vm, snap, frozen)

    def check_ovf(self, vm, snap, frozen):
        self.assertIsNone(self.c.get(snap).find('initialization'))
        doc = self.c.get(snap, All_Content='true')
        text = doc.findtext('initialization/configuration/data')
        ovf = ET.fromstring(text.encode())
        items = [i for i in ovf.iter('Item')
                 if i.findtext(RASD + 'ResourceType') == '17']
        self.assertEqual(len(items), 2)
        self.assertIn(frozen, [i.findtext(RASD + 'InstanceId')
                               for i in items])
        self.assertIsNone(items[0].find(RASD + 'StorageId'))
        self.assertEqual(base64.b64decode(ovf.findtext('Content/TpmData')),
                         b'tpm state')
        self.assertEqual([s.findtext('Type') for s in ovf.iter('Snapshot')],
                         ['ACTIVE'])
        full = self.c.get('/vms/%s?all_content=true' % vm).findtext(
            'initialization/configuration/data')
        full = ET.fromstring(full.encode())
        self.assertEqual(len(list(full.iter('Disk'))), 4)
        self.assertEqual(sorted(s.findtext('Type') for s in
                                full.iter('Snapshot')),
                         ['ACTIVE', 'REGULAR'])

    def check_delete(self, vm, snap):
        img = self.disk('vm1_Disk1')
        frozen = self.c.get(snap + '/disks/' + img).findtext('image_id')
        status, doc = self.c.call('DELETE', snap, Correlation_Id='life2')
        self.assertEqual(status, 200)
        self.assertEqual(doc.findtext('status'), 'complete')
        self.assertEqual(self.c.get('/disks/' + img).findtext('status'),
                         'locked')
        self.wait(lambda: self.gone(snap))
        self.wait_jobs('life2')
        disk = self.c.get('/disks/' + img)
        self.assertEqual(disk.findtext('status'), 'ok')
        # The child went into the base: the base's id survives.
        self.assertEqual(disk.findtext('image_id'), frozen)
        self.assertEqual(self.codes('life2'), [342, 356])
        raw = self.c.get('/disks/' + self.disk('vm1_Disk2'))
        self.assertEqual(raw.findtext('format'), 'raw')
        self.settle()
        self.assertEqual(self.ctl('extra'), [])

    def test_merge_moves_another_snapshot(self):
        vm = self.vm('thin')
        first = self.ctl('add-snapshot', 'thin', 'one')
        second = self.ctl('add-snapshot', 'thin', 'two')
        img = self.disk('thin_Disk1')

        def volume(snap):
            return self.c.get('/vms/%s/snapshots/%s/disks/%s'
                              % (vm, snap, img)).findtext('image_id')
        low, high = volume(first), volume(second)
        self.assertNotEqual(low, high)
        self.ctl('remove-snapshot', 'thin', 'one')
        self.assertEqual(volume(second), low)
        self.assertEqual(self.ctl('chain', 'thin', 'thin_Disk1')[1], low)
        self.ctl('remove-snapshot', 'thin', second)
        self.assertEqual(self.ctl('extra'), [])

    def test_refusals(self):
        vm = self.vm('vm1')
        path = '/vms/%s/snapshots' % vm
        status, doc = self.c.call('POST', path, '<snapshot/>')
        self.assertEqual(status, 400)
        self.assertEqual(doc.findtext('reason'), 'Incomplete parameters')
        status, doc = self.c.call('POST', path, self.snapshot_body(
            more='<disk_attachments><disk_attachment><disk id="%s"/>'
            '</disk_attachment></disk_attachments>' % uuid.uuid4()))
        self.assertEqual(status, 400)
        self.assertEqual(self.c.call('POST', path, '<snapshot>')[0], 400)
        self.assertEqual(self.c.call('POST', path, '<vm/>')[0], 400)
        active = self.c.ids(path)[0]
        self.assertEqual(self.c.call('DELETE', path + '/' + active)[0], 409)
        self.ctl('poke', 'vms', vm, 'status', 'migrating')
        self.assertEqual(self.c.call('POST', path,
                                     self.snapshot_body())[0], 409)
        self.ctl('poke', 'vms', vm, 'status', 'up')

    def test_memory_is_harm(self):
        vm = self.vm('vm1')
        status, doc = self.c.call(
            'POST', '/vms/%s/snapshots' % vm,
            '<snapshot><description>m</description></snapshot>',
            Correlation_Id='memory')
        self.assertEqual(status, 202)
        self.wait(lambda: self.gone('/vms/%s/snapshots/%s'
                                    % (vm, doc.get('id'))))
        self.settle()
        self.assertEqual(self.codes('memory'), [45, 69, 173])
        self.assertEqual(self.ctl('extra'), [])

    def test_failed_work_rolls_back(self):
        vm = self.vm('vm1')
        img = self.disk('vm1_Disk2')
        before = self.c.get('/disks/' + img).findtext('image_id')
        self.ctl('fail-task', 'snapshot')
        doc = self.take(vm, 'fails')
        self.wait_jobs('fails')
        self.assertEqual(self.job_status('fails'), ['failed'])
        self.assertTrue(self.gone('/vms/%s/snapshots/%s'
                                  % (vm, doc.get('id'))))
        disk = self.c.get('/disks/' + img)
        self.assertEqual(disk.findtext('image_id'), before)
        self.assertEqual(disk.findtext('format'), 'raw')
        self.settle()

    def test_failed_merge_and_false_success(self):
        vm = self.vm('vm1')
        self.ctl('false-success')
        doc = self.take(vm, 'quiet')
        snap = '/vms/%s/snapshots/%s' % (vm, doc.get('id'))
        self.wait_jobs('quiet')
        self.assertEqual(self.codes('quiet'), [45, 68, 170])
        self.assertEqual([c for c in self.storage.calls
                          if c[0] == 'snapshot'][-1][2], True)
        self.settle()
        self.ctl('fail-task', 'snapshot-delete')
        self.c.call('DELETE', snap, Correlation_Id='nomerge')
        self.wait_jobs('nomerge')
        self.assertEqual(self.codes('nomerge'), [342, 357])
        self.assertEqual(self.c.get(snap).findtext('snapshot_status'), 'ok')
        self.ctl('remove-snapshot', 'vm1', doc.get('id'))
        self.assertEqual(self.ctl('extra'), [])

    def test_subset_and_holder(self):
        vm, other = self.vm('vm1'), self.vm('many01')
        img = self.disk('vm1_Disk1')
        doc = self.take(vm, 'sub', more='<disk_attachments><disk_attachment>'
                        '<disk id="%s"/></disk_attachment>'
                        '</disk_attachments>' % img)
        snap = '/vms/%s/snapshots/%s' % (vm, doc.get('id'))
        self.wait_jobs('sub')
        self.settle()
        self.assertEqual(self.c.ids(snap + '/disks'), [img])
        status, _ = self.c.call(
            'POST', '/vms/%s/diskattachments' % other,
            '<disk_attachment><active>false</active><bootable>false'
            '</bootable><interface>virtio_scsi</interface><disk id="%s">'
            '<snapshot id="%s"/></disk></disk_attachment>'
            % (img, doc.get('id')))
        self.assertEqual(status, 201)
        self.assertEqual(self.c.call('DELETE', snap)[0], 409)
        self.assertEqual(self.c.call(
            'DELETE', '/vms/%s/diskattachments/%s' % (other, img))[0], 200)
        self.ctl('remove-snapshot', 'vm1', doc.get('id'))
        self.assertEqual(self.ctl('extra'), [])

    def test_lun_and_shared_stay_out(self):
        vm, snap = self.vm('mixed'), self.ctl('add-snapshot', 'mixed', 'm')
        path = '/vms/%s/snapshots/%s' % (vm, snap)
        self.assertEqual(self.c.ids(path + '/disks'),
                         [self.disk('mixed_Disk1')])
        disks = self.c.get('/vms/%s/diskattachments?follow=disk' % vm)
        self.assertEqual([d.findtext('disk/storage_type') for d in disks],
                         ['image', 'lun', 'image'])
        self.assertIsNone(disks[1].find('disk/image_id'))
        self.assertEqual(disks[1].find('disk/lun_storage').get('id'),
                         '360014')
        self.assertIsNotNone(self.c.get(path + '?all_content').find(
            'initialization/configuration'))
        self.assertIsNotNone(self.c.get('/vms/%s?all_content' % vm).find(
            'initialization/configuration'))
        self.ctl('remove-snapshot', 'mixed', snap)
        self.assertEqual(self.ctl('extra'), [])

    def test_freeze(self):
        path = '/vms/%s/' % self.vm('vm1')
        body = '<action/>'
        self.assertEqual(self.c.call(
            'POST', path + 'freezefilesystems', body)[0], 200)
        self.assertTrue(any(x.startswith('+ frozen') for x in
                            self.ctl('extra')))
        self.assertEqual(self.c.call(
            'POST', path + 'thawfilesystems', body)[0], 200)
        status, doc = self.c.call(
            'POST', '/vms/%s/freezefilesystems' % self.vm('thin'), body)
        self.assertEqual(status, 409)
        self.assertEqual(doc.tag, 'action')
        self.assertEqual(doc.findtext('status'), 'failed')
