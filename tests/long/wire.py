# SPDX-License-Identifier: Apache-2.0
"""Streams that break, hang or lie at any byte: wire.py COUNT SEED FROM.

A case is a full backup, an increment or a restore as a VM.  Either the TCP
connections to the hosts go through proxy.py, or the helper's frames through
filter.py, where no check of SSH helps; at a random byte one fault happens,
sometimes again on each new connection.  After each case:

  - the program ends by itself in time, and a stream that hangs was noticed
    within ssh.stall_timeout, or ssh.answer_timeout, by its own words;
  - it fails only when something did happen, and tells what failed and why;
  - no helper stays, what is left is told and listed by `leftovers`;
  - each point that is listed equals its oracle, and so does each disk that is
    attached to a restored VM;
  - the next run is an increment that equals its oracle, and leaves nothing.

A failing case keeps its log in build-results/wire, and gets a new lab.  The
last line is `wire: N ok, N failed, seed S`; exit 1 with a failure."""

import json
import os
import re
import shutil
import sys
import time

import mini
import world as base
from filter import PLACE
from mini import VM
from proxy import Proxy
from world import Wrong, hosts

FILTER = os.path.join(base.TOP, 'tests/long/filter.py')
HANGS = ('drop', 'stall', 'hang')
NOTICED_S = 15   # mini.py: stall_timeout or answer_timeout, heartbeat
END_S = 90       # with all attempts after it
KINDS = ('full', 'increment', 'restore')
TCP = {'reset': 4, 'truncate': 4, 'corrupt': 4, 'lose': 2, 'stall': 1,
       'drop': 1}
FRAMES = {'flip': 5, 'lose': 2, 'add': 2, 'end': 3, 'hang': 1,
          'frame-lost': 3, 'frame-twice': 3}
EARLY = {'tcp': 6000, 'frames': 300}
# Faults that say: not what was sent.
LIES = (5, 8, 13)


class World(mini.World):
    """The hosts are reached through proxies; .total[LAYER][KIND][WAY] is how
    many bytes there are to spoil."""

    def open(self, settings):
        self.proxies = [(h.name, Proxy(h.address, h.ssh_port))
                        for h in hosts.Host.load_all(self.dir)]
        entries = ', '.join(
            '{ name = "%s"; address = "127.0.0.1"; port = %d; }'
            % (name, proxy.port) for name, proxy in self.proxies)
        super().open(settings + 'hosts = ( %s );\n' % entries)
        for host in self.hosts.values():
            place = host.path(PLACE)
            os.makedirs(place)
            shutil.copy(os.environ['CHAINLIFT_HELPER'], place + '/helper')
        self.total = {'tcp': {}, 'frames': {}}
        for kind in KINDS:
            self.measure_bytes(kind)

    def close(self):
        for _, proxy in getattr(self, 'proxies', ()):
            proxy.close()
        super().close()

    def argv(self, kind, new):
        if kind == 'restore':
            return ['restore', self.points(VM)[0], '--as', new]
        return ['backup', VM] + (['--full'] if kind == 'full' else [])

    def measure_bytes(self, kind):
        for layer in self.total:
            for _, proxy in self.proxies:
                proxy.arm('none', 'up', 0)
                proxy.fault = None
            env = {'CHAINLIFT_HELPER': FILTER} if layer == 'frames' else {}
            with self.running(*self.argv(kind, 'copy'), env=env) as process:
                if self.finish(process):
                    raise Wrong('%s through %s: %s' % (kind, layer,
                                                       self.output()))
            self.total[layer][kind] = {
                way: max(proxy.count[way] for _, proxy in self.proxies)
                for way in ('up', 'down')}
            if layer == 'frames':
                self.total[layer][kind] = self.place('count')
            if kind == 'restore':
                self.api('DELETE', '/vms/' + self.vm_row('copy')['id'])
                self.ctl('idle')
        self.check_points()

    def place(self, name):
        """The JSON, or True, of a file that the filter made on any host."""
        found = None
        for host in self.hosts.values():
            path = host.path(PLACE + '/' + name)
            if os.path.exists(path):
                with open(path) as source:
                    text = source.read()
                found = json.loads(text) if text else True
                os.unlink(path)
        return found


class Case(base.Case):
    def __init__(self, world, seed, number):
        super().__init__(world, seed, number)
        pick = self.random
        self.kind = pick.choice(KINDS)
        self.layer = pick.choice(('tcp', 'tcp', 'frames'))
        modes = TCP if self.layer == 'tcp' else FRAMES
        self.mode = pick.choices(list(modes), list(modes.values()))[0]
        self.way = pick.choice(('up', 'down'))
        total = world.total[self.layer][self.kind][self.way]
        if pick.random() < 0.3:
            total = min(total, EARLY[self.layer])
        self.offset = pick.randrange(total)
        self.again = self.layer == 'tcp' and self.mode not in HANGS \
            and pick.random() < 0.12

    def arm(self):
        if self.layer == 'tcp':
            for _, proxy in self.world.proxies:
                proxy.arm(self.mode, self.way, self.offset, self.again)
            return {}
        for host in self.world.hosts.values():
            with open(host.path(PLACE + '/fault'), 'w') as out:
                json.dump({'mode': self.mode, 'way': self.way,
                           'offset': self.offset,
                           'length': self.random.randrange(1, 5000)}, out)
        return {'CHAINLIFT_HELPER': FILTER}

    def disarm(self):
        """-> has anything happened?"""
        fired = sum([proxy.heal() for _, proxy in self.world.proxies])
        for host in self.world.hosts.values():
            try:
                os.unlink(host.path(PLACE + '/fault'))
            except FileNotFoundError:
                pass
        if self.layer == 'frames':
            self.world.place('count')
            fired = bool(self.world.place('fired'))
        if not fired:
            self.say('(not reached)')
        return bool(fired)

    def run(self):
        world = self.world
        argv = world.argv(self.kind, self.new)
        self.say('%s: %s %s %s at %d%s' % (
            self.kind, self.layer, self.mode, self.way, self.offset,
            ', again' if self.again else ''))
        begin = time.monotonic()
        with world.running(*argv, env=self.arm()) as process:
            status = world.finish(process)
        took = time.monotonic() - begin
        fired = self.disarm()
        text = self.check_status(status, more=LIES)
        self.check_words(status, text, took, fired)
        world.no_helper()
        if self.kind == 'restore':
            self.check_attached(argv[1])
            self.check_restored(argv[1], status)
        world.check_points(verify=True)
        rows = world.left(keep=True)
        if rows and 'left' not in text:
            raise Wrong('left without a word: %s' % rows)
        if rows:
            world.clean(keep=True)
        world.next_run()
        world.prune()

    def check_words(self, status, text, took, fired):
        if status and not fired:
            raise Wrong('exit %d, but nothing happened' % status)
        errors = [line for line in text.splitlines() if ' error: ' in line]
        if status and not any(re.search('host h[12]', line) and re.search(
                r'error: (%s|%s)[:@]' % (VM, self.new), line)
                for line in errors):
            raise Wrong('an error without object or host: %s' % errors)
        silent = [int(n) for n in re.findall(r' for (\d+) seconds; ', text)]
        if silent and max(silent) > NOTICED_S:
            raise Wrong('noticed after %d s' % max(silent))
        if took > END_S:
            raise Wrong('it took %.0f s' % took)


if __name__ == '__main__':
    sys.exit(base.main('wire', World, Case, sys.argv, 60))
