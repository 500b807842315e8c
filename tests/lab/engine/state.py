# SPDX-License-Identifier: Apache-2.0
"""All objects of one engine: plain dicts, one lock.

Every table is a dict id -> row; a row is a plain dict.  Whoever reads or
writes rows holds `state.lock` (re-entrant); nobody holds it across a storage
action.  The add_* helpers register what already exists on storage: they touch
no file.  They return the new row and take ids as well as rows for references.

Rows (only what is not obvious):
  volumes[VOL]    one layer: disk, parent (VOL or None), snapshot (the id of
                  the VM snapshot that it belongs to; the leaf belongs to the
                  ACTIVE snapshot), format, sparse, provisioned_size, status
  disks[IMG]      image_id is the VOL of the leaf, whose status is the disk's;
                  template is set on a disk that belongs to a template
  snapshots[ID]   one row of type `active` for each VM is always there
  vms[ID]         attachments is a dict IMG -> attachment; nics a list
"""

import copy
import datetime
import threading
import time
import uuid

BLANK = '00000000-0000-0000-0000-000000000000'
MEGABYTE = 1 << 20
GIGABYTE = 1 << 30

# A zone that is not the tests' own: who forgets the offset is found out.
ZONE = datetime.timezone(datetime.timedelta(hours=2))


def new_id():
    return str(uuid.uuid4())


# How much the engine's clock is ahead: control.py sets it.
CLOCK = {'ahead': datetime.timedelta()}


def now():
    return datetime.datetime.now(ZONE) + CLOCK['ahead']


def row_id(ref):
    """The id of a row, or the id itself."""
    return ref['id'] if isinstance(ref, dict) else ref


class State:
    def __init__(self):
        self.lock = threading.RLock()
        self.instance_id = new_id()
        self.datacenters = {}
        self.clusters = {}
        self.hosts = {}
        self.storagedomains = {}
        self.templates = {}
        self.vms = {}
        self.disks = {}
        self.volumes = {}
        self.snapshots = {}
        self.jobs = {}
        self.events = []
        self.tags = {}
        self.vnicprofiles = {}
        self.transfers = {}
        self.mac_next = 0x001a4a160100
        self.event_next = 1000
        self.snapshot_dates = 0.0
        self.templates[BLANK] = {
            'id': BLANK, 'name': 'Blank', 'status': 'ok', 'cluster': None,
            'description': 'Blank template'}

    # -- places -----------------------------------------------------------

    def add_datacenter(self, name, id=None, version=(4, 7),
                       storage_format='v5'):
        row = {'id': id or new_id(), 'name': name, 'status': 'up',
               'version': version, 'storage_format': storage_format}
        with self.lock:
            self.datacenters[row['id']] = row
        return row

    def add_cluster(self, name, datacenter, id=None, version=(4, 7)):
        row = {'id': id or new_id(), 'name': name, 'version': version,
               'datacenter': row_id(datacenter)}
        with self.lock:
            self.clusters[row['id']] = row
        return row

    def add_host(self, name, address, cluster, ssh_port=22, public_key='',
                 fingerprint='', id=None, status='up', spm=False,
                 ssh_user='root'):
        """public_key: `TYPE BASE64` of the host key that the engine learned;
        fingerprint: `SHA256:...` of the same key."""
        row = {'id': id or new_id(), 'name': name, 'address': address,
               'cluster': row_id(cluster), 'ssh_port': ssh_port,
               'public_key': public_key, 'fingerprint': fingerprint,
               'status': status, 'spm': spm, 'ssh_user': ssh_user,
               'uuid': new_id()}
        with self.lock:
            self.hosts[row['id']] = row
        return row

    def add_domain(self, name, datacenter, address, path, id=None,
                   storage_type='nfs', storage_format='v5', master=False,
                   status='active'):
        row = {'id': id or new_id(), 'name': name,
               'datacenter': row_id(datacenter), 'address': address,
               'path': path, 'storage_type': storage_type,
               'storage_format': storage_format, 'master': master,
               'status': status, 'type': 'data', 'block_size': 512,
               'available': 900 * GIGABYTE, 'used': 100 * GIGABYTE,
               'committed': 50 * GIGABYTE}
        with self.lock:
            self.storagedomains[row['id']] = row
        return row

    def add_vnicprofile(self, name, network, datacenter, id=None):
        row = {'id': id or new_id(), 'name': name, 'network': network,
               'network_id': new_id(), 'datacenter': row_id(datacenter)}
        with self.lock:
            self.vnicprofiles[row['id']] = row
        return row

    def add_tag(self, name, id=None):
        row = {'id': id or new_id(), 'name': name}
        with self.lock:
            self.tags[row['id']] = row
        return row

    # -- templates, disks and layers --------------------------------------

    def add_template(self, name, cluster, id=None):
        """Its disks: add_disk (..., template=row)."""
        row = {'id': id or new_id(), 'name': name, 'status': 'ok',
               'cluster': row_id(cluster), 'description': '',
               'attachments': {}, 'created': now()}
        with self.lock:
            self.templates[row['id']] = row
        return row

    def add_disk(self, alias, domain, format, sparse, provisioned_size,
                 image_id, id=None, parent=None, template=None,
                 description='', content_type='data', status='ok',
                 shareable=False, backup='none', qcow_version='qcow2_v3'):
        """A disk with one volume, image_id.

        parent: VOL of a template's disk, for a disk thin on that template.
        template: the template that owns this disk (the base itself)."""
        disk = {'id': id or new_id(), 'alias': alias,
                'domain': row_id(domain), 'format': format, 'sparse': sparse,
                'provisioned_size': provisioned_size, 'image_id': image_id,
                'description': description, 'content_type': content_type,
                'storage_type': 'image', 'shareable': shareable, 'backup': backup,
                'wipe_after_delete': False, 'propagate_errors': False,
                'qcow_version': qcow_version,
                'template': row_id(template) if template else None}
        with self.lock:
            self.disks[disk['id']] = disk
            self.add_volume(image_id, disk, parent=parent, status=status)
            if template:
                self.templates[row_id(template)]['attachments'][disk['id']] = {
                    'disk': disk['id'], 'active': True, 'bootable': True,
                    'interface': 'virtio_scsi', 'read_only': False}
        return disk

    def add_lun(self, alias, lun_id, size, address='10.0.0.9', port=3260,
                target='iqn.2026-11.example:lab', id=None, shareable=False):
        """A direct LUN: no image, no layers, never in a snapshot."""
        disk = {'id': id or new_id(), 'alias': alias, 'domain': None,
                'format': 'raw', 'sparse': False, 'image_id': None,
                'provisioned_size': size, 'description': '',
                'content_type': 'data', 'storage_type': 'lun',
                'shareable': shareable, 'backup': 'none',
                'wipe_after_delete': False, 'propagate_errors': False,
                'qcow_version': None, 'template': None,
                'lun': {'id': lun_id, 'address': address, 'port': port,
                        'target': target}}
        with self.lock:
            self.disks[disk['id']] = disk
        return disk

    def add_volume(self, id, disk, parent=None, snapshot=None, format=None,
                   sparse=None, provisioned_size=None, status='ok'):
        disk = disk if isinstance(disk, dict) else self.disks[disk]
        row = {'id': id, 'disk': disk['id'],
               'parent': None if parent in (None, BLANK) else parent,
               'snapshot': row_id(snapshot) if snapshot else None,
               'format': format or disk['format'],
               'sparse': disk['sparse'] if sparse is None else sparse,
               'provisioned_size': provisioned_size or
               disk['provisioned_size'],
               'status': status, 'created': now(), 'actual_size': 0}
        with self.lock:
            self.volumes[id] = row
        return row

    # -- machines ---------------------------------------------------------

    def add_vm(self, name, cluster, id=None, status='down', host=None,
               template=None, memory=GIGABYTE, cores=1, description='',
               comment='', os='debian_12x64', nics=(), tags=(), tpm=None,
               nvram=None, **more):
        """nics: dicts with name and optional mac, interface, vnicprofile,
        plugged, linked.  tags: rows or ids.  tpm, nvram: the bytes of the
        state, as base64 text, or None."""
        row = {'id': id or new_id(), 'name': name, 'cluster': row_id(cluster),
               'status': status, 'host': row_id(host) if host else None,
               'template': row_id(template) if template else BLANK,
               'memory': memory, 'cores': cores, 'description': description,
               'comment': comment, 'os': os, 'tpm': tpm, 'nvram': nvram,
               'bios_type': 'q35_secure_boot' if nvram else 'q35_sea_bios',
               'tags': [row_id(tag) for tag in tags], 'nics': [],
               'attachments': {}, 'delete_protected': False,
               'has_illegal_images': False, 'generation': 1,
               'created': now(), 'frozen': False}
        row.update(more)
        with self.lock:
            self.vms[row['id']] = row
            for nic in nics:
                self.add_nic(row, **nic)
            self._add_active(row)
        return row

    def add_nic(self, vm, name, mac=None, interface='virtio',
                vnicprofile=None, plugged=True, linked=True, id=None):
        vm = vm if isinstance(vm, dict) else self.vms[vm]
        with self.lock:
            nic = {'id': id or new_id(), 'name': name,
                   'mac': mac or self.new_mac(), 'interface': interface,
                   'vnicprofile': row_id(vnicprofile) if vnicprofile
                   else None, 'plugged': plugged, 'linked': linked}
            vm['nics'].append(nic)
        return nic

    def new_mac(self):
        with self.lock:
            self.mac_next += 1
            text = '%012x' % self.mac_next
        return ':'.join(text[i:i + 2] for i in range(0, 12, 2))

    def attach(self, vm, disk, bootable=False, interface='virtio_scsi',
               active=True, read_only=False, pass_discard=False):
        vm = vm if isinstance(vm, dict) else self.vms[vm]
        row = {'disk': row_id(disk), 'bootable': bootable,
               'interface': interface, 'active': active,
               'read_only': read_only, 'pass_discard': pass_discard,
               'snapshot': None}
        with self.lock:
            vm['attachments'][row['disk']] = row
            leaf = self.volumes.get(self.disks[row['disk']]['image_id'])
            if leaf:
                leaf['snapshot'] = self.active_snapshot(vm)['id']
            vm['generation'] += 1
        return row

    # -- snapshots --------------------------------------------------------

    def add_snapshot(self, vm, description, volumes, id=None, date=None,
                     status='ok', new_active=None):
        """Register a snapshot whose child volumes exist already.

        volumes: {IMG: NEW-LEAF}, the new leaf of each disk of the snapshot.
        As in the engine the snapshot takes the id of the ACTIVE one (unless
        `id`), which gets a new id; disks that are not named move on with the
        ACTIVE snapshot and are not part of it."""
        vm = vm if isinstance(vm, dict) else self.vms[vm]
        with self.lock:
            active = self.active_snapshot(vm)
            config = self.config_copy(vm)
            del self.snapshots[active['id']]
            sid = id or active['id']
            row = {'id': sid, 'vm': vm['id'], 'description': description,
                   'status': status, 'type': 'regular',
                   'date': date or self.snapshot_date(),
                   'persist_memorystate': False, 'config': config}
            self.snapshots[sid] = row
            active['id'] = new_active or new_id()
            self.snapshots[active['id']] = active
            for img in vm['attachments']:
                disk = self.disks[img]
                old = self.volumes.get(disk['image_id'])
                if old is None:
                    continue
                if img not in volumes:
                    old['snapshot'] = active['id']
                    continue
                old['snapshot'] = sid
                self.add_volume(volumes[img], disk, parent=old['id'],
                                snapshot=active['id'], format='cow',
                                sparse=True)
                disk['image_id'] = volumes[img]
                disk['format'] = 'cow'
                disk['sparse'] = True
            config['disks'] = [img for img in config['attachments']
                               if img in volumes]
            vm['generation'] += 1
        return row

    def snapshot_date(self):
        """Strictly increasing, millisecond grain: list order is time order."""
        stamp = max(now().timestamp(), self.snapshot_dates + 0.001)
        self.snapshot_dates = stamp
        return datetime.datetime.fromtimestamp(stamp, ZONE)

    def config_copy(self, vm):
        """The configuration that a snapshot keeps: later changes of the VM
        do not show in it."""
        keys = ('name', 'description', 'comment', 'memory', 'cores', 'os',
                'nics', 'tpm', 'nvram', 'bios_type', 'attachments', 'cluster',
                'template', 'created')
        config = {key: copy.deepcopy(vm[key]) for key in keys}
        config['aliases'] = {img: self.disks[img]['alias']
                             for img in vm['attachments']}
        return config

    def _add_active(self, vm):
        sid = new_id()
        self.snapshots[sid] = {
            'id': sid, 'vm': vm['id'], 'description': 'Active VM',
            'status': 'ok', 'type': 'active', 'date': self.snapshot_date(),
            'persist_memorystate': False, 'config': None}

    # -- questions --------------------------------------------------------

    def vm_by_name(self, name):
        with self.lock:
            for vm in self.vms.values():
                if vm['name'] == name or vm['id'] == name:
                    return vm
        return None

    def active_snapshot(self, vm):
        vid = row_id(vm)
        for snap in self.snapshots.values():
            if snap['vm'] == vid and snap['type'] == 'active':
                return snap
        raise KeyError('no active snapshot of VM ' + vid)

    def vm_snapshots(self, vm):
        """All of them with the ACTIVE one first, then by date."""
        vid = row_id(vm)
        rows = [s for s in self.snapshots.values() if s['vm'] == vid]
        rows.sort(key=lambda s: (s['type'] != 'active', s['date']))
        return rows

    def disk_vms(self, disk):
        """The VMs that have this disk itself, not a snapshot of it."""
        img = row_id(disk)
        return [vm for vm in self.vms.values()
                if img in vm['attachments'] and
                not vm['attachments'][img].get('snapshot')]

    def disk_status(self, disk):
        disk = disk if isinstance(disk, dict) else self.disks[disk]
        leaf = self.volumes.get(disk['image_id'])
        return leaf['status'] if leaf else 'ok'

    def set_status(self, disk, status):
        """Of all layers of the disk."""
        for volume in self.disk_volumes(disk):
            volume['status'] = status

    def drop_disk(self, disk):
        """Forget the disk, its layers and its attachments."""
        img = row_id(disk)
        for table in (self.vms, self.templates):
            for row in table.values():
                row.get('attachments', {}).pop(img, None)
        for vol in [v['id'] for v in self.volumes.values()
                    if v['disk'] == img]:
            del self.volumes[vol]
        self.disks.pop(img, None)

    def disk_volumes(self, disk):
        """The layers of the disk, leaf first; the template's is not one."""
        disk = disk if isinstance(disk, dict) else self.disks[disk]
        rows = []
        vol = disk['image_id']
        while vol and vol in self.volumes:
            row = self.volumes[vol]
            if row['disk'] != disk['id']:
                break
            rows.append(row)
            vol = row['parent']
        return rows

    def snapshot_volumes(self, snap):
        sid = row_id(snap)
        return [v for v in self.volumes.values() if v['snapshot'] == sid]

    def child_volume(self, vol):
        """The layer of the same disk above `vol`, or None."""
        base = self.volumes[vol]
        for row in self.volumes.values():
            if row['parent'] == vol and row['disk'] == base['disk']:
                return row
        return None

    def children(self, vol):
        return [v for v in self.volumes.values() if v['parent'] == vol]
