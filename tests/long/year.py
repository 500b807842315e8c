# SPDX-License-Identifier: Apache-2.0
"""Nights: year.py COUNT SEED FROM [SET VM...]

A case is a day and a night in the life of some VMs that write.  By day users
take and remove snapshots, disks grow, come and go, VMs are stopped, started
and migrated, somebody removes a kept snapshot.  By night all VMs are backed up
in one run, in the middle of which users may take a snapshot, too.  Then:

  - every disk of every point equals its oracle, and `verify` agrees;
  - a disk is read in full only with the reason that the day gave;
  - there were never more than two snapshots of ours of a VM, and after the run
    there is one (by the events of the engine);
  - one VM, of a random point of the last ones, is restored and equals it.

The kept snapshot of the first VM is never lost: its chain grows over all
nights.  After the last one the repository is verified as a whole, the newest
point of each VM is restored as a VM, and the kept snapshots go.  What a night
does depends on the nights before: FROM is 0 to see the same again."""

import os
import shutil
import sys

import world as base
from world import MARK, Wrong, prove, silent

SETTINGS = '''
engine: { poll_ms = 100; retry = 5; busy = 30; };
snapshot: { keep = true; };
'''
MIB = 1 << 20
DISK_MAX = 200 * MIB
DISKS_MAX = 5
SNAPSHOTS_MAX = 4
RECENT = 4              # points of a VM whose oracles stay
ALL = ('all', 'raw-sparse', 'db01', 'snaps', 'thin01', 'odd')


class World(base.World):
    def __init__(self, vm_set, *vms):
        self.vms = vms
        self.nights = 0
        self.made = 0
        self.users = {vm: [] for vm in vms}
        super().__init__(vm_set, SETTINGS)

    def open(self, settings):
        super().open(settings)
        self.birth['snapshots'] = len(self.ctl('inventory')['snapshots'])
        for vm in self.vms:
            if self.vm_row(vm)['status'] == 'down':
                self.ctl('vm-start', vm)
            self.users[vm] = [row['id'] for row in self.ctl('snapshots', vm)]

    def disks(self, vm):
        """Rows of the disks of a VM."""
        rows = {row['id']: row for row in self.ctl('inventory')['disks']}
        return [rows[img] for img in self.vm_row(vm)['attachments']]

    def forget_oracles(self):
        """Room on the lab's disk: those of old points go."""
        for vm in self.vms:
            for point in self.points(vm)[RECENT:]:
                top = prove.manifest(point)[1]
                shutil.rmtree(os.path.join(self.dir, 'oracle', top['vm'],
                                           top['snapshot']),
                              ignore_errors=True)

    def restore(self, point, new):
        self.must(0, 'restore', point, '--as', new)
        silent(prove.vm, point, new)
        self.api('DELETE', '/vms/' + self.vm_row(new)['id'])
        self.ctl('idle')

    def finale(self):
        """After the last night."""
        self.must(0, 'verify')
        points = self.points(self.vms[0])
        stamp, length = points[0].rsplit('@', 1)[1], 0
        while stamp:
            top = prove.manifest('%s@%s' % (self.vms[0], stamp))[1]
            stamp = top.get('parent')
            length += 1
        if length != self.nights:
            raise Wrong('the chain of %s has %d points after %d nights'
                        % (self.vms[0], length, self.nights))
        for vm in self.vms:
            self.restore(self.points(vm)[0], vm + '-new')
        self.settings('test', SETTINGS.replace('keep = true', 'keep = false'))
        self.must(0, 'backup', *self.vms)
        self.check_points()
        for vm in self.vms:
            if found := self.ours(vm):
                raise Wrong('snapshots of ours of %s: %s' % (vm, found))
        print('a chain of %d points was restored' % length)


class Night(base.Case):
    """.why: disk -> reason that it is full now; a VM: that of all its disks"""

    def __init__(self, world, seed, number):
        super().__init__(world, seed, number)
        self.why = {}
        if not world.nights:
            self.why.update((vm, 'no point yet') for vm in world.vms)

    # -- the day ----------------------------------------------------------

    def snapshot(self, vm):
        users = self.world.users[vm]
        if len(users) < SNAPSHOTS_MAX:
            self.say('snapshot of ' + vm)
            self.world.made += 1
            users.append(self.world.ctl('add-snapshot', vm, 'user %d'
                                        % self.world.made))

    def merge(self, vm):
        users = self.world.users[vm]
        if users:
            which = self.random.randrange(len(users))
            self.say('snapshot %d of %s goes' % (which, vm))
            self.world.ctl('remove-snapshot', vm, users.pop(which))

    def grow(self, vm):
        disk = self.random.choice(self.world.disks(vm))
        size = disk['provisioned_size'] + self.random.choice(
            (4096, 65536, 1 * MIB, 3 * MIB + 4096, 17 * MIB))
        if size <= DISK_MAX:
            self.say('%s of %s grows to %d' % (disk['alias'], vm, size))
            self.world.api('PUT', '/disks/' + disk['id'],
                           '<disk><provisioned_size>%d</provisioned_size>'
                           '</disk>' % (size // 4096 * 4096))

    def add(self, vm):
        world = self.world
        if len(world.disks(vm)) >= DISKS_MAX:
            return
        world.made += 1
        alias = '%s_new%d' % (vm, world.made)
        form = self.random.choice(('cow', 'raw'))
        domain = self.random.choice([
            row['id'] for row in world.ctl('inventory')['storagedomains']
            if row['name'].startswith('data')])
        self.say('%s of %s comes, %s' % (alias, vm, form))
        world.api('POST', '/disks', '<disk><alias>%s</alias><format>%s'
                  '</format><sparse>true</sparse><provisioned_size>%d'
                  '</provisioned_size><storage_domains><storage_domain '
                  'id="%s"/></storage_domains></disk>' % (
                      alias, form, self.random.randrange(4, 40) * MIB,
                      domain))
        world.ctl('idle')
        disk = next(row['id'] for row in world.ctl('inventory')['disks']
                    if row['alias'] == alias)
        world.api('POST', '/vms/%s/diskattachments' % world.vm_row(vm)['id'],
                  '<disk_attachment><disk id="%s"/><interface>virtio'
                  '</interface><bootable>false</bootable><active>true'
                  '</active></disk_attachment>' % disk)
        # The guest writes to it from its next start on.
        self.again(vm)
        self.why[disk] = 'the last point does not have it'

    def remove(self, vm):
        disks = self.world.disks(vm)
        if len(disks) > 1:
            disk = self.random.choice(disks)
            self.say('%s of %s goes' % (disk['alias'], vm))
            self.again(vm, lambda: self.world.api('DELETE',
                                                  '/disks/' + disk['id']))

    def lose(self, vm):
        ours = self.world.ours(vm)
        if ours and vm != self.world.vms[0]:
            self.say('the kept snapshot of %s is lost' % vm)
            self.world.ctl('remove-snapshot', vm, ours[0])
            self.why[vm] = 'kept snapshot is gone'

    def again(self, vm, between=None):
        """Stopped, and started when it ran."""
        up = self.world.vm_row(vm)['status'] == 'up'
        if up:
            self.world.ctl('vm-stop', vm)
        if between:
            between()
            self.world.ctl('idle')
        if up:
            self.world.ctl('vm-start', vm)

    def power(self, vm):
        up = self.world.vm_row(vm)['status'] == 'up'
        self.say('%s is %s' % (vm, 'stopped' if up else 'started'))
        self.world.ctl('vm-stop' if up else 'vm-start', vm)

    def migrate(self, vm):
        row = self.world.vm_row(vm)
        if row['status'] == 'up':
            to = next(h for h in self.world.ctl('inventory')['hosts']
                      if h['id'] != row['host'])
            self.say('%s goes to %s' % (vm, to['name']))
            self.world.ctl('vm-migrate', vm, to['name'])

    def day(self):
        events = (self.snapshot, self.snapshot, self.merge, self.merge,
                  self.grow, self.add, self.remove, self.lose, self.power,
                  self.migrate)
        for _ in range(self.random.randrange(1, 7)):
            self.random.choice(events)(self.random.choice(self.world.vms))
            self.world.ctl('idle')

    # -- the night --------------------------------------------------------

    def backup(self):
        world = self.world
        since = (world.ctl('events') or [{'id': 0}])[-1]['id']
        before = {world.vm_row(vm)['id']: len(world.ours(vm))
                  for vm in world.vms}
        phase = None
        if self.random.random() < 0.4:
            phase = self.random.choice(('config', 't0', 'stream', 't1',
                                        'publish', 'release'))
        with world.running('backup', *world.vms, env={
                'CHAINLIFT_STOP_AT': phase} if phase else {}) as process:
            if phase and world.wait_stop(process, phase):
                self.say('at %s:' % phase)
                self.snapshot(self.random.choice(world.vms))
                process.send_signal(base.signal.SIGCONT)
            status = world.finish(process)
        text = self.check_status(status)
        if status:
            raise Wrong(text)
        most = self.most(before, since)
        if max(most.values()) > 2:
            raise Wrong('snapshots of ours at one time: %s' % most)

    def most(self, there, since):
        """{VM: the most snapshots of ours that it had at one time} by the
        events since that id."""
        most = dict(there)
        for row in self.world.ctl('events', since):
            vm = row['about'].get('vm')
            if MARK not in row['description'] or vm not in there:
                continue
            there[vm] += {45: 1, 69: -1, 356: -1}.get(row['code'], 0)
            most[vm] = max(most[vm], there[vm])
        return most

    def check_reasons(self):
        for vm in self.world.vms:
            for disk in prove.manifest(self.world.points(vm)[0])[2]:
                why = self.why.get(vm) or self.why.get(disk['disk'])
                wanted = 'full: ' + why if why else 'increment on'
                if not disk['disk.reason'].startswith(wanted):
                    raise Wrong('%s of %s: "%s", not "%s"' % (
                        disk['disk.alias'], vm, disk['disk.reason'], wanted))

    def run(self):
        world = self.world
        if world.nights:
            self.day()
        self.backup()
        world.nights += 1
        for vm in world.vms:
            if len(world.ours(vm)) != 1:
                raise Wrong('snapshots of ours of %s: %s' % (
                    vm, world.ours(vm)))
        world.check_points(verify=True)
        self.check_reasons()
        world.must(0, 'leftovers')
        vm = self.random.choice(world.vms)
        point = self.random.choice(world.points(vm)[:RECENT])
        self.say('restore %s' % point.rsplit('@', 1)[0])
        world.restore(point, self.new)
        world.forget_oracles()


if __name__ == '__main__':
    sys.exit(base.main('year', lambda: World(*(sys.argv[4:] or ALL)), Night,
                       sys.argv, 30, World.finale))
