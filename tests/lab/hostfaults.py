# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with a host of the lab while it runs; hosts.Host has it all.

One network fault at a time: a new one takes the place of the one before, `heal` ends it.  Those
that count bytes begin to count when they are set.
"""

import os

import hostroot


class Faults:
    # -- network faults ---------------------------------------------------

    def link_down(self):
        self.set_link('down')

    def link_up(self):
        self.set_link('up')

    def drop(self):
        """From now on no packet of ssh passes, without a word."""
        self._filter('tcp dport %d drop' % self.ssh_port, 'tcp sport %d drop' % self.ssh_port)

    def reset(self):
        """From now on each packet of ssh that comes in is answered by a reset: connections break at
        once."""
        self._filter('tcp dport %d reject with tcp reset' % self.ssh_port, '')

    def drop_after(self, count):
        """After count more bytes sent by this host's sshd nothing of it passes any more, without a
        word."""
        self._filter('', 'tcp sport %d quota over %d bytes drop' % (self.ssh_port, count))

    def reset_after(self, count):
        """After count more bytes sent by this host's sshd its connections are reset."""
        self._filter(
            '', 'tcp sport %d quota over %d bytes reject with tcp reset' % (self.ssh_port, count)
        )

    def drop_after_in(self, count):
        """After count more bytes sent to this host's sshd nothing more reaches it (for
        restores)."""
        self._filter('tcp dport %d quota over %d bytes drop' % (self.ssh_port, count), '')

    def heal(self):
        """End all network faults."""
        self.run(['nft', 'delete', 'table', 'inet', 'lab'], check=False)
        self.link_up()

    def _filter(self, incoming, outgoing):
        rules = 'add table inet lab\ndelete table inet lab\nadd table inet lab\n'
        for hook, rule in (('input', incoming), ('output', outgoing)):
            if rule:
                rules += 'add chain inet lab %s { type filter hook %s priority 0 ; }\n' % (
                    hook,
                    hook,
                )
                rules += 'add rule inet lab %s %s\n' % (hook, rule)
        self.run(['nft', '-f', '-'], input=rules)

    # -- disk faults ------------------------------------------------------

    def fill(self, directory, leave=0):
        """Fill the file system of a directory of the host (/run, /tmp, /var/tmp...) but for `leave`
        bytes."""
        self.run(['/usr/bin/python3', '-c', hostroot.FILL, directory, str(leave)])

    def unfill(self, directory):
        self.run(['rm', '-f', os.path.join(directory, '.lab-fill')])

    def unmount(self, mount):
        """The storage of a domain goes away as at maintenance: umount -f -l."""
        self.run(['umount', '-l', '/rhev/data-center/mnt/' + mount])

    def mount(self, mount):
        """Show LAB/storage/MOUNT, which may be new, as a domain's mount."""
        self.run(
            [
                'sh',
                '-ec',
                'mkdir -p "/rhev/data-center/mnt/$1"; '
                'mountpoint -q "/rhev/data-center/mnt/$1" || '
                'mount --bind "/srv/nas/$1" "/rhev/data-center/mnt/$1"',
                'mount',
                mount,
            ]
        )
