# SPDX-License-Identifier: Apache-2.0
"""Compare what chainlift stored or restored with what the guest had.

The oracle is the lab's: `qemu-img convert` of the volumes that the snapshot
froze, made before the snapshot was called ok.  Nothing here uses code of
chainlift but the commands that are being tested.

  prove.py point POINT          every disk of the point: the image in the
                                repository by qemu-img, and as restored to a
                                file (raw and qcow2), against the oracle
  prove.py image POINT          only the images in the repository
  prove.py vm POINT NEW-NAME [FORMAT...]
                                every disk of the restored VM, on the lab's
                                storage, against the oracle; attachments too.
                                FORMATs: of its disks (raw, cow), when they
                                are not those of the point
  prove.py none VM              no point of VM is listed

Environment: BUILD, LAB, LAB_CONF, LAB_REPO, TOP, WORK.  Exit 1 with the
reason when anything differs."""

import glob
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.environ['TOP'], 'tests', 'lab'))
from ctl import ask  # noqa: E402

LAB = os.environ['LAB']
REPO = os.environ['LAB_REPO']
EXTENT = 128 << 20
WORK = os.environ['WORK']


class Wrong(Exception):
    """What differs."""


def run(*argv):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise Wrong('%s: exit %d: %s' % (' '.join(argv), done.returncode,
                                         (done.stdout + done.stderr)[-2000:]))
    return done.stdout


def chainlift(*argv):
    return run(os.path.join(os.environ['BUILD'], 'src', 'chainlift'),
               '--config', os.environ['LAB_CONF'], *argv)


def manifest(point):
    """(folder, top keys, disks) of VM@STAMP, read from the file."""
    vm, stamp = point.rsplit('@', 1)
    found = []
    for path in glob.glob(os.path.join(REPO, 'vms', '*', stamp, 'manifest')):
        top, disks = {}, []
        for line in open(path, encoding='utf-8'):
            key, _, value = line.rstrip('\n').partition(' ')
            if key == 'disk':
                disks.append({})
            if key == 'disk' or key.startswith('disk.'):
                disks[-1][key] = value
            elif not key.startswith(('nic', 'skipped', 'file')):
                top[key] = value
        if vm in (top['vm.name'], top['vm']):
            found.append((os.path.dirname(path), top, disks))
    if len(found) != 1:
        raise Wrong('%d manifests for %s' % (len(found), point))
    return found[0]


def oracle(top, disk):
    path = os.path.join(LAB, 'oracle', top['vm'], top['snapshot'],
                        disk['disk'] + '.raw')
    if not os.path.exists(path):
        raise Wrong('the lab has no oracle %s' % path)
    return path


def same(left, left_format, right, right_format):
    out = run('qemu-img', 'compare', '-U', '-f', left_format, '-F',
              right_format, left, right)
    if 'identical' not in out:
        raise Wrong('%s and %s: %s' % (left, right, out))


def virtual_size(path, fmt):
    return json.loads(run('qemu-img', 'info', '-U', '--output=json', '-f',
                          fmt, path))['virtual-size']


def prove_image(folder, disk, wanted):
    image = os.path.join(folder, disk['disk.file'])
    run('qemu-img', 'check', '-q', '-f', 'qcow2', image)
    same(image, 'qcow2', wanted, 'raw')
    size = os.stat(wanted).st_size
    if virtual_size(image, 'qcow2') != size:
        raise Wrong('%s has not the size %d' % (image, size))


def prove_files(point, disk, wanted):
    raw = os.path.join(WORK, 'proof.raw')
    cow = os.path.join(WORK, 'proof.qcow2')
    chainlift('restore', point, '--disk', disk['disk'], '--to', raw)
    run('cmp', raw, wanted)
    chainlift('restore', point, '--disk', disk['disk'], '--to', cow, '-O',
              'qcow2')
    run('qemu-img', 'check', '-q', '-f', 'qcow2', cow)
    same(cow, 'qcow2', wanted, 'raw')
    os.unlink(raw)
    os.unlink(cow)


def point(name, files=True):
    folder, top, disks = manifest(name)
    for disk in disks:
        wanted = oracle(top, disk)
        prove_image(folder, disk, wanted)
        if files:
            prove_files(name, disk, wanted)
    print('%s: %d disks equal the oracle' % (name, len(disks)))


def volume_path(disk):
    """The file of the volume; of one on a block domain a copy of all bytes of
    its LV."""
    if any(d['id'] == disk['domain'] and d['storage_type'] in ('iscsi', 'fcp')
           for d in ask(LAB, 'inventory')['storagedomains']):
        path = os.path.join(WORK, 'proof.lv')
        ask(LAB, 'copy-lv', disk['id'], path)
        return path
    found = glob.glob(os.path.join(LAB, 'storage', '**', 'images', disk['id'],
                                   disk['image_id']), recursive=True)
    if len(found) != 1:
        raise Wrong('%d volumes %s on storage' % (len(found),
                                                  disk['image_id']))
    return found[0]


def prove_volume(disk, wanted_format, wanted):
    """The restored volume: a whole, stand-alone image of the oracle's bytes
    and zeros behind them."""
    fmt = 'qcow2' if disk['format'] == 'cow' else 'raw'
    path = volume_path(disk)
    room = 4096
    if path.endswith('.lv') and fmt == 'raw':
        room = EXTENT
    if disk['format'] != wanted_format:
        raise Wrong('%s is %s' % (path, disk['format']))
    if fmt == 'qcow2':
        run('qemu-img', 'check', '-U', '-q', '-f', fmt, path)
    same(path, fmt, wanted, 'raw')
    size, least = virtual_size(path, fmt), os.stat(wanted).st_size
    told = disk['provisioned_size']
    if not least <= told <= size or size != -(-least // room) * room:
        raise Wrong('%s has the size %d, the guest had %d, the engine says '
                    '%d' % (path, size, least, told))


def vm(name, new, *formats):
    _, top, sources = manifest(name)
    world = ask(LAB, 'inventory')
    row = [v for v in world['vms'] if v['name'] == new]
    if len(row) != 1:
        raise Wrong('%d VMs are named %s' % (len(row), new))
    disks = {d['id']: d for d in world['disks']}
    there = [(disks[i], a) for i, a in row[0]['attachments'].items()]
    if len(there) != len(sources):
        raise Wrong('%s has %d disks, not %d' % (new, len(there),
                                                 len(sources)))
    formats = formats or [source['disk.format'] for source in sources]
    for source, (disk, how), fmt in zip(sources, there, formats, strict=True):
        prove_volume(disk, fmt, oracle(top, source))
        for key, value in (('interface', source['disk.interface']),
                           ('bootable', source['disk.bootable'] == 'yes'),
                           ('active', source['disk.active'] == 'yes'),
                           ('read_only', source['disk.read-only'] == 'yes')):
            if how.get(key) != value:
                raise Wrong('%s: disk %s: %s is %r, was %r'
                            % (new, disk['alias'], key, how.get(key), value))
    print('%s as %s: %d disks equal the oracle' % (name, new, len(there)))


def none(name):
    out = chainlift('--json', 'points', name)
    if '"type":"point"' in out:
        raise Wrong('points of %s are listed: %s' % (name, out))


def main(argv):
    try:
        {'point': point, 'vm': vm, 'none': none,
         'image': lambda name: point(name, False)}[argv[1]](*argv[2:])
    except Wrong as err:
        print('prove: %s' % err, file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv))
