# SPDX-License-Identifier: Apache-2.0
"""The measuring part of transfer.sh, which sets it up and cleans up."""

import argparse
import glob
import json
import os
import shutil
import statistics
import subprocess
import sys
import time

TOP = os.environ['TOP']
WORK = os.environ['WORK']
BUILD = os.environ['BUILD']
LAB = os.path.join(WORK, 'lab')
CPUACCT = '/sys/fs/cgroup/cpuacct'
sys.path.insert(0, os.path.join(TOP, 'tests', 'lab'))
from ctl import ask  # noqa: E402


class Group:
    """A cgroup whose CPU time is read; processes that enter take their
    children along."""

    def __init__(self, name):
        self.path = os.path.join(CPUACCT, 'chainlift-bench-%d-%s'
                                 % (os.getpid(), name))
        os.mkdir(self.path)

    def enter(self, pid=0):
        with open(os.path.join(self.path, 'cgroup.procs'), 'w') as procs:
            procs.write(str(pid))

    def seconds(self):
        with open(os.path.join(self.path, 'cpuacct.usage')) as usage:
            return int(usage.read()) / 1e9

    def close(self):
        for _ in range(100):
            try:
                os.rmdir(self.path)
                return
            except OSError:
                with open(os.path.join(self.path, 'cgroup.procs')) as procs:
                    for pid in procs.read().split():
                        with open(os.path.join(CPUACCT, 'cgroup.procs'),
                                  'w') as root:
                            try:
                                root.write(pid)
                            except OSError:
                                pass
                time.sleep(0.05)


def lab(*argv):
    done = subprocess.run(['sh', os.path.join(TOP, 'tests/lab/lab.sh'),
                           *argv], capture_output=True, text=True)
    if done.returncode:
        sys.exit('lab.sh %s: %s' % (' '.join(argv), done.stdout + done.stderr))
    return done.stdout


def read_env():
    env = {}
    for line in open(os.path.join(LAB, 'env'), encoding='utf-8'):
        key, _, value = line.rstrip('\n').partition('=')
        env[key] = value.strip("'")
    return env


class Bench:
    def __init__(self, options):
        self.options = options
        self.out = options.out
        os.makedirs(self.out, exist_ok=True)
        image = os.path.join(WORK, 'image.qcow2')
        subprocess.run(['/usr/bin/python3', os.path.join(
            TOP, 'tests/bench/generate.py'), image, str(options.gib)],
            check=True)
        os.environ['CHAINLIFT_LAB_IMAGE'] = image
        lab('up', LAB, '--hosts', '1', '--vms', 'image', '--size',
            str((options.gib * 2 + 2) << 30))
        self.env = read_env()
        self.conf = self.env['LAB_CONF']
        self.repo = os.path.join(self.out, 'bench-repo')
        text = open(self.conf, encoding='utf-8').read().replace(
            'repository = "%s"' % self.env['LAB_REPO'],
            'repository = "%s"' % self.repo)
        with open(self.conf, 'w', encoding='utf-8') as conf:
            conf.write(text)
        self.host, self.client = Group('host'), Group('client')
        # sshd of the lab's host: all sessions are its children.
        for pid in lab('pids', LAB, 'h1').split():
            self.host.enter(int(pid))
        self.volume = self.find_volume()
        self.size = os.stat(self.volume[0]).st_blocks * 512

    def find_volume(self):
        world = ask(LAB, 'inventory')
        disk = world['disks'][0]
        path = glob.glob(os.path.join(LAB, 'storage', '**', 'images',
                                      disk['id'], disk['image_id']),
                         recursive=True)[0]
        there = lab('run', LAB, 'h1', 'sh', '-c',
                    'ls -d /rhev/data-center/mnt/*/*/images/%s/%s'
                    % (disk['id'], disk['image_id'])).strip()
        return path, there

    def timed(self, argv, follow=None):
        """Run argv; wall seconds, CPU seconds here and there."""
        here, there = self.client.seconds(), self.host.seconds()
        begin = time.monotonic()
        child = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True,
                                 preexec_fn=self.client.enter)
        marks = {}
        for line in child.stdout:
            if follow:
                follow(marks, line, time.monotonic())
        if child.wait():
            sys.exit('%s: exit %d' % (' '.join(argv), child.returncode))
        wall = time.monotonic() - begin
        return {'wall': wall, 'client': self.client.seconds() - here,
                'host': self.host.seconds() - there, 'marks': marks}

    def ssh_options(self):
        return ['-i', self.env['LAB_KEY_ED25519'], '-o', 'BatchMode=yes',
                '-o', 'UserKnownHostsFile=' + self.env['LAB_KNOWN_HOSTS']]

    def target(self):
        return 'root@' + self.env['LAB_ADDRESS_h1']

    def scp(self):
        out = os.path.join(self.out, 'scp.out')
        command = 'scp -q %s %s:%s %s && sync %s' % (
            ' '.join(self.ssh_options()), self.target(), self.volume[1], out,
            out)
        result = self.timed(['sh', '-c', command])
        self.compare(out)
        return result

    def cat(self):
        out = os.path.join(self.out, 'cat.out')
        command = 'ssh -c aes128-gcm@openssh.com %s %s cat %s >%s && sync %s' \
            % (' '.join(self.ssh_options()), self.target(), self.volume[1],
               out, out)
        result = self.timed(['sh', '-c', command])
        self.compare(out)
        return result

    def compare(self, out):
        subprocess.run(['cmp', '-n', '67108864', out, self.volume[0]],
                       check=True)
        os.unlink(out)

    def chainlift(self):
        def follow(marks, line, now):
            row = json.loads(line)
            if row['type'] == 'phase':
                marks.setdefault(row['phase'], now)
            if row['type'] == 'result':
                marks['result'] = row

        result = self.timed([os.path.join(BUILD, 'src/chainlift'), '--json',
                             '--config', self.conf, 'backup', '*'], follow)
        marks = result['marks']
        result['whole'] = result['wall']
        result['wall'] = marks['release'] - marks['t0']
        self.prove()
        return result

    def prove(self):
        (image,) = glob.glob(os.path.join(self.repo, 'vms/*/*/*.qcow2'))
        (oracle,) = glob.glob(os.path.join(LAB, 'oracle/*/*/*.raw'))
        done = subprocess.run(['qemu-img', 'compare', '-f', 'qcow2', '-F',
                               'raw', image, oracle], capture_output=True)
        if done.returncode:
            sys.exit('the point differs from the oracle')
        shutil.rmtree(os.path.join(self.repo, 'vms'))
        shutil.rmtree(os.path.join(LAB, 'oracle'))
        os.mkdir(os.path.join(self.repo, 'vms'))

    def run(self):
        ways = {'chainlift': self.chainlift, 'scp': self.scp,
                'ssh cat': self.cat}
        rows = {name: [] for name in ways}
        for number in range(self.options.rounds + 1):
            for name in list(ways)[number % 3:] + list(ways)[:number % 3]:
                row = ways[name]()
                if number:
                    rows[name].append(row)
                    print('round %d: %-10s %6.2f s' % (number, name,
                                                       row['wall']),
                          file=sys.stderr)
        return rows

    def close(self):
        shutil.rmtree(self.repo, ignore_errors=True)
        lab('down', LAB)
        self.host.close()
        self.client.close()


def median(rows, key):
    return statistics.median(row[key] for row in rows)


def summarise(rows, size):
    """Medians, and ratios of each round's pair (what ssh cat took, divided by
    what the row took)."""
    table = []
    for name, of in rows.items():
        line = {'name': name, 'wall_s': median(of, 'wall'),
                'mb_s': size / median(of, 'wall') / 1e6,
                'cpu_host_s': median(of, 'host'),
                'cpu_client_s': median(of, 'client')}
        for peer in ('ssh cat', 'scp'):
            ratios = [p['wall'] / o['wall'] for o, p in zip(of, rows[peer])]
            line['times_' + peer.replace(' ', '_')] = statistics.median(ratios)
        if 'whole' in of[0]:
            line['whole_s'] = median(of, 'whole')
        table.append(line)
    return table


def main():
    parser = argparse.ArgumentParser(prog='transfer.sh')
    parser.add_argument('--json', action='store_true')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--gib', type=int, default=6)
    parser.add_argument('--out', default=os.path.join(TOP, 'build-results'))
    bench = Bench(parser.parse_args())
    try:
        table = summarise(bench.run(), bench.size)
    finally:
        bench.close()
    if bench.options.json:
        for line in table:
            print(json.dumps({'v': 1, 'type': 'bench', **line}))
        return
    print('%d GiB virtual, %.2f GB allocated; medians of %d'
          % (bench.options.gib, bench.size / 1e9, bench.options.rounds))
    print('%-10s %8s %8s %9s %10s %11s %10s' % (
        'way', 'wall s', 'MB/s', 'cpu host', 'cpu client', 'x ssh cat',
        'x scp'))
    for line in table:
        print('%-10s %8.2f %8.0f %9.2f %10.2f %11.2f %10.2f' % (
            line['name'], line['wall_s'], line['mb_s'], line['cpu_host_s'],
            line['cpu_client_s'], line['times_ssh_cat'], line['times_scp']))
        if 'whole_s' in line:
            print('%-10s %8.2f   with snapshot, merge and the engine\'s waits'
                  % ('  whole', line['whole_s']))


if __name__ == '__main__':
    main()
