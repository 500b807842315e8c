# SPDX-License-Identifier: Apache-2.0
"""What the root of a host of the lab holds beyond the machine's: users, sshd, sudo, init."""

import os

KEY_TYPES = ('ed25519', 'ecdsa', 'rsa')
RUN_SIZE = '32m'

PASSWD = """\
root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
vdsm:x:36:36:Node Virtualization Manager:/var/lib/vdsm:/usr/sbin/nologin
sshd:x:74:65534::/run/sshd:/usr/sbin/nologin
qemu:x:107:107:qemu user:/:/usr/sbin/nologin
sanlock:x:179:179:sanlock:/run/sanlock:/usr/sbin/nologin
backup:x:1000:1000:Backup operator:/home/backup:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""

GROUP = """\
root:x:0:
daemon:x:1:
tty:x:5:
disk:x:6:
sudo:x:27:
kvm:x:36:qemu,sanlock
shadow:x:42:
qemu:x:107:vdsm
sanlock:x:179:vdsm
backup:x:1000:
nogroup:x:65534:
"""

SSHD_CONFIG = """\
Port %d
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
PidFile none
Subsystem sftp /usr/lib/openssh/sftp-server
"""

# First stage: in the new namespaces, still on the machine's root.
STAGE1 = r"""
set -eu
lab=$1 name=$2 base=$lab/hosts/$2
mount --make-rprivate /
mount -t overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" overlay "$base/root"
cd "$base/root"
mount -t proc -o nosuid,nodev,noexec proc proc
mount --bind "$base/boot_id" proc/sys/kernel/random/boot_id
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
mount -t tmpfs -o mode=755,size=1m tmpfs dev
for node in null:3 zero:5 full:7 random:8 urandom:9; do
  mknod -m 666 "dev/${node%:*}" c 1 "${node#*:}"
done
mknod -m 666 dev/tty c 5 0
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr
ln -s pts/ptmx dev/ptmx
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts dev/pts
mount -t tmpfs -o nosuid,nodev,mode=1777,size=64m tmpfs dev/shm
mount -t tmpfs -o nosuid,nodev,mode=755,size=RUN_SIZE tmpfs run
mount -t tmpfs -o nosuid,nodev,mode=1777,size=64m tmpfs tmp
mount --bind "$base/homes/root" root
mount --bind "$base/homes/home" home
mount --bind "$base/vartmp" var/tmp
mkdir -p srv/nas rhev/data-center/mnt var/lib/vdsm .old
chmod 700 srv/nas
mount --rbind "$lab/storage" srv/nas
for domain in srv/nas/*; do
  [ -d "$domain" ] || continue
  mkdir -p "rhev/data-center/mnt/${domain#srv/nas/}"
  mount --bind "$domain" "rhev/data-center/mnt/${domain#srv/nas/}"
done
chown 36:36 rhev/data-center rhev/data-center/mnt var/lib/vdsm
pivot_root . .old
cd /
umount -l /.old
rmdir /.old
exec /bin/bash /usr/lib/lab/init "$name"
""".replace(
    'RUN_SIZE', RUN_SIZE
)

# Second stage: process 1 of the host.  bash reaps whatever is left to it; it sleeps on a pipe,
# without a child.
STAGE2 = r"""
hostname "$1"
ip link set lo up
mkdir -p -m 755 /run/sshd /run/vdsm/storage /run/libvirt/qemu
chown 107:107 /run/libvirt/qemu
chown 36:36 /run/vdsm /run/vdsm/storage
/usr/sbin/sshd -D -e -f /etc/ssh/sshd_config &
echo $! >/run/sshd.pid
exec 0< <(:) 1>/dev/null
mkfifo /run/.init
exec 3<>/run/.init
rm /run/.init
while :; do read -r -u 3 _; done
"""

# Run inside by Host.fill.
FILL = r"""
import errno, os, sys
directory, leave = sys.argv[1], int(sys.argv[2])
state = os.statvfs(directory)
fd = os.open(os.path.join(directory, '.lab-fill'), os.O_WRONLY | os.O_CREAT, 0o600)
left = state.f_bavail * state.f_frsize - leave
try:
    while left > 0:
        left -= os.write(fd, bytes(min(left, 1 << 20)))
except OSError as error:
    if error.errno != errno.ENOSPC:
        raise
"""


def write(host):
    """Write what a new host has in its own part of the root, and its homes."""
    here = os.path.dirname(os.path.abspath(__file__))
    shadow = ''.join(
        '%s:*:19000:0:99999:7:::\n' % line.split(':')[0] for line in PASSWD.splitlines()
    )
    with open(os.path.join(here, 'writer.py')) as source:
        writer = source.read()
    # What a host lets the user `backup` do is what we tell administrators.
    with open(os.path.join(here, '../../conf/sudoers.example')) as source:
        sudoers = source.read()
    texts = {
        'etc/passwd': (0o644, PASSWD),
        'etc/group': (0o644, GROUP),
        'etc/shadow': (0o640, shadow),
        'etc/gshadow': (0o640, ''),
        'etc/hostname': (0o644, host.name + '\n'),
        'etc/hosts': (0o644, '127.0.0.1 localhost\n%s %s\n' % (host.address, host.name)),
        'etc/resolv.conf': (0o644, ''),
        'etc/nsswitch.conf': (0o644, 'passwd: files\ngroup: files\nshadow: files\nhosts: files\n'),
        'etc/ssh/sshd_config': (0o644, SSHD_CONFIG % host.ssh_port),
        'etc/sudoers.d/chainlift': (0o440, sudoers),
        'usr/lib/lab/init': (0o755, STAGE2),
        'usr/lib/lab/writer.py': (0o755, writer),
    }
    for path, (mode, text) in texts.items():
        path = os.path.join(host.dir, 'upper', path)
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        with open(path, 'w') as out:
            out.write(text)
        os.chmod(path, mode)
    authorized = ''
    for kind in KEY_TYPES:
        with open(os.path.join(host.lab_dir, 'keys', 'id_%s.pub' % kind)) as pub:
            authorized += pub.read()
    for user, uid in (('root', 0), ('home/backup', 1000)):
        home = os.path.join(host.dir, 'homes', user)
        path = os.path.join(home, '.ssh/authorized_keys')
        with open(path, 'w') as out:
            out.write(authorized)
        for item, mode in ((home, 0o700), (os.path.dirname(path), 0o700), (path, 0o600)):
            os.chown(item, uid, uid)
            os.chmod(item, mode)
