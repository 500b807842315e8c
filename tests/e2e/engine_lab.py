# SPDX-License-Identifier: Apache-2.0
"""engine_lab.py LAB: take, read and remove a snapshot of every VM of a lab;
the layers that the client lists must be those on storage."""

import os
import re
import shlex
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from engine_cases import Drive                      # noqa: E402
import ctl                                          # noqa: E402

DISK = re.compile(r' \S+ boot=\d active=(\d) disk (\S+) (\S+) (\S+) (\S+) '
                  r'(\d+) (\S+) (\S+) vm=')


def settings(lab):
    with open(os.path.join(lab, 'env')) as source:
        return dict(word.split('=', 1) for word in
                    shlex.split(source.read()))


def connect(lab):
    env = settings(lab)
    with open(env['LAB_PASSWORD_FILE']) as source:
        password = source.read().rstrip('\n')
    drive = Drive(env['LAB_URL'], env['LAB_CA'], password=password,
                  user=env['LAB_USER'], retry=60, busy=60, poll=200)
    assert drive.opened[0] == 'ok', drive.opened
    return drive


def ok(drive, *words):
    code, lines = drive.run(*words)
    assert code == 'ok', (words, code, lines)
    return lines


def inventory(drive):
    vms = []
    for line in ok(drive, 'vms'):
        found = re.match(r'vm (\S+) (\S+) .*template=(\S+) name=(.*)', line)
        if found:
            vms.append(dict(zip(('id', 'status', 'template', 'name'),
                                found.groups()), disks=[]))
        found = DISK.match(line)
        if found:
            vms[-1]['disks'].append(dict(zip(
                ('active', 'id', 'volume', 'format', 'sparse', 'size',
                 'status', 'domain'), found.groups())))
    return vms


def try_vm(drive, lab, vm):
    disks = [disk for disk in vm['disks'] if disk['active'] == '1']
    before = ctl.ask(lab, 'fingerprint', vm['name'])
    began = time.monotonic()
    lines = ok(drive, 'snapshot-create', vm['id'], 'chainlift:R:lab',
               *[disk['id'] for disk in disks])
    correlation, snap = lines[0].split()[1], lines[1].split()[1]
    ok(drive, 'snapshot-wait', vm['id'], snap, correlation)
    made = time.monotonic()
    frozen = '\n'.join(ok(drive, 'snapshot-disks', vm['id'], snap))
    for disk in disks:
        top = re.search(r'disk %s (\S+)' % disk['id'], frozen).group(1)
        assert top == disk['volume'], (top, disk)
        layers = [line.split()[1] for line in
                  ok(drive, 'layers', disk['id'], top, disk['domain'],
                     vm['id'], vm['template'])]
        real = ctl.ask(lab, 'chain', vm['name'], disk['id'])
        assert layers == real[1:], (layers, real)
    out = os.path.join(lab, 'stripped.ovf')
    assert ok(drive, 'snapshot-ovf', vm['id'], snap, out)[0].startswith(
        'ovf ' + vm['id'])
    os.unlink(out)
    read = time.monotonic()
    ok(drive, 'snapshot-delete', vm['id'], snap)
    print('%s (%s): %d disks, snapshot %.1f s, merge %.1f s' % (
        vm['name'], vm['status'], len(disks), made - began,
        time.monotonic() - read), flush=True)
    for disk in disks:
        after = ctl.ask(lab, 'chain', vm['name'], disk['id'])
        assert after == real_before(before, after), (before, after)


def real_before(fingerprint, chain):
    """The chain again, if all of its layers were there before."""
    return [volume for volume in chain if volume in fingerprint]


def main(lab):
    drive = connect(lab)
    vms = inventory(drive)
    assert len(vms) >= 5, vms
    for vm in vms:
        if any(disk['active'] == '1' for disk in vm['disks']):
            try_vm(drive, lab, vm)
    assert ok(drive, 'snapshots-ours', 'chainlift:') == []
    extra = ctl.ask(lab, 'extra')
    assert extra == [], extra
    return drive.close()


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
