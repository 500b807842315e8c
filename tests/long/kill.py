# SPDX-License-Identifier: Apache-2.0
"""SIGKILL at any instant: kill.py COUNT SEED FROM.

A case is a full backup, an increment, a restore as a VM or a `leftovers
--clean`, of which the controller or processes of the helper are killed.  Even
cases go through all named phases in an order that the seed gives, odd ones
kill at a random moment.  After each:

  - the points that are new are found good by `verify`, by qemu-img check and
    against the oracle, and so is a VM of the wanted name;
  - no helper stays on a host;
  - what is left in the engine is what `leftovers` lists;
  - the next run, or `leftovers --clean` and the next run, leave nothing but the
    snapshot of the newest point, and that point is an increment and equals its
    oracle;
  - VMs, disks, snapshots, frozen volumes and hosts of others are as they were.

A failing case keeps its log in build-results/kill, and gets a new lab.  The
last line is `kill: N ok, N failed, seed S`; exit 1 with a failure."""

import os
import random
import signal
import sys
import time

import world as base
from world import Wrong, prove

SETTINGS = '''
engine: { poll_ms = 100; retry = 3; busy = 2; };
ssh: { connect_timeout = 2; stall_timeout = 5; heartbeat = 5; };
snapshot: { keep = true; };
'''
VM = 'mini'
BACKUP = ('plan', 'snapshot', 'snapshot:2', 'snapshot:3', 'config', 't0',
          't0:2', 'map', 'stream', 'stream:2', 't1', 'publish', 'publish:2',
          'release', 'release:2')
RESTORE = ('plan', 'create', 'create:2', 'prove', 'prove:2', 'write',
           'write:3', 'verify', 'verify:2', 'vm', 'vm:2', 'attach',
           'attach:2', 'release', 'release:2')
READER = ('hello', 't0', 'map', 'stream', 't1')
WRITER = ('hello', 'prove', 'write', 'verify', 'seal')
KINDS = ('full', 'increment', 'restore')


def table(seed):
    """Every (kind, victim, phase), in the order of this seed."""
    rows = [(kind, 'controller', phase) for kind in KINDS
            for phase in (RESTORE if kind == 'restore' else BACKUP)]
    rows += [(kind, 'helper', phase) for kind in KINDS
             for phase in (WRITER if kind == 'restore' else READER)]
    random.Random(seed).shuffle(rows)
    return rows


class World(base.World):
    """One VM that is backed up, and how long each kind takes."""

    def __init__(self):
        super().__init__('tiny', SETTINGS)

    def open(self, settings):
        super().open(settings)
        self.before = self.foreign()
        self.last_s = {}
        for kind, argv in (('full', ('backup', VM)),
                           ('increment', ('backup', VM)),
                           ('restore', ('restore', VM + '@latest', '--as',
                                        'copy'))):
            self.last_s[kind] = self.measure(*argv)
        self.api('DELETE', '/vms/' + self.vm_row('copy')['id'])
        self.chains = self.chain(VM)
        self.check_points(verify=True)
        self.check_left(self.kept())

    def measure(self, *argv):
        """{victim: seconds} that the program and its helper live."""
        begin = time.monotonic()
        seen = []
        with self.running(*argv) as process:
            while process.poll() is None:
                if self.helpers():
                    seen.append(time.monotonic())
                time.sleep(0.005)
        if process.returncode or not seen:
            raise Wrong('%s: %s' % (' '.join(argv), self.output()))
        return {'controller': time.monotonic() - begin,
                'helper': seen[-1] - seen[0]}

    def next_run(self):
        self.must(0, 'backup', VM)
        self.check_points(verify=True)
        self.check_left(self.kept())
        point = self.points(VM)[0]
        for disk in prove.manifest(point)[2]:
            if not disk['disk.reason'].startswith('increment on'):
                raise Wrong('the next point is %s' % disk['disk.reason'])
        if self.chain(VM) != self.chains:
            raise Wrong('the chain of %s is %s' % (VM, self.chain(VM)))
        now = self.foreign()
        for part, rows in self.before.items():
            if rows != now[part]:
                raise Wrong('%s changed: %s, before %s' % (part, now[part],
                                                           rows))


class Case(base.Case):
    def __init__(self, world, seed, number):
        super().__init__(world, seed, number)
        rows = table(seed)
        if number % 2 == 0:
            self.kind, self.victim, self.phase = rows[number // 2 % len(rows)]
        else:
            self.kind = self.random.choice(KINDS)
            self.victim = self.random.choice(('controller', 'controller',
                                              'helper'))
            self.phase = None

    def argv(self):
        if self.kind == 'restore':
            self.point = self.world.points(VM)[0]
            return ['restore', self.point, '--as', self.new]
        return ['backup', VM] + (['--full'] if self.kind == 'full' else [])

    # -- the kill ---------------------------------------------------------

    def kill_at_phase(self):
        self.say('%s: %s at %s' % (self.kind, self.victim, self.phase))
        if self.victim == 'helper':
            with self.world.running(*self.argv(), env={
                    'CHAINLIFT_STOP_REMOTE': self.phase}) as process:
                return self.world.finish(process)
        with self.world.running(*self.argv(), env={
                'CHAINLIFT_STOP_AT': self.phase}) as process:
            if not self.world.wait_stop(process, self.phase):
                raise Wrong('it ended before %s' % self.phase)
            process.kill()
            return process.wait()

    def kill_sometime(self):
        """The moment is a share of what such a process lived before."""
        world = self.world
        delay = self.random.random() * world.last_s[self.kind][self.victim]
        which = self.random.choice(('all', 'first', 'last'))
        self.say('%s: %s after %.3f s' % (self.kind, self.victim, delay))
        with world.running(*self.argv()) as process:
            if self.victim == 'helper':
                self.say(which)
                while not world.helpers() and process.poll() is None:
                    time.sleep(0.005)
            time.sleep(delay)
            if self.victim == 'helper':
                self.kill_helpers(which)
                return world.finish(process)
            process.kill()
            status = process.wait()
            if status == 0:
                self.say('(had ended)')
            return status

    def kill_helpers(self, which):
        found = sorted(pid for pid, _ in self.world.helpers())
        if not found:
            self.say('(none)')
        for pid in found if which == 'all' else \
                found[:1] if which == 'first' else found[-1:]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                self.say('(gone)')

    # -- what must hold ---------------------------------------------------

    def run(self):
        world = self.world
        status = self.kill_at_phase() if self.phase else self.kill_sometime()
        self.check_status(status, self.victim == 'controller')
        world.no_helper()
        if self.kind == 'restore':
            self.check_restored(self.point, status)
        world.check_points(verify=True)
        world.remove(world.left(keep=True))
        world.next_run()
        world.prune()


if __name__ == '__main__':
    sys.exit(base.main('kill', World, Case, sys.argv, 40))
