# SPDX-License-Identifier: Apache-2.0
"""Hypervisors of the lab: each one a set of namespaces with a root, a network and an sshd of its
own.

A host is `unshare` with net, mount, pid, uts and ipc namespaces.  Its root is an overlay: the
machine's own `/` below, read-only by nature of an overlay, a directory of the lab above; after
pivot_root nothing else of the machine can be reached.  It has no named network namespace: when its
processes die, network and mounts go too, so that nothing can stay behind.  What survives a reboot
(host.stop, host.start) is the upper directory, /root, /home and /var/tmp; /run, /tmp and /dev/shm
are new each time, and so is the boot id.

Any process of the lab can load a host by Host.load (lab_dir, name): the truth is on disk and in
/proc.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid

import hostroot
from hostfaults import Faults
from hostroot import KEY_TYPES
from qmp import Qmp

# Every process of a lab has this in its environment, with the directory of the lab: what `down`
# finds and ends.
PART = 'CHAINLIFT_LAB_PART'
INNER_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
# The file systems that the init script gives a host, and where a tool may leave things.
SURVEYED = ('/run', '/tmp', '/var/tmp', '/dev/shm', '/root', '/home')
LAB_FILES = ('/run/libvirt/', '/run/utmp', '/run/sudo')


class HostError(Exception):
    """A host did not do what it was told; str() says what, with the tail of its console."""


def tail(path, lines=15):
    """The last lines of a log, for a message."""
    try:
        with open(path, errors='replace') as log:
            return ''.join(log.readlines()[-lines:]).rstrip()
    except OSError as error:
        return '(no log: %s)' % error


def start_time(pid):
    """When a process began, in clock ticks since boot, or None; with the pid it names one process
    for ever."""
    try:
        with open('/proc/%d/stat' % pid) as stat:
            fields = stat.read().rpartition(')')[2].split()
        return None if fields[0] in 'ZX' else int(fields[19])
    except (OSError, IndexError):
        return None


def run(argv, timeout=30, **more):
    """subprocess.run with its output caught and a limit; a failure raises HostError with what was
    said."""
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL if 'input' not in more else None,
            **more
        )
    except subprocess.TimeoutExpired:
        raise HostError('%s: no end after %d s' % (' '.join(argv), timeout))
    if done.returncode:
        raise HostError(
            '%s: status %d: %s'
            % (' '.join(argv), done.returncode, (done.stderr or done.stdout).strip())
        )
    return done.stdout


class Host(Faults):
    """One hypervisor.

    name, id (uuid), address, ssh_port, link (name of its interface on the machine's side), bridge,
    hostkeys (dict type -> `TYPE BASE64`), hostkey_pub (the one that the engine reports),
    fingerprint (SHA256:... of that).
    """

    def __init__(self, lab_dir, **fields):
        self.lab_dir = lab_dir
        self.fields = fields
        self.dir = os.path.join(lab_dir, 'hosts', fields['name'])
        for key, value in fields.items():
            setattr(self, key, value)

    # -- making -----------------------------------------------------------

    @classmethod
    def create(cls, lab_dir, name, bridge, address, prefix, ssh_port=22, engine_key='ed25519'):
        """Lay out the directories and keys of a host; start() brings it up."""
        base = os.path.join(lab_dir, 'hosts', name)
        for part in ('work', 'root', 'vartmp', 'homes/root/.ssh', 'homes/home/backup/.ssh'):
            os.makedirs(os.path.join(base, part))
        os.makedirs(os.path.join(base, 'upper'), mode=0o755)
        os.chmod(os.path.join(base, 'vartmp'), 0o1777)
        hostkeys = cls._host_keys(base, name)
        host = cls(
            lab_dir,
            name=name,
            id=str(uuid.uuid4()),
            bridge=bridge,
            address=address,
            prefix=prefix,
            ssh_port=ssh_port,
            link=bridge + name,
            hostkeys=hostkeys,
            **cls.key_fields(hostkeys[engine_key])
        )
        hostroot.write(host)
        host.note()
        return host

    @staticmethod
    def key_fields(key):
        """What the engine says of a host's key: hostkey_pub, fingerprint."""
        finger = run(['ssh-keygen', '-l', '-E', 'sha256', '-f', '-'], input=key + '\n').split()[1]
        return {'hostkey_pub': key, 'fingerprint': finger}

    def note(self):
        """Write down what load finds again."""
        with open(os.path.join(self.dir, 'host.json'), 'w') as out:
            json.dump(self.fields, out)

    @classmethod
    def load(cls, lab_dir, name):
        path = os.path.join(lab_dir, 'hosts', name, 'host.json')
        try:
            with open(path) as source:
                fields = json.load(source)
        except FileNotFoundError:
            raise HostError('no host %s in the lab %s' % (name, lab_dir))
        if fields.get('kind') == 'guest':
            from blockguest import Guest as cls
        return cls(lab_dir, **fields)

    @classmethod
    def load_all(cls, lab_dir):
        try:
            names = sorted(os.listdir(os.path.join(lab_dir, 'hosts')))
        except FileNotFoundError:
            return []
        return [
            cls.load(lab_dir, n)
            for n in names
            if os.path.exists(os.path.join(lab_dir, 'hosts', n, 'host.json'))
        ]

    @staticmethod
    def _host_keys(base, name):
        etc = os.path.join(base, 'upper/etc/ssh')
        os.makedirs(etc)
        keys = {}
        making = []
        for kind in KEY_TYPES:
            path = os.path.join(etc, 'ssh_host_%s_key' % kind)
            size = ['-b', '2048'] if kind == 'rsa' else []
            making.append(
                (
                    kind,
                    path,
                    subprocess.Popen(
                        ['ssh-keygen', '-q', '-t', kind, *size, '-N', '', '-C', name, '-f', path]
                    ),
                )
            )
        for kind, path, process in making:
            if process.wait(timeout=60):
                raise HostError('ssh-keygen -t %s failed' % kind)
            with open(path + '.pub') as pub:
                keys[kind] = ' '.join(pub.read().split()[:2])
        return keys

    # -- life -------------------------------------------------------------

    def start(self, timeout=20):
        """Boot; returns when sshd answers on its address.  /run, /tmp, /dev/shm and the boot id are
        new."""
        if self.pid():
            raise HostError('host %s runs already' % self.name)
        shutil.rmtree(os.path.join(self.dir, 'work'), ignore_errors=True)
        os.mkdir(os.path.join(self.dir, 'work'))
        with open(os.path.join(self.dir, 'boot_id'), 'w') as out:
            out.write('%s\n' % uuid.uuid4())
        console = os.path.join(self.dir, 'console.log')
        with open(console, 'a') as log:
            outer = subprocess.Popen(
                [
                    'unshare',
                    '-m',
                    '-n',
                    '-p',
                    '-u',
                    '-i',
                    '-f',
                    '--kill-child',
                    '/bin/bash',
                    '-c',
                    hostroot.STAGE1,
                    'init',
                    self.lab_dir,
                    self.name,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={'PATH': INNER_PATH, 'LANG': 'C.UTF-8', PART: self.lab_dir},
            )
        deadline = time.monotonic() + timeout
        inner = None
        while not inner:
            inner = self._child(outer.pid)
            if outer.poll() is not None or time.monotonic() > deadline:
                raise HostError('host %s did not start:\n%s' % (self.name, tail(console)))
            time.sleep(0.005)
        self._note(outer.pid, inner)
        self._plug(inner)
        while not self._answers():
            if outer.poll() is not None or time.monotonic() > deadline:
                raise HostError(
                    'host %s: sshd does not answer on %s port %d:\n%s'
                    % (self.name, self.address, self.ssh_port, tail(console))
                )
            time.sleep(0.03)

    def stop(self):
        """Take the host down; no trace of it stays but its directory.  No error when it is down
        already."""
        self.kill()

    def kill(self):
        """Power loss: first the link is gone, so that no FIN or RST tells the peer, then all
        processes are."""
        subprocess.run(['ip', 'link', 'del', self.link], capture_output=True, timeout=30)
        pid = self.pid()
        if not pid:
            return
        outer = self._noted()['outer']
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while start_time(pid) or self._any_inside():
            if time.monotonic() > deadline:
                raise HostError('host %s: process %d does not die' % (self.name, pid))
            time.sleep(0.01)
        try:
            os.waitpid(outer, 0)
        except ChildProcessError:
            pass

    def freeze(self):
        """SIGSTOP for every process: connections stay, nothing answers."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self):
        self._signal_all(signal.SIGCONT)

    def pid(self):
        """Process 1 of the host as the machine numbers it, or None when the host is down."""
        noted = self._noted()
        if noted and start_time(noted['pid']) == noted['start']:
            return noted['pid']
        return None

    def boot_id(self):
        with open(os.path.join(self.dir, 'boot_id')) as source:
            return source.read().strip()

    def boot(self):
        """-> the boot id of the machine while it is up, else None: what tells one life of a host
        from the next."""
        return self.boot_id() if self.pid() else None

    # -- inside -----------------------------------------------------------

    def command(self, argv, user=None):
        """The command line that runs argv inside the namespaces; user: None (root) or (uid, gid,
        groups)."""
        pid = self.pid()
        if not pid:
            raise HostError('host %s is down' % self.name)
        enter = ['nsenter', '-t', str(pid), '-m', '-u', '-i', '-n', '-p', '--']
        if user:
            enter += [
                'setpriv',
                '--reuid',
                str(user[0]),
                '--regid',
                str(user[1]),
                '--groups',
                ','.join(str(g) for g in user[2]),
            ]
        return enter + list(argv)

    def run(self, argv, input=None, check=True, timeout=60, user=None):
        """Run a command inside; -> subprocess.CompletedProcess with text output.  check: failure
        raises HostError."""
        try:
            done = subprocess.run(
                self.command(argv, user),
                input=input or '',
                capture_output=True,
                text=True,
                timeout=timeout,
                cwd='/',
                env={'PATH': INNER_PATH, 'LANG': 'C.UTF-8', 'HOME': '/'},
            )
        except subprocess.TimeoutExpired:
            raise HostError('host %s: %s: no end after %d s' % (self.name, argv[0], timeout))
        if check and done.returncode:
            raise HostError(
                'host %s: %s: status %d: %s'
                % (self.name, ' '.join(argv), done.returncode, (done.stderr or done.stdout).strip())
            )
        return done

    def path(self, inner):
        """How this process reaches a path of the host."""
        pid = self.pid()
        if not pid:
            raise HostError('host %s is down' % self.name)
        return '/proc/%d/root%s' % (pid, inner)

    def qmp(self, path):
        """QMP of a process inside that listens on a unix socket."""
        return Qmp(self.path(path))

    def find_process(self, pid_file):
        """-> what names the process of a pid file for ever; OSError, ValueError or LookupError when
        there is none."""
        with open(self.path(pid_file)) as source:
            pid = self.processes()[int(source.read())][0]
        return pid, start_time(pid)

    def lives(self, process):
        """-> whether what find_process returned is still there."""
        return start_time(process[0]) == process[1]

    def end_process(self, process):
        """SIGKILL."""
        os.kill(process[0], signal.SIGKILL)

    def processes(self):
        """-> {pid inside: (pid on the machine, command line)} of everything that runs in the
        host."""
        space = self._space()
        found = {}
        for name in os.listdir('/proc') if space else ():
            try:
                if not name.isdigit() or os.readlink('/proc/%s/ns/pid' % name) != space:
                    continue
                with open('/proc/%s/status' % name) as status:
                    inner = next(line for line in status if line.startswith('NSpid:')).split()[-1]
                with open('/proc/%s/cmdline' % name, 'rb') as line:
                    words = line.read().rstrip(b'\0').replace(b'\0', b' ').decode(errors='replace')
                with open('/proc/%s/comm' % name) as comm:
                    words = words or '[%s]' % comm.read().strip()
            except (OSError, StopIteration):
                continue
            found[int(inner)] = (int(name), words)
        return found

    def survey(self):
        """-> sorted lines `process ...` and `file ...`: all that is in the host beyond the lab's
        own and what note_baseline saw."""
        if not self.pid():
            return []
        own = {1}
        root = self.path('')
        pids = [root + '/run/sshd.pid']
        qemu = root + '/run/libvirt/qemu'
        pids += [os.path.join(qemu, n) for n in os.listdir(qemu) if n.endswith('.pid')]
        for path in pids:
            try:
                with open(path) as source:
                    own.add(int(source.read()))
            except (OSError, ValueError):
                pass
        try:
            with open(os.path.join(self.dir, 'baseline')) as source:
                known = set(source.read().splitlines())
        except FileNotFoundError:
            known = set()
        lines = [
            'process %s' % words
            for inner, (_, words) in self.processes().items()
            if inner not in own
        ]
        for top in SURVEYED:
            for base, dirs, files in os.walk(root + top):
                for item in dirs + files:
                    path = os.path.join(base, item)[len(root) :]
                    if not path.startswith(LAB_FILES):
                        lines.append('file %s' % path)
        return sorted(line for line in lines if line not in known)

    def note_baseline(self):
        """Remember what is in the host now as the lab's own."""
        text = ''.join(line + '\n' for line in self.survey())
        with open(os.path.join(self.dir, 'baseline'), 'a') as out:
            out.write(text)

    # -- inner workings ---------------------------------------------------

    def _space(self):
        pid = self.pid()
        try:
            return os.readlink('/proc/%d/ns/pid' % pid) if pid else None
        except OSError:
            return None

    def _any_inside(self):
        noted = self._noted()
        for name in os.listdir('/proc'):
            try:
                if name.isdigit() and os.readlink('/proc/%s/ns/pid' % name) == noted['space']:
                    return start_time(int(name)) is not None
            except OSError:
                pass
        return False

    def _signal_all(self, number):
        """Twice, for what was forked meanwhile."""
        for _ in range(2):
            for outer, _words in self.processes().values():
                try:
                    os.kill(outer, number)
                except ProcessLookupError:
                    pass

    def _noted(self):
        try:
            with open(os.path.join(self.dir, 'pid')) as source:
                return json.load(source)
        except FileNotFoundError:
            return None

    def _note(self, outer, inner):
        path = os.path.join(self.dir, 'pid')
        with open(path + '.new', 'w') as out:
            json.dump(
                {
                    'outer': outer,
                    'pid': inner,
                    'start': start_time(inner),
                    'space': os.readlink('/proc/%d/ns/pid' % inner),
                },
                out,
            )
        os.rename(path + '.new', path)

    @staticmethod
    def _child(pid):
        try:
            with open('/proc/%d/task/%d/children' % (pid, pid)) as source:
                children = source.read().split()
        except FileNotFoundError:
            return None
        return int(children[0]) if children else None

    def _plug(self, pid):
        subprocess.run(['ip', 'link', 'del', self.link], capture_output=True, timeout=30)
        # The same hardware address at each start: the neighbours' tables stay right.
        mac = '02:00:' + ':'.join('%02x' % int(part) for part in self.address.split('.'))
        run(
            [
                'ip',
                'link',
                'add',
                self.link,
                'type',
                'veth',
                'peer',
                'name',
                'eth0',
                'address',
                mac,
                'netns',
                str(pid),
            ]
        )
        run(['ip', 'link', 'set', self.link, 'master', self.bridge, 'up'])
        enter = ['nsenter', '-t', str(pid), '-n', 'ip']
        run(enter + ['addr', 'add', '%s/%d' % (self.address, self.prefix), 'dev', 'eth0'])
        run(enter + ['link', 'set', 'eth0', 'up'])

    def set_link(self, state):
        run(['ip', 'link', 'set', self.link, state])

    def _answers(self):
        try:
            with socket.create_connection((self.address, self.ssh_port), timeout=1) as conn:
                conn.settimeout(5)
                return conn.recv(4).startswith(b'SSH-')
        except OSError:
            return False
