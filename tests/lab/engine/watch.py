# SPDX-License-Identifier: Apache-2.0
"""What the engine learns by looking: sizes, free space, dead hosts and VMs."""

import os

from .disks import measure


def everything(engine):
    sizes(engine)
    space(engine)
    hosts(engine)
    machines(engine)


def sizes(engine):
    with engine.state.lock:
        images = list(engine.state.disks)
    for img in images:
        measure(engine, img)


def space(engine):
    """Free and used bytes of the domains, where they have a directory."""
    known = getattr(engine.storage, 'domains', {})
    for sd, row in list(engine.state.storagedomains.items()):
        try:
            found = os.statvfs(known[sd].dir)
        except (OSError, LookupError, AttributeError):
            continue
        row['available'] = found.f_bavail * found.f_frsize
        row['used'] = (found.f_blocks - found.f_bfree) * found.f_frsize


def hosts(engine):
    """A host that died is non_responsive, and up again when it is back.
    A status that the control endpoint set is left alone."""
    alive = {host.name: bool(host.pid()) for host in
             getattr(engine.storage, 'hosts', [])}
    for row in list(engine.state.hosts.values()):
        up = alive.get(row['name'])
        if up is False and row['status'] == 'up':
            row['status'] = 'non_responsive'
            row['watched'] = True
            engine.tasks.event(12, 'Host %s is non responsive.'
                               % row['name'], 'error', host=row['id'])
        elif up and row['status'] == 'non_responsive' and \
                row.get('watched'):
            engine.storage.connect(row['name'])
            row['status'] = 'up'
            row['watched'] = False
            engine.tasks.event(13, 'Status of host %s was set to Up.'
                               % row['name'], host=row['id'])


def machines(engine):
    """A VM whose process is gone: unknown while its host is, else down."""
    is_running = getattr(engine.storage.vms, 'is_running', None)
    if is_running is None:
        return
    state = engine.state
    for row in list(state.vms.values()):
        if row['status'] not in ('up', 'unknown') or is_running(row['id']):
            continue
        with state.lock:
            # The host first: it may have died between the two looks.
            host = state.hosts.get(row['host'])
            if engine.locks.busy(('vm', row['id'])) or \
                    row['status'] not in ('up', 'unknown'):
                continue
            if host and host['status'] == 'non_responsive':
                row['status'] = 'unknown'
                continue
            row['status'] = 'down'
            row['host'] = None
        engine.tasks.event(119, 'VM %s is down with error. Exit message: '
                           'Lost connection with qemu process.'
                           % row['name'], 'error', vm=row['id'])
