# SPDX-License-Identifier: Apache-2.0
"""Image transfers: a hold (download) or the owner of a disk (upload), 7.4.

No byte moves here.  An upload marks the volume ILLEGAL and the disk locked;
finalize has the storage verify the volume; cancel DELETES the disk."""

import time

from . import xmlout
from .disks import LOCKED, discard_files, measure, require_usable
from .errors import Fault, NotFound, bad, conflict
from .server import Reply
from .state import new_id
from .xmlout import actions, item, leaves, leaf, node, ref

OVER = ('finished_success', 'finished_failure', 'finished_cleanup')
VERBS = ('cancel', 'extend', 'finalize', 'pause', 'resume')


def transfer_xml(engine, row):
    path = 'imagetransfers/' + row['id']
    host = engine.state.hosts.get(row['host'])
    url = proxy = None
    if row['phase'] == 'transferring' and host:
        url = 'https://%s:54322/images/%s' % (host['address'], row['ticket'])
        proxy = 'https://localhost:54323/images/' + row['ticket']
    return item(
        'image_transfer', 'imagetransfers', row['id'],
        actions(path, *VERBS),
        *leaves(active=False, direction=row['direction'],
                format=row['format'],
                inactivity_timeout=row['inactivity_timeout'],
                phase=row['phase'], proxy_url=proxy, shallow=False,
                timeout_policy='legacy', transfer_url=url, transferred=0),
        ref('host', 'hosts', row['host']),
        node('image', id=row['disk']),
        node('disk', id=row['disk']) if row['volume_asked'] is None else
        node('snapshot', id=row['volume_asked']))


def purge(engine):
    keep = engine.delays['transfer-keep']
    state = engine.state
    for row in list(state.transfers.values()):
        if row['ended'] and time.monotonic() - row['ended'] > keep:
            del state.transfers[row['id']]


def transfers(engine, request):
    with engine.state.lock:
        purge(engine)
        return node('image_transfers', *[
            transfer_xml(engine, row) for row in
            engine.state.transfers.values()])


def find(engine, ident):
    purge(engine)
    if ident not in engine.state.transfers:
        raise NotFound()
    return engine.state.transfers[ident]


def transfer(engine, request, ident):
    with engine.state.lock:
        return transfer_xml(engine, find(engine, ident))


# -- begin ----------------------------------------------------------------

def subject(state, doc):
    """(disk, volume id, volume id that was asked for or None)."""
    img = xmlout.get_id(doc, 'disk')
    if img is None:
        img = xmlout.get_id(doc, 'image')
    vol = xmlout.get_id(doc, 'snapshot')
    if img is None and vol is None:
        raise bad('Cannot transfer Virtual Disk. Disk or snapshot is '
                  'required.')
    if vol is not None:
        if vol not in state.volumes:
            raise Fault(404, 'Entity not found: Disk Snapshot: id=' + vol)
        return state.disks[state.volumes[vol]['disk']], vol, vol
    if img not in state.disks:
        raise Fault(404, 'Entity not found: Disk: id=' + img)
    return state.disks[img], state.disks[img]['image_id'], None


def wanted_host(state, doc, disk):
    """The one that is asked for, or any of the disk's data center."""
    center = state.storagedomains[disk['domain']]['datacenter']
    usable = [h for h in state.hosts.values() if h['status'] == 'up' and
              state.clusters[h['cluster']]['datacenter'] == center]
    ident = xmlout.get_id(doc, 'host')
    if ident is None and usable:
        ident = usable[0]['id']
    host = state.hosts.get(ident)
    if host not in usable:
        raise conflict('Cannot transfer Virtual Disk. The host is not up.')
    return host


def add(engine, request):
    doc = request.doc('image_transfer')
    state = engine.state
    what = 'transfer Virtual Disk'
    with state.lock:
        disk, vol, asked = subject(state, doc)
        if vol is None:
            raise conflict('Cannot %s. The disk is no image.' % what)
        direction = xmlout.get(doc, 'direction', 'upload')
        if direction not in ('upload', 'download'):
            raise bad('Invalid value %s for ImageTransferDirection'
                      % direction)
        host = wanted_host(state, doc, disk)
        if direction == 'upload':
            require_usable(engine, what, [disk])
        elif state.volumes[vol]['status'] != 'ok':
            raise conflict(LOCKED % (what, disk['alias']))
        users = [vm for vm in state.disk_vms(disk)
                 if vm['attachments'][disk['id']]['active']]
        if any(vm['status'] != 'down' for vm in users) and \
                (direction == 'upload' or vol == disk['image_id']):
            raise conflict('Cannot %s. The disk is attached to a VM that is '
                           'not down.' % what)
        if direction == 'upload' and len(state.disk_volumes(disk)) > 1 and \
                vol != disk['image_id']:
            raise conflict('Cannot %s. Only the active layer can be '
                           'uploaded to.' % what)
        key = [('disk', disk['id'])]
        held = engine.locks.take(
            what, key if direction == 'upload' else [],
            ([] if direction == 'upload' else key) +
            [('vm', vm['id']) for vm in users])
        row = {'id': new_id(), 'disk': disk['id'], 'volume': vol,
               'volume_asked': asked, 'direction': direction,
               'host': host['id'], 'phase': 'initializing',
               'format': xmlout.get(doc, 'format', disk['format']),
               'inactivity_timeout': xmlout.get_int(
                   doc, 'inactivity_timeout', 60),
               'ticket': new_id(), 'held': held, 'ended': None,
               'asked': None, 'touched': time.monotonic()}
        state.transfers[row['id']] = row
        state.volumes[vol]['status'] = 'locked'
    engine.event(request, 1031, 'Image %s with disk %s was initiated by %s.'
                 % (direction, disk['alias'], request.user))
    start(engine, request, row, disk)
    with state.lock:
        return Reply(201, transfer_xml(engine, row))


def start(engine, request, row, disk):
    """The transfer's life is one task: it ends with the transfer."""
    state = engine.state

    def phase(name):
        with state.lock:
            row['phase'] = name
            row['touched'] = time.monotonic()

    def work():
        engine.tasks.wait('transfer')
        if engine.tasks.must_fail('transfer-start'):
            phase('paused_system')
        else:
            if row['direction'] == 'upload':
                engine.storage.set_meta(disk['domain'], disk['id'],
                                        row['volume'], LEGALITY='ILLEGAL')
            engine.storage.prepare(host_name(engine, row), disk['domain'],
                                   disk['id'], row['volume'])
            phase('transferring')
        asked = await_end(engine, request, row)
        if asked == 'finalize':
            finalize(engine, request, row, disk, phase)
        else:
            cancel(engine, request, row, disk, phase)

    def undo(reason):
        engine.note('transfer %s: %s' % (row['id'], reason))
        cancel(engine, request, row, disk, phase)

    engine.tasks.start('transfer', 'Transferring disk ' + disk['alias'],
                       request.correlation, row['held'], work, undo)


def host_name(engine, row):
    return engine.state.hosts[row['host']]['name']


def put_back(engine, row, disk):
    """The image is torn down on the transfer's host; a host that is gone
    has nothing to tear down."""
    try:
        engine.storage.teardown(host_name(engine, row), disk['domain'],
                                disk['id'])
    except Exception as err:
        engine.note('transfer %s: %s' % (row['id'], err))


def await_end(engine, request, row):
    """Wait for finalize or cancel; an idle download is cancelled, an idle
    upload paused.  Returns what was asked."""
    state = engine.state
    while not engine.tasks.stopping.wait(0.05):
        with state.lock:
            if row['asked']:
                return row['asked']
            limit = row['inactivity_timeout']
            idle = time.monotonic() - row['touched']
            if row['phase'] != 'transferring' or not limit or idle < limit:
                continue
            if row['direction'] == 'download':
                row['phase'] = 'cancelled_system'
                row['asked'] = 'cancel'
            else:
                row['phase'] = 'paused_system'
    return 'stop'


def finalize(engine, request, row, disk, phase):
    phase('finalizing_success')
    engine.tasks.wait('transfer')
    text = None
    if row['direction'] == 'upload':
        if engine.tasks.must_fail('transfer-finalize'):
            text = 'failure asked for'
        else:
            text = engine.storage.verify_untrusted(
                disk['domain'], disk['id'], row['volume'])
    put_back(engine, row, disk)
    if text:
        phase('finalizing_failure')
        engine.event(request, 1034, 'Image %s of disk %s failed: %s'
                     % (row['direction'], disk['alias'], text), 'error')
        destroy(engine, disk)
        return over(engine, row, 'finished_failure')
    if row['direction'] == 'upload':
        engine.storage.set_meta(disk['domain'], disk['id'], row['volume'],
                                LEGALITY='LEGAL')
    measure(engine, disk['id'])
    unlock(engine, row)
    engine.event(request, 1032, 'Image %s with disk %s succeeded.'
                 % (row['direction'], disk['alias']))
    over(engine, row, 'finished_success')


def cancel(engine, request, row, disk, phase):
    if engine.tasks.stopping.is_set():
        return
    if not row['phase'].startswith('cancelled'):
        phase('cancelled_user')
    engine.tasks.wait('transfer')
    phase('finalizing_cleanup')
    put_back(engine, row, disk)
    if row['direction'] == 'upload':
        destroy(engine, disk)
    else:
        unlock(engine, row)
    engine.event(request, 1033, 'Image %s with disk %s was cancelled.'
                 % (row['direction'], disk['alias']), 'warning')
    over(engine, row, 'finished_cleanup')


def unlock(engine, row):
    with engine.state.lock:
        others = [t for t in engine.state.transfers.values()
                  if t is not row and t['volume'] == row['volume'] and
                  not t['ended']]
        if row['volume'] in engine.state.volumes and not others:
            engine.state.volumes[row['volume']]['status'] = 'ok'


def destroy(engine, disk):
    discard_files(engine, disk)
    with engine.state.lock:
        engine.state.drop_disk(disk)


def over(engine, row, name):
    with engine.state.lock:
        row['phase'] = name
        row['ended'] = time.monotonic()


# -- actions --------------------------------------------------------------

def act(engine, request, ident, verb):
    request.doc('action')
    with engine.state.lock:
        row = find(engine, ident)
        if row['ended'] or row['asked']:
            raise conflict('Cannot %s image transfer. The transfer is in '
                           'phase %s.' % (verb, row['phase']))
        if verb == 'finalize':
            if row['phase'] not in ('transferring', 'paused_user',
                                    'paused_system'):
                raise conflict('Cannot finalize image transfer in phase %s.'
                               % row['phase'])
            row['asked'] = 'finalize'
        elif verb == 'cancel':
            row['asked'] = 'cancel'
        elif verb == 'pause':
            row['phase'] = 'paused_user'
        elif verb == 'resume':
            if row['direction'] != 'upload' or \
                    not row['phase'].startswith('paused'):
                raise conflict('Cannot resume image transfer.')
            row['phase'] = 'transferring'
        row['touched'] = time.monotonic()
    return node('action', leaf('status', 'complete'))


def action(verb):
    def handler(engine, request, ident):
        return act(engine, request, ident, verb)
    return handler


ROUTES = [
    ('GET', '/imagetransfers', transfers),
    ('POST', '/imagetransfers', add),
    ('GET', '/imagetransfers/{ident}', transfer),
] + [('POST', '/imagetransfers/{ident}/' + verb, action(verb))
     for verb in VERBS]
