# SPDX-License-Identifier: Apache-2.0
"""Storage with block domains beside the file domains: what is done otherwise for those.

A volume is an LV of a blockgroup.Group: made, extended and removed by LVM on the SPM, filled from
here, prepared and torn down on the hosts that need it.
"""

import hashlib
import json
import os
import tempfile

import vms as running
from blockgroup import EXTENT, SPECIAL, mapped
from hosts import HostError
from storage import Storage
from volumes import BLANK, QEMU_FORMATS, StorageError, qemu_img, round_up

CHUNK = 2560 << 20


class AllStorage(Storage):
    """.groups  dict sd_id -> blockgroup.Group, which stand in .domains too"""

    def __init__(self, lab_dir, hosts):
        super().__init__(lab_dir, hosts)
        self.groups = {}

    def add_group(self, group):
        self.groups[group.sd_id] = self.domains[group.sd_id] = group

    def host(self, name):
        return next(host for host in self.hosts if host.name == name)

    # -- hosts ------------------------------------------------------------

    def connect(self, host_name):
        """A host is up again: it has its domains."""
        for group in self.groups.values():
            host = self.host(host_name)
            if host in group.hosts:
                group.connect(host)

    def protocol(self, sd):
        return 'host_device' if sd in self.groups else super().protocol(sd)

    def prepare(self, host_name, sd, img, vol):
        if sd in self.groups:
            self.groups[sd].prepare(self.host(host_name), img, self.chain(sd, img, vol))

    def teardown(self, host_name, sd, img):
        """Not while a VM on that host has the disk; the base of a template stays active."""
        if sd not in self.groups:
            return
        for vm in list(self.vms.table.values()):
            if vm.host.name == host_name and img in vm.disks and vm.alive():
                return
        try:
            self.groups[sd].teardown(self.host(host_name), img, self.volumes(sd, img))
        except HostError as error:
            raise StorageError(str(error))

    def expected(self):
        """-> {host name: sorted names of the mappings that the lab itself has there}."""
        found = {}
        for sd, group in self.groups.items():
            for host, names in group.active.items():
                found.setdefault(host, []).extend(mapped(sd, name) for name in names)
        return {host: sorted(names) for host, names in found.items()}

    def unknown_images(self, known):
        """-> lines on LVs that belong to no disk of `known`."""
        lines = []
        for group in self.groups.values():
            group.change('')
            for name, lv in group.lvs.items():
                if name not in SPECIAL and lv.image() not in known:
                    lines.append('%s: LV %s of image %s' % (group.name, name, lv.image()))
        return lines

    # -- volumes ----------------------------------------------------------

    def host_path(self, sd, img, vol):
        if sd not in self.groups:
            return super().host_path(sd, img, vol)
        return '/rhev/data-center/mnt/blockSD/%s/images/%s/%s' % (sd, img, vol)

    def volume_path(self, sd, img, vol):
        if sd in self.groups:
            raise StorageError('volume %s is an LV: it has no path here' % vol)
        return super().volume_path(sd, img, vol)

    def volume_meta(self, sd, img, vol):
        if sd not in self.groups:
            return super().volume_meta(sd, img, vol)
        return self.groups[sd].read_meta(vol)

    def set_meta(self, sd, img, vol, **keys):
        if sd not in self.groups:
            return super().set_meta(sd, img, vol, **keys)
        with self._image(sd, img):
            meta = self.volume_meta(sd, img, vol)
            meta.update((key, str(value)) for key, value in keys.items())
            self.groups[sd].write_meta(vol, meta)

    def volumes(self, sd, img):
        if sd not in self.groups:
            return super().volumes(sd, img)
        found = self.groups[sd].images().get(img)
        if not found:
            raise StorageError('disk %s is not on domain %s' % (img, sd))
        return sorted(found)

    def actual_size(self, sd, img, vol):
        if sd not in self.groups:
            return super().actual_size(sd, img, vol)
        try:
            return self.groups[sd].lvs[vol].size
        except KeyError:
            raise StorageError('volume %s is gone' % vol)

    def can_direct(self, sd, img, vol):
        return True if sd in self.groups else super().can_direct(sd, img, vol)

    def layer_file(self, sd, img, vol, scratch):
        if sd not in self.groups:
            return super().layer_file(sd, img, vol, scratch)
        path = os.path.join(scratch, vol)
        raw = self.volume_meta(sd, img, vol)['FORMAT'] == 'RAW'
        self.groups[sd].copy_out(vol, path, self.capacity(sd, img, vol) if raw else None)
        return path

    def create_volume(self, sd, img, vol, cap, fmt, sparse, parent=None, disktype='DATA',
                      initial_size=None, description=''):
        """host-layout: raw takes the whole extents; cow what initial_size says, with a tenth more,
        else a chunk."""
        if sd not in self.groups:
            return super().create_volume(sd, img, vol, cap, fmt, sparse, parent, disktype,
                                         initial_size, description)
        fmt = fmt.lower()
        if fmt not in ('cow', 'raw') or (parent and fmt != 'cow'):
            raise StorageError('volume %s: format %s' % (vol, fmt))
        if fmt == 'raw' and (sparse or initial_size is not None):
            raise StorageError('volume %s: raw volumes of a block domain are preallocated, without '
                               'an initial size' % vol)
        cap = round_up(cap)
        self._check_child(sd, img, vol, cap, parent)
        if fmt == 'raw':
            cap = size = round_up(cap, EXTENT)
        else:
            size = self._cow_size(vol, cap, sparse, initial_size)
        with self._image(sd, img):
            self._new_lv(sd, img, vol, size, cap, fmt, sparse, parent, disktype, description)
            if fmt == 'cow':
                self._new_qcow2(sd, img, vol, cap, parent)
            if parent:
                self._retire(sd, img, parent)
        return cap

    @staticmethod
    def _cow_size(vol, cap, sparse, initial_size):
        most = round_up(cap * 11 // 10, EXTENT)
        if not sparse:
            return round_up(cap, EXTENT)
        if initial_size is None:
            return round_up(min(CHUNK, cap), EXTENT)
        if initial_size > most:
            raise StorageError('volume %s: initial size %d is over %d' % (vol, initial_size, most))
        return round_up(round_up(initial_size * 11 // 10, 1 << 20), EXTENT)

    def _new_lv(self, sd, img, vol, size, cap, fmt, sparse, parent, disktype, description):
        group = self.groups[sd]
        if vol in group.lvs:
            raise StorageError('create volume %s: it is there' % vol)
        group.create(vol, size, img, parent or BLANK)
        group.write_meta(
            vol, self._first_meta(sd, img, cap, fmt, sparse, parent, disktype, description)
        )

    def _new_qcow2(self, sd, img, vol, cap, parent):
        more = []
        if parent:
            fmt = QEMU_FORMATS[self.volume_meta(sd, img, parent)['FORMAT']]
            more = ['-u', '-b', parent, '-F', fmt]
        with tempfile.TemporaryDirectory(dir=self.lab_dir) as scratch:
            qemu_img('create', '-q', '-f', 'qcow2', '-o', 'compat=' + self._compat(sd), *more, vol,
                     str(cap), cwd=scratch)
            self.groups[sd].copy_in(vol, os.path.join(scratch, vol))

    def import_volume(self, sd, img, vol, source, cap, fmt, sparse, parent=None, description=''):
        if sd not in self.groups:
            return super().import_volume(sd, img, vol, source, cap, fmt, sparse, parent,
                                         description)
        with self._image(sd, img):
            length = os.path.getsize(source)
            size = cap if fmt == 'raw' else max(length * 11 // 10, 1)
            self._new_lv(sd, img, vol, round_up(size, EXTENT), cap, fmt, sparse, parent, 'DATA',
                         description)
            self.groups[sd].copy_in(vol, source, holes=fmt != 'raw')
            os.unlink(source)

    def share_template(self, sd, tmpl_img, vol, img):
        """Nothing is linked on a block domain: the child's parent is in the other image."""
        if sd not in self.groups:
            return super().share_template(sd, tmpl_img, vol, img)
        if self.volume_meta(sd, tmpl_img, vol)['VOLTYPE'] != 'SHARED':
            self.set_meta(sd, tmpl_img, vol, VOLTYPE='SHARED')

    def delete_image(self, sd, img):
        if sd not in self.groups:
            return super().delete_image(sd, img)
        with self._image(sd, img):
            self.groups[sd].remove(img, self.volumes(sd, img))

    def _unlink(self, sd, img, vol):
        """A volume that a VM on another host has had is torn down there first."""
        if sd not in self.groups:
            return super()._unlink(sd, img, vol)
        group = self.groups[sd]
        for host in group.hosts:
            if vol in group.active[host.name]:
                group.teardown(host, img, [vol], whole=False)
        group.remove(img, [vol])

    # -- merge and growth -------------------------------------------------

    def _vm_host(self, vm, img):
        """-> the host where a running VM has the disk open, or None."""
        if vm and self.vms.has_disk(vm, img):
            return self.vms.table[vm].host
        return None

    def _make_room(self, vm, sd, img, base_vol, child_vol):
        """The base takes what both hold: the SPM extends it, the VM's host refreshes."""
        if sd not in self.groups:
            return
        group = self.groups[sd]
        cap = self.capacity(sd, img, child_vol)
        raw = self.volume_meta(sd, img, base_vol)['FORMAT'] == 'RAW'
        both = group.lvs[base_vol].size + group.lvs[child_vol].size
        most = round_up(cap, EXTENT) if raw else round_up(cap * 11 // 10, EXTENT)
        size = most if raw else min(both, most)
        if size > group.lvs[base_vol].size:
            group.extend(base_vol, size)
            host = self._vm_host(vm, img)
            if host:
                group.refresh(host, base_vol)

    def _merge_cold(self, sd, img, base_vol, child_vol, above):
        if sd not in self.groups:
            return super()._merge_cold(sd, img, base_vol, child_vol, above)
        group = self.groups[sd]
        spm = group.spm
        fmt = QEMU_FORMATS[self.volume_meta(sd, img, base_vol)['FORMAT']]
        self.set_meta(sd, img, base_vol, LEGALITY='ILLEGAL')
        group.prepare(spm, img, self.chain(sd, img, above or child_vol))
        try:
            group.script(
                spm,
                'cd /rhev/data-center/mnt/blockSD/$SD/images/$1\n'
                'qemu-img commit -q -d -t none -f qcow2 -b $2 $3\n'
                '[ -z "$4" ] || qemu-img rebase -q -u -f qcow2 -b $2 -F $5 $4\n',
                img, base_vol, child_vol, above or '', fmt)
        finally:
            group.teardown(spm, img, self.volumes(sd, img))
        if above:
            group.retag(above, 'PU_' + child_vol, 'PU_' + base_vol)

    def resize(self, vm, sd, img, leaf_vol, cap):
        if sd not in self.groups:
            return super().resize(vm, sd, img, leaf_vol, cap)
        group = self.groups[sd]
        with self._image(sd, img):
            raw = self.volume_meta(sd, img, leaf_vol)['FORMAT'] == 'RAW'
            cap = round_up(cap, EXTENT if raw else 4096)
            host = self._vm_host(vm, img)
            if raw:
                group.extend(leaf_vol, cap)
                if host:
                    group.refresh(host, leaf_vol)
            try:
                if host:
                    self.vms.resize(vm, img, cap)
                elif not raw:
                    self._resize_cold(group, img, leaf_vol, cap)
            except running.VmError as error:
                raise StorageError('resize %s: %s' % (leaf_vol, error))
            self.set_meta(sd, img, leaf_vol, **self._cap_keys(sd, cap))
        return cap

    def _resize_cold(self, group, img, vol, cap):
        spm = group.spm
        group.prepare(spm, img, self.chain(group.sd_id, img, vol))
        try:
            group.script(spm, 'cd /rhev/data-center/mnt/blockSD/$SD/images/$1\n'
                         'qemu-img resize -q -f qcow2 $2 $3\n', img, vol, str(cap))
        finally:
            group.teardown(spm, img, self.volumes(group.sd_id, img))

    # -- questions --------------------------------------------------------

    def chain_fingerprint(self, sd, img):
        if sd not in self.groups:
            return super().chain_fingerprint(sd, img)
        group = self.groups[sd]
        leaf = self.leaf(sd, img)
        text = ''
        for vol in self.chain(sd, img, leaf) if leaf else self.volumes(sd, img):
            meta = self.volume_meta(sd, img, vol)
            if vol == leaf:
                text += 'leaf %s %s parent %s\n' % (vol, meta['FORMAT'], meta['PUUID'])
                continue
            digest = hashlib.sha256()
            for offset, part in group.data(vol):
                if part.count(0) != len(part):
                    digest.update(b'%d ' % offset + part)
            lv = group.lvs[vol]
            text += 'volume %s %d bytes data %s uuid %s parts %s tags %s\n' % (
                vol, lv.size, digest.hexdigest(), lv.uuid, json.dumps(lv.parts),
                ' '.join(sorted(lv.tags)))
            text += ''.join('  %s=%s\n' % item for item in sorted(meta.items()))
        return text

    def settle(self):
        """Everything is torn down on all hosts: before the state of the guests is saved."""
        for group in self.groups.values():
            for host in group.hosts:
                for img, vols in group.images().items():
                    if set(vols) & group.active[host.name]:
                        group.teardown(host, img, vols)
