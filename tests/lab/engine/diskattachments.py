# SPDX-License-Identifier: Apache-2.0
"""The disks of a VM: attach, (de)activate, detach (2.6, 6.3, section 9)."""

from . import disks, xmlout
from .errors import NotFound, bad, conflict, incomplete
from .server import Reply
from .xmlout import item, leaf, leaves, node, ref

INTERFACES = ('ide', 'sata', 'virtio', 'virtio_scsi', 'spapr_vscsi')


def attachment_xml(state, vm, row):
    base = 'vms/%s/diskattachments' % vm['id']
    disk = ref('disk', 'disks', row['disk'])
    if row['snapshot']:
        disk.append(node('snapshot', id=row['snapshot']))
    name = '/dev/sd' + 'abcdefghijklmnop'[
        min(15, list(vm['attachments']).index(row['disk']))]
    return item('disk_attachment', base, row['disk'],
                *leaves(active=row['active'], bootable=row['bootable'],
                        interface=row['interface'],
                        logical_name=name if vm['status'] == 'up' and
                        row['active'] else None,
                        pass_discard=row['pass_discard'],
                        read_only=row['read_only'],
                        uses_scsi_reservation=False),
                disk, ref('vm', 'vms', vm['id']))


def find(engine, vm, disk=None):
    row = engine.state.vms.get(vm)
    if row is None or (disk is not None and disk not in row['attachments']):
        raise NotFound()
    return row if disk is None else (row, row['attachments'][disk])


def attachments(engine, request, vm):
    state = engine.state
    with state.lock:
        owner = find(engine, vm)
        return node('disk_attachments', *[
            attachment_xml(state, owner, row) for row in
            owner['attachments'].values()])


def attachment(engine, request, vm, disk):
    with engine.state.lock:
        return attachment_xml(engine.state, *find(engine, vm, disk))


# -- attach ---------------------------------------------------------------

def wanted(doc):
    """Interface and bootable are mandatory; active is not, but undefined
    without: here it is false, so that who forgets it notices."""
    interface = xmlout.get(doc, 'interface')
    bootable = xmlout.get_bool(doc, 'bootable')
    missing = [name for name, value in
               (('bootable', bootable), ('interface', interface))
               if value is None]
    if missing:
        raise incomplete('DiskAttachment', ', '.join(missing))
    if interface not in INTERFACES:
        raise bad('Invalid value %s for DiskInterface' % interface)
    return {'interface': interface, 'bootable': bootable,
            'active': xmlout.get_bool(doc, 'active', False),
            'read_only': xmlout.get_bool(doc, 'read_only', False),
            'pass_discard': xmlout.get_bool(doc, 'pass_discard', False)}


def refuse(engine, vm, disk, want, snapshot):
    state = engine.state
    what = 'attach Virtual Disk'
    if vm['status'] not in ('up', 'paused', 'down'):
        raise conflict('Cannot %s. VM %s is %s.' % (what, vm['name'],
                                                    vm['status']))
    if engine.locks.busy(('vm', vm['id'])):
        raise conflict('Cannot %s. VM is locked. Please try again later.'
                       % what)
    if disk['template']:
        raise conflict('Cannot %s. The disk belongs to a template.' % what)
    if disk['id'] in vm['attachments']:
        raise conflict('Cannot %s. The disk is already attached to VM.'
                       % what)
    if want['bootable'] and any(att['bootable'] for att in
                                vm['attachments'].values()):
        raise conflict('Cannot %s. VM %s already has a boot disk.'
                       % (what, vm['name']))
    if snapshot is None:
        disks.require_usable(engine, what, [disk])
        if state.disk_vms(disk) and not disk['shareable']:
            raise conflict('Cannot %s. The disk is not shareable and is '
                           'already attached to a VM.' % what)
        return
    row = state.snapshots.get(snapshot)
    if row is None or not any(v['disk'] == disk['id'] for v in
                              state.snapshot_volumes(row)):
        raise bad('Cannot %s. The disk has no such snapshot.' % what)
    if row['status'] != 'ok':
        raise conflict('Cannot %s. The snapshot is locked.' % what)


def add(engine, request, vm):
    doc = request.doc('disk_attachment')
    state = engine.state
    found = doc.find('disk')
    if found is None or not found.get('id'):
        raise incomplete('DiskAttachment', 'disk.id')
    want = wanted(doc)
    snapshot = xmlout.get_id(doc, 'disk/snapshot')
    with state.lock:
        owner = find(engine, vm)
        disk = state.disks.get(found.get('id'))
        if disk is None:
            raise bad('Cannot attach Virtual Disk. The specified disk does '
                      'not exist.')
        refuse(engine, owner, disk, want, snapshot)
        held = engine.locks.take('attach Virtual Disk',
                                 [] if snapshot else [('disk', disk['id'])],
                                 [('vm', vm)])
    with held:
        if owner['status'] != 'down' and want['active']:
            plug(engine, owner, disk, True)
        with state.lock:
            if snapshot:
                owner['attachments'][disk['id']] = dict(
                    want, disk=disk['id'], snapshot=snapshot)
            else:
                state.attach(owner, disk, **want)
    engine.event(request, 2016, "Disk %s was successfully attached to VM %s "
                 'by %s.' % (disk['alias'], owner['name'], request.user),
                 vm=vm)
    with state.lock:
        return Reply(201, attachment_xml(state, *find(engine, vm,
                                                      disk['id'])))


def plug(engine, owner, disk, on):
    """Hot(un)plug; a failure is the caller's 409."""
    try:
        if on:
            engine.storage.vms.plug(owner['id'], disk['domain'], disk['id'],
                                    disk['image_id'])
        else:
            engine.storage.vms.unplug(owner['id'], disk['id'])
    except Exception as err:
        raise conflict('Failed to hot-plug disk %s: %s' % (disk['alias'],
                                                           err))


# -- change, detach -------------------------------------------------------

def update(engine, request, vm, disk):
    doc = request.doc('disk_attachment')
    state = engine.state
    what = 'edit Virtual Disk'
    with state.lock:
        owner, row = find(engine, vm, disk)
        engine.locks.take(what, [('vm', vm)]).release()
        interface = xmlout.get(doc, 'interface', row['interface'])
        bootable = xmlout.get_bool(doc, 'bootable', row['bootable'])
        active = xmlout.get_bool(doc, 'active', row['active'])
        if interface not in INTERFACES:
            raise bad('Invalid value %s for DiskInterface' % interface)
        if bootable and any(att['bootable'] for att in
                            owner['attachments'].values()
                            if att is not row):
            raise conflict('Cannot %s. VM %s already has a boot disk.'
                           % (what, owner['name']))
        switch = active != row['active'] and owner['status'] != 'down'
    if switch:
        plug(engine, owner, state.disks[disk], active)
    with state.lock:
        row.update(interface=interface, bootable=bootable, active=active,
                   read_only=xmlout.get_bool(doc, 'read_only',
                                             row['read_only']))
        inner = doc.find('disk')
        target = state.disks[disk]
    if inner is not None:
        disks.change(engine, request, target, inner)
    with state.lock:
        return attachment_xml(state, owner, row)


def delete(engine, request, vm, disk):
    """detach_only defaults to true: false DELETES the disk."""
    state = engine.state
    what = 'detach Virtual Disk'
    keep = request.flag('detach_only', True)
    with state.lock:
        owner, row = find(engine, vm, disk)
        target = state.disks[disk]
        if not row['snapshot'] and keep:
            disks.require_usable(engine, what, [target], illegal=False)
            if len(state.disk_volumes(target)) > 1:
                raise conflict('Cannot %s. The disk %s contains snapshots '
                               'and cannot be detached.'
                               % (what, target['alias']))
        if engine.locks.busy(('vm', vm)) and not row['snapshot']:
            raise conflict('Cannot %s. VM is locked. Please try again '
                           'later.' % what)
        if owner['status'] not in ('up', 'paused', 'down'):
            raise conflict('Cannot %s. VM is %s.' % (what, owner['status']))
    if row['snapshot'] or keep:
        if owner['status'] != 'down' and row['active']:
            plug(engine, owner, target, False)
        with state.lock:
            owner['attachments'].pop(disk, None)
            if not row['snapshot'] and target['image_id']:
                state.volumes[target['image_id']]['snapshot'] = None
        engine.event(request, 2018, 'Disk %s was successfully detached from '
                     'VM %s by %s.' % (target['alias'], owner['name'],
                                       request.user), vm=vm)
        return node('action', leaf('status', 'complete'))
    job = disks.remove(engine, request, target)
    return node('action', ref('job', 'jobs', job['id']),
                leaf('status', 'complete'))


ROUTES = [
    ('GET', '/vms/{vm}/diskattachments', attachments),
    ('POST', '/vms/{vm}/diskattachments', add),
    ('GET', '/vms/{vm}/diskattachments/{disk}', attachment),
    ('PUT', '/vms/{vm}/diskattachments/{disk}', update),
    ('DELETE', '/vms/{vm}/diskattachments/{disk}', delete),
]
