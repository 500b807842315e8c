# SPDX-License-Identifier: Apache-2.0
"""Snapshots of VMs: create, show, delete = merge."""

from . import ovf, xmlout
from .disks import (creation_status, disk_parts, domains_xml, in_progress,
                    measure, require_usable)
from .errors import NotFound, bad, conflict, incomplete
from .server import UUID, Reply
from .state import GIGABYTE, new_id
from .xmlout import actions, item, leaf, leaves, links, node, ref

LIVE = ('up', 'powering_up', 'paused', 'reboot_in_progress')


def find(engine, vm, snap):
    row = engine.state.snapshots.get(snap)
    if vm not in engine.state.vms or row is None or row['vm'] != vm:
        raise NotFound()
    return row


def snapshot_xml(engine, row, all_content=False):
    state = engine.state
    base = 'vms/%s/snapshots' % row['vm']
    path = '%s/%s' % (base, row['id'])
    content = None
    if all_content and row['config'] is not None:
        content = ovf.configuration(ovf.of_snapshot(state, row))
    return item(
        'snapshot', base, row['id'],
        actions(path, 'restore'),
        *leaves(description=row['description'], date=row['date']), content,
        *leaves(persist_memorystate=row['persist_memorystate'],
                snapshot_status=row['status'], snapshot_type=row['type']),
        ref('vm', 'vms', row['vm']), *links(path, 'cdroms', 'disks', 'nics'))


def snapshots(engine, request, vm):
    with engine.state.lock:
        if vm not in engine.state.vms:
            raise NotFound()
        full = request.all_content()
        return node('snapshots', *[
            snapshot_xml(engine, row, full) for row in
            engine.state.vm_snapshots(vm)])


def snapshot(engine, request, vm, snap):
    with engine.state.lock:
        return snapshot_xml(engine, find(engine, vm, snap),
                            request.all_content())


# -- what is in it --------------------------------------------------------

def snapshot_disks(state, row):
    """(disk, volume) pairs; volume is None when it is gone."""
    if row['type'] == 'active':
        disks = [state.disks[img] for img in state.vms[row['vm']]
                 ['attachments'] if img in state.disks and
                 snapable(state.disks[img])]
        return [(disk, state.volumes[disk['image_id']]) for disk in disks]
    found = {v['disk']: v for v in state.snapshot_volumes(row)}
    return [(state.disks[img], found.get(img)) for img in
            row['config']['disks'] if img in state.disks]


def disk_of_snapshot_xml(state, row, disk, volume):
    base = 'vms/%s/snapshots/%s/disks' % (row['vm'], row['id'])
    if volume is None:
        return item('disk', base, disk['id'],
                    *leaves(name=disk['alias'], alias=disk['alias'],
                            status='illegal', storage_type='image'),
                    node('snapshot', id=row['id']))
    shown = dict(volume)
    if row['config'] is not None:
        # These sizes come from the stored OVF: whole GiB, rounded up.
        gib = -(-volume['provisioned_size'] // GIGABYTE)
        shown['provisioned_size'] = gib * GIGABYTE
    config = None
    if row['config'] is not None:
        config = {'alias': row['config']['aliases'].get(disk['id'],
                                                        disk['alias'])}
    return item('disk', base, disk['id'],
                *disk_parts(state, disk, shown, config),
                node('snapshot', id=row['id']), domains_xml(disk))


def disks(engine, request, vm, snap):
    state = engine.state
    with state.lock:
        row = find(engine, vm, snap)
        return node('disks', *[
            disk_of_snapshot_xml(state, row, disk, volume)
            for disk, volume in snapshot_disks(state, row)])


def disk(engine, request, vm, snap, disk):
    for child in disks(engine, request, vm, snap):
        if child.get('id') == disk:
            return child
    raise NotFound()


def nics(engine, request, vm, snap):
    from .vms import nic_xml
    with engine.state.lock:
        row = find(engine, vm, snap)
        config = row['config'] or engine.state.vms[vm]
        return node('nics', *[nic_xml(vm, nic) for nic in config['nics']])


# -- create ---------------------------------------------------------------

def chosen(state, row, doc):
    """{IMG: new volume id} of the disks that take part."""
    own = [img for img, att in row['attachments'].items()
           if not att['snapshot'] and snapable(state.disks[img])]
    asked = doc.findall('disk_attachments/disk_attachment')
    if not asked:
        return {img: new_id() for img in own}
    result = {}
    for attachment in asked:
        found = attachment.find('disk')
        img = None if found is None else found.get('id')
        if img is None:
            raise incomplete('DiskAttachment', 'disk.id')
        if img not in own:
            raise bad('Cannot create Snapshot. The following disk(s) ID(s) '
                      'does not exist: %s.' % img)
        vol = xmlout.get(found, 'image_id') or new_id()
        if not UUID.match(vol) or vol in state.volumes:
            raise bad('Cannot create Snapshot. Image id %s is not usable.'
                      % vol)
        result[img] = vol
    return result


def snapable(disk):
    return disk['storage_type'] == 'image' and not disk['shareable']


def refuse(engine, row, what, states):
    """The checks that create and delete share; the lock is held."""
    state = engine.state
    if row['status'] not in states:
        raise conflict('Cannot %s. VM %s is %s.' % (what, row['name'],
                                                    row['status']))
    for snap in state.vm_snapshots(row):
        if snap['status'] == 'in_preview':
            raise conflict('Cannot %s. VM is previewing a Snapshot.' % what)
        if snap['status'] == 'locked':
            raise conflict('Cannot %s. Snapshot is currently being created '
                           'for VM %s.' % (what, row['name']))
    if engine.locks.busy(('vm', row['id'])):
        raise conflict('Cannot %s. Related operation on VM %s is currently '
                       'in progress. Please try again later.'
                       % (what, row['name']))


def add(engine, request, vm):
    state = engine.state
    doc = request.doc('snapshot')
    what = 'create Snapshot'
    with state.lock:
        if vm not in state.vms:
            raise NotFound()
        row = state.vms[vm]
        description = xmlout.get_raw(doc, 'description')
        if not description:
            raise incomplete('Snapshot', 'description')
        refuse(engine, row, what, ('up', 'paused', 'down'))
        fresh = chosen(state, row, doc)
        require_usable(engine, what, [state.disks[img] for img in fresh])
        held = engine.locks.take(what, [('vm', vm)])
        pairs = [(state.disks[img]['domain'], img,
                  state.disks[img]['image_id'], new)
                 for img, new in fresh.items()]
        snap = state.add_snapshot(row, description, fresh, status='locked')
        for new in fresh.values():
            state.volumes[new]['status'] = 'locked'
        memory = xmlout.get_bool(doc, 'persist_memorystate', True)
        snap['persist_memorystate'] = memory
    engine.event(request, 45, "Snapshot '%s' creation for VM '%s' was "
                 'initiated by %s.' % (description, row['name'],
                                       request.user), vm=vm)
    if memory:
        engine.event(request, 173, "HARM: snapshot '%s' was asked for WITH "
                     "MEMORY: VM '%s' would have been paused while its RAM "
                     'is written (persist_memorystate defaults to true).'
                     % (description, row['name']), 'alert', vm=vm)
        engine.note('HARM: snapshot with memory of VM ' + row['name'])
    start_create(engine, request, row, snap, pairs, held, memory)
    with state.lock:
        path = 'vms/%s/snapshots/%s' % (vm, snap['id'])
        return Reply(202, in_progress(snapshot_xml(engine, snap), path))


def start_create(engine, request, row, snap, pairs, held, memory):
    state = engine.state
    vm = row['id']

    def work():
        if memory:
            raise RuntimeError('the memory of the VM was asked for')
        with state.lock:
            quiet = engine.false_success > 0 and row['status'] in LIVE
            if quiet:
                engine.false_success -= 1
        engine.storage.snapshot(vm, pairs, quiet_failure=quiet)
        if not quiet:
            save_oracle(engine, vm, snap, pairs)
        for _, img, _, _ in pairs:
            measure(engine, img)
        if quiet and engine.false_success_told:
            engine.event(request, 170, "Failed to create live snapshot '%s' "
                         "for VM '%s'. VM restart is recommended. Note that "
                         'using the created snapshot might cause data '
                         'inconsistency.' % (snap['description'],
                                             row['name']), 'warning', vm=vm)
        with state.lock:
            for _, _, _, new in pairs:
                if new in state.volumes:
                    state.volumes[new]['status'] = 'ok'
            row['frozen'] = False
            snap['status'] = 'ok'
        engine.event(request, 68, "Snapshot '%s' creation for VM '%s' has "
                     'been completed.' % (snap['description'], row['name']),
                     vm=vm)

    def undo(reason):
        with state.lock:
            roll_back(state, snap)
        engine.event(request, 69, "Failed to complete snapshot '%s' creation "
                     "for VM '%s': %s" % (snap['description'], row['name'],
                                          reason), 'error', vm=vm)

    engine.tasks.start('snapshot', 'Creating VM Snapshot %s for VM %s'
                       % (snap['description'], row['name']),
                       request.correlation, held, work, undo)


def save_oracle(engine, vm, snap, pairs):
    """The frozen bytes, known without the tool's code; a failure here is
    the lab's and must be seen, but the snapshot itself is good."""
    for sd, img, old, _ in pairs:
        with engine.state.lock:
            if old not in engine.state.volumes:
                continue
            cap = engine.state.volumes[old]['provisioned_size']
        try:
            engine.storage.oracle_save(vm, snap['id'], img, sd, old, cap)
        except Exception as err:
            engine.note('oracle of disk %s: %s' % (img, err))


def roll_back(state, snap):
    """As if the snapshot had never been asked for."""
    if snap['id'] not in state.snapshots:
        return
    active = state.active_snapshot(snap['vm'])
    for old in state.snapshot_volumes(snap):
        new = state.child_volume(old['id'])
        disk = state.disks[old['disk']]
        if new is not None:
            del state.volumes[new['id']]
        disk['image_id'] = old['id']
        disk['format'] = old['format']
        disk['sparse'] = old['sparse']
        old['snapshot'] = active['id']
    del state.snapshots[snap['id']]


# -- delete ---------------------------------------------------------------

def delete(engine, request, vm, snap):
    state = engine.state
    what = 'remove Snapshot'
    with state.lock:
        row = find(engine, vm, snap)
        owner = state.vms[vm]
        if row['type'] != 'regular':
            raise conflict('Cannot %s. The snapshot is the active one.'
                           % what)
        refuse(engine, owner, what, LIVE + ('down',))
        volumes = state.snapshot_volumes(row)
        disks = [state.disks[v['disk']] for v in volumes]
        require_usable(engine, what, disks, illegal=False)
        refuse_held(state, owner, what)
        if owner['status'] in LIVE:
            refuse_unplugged(owner, disks, what)
        held = engine.locks.take(what, [('vm', vm)] +
                                 [('disk', d['id']) for d in disks])
        row['status'] = 'locked'
        for disk in disks:
            state.set_status(disk, 'locked')
    engine.event(request, 342, "Snapshot '%s' deletion for VM '%s' was "
                 'initiated by %s.' % (row['description'], owner['name'],
                                       request.user), vm=vm)
    job = start_delete(engine, request, owner, row,
                       [v['id'] for v in volumes], held)
    return node('action', ref('job', 'jobs', job['id']),
                leaf('status', 'complete'))


def refuse_held(state, owner, what):
    """A disk of this VM shows in another one by a snapshot of it."""
    for vm in state.vms.values():
        for img, att in vm['attachments'].items():
            if att['snapshot'] and img in owner['attachments']:
                raise conflict(
                    'Cannot %s. One or more disk snapshots of VM %s are '
                    'attached to the VMs: %s' % (what, owner['name'],
                                                 vm['name']))


def refuse_unplugged(owner, disks, what):
    for disk in disks:
        att = owner['attachments'].get(disk['id'])
        if att and not att['active']:
            raise conflict('Cannot %s. The following disks must be plugged '
                           'for live merge: %s' % (what, disk['alias']))


def start_delete(engine, request, owner, row, volumes, held):
    state = engine.state
    vm = owner['id']
    images = {state.volumes[vol]['disk'] for vol in volumes}
    current = []

    def settle(status):
        with state.lock:
            for img in images:
                if img in state.disks:
                    state.set_status(img, status)

    def work():
        for vol in volumes:
            with state.lock:
                child = state.child_volume(vol)
                base = state.volumes[vol]
                if child is None:
                    base['snapshot'] = None
                    continue
                disk = state.disks[base['disk']]
            current[:] = [disk['id']]
            engine.storage.merge(vm, disk['domain'], disk['id'], vol,
                                 child['id'])
            with state.lock:
                merged(state, disk, base, child)
            current.clear()
            measure(engine, disk['id'])
        with state.lock:
            state.snapshots.pop(row['id'], None)
            owner['has_illegal_images'] = False
        engine.event(request, 356, "Snapshot '%s' deletion for VM '%s' has "
                     'been completed.' % (row['description'],
                                          owner['name']), vm=vm)

    def undo(reason):
        with state.lock:
            row['status'] = 'ok'
        engine.event(request, 357, "Failed to delete snapshot '%s' for VM "
                     "'%s': %s" % (row['description'], owner['name'],
                                   reason), 'error', vm=vm)

    def finish():
        settle('ok')
        with state.lock:
            for img in current:
                owner['has_illegal_images'] = True
                if img in state.disks:
                    state.set_status(img, 'illegal')

    return engine.tasks.start(
        'snapshot-delete', 'Removing Snapshot %s of VM %s'
        % (row['description'], owner['name']), request.correlation, held,
        work, undo, finish)


def merged(state, disk, base, child):
    """The child went INTO the base: the base's id survives, in the place
    of the child, and belongs to the child's snapshot."""
    for above in state.children(child['id']):
        above['parent'] = base['id']
    base['snapshot'] = child['snapshot']
    base['provisioned_size'] = max(base['provisioned_size'],
                                   child['provisioned_size'])
    state.volumes.pop(child['id'], None)
    if disk['image_id'] == child['id']:
        disk['image_id'] = base['id']
        disk['format'] = base['format']
        disk['sparse'] = base['sparse']
        if base['format'] == 'raw':
            disk['backup'] = 'none'


def status(engine, request, vm, snap, task):
    return creation_status(engine, request, snap, task)


ROUTES = [
    ('GET', '/vms/{vm}/snapshots', snapshots),
    ('POST', '/vms/{vm}/snapshots', add),
    ('GET', '/vms/{vm}/snapshots/{snap}', snapshot),
    ('DELETE', '/vms/{vm}/snapshots/{snap}', delete),
    ('GET', '/vms/{vm}/snapshots/{snap}/disks', disks),
    ('GET', '/vms/{vm}/snapshots/{snap}/disks/{disk}', disk),
    ('GET', '/vms/{vm}/snapshots/{snap}/nics', nics),
    ('GET', '/vms/{vm}/snapshots/{snap}/creation_status/{task}', status),
]
