# SPDX-License-Identifier: Apache-2.0
"""Real file storage domains, laid out on disk the way vdsm lays them out.

Volumes are made and merged by qemu-img, or by the QEMU process of a running VM.  The metadata that vdsm
keeps beside a volume is written here.  Nothing here knows of REST; the engine calls it from its threads.

All ids are the plain UUID strings that the REST API shows: SD storage domain, IMG disk id, VOL volume id
(REST image_id).  A Storage is safe to call from several threads.
"""

BLANK = '00000000-0000-0000-0000-000000000000'


class StorageError(Exception):
    """A storage action failed; str() is one line that says what and why."""


class Domain:
    """One storage domain: sd_id, name, server, path, version, mount (escaped name), dir (.../SD in the lab).

    On every host it is /rhev/data-center/mnt/<mount>/<sd_id>.
    """


class Storage:
    """Storage(lab_dir, hosts): domains below LAB_DIR/storage, shown on every host of hosts (hosts.py).

    .domains  dict sd_id -> Domain
    .vms      vms.Vms: the running VMs (start, stop, is_running, host_of, migrate)
    """

    def __init__(self, lab_dir, hosts):
        raise NotImplementedError

    def add_domain(self, sd_id, name, server, path, version=5, size=None):
        """Make an empty domain SD (dom_md, images) and show it on every host; -> Domain.

        size: bytes, gives it a file system of its own with that limit (only before the hosts start).
        """

    def create_volume(self, sd, img, vol, cap, fmt, sparse, parent=None, disktype='DATA', initial_size=None,
                      description=''):
        """Make volume VOL of disk IMG as vdsm does.  cap in bytes, rounded up to 4 KiB (-> the capacity
        that it got); fmt 'cow' or 'raw'; sparse bool.  With parent (a VOL of the same IMG directory) a qcow2 child;
        the parent becomes INTERNAL unless it is SHARED.  initial_size is refused where vdsm refuses it.
        description: text for DESCRIPTION= (the engine writes {"DiskAlias":..,"DiskDescription":..})."""

    def import_volume(self, sd, img, vol, source, cap, fmt, sparse, parent=None, description=''):
        """Like create_volume, but the image file `source` (qcow2 or raw as fmt says) becomes the
        volume; cap is taken as it is, also when it is odd (uploaded images)."""

    def share_template(self, sd, tmpl_img, vol, img):
        """Hard-link the template's VOL, VOL.meta, VOL.lease into the directory of the dependent IMG."""

    def volume_meta(self, sd, img, vol):
        """-> dict of the keys of VOL.meta, all values str (CAP, CTIME, DESCRIPTION, DISKTYPE, DOMAIN, FORMAT, GEN,
        IMAGE, LEGALITY, PUUID, SEQ, TYPE, VOLTYPE; domains before version 5: SIZE in 512-byte units, no CAP)."""

    def set_meta(self, sd, img, vol, **keys):
        """Change keys of VOL.meta: VOL.meta.new is written, then renamed."""

    def capacity(self, sd, img, vol):
        """-> bytes, from CAP or SIZE."""

    def snapshot(self, vm, pairs, quiet_failure=False):
        """pairs = [(sd, img, old_vol, new_vol)].  Makes the children, flips the metadata; when VM (id) runs,
        one QMP transaction for all of its plugged disks.  Returns when QEMU writes into new_vol.
        quiet_failure: QEMU keeps writing into old_vol (the false success of events 170 / 10774).
        When it fails nothing is left of the new volumes and StorageError is raised."""

    def oracle_save(self, vm_id, snap_id, img, sd, vol, cap):
        """Flatten the frozen chain that ends in VOL with qemu-img; -> path LAB/oracle/VM/SNAP/IMG.raw of cap bytes."""

    def merge(self, vm, sd, img, base_vol, child_vol):
        """Snapshot deletion: commit child_vol into base_vol, live when VM (id or None) runs, else by qemu-img commit.
        base_vol keeps its id; the grandchild's backing string and PUUID become base_vol; child_vol is removed;
        GEN + 1; the capacity grows to the child's; if the child was the leaf the base is LEAF.  A raw base stays RAW."""

    def delete_image(self, sd, img):
        """Remove the disk's directory as vdsm does (renamed to _remove_me_IMG first)."""

    def resize(self, vm, sd, img, leaf_vol, cap):
        """Grow the leaf to cap bytes (rounded up to 4 KiB), live when VM runs; -> new capacity."""

    def verify_untrusted(self, sd, img, vol):
        """-> None, or a text why vdsm would refuse the volume after an upload (format, virtual size <= CAP,
        backing file name == PUUID, qcow2 version allowed on the domain)."""

    def chain(self, sd, img, vol):
        """-> [vol, parent, ...], top first, by PUUID; ends with the template's volume for a thin disk."""

    def volumes(self, sd, img):
        """-> names of all volumes in the disk's directory."""

    def leaf(self, sd, img):
        """-> the VOL whose VOLTYPE is LEAF, or None."""

    def actual_size(self, sd, img, vol):
        """-> bytes allocated."""

    def chain_fingerprint(self, sd, img):
        """-> text: leaf name and format; name, size, SHA-256 and metadata of every volume below it, base last."""
