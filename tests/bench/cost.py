# SPDX-License-Identifier: Apache-2.0
"""The measuring part of cost.sh, which tells what is measured."""

import argparse
import glob
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time

import transfer
from meter import PLACE
from transfer import BUILD, LAB, TOP, ask, lab
from hosts import Host

MIB = 1 << 20
CLUSTER = 65536
SHARES = (1, 3, 10)
# What may come on top of the change itself: tables, the search for writers,
# the conversation; and the share of it for headers and digests.
FIXED = 4 * MIB
READ_MAX = 1.10
SENT_MAX = 1.05


class Bench(transfer.Bench):
    def __init__(self, options):
        super().__init__(options)
        self.random = random.Random(20261120)
        self.machine = Host.load(LAB, 'h1')
        place = self.machine.path(PLACE)
        os.makedirs(place)
        shutil.copy(os.environ['CHAINLIFT_HELPER'], place + '/helper')
        os.environ['CHAINLIFT_HELPER'] = os.path.join(
            TOP, 'tests/bench/meter.py')
        self.notes = place + '/read'
        os.mkdir(os.path.join(LAB, 'conf.d'))
        with open(os.path.join(LAB, 'conf.d', 'keep.conf'), 'w') as conf:
            conf.write('snapshot: { keep = true; };\n')
        self.piece = os.path.join(transfer.WORK, 'piece')

    # -- what is measured -------------------------------------------------

    def sent(self):
        """Bytes that the host has sent, by its side of the bridge."""
        path = '/sys/class/net/%s/statistics/rx_bytes' % self.machine.link
        with open(path) as source:
            return int(source.read())

    def read(self):
        """Bytes that helpers have read since the last call."""
        end = time.monotonic() + 30
        while any('chainlift' in words and 'sshd' not in words
                  for _, words in self.machine.processes().values()):
            if time.monotonic() > end:
                sys.exit('a helper stays')
            time.sleep(0.05)
        with open(self.notes) as source:
            count = sum(map(int, source))
        os.unlink(self.notes)
        return count

    def backup(self, *more):
        def follow(marks, line, now):
            row = json.loads(line)
            if row['type'] == 'phase':
                marks.setdefault(row['phase'], now)

        before = self.sent()
        row = self.timed([os.path.join(BUILD, 'src/chainlift'), '--json',
                          '--config', self.conf, 'backup', *more, '*'],
                         follow)
        marks = row['marks']
        row.update(whole=row['wall'], wall=marks['release'] - marks['t0'],
                   sent=self.sent() - before, read=self.read())
        self.prove()
        return row

    def prove(self):
        """The newest point equals the one oracle that there is."""
        (oracle,) = glob.glob(os.path.join(LAB, 'oracle/*/*/*.raw'))
        image = sorted(glob.glob(os.path.join(self.repo,
                                              'vms/*/*/*.qcow2')))[-1]
        done = subprocess.run(['qemu-img', 'compare', '-f', 'qcow2', '-F',
                               'raw', image, oracle], capture_output=True)
        if done.returncode:
            sys.exit('the point differs from the oracle')
        shutil.rmtree(os.path.join(LAB, 'oracle'))

    def copy(self):
        """scp of the overlay, by its second name."""
        before = self.sent()
        row = self.scp()
        row.update(whole=row['wall'], sent=self.sent() - before,
                   read=os.stat(self.volume[0]).st_size)
        return row

    def link(self):
        """Give the overlay a second name, which outlives its merge."""
        self.volume = self.find_volume()
        names = []
        for path in self.volume:
            top = path.split('/images/')[0]
            names.append(os.path.join(os.path.dirname(top), 'overlay'))
        if os.path.exists(names[0]):
            os.unlink(names[0])
        os.link(self.volume[0], names[0])
        self.volume = names

    # -- what is changed --------------------------------------------------

    def change(self, share):
        """Write about that share of the disk; -> bytes of the clusters that
        the overlay has then."""
        ask(LAB, 'idle')
        path = self.find_volume()[0]
        size = self.options.gib << 30
        with open(self.piece, 'wb') as out:
            out.write(self.random.randbytes(MIB // 2))
            out.write(b'text that compresses, a line of it\n' * (MIB // 70))
            out.truncate(MIB)
        wanted, orders, clusters = size * share // 100, [], set()
        while len(clusters) * CLUSTER < wanted:
            length = self.random.choice((1, 1, 2, 4, 8, 16)) * CLUSTER
            offset = self.random.randrange((size - length) // CLUSTER)
            orders.append('write -q -s %s %d %d\n' % (
                self.piece, offset * CLUSTER, length))
            clusters.update(range(offset, offset + length // CLUSTER))
        done = subprocess.run(['qemu-io', '-f', 'qcow2', path],
                              input=''.join(orders), capture_output=True,
                              text=True)
        if done.returncode or 'rror' in done.stdout + done.stderr:
            sys.exit('qemu-io: %s' % (done.stdout + done.stderr)[-500:])
        return len(clusters) * CLUSTER

    def allocated(self):
        """Bytes of all volumes of the disk."""
        folder = os.path.dirname(self.find_volume()[0])
        return sum(os.stat(path).st_blocks * 512 for path in glob.glob(
            os.path.join(folder, '*')) if '.' not in os.path.basename(path))

    def round(self, rows, number):
        ask(LAB, 'idle')
        changed = self.allocated()
        rows['full'].append(dict(self.backup('--full'), changed=changed))
        for share in SHARES[number % 3:] + SHARES[:number % 3]:
            changed = self.change(share)
            self.link()
            ways = [('increment', self.backup), ('scp', self.copy)]
            for name, way in ways[::-1] if (number + share) % 2 else ways:
                name = '%s %d %%' % (name, share)
                row = dict(way(), changed=changed)
                rows[name].append(row)
                print('round %d: %-14s %6.2f s' % (number + 1, name,
                                                   row['wall']),
                      file=sys.stderr)

    def run(self):
        """{way: rows}"""
        names = ['full']
        for share in SHARES:
            names += ['increment %d %%' % share, 'scp %d %%' % share]
        rows = {name: [] for name in names}
        for number in range(self.options.rounds):
            self.round(rows, number)
        return rows


def summarise(rows):
    table = []
    for name, of in rows.items():
        line = {'name': name}
        for key in ('changed', 'read', 'sent', 'wall', 'whole'):
            line[key] = statistics.median(row[key] for row in of)
        for key in ('read', 'sent'):
            line[key + '_ratio'] = max(row[key] / row['changed']
                                       for row in of)
        line['ok'] = not name.startswith('increment') or all(
            row['read'] <= READ_MAX * row['changed'] + FIXED
            and row['sent'] <= SENT_MAX * row['changed'] + FIXED
            for row in of)
        table.append(line)
    return table


def main():
    parser = argparse.ArgumentParser(prog='cost.sh')
    parser.add_argument('--json', action='store_true')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--gib', type=int, default=6)
    parser.add_argument('--out', default=os.path.join(TOP, 'build-results'))
    bench = Bench(parser.parse_args())
    try:
        table = summarise(bench.run())
    finally:
        bench.close()
    good = all(line['ok'] for line in table)
    if bench.options.json:
        for line in table:
            print(json.dumps({'v': 1, 'type': 'bench', **line}))
        return 0 if good else 1
    print('%d GiB virtual; medians of %d, the worst ratios'
          % (bench.options.gib, bench.options.rounds))
    print('%-14s %11s %9s %9s %7s %7s %8s %8s' % (
        'way', 'changed MB', 'read MB', 'sent MB', 'read x', 'sent x',
        'wall s', 'whole s'))
    for line in table:
        print('%-14s %11.1f %9.1f %9.1f %7.2f %7.2f %8.2f %8.2f%s' % (
            line['name'], line['changed'] / 1e6, line['read'] / 1e6,
            line['sent'] / 1e6, line['read_ratio'], line['sent_ratio'],
            line['wall'], line['whole'], '' if line['ok'] else '  MISSED'))
    print('goals met' if good else 'a goal is missed')
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main())
