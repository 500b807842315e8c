# SPDX-License-Identifier: Apache-2.0
"""The OVF that the engine writes, and its reader."""

import base64
import binascii
import xml.etree.ElementTree as ET

from .errors import bad
from .state import BLANK, GIGABYTE, MEGABYTE
from .xmlout import leaf, node

OVF = 'http://schemas.dmtf.org/ovf/envelope/1/'
CIM = 'http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/'
RASD = CIM + 'CIM_ResourceAllocationSettingData'
VSSD = CIM + 'CIM_VirtualSystemSettingData'
XSI = 'http://www.w3.org/2001/XMLSchema-instance'
for _prefix, _uri in (('ovf', OVF), ('rasd', RASD), ('vssd', VSSD),
                      ('xsi', XSI)):
    ET.register_namespace(_prefix, _uri)

INTERFACES = {'virtio_scsi': 'VirtIO_SCSI', 'virtio': 'VirtIO', 'ide': 'IDE',
              'sata': 'SATA', 'spapr_vscsi': 'SPAPR_VSCSI'}
NIC_TYPES = {'virtio': 3, 'e1000': 2, 'rtl8139': 1, 'e1000e': 6}
BIOS_TYPES = {'i440fx_sea_bios': 1, 'q35_sea_bios': 2, 'q35_ovmf': 3,
              'q35_secure_boot': 4}


def configuration(text):
    """<initialization> with the OVF as escaped text; None without one."""
    if text is None:
        return None
    return node('initialization', node(
        'configuration', leaf('data', text), leaf('type', 'ovf')))


def gib(size):
    return -(-size // GIGABYTE)


def date(stamp):
    return stamp.strftime('%Y/%m/%d %H:%M:%S')


def _add(parent, tag, text=None, ns=None, /, **attrs):
    if ns:
        tag = '{%s}%s' % (ns, tag)
    elem = ET.SubElement(parent, tag)
    if text is not None:
        elem.text = str(text)
    for key, value in attrs.items():
        elem.set('{%s}%s' % (OVF, key.replace('__', '-')), str(value))
    return elem


def _section(parent, kind, info=None):
    section = ET.SubElement(parent, 'Section')
    section.set('{%s}type' % XSI, 'ovf:%s_Type' % kind)
    if info is not None:
        _add(section, 'Info', info)
    return section


def _bool(value):
    return 'true' if value else 'false'


class Writer:
    """config: as State.config_copy; layers: the volumes to list; shown: the
    snapshots to list; storage_ids: name the storage domains."""

    def __init__(self, state, vm_id, config, layers, shown, storage_ids):
        self.state = state
        self.vm_id = vm_id
        self.config = config
        self.layers = layers
        self.shown = shown
        self.storage_ids = storage_ids
        self.cluster = state.clusters[config['cluster']]

    def text(self):
        top = ET.Element('{%s}Envelope' % OVF)
        top.set('{%s}version' % OVF, '4.5.0.0')
        files = _add(top, 'References')
        for volume in self.layers:
            _add(files, 'File', href=self._path(volume), id=volume['id'],
                 size=volume['actual_size'],
                 description=self._disk(volume)['description'],
                 disk_storage_type='IMAGE', cinder_volume_type='')
        self._networks(top)
        self._disks(top)
        self._system(top)
        return ('<?xml version="1.0" encoding="UTF-8"?>' +
                ET.tostring(top, encoding='unicode'))

    def _path(self, volume):
        return '%s/%s' % (volume['disk'], volume['id'])

    def _disk(self, volume):
        return self.state.disks[volume['disk']]

    def _alias(self, volume):
        return self.config['aliases'].get(volume['disk'],
                                          self._disk(volume)['alias'])

    def _attachment(self, volume):
        return self.config['attachments'][volume['disk']]

    def _network_of(self, nic):
        row = self.state.vnicprofiles.get(nic['vnicprofile'])
        return (row['network'], row['name']) if row else (None, None)

    def _networks(self, top):
        section = _add(top, 'NetworkSection')
        _add(section, 'Info', 'List of networks')
        names = {self._network_of(nic)[0] for nic in self.config['nics']}
        for name in sorted(name for name in names if name):
            _add(section, 'Network', name=name)

    def _disks(self, top):
        section = _section(top, 'DiskSection', 'List of Virtual Disks')
        for volume in self.layers:
            disk, att = self._disk(volume), self._attachment(volume)
            parent = volume['parent']
            _add(section, 'Disk', diskId=volume['id'],
                 size=gib(volume['provisioned_size']),
                 actual_size=gib(volume['actual_size']),
                 vm_snapshot_id=volume['snapshot'] or '',
                 # Not reliable in the real engine either: the first layer.
                 parentRef=self._path(self.layers[0]) if parent else '',
                 fileRef=self._path(volume),
                 format='http://www.vmware.com/specifications/vmdk.html'
                 '#sparse' if volume['sparse'] else
                 'http://en.wikipedia.org/wiki/Byte',
                 volume__format=volume['format'].upper(),
                 volume__type='Sparse' if volume['sparse'] else
                 'Preallocated',
                 disk__interface=INTERFACES[att['interface']],
                 read__only=_bool(att['read_only']),
                 shareable=_bool(disk['shareable']),
                 boot=_bool(att['bootable']),
                 pass__discard=_bool(att['pass_discard']),
                 incremental__backup=_bool(disk['backup'] == 'incremental'),
                 disk__alias=self._alias(volume),
                 disk__description=disk['description'],
                 wipe__after__delete=_bool(disk['wipe_after_delete']))

    def _system(self, top):
        config = self.config
        system = _add(top, 'Content', id='out')
        system.set('{%s}type' % XSI, 'ovf:VirtualSystem_Type')
        template = self.state.templates.get(config['template'])
        for name, text in (
                ('Name', config['name']),
                ('Description', config['description']),
                ('Comment', config['comment']),
                ('CreationDate', date(config['created'])),
                ('ExportDate', date(config['created'])),
                ('DeleteProtected', 'false'), ('TimeZone', 'Etc/GMT'),
                ('default_boot_sequence', 0), ('Generation', 1),
                ('ClusterCompatibilityVersion', '%d.%d'
                 % self.cluster['version']),
                ('VmType', 1), ('MinAllocatedMem',
                                config['memory'] // MEGABYTE),
                ('IsStateless', 'false'), ('AutoStartup', 'false'),
                ('Priority', 1), ('MigrationSupport', 0),
                ('BiosType', BIOS_TYPES[config['bios_type']]),
                ('PredefinedProperties', ''), ('UserDefinedProperties', ''),
                ('MaxMemorySizeMb', 4 * config['memory'] // MEGABYTE),
                ('ClusterName', self.cluster['name']),
                ('TemplateId', config['template']),
                ('TemplateName', template['name'] if template else 'Blank'),
                ('IsInitilized', 'false'), ('Origin', 3),
                ('TpmData', config['tpm']), ('NvramData', config['nvram'])):
            if text is not None:
                _add(system, name, text)
        os_section = _section(system, 'OperatingSystemSection',
                              'Guest Operating System')
        os_section.set('{%s}id' % OVF, self.vm_id)
        os_section.set('{%s}required' % OVF, 'false')
        _add(os_section, 'Description', config['os'])
        self._hardware(system)
        self._snapshots(system)

    def _hardware(self, system):
        config = self.config
        megs = config['memory'] // MEGABYTE
        section = _section(system, 'VirtualHardwareSection', '%d CPU, %d '
                           'Memory' % (config['cores'], megs))
        kind = _add(section, 'System')
        _add(kind, 'VirtualSystemType', 'ENGINE 4.5.0.0', VSSD)
        self._item(section, ('Caption', '%d virtual cpu' % config['cores']),
                   ('InstanceId', 1), ('ResourceType', 3),
                   ('num_of_sockets', 1), ('cpu_per_socket', config['cores']),
                   ('threads_per_cpu', 1))
        self._item(section, ('Caption', '%d MB of memory' % megs),
                   ('InstanceId', 2), ('ResourceType', 4),
                   ('AllocationUnits', 'MegaBytes'),
                   ('VirtualQuantity', megs))
        for volume in self.layers:
            self._drive(section, volume)
        for nic in config['nics']:
            self._nic(section, nic)

    @staticmethod
    def _item(section, *values):
        item = _add(section, 'Item')
        for name, text in values:
            _add(item, name, text, RASD)
        return item

    def _drive(self, section, volume):
        disk, att = self._disk(volume), self._attachment(volume)
        base = self.state.disk_volumes(disk)[-1]['parent'] or BLANK
        values = [('Caption', self._alias(volume)),
                  ('InstanceId', volume['id']), ('ResourceType', 17),
                  ('HostResource', self._path(volume)),
                  ('Parent', volume['parent'] or BLANK), ('Template', base)]
        if self.storage_ids:
            domain = self.state.storagedomains[disk['domain']]
            values += [('StorageId', domain['id']),
                       ('StoragePoolId', domain['datacenter'])]
        values += [('CreationDate', date(volume['created'])),
                   ('LastModified', date(volume['created'])),
                   ('last_modified_date', date(volume['created']))]
        item = self._item(section, *values)
        for name, text in (
                ('Type', 'disk'), ('Device', 'disk'),
                ('BootOrder', 1 if att['bootable'] else 0),
                ('IsPlugged', _bool(att['active'])),
                ('IsReadOnly', _bool(att['read_only'])),
                ('Alias', 'ua-' + disk['id'])):
            _add(item, name, text)

    def _nic(self, section, nic):
        network, profile = self._network_of(nic)
        item = self._item(
            section, ('Caption', 'Ethernet adapter on %s'
                      % (network or '[No Network]')),
            ('InstanceId', nic['id']), ('ResourceType', 10),
            ('OtherResourceType', profile or ''),
            ('ResourceSubType', NIC_TYPES.get(nic['interface'], 3)),
            ('Connection', network or ''), ('Linked', _bool(nic['linked'])),
            ('Name', nic['name']), ('ElementName', nic['name']),
            ('MACAddress', nic['mac']), ('speed', 10000))
        for name, text in (('Type', 'interface'), ('Device', 'bridge'),
                           ('BootOrder', 0),
                           ('IsPlugged', _bool(nic['plugged'])),
                           ('IsReadOnly', 'false'),
                           ('Alias', 'ua-' + nic['id'])):
            _add(item, name, text)

    def _snapshots(self, system):
        if not self.shown:
            return
        section = _section(system, 'SnapshotsSection')
        for snap in self.shown:
            elem = _add(section, 'Snapshot', id=snap['id'])
            _add(elem, 'Type', snap['type'].upper())
            _add(elem, 'Description', snap['description'])
            _add(elem, 'CreationDate', date(snap['date']))
            if snap['type'] == 'regular' and self.storage_ids:
                inner = of_snapshot(self.state, snap)
                _add(elem, 'VmConfiguration', base64.b64encode(
                    inner.encode()).decode())


def of_vm(state, vm):
    """The whole VM; None while it or one of its leaves is locked."""
    own = [state.disks[img] for img, att in vm['attachments'].items()
           if not att['snapshot']]
    if vm['status'] == 'image_locked' or \
            any(state.disk_status(disk) == 'locked' for disk in own):
        return None
    layers = [v for disk in own for v in state.disk_volumes(disk)]
    return Writer(state, vm['id'], state.config_copy(vm), layers,
                  state.vm_snapshots(vm), True).text()


def of_snapshot(state, snap):
    """What a snapshot keeps: its own layers, no storage ids."""
    layers = sorted((v for v in state.snapshot_volumes(snap)
                     if v['disk'] in snap['config']['attachments']),
                    key=lambda v: v['disk'])
    return Writer(state, snap['vm'], snap['config'], layers,
                  [state.active_snapshot(snap['vm'])], False).text()


# -- reading --------------------------------------------------------------

def _local(elem):
    return elem.tag.rsplit('}', 1)[-1]


def _child(elem, name, default=None):
    for child in elem:
        if _local(child) == name:
            return child.text or ''
    return default


def _attr(elem, name, default=None):
    for key, value in elem.attrib.items():
        if key.rsplit('}', 1)[-1] == name:
            return value
    return default


def read(text):
    """A dict: id, name, description, comment, os, memory, cores, tpm, nvram,
    nics [..], disks [..] (one entry a disk item)."""
    try:
        if '<!DOCTYPE' in text:
            raise ValueError('DOCTYPE')
        top = ET.fromstring(text.encode())
    except (ET.ParseError, ValueError) as err:
        raise bad('Cannot import VM. Failed to parse the given OVF '
                  'configuration: %s' % err)
    if _local(top) != 'Envelope' or not top.tag.startswith('{%s}' % OVF):
        raise bad('Cannot import VM. The configuration is no OVF envelope.')
    content = next((e for e in top if _local(e) == 'Content'), None)
    if content is None:
        raise bad('Cannot import VM. The OVF has no Content.')
    result = {'name': _child(content, 'Name'), 'id': None,
              'description': _child(content, 'Description', ''),
              'comment': _child(content, 'Comment', ''),
              'tpm': _child(content, 'TpmData'),
              'nvram': _child(content, 'NvramData'), 'os': 'other',
              'memory': GIGABYTE, 'cores': 1, 'nics': [], 'disks': [],
              'bios_type': _bios(_child(content, 'BiosType', '2'))}
    for blob in ('tpm', 'nvram'):
        _check_blob(blob, result[blob])
    drives = {_attr(e, 'diskId'): e for e in top.iter()
              if _local(e) == 'Disk'}
    for section in content:
        kind = _attr(section, 'type', '')
        if kind == 'ovf:OperatingSystemSection_Type':
            result['id'] = _attr(section, 'id')
            result['os'] = _child(section, 'Description', 'other')
        elif kind == 'ovf:VirtualHardwareSection_Type':
            for elem in section:
                if _local(elem) == 'Item':
                    _read_item(elem, drives, result)
    if result['id'] is None:
        raise bad('Cannot import VM. The OVF has no VM id.')
    return result


def _bios(number):
    for name, value in BIOS_TYPES.items():
        if str(value) == number:
            return name
    raise bad('Cannot import VM. Unknown BiosType %s.' % number)


def _check_blob(name, text):
    try:
        if text is not None:
            base64.b64decode(text, validate=True)
    except binascii.Error:
        raise bad('Cannot import VM. The %s data is damaged.' % name)


def _read_item(elem, drives, result):
    kind = _child(elem, 'ResourceType')
    try:
        if kind == '3':
            result['cores'] = int(_child(elem, 'cpu_per_socket', '1'))
        elif kind == '4':
            result['memory'] = int(_child(elem, 'VirtualQuantity')) * MEGABYTE
    except (TypeError, ValueError):
        raise bad('Cannot import VM. Damaged hardware item in the OVF.')
    if kind == '10':
        result['nics'].append({
            'id': _child(elem, 'InstanceId'), 'name': _child(elem, 'Name'),
            'mac': _child(elem, 'MACAddress'),
            'network': _child(elem, 'Connection') or None,
            'profile': _child(elem, 'OtherResourceType') or None,
            'interface': _nic_type(_child(elem, 'ResourceSubType', '3')),
            'linked': _child(elem, 'Linked', 'true') == 'true',
            'plugged': _child(elem, 'IsPlugged', 'true') == 'true'})
    elif kind == '17':
        drive = drives.get(_child(elem, 'InstanceId'))
        path = _child(elem, 'HostResource', '')
        result['disks'].append({
            'disk': path.partition('/')[0],
            'bootable': drive is not None and
            _attr(drive, 'boot') == 'true',
            'interface': _interface(drive),
            'active': _child(elem, 'IsPlugged', 'true') == 'true',
            'read_only': _child(elem, 'IsReadOnly', 'false') == 'true'})


def _nic_type(number):
    for name, value in NIC_TYPES.items():
        if str(value) == number:
            return name
    return 'virtio'


def _interface(drive):
    wanted = None if drive is None else _attr(drive, 'disk-interface')
    for name, text in INTERFACES.items():
        if text == wanted:
            return name
    return 'virtio'
