# SPDX-License-Identifier: Apache-2.0
"""The lab of hundreds of short cases: one small running VM, whose snapshots are
kept for increments, below it a snapshot of a user."""

import time

import world as base
from world import Wrong, prove

SETTINGS = '''
engine: { poll_ms = 100; retry = 3; busy = 2; };
ssh: { connect_timeout = 2; stall_timeout = 5; heartbeat = 5;
       answer_timeout = 8; };
snapshot: { keep = true; };
'''
VM = 'mini'


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
        self.last_s['clean'] = self.last_s['restore']  # about the same
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
