# SPDX-License-Identifier: Apache-2.0
"""What the engine learns by looking: sizes, free space, dead hosts and VMs."""

import os
import time
import traceback

from hosts import HostError
from volumes import StorageError

from .disks import measure

LOST_S = 1.0


def everything(engine):
    """One round; what goes wrong in it is told, and the next one comes."""
    with engine.watching:
        for part in (sizes, space, hosts, machines):
            try:
                part(engine)
            except Exception:
                engine.note(traceback.format_exc())


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


def boots(engine):
    """-> {name of a host: boot id, or None while it is down}"""
    return {host.name: host.boot() for host in
            getattr(engine.storage, 'hosts', [])}


def hosts(engine):
    """A host that died is non_responsive, and up again when it is back and
    has its domains; so is one that came back before anybody looked: it has
    another boot id.  A status that the control endpoint set is left alone."""
    found = boots(engine)
    for row in list(engine.state.hosts.values()):
        if row['name'] not in found:
            continue
        boot = found[row['name']]
        known = row.setdefault('boot', boot)
        if row['status'] == 'up' and (boot is None or boot != known):
            row['status'] = 'non_responsive'
            row['watched'] = True
            engine.tasks.event(12, 'Host %s is non responsive.'
                               % row['name'], 'error', host=row['id'])
        if boot and row['status'] == 'non_responsive' and \
                row.get('watched'):
            try:
                engine.storage.connect(row['name'])
            except (HostError, StorageError) as error:
                engine.note('host %s: %s' % (row['name'], error))
                continue
            row['boot'] = boot
            row['status'] = 'up'
            row['watched'] = False
            engine.tasks.event(13, 'Status of host %s was set to Up.'
                               % row['name'], host=row['id'])


def machines(engine):
    """A VM whose process is gone: unknown while its host is, else down.  A host that dies takes
    its VMs with it a moment before it is gone itself, so that one look is not enough."""
    is_running = getattr(engine.storage.vms, 'is_running', None)
    if is_running is None:
        return
    state = engine.state
    for row in list(state.vms.values()):
        if row['status'] not in ('up', 'unknown') or is_running(row['id']):
            row.pop('lost', None)
            continue
        now = time.monotonic()
        if row['status'] == 'up' and now < row.setdefault('lost', now) + LOST_S:
            continue
        found = boots(engine)
        with state.lock:
            # The host first: it may have died between the two looks.
            host = state.hosts.get(row['host'])
            if engine.locks.busy(('vm', row['id'])) or \
                    row['status'] not in ('up', 'unknown'):
                continue
            if host and (host['status'] == 'non_responsive' or host.get(
                    'boot') != found.get(host['name'])):
                row['status'] = 'unknown'
                continue
            row.pop('lost', None)
            row['status'] = 'down'
            row['host'] = None
        engine.tasks.event(119, 'VM %s is down with error. Exit message: '
                           'Lost connection with qemu process.'
                           % row['name'], 'error', vm=row['id'])
