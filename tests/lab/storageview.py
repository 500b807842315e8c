# SPDX-License-Identifier: Apache-2.0
"""What can be asked about volumes; storage.Storage has it all.  Nothing here changes anything."""

import hashlib
import json
import os
import tempfile

from volumes import BLANK, QEMU_FORMATS, StorageError, qemu_img, read_meta


class View:
    def volume_meta(self, sd, img, vol):
        """-> dict of the keys of VOL.meta, all values str (CAP, CTIME, DESCRIPTION, DISKTYPE,
        DOMAIN, FORMAT, GEN, IMAGE, LEGALITY, PUUID, SEQ, TYPE, VOLTYPE; domains before version 5:
        SIZE in 512-byte units, no CAP).
        """
        return read_meta(self.volume_path(sd, img, vol) + '.meta')

    def capacity(self, sd, img, vol):
        """-> bytes, from CAP or SIZE."""
        meta = self.volume_meta(sd, img, vol)
        return int(meta['CAP']) if 'CAP' in meta else int(meta['SIZE']) * 512

    # -- questions --------------------------------------------------------

    def verify_untrusted(self, sd, img, vol):
        """-> None, or a text why vdsm would refuse the volume after an upload (format, virtual size
        <= CAP, backing file name == PUUID, qcow2 version allowed on the domain)."""
        with tempfile.TemporaryDirectory(dir=self.lab_dir) as scratch:
            return self._refusal(sd, img, vol, self.layer_file(sd, img, vol, scratch))

    def _refusal(self, sd, img, vol, path):
        meta = self.volume_meta(sd, img, vol)
        cap = self.capacity(sd, img, vol)
        with open(path, 'rb') as volume:
            found = 'qcow2' if volume.read(4) == b'QFI\xfb' else 'raw'
        want = QEMU_FORMATS[meta['FORMAT']]
        if found != want:
            return 'volume format is %s, expected %s' % (found, want)
        if found == 'raw':
            size = os.stat(path).st_size
            return 'size %d is larger than the capacity %d' % (size, cap) if size > cap else None
        try:
            info = json.loads(qemu_img('info', '-U', '-f', 'qcow2', '--output=json', path))
        except StorageError as error:
            return str(error)
        if info['virtual-size'] > cap:
            return 'virtual size %d is larger than the capacity %d' % (info['virtual-size'], cap)
        backing = info.get('backing-filename')
        parent = None if meta['PUUID'] == BLANK else meta['PUUID']
        if backing != parent:
            return 'backing file is %s, expected %s' % (backing, parent)
        data = info.get('format-specific', {}).get('data', {})
        if data.get('compat') != '0.10' and self._compat(sd) == '0.10':
            return 'qcow2 version %s is not allowed on this domain' % data.get('compat')
        if data.get('data-file') or info.get('encrypted'):
            return 'external data file or encryption is not allowed'
        return None

    def chain(self, sd, img, vol):
        """-> [vol, parent, ...], top first, by PUUID; ends with the template's volume for a thin
        disk."""
        found = []
        while vol != BLANK:
            if vol in found:
                raise StorageError('disk %s: the chain is a ring at %s' % (img, vol))
            found.append(vol)
            vol = self.volume_meta(sd, img, vol)['PUUID']
        return found

    def volumes(self, sd, img):
        """-> names of all volumes in the disk's directory."""
        try:
            return sorted(
                item[:-5] for item in os.listdir(self.image_dir(sd, img)) if item.endswith('.meta')
            )
        except OSError as error:
            raise StorageError('disk %s: %s' % (img, error))

    def leaf(self, sd, img):
        """-> the VOL whose VOLTYPE is LEAF, or None."""
        for vol in self.volumes(sd, img):
            if self.volume_meta(sd, img, vol)['VOLTYPE'] == 'LEAF':
                return vol
        return None

    def actual_size(self, sd, img, vol):
        """-> bytes allocated."""
        try:
            return os.stat(self.volume_path(sd, img, vol)).st_blocks * 512
        except OSError as error:
            raise StorageError('volume %s: %s' % (vol, error))

    def chain_fingerprint(self, sd, img):
        """-> text: leaf name and format; name, size, SHA-256 and metadata of every volume below it,
        base last."""
        leaf = self.leaf(sd, img)
        names = self.chain(sd, img, leaf) if leaf else self.volumes(sd, img)
        text = ''
        for vol in names:
            meta = self.volume_meta(sd, img, vol)
            if vol == leaf:
                text += 'leaf %s %s parent %s\n' % (vol, meta['FORMAT'], meta['PUUID'])
                continue
            digest = hashlib.sha256()
            path = self.volume_path(sd, img, vol)
            with open(path, 'rb') as volume:
                while part := volume.read(1 << 20):
                    digest.update(part)
            state = os.stat(path)
            text += 'volume %s %d bytes sha256 %s mode %o owner %d:%d links %d\n' % (
                vol,
                state.st_size,
                digest.hexdigest(),
                state.st_mode & 0o7777,
                state.st_uid,
                state.st_gid,
                state.st_nlink,
            )
            text += ''.join('  %s=%s\n' % item for item in sorted(meta.items()))
        known = {vol + end for vol in names for end in ('', '.meta', '.lease')}
        for item in sorted(os.listdir(self.image_dir(sd, img))):
            if item not in known:
                text += 'other %s\n' % item
        return text
