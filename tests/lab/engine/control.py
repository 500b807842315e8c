# SPDX-License-Identifier: Apache-2.0
"""The control endpoint: one JSON object a line in, one out, on a socket.

    {"verb": "fail", "args": ["POST /vms/[^/]+/snapshots$", 1, 503, "html"]}
    {"ok": true, "result": ...}      {"ok": false, "error": "..."}

A VM is named by name or id, a disk by alias or id, a snapshot by id, by its
whole description, or `latest`.  The verbs are the functions of VERBS; their
first line of documentation is what `help` prints."""

import datetime
import json
import os
import socketserver
import threading
import time
import traceback

from . import behind, snapshots, vmrun, vms, watch
from .errors import Fault, NotFound
from .server import Request
from .state import CLOCK, now
from .xmlout import PREFIX

LINE_MAX = 1 << 20
WAIT_S = 120.0


class Control:
    def __init__(self, engine, path):
        self.engine = engine
        self.path = path
        self.verbs = dict(VERBS)
        control = self

        class Line(socketserver.StreamRequestHandler):
            def handle(self):
                for line in iter(lambda: self.rfile.readline(LINE_MAX), b''):
                    try:
                        self.wfile.write(control.answer(line) + b'\n')
                    except OSError:
                        return

        class Listener(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 32

        if os.path.exists(path):
            os.unlink(path)
        self.listener = Listener(path, Line)
        os.chmod(path, 0o600)
        threading.Thread(target=self.listener.serve_forever, daemon=True,
                         kwargs={'poll_interval': 0.1}).start()

    def close(self):
        self.listener.shutdown()
        self.listener.server_close()
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass

    def answer(self, line):
        try:
            asked = json.loads(line)
            verb = self.verbs.get(asked.get('verb'))
            if verb is None:
                raise ValueError('no such verb: %s (try help)'
                                 % asked.get('verb'))
            result = verb(self.engine, *asked.get('args', []))
            reply = {'ok': True, 'result': result}
        except Fault as err:
            reply = {'ok': False, 'error': '%d %s' % (err.status,
                                                      err.detail)}
        except NotFound:
            reply = {'ok': False, 'error': 'not found'}
        except Exception as err:
            if not isinstance(err, (ValueError, TypeError, LookupError)):
                traceback.print_exc()
            reply = {'ok': False, 'error': '%s: %s' % (type(err).__name__,
                                                       err)}
        return json.dumps(reply, default=plain).encode()


def plain(value):
    """What JSON does not know: dates, sets; the rest by its type."""
    if hasattr(value, 'isoformat'):
        return value.isoformat()
    if isinstance(value, (set, tuple)):
        return list(value)
    return '<%s>' % type(value).__name__


# -- names ----------------------------------------------------------------

def the_vm(engine, name):
    row = engine.state.vm_by_name(name)
    if row is None:
        raise LookupError('no VM %s' % name)
    return row


def the_disk(engine, vm, name):
    for img in the_vm(engine, vm)['attachments']:
        disk = engine.state.disks[img]
        if name in (img, disk['alias']):
            return disk
    raise LookupError('VM %s has no disk %s' % (vm, name))


def the_snapshot(engine, vm, name):
    rows = [row for row in engine.state.vm_snapshots(the_vm(engine, vm))
            if row['type'] == 'regular']
    if name == 'latest' and rows:
        return rows[-1]
    for row in rows:
        if name in (row['id'], row['description']):
            return row
    raise LookupError('VM %s has no snapshot %s' % (vm, name))


def the_host(engine, name):
    for row in engine.state.hosts.values():
        if name in (row['id'], row['name']):
            return row
    raise LookupError('no host %s' % name)


def call(engine, handler, *ids, body=b'<action/>', method='POST', query=''):
    """Run a handler as the administrator would; 409 is tried again."""
    end = time.monotonic() + WAIT_S
    while True:
        request = Request(engine, method, PREFIX + '/' + query,
                          {'Correlation-Id': 'lab-control'}, body,
                          user='admin@internal')
        try:
            return handler(engine, request, *ids)
        except Fault as err:
            if err.status != 409 or time.monotonic() > end or \
                    'in progress' not in err.detail and \
                    'locked' not in err.detail:
                raise
            time.sleep(0.05)


def until(test):
    end = time.monotonic() + WAIT_S
    while not test():
        if time.monotonic() > end:
            raise TimeoutError('not reached in %d s' % WAIT_S)
        time.sleep(0.02)


# -- spoiling calls and tasks ---------------------------------------------

def fail(engine, what, count, status, text=None, after=0):
    """fail CALL N STATUS [TEXT|html] [AFTER]: the next N calls fail"""
    return engine.faults.add('fail', what, count, after, status=int(status),
                             text=text or None)


def stall(engine, what, count, seconds, after=0):
    """stall CALL N SECONDS [AFTER]: they answer so much later"""
    return engine.faults.add('stall', what, count, after,
                             seconds=float(seconds))


def drop(engine, what, count, after=0):
    """drop CALL N [AFTER]: cut the connection, nothing done"""
    return engine.faults.add('drop', what, count, after)


def drop_after(engine, what, count, after=0):
    """drop-after CALL N [AFTER]: do the work, then cut the connection"""
    return engine.faults.add('drop-after', what, count, after)


def faults(engine):
    """faults: the rules with what is left of them"""
    return engine.faults.list()


def clear_faults(engine):
    """clear-faults: forget all rules and failures asked for"""
    with engine.state.lock:
        engine.tasks.fail_next.clear()
        engine.false_success = 0
    return engine.faults.clear()


def fail_task(engine, kind, count=1):
    """fail-task KIND [N]: the work behind the next N accepted calls fails
    (snapshot snapshot-delete disk disk-delete disk-extend transfer-start
    transfer-finalize vm-delete vm-start vm-stop)"""
    with engine.state.lock:
        engine.tasks.fail_next[kind] = int(count)


def false_success(engine, count=1, event='170'):
    """false-success [N [none]]: snapshots `succeed`, QEMU keeps its volume;
    none: without an event that tells"""
    with engine.state.lock:
        engine.false_success = int(count)
        engine.false_success_told = event != 'none'


def delay(engine, name=None, seconds=None):
    """delay [NAME SECONDS]: locked tail grace transfer start ..."""
    if name is not None:
        if name not in engine.delays:
            raise LookupError('no delay %s' % name)
        engine.delays[name] = float(seconds)
    return dict(engine.delays)


def clock(engine, seconds=0):
    """clock SECONDS: the engine's clock is so far ahead"""
    CLOCK['ahead'] = datetime.timedelta(seconds=float(seconds))


def expire_tokens(engine):
    """expire-tokens: every token is unknown from now on"""
    return engine.auth.expire_all()


def token_life(engine, life, idle=1800):
    """token-life SECONDS [IDLE-SECONDS]"""
    engine.auth.life_s = float(life)
    engine.auth.idle_s = float(idle)


def restart(engine, seconds):
    """restart SECONDS: 503 for so long, every session is lost"""
    engine.restart(float(seconds))


def keep_alive(engine, seconds):
    """keep-alive SECONDS: cut connections that rest for longer"""
    engine.keep_alive_s = float(seconds)


# -- behind the tool's back -----------------------------------------------

def add_snapshot(engine, vm, description, persist='false'):
    """add-snapshot VM TEXT: a user's snapshot; returns its id"""
    row = the_vm(engine, vm)
    doc = snapshots.node('snapshot', snapshots.leaf('description',
                                                    description),
                         snapshots.leaf('persist_memorystate', persist))
    reply = call(engine, snapshots.add, row['id'],
                 body=snapshots.xmlout.render(doc))
    ident = reply.doc.get('id')
    until(lambda: engine.state.snapshots.get(ident, {'status': 'gone'})[
        'status'] != 'locked')
    if ident not in engine.state.snapshots:
        raise ValueError('the snapshot failed')
    idle(engine)
    return ident


def remove_snapshot(engine, vm, snap):
    """remove-snapshot VM SNAP: a user deletes it (a real merge)"""
    row = the_snapshot(engine, vm, snap)
    call(engine, snapshots.delete, row['vm'], row['id'], method='DELETE')
    until(lambda: row['status'] != 'locked' or
          row['id'] not in engine.state.snapshots)
    if row['id'] in engine.state.snapshots:
        raise ValueError('the deletion failed')
    idle(engine)


def remove_vm(engine, vm):
    """remove-vm VM: stopped, then deleted with its disks"""
    row = the_vm(engine, vm)
    if row['status'] != 'down':
        vm_stop(engine, vm)
    call(engine, vms.delete, row['id'], method='DELETE')
    until(lambda: row['id'] not in engine.state.vms)
    idle(engine)


def vm_start(engine, vm, host=None):
    """vm-start VM [HOST]"""
    row = the_vm(engine, vm)
    row['wanted_host'] = the_host(engine, host)['id'] if host else None
    call(engine, vmrun.start, row['id'])
    until(lambda: row['status'] in ('up', 'down'))
    if row['status'] != 'up':
        raise ValueError('the VM did not start')
    idle(engine)


def vm_stop(engine, vm):
    """vm-stop VM"""
    row = the_vm(engine, vm)
    call(engine, vmrun.stop, row['id'])
    until(lambda: row['status'] != 'powering_down')
    idle(engine)


def vm_migrate(engine, vm, host):
    """vm-migrate VM HOST"""
    row, target = the_vm(engine, vm), the_host(engine, host)
    with engine.state.lock:
        if row['status'] != 'up':
            raise ValueError('VM %s is %s' % (vm, row['status']))
        held = engine.locks.take('migrate VM', [('vm', row['id'])])
        row['status'] = 'migrating'
    with held:
        engine.tasks.event(62, 'Migration started (VM: %s)' % row['name'],
                           vm=row['id'])
        try:
            engine.storage.vms.migrate(row['id'], target['name'])
            row['host'] = target['id']
        finally:
            row['status'] = 'up'
    engine.tasks.event(63, 'Migration completed (VM: %s)' % row['name'],
                       vm=row['id'], host=target['id'])


def host_status(engine, host, status):
    """host-status HOST STATUS: up maintenance non_responsive ..."""
    the_host(engine, host).update(status=status, watched=False)


def poke(engine, table, ident, key, value):
    """poke TABLE ID KEY JSON: set one field of a row of the state"""
    with engine.state.lock:
        rows = getattr(engine.state, table)
        if key not in rows[ident]:
            raise LookupError('no field %s' % key)
        try:
            rows[ident][key] = json.loads(value)
        except (ValueError, TypeError):
            rows[ident][key] = value


def preview(engine, vm, snap):
    """preview VM SNAP: the stopped VM shows the snapshot"""
    behind.preview(engine, the_vm(engine, vm), the_snapshot(engine, vm, snap))


def undo_preview(engine, vm):
    """undo-preview VM"""
    behind.undo(engine, the_vm(engine, vm))


def commit_preview(engine, vm, astray=None):
    """commit-preview VM [astray]: it is restored to that snapshot"""
    behind.commit(engine, the_vm(engine, vm), astray is not None)


def remove_disk_snapshot(engine, vm, snap, disk):
    """remove-disk-snapshot VM SNAP DISK: one disk leaves it (a real merge)"""
    behind.remove_disk_snapshot(engine, the_vm(engine, vm),
                                the_snapshot(engine, vm, snap),
                                the_disk(engine, vm, disk))


def move_disk(engine, vm, disk, domain):
    """move-disk VM DISK DOMAIN: of a stopped VM, with its ids"""
    rows = [row for row in engine.state.storagedomains.values()
            if row['name'] == domain]
    if len(rows) != 1:
        raise LookupError('no domain %s' % domain)
    behind.move_disk(engine, the_vm(engine, vm), the_disk(engine, vm, disk),
                     rows[0])


def reimport(engine, vm):
    """reimport VM: the stopped VM has new disks and no snapshots"""
    behind.reimport(engine, the_vm(engine, vm))


def tell(engine, vm, code, text):
    """tell VM CODE TEXT: an event, and nothing else"""
    engine.tasks.event(int(code), text, vm=the_vm(engine, vm)['id'])


def forget_events(engine):
    """forget-events: all but the last event are gone"""
    behind.forget_events(engine)


# -- questions ------------------------------------------------------------

def inventory(engine):
    """inventory: all objects, as JSON"""
    state = engine.state
    with state.lock:
        names = ('datacenters', 'clusters', 'hosts', 'storagedomains',
                 'templates', 'vms', 'disks', 'volumes', 'snapshots', 'tags',
                 'vnicprofiles', 'transfers', 'jobs')
        return json.loads(json.dumps(
            {name: list(getattr(state, name).values()) for name in names},
            default=plain))


def log(engine, first=0):
    """log [FIRST]: the calls from number FIRST on (0)"""
    with engine.log_lock:
        return engine.calls[int(first):]


def events(engine, first=0):
    """events [ID]: the events after that id"""
    with engine.state.lock:
        return [row for row in engine.state.events
                if int(row['id']) > int(first)]


def list_snapshots(engine, vm):
    """snapshots VM: oldest first, without the active one"""
    state = engine.state
    with state.lock:
        return [{'id': row['id'], 'description': row['description'],
                 'status': row['status'], 'date': row['date'],
                 'disks': {v['disk']: v['id'] for v in
                           state.snapshot_volumes(row)}}
                for row in state.vm_snapshots(the_vm(engine, vm))
                if row['type'] == 'regular']


def chain(engine, vm, disk):
    """chain VM DISK: the volumes on storage, top first"""
    row = the_disk(engine, vm, disk)
    return engine.storage.chain(row['domain'], row['id'], row['image_id'])


def fingerprint(engine, vm):
    """fingerprint VM: volumes, sizes, digests, metadata of all its disks"""
    row = the_vm(engine, vm)
    parts = []
    for img in sorted(row['attachments']):
        disk = engine.state.disks[img]
        parts.append('disk %s\n%s' % (img, engine.storage.chain_fingerprint(
            disk['domain'], img)))
    return '\n'.join(parts)


def oracle(engine, vm, snap, disk):
    """oracle VM SNAP DISK: path of the frozen disk as raw bytes"""
    row = engine.state.vm_by_name(vm)
    vm_id = row['id'] if row else vm
    try:
        snap = the_snapshot(engine, vm, snap)['id']
    except LookupError:
        pass                    # it may be gone; its oracle stays
    try:
        disk = the_disk(engine, vm, disk)['id']
    except LookupError:
        pass
    path = os.path.join(engine.lab_dir, 'oracle', vm_id, snap, disk + '.raw')
    if not os.path.exists(path):
        raise LookupError('no oracle %s' % path)
    return path


def objects(engine):
    """Names of everything that a tool could leave behind."""
    state = engine.state
    found = set()
    with state.lock:
        for vm in state.vms.values():
            found.add('vm %s (%s)' % (vm['id'], vm['name']))
            for img, att in vm['attachments'].items():
                found.add('attachment %s %s%s' % (
                    vm['id'], img, ' of a snapshot' if att['snapshot']
                    else ''))
            if vm['frozen']:
                found.add('frozen %s (%s)' % (vm['id'], vm['name']))
        for disk in state.disks.values():
            found.add('disk %s (%s)' % (disk['id'], disk['alias']))
        for snap in state.snapshots.values():
            if snap['type'] != 'active':
                found.add('snapshot %s of VM %s (%s)' % (
                    snap['id'], snap['vm'], snap['description']))
        for row in state.transfers.values():
            if not row['ended']:
                found.add('transfer %s of disk %s' % (row['id'],
                                                      row['disk']))
        for job in state.jobs.values():
            if job['external'] and job['status'] == 'started':
                found.add('job %s (%s)' % (job['id'], job['description']))
    return found


def baseline(engine):
    """baseline: what is there now is the inventory"""
    engine.initial = objects(engine)
    return len(engine.initial)


def extra(engine):
    """extra: objects beyond the baseline (+) and lost from it (-)"""
    there = objects(engine)
    initial = engine.initial or set()
    return ['+ ' + name for name in sorted(there - initial)] + \
        ['- ' + name for name in sorted(initial - there)]


def expected(engine):
    """expected: the LVs that the lab itself has mapped, by host"""
    return engine.storage.expected()


def unknown_images(engine):
    """unknown-images: LVs on storage that belong to no disk"""
    with engine.state.lock:
        known = set(engine.state.disks)
    return engine.storage.unknown_images(known)


def copy_lv(engine, disk, path):
    """copy-lv DISK PATH: the LV of a disk's leaf as it is, in a file"""
    row = engine.state.disks[disk]
    engine.storage.groups[row['domain']].copy_out(row['image_id'], path)


def extents(engine, disk, vol=None):
    """extents DISK [VOLUME]: where on which LUN the LV of its leaf lies"""
    row = engine.state.disks[disk]
    group = engine.storage.groups[row['domain']]
    return ' '.join('%s:%d+%d' % part for part in
                    group.lvs[vol or row['image_id']].parts)


def fill_lv(engine, disk, text):
    """fill-lv DISK TEXT: the whole LV of a disk's leaf says nothing else"""
    row = engine.state.disks[disk]
    group = engine.storage.groups[row['domain']]
    size = group.lvs[row['image_id']].size
    line = text.encode().ljust(63) + b'\n'
    for offset in range(0, size, 1 << 20):
        group.write(row['image_id'], offset, line * (1 << 14))


def extend_lv(engine, vm, disk, size):
    """extend-lv VM DISK BYTES: the SPM extends the leaf, as for a thin VM"""
    row = the_disk(engine, vm, disk)
    group = engine.storage.groups[row['domain']]
    group.extend(row['image_id'], int(size))
    return group.lvs[row['image_id']].size


def prepare(engine, host, vm, disk):
    """prepare HOST VM DISK: the disk's chain is active, with run links"""
    row = the_disk(engine, vm, disk)
    engine.storage.prepare(the_host(engine, host)['name'], row['domain'],
                           row['id'], row['image_id'])


def teardown(engine, host, vm, disk):
    """teardown HOST VM DISK: and not any more"""
    row = the_disk(engine, vm, disk)
    engine.storage.teardown(the_host(engine, host)['name'], row['domain'],
                            row['id'])


def look(engine):
    """look: the engine looks at its hosts and VMs now, not within a second"""
    watch.everything(engine)


def idle(engine):
    """idle: wait until no work goes on (open transfers do not count)"""
    def resting():
        with engine.state.lock:
            held = sum(1 for row in engine.state.transfers.values()
                       if not row['ended'])
            return engine.tasks.running <= held
    until(resting)


def help_text(engine):
    """help: this text"""
    return '\n'.join(VERBS[name].__doc__.split('\n')[0]
                     for name in sorted(VERBS))


def ping(engine):
    """ping: the time of the engine"""
    return now()


VERBS = {
    'fail': fail, 'stall': stall, 'drop': drop, 'drop-after': drop_after,
    'faults': faults, 'clear-faults': clear_faults, 'fail-task': fail_task,
    'false-success': false_success, 'delay': delay, 'clock': clock,
    'expire-tokens': expire_tokens, 'token-life': token_life,
    'restart': restart, 'keep-alive': keep_alive,
    'add-snapshot': add_snapshot, 'remove-snapshot': remove_snapshot,
    'remove-vm': remove_vm, 'vm-start': vm_start, 'vm-stop': vm_stop,
    'vm-migrate': vm_migrate, 'host-status': host_status, 'poke': poke,
    'preview': preview, 'undo-preview': undo_preview,
    'commit-preview': commit_preview, 'move-disk': move_disk,
    'remove-disk-snapshot': remove_disk_snapshot, 'reimport': reimport,
    'tell': tell, 'forget-events': forget_events,
    'inventory': inventory, 'log': log, 'events': events,
    'snapshots': list_snapshots, 'chain': chain, 'fingerprint': fingerprint,
    'oracle': oracle, 'baseline': baseline, 'extra': extra, 'idle': idle,
    'help': help_text, 'ping': ping, 'expected': expected,
    'unknown-images': unknown_images, 'copy-lv': copy_lv,
    'extend-lv': extend_lv, 'extents': extents, 'fill-lv': fill_lv,
    'prepare': prepare, 'teardown': teardown, 'look': look,
}
