#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""chainlift image against qemu-img.

compare.py [PATTERN]: make the flavours one after the other and compare map and
flatten of each; the last line is "flavours: N ok, N failed".
"""
import json
import os
import shutil
import sys
import tempfile

import flavours
from qemu import CHAINLIFT, Failed, call, chainlift, need, qemu_img

DECODE = os.environ.get('DECODE')  # a program that writes a raw image by libqcow


def check_map(folder, top, fmt):
    _, ours, _ = chainlift('--json', 'image', 'map', '-f', fmt,
                           '--follow-backing', top, cwd=folder)
    _, theirs, _ = qemu_img('map', '--output=json', '-f', fmt, top, cwd=folder)
    if ours == theirs:
        return
    for mine, other in zip(json.loads(ours), json.loads(theirs)):
        if mine != other:
            raise Failed('map: %s\n  qemu-img says %s' % (mine, other))
    raise Failed('map: the text differs, the values do not')


def check_check(folder, top):
    """The same leaks and corruptions as `qemu-img check`."""
    _, out, _ = chainlift('--json', 'image', 'check', top, cwd=folder,
                          ok=(0, 13))
    ours = json.loads(out.splitlines()[0])
    if ours['dirty']:
        return
    _, out, _ = qemu_img('check', '--output=json', '-f', 'qcow2', top,
                         cwd=folder, ok=(0, 2, 3))
    theirs = json.loads(out)
    if ours['leaked_clusters'] != theirs.get('leaks', 0) or \
            ours['wrong_refcounts'] + ours['wrong_flags'] != \
            theirs.get('corruptions', 0):
        raise Failed('check: %s, qemu-img says %s' % (ours, theirs))


def same(folder, ours, theirs):
    """qemu-img knows holes; below 1 GiB a program that does not is better."""
    sizes = [os.path.getsize(os.path.join(folder, name))
             for name in (ours, theirs)]
    if sizes[0] != sizes[1]:
        raise Failed('%s has %d bytes, %s %d' % (ours, sizes[0], theirs,
                                                 sizes[1]))
    if sizes[1] > 1 << 30:
        qemu_img('compare', '-q', '-f', 'raw', '-F', 'raw', ours, theirs,
                 cwd=folder)
    else:
        call('cmp', ours, theirs, cwd=folder)


def check_raw(folder, top, fmt):
    """The raw forms; returns the reference, qemu's own."""
    qemu_img('convert', '-q', '-f', fmt, '-O', 'raw', top, 'theirs.raw',
             cwd=folder)
    chainlift('image', 'flatten', '-f', fmt, '--follow-backing', top,
              'ours.raw', cwd=folder)
    same(folder, 'ours.raw', 'theirs.raw')
    os.remove(os.path.join(folder, 'ours.raw'))


def check_qcow2(folder, name):
    """An image of ours: clean, equal, and as foreign code reads it."""
    _, out, _ = qemu_img('check', '--output=json', '-f', 'qcow2', name,
                         cwd=folder)
    end = json.loads(out)['image-end-offset']
    size = os.path.getsize(os.path.join(folder, name))
    if end != size:
        raise Failed('%s has %d bytes, image end is %d' % (name, size, end))
    qemu_img('compare', '-q', '-f', 'qcow2', '-F', 'raw', name, 'theirs.raw',
             cwd=folder)
    # A guard of libqcow: it refuses an image of 0 bytes.
    if DECODE and 0 < os.path.getsize(os.path.join(folder, 'theirs.raw')) \
            <= 1 << 30:
        call('sh', '-c', '"$0" "$1" | cmp - theirs.raw', DECODE, name,
             cwd=folder)
    os.remove(os.path.join(folder, name))


def check_pipes(folder, top, fmt, raw=True):
    call('sh', '-c', '"$0" image flatten -f "$1" -O qcow2 --follow-backing '
         '"$2" - | cat >ours.qcow2', CHAINLIFT, fmt, top, cwd=folder)
    check_qcow2(folder, 'ours.qcow2')
    if raw:
        call('sh', '-c', '"$0" image flatten -f "$1" --follow-backing "$2" - '
             '| cmp - theirs.raw', CHAINLIFT, fmt, top, cwd=folder)


def compare(folder, top, fmt, pipes=True):
    """Everything; Failed tells what differs."""
    check_map(folder, top, fmt)
    if fmt == 'qcow2':
        check_check(folder, top)
    check_raw(folder, top, fmt)
    chainlift('image', 'flatten', '-f', fmt, '-O', 'qcow2', '--follow-backing',
              top, 'ours.qcow2', cwd=folder)
    check_qcow2(folder, 'ours.qcow2')
    size = os.path.getsize(os.path.join(folder, 'theirs.raw'))
    if pipes:
        check_pipes(folder, top, fmt, raw=size <= 1 << 30)
    os.remove(os.path.join(folder, 'theirs.raw'))


def main(pattern='*'):
    missing = need()
    if missing:
        print('no', *missing)
        return 77
    good = bad = 0
    where = tempfile.mkdtemp()
    try:
        for name, folder, top, fmt in flavours.make_all(where, pattern):
            try:
                compare(folder, top, fmt)
                good += 1
            except (Failed, ValueError) as error:
                print('%s: %s' % (name, error), flush=True)
                bad += 1
            shutil.rmtree(folder)
    finally:
        shutil.rmtree(where, ignore_errors=True)
    print('flavours: %d ok, %d failed' % (good, bad))
    return 1 if bad or not good else 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
