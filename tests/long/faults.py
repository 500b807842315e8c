# SPDX-License-Identifier: Apache-2.0
"""Random faults at random moments against a lab: faults.py COUNT SEED FROM.

A case is a backup, a restore as a VM or a restore to a file, and one or two
things that go wrong meanwhile.  Its number and the seed alone decide what.
After each case, whatever its exit status:

  - the exit status is one that a fault may have, and the reason is told;
  - no helper stays on a host;
  - what is left in the engine is what `leftovers` lists, nothing more or less,
    and only if the program said so or was killed;
  - each point that is listed equals what the guest had; a VM of the wanted
    name, or a file, is whole;
  - the next backup works, is right, and leaves nothing anywhere.

A failing case keeps its log in build-results/faults, and gets a new lab.  The
last line is `faults: N ok, N failed, seed S`; exit 1 with a failure."""

import os
import signal
import sys
import time

import world as base
from world import Wrong, prove

SETTINGS = '''
engine: { poll_ms = 100; retry = 3; busy = 2; };
ssh: { connect_timeout = 2; stall_timeout = 5; heartbeat = 5; };
'''
VMS = ('web01', 'db01')
BACKUP_PHASES = ('plan', 'snapshot', 'snapshot:2', 'snapshot:3', 'config',
                 't0', 't0:2', 'map', 'stream', 'stream:2', 't1', 'publish',
                 'publish:2', 'release', 'release:2')
RESTORE_PHASES = ('plan', 'create', 'create:2', 'prove', 'prove:2', 'write',
                  'write:3', 'verify', 'verify:2', 'vm', 'vm:2', 'attach',
                  'attach:2', 'release', 'release:2')
FILE_PHASES = ('write', 'write:2', 'write:5')
BACKUP_CALLS = ('POST /vms/[^/]+/snapshots$', 'DELETE /vms/[^/]+/snapshots/',
                'GET /vms/[^/]+/snapshots/[^/]+$', 'GET /vms/[^/]+$',
                'GET /vms/[^/]+/snapshots$', 'GET /jobs', 'GET /events',
                'GET /disks/', 'GET /', 'GET /vms/[^/]+/snapshots/[^/]+/disks')
RESTORE_CALLS = ('POST /disks$', 'GET /disks/', 'DELETE /disks/',
                 'POST /vms$', 'GET /vms/', 'PUT /vms/', 'DELETE /vms/',
                 'POST /vms/[^/]+/diskattachments$', 'GET /jobs', 'GET /')
BUSY = 'Related operation is currently in progress. Please try again later.'


class World(base.World):
    """Two VMs of which each was backed up once."""
    DELAY_S = 0.1

    def __init__(self):
        super().__init__('pair', SETTINGS)

    def open(self, settings):
        super().open(settings)
        for vm in VMS:
            self.must(0, 'backup', vm)
        self.chains = {vm: self.chain(vm) for vm in VMS}
        self.check_points()

    def settle(self):
        """All faults end."""
        self.ctl('clear-faults')
        self.ctl('restart', 0)  # it is back
        for name, host in self.hosts.items():
            if not host.pid():
                host.start()
            else:
                host.thaw()
                host.heal()
            self.ctl('host-status', name, 'up')
        self.ctl('idle')
        for vm in VMS:
            end = time.monotonic() + 30
            while (status := self.vm_row(vm)['status']) not in ('up', 'down'):
                if time.monotonic() > end:
                    raise Wrong('lab: VM %s stays %s' % (vm, status))
                time.sleep(0.1)
            if status == 'down':
                self.ctl('vm-start', vm)

    def next_run(self, vm):
        self.must(0, 'backup', vm)
        self.check_points()
        self.check_left()
        if self.chain(vm) != self.chains[vm]:
            raise Wrong('the chain of %s is %s' % (vm, self.chain(vm)))


class Case(base.Case):
    def __init__(self, world, seed, number):
        super().__init__(world, seed, number)
        self.killed = False
        self.vm = self.random.choice(VMS)
        self.file = os.path.join(world.work, 'restored')
        self.kind = self.random.choices(('backup', 'restore', 'file'),
                                        (6, 5, 1))[0]

    def argv(self):
        if self.kind == 'backup':
            return ['backup', self.vm]
        self.point = self.world.points(self.vm)[0]
        if self.kind == 'restore':
            return ['restore', self.point, '--as', self.new]
        self.disk = prove.manifest(self.point)[2][0]
        return ['restore', self.point, '--disk', self.disk['disk'], '--to',
                self.file]

    # -- what goes wrong --------------------------------------------------

    def spoil_calls(self):
        calls = BACKUP_CALLS if self.kind == 'backup' else RESTORE_CALLS
        for _ in range(self.random.choice((1, 1, 2))):
            call = self.random.choice(calls)
            count = self.random.choice((1, 1, 2, 3, 50))
            after = self.random.choice((0, 0, 1, 2, 5, 9))
            mode = self.random.choice(('fail', 'fail', 'drop', 'drop-after',
                                       'stall'))
            more = ()
            if mode == 'fail':
                status, text = self.random.choice(
                    ((500, ''), (503, 'html'), (409, BUSY), (400, 'No.'),
                     (403, 'Not authorized.'), (404, ''), (401, ''),
                     (409, 'Low disk space on Storage Domain data_one.')))
                if call.startswith('GET') and status in (400, 404, 409):
                    status, text = 503, 'html'
                more = (status, text, after)
            elif mode == 'stall':
                count = min(count, 2)
                more = (self.random.choice((0.5, 1.5)), after)
            else:
                more = (after,)
            self.say('%s "%s" x%d %s' % (mode, call, count, more))
            self.world.ctl(mode, call, count, *more)

    def spoil_task(self):
        kinds = ('snapshot', 'snapshot-delete') if self.kind == 'backup' \
            else ('disk', 'disk-delete', 'vm-delete')
        kind = self.random.choice(kinds)
        self.say('the work of %s fails' % kind)
        self.world.ctl('fail-task', kind)

    def at_moment(self, process):
        """Something happens while the program stands or runs."""
        actions = [self.signal, self.kill_controller, self.kill_helper,
                   self.network, self.network, self.tokens, self.engine]
        if self.kind == 'backup':
            actions += [self.behind, self.behind]
        if self.kind == 'file':
            actions = [self.signal, self.kill_controller]
        self.random.choice(actions)(process)

    def signal(self, process):
        number = self.random.choice((signal.SIGINT, signal.SIGTERM,
                                     signal.SIGHUP))
        self.say(number.name)
        process.send_signal(number)

    def kill_controller(self, process):
        self.say('SIGKILL')
        self.killed = True
        process.kill()

    def kill_helper(self, _):
        found = self.world.helpers()
        self.say('SIGKILL to %d helpers' % len(found))
        for outer, _ in found:
            try:
                os.kill(outer, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def network(self, process):
        host = self.world.hosts[self.random.choice(sorted(self.world.hosts))]
        how = self.random.choice(('drop', 'reset', 'reset', 'link_down',
                                  'drop_after', 'drop_after_in', 'freeze',
                                  'kill'))
        args = ()
        if how.startswith('drop_after'):
            args = (self.random.randrange(1, 30) * 1000000,)
        for_s = self.random.choice((0.2, 1.0, 3.0))
        self.say('%s %s%s for %.1f s' % (host.name, how, args, for_s))
        getattr(host, how)(*args)
        self.resume(process)
        time.sleep(for_s)
        if how == 'kill':
            host.start()
        else:
            host.thaw()
            host.heal()

    def tokens(self, _):
        self.say('tokens expire')
        self.world.ctl('expire-tokens')

    def engine(self, _):
        for_s = self.random.choice((0.5, 1.5, 5.0))
        self.say('the engine restarts, %.1f s' % for_s)
        self.world.ctl('restart', for_s)

    def behind(self, _):
        ours = self.world.ctl('snapshots', self.vm)
        what = self.random.choice(('remove', 'remove', 'add', 'stop',
                                   'migrate'))
        self.say('behind our back: %s' % what)
        try:
            if what == 'remove' and ours:
                self.world.ctl('remove-snapshot', self.vm, ours[-1]['id'])
            elif what == 'add':
                made = self.world.ctl('add-snapshot', self.vm, 'of a user')
                self.users = made
            elif what == 'stop':
                self.world.ctl('vm-stop', self.vm)
            elif what == 'migrate':
                there = self.world.vm_row(self.vm)['host']
                to = next(h for h in self.world.ctl('inventory')['hosts']
                          if h['id'] != there)
                self.world.ctl('vm-migrate', self.vm, to['name'])
        except RuntimeError as err:
            self.say('(refused: %s)' % err)

    @staticmethod
    def resume(process):
        try:
            process.send_signal(signal.SIGCONT)
        except ProcessLookupError:
            pass

    # -- the run ----------------------------------------------------------

    def stop_phase(self):
        return self.random.choice({'backup': BACKUP_PHASES,
                                   'restore': RESTORE_PHASES,
                                   'file': FILE_PHASES}[self.kind])

    def run(self):
        self.check(self.carry_out())

    def carry_out(self):
        self.users = None
        argv = self.argv()
        self.say(' '.join(argv[:1] + argv[2:3] if self.kind != 'backup'
                          else argv))
        env = {}
        how = self.random.random()
        if self.kind != 'file' and how < 0.35:
            self.spoil_calls()
        elif self.kind != 'file' and how < 0.42:
            self.spoil_task()
        moment = how >= 0.42 or self.random.random() < 0.2 \
            or self.kind == 'file'
        phase = None
        if moment and self.random.random() < 0.6:
            phase = self.stop_phase()
            env['CHAINLIFT_STOP_AT'] = phase
            self.say('at %s:' % phase)
        with self.world.running(*argv, env=env) as process:
            if phase:
                if self.world.wait_stop(process, phase):
                    self.at_moment(process)
                    self.resume(process)
                else:
                    self.say('(not reached)')
            elif moment:
                delay = self.random.uniform(0.02, 1.3)
                self.say('after %.2f s:' % delay)
                time.sleep(delay)
                if process.poll() is None:
                    self.at_moment(process)
                else:
                    self.say('(had ended)')
            return self.world.finish(process)

    def check(self, status):
        world = self.world
        text = self.check_status(status, self.killed)
        world.settle()
        if self.users:
            world.ctl('remove-snapshot', self.vm, self.users)
        world.no_helper()
        if self.kind == 'restore':
            self.check_restored(self.point, status)
        if self.kind == 'file':
            self.check_file(status)
        world.check_points()
        rows = world.left()
        if rows and not self.killed and 'left' not in text:
            raise Wrong('left without a word: %s' % rows)
        if rows:
            world.clean()
        world.next_run(self.vm)
        world.prune()

    def check_file(self, status):
        if status == 0:
            top = prove.manifest(self.point)[1]
            prove.run('cmp', self.file, prove.oracle(top, self.disk))
        elif os.path.exists(self.file) and not self.killed:
            raise Wrong('half a file is left')
        if os.path.exists(self.file):
            os.unlink(self.file)


if __name__ == '__main__':
    sys.exit(base.main('faults', World, Case, sys.argv, 40))
