# SPDX-License-Identifier: Apache-2.0
"""Running VMs: one qemu-storage-daemon and one guest writer a VM, both inside a host's namespaces."""


class Vms:
    """The running VMs of one lab; storage.vms.  All ids are plain UUID strings."""

    def start(self, vm_id, host_name, disks, seed=0, rate=12):
        """Start VM on the host; disks = [(sd, img, leaf_vol)] are the plugged ones.  Returns when the guest writes."""

    def stop(self, vm_id):
        """Power off; returns when the volumes are closed."""

    def is_running(self, vm_id):
        """-> bool; False also after the host or the process died."""

    def host_of(self, vm_id):
        """-> host name or None."""

    def plug(self, vm_id, sd, img, vol):
        """Hot-plug a disk (no guest writes to it)."""

    def unplug(self, vm_id, img):
        """Hot-unplug a disk."""

    def migrate(self, vm_id, host_name):
        """Stop on one host and go on on the other."""
