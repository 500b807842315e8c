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
from mini import VM, World
from world import Wrong

BACKUP = ('plan', 'snapshot', 'snapshot:2', 'snapshot:3', 'config', 't0',
          't0:2', 'map', 'stream', 'stream:2', 't1', 'publish', 'publish:2',
          'release', 'release:2')
RESTORE = ('plan', 'create', 'create:2', 'prove', 'prove:2', 'write',
           'write:3', 'verify', 'verify:2', 'vm', 'vm:2', 'attach',
           'attach:2', 'release', 'release:2')
CLEAN = tuple('clean:%d' % n for n in range(1, 9))
READER = ('hello', 't0', 'map', 'stream', 't1')
WRITER = ('hello', 'prove', 'write', 'verify', 'seal')
KINDS = ('full', 'increment', 'restore', 'clean')
STOPS = {'full': BACKUP, 'increment': BACKUP, 'restore': RESTORE,
         'clean': CLEAN}
HELPERS = {'full': READER, 'increment': READER, 'restore': WRITER,
           'clean': ()}


def table(seed):
    """Every (kind, victim, phase), in the order of this seed."""
    rows = [(kind, victim, phase) for kind in KINDS
            for victim, phases in (('controller', STOPS[kind]),
                                   ('helper', HELPERS[kind]))
            for phase in phases]
    random.Random(seed).shuffle(rows)
    return rows


class Case(base.Case):
    def __init__(self, world, seed, number):
        super().__init__(world, seed, number)
        rows = table(seed)
        if number % 2 == 0:
            self.kind, self.victim, self.phase = rows[number // 2 % len(rows)]
        else:
            self.kind = self.random.choice(KINDS)
            self.victim = self.random.choice(
                ('controller', 'controller', 'helper')
                if HELPERS[self.kind] else ('controller',))
            self.phase = None

    def argv(self):
        if self.kind == 'restore':
            self.point = self.world.points(VM)[0]
            return ['restore', self.point, '--as', self.new]
        if self.kind == 'clean':
            return ['leftovers', '--clean']
        return ['backup', VM] + (['--full'] if self.kind == 'full' else [])

    def litter(self):
        """Something to clean: a restore and a backup that were killed."""
        for argv, phases in (
                (('restore', VM + '@latest', '--as', self.new), RESTORE[1:]),
                (('backup', VM), BACKUP[1:-2])):
            phase = self.random.choice(phases)
            self.say('%s at %s' % (argv[0], phase))
            with self.world.running(*argv, env={
                    'CHAINLIFT_STOP_AT': phase}) as process:
                if not self.world.wait_stop(process, phase):
                    raise Wrong('it ended before %s' % phase)
        self.world.no_helper()

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
                if self.kind == 'clean':
                    self.say('(had less to do)')
                    return self.world.finish(process)
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
        if self.kind == 'clean':
            self.point = world.points(VM)[0]
            self.litter()
        status = self.kill_at_phase() if self.phase else self.kill_sometime()
        self.check_status(status, self.victim == 'controller')
        world.no_helper()
        if self.kind in ('restore', 'clean'):
            self.check_restored(self.point,
                                status if self.kind == 'restore' else -1)
        world.check_points(verify=True)
        rows = world.left(keep=True)
        if self.random.random() < 0.5 or any(row['kind'] != 'snapshot'
                                             for row in rows):
            self.say('cleaned')
            world.clean(keep=True)
        world.next_run()
        world.prune()


if __name__ == '__main__':
    sys.exit(base.main('kill', World, Case, sys.argv, 40))
