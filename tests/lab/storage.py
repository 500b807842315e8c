# SPDX-License-Identifier: Apache-2.0
"""Real file storage domains, laid out on disk the way vdsm lays them out.

Volumes are made and merged by qemu-img, or by the QEMU process of a running VM.  The metadata that
vdsm keeps beside a volume is written here.  Nothing here knows of REST; the engine calls it from
its threads.

All ids are the plain UUID strings that the REST API shows: SD storage domain, IMG disk id, VOL
volume id (REST image_id).  A Storage is safe to call from several threads.
"""

import collections
import hashlib
import json
import mmap
import os
import shutil
import subprocess
import tempfile
import threading
import time

import vms as running
from storageview import View
from volumes import BLANK, BLOCK, KVM_GID, QEMU_FORMATS, VDSM_UID, Domain, StorageError
from volumes import own, qemu_img, round_up, write_meta

DOM_MD = {
    'ids': 1 << 20,
    'inbox': 16 << 20,
    'outbox': 16 << 20,
    'leases': 2 << 20,
    'xleases': 1 << 20,
}


class Storage(View):
    """Storage(lab_dir, hosts): domains below LAB_DIR/storage, shown on every host of hosts
    (hosts.py).

    .domains  dict sd_id -> Domain
    .vms      vms.Vms: the running VMs (start, stop, is_running, host_of, migrate)
    """

    def __init__(self, lab_dir, hosts):
        self.lab_dir = lab_dir
        self.hosts = list(hosts)
        self.domains = {}
        self.guard = threading.Lock()
        self.image_locks = collections.defaultdict(threading.RLock)
        os.makedirs(os.path.join(lab_dir, 'storage'), exist_ok=True)
        self.direct = self._direct_io()
        self.vms = running.Vms(self)

    # -- what a block domain needs and a file domain does not -------------

    def connect(self, host_name):
        """A host is up again."""

    def expected(self):
        """-> {host name: sorted names of the mappings that the lab itself has there}."""
        return {}

    def unknown_images(self, known):
        """-> lines on LVs that belong to no disk of `known`."""
        return []

    def prepare(self, host_name, sd, img, vol):
        """The chain of VOL can be opened on the host."""

    def teardown(self, host_name, sd, img):
        """The host needs the disk no more."""

    def protocol(self, sd):
        """QEMU's driver for the volumes of a domain."""
        return 'file'

    def layer_file(self, sd, img, vol, scratch):
        """-> the volume's bytes as a file of this machine; scratch: a directory for copies."""
        return self.volume_path(sd, img, vol)

    def _make_room(self, vm, sd, img, base_vol, child_vol):
        """Before a merge."""

    # -- domains ----------------------------------------------------------

    def add_domain(self, sd_id, name, server, path, version=5, size=None):
        """Make an empty domain SD (dom_md, images) and show it on every host; -> Domain.

        size: bytes, gives it a file system of its own with that limit (only before the hosts
        start).
        """
        domain = Domain(self.lab_dir, sd_id, name, server, path, version)
        os.makedirs(domain.mount_dir)
        if size:
            if any(host.pid() for host in self.hosts if not hasattr(host, 'kind')):
                raise StorageError(
                    'domain %s: a size can only be given before the hosts start' % name
                )
            self._command(
                'mount', '-t', 'tmpfs', '-o', 'size=%d' % size, 'lab-domain', domain.mount_dir
            )
        for part in ('dom_md', 'images', 'master/vms', 'master/tasks'):
            os.makedirs(os.path.join(domain.dir, part))
        keys = {
            'VERSION': version,
            'SDUUID': sd_id,
            'TYPE': 'NFS',
            'CLASS': 'Data',
            'ROLE': 'Regular',
            'REMOTE_PATH': '%s:%s' % (server, path),
            'DESCRIPTION': name,
            'POOL_UUID': '',
        }
        if version >= 5:
            keys.update(ALIGNMENT=1048576, BLOCK_SIZE=512)
        text = ''.join('%s=%s\n' % (key, keys[key]) for key in sorted(keys))
        text += '_SHA_CKSUM=%s\n' % hashlib.sha1(text.encode()).hexdigest()
        with open(os.path.join(domain.dir, 'dom_md/metadata'), 'w') as out:
            out.write(text)
        for item, length in DOM_MD.items():
            if item != 'xleases' or version >= 4:
                with open(os.path.join(domain.dir, 'dom_md', item), 'wb') as out:
                    out.truncate(length)
        for base, dirs, files in os.walk(domain.mount_dir):
            os.chown(base, VDSM_UID, KVM_GID)
            os.chmod(base, 0o755)
            for item in files:
                own(os.path.join(base, item))
        self.domains[sd_id] = domain
        for host in self.hosts:
            if host.pid() and not hasattr(host, 'kind'):
                host.mount(domain.mount)
        return domain

    def image_dir(self, sd, img):
        return os.path.join(self._domain(sd).dir, 'images', img)

    def volume_path(self, sd, img, vol):
        return os.path.join(self.image_dir(sd, img), vol)

    def host_path(self, sd, img, vol):
        """The same volume as the hosts know it."""
        return os.path.join(self._domain(sd).host_dir, 'images', img, vol)

    # -- volumes ----------------------------------------------------------

    def create_volume(
        self,
        sd,
        img,
        vol,
        cap,
        fmt,
        sparse,
        parent=None,
        disktype='DATA',
        initial_size=None,
        description='',
    ):
        """Make volume VOL of disk IMG as vdsm does.  cap in bytes, rounded up to 4 KiB, also that
        of a child (-> the capacity that it got); fmt 'cow' or 'raw'; sparse bool.  With
        parent (a VOL of the same IMG directory) a qcow2 child; the parent becomes INTERNAL unless
        it is SHARED.  initial_size is refused where vdsm refuses it. description: text for
        DESCRIPTION= (the engine writes {"DiskAlias":..,"DiskDescription":..}).
        """
        fmt = fmt.lower()
        if fmt not in ('cow', 'raw'):
            raise StorageError('volume %s: unknown format %s' % (vol, fmt))
        if initial_size is not None and (fmt == 'cow' or sparse):
            raise StorageError(
                'volume %s: initial size is not allowed for a %s volume on a file domain'
                % (vol, 'cow' if fmt == 'cow' else 'sparse raw')
            )
        if parent and fmt != 'cow':
            raise StorageError('volume %s: a child is always cow' % vol)
        cap = round_up(cap)
        self._check_child(sd, img, vol, cap, parent)
        with self._image(sd, img):
            self._claim(sd, img, vol)
            directory = self.image_dir(sd, img)
            path = os.path.join(directory, vol)
            try:
                if parent:
                    parent_fmt = QEMU_FORMATS[self.volume_meta(sd, img, parent)['FORMAT']]
                    qemu_img(
                        'create',
                        '-q',
                        '-f',
                        'qcow2',
                        '-o',
                        'compat=' + self._compat(sd),
                        '-u',
                        '-b',
                        parent,
                        '-F',
                        parent_fmt,
                        vol,
                        str(cap),
                        cwd=directory,
                    )
                elif fmt == 'cow':
                    qemu_img(
                        'create',
                        '-q',
                        '-f',
                        'qcow2',
                        '-o',
                        'compat=' + self._compat(sd),
                        vol,
                        str(cap),
                        cwd=directory,
                    )
                else:
                    qemu_img('create', '-q', '-f', 'raw', vol, str(cap), cwd=directory)
                    if not sparse and cap > BLOCK:
                        with open(path, 'r+b') as volume:
                            os.posix_fallocate(volume.fileno(), BLOCK, cap - BLOCK)
                own(path)
                self._new_meta(sd, img, vol, cap, fmt, sparse, parent, disktype, description)
                if parent:
                    self._retire(sd, img, parent)
            except (OSError, StorageError) as error:
                self._unlink(sd, img, vol)
                raise StorageError('create volume %s: %s' % (vol, error))
        return cap

    def import_volume(self, sd, img, vol, source, cap, fmt, sparse, parent=None, description=''):
        """Like create_volume, but the image file `source` (qcow2 or raw as fmt says) becomes the
        volume; cap is taken as it is, also when it is odd (uploaded images)."""
        with self._image(sd, img):
            self._claim(sd, img, vol)
            path = self.volume_path(sd, img, vol)
            shutil.move(source, path)
            own(path)
            self._new_meta(sd, img, vol, cap, fmt, sparse, parent, 'DATA', description)

    def share_template(self, sd, tmpl_img, vol, img):
        """Hard-link the template's VOL, VOL.meta, VOL.lease into the directory of the dependent
        IMG."""
        with self._image(sd, tmpl_img), self._image(sd, img):
            self._directory(sd, img)
            if self.volume_meta(sd, tmpl_img, vol)['VOLTYPE'] != 'SHARED':
                self.set_meta(sd, tmpl_img, vol, VOLTYPE='SHARED')
            for end in ('', '.meta', '.lease'):
                target = self.volume_path(sd, img, vol) + end
                if not os.path.exists(target):
                    os.link(self.volume_path(sd, tmpl_img, vol) + end, target)

    def delete_image(self, sd, img):
        """Remove the disk's directory as vdsm does (renamed to _remove_me_IMG first)."""
        with self._image(sd, img):
            directory = self.image_dir(sd, img)
            doomed = os.path.join(os.path.dirname(directory), '_remove_me_' + img)
            try:
                os.rename(directory, doomed)
            except FileNotFoundError:
                raise StorageError('disk %s is not on domain %s' % (img, sd))
            shutil.rmtree(doomed)

    def move_image(self, sd, new_sd, img):
        """All volumes of a disk that is not in use to another domain, ids and all."""
        with self._image(sd, img):
            source, target = self.image_dir(sd, img), self.image_dir(new_sd, img)
            self._command('cp', '-a', '--sparse=always', source, target)
            for vol in self.volumes(new_sd, img):
                self.set_meta(new_sd, img, vol, DOMAIN=new_sd)
        self.delete_image(sd, img)

    def copy_chain(self, sd, img, vol, fmt, path):
        """What a chain that is not in use shows, as one image of that format."""
        with self._image(sd, img):
            own_format = QEMU_FORMATS[self.volume_meta(sd, img, vol)['FORMAT']]
            qemu_img(
                'convert', '-f', own_format, '-O', QEMU_FORMATS[fmt],
                self.volume_path(sd, img, vol), path,
            )

    # -- metadata ---------------------------------------------------------

    def set_meta(self, sd, img, vol, **keys):
        """Change keys of VOL.meta: VOL.meta.new is written, then renamed."""
        meta = self.volume_meta(sd, img, vol)
        meta.update((key, str(value)) for key, value in keys.items())
        write_meta(self.volume_path(sd, img, vol) + '.meta', meta)

    # -- snapshots --------------------------------------------------------

    def snapshot(self, vm, pairs, quiet_failure=False):
        """pairs = [(sd, img, old_vol, new_vol)].  Makes the children, flips the metadata; when VM
        (id) runs, one QMP transaction for all of its plugged disks.  Returns when QEMU writes into
        new_vol. quiet_failure: QEMU keeps writing into old_vol (the false success of events 170 /
        10774). When it fails nothing is left of the new volumes and StorageError is raised."""
        made = []
        try:
            for sd, img, old, new in pairs:
                meta = self.volume_meta(sd, img, old)
                if meta['VOLTYPE'] != 'LEAF':
                    raise StorageError('volume %s is %s, not the leaf' % (old, meta['VOLTYPE']))
                self.create_volume(
                    sd,
                    img,
                    new,
                    self.capacity(sd, img, old),
                    'cow',
                    True,
                    parent=old,
                    description=meta.get('DESCRIPTION', ''),
                )
                made.append((sd, img, old, new))
            if not quiet_failure and self.vms.is_running(vm):
                self.vms.switch(vm, pairs)
        except (StorageError, running.VmError) as error:
            for sd, img, old, new in made:
                self._unlink(sd, img, new)
                self.set_meta(sd, img, old, VOLTYPE='LEAF')
            raise StorageError('snapshot of VM %s: %s' % (vm, error))

    def oracle_save(self, vm_id, snap_id, img, sd, vol, cap):
        """Flatten the frozen chain that ends in VOL with qemu-img; -> path
        LAB/oracle/VM/SNAP/IMG.raw, whose size is what the guest has: cap, or more where vdsm has
        rounded it up."""
        directory = os.path.join(self.lab_dir, 'oracle', vm_id, snap_id)
        os.makedirs(directory, exist_ok=True)
        path = os.path.join(directory, img + '.raw')
        with tempfile.TemporaryDirectory(dir=directory) as scratch:
            node = None
            for name in reversed(self.chain(sd, img, vol)):
                fmt = QEMU_FORMATS[self.volume_meta(sd, img, name)['FORMAT']]
                file = self.layer_file(sd, img, name, scratch)
                above = {'driver': fmt, 'file': {'driver': 'file', 'filename': file}}
                if fmt == 'qcow2':
                    above['backing'] = node
                node = above
            qemu_img('convert', '-U', '-O', 'raw', 'json:' + json.dumps(node), path + '.new')
        size, found = os.stat(path + '.new').st_size, self.capacity(sd, img, vol)
        if size != found or size < cap:
            os.unlink(path + '.new')
            raise StorageError(
                'oracle of volume %s: %d bytes, its capacity is %d, the engine says %d'
                % (vol, size, found, cap)
            )
        os.rename(path + '.new', path)
        return path

    def merge(self, vm, sd, img, base_vol, child_vol):
        """Snapshot deletion: commit child_vol into base_vol, live when VM (id or None) runs, else
        by qemu-img commit. base_vol keeps its id; the grandchild's backing string and PUUID become
        base_vol; child_vol is removed; GEN + 1; the capacity grows to the child's; if the child was
        the leaf the base is LEAF.  A raw base stays RAW.
        """
        with self._image(sd, img):
            child = self.volume_meta(sd, img, child_vol)
            base = self.volume_meta(sd, img, base_vol)
            if child['PUUID'] != base_vol:
                raise StorageError(
                    'merge: the parent of %s is %s, not %s' % (child_vol, child['PUUID'], base_vol)
                )
            if base['VOLTYPE'] == 'SHARED':
                raise StorageError('merge: volume %s belongs to a template' % base_vol)
            above = self._child_of(sd, img, child_vol)
            if (child['VOLTYPE'] == 'LEAF') != (above is None):
                raise StorageError(
                    'merge: volume %s is %s but its child is %s'
                    % (child_vol, child['VOLTYPE'], above)
                )
            cap = max(self.capacity(sd, img, base_vol), self.capacity(sd, img, child_vol))
            try:
                self._make_room(vm, sd, img, base_vol, child_vol)
                if vm and self.vms.has_disk(vm, img):
                    self._merge_live(vm, sd, img, base_vol, child_vol, above)
                else:
                    self._merge_cold(sd, img, base_vol, child_vol, above)
            except running.VmError as error:
                raise StorageError('merge %s into %s: %s' % (child_vol, base_vol, error))
            if above:
                self.set_meta(sd, img, above, PUUID=base_vol)
            base_keys = {'LEGALITY': 'LEGAL', 'GEN': (int(base.get('GEN', 0)) + 1) % 1000}
            base_keys.update(self._cap_keys(sd, cap))
            if not above:
                base_keys['VOLTYPE'] = 'LEAF'
            self.set_meta(sd, img, base_vol, **base_keys)
            self._unlink(sd, img, child_vol)

    def _merge_live(self, vm, sd, img, base_vol, child_vol, above):
        if not above:
            self.set_meta(sd, img, child_vol, LEGALITY='ILLEGAL')
        try:
            self.vms.commit(vm, img, base_vol, child_vol, above is None)
        except running.VmError:
            self.set_meta(sd, img, child_vol, LEGALITY='LEGAL')
            raise

    def _merge_cold(self, sd, img, base_vol, child_vol, above):
        directory = self.image_dir(sd, img)
        fmt = QEMU_FORMATS[self.volume_meta(sd, img, base_vol)['FORMAT']]
        self.set_meta(sd, img, base_vol, LEGALITY='ILLEGAL')
        cache = 'none' if self.can_direct(sd, img, base_vol) else 'writeback'
        qemu_img(
            'commit',
            '-q',
            '-d',
            '-t',
            cache,
            '-f',
            'qcow2',
            '-b',
            base_vol,
            child_vol,
            cwd=directory,
        )
        if above:
            qemu_img(
                'rebase', '-q', '-u', '-f', 'qcow2', '-b', base_vol, '-F', fmt, above, cwd=directory
            )

    def resize(self, vm, sd, img, leaf_vol, cap):
        """Grow the leaf to cap bytes (rounded up to 4 KiB), live when VM runs; -> new capacity."""
        cap = round_up(cap)
        with self._image(sd, img):
            if cap < self.capacity(sd, img, leaf_vol):
                raise StorageError('volume %s can not shrink' % leaf_vol)
            try:
                if vm and self.vms.has_disk(vm, img):
                    self.vms.resize(vm, img, cap)
                else:
                    fmt = QEMU_FORMATS[self.volume_meta(sd, img, leaf_vol)['FORMAT']]
                    qemu_img(
                        'resize', '-q', '-f', fmt, leaf_vol, str(cap), cwd=self.image_dir(sd, img)
                    )
            except running.VmError as error:
                raise StorageError('resize %s: %s' % (leaf_vol, error))
            self.set_meta(sd, img, leaf_vol, **self._cap_keys(sd, cap))
        return cap

    # -- inner workings ---------------------------------------------------

    def _domain(self, sd):
        try:
            return self.domains[sd]
        except KeyError:
            raise StorageError('no storage domain %s' % sd)

    def _image(self, sd, img):
        """The lock of one disk, for `with`."""
        with self.guard:
            return self.image_locks[sd, img]

    def _compat(self, sd):
        return '1.1' if self._domain(sd).version >= 4 else '0.10'

    def _cap_keys(self, sd, cap):
        if self._domain(sd).version >= 5:
            return {'CAP': cap}
        return {'SIZE': cap // 512}

    def _directory(self, sd, img):
        directory = self.image_dir(sd, img)
        if not os.path.isdir(directory):
            os.makedirs(directory)
            os.chown(directory, VDSM_UID, KVM_GID)
            os.chmod(directory, 0o755)
        return directory

    def _check_child(self, sd, img, vol, cap, parent):
        if parent and cap < self.capacity(sd, img, parent):
            raise StorageError(
                'volume %s: capacity %d is less than that of its parent' % (vol, cap)
            )

    def _claim(self, sd, img, vol):
        """The volume's file, empty, must not have been there."""
        try:
            fd = os.open(
                os.path.join(self._directory(sd, img), vol),
                os.O_WRONLY | os.O_CREAT | os.O_EXCL,
                0o660,
            )
        except OSError as error:
            raise StorageError('create volume %s: %s' % (vol, error))
        os.close(fd)

    def _new_meta(self, sd, img, vol, cap, fmt, sparse, parent, disktype, description):
        path = self.volume_path(sd, img, vol)
        with open(path + '.lease', 'wb') as out:
            out.truncate(1 << 20)
        own(path + '.lease')
        write_meta(
            path + '.meta', self._first_meta(sd, img, cap, fmt, sparse, parent, disktype, description)
        )

    def _first_meta(self, sd, img, cap, fmt, sparse, parent, disktype, description):
        meta = {
            'CTIME': int(time.time()),
            'DESCRIPTION': description,
            'DISKTYPE': disktype,
            'DOMAIN': sd,
            'FORMAT': fmt.upper(),
            'GEN': 0,
            'IMAGE': img,
            'LEGALITY': 'LEGAL',
            'PUUID': parent or BLANK,
            'TYPE': 'SPARSE' if sparse else 'PREALLOCATED',
            'VOLTYPE': 'LEAF',
        }
        meta.update(self._cap_keys(sd, cap))
        if self._domain(sd).version >= 5:
            meta['SEQ'] = 1
        else:
            meta.update(MTIME=0, POOL_UUID='')
        return meta

    def _retire(self, sd, img, vol):
        if self.volume_meta(sd, img, vol)['VOLTYPE'] == 'LEAF':
            self.set_meta(sd, img, vol, VOLTYPE='INTERNAL')

    def _child_of(self, sd, img, vol):
        for other in self.volumes(sd, img):
            if self.volume_meta(sd, img, other)['PUUID'] == vol:
                return other
        return None

    def _unlink(self, sd, img, vol):
        for end in ('.meta', '', '.lease', '.meta.new'):
            try:
                os.unlink(self.volume_path(sd, img, vol) + end)
            except FileNotFoundError:
                pass

    @staticmethod
    def _command(*argv):
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
        if done.returncode:
            raise StorageError('%s: %s' % (argv[0], done.stderr.strip()))

    def can_direct(self, sd, img, vol):
        """Whether QEMU can write the volume with O_DIRECT: no raw image that ends within a block."""
        meta = self.volume_meta(sd, img, vol)
        size = os.path.getsize(self.volume_path(sd, img, vol))
        return self.direct and (meta['FORMAT'] != 'RAW' or size % BLOCK == 0)

    def _direct_io(self):
        """Whether files below storage can be opened O_DIRECT (tmpfs: since Linux 6.6)."""
        path = os.path.join(self.lab_dir, 'storage', '.direct')
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT, 0o600)
        except OSError:
            return False
        else:
            try:
                with mmap.mmap(-1, BLOCK) as page:
                    return os.pwritev(fd, [page], 0) == BLOCK
            except OSError:
                return False
            finally:
                os.close(fd)
        finally:
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass
