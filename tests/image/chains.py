#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Random chains against qemu-img.

chains.py COUNT SEED FROM KEEP: cases FROM..FROM+COUNT-1 of SEED; a chain that
fails is kept in KEEP.  The last line is "chains: N ok, N failed, seed S".
"""
import os
import random
import shutil
import struct
import sys
import tempfile

from compare import compare
from flavours import content, create
from qemu import BUILD, Failed, call, need, qemu_img, qemu_io

INCREMENT = os.path.abspath(os.path.join(BUILD, 'tests', 'image', 'increment'))
MIB = 1 << 20
SIZES = (512, 1024, 4096, 8192, 16384, 65536, 65536, 65536, 65536, 262144,
         1048576, 2097152)


class Chain:
    """The layers are l0 (the base), l1, ... and at last top.qcow2."""

    def __init__(self, rng, folder):
        self.rng = rng
        self.folder = folder
        self.names = []
        self.formats = []
        self.sizes = []
        self.clusters = []

    def path(self, name):
        return os.path.join(self.folder, name)

    def random_size(self):
        size = self.rng.choice((64 << 10, 300 << 10, MIB, 4 * MIB, 9 * MIB))
        if self.rng.random() < 0.5:
            return size
        return max(512, size + 512 * self.rng.randrange(-60, 60))

    def add_raw(self):
        size = self.random_size() - self.rng.choice((0, 0, 0, 77))
        content(self.path('l0'), size, self.rng.randrange(1 << 30))
        self.names.append('l0')
        self.formats.append('raw')
        self.sizes.append(size)
        self.clusters.append(512)

    def add_qcow2(self, name):
        rng = self.rng
        cluster = rng.choice(SIZES)
        size = self.random_size()
        if self.sizes and rng.random() < 0.6:
            size = -(-self.sizes[-1] // 512) * 512
        options = ['cluster_size=%d' % cluster]
        if cluster >= 16384 and rng.random() < 0.25:
            options.append('extended_l2=on')
        if rng.random() < 0.25:
            options.append('compression_type=zstd')
        if rng.random() < 0.2:
            options.append('refcount_bits=%d' % (1 << rng.randrange(1, 7)))
        if len(options) == 1 and rng.random() < 0.2:
            options.append('compat=0.10')
        elif rng.random() < 0.15:
            options.append('lazy_refcounts=on')
        if not self.names and rng.random() < 0.2:
            options.append('preallocation=metadata')
        backing = self.names[-1] if self.names else None
        create(self.path(name), size, *options, backing=backing,
               backing_format=self.formats[-1] if backing else 'qcow2')
        self.names.append(name)
        self.formats.append('qcow2')
        self.sizes.append(size)
        self.clusters.append(cluster)

    def resize(self, path):
        rng = self.rng
        size = max(512, self.sizes[-1] + 512 * rng.randrange(-2000, 3000))
        # version 2 over a backing file cannot always grow
        qemu_img('resize', '-q', '--shrink', '-f', 'qcow2', path, size,
                 ok=(0, 1))
        with open(path, 'rb') as file:
            self.sizes[-1] = struct.unpack('>24xQ', file.read(32))[0]

    def range(self, size, unit):
        n = min(self.rng.choice((1, 2, 8, 65, 128, 600)) * unit, size)
        return self.rng.randrange(0, (size - n) // unit + 1) * unit, n

    def mutations(self, size):
        """Commands of one qemu-io."""
        rng = self.rng
        commands = []
        for _ in range(rng.randrange(1, 14)):
            at, n = self.range(size, 512)
            kind = rng.randrange(8)
            if kind < 4:
                commands.append('write -q -P %d %d %d' % (
                    rng.randrange(256), at, n))
            elif kind < 6:
                commands.append('write -q -z %s %d %d' % (
                    rng.choice(('', '-u')), at, n))
            else:
                commands.append('discard -q %d %d' % (at, n))
        return commands

    def compressed(self, size):
        """Writes that QEMU refuses on allocated clusters: status ignored."""
        unit = self.clusters[-1]
        commands = []
        for _ in range(self.rng.randrange(0, 5)):
            if size >= unit:
                at = self.rng.randrange(0, size // unit) * unit
                commands.append('write -q -c -P %d %d %d' % (
                    self.rng.randrange(256), at, unit))
        return commands

    def fill(self, name):
        rng = self.rng
        path = self.path(name)
        for _ in range(rng.randrange(0, 3)):
            if rng.random() < 0.3:
                qemu_io(path, self.compressed(self.sizes[-1]) or ['flush'],
                        ok=None)
            qemu_io(path, self.mutations(self.sizes[-1]))
            if rng.random() < 0.12:
                self.resize(path)
            if rng.random() < 0.08:
                # a snapshot of an image with 1-bit refcounts is refused
                qemu_img('snapshot', '-c', 's', path, ok=(0, 1))
        if rng.random() < 0.06:
            qemu_img('bitmap', '--add', '-f', 'qcow2', path, 'b', ok=(0, 1))

    def build(self):
        rng = self.rng
        count = rng.choice((1, 1, 2, 2, 3, 3, 4, 5, 7))
        for n in range(count):
            last = n == count - 1
            if n == 0 and not last and rng.random() < 0.4:
                self.add_raw()
                continue
            name = 'top.qcow2' if last else 'l%d' % n
            self.add_qcow2(name)
            self.fill(name)
        # A layer in the middle is merged down, as a live merge leaves it.
        if count > 3 and self.formats[1] == 'qcow2' and rng.random() < 0.3 \
                and self.formats[0] == 'qcow2':
            qemu_img('commit', '-q', '-f', 'qcow2', '-d', 'l1',
                     cwd=self.folder)
            qemu_img('rebase', '-u', '-f', 'qcow2', '-b', 'l0', '-F', 'qcow2',
                     'l2', cwd=self.folder)
            del self.names[1]
            del self.formats[1]


def compare_increment(chain):
    """The layers above a random one, written as an increment over it, are the
    same disk; a block that is changed in part is made whole."""
    rng = chain.rng
    if len(chain.names) < 2:
        return
    names = chain.names[::-1]
    formats = chain.formats[::-1]
    stop = rng.randrange(1, len(names))
    version = rng.choice((2, 3, 3))
    bits = rng.choice((12, 16, 16, 18))
    # The layer that stays has its own format and, below it, its own chain.
    call(INCREMENT, stop, rng.choice(('layout', 'placer')), version, bits,
         'increment', names[stop], formats[stop],
         *['%s:%s' % pair for pair in zip(formats, names)], cwd=chain.folder)
    qemu_img('check', '-q', '-f', 'qcow2', 'increment', cwd=chain.folder)
    qemu_img('compare', '-q', '-f', 'qcow2', '-F', 'qcow2', 'increment',
             'top.qcow2', cwd=chain.folder)


def main(count, seed, first, keep):
    missing = need()
    if missing:
        print('no', *missing)
        return 77
    good = bad = 0
    for case in range(first, first + count):
        folder = tempfile.mkdtemp()
        try:
            chain = Chain(random.Random('%d %d' % (seed, case)), folder)
            chain.build()
            compare(folder, 'top.qcow2', 'qcow2')
            compare_increment(chain)
            good += 1
        except (Failed, ValueError) as error:
            bad += 1
            print('case %d of seed %d: %s' % (case, seed, error), flush=True)
            place = os.path.join(keep, '%d-%d' % (seed, case))
            os.makedirs(keep, exist_ok=True)
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(folder, place)
        finally:
            shutil.rmtree(folder)
        if (case - first) % 100 == 99:
            print('%d ok, %d failed' % (good, bad), flush=True)
    print('chains: %d ok, %d failed, seed %d' % (good, bad, seed))
    return 1 if bad or not good else 0


if __name__ == '__main__':
    sys.exit(main(*[int(a) for a in sys.argv[1:4]], sys.argv[4]))
