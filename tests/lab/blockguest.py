# SPDX-License-Identifier: Apache-2.0
"""Hypervisors of the lab that are whole machines: two guests under TCG with real LVM on shared LUNs.

A guest is one qemu-system process with the image of blockimage.py; its root is a tmpfs over it, so
that a restart is a new machine.  It boots once per checkout: the state is saved before the guest
has a name, and each start goes on from there, with a new boot id, in about two seconds.  Everything
that the lab does inside goes through the agent (guest/agent.py), which needs no network.

The LUNs are sparse files in LAB/luns, which all guests of the lab have as SCSI disks; multipathd
shows them as /dev/mapper/WWID, as on an oVirt host.
"""

import base64
import fcntl
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import uuid

import blockimage
import blockiscsi
import hosts
from blockfaults import LunFaults
from hostroot import KEY_TYPES
from hosts import INNER_PATH, PART, Host, HostError, run, start_time, tail
from qmp import Qmp, QmpError

MEMORY_MIB = 512
PORTS = 6
# Name -> (WWID as multipath shows it, bytes).  The state holds the sizes.
LUNS = {
    'lun1': ('35000c50015ea7101', 40 << 30),
    'lun2': ('35000c50015ea7102', 24 << 30),
    'lun3': ('35000c50015ea7103', 24 << 30),
}
# And those that come by iSCSI, in a lab that has it.
ALL_LUNS = LUNS | blockiscsi.LUNS
BOOT_TIMEOUT = 300
RESUME_TIMEOUT = 600
# Of the first answer after that, and how often a machine that gives none is started.
WAKE_TIMEOUT = 30
STARTS = 3
# How much longer than on a host of the machine's own speed a command may take in a guest.
SLOWNESS = 4
ENVIRON = {'PATH': INNER_PATH, 'LANG': 'C.UTF-8', 'HOME': '/root', 'LVM_SUPPRESS_FD_WARNINGS': '1'}

# Becomes the machine that it is told to be: entropy first, two guests have the same past.
IDENTITY = r"""
import fcntl, json, os, struct, subprocess, sys, time
told = json.load(sys.stdin)
noise = bytes.fromhex(told['noise'])
with open('/dev/urandom', 'wb') as device:
    fcntl.ioctl(device, 0x40085203, struct.pack('ii', len(noise) * 8, len(noise)) + noise)
    fcntl.ioctl(device, 0x5207)
time.clock_settime(time.CLOCK_REALTIME, told['now'])
for path, mode, uid, text in told['files']:
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), 'w') as out:
        out.write(text)
    for item in (path, os.path.dirname(path)) if uid else (path,):
        os.chown(item, uid, uid)
def do(*argv):
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
os.chown('/home/backup', 1000, 1000)
do('hostname', told['name'])
subprocess.run(['umount', '/proc/sys/kernel/random/boot_id'], stderr=subprocess.DEVNULL)
do('mount', '--bind', '/usr/lib/lab/boot_id', '/proc/sys/kernel/random/boot_id')
do('ip', 'addr', 'flush', 'dev', 'eth0')
do('ip', 'link', 'set', 'eth0', 'down')
do('ip', 'link', 'set', 'eth0', 'address', told['mac'])
do('ip', 'addr', 'add', told['address'], 'dev', 'eth0')
do('ip', 'link', 'set', 'eth0', 'up')
if os.path.exists('/run/sshd.pid'):
    with open('/run/sshd.pid') as source:
        os.kill(int(source.read()), 9)
    os.unlink('/run/sshd.pid')
for name in os.listdir('/sys/block'):
    if name.startswith('sd'):
        do('blockdev', '--flushbufs', '/dev/' + name)
do('/usr/sbin/sshd')
"""

# What is there beyond the kernel's own: processes, files, mapped LVs, links.
SURVEY = r"""
import json, os, subprocess, sys
lines, skipped = [], set()
for name in os.listdir('/proc'):
    if name.isdigit() and int(name) not in (1, os.getpid(), os.getppid()):
        try:
            with open('/proc/%s/cmdline' % name, 'rb') as source:
                words = source.read().rstrip(b'\0').replace(b'\0', b' ').decode(errors='replace')
            with open('/proc/%s/stat' % name) as source:
                dead = source.read().rpartition(')')[2].split()[0] in 'ZX'
        except OSError:
            continue
        if words and not dead:
            lines.append('process ' + words)
for top in sys.argv[1:]:
    for base, dirs, files in os.walk(top):
        lines += ['file ' + os.path.join(base, item) for item in dirs + files]
table = subprocess.run(['dmsetup', 'info', '-c', '--noheadings', '--separator', '|', '-o',
                        'name,uuid,suspended'], capture_output=True, text=True, timeout=30)
for row in table.stdout.split():
    name, uuid, suspended = row.split('|')
    lines.append('dm %s%s' % (name, ' suspended' if suspended == 'Suspended' else ''))
print(json.dumps(sorted(lines)))
"""
# What comes and goes by itself: udev, LVM's locks, the VMs of the lab.
LAB_FILES = (
    '/run/udev/', '/run/lock/', '/run/lvm/', '/run/libvirt/', '/run/multipath', '/run/initctl',
    '/run/sudo', '/run/utmp', '/run/cryptsetup', '/dev/shm/multipath', '/run/vdsm/', '/run/iscsid',
)
LAB_PROCESSES = ('/usr/lib/systemd/systemd-udevd', 'sleep 3600', '(udev-worker)', 'iscsid')
OWN = tuple(['file ' + name for name in LAB_FILES] + ['process ' + n for n in LAB_PROCESSES])


VARIANTS = {
    'plain': '',
    'el7': 'filter = ["r|.*|"]',
    'el8': 'use_devicesfile = 1',
}
SET_VARIANT = r"""
sed -i '/# lab/d' /etc/lvm/lvmlocal.conf
rm -f /etc/lvm/devices/system.devices
[ -z "$2" ] || sed -i "/^devices {/a $2  # lab" /etc/lvm/lvmlocal.conf
[ $1 != el8 ] || printf '%s\n' VERSION=1.1.1 \
  "IDTYPE=sys_serial IDNAME=none DEVNAME=/dev/vdz PVID=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" \
  >/etc/lvm/devices/system.devices
echo $1 >/etc/lvm/variant
"""


class AgentError(HostError):
    """The agent of a guest does not answer."""


class Port:
    """One free port of a guest's agent; a context manager.  Ports are shared between processes by
    locks on files."""

    def __init__(self, directory, timeout):
        self.directory = directory
        self.deadline = time.monotonic() + timeout
        self.pending = b''
        self.bridged = False

    def __enter__(self):
        self.lock = self._claim()
        # By way of a descriptor: the name of a unix socket can not be long.
        folder = os.open(self.directory, os.O_PATH | os.O_DIRECTORY)
        self.sock = socket.socket(socket.AF_UNIX)
        try:
            self.sock.connect('/proc/self/fd/%d/port.%d' % (folder, self.number))
        except OSError as error:
            self.__exit__()
            raise AgentError('%s: %s' % (self.directory, error))
        finally:
            os.close(folder)
        return self

    def __exit__(self, *_exc):
        self.sock.close()
        os.close(self.lock)

    def _claim(self):
        while True:
            for number in range(PORTS):
                path = os.path.join(self.directory, 'port.%d.lock' % number)
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    self.number = number
                    return fd
                except BlockingIOError:
                    os.close(fd)
            if time.monotonic() > self.deadline:
                raise AgentError('%s: all ports of the agent are busy' % self.directory)
            time.sleep(0.01)

    def line(self):
        while b'\n' not in self.pending:
            left = self.deadline - time.monotonic()
            if left <= 0:
                raise AgentError('%s: no answer of the agent' % self.directory)
            self.sock.settimeout(left)
            try:
                part = self.sock.recv(1 << 16)
            except socket.timeout:
                continue
            except OSError as error:
                raise AgentError('%s: agent: %s' % (self.directory, error))
            if not part:
                raise AgentError('%s: the guest is gone' % self.directory)
            self.pending += part
        line, _, self.pending = self.pending.partition(b'\n')
        return line

    def ask(self, **request):
        """Replies to somebody who was killed may come first."""
        ident = str(uuid.uuid4())
        try:
            self.sock.sendall(b'\n' + json.dumps(dict(request, id=ident)).encode() + b'\n')
        except OSError as error:
            raise AgentError('%s: agent: %s' % (self.directory, error))
        while True:
            try:
                reply = json.loads(self.line())
            except ValueError:
                continue
            if isinstance(reply, dict) and reply.get('id') == ident:
                return reply


class Bridge:
    """A unix socket inside a guest, as far as Qmp needs one."""

    def __init__(self, port):
        self.port = port
        self.left = b''
        self.timeout = 30

    def settimeout(self, seconds):
        self.timeout = seconds

    def sendall(self, data):
        self.port.sock.sendall(base64.b64encode(data) + b'\n')

    def recv(self, size):
        if not self.left:
            self.port.deadline = time.monotonic() + self.timeout
            line = self.port.line()
            self.left = b'' if line == b'.' else base64.b64decode(line)
        part, self.left = self.left[:size], self.left[size:]
        return part

    def close(self):
        try:
            self.port.sock.sendall(b'.\n')
            self.port.deadline = time.monotonic() + 5
            while self.port.line() != b'.':
                pass
        except (OSError, AgentError):
            pass
        self.port.__exit__()


def make_luns(directory):
    """Empty LUNs of a new lab."""
    os.makedirs(directory, exist_ok=True)
    for name, (_, size) in ALL_LUNS.items():
        with open(os.path.join(directory, name), 'xb') as out:
            out.truncate(size)


class Guest(LunFaults, Host):
    """A hypervisor that is a machine; kind is 'guest'."""

    # -- making -----------------------------------------------------------

    @classmethod
    def create(cls, lab_dir, name, bridge, address, prefix):
        base = os.path.join(lab_dir, 'hosts', name)
        os.makedirs(base)
        hostkeys = cls._host_keys(base, name)
        fields = cls.key_fields(hostkeys['ed25519'])
        host = cls(
            lab_dir,
            kind='guest',
            name=name,
            id=str(uuid.uuid4()),
            bridge=bridge,
            address=address,
            prefix=prefix,
            ssh_port=22,
            link=bridge + name,
            hostkeys=hostkeys,
            image=blockimage.ensure(),
            **fields
        )
        host.note()
        return host

    # -- life -------------------------------------------------------------

    def start(self, timeout=RESUME_TIMEOUT, state=None):
        """Go on from the saved state, or from another one, as this machine."""
        if self.pid():
            raise HostError('host %s runs already' % self.name)
        state = state or booted(self.image)
        try:
            for left in reversed(range(STARTS)):
                self._launch(state)
                resume(self.dir, timeout)
                self._plug(None)
                if self._awake(left):
                    break
                self.kill()
            boot = str(uuid.uuid4())
            self.identify(boot)
            deadline = time.monotonic() + timeout
            while not self._answers():
                if not self.pid() or time.monotonic() > deadline:
                    raise HostError('host %s: sshd does not answer on %s' % (
                        self.name, self.address))
                time.sleep(0.05)
            self._set_boot_id(boot)
        except (QmpError, HostError) as error:
            self.kill()
            raise HostError('%s\n%s' % (error, tail(os.path.join(self.dir, 'console.log'))))

    def _awake(self, left):
        """The agent answers.  Once one did not, on an idle machine and for no reason that was
        found for certain: which port is silent is told, so that the next time tells more."""
        with Port(self.dir, WAKE_TIMEOUT) as first:
            try:
                first.ask(argv=['true'])
                return True
            except AgentError as error:
                told = 'host %s: after its state went on: %s' % (self.name, error)
            try:
                with Port(self.dir, WAKE_TIMEOUT) as second:
                    second.ask(argv=['true'])
            except AgentError:
                if not left:
                    raise
                print('%s; on no port: it is started anew' % told, file=sys.stderr, flush=True)
                return False
            print('%s; but on port %d' % (told, second.number), file=sys.stderr, flush=True)
            return True

    def boot(self):
        """Only of a machine that has become this one: before, nobody may change it."""
        try:
            return super().boot()
        except FileNotFoundError:
            return None

    def _set_boot_id(self, boot):
        path = os.path.join(self.dir, 'boot_id')
        if not boot:
            if os.path.exists(path):
                os.unlink(path)
            return
        with open(path + '.new', 'w') as out:
            out.write(boot + '\n')
        os.rename(path + '.new', path)

    def _launch(self, state):
        self._set_boot_id(None)
        process = launch(
            self.image, self.dir, self.link, os.path.join(self.lab_dir, 'luns'), self.lab_dir, state
        )
        with open(os.path.join(self.dir, 'pid'), 'w') as out:
            json.dump({'outer': process.pid, 'pid': process.pid,
                       'start': start_time(process.pid)}, out)

    def identify(self, boot):
        """Name, address, keys, users, clock and boot id of this machine."""
        files = [
            ('/usr/lib/lab/boot_id', 0o644, 0, boot + '\n'),
            ('/etc/hostname', 0o644, 0, self.name + '\n'),
            ('/etc/hosts', 0o644, 0, '127.0.0.1 localhost\n%s %s\n' % (self.address, self.name)),
            ('/etc/iscsi/initiatorname.iscsi', 0o600, 0,
             'InitiatorName=iqn.2026-11.lab:%s\n' % self.name),
        ]
        for kind in KEY_TYPES:
            path = os.path.join(self.dir, 'upper/etc/ssh/ssh_host_%s_key' % kind)
            for end, mode in (('', 0o600), ('.pub', 0o644)):
                with open(path + end) as source:
                    files.append(('/etc/ssh/ssh_host_%s_key%s' % (kind, end), mode, 0,
                                  source.read()))
        authorized = ''
        for kind in KEY_TYPES:
            with open(os.path.join(self.lab_dir, 'keys', 'id_%s.pub' % kind)) as pub:
                authorized += pub.read()
        files.append(('/root/.ssh/authorized_keys', 0o600, 0, authorized))
        files.append(('/home/backup/.ssh/authorized_keys', 0o600, 1000, authorized))
        told = {
            'noise': os.urandom(64).hex(),
            'now': time.time(),
            'files': files,
            'name': self.name,
            'mac': self.mac(),
            'address': '%s/%d' % (self.address, self.prefix),
        }
        self.run(['python3', '-c', IDENTITY], input=json.dumps(told))

    def mac(self):
        return '02:00:' + ':'.join('%02x' % int(part) for part in self.address.split('.'))

    def kill(self):
        """Power loss; its link goes with the process."""
        pid = self.pid()
        if not pid:
            return
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while start_time(pid):
            if time.monotonic() > deadline:
                raise HostError('host %s: process %d does not die' % (self.name, pid))
            time.sleep(0.01)
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            pass

    def save(self, path):
        """Write the state of the machine to a file and end it."""
        for _ in range(50):
            if not [p for p in self.survey_all()
                    if p.startswith('process sshd: ') and '[listener]' not in p]:
                break
            time.sleep(0.1)
        save(self.dir, path)
        self.kill()

    def _signal_all(self, number):
        pid = self.pid()
        if pid:
            os.kill(pid, number)

    def _plug(self, _pid):
        run(['ip', 'link', 'set', self.link, 'master', self.bridge, 'up'])

    # -- inside -----------------------------------------------------------

    def command(self, argv, user=None):
        """By ssh: for a shell of a person or a test that wants pipes."""
        login = 'backup' if user else 'root'
        known = os.path.join(self.lab_dir, 'known_hosts')
        return [
            'ssh', '-F', 'none', '-i', os.path.join(self.lab_dir, 'keys/id_ed25519'),
            '-o', 'UserKnownHostsFile="%s"' % known, '-o', 'BatchMode=yes',
            '-o', 'StrictHostKeyChecking=yes', '-o', 'LogLevel=ERROR', '-o', 'ConnectTimeout=20',
            '-o', 'ServerAliveInterval=20', '-p', str(self.ssh_port),
            '%s@%s' % (login, self.address), '--', ' '.join(shlex.quote(a) for a in argv),
        ]

    def run(self, argv, input=None, check=True, timeout=60, user=None):
        """As Host.run; root's environment knows where LVM is."""
        if not self.pid():
            raise HostError('host %s is down' % self.name)
        timeout *= SLOWNESS
        with Port(self.dir, timeout + 15) as port:
            reply = port.ask(
                argv=list(argv),
                input=base64.b64encode((input or '').encode()).decode(),
                env=ENVIRON,
                timeout=timeout,
                user=list(user) if user else None,
            )
        if reply['status'] is None:
            raise HostError('host %s: %s: no end after %d s' % (self.name, argv[0], timeout))
        out, err = (base64.b64decode(reply[k]).decode(errors='replace') for k in ('out', 'err'))
        if check and reply['status']:
            raise HostError('host %s: %s: status %d: %s' % (
                self.name, ' '.join(argv)[:300], reply['status'], (err or out).strip()))
        return subprocess.CompletedProcess(list(argv), reply['status'], out, err)

    def connect(self, path, timeout=30):
        """A unix socket inside; Bridge."""
        port = Port(self.dir, timeout)
        port.__enter__()
        try:
            status = port.ask(connect=path)['status']
        except HostError:
            port.__exit__()
            raise
        if status:
            port.__exit__()
            raise HostError('host %s: %s: %s' % (self.name, path, os.strerror(status)))
        return Bridge(port)

    def path(self, inner):
        raise HostError('host %s is a machine: %s can not be reached from outside' % (
            self.name, inner))

    def qmp(self, path):
        return Qmp(path, sock=self.connect(path))

    def find_process(self, pid_file):
        """With the boot id: two guests that went on from one state number their processes and
        their time alike."""
        pid = int(self.run(['cat', pid_file]).stdout)
        return pid, self._stat(pid), self.boot()

    def lives(self, process):
        """Of a guest that is frozen nobody knows better."""
        if self.boot() != process[2]:
            return False
        if self.frozen():
            return True
        try:
            return self._stat(process[0]) == process[1]
        except HostError:
            return self.boot() == process[2]

    def end_process(self, process):
        self.run(['kill', '-9', str(process[0])], check=False)

    def frozen(self):
        try:
            with open('/proc/%d/stat' % self.pid()) as stat:
                return stat.read().rpartition(')')[2].split()[0] == 'T'
        except (OSError, TypeError):
            return False

    def _stat(self, pid):
        """When a process inside began; None: it is gone."""
        fields = self.run(['cat', '/proc/%d/stat' % pid], check=False, timeout=10).stdout
        fields = fields.rpartition(')')[2].split()
        return None if not fields or fields[0] in 'ZX' else int(fields[19])

    def lvm(self, variant):
        """How a plain LVM command sees storage from now on: plain, el7 (a filter that refuses all,
        LVM 2.02), el8 (a devices file without our LUNs)."""
        if variant not in VARIANTS:
            raise HostError('no variant %s of LVM; there are: %s' % (variant, ' '.join(VARIANTS)))
        self.run(['sh', '-ec', SET_VARIANT, 'sh', variant, VARIANTS[variant]])

    def monitor(self):
        """QMP of the machine itself."""
        return monitor(self.dir, 30)

    @staticmethod
    def wwids():
        """-> {name of a LUN: its WWID}"""
        return {name: wwid for name, (wwid, _) in ALL_LUNS.items()}

    def processes(self):
        """-> {pid inside: (None, command line)}"""
        text = self.run(['ps', '-e', '-ww', '-o', 'pid=,args=']).stdout
        rows = (line.split(None, 1) for line in text.splitlines())
        return {int(row[0]): (None, row[1]) for row in rows if len(row) == 2}

    def survey_all(self):
        return json.loads(
            self.run(['python3', '-c', SURVEY] + list(hosts.SURVEYED)).stdout
        )

    def survey(self):
        return self.look()[0]

    def look(self):
        """-> (sorted lines `process ...` and `file ...` beyond the lab's own and the baseline;
        names of the mapped LVs, with ` suspended` after those that are)."""
        if not self.pid():
            return [], []
        known = self.known()
        lines, mapped = [], []
        for line in self.survey_all():
            if line.startswith('dm '):
                if '--' in line:
                    mapped.append(line[3:])
            elif line not in known and not line.startswith(OWN):
                lines.append(line)
        return lines, mapped

    def known(self):
        try:
            with open(os.path.join(self.dir, 'baseline')) as source:
                return set(source.read().splitlines())
        except FileNotFoundError:
            return set()


# -- the process ----------------------------------------------------------


def arguments(image, link, luns):
    """The machine; a state fits only to the same one."""
    argv = ['qemu-system-x86_64', '-M', 'pc-i440fx-7.2,usb=off', '-cpu', 'max', '-smp', '1']
    argv += ['-accel', 'tcg,thread=multi,tb-size=96', '-m', str(MEMORY_MIB)]
    argv += ['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot']
    argv += ['-serial', 'file:console.log', '-qmp', 'unix:qmp,server=on,wait=off']
    argv += ['-kernel', image + '/vmlinux', '-initrd', image + '/initrd.gz']
    argv += ['-append', 'console=ttyS0 panic=-1 mitigations=off net.ifnames=0 quiet']
    argv += ['-drive', 'if=none,id=root,file=%s/root.img,format=raw,readonly=on,file.locking=off'
             % image.replace(',', ',,'), '-device', 'virtio-blk-pci,drive=root']
    argv += ['-device', 'virtio-scsi-pci,id=scsi0']
    for number, (name, (wwid, _)) in enumerate(sorted(LUNS.items())):
        argv += ['-blockdev', json.dumps({
            'driver': 'raw', 'node-name': name, 'discard': 'unmap',
            'file': {'driver': 'file', 'node-name': name + '-file', 'locking': 'off',
                     'filename': os.path.join(luns, name), 'discard': 'unmap',
                     'aio': 'threads'}})]
        argv += ['-device', 'scsi-hd,bus=scsi0.0,scsi-id=%d,drive=%s,share-rw=on,serial=%s,'
                 'wwn=0x%s,device_id=%s,vendor=LABLIO' % (number, name, name, wwid[1:], name)]
    argv += ['-netdev', 'tap,id=n0,ifname=%s,script=no,downscript=no' % link]
    argv += ['-device', 'virtio-net-pci,netdev=n0,romfile=,mac=02:00:00:00:00:01']
    argv += ['-device', 'virtio-rng-pci', '-device', 'virtio-serial-pci']
    for number in range(PORTS):
        argv += ['-chardev', 'socket,id=p%d,path=port.%d,server=on,wait=off' % (number, number)]
        argv += ['-device', 'virtserialport,chardev=p%d,name=lab.%d' % (number, number)]
    return argv


def launch(image, directory, link, luns, mark, state=None):
    """Start the process in `directory`, where its sockets and console are."""
    argv = arguments(image, link, luns)
    environ = {'PATH': INNER_PATH, 'LANG': 'C.UTF-8', PART: mark}
    if state:
        argv += ['-incoming', 'exec:cat "$LAB_STATE"']
        environ['LAB_STATE'] = state
    with open(os.path.join(directory, 'qemu.log'), 'w') as log:
        return subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory,
            start_new_session=True, env=environ
        )


def monitor(directory, timeout):
    """QMP of a process that may not listen yet."""
    deadline = time.monotonic() + timeout
    folder = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        while True:
            try:
                return Qmp('/proc/self/fd/%d/qmp' % folder, timeout)
            except QmpError:
                if time.monotonic() > deadline:
                    raise QmpError('%s: %s' % (
                        directory, tail(os.path.join(directory, 'qemu.log'), 5)))
            time.sleep(0.02)
    finally:
        os.close(folder)


def settle(qmp, wanted, timeout):
    """Wait for the end of a migration."""
    deadline = time.monotonic() + timeout
    while (status := qmp.command('query-migrate').get('status')) != wanted:
        if status == 'failed' or time.monotonic() > deadline:
            raise QmpError('the state of a guest: migration is %s' % status)
        time.sleep(0.02)


def resume(directory, timeout):
    with monitor(directory, timeout) as qmp:
        settle(qmp, 'completed', timeout)
        # It was saved stopped.
        qmp.command('cont')


def save(directory, path):
    with monitor(directory, 30) as qmp:
        qmp.command('migrate-set-parameters', max_bandwidth=10**10)
        qmp.command('stop')
        qmp.command('migrate', uri='exec:cat > %s' % shlex.quote(path + '.new'))
        settle(qmp, 'completed', 60)
        qmp.command('quit')
    os.rename(path + '.new', path)


def booted(image):
    """-> the state of a guest that has just booted, made when it is not there."""
    path = os.path.join(image, 'booted.state')
    with open(os.path.join(image, 'lock.state'), 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        key = machine_key(image)
        try:
            with open(path + '.key') as source:
                if source.read() == key and os.path.exists(path):
                    return path
        except FileNotFoundError:
            pass
        boot(image, path)
        with open(path + '.key', 'w') as out:
            out.write(key)
    return path


def machine_key(image):
    version = run(['qemu-system-x86_64', '--version']).splitlines()[0]
    with open(os.path.join(image, 'key')) as source:
        return json.dumps([source.read(), version, arguments('', '', '')])


def boot(image, path):
    """Boot for once, and save; a slow machine may take a second try."""
    for attempt in (1, 2):
        directory = os.path.join(image, 'tmp-boot')
        run(['rm', '-rf', '--one-file-system', directory])
        make_luns(directory)
        process = launch(image, directory, 'clg%d' % (os.getpid() % 10**8), directory, directory)
        try:
            deadline = time.monotonic() + BOOT_TIMEOUT
            console = os.path.join(directory, 'console.log')
            while 'LAB-READY' not in tail(console, 40):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise HostError('the guest does not boot:\n%s\n%s' % (
                        tail(console), tail(os.path.join(directory, 'qemu.log'))))
                time.sleep(0.1)
            with Port(directory, 60) as port:
                reply = port.ask(
                    argv=['sh', '-c', 'udevadm settle --timeout=30; multipath -ll -v1'],
                    env=ENVIRON, timeout=40)
            maps = base64.b64decode(reply['out']).decode().split()
            if sorted(maps) != sorted(wwid for wwid, _ in LUNS.values()):
                raise HostError('multipath made %s' % maps)
            save(directory, path)
            return
        except (HostError, QmpError):
            if attempt == 2:
                raise
        finally:
            process.kill()
            process.wait(timeout=20)
            run(['rm', '-rf', '--one-file-system', directory])
