# SPDX-License-Identifier: Apache-2.0
"""Names, ownership and metadata of volumes on a file domain, as vdsm has them; and qemu-img."""

import os
import re
import subprocess

BLANK = '00000000-0000-0000-0000-000000000000'
BLOCK = 4096
VDSM_UID = KVM_GID = 36
QEMU_FORMATS = {'cow': 'qcow2', 'raw': 'raw', 'COW': 'qcow2', 'RAW': 'raw'}
META_MAX = 512
DESCRIPTION_MAX = 210
QEMU_IMG_TIMEOUT = 120


class StorageError(Exception):
    """A storage action failed; str() is one line that says what and why."""


def escape(server, path):
    """The directory below /rhev/data-center/mnt of a mount, by vdsm's rule."""
    path = re.sub('/+', '/', path)
    if len(path) > 1:
        path = path.rstrip('/')
    return (server + ':' + path).replace('_', '__').replace('/', '_')


def round_up(size, unit=BLOCK):
    return (size + unit - 1) // unit * unit


def qemu_img(*args, cwd=None, timeout=QEMU_IMG_TIMEOUT):
    """Run qemu-img; -> its output.  A failure raises StorageError."""
    try:
        done = subprocess.run(
            ['qemu-img', *args],
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise StorageError('qemu-img %s: no end after %d s' % (args[0], timeout))
    if done.returncode:
        raise StorageError('qemu-img %s: %s' % (args[0], ' '.join(done.stderr.split())))
    return done.stdout


class Domain:
    """One storage domain: sd_id, name, server, path, version, mount (escaped name), dir (.../SD in
    the lab).

    On every host it is /rhev/data-center/mnt/<mount>/<sd_id>.
    """

    def __init__(self, lab_dir, sd_id, name, server, path, version):
        self.sd_id = sd_id
        self.name = name
        self.server = server
        self.path = path
        self.version = version
        self.mount = escape(server, path)
        self.mount_dir = os.path.join(lab_dir, 'storage', self.mount)
        self.dir = os.path.join(self.mount_dir, sd_id)
        self.host_dir = os.path.join('/rhev/data-center/mnt', self.mount, sd_id)


def own(path):
    """Owner and mode of every file of a domain."""
    os.chown(path, VDSM_UID, KVM_GID)
    os.chmod(path, 0o660)


def read_meta(path):
    """A .meta file as a dict; all values are text."""
    try:
        with open(path, encoding='utf-8') as source:
            return parse_meta(source.read())
    except OSError as error:
        raise StorageError('metadata: %s' % error)


def parse_meta(text):
    keys = {}
    for line in text.splitlines():
        if line.startswith('EOF'):
            break
        key, equals, value = line.partition('=')
        if equals:
            keys[key] = value
    return keys


def meta_text(name, meta):
    """-> the bytes of a volume's metadata."""
    description = (
        str(meta.get('DESCRIPTION', '')).encode()[:DESCRIPTION_MAX].decode(errors='ignore')
    )
    meta = dict(meta, DESCRIPTION=description.replace('\n', ' '))
    text = (''.join('%s=%s\n' % (key, meta[key]) for key in sorted(meta)) + 'EOF\n').encode()
    if len(text) > META_MAX:
        raise StorageError('%s: metadata of %d bytes' % (name, len(text)))
    return text


def write_meta(path, meta):
    """Write a .meta file as vdsm does: a new file, then rename, so that the inode changes."""
    text = meta_text(path, meta)
    if os.path.exists(path) and os.stat(path).st_nlink > 1:
        raise StorageError('%s: the metadata of a template in use can not change' % path)
    with open(path + '.new', 'wb') as out:
        out.write(text)
    own(path + '.new')
    os.rename(path + '.new', path)
