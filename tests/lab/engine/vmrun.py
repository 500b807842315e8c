# SPDX-License-Identifier: Apache-2.0
"""Starting, stopping and freezing VMs."""

from .disks import require_usable
from .errors import Fault, conflict
from .vms import find, refuse_busy
from .xmlout import leaf, node


def start(engine, request, vm):
    state = engine.state
    request.doc('action')
    what = 'run VM'
    with state.lock:
        row = find(engine, vm)
        if row['status'] != 'down':
            raise conflict('Cannot %s. VM is running.' % what)
        refuse_busy(engine, row, what)
        plugged = [state.disks[img] for img, att in
                   row['attachments'].items() if att['active'] and
                   not att['snapshot']]
        require_usable(engine, what, plugged)
        wanted = row.get('wanted_host')
        host = next((h for h in state.hosts.values()
                     if h['status'] == 'up' and
                     wanted in (None, h['id']) and
                     h['cluster'] == row['cluster']), None)
        if host is None:
            raise conflict('Cannot %s. There is no host that satisfies '
                           'current scheduling constraints.' % what)
        held = engine.locks.take(what, [('vm', vm)])
        row['status'] = 'wait_for_launch'
        volumes = [(d['domain'], d['id'], d['image_id']) for d in plugged
                   if d['image_id']]
    launch(engine, request, row, host, volumes, held)
    return node('action', leaf('status', 'complete'))


def launch(engine, request, row, host, volumes, held):
    state = engine.state

    def work():
        engine.storage.vms.start(row['id'], host['name'], volumes)
        with state.lock:
            row['status'] = 'powering_up'
            row['host'] = host['id']
        engine.tasks.wait('start')
        with state.lock:
            row['status'] = 'up'
        engine.event(request, 32, 'VM %s started on Host %s'
                     % (row['name'], host['name']), vm=row['id'],
                     host=host['id'])

    def undo(reason):
        with state.lock:
            row['status'] = 'down'
            row['host'] = None
        engine.event(request, 54, 'Failed to run VM %s: %s'
                     % (row['name'], reason), 'error', vm=row['id'])

    engine.tasks.start('vm-start', 'Launching VM ' + row['name'],
                       request.correlation, held, work, undo)


def stop(engine, request, vm):
    """No engine lock here: a VM can be stopped under a hold."""
    request.doc('action')
    with engine.state.lock:
        row = find(engine, vm)
        if row['status'] == 'down':
            raise conflict('Cannot stop VM. VM is not running.')
        row['status'] = 'powering_down'
    halt(engine, request, row)
    return node('action', leaf('status', 'complete'))


def halt(engine, request, row):
    state = engine.state

    def work():
        engine.storage.vms.stop(row['id'])
        with state.lock:
            row['status'] = 'down'
            row['host'] = None
        engine.event(request, 33, 'VM %s powered off' % row['name'],
                     vm=row['id'])

    def undo(reason):
        with state.lock:
            row['status'] = 'unknown'
        engine.event(request, 56, 'Failed to power off VM %s: %s'
                     % (row['name'], reason), 'error', vm=row['id'])

    engine.tasks.start('vm-stop', 'Powering off VM ' + row['name'],
                       request.correlation, engine.locks.take('stop VM'),
                       work, undo)


def freeze(engine, request, vm):
    return freezing(engine, request, vm, True)


def thaw(engine, request, vm):
    return freezing(engine, request, vm, False)


def freezing(engine, request, vm, value):
    verb = 'freeze' if value else 'thaw'
    request.doc('action')
    with engine.state.lock:
        row = find(engine, vm)
        if row['status'] != 'up':
            raise conflict('Cannot %s guest filesystems. VM is not running.'
                           % verb)
        if row['frozen'] == value:
            # As the guest agent: thawing what a snapshot thawed is an error.
            raise Fault(500, '[General command validation failure.]')
        row['frozen'] = value
    if value:
        engine.event(request, 10767, 'Guest filesystems on VM %s have been '
                     'frozen successfully.' % row['name'], vm=vm)
    return node('action', leaf('status', 'complete'))


ROUTES = [
    ('POST', '/vms/{vm}/start', start),
    ('POST', '/vms/{vm}/stop', stop),
    ('POST', '/vms/{vm}/shutdown', stop),
    ('POST', '/vms/{vm}/freezefilesystems', freeze),
    ('POST', '/vms/{vm}/thawfilesystems', thaw),
]
