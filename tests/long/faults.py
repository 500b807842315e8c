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

import contextlib
import json
import os
import random
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
BUILD = os.environ['BUILD']
PROGRAM = os.path.join(BUILD, 'src', 'chainlift')
SETTINGS = '''
engine: { poll_ms = 100; retry = 3; busy = 2; };
ssh: { connect_timeout = 2; stall_timeout = 5; heartbeat = 5; };
'''
# usage conf hostkey proto corrupt internal: no fault of these kinds.
STATUSES = (0, 1, 4, 6, 7, 9, 10, 11, 12, 14)
RUN_S = 240
GONE_S = 40
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


class Wrong(Exception):
    """An invariant that does not hold."""


def silent(function, *args):
    with open(os.devnull, 'w') as sink, contextlib.redirect_stdout(sink):
        return function(*args)


class World:
    """A lab, and the program's view of it."""

    def __init__(self):
        self.work = tempfile.mkdtemp()
        self.dir = os.path.join(self.work, 'lab')
        self.script('up', self.dir, '--vms', 'pair')
        with open(os.path.join(self.dir, 'env'), encoding='utf-8') as source:
            for line in source:
                name, _, value = line.rstrip('\n').partition('=')
                os.environ[name] = value.strip("'")
        os.environ.update(TOP=TOP, WORK=self.work, LC_ALL='C.UTF-8',
                          CHAINLIFT_HELPER=os.path.join(
                              BUILD, 'remote', 'chainlift-remote'))
        os.mkdir(os.path.join(self.dir, 'conf.d'))
        with open(os.path.join(self.dir, 'conf.d', 'faults.conf'), 'w') as out:
            out.write(SETTINGS)
        self.repo = prove.REPO = os.environ['LAB_REPO']
        prove.LAB, prove.WORK = self.dir, self.work
        for name in ('locked', 'tail', 'grace'):
            self.ctl('delay', name, 0.1)
        self.proven = set()
        self.hosts = {h.name: h for h in hosts.Host.load_all(self.dir)}
        for vm in VMS:
            self.must(0, 'backup', vm)
        self.chains = {vm: self.chain(vm) for vm in VMS}
        self.check_points()

    def close(self):
        self.script('down', self.dir)
        shutil.rmtree(self.work, ignore_errors=True)

    @staticmethod
    def script(*argv):
        subprocess.run(['sh', os.path.join(TOP, 'tests/lab/lab.sh'), *argv],
                       check=True, timeout=180, stdout=subprocess.DEVNULL)

    def ctl(self, *argv):
        return ctl.ask(self.dir, *argv)

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
        done = self.start(*argv).wait(RUN_S)
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
        return [row['point'] for row in self.objects(
            'points', *([vm] if vm else [])) if row['type'] == 'point']

    def vm_row(self, name):
        for row in self.ctl('inventory')['vms']:
            if row['name'] == name:
                return row
        return None

    def chain(self, vm):
        return {img: len(self.ctl('chain', vm, img))
                for img in self.vm_row(vm)['attachments']}

    def helpers(self):
        found = []
        for host in self.hosts.values():
            for outer, words in host.processes().values():
                if 'chainlift' in words and 'sshd' not in words:
                    found.append((outer, '%s: %s' % (host.name, words)))
        return found

    # -- what must hold ---------------------------------------------------

    def check_points(self):
        for point in self.points():
            if point not in self.proven:
                silent(prove.point, point, False)
                self.proven.add(point)

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

    def no_helper(self):
        end = time.monotonic() + GONE_S
        while found := self.helpers():
            if time.monotonic() > end:
                raise Wrong('a helper stays: %s' % found)
            time.sleep(0.1)

    def left(self):
        """What is left in the engine; `leftovers` must list just that."""
        self.ctl('idle')
        extra = sorted(' '.join(line.split()[1:3])
                       for line in self.ctl('extra')
                       if not line.startswith('+ attachment'))
        rows = [row for row in self.objects('leftovers')
                if row['type'] == 'leftover' and row['kind'] != 'draft']
        listed = sorted('%s %s' % (row['kind'], row['id']) for row in rows)
        if extra != listed:
            raise Wrong('left: %s, listed: %s' % (extra, listed))
        return rows

    def remove(self, rows):
        """What an administrator does with disks and VMs that are listed."""
        for row in sorted(rows, key=lambda r: r['kind'], reverse=True):
            if row['kind'] == 'vm':
                self.api('DELETE', '/vms/%s?detach_only=true' % row['id'])
            elif row['kind'] == 'disk':
                self.api('DELETE', '/disks/%s' % row['id'])
            self.ctl('idle')

    @staticmethod
    def api(*argv):
        with open(os.devnull, 'w') as sink:
            subprocess.run(['/usr/bin/python3',
                            os.path.join(TOP, 'tests/e2e/api.py'), *argv],
                           check=True, timeout=60, stdout=sink)

    def next_run(self, vm):
        self.must(0, 'backup', vm)
        self.check_points()
        self.ctl('idle')
        end = time.monotonic() + 90
        # A connection that broke silently ends when TCP tries again.
        while lines := lab.leftovers(self.dir):
            if time.monotonic() > end:
                raise Wrong('left: %s' % lines)
            time.sleep(0.2)
        for part in ('tmp', 'journal'):
            if names := os.listdir(os.path.join(self.repo, part)):
                raise Wrong('left in the repository: %s/%s' % (part, names))
        if self.chain(vm) != self.chains[vm]:
            raise Wrong('the chain of %s is %s' % (vm, self.chain(vm)))

    def prune(self):
        """Keep the two newest points of each VM: room for the next case."""
        base = os.path.join(self.repo, 'vms')
        for vm in os.listdir(base):
            for stamp in sorted(os.listdir(os.path.join(base, vm)))[:-2]:
                shutil.rmtree(os.path.join(base, vm, stamp))


class Case:
    def __init__(self, world, seed, number):
        self.world = world
        self.random = random.Random('%s:%d' % (seed, number))
        self.number = number
        self.killed = False
        self.told = []
        self.vm = self.random.choice(VMS)
        self.new = 'copy-%d' % number
        self.file = os.path.join(world.work, 'restored')
        self.kind = self.random.choices(('backup', 'restore', 'file'),
                                        (6, 5, 1))[0]

    def say(self, text):
        self.told.append(text)

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

    def wait_stop(self, process, phase):
        """True when the program stands there, False when it has ended."""
        mark = 'stopped at %s\n' % phase
        while mark not in self.world.output():
            if process.poll() is not None:
                return False
            time.sleep(0.02)
        return True

    def run(self):
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
        process = self.world.start(*argv, env=env)
        try:
            if phase:
                if self.wait_stop(process, phase):
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
            try:
                return process.wait(RUN_S)
            except subprocess.TimeoutExpired:
                raise Wrong('it does not end in %d s' % RUN_S)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    def check(self, status):
        world, text = self.world, self.world.output()
        with open(os.path.join(world.work, 'case'), 'w') as out:
            out.write(text)
        if status == -signal.SIGKILL and self.killed:
            pass
        elif status not in STATUSES:
            raise Wrong('exit %d' % status)
        elif status not in (0, 1) and 'error: ' not in text:
            raise Wrong('exit %d without a reason' % status)
        world.settle()
        if self.users:
            world.ctl('remove-snapshot', self.vm, self.users)
        world.no_helper()
        if self.kind == 'restore':
            self.check_restored(status)
        if self.kind == 'file':
            self.check_file(status)
        world.check_points()
        rows = world.left()
        if rows and not self.killed and 'left' not in text:
            raise Wrong('left without a word: %s' % rows)
        world.remove(rows)
        world.next_run(self.vm)
        world.prune()

    def check_restored(self, status):
        there = self.world.vm_row(self.new)
        if status == 0 and there is None:
            raise Wrong('there is no VM %s' % self.new)
        if there is None:
            return
        silent(prove.vm, self.point, self.new)
        self.world.api('DELETE', '/vms/%s' % there['id'])
        self.world.ctl('idle')

    def check_file(self, status):
        if status == 0:
            top = prove.manifest(self.point)[1]
            prove.run('cmp', self.file, prove.oracle(top, self.disk))
        elif os.path.exists(self.file) and not self.killed:
            raise Wrong('half a file is left')
        if os.path.exists(self.file):
            os.unlink(self.file)


def keep(world, case, seed, why):
    folder = os.path.join(TOP, 'build-results', 'faults')
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, '%s-%d.log' % (seed, case.number))
    with open(path, 'w', encoding='utf-8') as out:
        out.write('%s\n%s\n\n' % ('; '.join(case.told), why))
        for name in ('case', 'out'):
            try:
                out.write('--- %s\n%s\n' % (name, world.output(
                    os.path.join(world.work, name))))
            except OSError:
                pass
        try:
            for call in world.ctl('log')[-80:]:
                out.write('%s\n' % json.dumps(call))
        except (OSError, RuntimeError):
            pass
    return path


def main(count, seed, first):
    good = bad = 0
    world = None
    for number in range(first, first + count):
        begin = time.monotonic()
        if world is None:
            world = World()
        case = Case(world, seed, number)
        try:
            status = case.run()
            case.check(status)
            good += 1
            print('case %d: %s: exit %d, ok, %.1f s' % (
                number, '; '.join(case.told), status,
                time.monotonic() - begin), flush=True)
        except (Wrong, prove.Wrong, RuntimeError, OSError,
                subprocess.SubprocessError, hosts.HostError) as err:
            bad += 1
            path = keep(world, case, seed, err)
            print('case %d: %s: FAILED: %s (log %s)' % (
                number, '; '.join(case.told), str(err)[:1500], path),
                flush=True)
            world.close()
            world = None
    if world:
        world.close()
    print('faults: %d ok, %d failed, seed %s' % (good, bad, seed))
    return 1 if bad or not good else 0


if __name__ == '__main__':
    if os.geteuid():
        print('needs root for namespaces')
        sys.exit(77)
    # prove.py reads the environment of a lab when it is imported.
    for name in ('LAB', 'LAB_REPO', 'LAB_CONF', 'WORK'):
        os.environ.setdefault(name, '/nonexistent')
    os.environ['TOP'] = TOP
    import ctl
    import hosts
    import lab
    import prove
    sys.exit(main(int(sys.argv[1] or 40), sys.argv[2], int(sys.argv[3] or 0)))
