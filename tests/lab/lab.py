# SPDX-License-Identifier: Apache-2.0
"""The lab: an engine, hypervisors and storage in namespaces of this machine.

    lab.sh up DIR [--hosts N] [--vms all|small] [--guests N] [--block all|small|iscsi|none]
              [--size BYTES] [--bare]
                           make it; DIR must not exist or be empty; guests are hosts that are
                           machines (TCG) with block domains, and --block the VMs there; bare:
                           without the engine and VMs
    lab.sh down DIR        take it down, in whatever state it is
    lab.sh ctl DIR VERB... speak to the engine's control endpoint (ctl DIR help)
    lab.sh residue DIR     list what a tool left in the lab; nothing = clean
    lab.sh host DIR NAME VERB [ARG]
                           a fault of a host: kill start (when it returns the engine has seen
                           it, and connected it to its domains) freeze thaw link-down link-up
                           drop reset drop-after BYTES drop-after-in BYTES reset-after BYTES heal
                           fill DIRECTORY [LEAVE] unfill DIRECTORY unmount MOUNT mount MOUNT; of
                           a guest:
        lvm plain|el7|el8  what plain LVM commands see
        lun-error VOLUME OFFSET LENGTH
                           below everything: the LV looks well, its bytes can not be read
        lun-hang LUN|VOLUME [SECONDS]
                           requests wait, the path looks well; with SECONDS the command lasts so
                           long and heals in the end
        lun-lost LUN|VOLUME [SECONDS]
                           no path: requests wait in multipath, after no_path_retry (20 s) EIO
        lun-heal LUN|VOLUME
                           ends each of them
        lv-error VOLUME OFFSET LENGTH, lv-heal VOLUME, lv-suspend VOLUME, lv-resume VOLUME
                           of a mapped LV; errors (EIO) last until it is refreshed
    lab.sh san DIR VERB [NUMBER|NAME]
                           a fault of the iSCSI of a lab with --block iscsi; for all guests:
                           freeze thaw (all paths), portal-down 1|2 portal-up 1|2 (one of two);
                           for one: cut NAME join NAME (all its paths, nothing else)
    lab.sh pids DIR NAME                processes inside a host, by their numbers outside
    lab.sh run DIR NAME COMMAND...
                           run a command as root in the namespaces of a host

Everything of a lab is on one tmpfs that is mounted on DIR, in processes that carry DIR in their
environment, and on one bridge clabN with the network 10.99.N.0/24.  DIR/env tells a shell what it
needs, DIR/chainlift.conf is a configuration for the tool.  Root only.  Exit: 0; 1 it failed (or
residue found something); 2 usage; 77 a tool is missing.
"""

import argparse
import concurrent.futures
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time

import blockguest
import blockiscsi
import ctl
import hosts
from hosts import PART, Host, HostError, run, tail

HERE = os.path.dirname(os.path.abspath(__file__))
TOOLS = {
    'ip': 'iproute2',
    'nft': 'nftables',
    'qemu-img': 'qemu-utils',
    'qemu-io': 'qemu-utils',
    'sudo': 'sudo',
    'qemu-storage-daemon': 'qemu-system-common',
    'sshd': 'openssh-server',
    'ssh-keygen': 'openssh-client',
    'unshare': 'util-linux',
    'nsenter': 'util-linux',
    'openssl': 'openssl',
}
SIZE = 6 << 30
NUMBERS = range(1, 255)
GUEST_TOOLS = {
    'qemu-system-x86_64': 'qemu-system-x86',
    'mke2fs': 'e2fsprogs',
    'lz4': 'lz4',
    'tgtd': 'tgt',
}
UP_TIMEOUT = 90
# What is made once for a checkout takes long on a machine with much else to do.
GUESTS_TIMEOUT = 1500
QUIET_TIMEOUT = 5
SSH_PORTS = (22, 2222, 22)
ENGINE_KEYS = ('ecdsa', 'ed25519', 'rsa')


class LabError(Exception):
    """str() says what failed, and how it looked."""


# -- up -------------------------------------------------------------------


def check_tools(guests):
    os.environ['PATH'] = hosts.INNER_PATH
    if os.geteuid():
        raise LabError('the lab needs root')
    tools = dict(TOOLS, **GUEST_TOOLS) if guests else TOOLS
    missing = sorted({package for tool, package in tools.items() if not shutil.which(tool)})
    if missing:
        print('skip: the lab needs the packages %s' % ' '.join(missing))
        sys.exit(77)


def claim_directory(lab_dir, size):
    """DIR is new, or empty, and becomes a file system of its own."""
    os.makedirs(lab_dir, exist_ok=True)
    if os.path.ismount(lab_dir) or os.listdir(lab_dir):
        raise LabError('%s is not empty; is a lab up there? try lab.sh down' % lab_dir)
    run(['mount', '-t', 'tmpfs', '-o', 'size=%d,mode=755' % size, 'chainlift-lab', lab_dir])


def claim_network(mac):
    """A bridge with a number of its own; making it is the claim, and its hardware address tells
    whose it is. -> number."""
    taken = run(['ip', '-4', '-o', 'addr']) + run(
        ['ip', '-4', '-o', 'route', 'show', 'table', 'all']
    )
    for number in NUMBERS:
        if ' 10.99.%d.' % number in taken or '\n10.99.%d.' % number in taken:
            continue
        done = subprocess.run(
            ['ip', 'link', 'add', 'clab%d' % number, 'address', mac, 'type', 'bridge'],
            capture_output=True,
            text=True,
            timeout=30,
        )
        if done.returncode == 0:
            return number
        if 'exists' not in done.stderr:
            raise LabError('bridge clab%d: %s' % (number, done.stderr.strip()))
    raise LabError('no free network of 10.99.0.0/16')


def write(path, text, mode=0o644):
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), 'w') as out:
        out.write(text)


def make_keys(lab_dir):
    os.mkdir(os.path.join(lab_dir, 'keys'), 0o700)
    making = []
    for kind in hosts.KEY_TYPES:
        size = ['-b', '2048'] if kind == 'rsa' else []
        making.append(
            subprocess.Popen(
                [
                    'ssh-keygen',
                    '-q',
                    '-t',
                    kind,
                    *size,
                    '-N',
                    '',
                    '-C',
                    'lab',
                    '-f',
                    os.path.join(lab_dir, 'keys', 'id_' + kind),
                ]
            )
        )
    for process in making:
        if process.wait(timeout=60):
            raise LabError('ssh-keygen failed')


def start_labd(lab_dir, options):
    """The engine's process; -> what it says in DIR/labd.ready."""
    log_path = os.path.join(lab_dir, 'labd.log')
    environ = dict(os.environ, **{PART: lab_dir})
    with open(log_path, 'w') as log:
        process = subprocess.Popen(
            ['/usr/bin/python3', os.path.join(HERE, 'labd.py'), lab_dir, '--vms', options.vms]
            + ['--block', options.block],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=environ,
            cwd='/',
        )
    ready = os.path.join(lab_dir, 'labd.ready')
    limit = GUESTS_TIMEOUT if options.guests else UP_TIMEOUT
    deadline = time.monotonic() + limit
    while not os.path.exists(ready):
        if process.poll() is not None:
            raise LabError(
                'labd.py ended with status %d:\n%s' % (process.returncode, tail(log_path, 25))
            )
        if time.monotonic() > deadline:
            raise LabError(
                'labd.py is not ready after %d s:\n%s' % (limit, tail(log_path, 25))
            )
        time.sleep(0.02)
    with open(ready) as source:
        return json.load(source)


CONF = '''\
# Written by lab.sh up: the lab in %(dir)s
repository = "%(dir)s/repo";

engine: {
  url = "%(url)s";
  ca_file = "%(ca_file)s";
  user = "%(user)s";
  password_file = "%(password_file)s";
  poll_ms = 100;
};

ssh: {
  user = "root";
  key_file = "%(dir)s/keys/id_ed25519";
};

# Most tests look for what is left of ours; those of increments set it.
snapshot: { keep = false; };
'''


def make_guests(lab_dir, bridge, number, count):
    return [
        blockguest.Guest.create(
            lab_dir,
            'b%d' % (index + 1),
            bridge,
            '10.99.%d.%d' % (number, 21 + index),
            24,
        )
        for index in range(count)
    ]


def write_results(lab_dir, number, machines, ready=None):
    """DIR/env and what belongs to it; ready: what labd.py said, if there is one."""
    values = {'LAB': lab_dir}
    if ready:
        values.update(
            LAB_CONF=lab_dir + '/chainlift.conf',
            LAB_REPO=lab_dir + '/repo',
            LAB_URL=ready['url'],
            LAB_CA=ready['ca_file'],
            LAB_USER=ready['user'],
            LAB_PASSWORD_FILE=ready['password_file'],
            LAB_CTL=lab_dir + '/ctl.sock',
        )
    values |= {
        'LAB_NETWORK': '10.99.%d.0/24' % number,
        'LAB_KNOWN_HOSTS': lab_dir + '/known_hosts',
        'LAB_HOSTS': ' '.join(h.name for h in machines),
    }
    for kind in hosts.KEY_TYPES:
        values['LAB_KEY_' + kind.upper()] = '%s/keys/id_%s' % (lab_dir, kind)
    known = ''
    for host in machines:
        values['LAB_ADDRESS_' + host.name] = host.address
        values['LAB_PORT_' + host.name] = str(host.ssh_port)
        name = host.address if host.ssh_port == 22 else '[%s]:%d' % (host.address, host.ssh_port)
        known += ''.join('%s %s\n' % (name, key) for key in host.hostkeys.values())
    write(lab_dir + '/known_hosts', known)
    if ready:
        os.mkdir(lab_dir + '/repo', 0o700)
        write(lab_dir + '/chainlift.conf', CONF % dict(ready, dir=lab_dir))
    write(
        lab_dir + '/env',
        ''.join('%s=%s\n' % (key, shlex.quote(value)) for key, value in values.items()),
    )


def up(options):
    check_tools(options.guests)
    lab_dir = options.dir
    for bad in '":,\\\n':
        if bad in lab_dir:
            raise LabError('the path of a lab can not contain %r' % bad)
    begin = time.monotonic()
    claim_directory(lab_dir, options.size)
    try:
        # Noted before it is made: an `up` that is killed at any moment can be taken down.
        mac = '02:' + ':'.join('%02x' % byte for byte in os.urandom(5))
        write(lab_dir + '/lab.json', json.dumps({'mac': mac}))
        number = claim_network(mac)
        bridge = 'clab%d' % number
        run(['ip', 'addr', 'add', '10.99.%d.1/24' % number, 'dev', bridge])
        run(['ip', 'link', 'set', bridge, 'up'])
        make_keys(lab_dir)
        os.mkdir(lab_dir + '/storage')
        machines = [
            Host.create(
                lab_dir,
                'h%d' % (index + 1),
                bridge,
                '10.99.%d.%d' % (number, 11 + index),
                24,
                SSH_PORTS[index % len(SSH_PORTS)],
                ENGINE_KEYS[index % len(ENGINE_KEYS)],
            )
            for index in range(options.hosts)
        ]
        if options.guests:
            blockguest.make_luns(lab_dir + '/luns')
        machines += make_guests(lab_dir, bridge, number, options.guests)
        if options.bare:
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda host: host.start(), machines))
            for host in machines:
                host.note_baseline()
            write_results(lab_dir, number, machines)
            print('lab up in %.1f s: %s' % (time.monotonic() - begin, lab_dir))
            return
        ready = start_labd(lab_dir, options)
        write_results(lab_dir, number, machines, ready)
    except BaseException:
        if not os.environ.get('LAB_KEEP'):
            take_down(lab_dir)
        raise
    print('lab up in %.1f s: %s' % (time.monotonic() - begin, lab_dir))


# -- down -----------------------------------------------------------------


def parts(lab_dir):
    """Pids of all processes of the lab, those of its hosts included."""
    mark = ('%s=%s' % (PART, lab_dir)).encode()
    found = []
    for name in os.listdir('/proc'):
        if name.isdigit() and int(name) != os.getpid():
            try:
                with open('/proc/%s/environ' % name, 'rb') as source:
                    if mark in source.read().split(b'\0') and hosts.start_time(int(name)):
                        found.append(int(name))
            except OSError:
                pass
    return found


def end_processes(lab_dir):
    deadline = time.monotonic() + 20
    while found := parts(lab_dir):
        if time.monotonic() > deadline:
            raise LabError('processes do not die: %s' % ' '.join(map(str, found)))
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.02)


def mounts_below(lab_dir):
    """Mount points of the lab on this machine, the deepest first."""
    found = []
    with open('/proc/self/mountinfo') as source:
        for line in source:
            point = (
                line.split()[4]
                .encode()
                .decode('unicode_escape')
                .encode('latin-1')
                .decode(errors='replace')
            )
            if point == lab_dir or point.startswith(lab_dir + '/'):
                found.append(point)
    return list(reversed(found))


def release(point):
    """umount; what died a moment ago may hold it still, and a shell that stands in it holds it for
    ever."""
    for _ in range(50):
        done = subprocess.run(['umount', point], capture_output=True, timeout=60)
        if done.returncode == 0:
            return
        time.sleep(0.05)
    print('lab: %s is in use; it vanishes when it is not any more' % point, file=sys.stderr)
    run(['umount', '-l', point])


def take_down(lab_dir):
    """From the outside in: processes, links, mounts, the directory.  Each step does without the
    others."""
    try:
        with open(lab_dir + '/lab.json') as source:
            mac = json.load(source)['mac']
    except (OSError, ValueError, KeyError):
        mac = None
    try:
        machines = Host.load_all(lab_dir)
    except (OSError, ValueError, TypeError):
        machines = []
    for host in machines:
        host.thaw()
        host.kill()
    end_processes(lab_dir)
    links = json.loads(run(['ip', '-j', 'link', 'show'])) if mac else []
    for bridge in [link['ifname'] for link in links if link.get('address') == mac]:
        for link in links:
            if bridge in (link.get('master'), link['ifname']):
                subprocess.run(
                    ['ip', 'link', 'del', link['ifname']], capture_output=True, timeout=30
                )
    points = mounts_below(lab_dir)
    for point in points:
        release(point)
    if os.path.isdir(lab_dir) and (points or not os.listdir(lab_dir)):
        os.rmdir(lab_dir)


def down(options):
    if os.path.isdir(options.dir) and not os.path.ismount(options.dir) and os.listdir(options.dir):
        raise LabError('%s is not a lab' % options.dir)
    take_down(options.dir)


# -- what a tool left behind ----------------------------------------------


def orphans(lab_dir, inventory):
    """Directories of images on storage that no disk has, and half-removed ones."""
    known = {disk['id'] for disk in inventory['disks']}
    for mount in sorted(os.listdir(lab_dir + '/storage')):
        for sd in sorted(os.listdir(os.path.join(lab_dir, 'storage', mount))):
            images = os.path.join(lab_dir, 'storage', mount, sd, 'images')
            for img in sorted(os.listdir(images)) if os.path.isdir(images) else ():
                if img not in known:
                    yield 'storage: %s/%s/images/%s' % (mount, sd, img)


def leftovers(lab_dir):
    engine = os.path.exists(lab_dir + '/ctl.sock')
    expected = ctl.ask(lab_dir, 'expected') if engine else {}
    lines = []
    for host in Host.load_all(lab_dir):
        guest = isinstance(host, blockguest.Guest)
        found, mapped = host.look() if guest else (host.survey(), [])
        lines += ['%s: %s' % (host.name, line) for line in found]
        if guest and host.pid() and engine:
            found, wanted = set(mapped), set(expected.get(host.name, []))
            lines += ['%s: mapping %s' % (host.name, name) for name in sorted(found - wanted)]
            lines += ['%s: lost mapping %s' % (host.name, name) for name in sorted(wanted - found)]
    if not engine:
        return lines
    lines += ['engine: ' + line for line in ctl.ask(lab_dir, 'extra')]
    lines += ['storage: ' + line for line in ctl.ask(lab_dir, 'unknown-images')]
    lines += orphans(lab_dir, ctl.ask(lab_dir, 'inventory'))
    return lines


def residue(options):
    """A connection that ended a moment ago may still have its process: what stays for a while
    counts."""
    deadline, looks = time.monotonic() + QUIET_TIMEOUT, 1
    while (lines := leftovers(options.dir)) and (time.monotonic() < deadline or looks < 3):
        looks += 1
        time.sleep(0.2)
    for line in lines:
        print(line)
    return 1 if lines else 0


# -- hosts ----------------------------------------------------------------

VERBS = {
    'kill': (),
    'start': (),
    'freeze': (),
    'thaw': (),
    'link-down': (),
    'link-up': (),
    'drop': (),
    'reset': (),
    'drop-after': (int,),
    'drop-after-in': (int,),
    'reset-after': (int,),
    'heal': (),
    'fill': (str, int),
    'unfill': (str,),
    'unmount': (str,),
    'mount': (str,),
    'lvm': (str,),
    'lun-error': (str, int, int),
    'lun-hang': (str, float),
    'lun-lost': (str, float),
    'lun-heal': (str,),
    'lv-error': (str, int, int),
    'lv-heal': (str,),
    'lv-suspend': (str,),
    'lv-resume': (str,),
}


def host(options):
    machine = Host.load(options.dir, options.name)
    kinds = VERBS.get(options.verb)
    if kinds is None:
        raise LabError('no verb %s; there are: %s' % (options.verb, ' '.join(VERBS)))
    if len(options.args) > len(kinds):
        raise LabError('%s takes %d arguments' % (options.verb, len(kinds)))
    getattr(machine, options.verb.replace('-', '_'))(
        *[kind(arg) for kind, arg in zip(kinds, options.args)]
    )
    if options.verb == 'start':
        look(options.dir)


def look(lab_dir):
    """The engine sees now what became of the hosts: one that started has its domains."""
    try:
        ctl.ask(lab_dir, 'look', timeout=GUESTS_TIMEOUT)
    except OSError:
        pass  # a lab without an engine, or whose engine was killed


SAN_VERBS = {
    'freeze': (),
    'thaw': (),
    'portal-down': (int,),
    'portal-up': (int,),
    'cut': (str,),
    'join': (str,),
}


def san(options):
    kinds = SAN_VERBS.get(options.verb)
    if kinds is None or len(options.args) != len(kinds):
        raise LabError('verbs of san: freeze thaw portal-down NUMBER portal-up NUMBER cut NAME '
                       'join NAME')
    getattr(blockiscsi.San(options.dir), options.verb.replace('-', '_'))(
        *[kind(arg) for kind, arg in zip(kinds, options.args)])


def pids(options):
    """The processes inside a host, by their numbers outside."""
    machine = Host.load(options.dir, options.name)
    for pid, _ in machine.processes().values():
        print(pid)


def run_inside(options):
    machine = Host.load(options.dir, options.name)
    return subprocess.run(
        machine.command(options.args),
        cwd='/',
        env={'PATH': hosts.INNER_PATH, 'LANG': 'C.UTF-8', 'HOME': '/root'},
    ).returncode


def main():
    parser = argparse.ArgumentParser(
        prog='lab.sh', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest='command')
    commands.add_parser('help')
    for name in ('up', 'down', 'residue', 'host', 'run', 'pids', 'san'):
        one = commands.add_parser(name)
        one.add_argument('dir')
        if name == 'up':
            one.add_argument('--hosts', type=int, default=2, choices=range(0, 10))
            one.add_argument('--guests', type=int, default=0, choices=range(0, 5))
            one.add_argument('--block', default='all')
            one.add_argument('--bare', action='store_true')
            one.add_argument('--vms', default='all')
            one.add_argument('--size', type=int, default=SIZE)
        if name in ('host', 'run', 'pids'):
            one.add_argument('name')
        if name in ('host', 'san'):
            one.add_argument('verb')
        if name in ('host', 'run', 'san'):
            one.add_argument('args', nargs=argparse.REMAINDER)
    options = parser.parse_args()
    if options.command in (None, 'help'):
        print(__doc__)
        return 0
    options.dir = os.path.realpath(options.dir)
    functions = {
        'up': up,
        'down': down,
        'residue': residue,
        'host': host,
        'run': run_inside,
        'pids': pids,
        'san': san,
    }
    try:
        return functions[options.command](options) or 0
    except (LabError, HostError, RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        print('lab %s: %s' % (options.command, error), file=sys.stderr)
        return 1


if __name__ == '__main__':
    # A signal unwinds like an error, so that a half-made lab is taken down.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
