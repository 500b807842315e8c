# SPDX-License-Identifier: Apache-2.0
"""The image of the lab's guests, made of Debian packages without their maintainer scripts.

    blockimage.py [DIR]     make it (TOP/build-guest) unless it is there; prints the directory

DIR holds vmlinux (the cloud kernel, unpacked: it boots by the PVH note) and initrd.gz, which the
same packages give byte by byte again, root.img, which differs in times and in the order of its
folders, and `key`, the digest of all that went in.  The packages come from the machine's own sources of apt and stay in DIR/archives.  A lock makes those
that come at the same time wait for one another."""

import fcntl
import gzip
import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
PARTS = os.path.join(HERE, 'guest')
# What a host lets the user `backup` do is what we tell administrators.
SUDOERS = os.path.join(TOP, 'conf/sudoers.example')
ESSENTIAL = (
    'base-files base-passwd bash coreutils dash debianutils diffutils findutils grep gzip sed tar '
    'util-linux mount login mawk hostname init-system-helpers libc-bin ncurses-base'
).split()
DROPPED = ('doc', 'man', 'locale', 'iso-codes', 'info', 'lintian', 'i18n')
EPOCH = 1700000000
ROOT_MIB = 520
INITRD_MODULES = (
    'virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk '
    'failover net_failover virtio_net rng-core virtio-rng overlay'
).split()

PASSWD = """\
sshd:x:74:65534::/run/sshd:/usr/sbin/nologin
vdsm:x:36:36:Node Virtualization Manager:/var/lib/vdsm:/usr/sbin/nologin
qemu:x:107:107:qemu user:/:/usr/sbin/nologin
sanlock:x:179:179:sanlock:/run/sanlock:/usr/sbin/nologin
backup:x:1000:1000:Backup backup:/home/backup:/bin/bash
"""

GROUP = """\
kvm:x:36:qemu,sanlock
qemu:x:107:vdsm
sanlock:x:179:vdsm
backup:x:1000:
"""

SSHD = """\
Port 22
HostKey /etc/ssh/ssh_host_ed25519_key
HostKey /etc/ssh/ssh_host_ecdsa_key
HostKey /etc/ssh/ssh_host_rsa_key
UsePAM no
UseDNS no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
AuthorizedKeysFile .ssh/authorized_keys
MaxStartups 50:30:100
LogLevel VERBOSE
PrintMotd no
PidFile /run/sshd.pid
Subsystem sftp /usr/lib/openssh/sftp-server
"""

# As vdsm-tool configure writes it, with the knobs that keep a test short.
MULTIPATH = """\
defaults {
    polling_interval 5
    no_path_retry 4
    user_friendly_names no
    find_multipaths no
    flush_on_last_del always
    fast_io_fail_tmo 5
    dev_loss_tmo 30
    max_fds 4096
}
blacklist {
    devnode "^(vd|sr|loop|ram|nbd)"
}
"""

LVMLOCAL = """\
devices {
    hints = "none"
    scan_lvs = 0
    multipath_wwids_file = ""
}
"""

# vdsm's 12-vdsm-lvm.rules
RULES = (
    'ACTION!="add|change", GOTO="end"\n'
    'ENV{DM_UUID}!="LVM-?*", GOTO="end"\n'
    'ENV{DM_VG_NAME}!="????????-????-????-????-????????????", GOTO="end"\n'
    'ENV{DM_LV_NAME}=="metadata|inbox|outbox|master", OWNER="vdsm", GROUP="qemu", MODE="0600", '
    'GOTO="end"\n'
    'ENV{DM_LV_NAME}=="ids|leases|xleases", OWNER="vdsm", GROUP="sanlock", MODE="0660", '
    'GOTO="end"\n'
    'ENV{DM_LV_NAME}=="????????-????-????-????-????????????", '
    'RUN+="/bin/chown vdsm:qemu $env{DEVNAME}"\n'
    'LABEL="end"\n'
)


class ImageError(Exception):
    """str() says which step failed, with the end of what it said."""


def command(argv, timeout, **more):
    try:
        done = subprocess.run(argv, capture_output=True, timeout=timeout, **more)
    except subprocess.TimeoutExpired:
        raise ImageError('%s: no end after %d s' % (argv[0], timeout))
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors='replace').strip()
        raise ImageError('%s: status %d: %s' % (argv[0], done.returncode, said[-800:]))
    return done.stdout


def words(name):
    with open(os.path.join(PARTS, name)) as source:
        return [line.strip() for line in source if line.strip() and line[0] != '#']


def digest():
    """Of everything that the image is made by; new packages in Debian alone do not count."""
    found = hashlib.sha256()
    own = [__file__, SUDOERS, os.path.join(HERE, 'writer.py')]
    for path in own + sorted(os.path.join(PARTS, name) for name in os.listdir(PARTS)):
        with open(path, 'rb') as source:
            found.update(os.path.basename(path).encode() + b'\0' + source.read())
    return found.hexdigest()


# -- packages -------------------------------------------------------------


def download(archives):
    """-> paths of all packages, dependencies included."""
    os.makedirs(os.path.join(archives, 'partial'), exist_ok=True)
    argv = ['apt-get', '-q', '-y', '-o', 'Dir::State::status=/dev/null']
    argv += ['-o', 'APT::Install-Recommends=false', '-o', 'Debug::NoLocking=1']
    argv += ['-o', 'Dir::Cache::archives=' + archives, '-o', 'APT::Sandbox::User=root']
    argv += ['-o', 'Acquire::Retries=3', '-o', 'Dir::Cache::pkgcache=']
    argv += ['-o', 'APT::Keep-Downloaded-Packages=true', 'install']
    wanted = ESSENTIAL + words('packages')
    try:
        command(argv + ['--download-only'] + wanted, 600)
    except ImageError:
        # Lists that are older than the mirror name packages that are gone.
        command(['apt-get', '-q', '-o', 'DPkg::Lock::Timeout=300', 'update'], 300)
        command(argv + ['--download-only'] + wanted, 600)
    plan = command(argv + ['--print-uris', '--no-download', '--reinstall', '-s'] + wanted, 60)
    chosen = re.findall(r'^Inst (\S+) \((\S+) .*\[(\S+)\]\)', plan.decode(), re.M)
    found = []
    for name, version, arch in chosen:
        path = os.path.join(
            archives, '%s_%s_%s.deb' % (name.split(':')[0], version.replace(':', '%3a'), arch)
        )
        if not os.path.exists(path):
            raise ImageError('apt-get left no %s' % os.path.basename(path))
        found.append(path)
    return sorted(found)


def unpack(package, root):
    """The files of a package; usr-merge links of the root are followed."""
    left = ['--exclude=./usr/share/' + name for name in DROPPED]
    left.append('--exclude=./usr/lib/modules')
    with subprocess.Popen(
        ['dpkg-deb', '--fsys-tarfile', package], stdout=subprocess.PIPE
    ) as source:
        command(
            ['tar', '-C', root, '-x', '--keep-directory-symlink', '--no-same-owner'] + left,
            120,
            stdin=source.stdout,
        )
    if source.returncode:
        raise ImageError('dpkg-deb: %s' % package)


# -- the root -------------------------------------------------------------


def put(root, path, text, mode=0o644):
    path = os.path.join(root, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.islink(path):
        os.unlink(path)
    with open(path, 'w') as out:
        out.write(text)
    os.chmod(path, mode)


def part(name):
    with open(os.path.join(PARTS, name)) as source:
        return source.read()


def configure(root):
    """What maintainer scripts and vdsm would have done."""
    for path in (
        'proc sys dev run tmp var/tmp var/log root/.ssh home/backup/.ssh etc/iscsi '
        'var/lib/vdsm rhev/data-center/mnt/blockSD etc/lvm/devices var/lib/iscsi'
    ).split():
        os.makedirs(os.path.join(root, path), exist_ok=True)
    for name, more in (('passwd', PASSWD), ('group', GROUP)):
        known = {line.split(':')[0] for line in more.splitlines()}
        with open(os.path.join(root, 'usr/share/base-passwd/%s.master' % name)) as source:
            lines = [line for line in source if line.split(':')[0] not in known]
        put(root, 'etc/' + name, ''.join(lines).replace(':*:', ':x:') + more)
    with open(os.path.join(root, 'etc/passwd')) as source:
        users = [line.split(':')[0] for line in source]
    put(root, 'etc/shadow', ''.join('%s:*:19000:0:99999:7:::\n' % u for u in users), 0o600)
    put(root, 'etc/nsswitch.conf', 'passwd: files\ngroup: files\nshadow: files\nhosts: files\n')
    put(root, 'etc/hosts', '127.0.0.1 localhost\n')
    put(root, 'etc/ssh/sshd_config', SSHD)
    with open(SUDOERS) as source:
        put(root, 'etc/sudoers.d/chainlift', source.read(), 0o440)
    for kind in ('auth', 'account', 'password', 'session', 'session-noninteractive'):
        put(root, 'etc/pam.d/common-' + kind, '%s required pam_permit.so\n' % kind.split('-')[0])
    put(root, 'etc/multipath.conf', MULTIPATH)
    put(root, 'etc/lvm/lvmlocal.conf', LVMLOCAL)
    put(root, 'usr/lib/udev/rules.d/57-vdsm-lvm.rules', RULES)
    # Nothing is activated by an event, as on a host of vdsm.
    os.unlink(os.path.join(root, 'usr/lib/udev/rules.d/69-lvm.rules'))
    os.makedirs(os.path.join(root, 'usr/lib/lab/real'))
    os.rename(os.path.join(root, 'usr/sbin/lvm'), os.path.join(root, 'usr/lib/lab/real/lvm'))
    put(root, 'usr/sbin/lvm', part('lvm'), 0o755)
    put(root, 'usr/lib/lab/init', part('init'), 0o755)
    put(root, 'usr/lib/lab/agent.py', part('agent.py'), 0o755)
    with open(os.path.join(HERE, 'writer.py')) as source:
        put(root, 'usr/lib/lab/writer.py', source.read(), 0o755)
    for link, target in (
        ('usr/bin/awk', 'mawk'),
        ('etc/mtab', '/proc/mounts'),
        ('usr/bin/python3', 'python3.11'),
        ('usr/sbin/iptables', '/bin/false'),
    ):
        path = os.path.join(root, link)
        if not os.path.lexists(path):
            os.symlink(target, path)
    for path in ('var/lib/vdsm', 'rhev/data-center', 'rhev/data-center/mnt'):
        os.chown(os.path.join(root, path), 36, 36)
    command(['ldconfig', '-r', root], 60)


def modules(tree, root):
    """The kernel modules that a guest needs, of the unpacked kernel package `tree`; -> (version,
    {module: path in tree})."""
    (version,) = os.listdir(os.path.join(tree, 'lib/modules'))
    base = os.path.join(tree, 'lib/modules', version)
    paths, needs = {}, {}
    for folder, _, names in os.walk(base):
        for name in names:
            if name.endswith('.ko'):
                paths[name[:-3].replace('-', '_')] = os.path.join(folder, name)

    def depends(name):
        """From the .modinfo of the module itself: depmod of another machine may not be there."""
        if name not in needs:
            with open(paths[name], 'rb') as source:
                text = re.search(rb'\0depends=([^\0]*)\0', source.read())
            needs[name] = text.group(1).decode().replace('-', '_').split(',') if text else []
        return [n for n in needs[name] if n]

    wanted, queue = set(), [n.replace('-', '_') for n in words('modules')]
    while queue:
        name = queue.pop()
        if name in paths and name not in wanted:
            wanted.add(name)
            queue += depends(name)
    target = os.path.join(root, 'usr/lib/modules', version)
    for name in wanted:
        out = os.path.join(target, os.path.relpath(paths[name], base))
        os.makedirs(os.path.dirname(out), exist_ok=True)
        shutil.copy(paths[name], out)
    for name in ('modules.builtin', 'modules.builtin.modinfo', 'modules.order'):
        if os.path.exists(os.path.join(base, name)):
            shutil.copy(os.path.join(base, name), target)
    command(['chroot', root, '/usr/sbin/depmod', version], 60)
    return version, paths


def vmlinux(compressed, out):
    """The kernel inside of a bzImage, whatever packs it; lz4 is what the cloud kernel has."""
    with open(compressed, 'rb') as source:
        data = source.read()
    for magic, argv in (
        (b'\x02\x21\x4c\x18', ['lz4', '-d', '-c']),
        (b'\xfd7zXZ\0', ['xz', '-d', '-c', '--single-stream']),
        (b'\x28\xb5\x2f\xfd', ['zstd', '-d', '-c']),
    ):
        start = data.find(magic)
        while start >= 0:
            if shutil.which(argv[0]):
                done = subprocess.run(argv, input=data[start:], capture_output=True, timeout=60)
                if done.stdout[:4] == b'\x7fELF':
                    with open(out, 'wb') as target:
                        target.write(done.stdout)
                    return
            start = data.find(magic, start + 1)
    raise ImageError('no kernel found in %s (is lz4 installed?)' % compressed)


# -- images ---------------------------------------------------------------


def newc(tree):
    """A tree as a cpio archive of the form newc, the same bytes each time."""
    out = bytearray()
    entries = []
    for folder, dirs, names in os.walk(tree):
        dirs.sort()
        entries += [os.path.join(folder, name) for name in dirs + sorted(names)]
    for number, path in enumerate(sorted(entries) + [None]):
        name, mode, data = 'TRAILER!!!', 0, b''
        if path:
            name, mode = os.path.relpath(path, tree), os.lstat(path).st_mode
            if stat.S_ISREG(mode):
                with open(path, 'rb') as source:
                    data = source.read()
            elif stat.S_ISLNK(mode):
                data = os.readlink(path).encode()
        fields = (number + 1, mode, 0, 0, 1, EPOCH, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        out += b'070701' + b''.join(b'%08X' % field for field in fields) + name.encode() + b'\0'
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return bytes(out)


def make_initrd(root, paths, out):
    with tempfile.TemporaryDirectory() as tree:
        for name in 'bin proc sys dev lower upper new modules'.split():
            os.mkdir(os.path.join(tree, name), 0o755)
        shutil.copy(os.path.join(root, 'usr/bin/busybox'), os.path.join(tree, 'bin'))
        number = 0
        for name in INITRD_MODULES:
            path = paths.get(name.replace('-', '_'))
            if path:
                number += 1
                shutil.copy(path, os.path.join(tree, 'modules/%02d-%s.ko' % (number, name)))
        put(tree, 'init', part('initrd-init'), 0o755)
        with open(out, 'wb') as target:
            target.write(gzip.compress(newc(tree), 1, mtime=0))


def make_root(root, out):
    for folder, dirs, names in os.walk(root):
        for name in dirs + names:
            os.utime(os.path.join(folder, name), (EPOCH, EPOCH), follow_symlinks=False)
    os.utime(root, (EPOCH, EPOCH))
    command(
        ['mke2fs', '-q', '-t', 'ext4', '-O', '^has_journal,^metadata_csum', '-b', '4096']
        + ['-E', 'root_owner=0:0,hash_seed=11111111-1111-1111-1111-111111111111']
        + ['-U', '22222222-2222-2222-2222-222222222222', '-N', '30000']
        + ['-d', root, out, '%dM' % ROOT_MIB],
        300,
        env=dict(os.environ, E2FSPROGS_FAKE_TIME=str(EPOCH)),
    )


def build(directory):
    packages = download(os.path.join(directory, 'archives'))
    with tempfile.TemporaryDirectory(dir=directory) as work:
        root, tree = os.path.join(work, 'root'), os.path.join(work, 'kernel')
        os.makedirs(tree)
        for name in ('bin', 'sbin', 'lib', 'lib64'):
            os.makedirs(os.path.join(root, 'usr', name))
            os.symlink('usr/' + name, os.path.join(root, name))
        os.chmod(root, 0o755)
        for package in packages:
            name = os.path.basename(package)
            if re.match(r'linux-image-\d', name):
                command(['dpkg-deb', '-x', package, tree], 120)
            elif not name.startswith('linux-image'):
                unpack(package, root)
        configure(root)
        version, paths = modules(tree, root)
        vmlinux(os.path.join(tree, 'boot/vmlinuz-' + version), os.path.join(work, 'vmlinux'))
        make_initrd(root, paths, os.path.join(work, 'initrd.gz'))
        make_root(root, os.path.join(work, 'root.img'))
        for name in ('vmlinux', 'initrd.gz', 'root.img'):
            os.rename(os.path.join(work, name), os.path.join(directory, name))
    with open(os.path.join(directory, 'key'), 'w') as out:
        out.write(digest() + '\n')


def ensure(directory=None):
    """-> the directory of an image that is up to date."""
    directory = os.path.abspath(directory or os.path.join(TOP, 'build-guest'))
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, 'lock'), 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            with open(os.path.join(directory, 'key')) as source:
                known = source.read().strip()
        except FileNotFoundError:
            known = None
        if known != digest():
            for name in os.listdir(directory):
                if name == 'key' or name.endswith('.state') or name.startswith('tmp'):
                    path = os.path.join(directory, name)
                    shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
            build(directory)
    return directory


if __name__ == '__main__':
    try:
        print(ensure(*sys.argv[1:2]))
    except (ImageError, OSError) as error:
        print('guest image: %s' % error, file=sys.stderr)
        sys.exit(1)
