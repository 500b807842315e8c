# SPDX-License-Identifier: Apache-2.0
"""What administrators do to a VM between two backups: verbs of control.py.

Preview and commit of a snapshot give a VM the contents of then: a new leaf
over the snapshot's volume; the commit drops all that was above it."""

import os

from . import snapshots
from .state import new_id


def refuse_running(vm):
    if vm['status'] != 'down':
        raise ValueError('VM %s is %s' % (vm['name'], vm['status']))


def preview(engine, vm, snap):
    """The VM shows what it was at the snapshot."""
    state, storage = engine.state, engine.storage
    refuse_running(vm)
    with state.lock:
        fresh = []
        for volume in state.snapshot_volumes(snap):
            disk = state.disks[volume['disk']]
            fresh.append((disk, volume, new_id()))
    for disk, volume, leaf in fresh:
        storage.create_volume(disk['domain'], disk['id'], leaf,
                              volume['provisioned_size'], 'cow', True,
                              parent=volume['id'])
    with state.lock:
        before = state.active_snapshot(vm)
        before.update(type='preview',
                      description='Active VM before the preview')
        state._add_active(vm)
        active = state.active_snapshot(vm)
        for disk, volume, leaf in fresh:
            row = dict(volume, id=leaf, parent=volume['id'], format='cow',
                       sparse=True, snapshot=active['id'])
            state.volumes[leaf] = row
            disk.update(image_id=leaf, format='cow', sparse=True,
                        provisioned_size=volume['provisioned_size'])
        snap['status'] = 'in_preview'
    engine.tasks.event(46, "VM '%s' shows snapshot '%s'."
                       % (vm['name'], snap['description']), vm=vm['id'])


def previewed(state, vm):
    rows = {row['type']: row for row in state.vm_snapshots(vm)
            if row['type'] == 'preview' or row['status'] == 'in_preview'}
    if len(rows) != 2:
        raise ValueError('VM %s shows no snapshot' % vm['name'])
    return rows['preview'], rows['regular']


def drop(engine, volumes):
    for row in volumes:
        disk = engine.state.disks[row['disk']]
        engine.storage._unlink(disk['domain'], disk['id'], row['id'])
        del engine.state.volumes[row['id']]


def undo(engine, vm):
    """The preview ends, the VM is as before."""
    state = engine.state
    with state.lock:
        before, snap = previewed(state, vm)
        active = state.active_snapshot(vm)
        drop(engine, state.snapshot_volumes(active))
        for leaf in state.snapshot_volumes(before):
            state.disks[leaf['disk']].update(
                image_id=leaf['id'], format=leaf['format'],
                sparse=leaf['sparse'],
                provisioned_size=leaf['provisioned_size'])
        del state.snapshots[active['id']]
        before.update(type='active', description='Active VM')
        snap['status'] = 'ok'


def commit(engine, vm, astray=False):
    """The preview becomes the VM; what was newer is gone.  astray: as when the
    engine fails at that: newer snapshots stay, over layers that the VM does
    not have any more."""
    state = engine.state
    with state.lock:
        before, snap = previewed(state, vm)
        keep = {row['id'] for leaf in
                state.snapshot_volumes(state.active_snapshot(vm))
                for row in state.disk_volumes(leaf['disk'])}
        if astray:
            keep.update(row['id'] for row in state.volumes.values()
                        if row['snapshot'] != before['id'])
        gone = [row for row in state.volumes.values()
                if row['id'] not in keep and row['disk'] in vm['attachments']]
        drop(engine, gone)
        for row in state.vm_snapshots(vm):
            if row is before or row['type'] == 'regular' and \
                    row['date'] > snap['date'] and not astray:
                del state.snapshots[row['id']]
        snap['status'] = 'ok'
    engine.tasks.event(1190, "VM '%s' was restored to snapshot '%s'."
                       % (vm['name'], snap['description']), vm=vm['id'])


def remove_disk_snapshot(engine, vm, snap, disk):
    """One disk leaves the snapshot: its layer is merged away."""
    state = engine.state
    with state.lock:
        base = next(row for row in state.snapshot_volumes(snap)
                    if row['disk'] == disk['id'])
        child = state.child_volume(base['id'])
    engine.tasks.event(373, "Disk '%s' from snapshot '%s' deletion was "
                       'initiated.' % (disk['alias'], snap['description']),
                       vm=vm['id'])
    engine.storage.merge(vm['id'], disk['domain'], disk['id'], base['id'],
                         child['id'])
    with state.lock:
        snapshots.merged(state, disk, base, child)
        snap['config']['disks'].remove(disk['id'])
    engine.tasks.event(375, "Disk '%s' from snapshot '%s' deletion has been "
                       'completed.' % (disk['alias'], snap['description']),
                       vm=vm['id'])


def move_disk(engine, vm, disk, domain):
    """To another domain, with all of its layers and their ids."""
    storage = engine.storage
    refuse_running(vm)
    engine.tasks.event(2008, "Moving disk '%s' to domain '%s'."
                       % (disk['alias'], domain['name']), vm=vm['id'])
    storage.move_image(disk['domain'], domain['id'], disk['id'])
    with engine.state.lock:
        disk['domain'] = domain['id']
    engine.tasks.event(2010, "Disk '%s' was moved to domain '%s'."
                       % (disk['alias'], domain['name']), vm=vm['id'])


def reimport(engine, vm):
    """Exported and imported again under its own id: the same contents in new
    disks of one layer each, no snapshots."""
    state, storage = engine.state, engine.storage
    refuse_running(vm)
    for img, how in list(vm['attachments'].items()):
        old = state.disks[img]
        new, leaf = new_id(), new_id()
        copy = os.path.join(engine.lab_dir, 'import-' + new)
        storage.copy_chain(old['domain'], img, old['image_id'],
                           old['format'], copy)
        storage.import_volume(old['domain'], new, leaf, copy,
                              old['provisioned_size'], old['format'], True)
        with state.lock:
            disk = state.add_disk(old['alias'], old['domain'], old['format'],
                                  True, old['provisioned_size'], leaf, id=new)
            state.attach(vm, disk, bootable=how['bootable'],
                         interface=how['interface'])
            state.drop_disk(old)
        storage.delete_image(old['domain'], img)
    with state.lock:
        for row in state.vm_snapshots(vm):
            if row['type'] != 'active':
                del state.snapshots[row['id']]


def forget_events(engine):
    """As the engine does with old ones."""
    with engine.state.lock:
        del engine.state.events[:-1]
