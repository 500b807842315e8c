# SPDX-License-Identifier: Apache-2.0
"""Disks: /disks and /storagedomains/{sd}/disks."""

import json

from . import xmlout
from .errors import Fault, NotFound, bad, conflict, incomplete
from .search import select
from .server import UUID, Reply
from .state import new_id
from .xmlout import (actions, item, leaf, leaves, link, links, node, ref)

LOCKED = ('Cannot %s. The following disks are locked: %s. '
          'Please try again in a few minutes.')
ILLEGAL = ('Cannot %s. The following attached disks are in ILLEGAL status: '
           '%s - please remove them and try again.')
CAPACITY_MAX = 1 << 53


def disk_parts(state, disk, volume, config=None):
    """The elements of a disk as its layer `volume` shows it."""
    cow = volume['format'] == 'cow'
    total = sum(v['actual_size'] for v in state.disk_volumes(disk))
    alias = (config or disk)['alias']
    return leaves(
        name=alias, alias=alias, description=disk['description'],
        actual_size=volume['actual_size'], backup=disk['backup'],
        content_type=disk['content_type'], format=volume['format'],
        image_id=volume['id'], propagate_errors=disk['propagate_errors'],
        provisioned_size=volume['provisioned_size'],
        qcow_version=disk['qcow_version'] if cow else None,
        shareable=disk['shareable'], sparse=volume['sparse'],
        status=volume['status'], storage_type=disk['storage_type'],
        total_size=total, wipe_after_delete=disk['wipe_after_delete'])


def lun_parts(disk):
    """The elements of a direct LUN: no image, no format, no sizes."""
    lun = disk['lun']
    unit = node('logical_unit', *leaves(
        address=lun['address'], port=lun['port'], size=disk[
            'provisioned_size'], target=lun['target']), id=lun['id'])
    return leaves(
        name=disk['alias'], alias=disk['alias'], description='', backup=
        'none', content_type='data', propagate_errors=False,
        shareable=disk['shareable'], status='ok', storage_type='lun',
        wipe_after_delete=False) + [
            node('lun_storage', leaf('type', 'iscsi'),
                 node('logical_units', unit), id=lun['id'])]


def domains_xml(disk):
    return node('storage_domains',
                ref('storage_domain', 'storagedomains', disk['domain']))


def disk_xml(state, disk, single=False):
    path = 'disks/' + disk['id']
    users = node('vms', *[ref('vm', 'vms', vm['id']) for vm in
                          state.disk_vms(disk)]) if single else None
    if users is not None and len(users) == 0:
        users = None
    if disk['storage_type'] == 'lun':
        parts = lun_parts(disk)
    else:
        parts = disk_parts(state, disk, state.volumes[disk['image_id']]) + [
            ref('disk_profile', 'diskprofiles', disk['domain']),
            domains_xml(disk)]
    return item('disk', 'disks', disk['id'],
                actions(path, 'copy', 'move', 'sparsify', 'reduce'),
                *parts, users, *links(path, 'disksnapshots', 'permissions', 'statistics'))


def fields(state):
    return {'alias': lambda r: r['alias'], 'name': lambda r: r['alias'],
            'id': lambda r: r['id'],
            'status': state.disk_status,
            'disk_type': lambda r: r['storage_type'],
            'disk_content_type': lambda r: r['content_type'],
            'provisioned_size': lambda r: r['provisioned_size'],
            'vm_names': lambda r: [vm['name'] for vm in state.disk_vms(r)]}


def disks(engine, request):
    state = engine.state
    with state.lock:
        # With search and max this list does not page (1.7).
        rows = select(list(state.disks.values()), request, fields(state),
                      pages=False)
        return node('disks', *[disk_xml(state, row) for row in rows])


def domain_disks(engine, request, sd):
    state = engine.state
    with state.lock:
        if sd not in state.storagedomains:
            raise NotFound()
        if request.flag('unregistered', False):
            return node('disks')
        return node('disks', *[disk_xml(state, row) for row in
                               state.disks.values() if row['domain'] == sd])


def find(engine, ident):
    if ident not in engine.state.disks:
        raise NotFound()
    return engine.state.disks[ident]


def disk(engine, request, ident):
    with engine.state.lock:
        return disk_xml(engine.state, find(engine, ident), single=True)


def require_usable(engine, what, rows, illegal=True):
    """409 when one of the disks is locked, illegal or being changed."""
    state = engine.state
    locked = [row['alias'] for row in rows
              if any(v['status'] == 'locked' for v in
                     state.disk_volumes(row)) or
              engine.locks.busy(('disk', row['id']))]
    if locked:
        raise conflict(LOCKED % (what, ', '.join(locked)))
    broken = [row['alias'] for row in rows
              if state.disk_status(row) == 'illegal']
    if illegal and broken:
        raise conflict(ILLEGAL % (what, ', '.join(broken)))


def measure(engine, img):
    """Refresh the sizes of a disk's layers; called without the lock."""
    state = engine.state
    with state.lock:
        row = state.disks.get(img)
        if row is None:
            return
        todo = [(row['domain'], img, v['id']) for v in
                state.disk_volumes(row)]
    for sd, img, vol in todo:
        try:
            size = engine.storage.actual_size(sd, img, vol)
        except Exception:
            continue
        with state.lock:
            if vol in state.volumes:
                state.volumes[vol]['actual_size'] = size


# -- create ---------------------------------------------------------------

def wanted_domain(engine, doc):
    found = doc.find('storage_domains/storage_domain')
    if found is None:
        found = doc.find('storage_domain')
    ident = None if found is None else found.get('id')
    name = None if found is None else xmlout.get(found, 'name')
    if not ident and not name:
        raise incomplete('Disk', 'storageDomains.storageDomain.id|name')
    for row in engine.state.storagedomains.values():
        if row['id'] == ident or (not ident and row['name'] == name):
            return row
    raise Fault(404, 'Entity not found: Storage Domain: id=%s' % ident)


def check_layout(fmt, sparse, backup, block):
    """The combinations that the engine refuses."""
    text = ('Cannot add Virtual Disk. Disk configuration (%s %s backup-%s) '
            'is incompatible with the storage domain type.')
    if (fmt == 'cow' and not sparse and backup != 'incremental') or \
            (fmt == 'raw' and backup == 'incremental') or \
            (fmt == 'raw' and sparse and block):
        raise bad(text % (fmt.upper(), 'Sparse' if sparse else
                          'Preallocated', backup.capitalize()))


def wanted_disk(engine, doc):
    """What a POST asks for, checked; a dict for State.add_disk."""
    size = xmlout.get_int(doc, 'provisioned_size')
    fmt = xmlout.get(doc, 'format')
    missing = [name for name, value in
               (('provisionedSize', size), ('format', fmt)) if value is None]
    if missing:
        raise incomplete('Disk', ', '.join(missing))
    if fmt not in ('cow', 'raw'):
        raise bad('Invalid value %s for DiskFormat' % fmt)
    if size <= 0 or size > CAPACITY_MAX:
        raise bad('Cannot add Virtual Disk. Disk size %d is out of range.'
                  % size)
    sparse = xmlout.get_bool(doc, 'sparse', True)
    backup = xmlout.get(doc, 'backup', 'none')
    domain = wanted_domain(engine, doc)
    check_layout(fmt, sparse, backup, 'vg' in domain)
    if domain['status'] != 'active':
        raise conflict('Cannot add Virtual Disk. The relevant Storage Domain '
                       "is not accessible. -Please handle Storage Domain "
                       'issues and retry the operation.')
    ids = {}
    for name, value in (('id', doc.get('id')),
                        ('image_id', xmlout.get(doc, 'image_id'))):
        if value is not None and not UUID.match(value):
            raise bad('Invalid UUID string: %s' % value)
        ids[name] = value.lower() if value else new_id()
    if ids['id'] in engine.state.disks:
        raise conflict('Cannot add Virtual Disk. Disk with the same '
                       'identifier already exists.')
    if ids['image_id'] in engine.state.volumes:
        raise conflict('Cannot add Virtual Disk. Image with the same '
                       'identifier already exists.')
    alias = xmlout.get(doc, 'alias') or xmlout.get(doc, 'name') or ''
    if not sparse and size > domain['available']:
        raise conflict('Cannot add Virtual Disk. Low disk space on Storage '
                       'Domain %s.' % domain['name'])
    return dict(alias=alias, domain=domain, format=fmt, sparse=sparse,
                provisioned_size=size, backup=backup,
                description=xmlout.get(doc, 'description', ''),
                shareable=xmlout.get_bool(doc, 'shareable', False),
                content_type=xmlout.get(doc, 'content_type', 'data'),
                qcow_version='qcow2_v3' if domain['storage_format'] in
                ('v4', 'v5') else 'qcow2_v2', status='locked', **ids)


def add(engine, request):
    doc = request.doc('disk')
    state = engine.state
    with state.lock:
        want = wanted_disk(engine, doc)
        row = state.add_disk(**want)
        row['wipe_after_delete'] = xmlout.get_bool(doc, 'wipe_after_delete',
                                                   False)
        about = {'disk': row['id']}
        held = engine.locks.take('add Virtual Disk', [('disk', row['id'])])
    initial = xmlout.get_int(doc, 'initial_size')
    engine.event(request, 2020, "Add-Disk operation of '%s' was initiated by "
                 '%s.' % (row['alias'], request.user), **about)

    def work():
        # As in the engine, its row keeps the size that was asked for.
        engine.storage.create_volume(
            row['domain'], row['id'], row['image_id'],
            row['provisioned_size'], row['format'], row['sparse'],
            initial_size=initial, description=volume_text(row))
        measure(engine, row['id'])
        with state.lock:
            state.set_status(row, 'ok')
        engine.event(request, 2021, "The disk '%s' was successfully added."
                     % row['alias'], **about)

    def undo(reason):
        discard_files(engine, row)
        with state.lock:
            state.drop_disk(row)
        engine.event(request, 2022, "Add-Disk operation failed to complete: "
                     '%s' % reason, 'error', **about)

    engine.tasks.start('disk', 'Creating Disk ' + row['alias'],
                       request.correlation, held, work, undo)
    with state.lock:
        return Reply(202, in_progress(disk_xml(state, row), 'disks/%s'
                                      % row['id']))


def volume_text(row):
    """DESCRIPTION= of the volume's metadata, as the engine writes it."""
    return json.dumps({'DiskAlias': row['alias'],
                       'DiskDescription': row['description']},
                      separators=(',', ':'), ensure_ascii=False)


def in_progress(doc, path):
    """Mark the answer of a create that goes on behind the reply."""
    doc.append(leaf('creation_status', 'in_progress'))
    doc.append(link('%s/creation_status/%s' % (path, new_id()),
                    'creation_status'))
    return doc


def discard_files(engine, row):
    """The disk's directory, if one was made; it may never have been."""
    try:
        engine.storage.delete_image(row['domain'], row['id'])
    except Exception as err:
        engine.note('disk %s: nothing deleted: %s' % (row['id'], err))


# -- update, delete -------------------------------------------------------

def update(engine, request, ident):
    doc = request.doc('disk')
    with engine.state.lock:
        row = find(engine, ident)
    change(engine, request, row, doc)
    with engine.state.lock:
        return disk_xml(engine.state, row, single=True)


def change(engine, request, row, doc):
    """PUT of a disk, or of the disk inside of an attachment."""
    state = engine.state
    size = xmlout.get_int(doc, 'provisioned_size')
    if row['storage_type'] == 'lun':
        raise bad('Cannot edit Virtual Disk. The lab changes no LUN.')
    with state.lock:
        require_usable(engine, 'edit Virtual Disk', [row])
        for name in ('alias', 'description'):
            if doc.find(name) is not None:
                row[name] = xmlout.get(doc, name, '')
        backup = xmlout.get(doc, 'backup', row['backup'])
        if backup == 'incremental' and row['format'] == 'raw':
            raise bad('Cannot edit Virtual Disk. Incremental backup needs '
                      'the cow format.')
        row['backup'] = backup
        leaf_row = state.volumes[row['image_id']]
        if size is None or size == leaf_row['provisioned_size']:
            return
        if size < leaf_row['provisioned_size']:
            raise bad('Cannot edit Virtual Disk. New disk size cannot be '
                      'smaller than the current size.')
        users = [vm for vm in state.disk_vms(row) if vm['status'] != 'down']
        vm = users[0]['id'] if users else None
        held = engine.locks.take('edit Virtual Disk', [('disk', row['id'])])
        leaf_row['status'] = 'locked'
    resize(engine, request, row, leaf_row, size, vm, held)


def resize(engine, request, row, leaf_row, size, vm, held):
    state = engine.state

    def work():
        engine.storage.resize(vm, row['domain'], row['id'], leaf_row['id'],
                              size)
        with state.lock:
            leaf_row['provisioned_size'] = size
            row['provisioned_size'] = size
            leaf_row['status'] = 'ok'
        engine.event(request, 371, "The disk '%s' was extended."
                     % row['alias'], vm=vm, disk=row['id'])

    def undo(reason):
        with state.lock:
            leaf_row['status'] = 'ok'
        engine.event(request, 372, "Failed to extend disk '%s': %s"
                     % (row['alias'], reason), 'error', vm=vm)

    engine.tasks.start('disk-extend', 'Extending disk ' + row['alias'],
                       request.correlation, held, work, undo)


def delete(engine, request, ident):
    with engine.state.lock:
        row = find(engine, ident)
    job = remove(engine, request, row)
    return node('action', ref('job', 'jobs', job['id']),
                leaf('status', 'complete'))


def remove(engine, request, row):
    """Delete the disk with all of its layers, behind a job."""
    state = engine.state
    what = 'remove Virtual Disk'
    with state.lock:
        if row['storage_type'] == 'lun':
            raise conflict('Cannot %s. The lab removes no LUN.' % what)
        if row['template']:
            raise conflict('Cannot %s. Template disks cannot be removed.'
                           % what)
        require_usable(engine, what, [row], illegal=False)
        users = state.disk_vms(row)
        for vm in users:
            if vm['status'] != 'down' and \
                    vm['attachments'][row['id']]['active']:
                raise conflict('Cannot %s. At least one of the VMs that the '
                               'disk is plugged to is not down.' % what)
        held_by = holders(state, row)
        if held_by:
            raise conflict('Cannot %s. One or more of its snapshots are '
                           'attached to the VMs: %s' % (what, held_by))
        held = engine.locks.take(what, [('disk', row['id'])],
                                 [('vm', vm['id']) for vm in users])
        state.set_status(row, 'locked')
    return start_removal(engine, request, row, held)


def start_removal(engine, request, row, held):
    state = engine.state

    def work():
        engine.storage.delete_image(row['domain'], row['id'])
        with state.lock:
            state.drop_disk(row)
        engine.event(request, 2014, "Disk '%s' was successfully removed."
                     % row['alias'], disk=row['id'])

    def undo(reason):
        with state.lock:
            state.set_status(row, 'illegal')
        engine.event(request, 2015, "Failed to remove disk '%s': %s"
                     % (row['alias'], reason), 'error', disk=row['id'])

    return engine.tasks.start('disk-delete', 'Removing Disk ' + row['alias'],
                              request.correlation, held, work, undo)


def holders(state, row):
    """Names of the VMs that have a snapshot of this disk attached."""
    return ', '.join(vm['name'] for vm in state.vms.values()
                     if vm['attachments'].get(row['id'], {}).get('snapshot'))


def creation_status(engine, request, ident, task):
    # As in the engine, a task that nobody knows is reported as complete.
    return node('creation', leaf('status', 'complete'), id=task)


ROUTES = [
    ('GET', '/disks', disks),
    ('POST', '/disks', add),
    ('GET', '/disks/{ident}', disk),
    ('PUT', '/disks/{ident}', update),
    ('DELETE', '/disks/{ident}', delete),
    ('GET', '/disks/{ident}/creation_status/{task}', creation_status),
    ('GET', '/storagedomains/{sd}/disks', domain_disks),
]
