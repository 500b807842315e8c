# SPDX-License-Identifier: Apache-2.0
"""A lab and the program's view of it, for the long runs; and their loop.

A run is a class of cases that are made by `Case (world, seed, number)` and
carried out by `run ()`, which raises when something that must hold does not.
Number and seed alone decide what a case does, as far as time allows."""

import contextlib
import glob
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
for part in ('tests/lab', 'tests/e2e'):
    sys.path.insert(0, os.path.join(TOP, part))
BUILD = os.environ.get('BUILD', os.path.join(TOP, 'build-check'))
PROGRAM = os.path.join(BUILD, 'src', 'chainlift')
# prove.py reads the environment of a lab when it is imported.
for name in ('LAB', 'LAB_REPO', 'LAB_CONF', 'WORK'):
    os.environ.setdefault(name, '/nonexistent')
os.environ.update(TOP=TOP, BUILD=BUILD)
import ctl  # noqa: E402
import hosts  # noqa: E402
import lab  # noqa: E402
import prove  # noqa: E402

# usage conf hostkey proto corrupt internal: no fault of these kinds.
STATUSES = (0, 1, 4, 6, 7, 9, 10, 11, 12, 14)
RUN_S = 240
GONE_S = 40
MARK = 'chainlift:'


class Wrong(Exception):
    """An invariant that does not hold."""


ERRORS = (Wrong, prove.Wrong, RuntimeError, OSError, hosts.HostError,
          subprocess.SubprocessError)


def silent(function, *args):
    with open(os.devnull, 'w') as sink, contextlib.redirect_stdout(sink):
        return function(*args)


class World:
    """A lab of its own.  .dir the lab, .work a folder for the case, .repo"""

    DELAY_S = 0.05  # of each of the engine's states

    def __init__(self, vm_set, settings):
        self.work = tempfile.mkdtemp()
        self.dir = os.path.join(self.work, 'lab')
        try:
            self.script('up', self.dir, '--vms', vm_set)
            self.open(settings)
        except BaseException:
            self.close()
            raise

    def open(self, settings):
        with open(os.path.join(self.dir, 'env'), encoding='utf-8') as source:
            for line in source:
                name, _, value = line.rstrip('\n').partition('=')
                os.environ[name] = value.strip("'")
        os.environ.update(WORK=self.work, LC_ALL='C.UTF-8',
                          CHAINLIFT_HELPER=os.path.join(
                              BUILD, 'remote', 'chainlift-remote'))
        os.mkdir(os.path.join(self.dir, 'conf.d'))
        self.settings('test', settings)
        self.repo = prove.REPO = os.environ['LAB_REPO']
        prove.LAB, prove.WORK = self.dir, self.work
        for name in ('locked', 'tail', 'grace'):
            self.ctl('delay', name, self.DELAY_S)
        self.proven = set()
        self.hosts = {h.name: h for h in hosts.Host.load_all(self.dir)}
        self.birth = {kind: {row['id'] for row in rows}
                      for kind, rows in self.ctl('inventory').items()
                      if kind in ('vms', 'disks')}

    def close(self):
        self.script('down', self.dir)
        shutil.rmtree(self.work, ignore_errors=True)

    def settings(self, name, text):
        """Keys over those of the lab, in a file of this name."""
        path = os.path.join(self.dir, 'conf.d', name + '.conf')
        with open(path, 'w', encoding='utf-8') as out:
            out.write(text)

    @staticmethod
    def script(*argv):
        subprocess.run(['sh', os.path.join(TOP, 'tests/lab/lab.sh'), *argv],
                       check=True, timeout=180, stdout=subprocess.DEVNULL)

    def ctl(self, *argv):
        return ctl.ask(self.dir, *argv)

    # -- the program ------------------------------------------------------

    def start(self, *argv, env=None, log=None):
        """The program in the background, its output in a file."""
        with open(log or os.path.join(self.work, 'out'), 'w') as out:
            return subprocess.Popen(
                [PROGRAM, '--config', os.environ['LAB_CONF'], *argv],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                env=dict(os.environ, **(env or {})))

    def output(self, log=None):
        with open(log or os.path.join(self.work, 'out'),
                  errors='replace') as source:
            return source.read()

    def must(self, status, *argv):
        with self.running(*argv) as process:
            done = self.finish(process)
        if done != status:
            raise Wrong('%s exits %d: %s' % (' '.join(argv), done,
                                             self.output()))
        return self.output()

    def objects(self, *argv):
        """JSON lines of a command; its exit status must be 0 or 1."""
        done = subprocess.run(
            [PROGRAM, '--config', os.environ['LAB_CONF'], '--json', *argv],
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=RUN_S)
        if done.returncode not in (0, 1):
            raise Wrong('%s exits %d: %s' % (' '.join(argv), done.returncode,
                                             done.stderr))
        return [json.loads(line) for line in done.stdout.splitlines()]

    def points(self, vm=None):
        """Newest first."""
        return [row['point'] for row in self.objects(
            'points', *([vm] if vm else [])) if row['type'] == 'point']

    @contextlib.contextmanager
    def running(self, *argv, env=None):
        """The program in the background; it does not outlive the block."""
        process = self.start(*argv, env=env)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    @staticmethod
    def finish(process):
        """The exit status of a program that must end by itself."""
        if process.poll() is None:
            pidfd = os.pidfd_open(process.pid)
            try:
                if not select.select([pidfd], [], [], RUN_S)[0]:
                    raise Wrong('it does not end in %d s' % RUN_S)
            finally:
                os.close(pidfd)
        return process.wait()

    def wait_stop(self, process, phase):
        """True when the program stands there, False when it has ended."""
        mark = 'stopped at %s\n' % phase
        while mark not in self.output():
            if process.poll() is not None:
                return False
            time.sleep(0.01)
        return True

    # -- the lab ----------------------------------------------------------

    def vm_row(self, name):
        for row in self.ctl('inventory')['vms']:
            if row['name'] == name:
                return row
        return None

    def chain(self, vm):
        return {img: len(self.ctl('chain', vm, img))
                for img in self.vm_row(vm)['attachments']}

    def ours(self, vm):
        """Ids of the snapshots of a VM that carry our mark, oldest first."""
        return [row['id'] for row in self.ctl('snapshots', vm)
                if row['description'].startswith(MARK)]

    def helpers(self):
        """(pid on this machine, name) of each helper's process."""
        found = []
        for host in self.hosts.values():
            for outer, words in host.processes().values():
                if 'chainlift' in words and 'sshd' not in words:
                    found.append((outer, '%s: %s' % (host.name, words)))
        return found

    def no_helper(self):
        end = time.monotonic() + GONE_S
        while found := self.helpers():
            if time.monotonic() > end:
                raise Wrong('a helper stays: %s' % found)
            time.sleep(0.05)

    @staticmethod
    def api(*argv):
        with open(os.devnull, 'w') as sink:
            subprocess.run(['/usr/bin/python3',
                            os.path.join(TOP, 'tests/e2e/api.py'), *argv],
                           check=True, timeout=60, stdout=sink)

    # -- what must hold ---------------------------------------------------

    def check_points(self, verify=False):
        """All points that are listed and were not proven before."""
        for point in self.points():
            if point not in self.proven:
                silent(prove.point, point, False)
                if verify:
                    self.must(0, 'verify', point)
                self.proven.add(point)

    def kept(self):
        """The snapshots of the newest points, which increments need."""
        newest = {}
        for point in self.points():
            newest.setdefault(point.rsplit('@', 1)[0], point)
        return {prove.manifest(point)[1]['snapshot']
                for point in newest.values()}

    def left(self, keep=False):
        """What is left in the engine; `leftovers` must list just that."""
        self.ctl('idle')
        kept = self.kept() if keep else set()
        extra = {' '.join(line.split()[1:3]) for line in self.ctl('extra')
                 if not line.startswith('+ attachment')
                 and line.split()[2] not in kept}
        rows = [row for row in self.objects('leftovers')
                if row['type'] == 'leftover'
                and row['kind'] in ('snapshot', 'disk', 'vm', 'attachment')]
        listed = {'%s %s' % (row['kind'], row['id']) for row in rows}
        # The disks of a VM that is listed go with it.
        within = {'disk ' + img for vm in self.ctl('inventory')['vms']
                  if 'vm ' + vm['id'] in listed for img in vm['attachments']}
        if not listed <= extra <= listed | within:
            raise Wrong('left: %s, listed: %s' % (sorted(extra),
                                                  sorted(listed)))
        return rows

    def clean(self, keep=False):
        """What is left goes by `leftovers --clean`, all of it."""
        self.must(0, 'leftovers', '--clean')
        if rows := self.left(keep):
            raise Wrong('left after --clean: %s' % rows)

    def check_left(self, kept=()):
        """Nothing of ours is left anywhere but the snapshots KEPT.  A
        connection that ended may still have its process for a while; one
        that broke silently ends when TCP tries again."""
        self.ctl('idle')
        end = time.monotonic() + 90
        while lines := [line for line in lab.leftovers(self.dir)
                        if not line.startswith('engine: + snapshot')
                        or line.split()[3] not in kept]:
            if time.monotonic() > end:
                raise Wrong('left: %s' % lines)
            time.sleep(0.05)
        for part in ('tmp', 'journal'):
            if names := os.listdir(os.path.join(self.repo, part)):
                raise Wrong('left in the repository: %s/%s' % (part, names))

    def foreign(self):
        """All that was there before us and is not ours, as it must stay."""
        rows = self.ctl('inventory')
        vms = [{key: row[key] for key in (
            'id', 'name', 'cluster', 'memory', 'nics', 'tags', 'description',
            'comment', 'attachments', 'has_illegal_images', 'frozen',
            'delete_protected')}
            for row in rows['vms'] if row['id'] in self.birth['vms']]
        disks = [{key: row[key] for key in (
            'id', 'alias', 'domain', 'provisioned_size', 'description',
            'shareable', 'template')}
            for row in rows['disks'] if row['id'] in self.birth['disks']]
        snapshots = [(row['id'], row['vm'], row['description'], row['date'],
                      row['status']) for row in rows['snapshots']
                     if row['type'] == 'regular'
                     and not row['description'].startswith(MARK)]
        theirs = {row[0] for row in snapshots}
        frozen = {row['id'] for row in rows['volumes']
                  if row['snapshot'] in theirs}
        volumes = []
        for vm in vms:
            mine = False
            for line in self.ctl('fingerprint', vm['id']).splitlines():
                if not line.startswith('  '):
                    mine = line.startswith('volume ') \
                        and line.split()[1] in frozen
                if mine:
                    volumes.append(line)
        return {'vms': vms, 'disks': disks, 'snapshots': snapshots,
                'volumes': volumes}

    def prune(self, keep=2):
        """Room for the next case: of each VM the newest points stay, with
        those that they stand on, and the oracles of those."""
        base = os.path.join(self.repo, 'vms')
        wanted = set()
        for vm in os.listdir(base):
            stamps = sorted(os.listdir(os.path.join(base, vm)))
            stay = set(stamps[-keep:])
            for stamp in reversed(stamps):
                with open(os.path.join(base, vm, stamp, 'manifest'),
                          encoding='utf-8') as source:
                    pairs = [line.rstrip('\n').partition(' ')
                             for line in source]
                if stamp not in stay:
                    shutil.rmtree(os.path.join(base, vm, stamp))
                    continue
                stay |= {value for key, _, value in pairs
                         if key == 'parent'}
                wanted |= {value for key, _, value in pairs
                           if key == 'snapshot'}
        for path in glob.glob(os.path.join(self.dir, 'oracle', '*', '*')):
            if os.path.basename(path) not in wanted:
                shutil.rmtree(path)


class Case:
    """What cases have in common.  .told what it does, for the report; .new the
    name of a VM that it restores"""

    def __init__(self, world, seed, number):
        self.world = world
        self.random = random.Random('%s:%d' % (seed, number))
        self.number = number
        self.told = []
        self.new = 'copy-%d' % number

    def say(self, text):
        self.told.append(text)

    def check_status(self, status, killed=False, more=()):
        """The exit status of the program, whose output is kept for the log;
        MORE: statuses that are good as well.  -> the output."""
        text = self.world.output()
        self.say('exit %d' % status)
        with open(os.path.join(self.world.work, 'case'), 'w') as out:
            out.write(text)
        if status == -signal.SIGKILL and killed:
            return text
        if status not in STATUSES + more:
            raise Wrong('exit %d' % status)
        if status not in (0, 1) and 'error: ' not in text:
            raise Wrong('exit %d without a reason' % status)
        return text

    def check_attached(self, point):
        """Each disk that any new VM has is whole."""
        _, top, sources = prove.manifest(point)
        rows = self.world.ctl('inventory')
        disks = {row['id']: row for row in rows['disks']}
        for vm in rows['vms']:
            if vm['id'] in self.world.birth['vms']:
                continue
            for img in vm['attachments']:
                source = next(one for one in sources
                              if one['disk.alias'] == disks[img]['alias'])
                prove.prove_volume(disks[img], source['disk.format'],
                                   prove.oracle(top, source))

    def check_restored(self, point, status):
        """A VM of the wanted name is whole; then it goes."""
        there = self.world.vm_row(self.new)
        if status == 0 and there is None:
            raise Wrong('there is no VM %s' % self.new)
        if there is None:
            return
        silent(prove.vm, point, self.new)
        self.world.api('DELETE', '/vms/%s' % there['id'])
        self.world.ctl('idle')


def keep_log(name, world, case, seed, why):
    """What is known of a failed case, in build-results/NAME; -> path."""
    folder = os.path.join(TOP, 'build-results', name)
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, '%s-%d.log' % (seed, case.number))
    with open(path, 'w', encoding='utf-8') as out:
        out.write('%s\n%s\n\n' % ('; '.join(case.told), why))
        for part in ('case', 'out'):
            try:
                out.write('--- %s\n%s\n' % (part, world.output(
                    os.path.join(world.work, part))))
            except OSError:
                pass
        try:
            for call in world.ctl('log')[-80:]:
                out.write('%s\n' % json.dumps(call))
        except (OSError, RuntimeError):
            pass
    return path


def tried(name, world, case, seed, function):
    """Call it; a failure is told, and its log kept.  -> did it go well?"""
    begin = time.monotonic()
    try:
        function()
    except ERRORS as err:
        path = keep_log(name, world, case, seed, err)
        print('case %d: %s: FAILED: %s (log %s)' % (
            case.number, '; '.join(case.told), str(err)[-1500:], path),
            flush=True)
        return False
    print('case %d: %s: ok, %.1f s' % (
        case.number, '; '.join(case.told), time.monotonic() - begin),
        flush=True)
    return True


def main(name, make_world, make_case, argv, default, finale=None):
    """The cases of NAME: COUNT SEED FROM in argv.  A case that fails keeps its
    log, and the next one gets a new lab.  finale (world) comes
    after the last case.  -> exit status"""
    if os.geteuid():
        print('needs root for namespaces')
        return 77
    # As an error, so that the lab is taken down.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    count, seed, first = int(argv[1] or default), argv[2], int(argv[3] or 0)
    good = bad = 0
    world = None
    try:
        for number in range(first, first + count):
            world = world or make_world()
            case = make_case(world, seed, number)
            if tried(name, world, case, seed, case.run):
                good += 1
                continue
            bad += 1
            world.close()
            world = None
        if finale and world:
            case.told = ['at the end']
            if not tried(name, world, case, seed, lambda: finale(world)):
                bad += 1
    finally:
        if world:
            world.close()
    print('%s: %d ok, %d failed, seed %s' % (name, good, bad, seed))
    return 1 if bad or not good else 0
