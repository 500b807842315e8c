# SPDX-License-Identifier: Apache-2.0
"""diskSnapshots: the layers of disks."""

from .errors import NotFound, conflict
from .xmlout import PREFIX, leaves, node, ref


def layer_xml(state, base, volume):
    disk = state.disks[volume['disk']]
    path = '%s/%s/disksnapshots' % (PREFIX, base)
    parent = None
    if volume['parent']:
        parent = node('parent', id=volume['parent'],
                      href='%s/%s' % (path, volume['parent']))
    snapshot = None
    if volume['snapshot'] and volume['snapshot'] in state.snapshots:
        snapshot = node('snapshot', id=volume['snapshot'])
    return node(
        'disk_snapshot', *leaves(
            alias=disk['alias'], description=disk['description'],
            actual_size=volume['actual_size'],
            content_type=disk['content_type'], format=volume['format'],
            provisioned_size=volume['provisioned_size'],
            sparse=volume['sparse'], status=volume['status'],
            storage_type=disk['storage_type']),
        ref('disk', 'disks', disk['id']), parent, snapshot,
        node('storage_domain', id=disk['domain']),
        id=volume['id'], href='%s/%s' % (path, volume['id']))


def wanted(state, request, volumes):
    """Without flags neither a leaf nor a template's layer is listed."""
    active = request.flag('include_active', False)
    template = request.flag('include_template', False)
    for volume in volumes:
        disk = state.disks[volume['disk']]
        if disk['template']:
            if template:
                yield volume
            continue
        leaf = disk['image_id'] == volume['id']
        if leaf and not active:
            continue
        # A layer whose snapshot is gone already (a race) is left out.
        if not leaf and volume['snapshot'] not in state.snapshots:
            continue
        yield volume


def with_template(state, disk):
    """All layers of the disk and, below them, the template's."""
    volumes = state.disk_volumes(disk)
    if disk['template'] or not volumes:
        return volumes
    below = volumes[-1]['parent']
    while below and below in state.volumes:
        volumes.append(state.volumes[below])
        below = state.volumes[below]['parent']
    return volumes


def of_disk(engine, request, disk):
    state = engine.state
    with state.lock:
        if disk not in state.disks:
            raise NotFound()
        volumes = with_template(state, state.disks[disk])
        return node('disk_snapshots', *[
            layer_xml(state, 'disks/' + disk, volume) for volume in
            wanted(state, request, volumes)])


def of_domain(engine, request, sd):
    state = engine.state
    with state.lock:
        if sd not in state.storagedomains:
            raise NotFound()
        volumes = [v for v in state.volumes.values()
                   if state.disks[v['disk']]['domain'] == sd]
        return node('disk_snapshots', *[
            layer_xml(state, 'storagedomains/' + sd, volume) for volume in
            wanted(state, request, volumes)])


def one(engine, request, volume, disk=None, sd=None):
    state = engine.state
    with state.lock:
        row = state.volumes.get(volume)
        if row is None:
            raise NotFound()
        owner = state.disks[row['disk']]
        if disk not in (None, row['disk']) or sd not in (None,
                                                         owner['domain']):
            raise NotFound()
        base = 'disks/' + disk if disk else 'storagedomains/' + sd
        return layer_xml(state, base, row)


def delete(engine, request, volume, disk=None, sd=None):
    """Merging one layer away is refused: nothing of ours may want it."""
    one(engine, request, volume, disk, sd)
    raise conflict('Cannot remove Disk Snapshot. The lab merges whole '
                   'snapshots only.')


ROUTES = [
    ('GET', '/disks/{disk}/disksnapshots', of_disk),
    ('GET', '/disks/{disk}/disksnapshots/{volume}', one),
    ('DELETE', '/disks/{disk}/disksnapshots/{volume}', delete),
    ('GET', '/storagedomains/{sd}/disksnapshots', of_domain),
    ('GET', '/storagedomains/{sd}/disksnapshots/{volume}', one),
    ('DELETE', '/storagedomains/{sd}/disksnapshots/{volume}', delete),
]
