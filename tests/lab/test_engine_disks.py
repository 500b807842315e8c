# SPDX-License-Identifier: Apache-2.0
"""Engine tests: disks, image transfers, VMs from OVF."""

import base64
import uuid
import xml.etree.ElementTree as ET

from stub import GIB, Base, strip


class Disks(Base):
    def body(self, ident=None, volume=None, fmt='cow', sparse='true',
             size=GIB, more=''):
        sd = next(iter(self.engine.state.storagedomains))
        return ('<disk%s>%s<alias>new</alias><format>%s</format>'
                '<sparse>%s</sparse><provisioned_size>%d</provisioned_size>'
                '%s<storage_domains><storage_domain id="%s"/>'
                '</storage_domains></disk>' % (
                    ' id="%s"' % ident if ident else '',
                    '<image_id>%s</image_id>' % volume if volume else '',
                    fmt, sparse, size, more, sd))

    def make(self, correlation, **more):
        ident, volume = str(uuid.uuid4()), str(uuid.uuid4())
        status, doc = self.c.call('POST', '/disks', self.body(
            ident, volume, **more), Correlation_Id=correlation)
        self.assertEqual(status, 202)
        self.assertEqual(doc.get('id'), ident)
        self.assertEqual(doc.findtext('image_id'), volume)
        self.assertEqual(doc.findtext('status'), 'locked')
        return ident

    def ready(self, correlation, **more):
        ident = self.make(correlation, **more)
        self.wait_jobs(correlation)
        self.settle()
        return ident

    def test_life(self):
        ident = self.make('disk1', size=GIB + 512)
        path = '/disks/' + ident
        self.assertEqual(self.c.call('DELETE', path)[0], 409)
        self.wait(lambda: self.c.get(path).findtext('status') == 'ok')
        self.assertEqual(self.job_status('disk1'), ['started'])
        self.assertEqual(self.c.call('DELETE', path)[0], 409)
        self.wait_jobs('disk1')
        self.settle()
        self.assertEqual(self.codes('disk1'), [2020, 2021])
        # vdsm rounds it up to 4 KiB, which the engine never learns.
        self.assertEqual(self.c.get(path).findtext('provisioned_size'),
                         str(GIB + 512))
        status, doc = self.c.call('PUT', path, '<disk><provisioned_size>%d'
                                  '</provisioned_size></disk>' % (2 * GIB))
        self.assertEqual(status, 200)
        self.wait(lambda: self.c.get(path).findtext('status') == 'ok')
        self.assertEqual(self.c.get(path).findtext('provisioned_size'),
                         str(2 * GIB))
        self.settle()
        self.assertEqual(self.c.call('PUT', path, '<disk><provisioned_size>'
                                     '1</provisioned_size></disk>')[0], 400)
        self.assertEqual(self.c.call('DELETE', path,
                                     Correlation_Id='disk2')[0], 200)
        self.wait(lambda: self.gone(path))
        self.settle()
        self.assertEqual(self.codes('disk2'), [2014])

    def test_refusals(self):
        def post(body):
            return self.c.call('POST', '/disks', body)
        for fmt, sparse, more in (
                ('cow', 'false', ''),
                ('raw', 'true', '<backup>incremental</backup>')):
            self.assertEqual(post(self.body(fmt=fmt, sparse=sparse,
                                            more=more))[0], 400)
        status, doc = post('<disk><alias>x</alias></disk>')
        self.assertEqual(status, 400)
        self.assertEqual(doc.findtext('reason'), 'Incomplete parameters')
        known = self.disk('vm1_Disk1')
        self.assertEqual(post(self.body(known))[0], 409)
        image = self.engine.state.disks[known]['image_id']
        self.assertEqual(post(self.body(volume=image))[0], 409)
        self.assertEqual(post(self.body('no-uuid'))[0], 400)
        self.assertEqual(self.c.call('DELETE', '/disks/' + known)[0], 409)

    def test_failed_create_is_gone(self):
        ident = self.make('disk3', more='<initial_size>4096</initial_size>')
        self.wait_jobs('disk3')
        self.assertTrue(self.gone('/disks/' + ident))
        self.assertEqual(self.codes('disk3'), [2020, 2022])
        self.settle()

    def transfer(self, ident, direction='<direction>upload</direction>'):
        status, doc = self.c.call(
            'POST', '/imagetransfers', '<image_transfer><disk id="%s"/>%s'
            '<inactivity_timeout>0</inactivity_timeout></image_transfer>'
            % (ident, direction))
        self.assertIn(status, (201, 202))
        self.assertEqual(doc.findtext('phase'), 'initializing')
        path = '/imagetransfers/' + doc.get('id')
        self.wait(lambda: self.c.get(path).findtext('phase')
                  == 'transferring')
        return path

    def phase(self, path, *wanted):
        self.wait(lambda: self.c.get(path).findtext('phase') in wanted)

    def act(self, path):
        return self.c.call('POST', path, '<action/>')[0]

    def test_upload(self):
        ident = self.ready('up1')
        vol = self.c.get('/disks/' + ident).findtext('image_id')
        path = self.transfer(ident, '')           # upload is the default
        self.assertEqual(self.storage.metas[ident, vol]['LEGALITY'],
                         'ILLEGAL')
        self.assertEqual(self.c.get('/disks/' + ident).findtext('status'),
                         'locked')
        self.assertEqual(self.c.call('DELETE', '/disks/' + ident)[0], 409)
        self.assertIsNotNone(self.c.get(path).find('transfer_url'))
        self.assertEqual(self.act(path + '/finalize'), 200)
        self.phase(path, 'finished_success')
        self.assertEqual(self.storage.metas[ident, vol]['LEGALITY'], 'LEGAL')
        self.assertEqual(self.c.get('/disks/' + ident).findtext('status'),
                         'ok')
        self.assertEqual(self.act(path + '/cancel'), 409)
        self.settle()
        self.assertEqual(self.c.call('DELETE', '/disks/' + ident)[0], 200)
        self.settle()

    def test_cancel_and_bad_image_delete_the_disk(self):
        ident = self.ready('up2')
        path = self.transfer(ident)
        self.assertEqual(self.act(path + '/cancel'), 200)
        self.phase(path, 'finished_cleanup')
        self.assertTrue(self.gone('/disks/' + ident))
        ident = self.ready('up3')
        path = self.transfer(ident)
        self.storage.broken = 'backing file'
        self.act(path + '/finalize')
        self.phase(path, 'finished_failure')
        self.storage.broken = None
        self.assertTrue(self.gone('/disks/' + ident))
        self.settle()

    def test_download_holds_the_vm(self):
        vm, snap = self.vm('vm1'), self.ctl('add-snapshot', 'vm1', 'hold')
        img = self.disk('vm1_Disk1')
        vol = self.c.get('/vms/%s/snapshots/%s/disks/%s'
                         % (vm, snap, img)).findtext('image_id')
        _, doc = self.c.call(
            'POST', '/imagetransfers', '<image_transfer><snapshot id="%s"/>'
            '<direction>download</direction><inactivity_timeout>0'
            '</inactivity_timeout></image_transfer>' % vol)
        path = '/imagetransfers/' + doc.get('id')
        self.phase(path, 'transferring')
        self.assertEqual(self.c.call('DELETE', '/vms/%s/snapshots/%s'
                                     % (vm, snap))[0], 409)
        self.assertEqual(self.c.call('POST', '/vms/%s/snapshots' % vm,
                                     self.snapshot_body())[0], 409)
        self.act(path + '/finalize')
        self.phase(path, 'finished_success')
        self.ctl('remove-snapshot', 'vm1', snap)
        self.assertEqual(self.ctl('extra'), [])

    def test_idle_transfer(self):
        ident = self.ready('idle')
        path = self.transfer(ident)
        row = self.engine.state.transfers[path.rsplit('/', 1)[1]]
        row['inactivity_timeout'] = 0.01
        self.phase(path, 'paused_system')
        self.act(path + '/resume')
        row['inactivity_timeout'] = 0
        self.act(path + '/cancel')
        self.phase(path, 'finished_cleanup')
        self.settle()


class Machines(Base):
    def ovf_of(self, name):
        """The OVF of a VM as a snapshot keeps it."""
        snap = self.ctl('add-snapshot', name, 'ovf')
        doc = self.c.get('/vms/%s/snapshots/%s?all_content'
                         % (self.vm(name), snap))
        self.ctl('remove-snapshot', name, snap)
        return doc.findtext('initialization/configuration/data')

    def post(self, name, ovf, regenerate='true', cluster=True):
        vm = ET.Element('vm')
        if name is not None:
            ET.SubElement(vm, 'name').text = name
        if cluster:
            ET.SubElement(vm, 'cluster').set(
                'id', next(iter(self.engine.state.clusters)))
        init = ET.SubElement(vm, 'initialization')
        ET.SubElement(init, 'regenerate_ids').text = regenerate
        conf = ET.SubElement(init, 'configuration')
        ET.SubElement(conf, 'type').text = 'ovf'
        ET.SubElement(conf, 'data').text = ovf
        return self.c.call('POST', '/vms', ET.tostring(vm),
                           Correlation_Id='imp-%s' % uuid.uuid4().hex[:8])

    def codes_now(self):
        return self.codes(self.c.reply.getheader('Correlation-Id'))

    def test_import_stripped(self):
        ovf = strip(self.ovf_of('vm1'))
        status, doc = self.post('copy_of_vm1', ovf)
        self.assertEqual(status, 201, ET.tostring(doc))
        self.assertEqual(self.codes_now(), [174])
        vm = doc.get('id')
        self.assertNotEqual(vm, self.vm('vm1'))
        self.assertEqual(doc.findtext('status'), 'down')
        self.assertEqual(self.c.ids('/vms/%s/diskattachments' % vm), [])
        nic = self.c.get('/vms/%s/nics' % vm)[0]
        self.assertIsNotNone(nic.find('vnic_profile'))
        self.assertNotEqual(nic.findtext('mac/address'),
                            self.engine.state.vms[self.vm('vm1')]['nics'][0]
                            ['mac'])
        row = self.engine.state.vms[vm]
        self.assertEqual(base64.b64decode(row['tpm']), b'tpm state')
        self.assertEqual(row['bios_type'], 'q35_secure_boot')
        self.assertEqual(self.post('copy_of_vm1', ovf)[0], 409)
        self.assertEqual(self.c.call('DELETE', '/vms/' + vm)[0], 200)
        self.wait(lambda: self.gone('/vms/' + vm))
        self.settle()
        self.assertEqual(self.ctl('extra'), [])

    def test_import_refusals(self):
        ovf = self.ovf_of('vm1')
        self.assertEqual(self.post('x', ovf, cluster=False)[0], 400)
        self.assertEqual(self.post('x', '<a/>')[0], 400)
        self.assertEqual(self.post('x', 'no xml')[0], 400)
        # Without new ids: the VM exists still.
        self.assertEqual(self.post('x', ovf, 'false')[0], 409)
        self.assertEqual(self.post('has space', strip(ovf))[0], 400)
        status, doc = self.post('y', '')
        self.assertEqual(status, 400)
        self.assertEqual(doc.findtext('reason'), 'Incomplete parameters')

    def test_import_with_disks_does_not_attach(self):
        status, doc = self.post('trap', self.ovf_of('vm1'))
        self.assertEqual(status, 201)
        self.assertEqual(self.codes_now(), [175])
        self.assertEqual(self.c.ids('/vms/%s/diskattachments'
                                    % doc.get('id')), [])
        self.c.call('DELETE', '/vms/' + doc.get('id'))
        self.settle()

    def test_attach_start_stop_remove(self):
        status, doc = self.c.call(
            'POST', '/vms', '<vm><name>runs</name><cluster><name>Default'
            '</name></cluster><template><name>Blank</name></template></vm>')
        self.assertEqual(status, 201)
        vm = '/vms/' + doc.get('id')
        img = Disks.ready(self, 'att1')
        body = ('<disk_attachment><active>true</active>%s<interface>'
                'virtio_scsi</interface><disk id="%s"/></disk_attachment>')
        status, doc = self.c.call('POST', vm + '/diskattachments',
                                  body % ('', img))
        self.assertEqual(status, 400)
        body = body % ('<bootable>true</bootable>', img)
        self.assertEqual(self.c.call('POST', vm + '/diskattachments',
                                     body)[0], 201)
        self.assertEqual(self.c.call('POST', vm + '/diskattachments',
                                     body)[0], 409)
        self.assertEqual(self.c.call('POST', vm + '/start',
                                     '<action/>')[0], 200)
        self.wait(lambda: self.c.get(vm).findtext('status') == 'up')
        self.assertIsNotNone(self.c.get(vm).find('host'))
        self.settle()
        self.assertEqual(self.c.call('DELETE', vm)[0], 409)
        self.assertEqual(self.c.call('DELETE', '/disks/' + img)[0], 409)
        self.c.call('POST', vm + '/stop', '<action/>')
        self.wait(lambda: self.c.get(vm).findtext('status') == 'down')
        self.settle()
        self.assertEqual(self.c.call(
            'PUT', vm, '<vm><name>vm1</name></vm>')[0], 409)
        self.assertEqual(self.c.call('PUT', vm, '<vm><delete_protected>true'
                                     '</delete_protected></vm>')[0], 200)
        self.assertEqual(self.c.call('DELETE', vm)[0], 409)
        self.c.call('PUT', vm, '<vm><delete_protected>false'
                    '</delete_protected></vm>')
        self.assertEqual(self.c.call('DELETE', vm + '?detach_only=true')[0],
                         200)
        self.wait(lambda: self.gone(vm))
        self.settle()
        self.assertEqual(self.c.get('/disks/' + img).findtext('status'),
                         'ok')
        self.c.call('DELETE', '/disks/' + img)
        self.settle()
        self.assertEqual(self.ctl('extra'), [])

    make, body = Disks.make, Disks.body
