#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Damaged and hostile images: the program under test must refuse them or read
what QEMU reads, and must never die.

mutate.py COUNT SEED FROM KEEP: BUILD should be one with sanitizers.  The last
line is "mutate: N ok, N failed, seed S".
"""
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile

import flavours
from qemu import Failed, chainlift, need, qemu_img

SEEDS = ('plain_0.10_65536', 'plain_1.1_512', 'plain_1.1_4096', 'zlib_1.1_4096',
         'zstd_65536', 'zlib_0.10_65536', 'extended_16384_none',
         'extended_compressed_zlib', 'zero_clusters', 'snapshots', 'bitmaps',
         'preallocated_zeroed', 'refcount_bits_1', 'size_66048', 'dirty')
FIELDS = ((0, 4), (4, 4), (8, 8), (16, 4), (20, 4), (24, 8), (32, 4), (36, 4),
          (40, 8), (48, 8), (56, 4), (60, 4), (64, 8), (72, 8), (80, 8),
          (88, 8), (96, 4), (100, 4), (104, 1), (112, 4), (116, 4))
# A flatten of what a mutant claims to be ends here; QEMU's too.
OUTPUT_MAX = 4 << 30


class Mutant:
    """One seed image in memory, with the places that matter."""

    def __init__(self, rng, data):
        self.rng = rng
        self.data = bytearray(data)
        self.bits = self.number(20, 4)
        self.l1 = self.number(40, 8)
        self.l1_entries = self.number(36, 4)
        self.extended = self.number(4, 4) == 3 and self.number(72, 8) & 16
        self.tables = []
        for n in range(self.l1_entries):
            offset = self.number(self.l1 + 8 * n, 8) & 0x00fffffffffffe00
            if offset:
                self.tables.append(offset)

    def number(self, offset, width):
        return int.from_bytes(self.data[offset:offset + width], 'big')

    def put(self, offset, width, value):
        if 0 <= offset <= len(self.data) - width:
            self.data[offset:offset + width] = \
                (value & ((1 << 8 * width) - 1)).to_bytes(width, 'big')

    def value(self, width, old):
        """Something that a parser may stumble on."""
        rng = self.rng
        cluster = 1 << self.bits
        end = len(self.data)
        kind = rng.randrange(8)
        if kind == 0:
            return old ^ 1 << rng.randrange(8 * width)
        if kind == 1:
            return rng.getrandbits(8 * width)
        if kind == 2:
            return old + rng.choice((-1, 1, 8, -8, 512, -512))
        if kind == 3:
            return rng.choice((0, 1, 2, 0x7fffffff, 0x80000000, 0xffffffff,
                               1 << 61, 1 << 62, (1 << 63) - 1, 1 << 63,
                               (1 << 64) - 1))
        if kind == 4:
            return end // cluster * cluster + rng.choice((0, 1, -1)) * cluster
        if kind == 5:
            return rng.randrange(0, end // cluster + 1) * cluster
        if kind == 6:
            return rng.randrange(0, end // cluster + 1) * cluster | 1 << 63
        return old + rng.choice((-1, 1)) * cluster

    def entry(self):
        """The place of a random L1 or L2 entry that is (mostly) in use."""
        rng = self.rng
        if not self.tables or rng.random() < 0.2:
            return self.l1 + 8 * rng.randrange(max(1, self.l1_entries))
        table = rng.choice(self.tables)
        for _ in range(30):
            at = table + 8 * rng.randrange((1 << self.bits) // 8)
            if self.number(at, 8):
                break
        return at

    def change(self):
        rng = self.rng
        kind = rng.randrange(12)
        if kind < 3:
            offset, width = rng.choice(FIELDS)
            self.put(offset, width, self.value(width,
                                               self.number(offset, width)))
        elif kind < 8:
            at = self.entry()
            self.put(at, 8, self.value(8, self.number(at, 8)))
        elif kind == 8:  # one entry in the place of another
            self.put(self.entry(), 8, self.number(self.entry(), 8))
        elif kind == 9:
            size = rng.choice((rng.randrange(len(self.data) + 1),
                               len(self.data) - rng.randrange(1 << 17)))
            del self.data[max(0, size):]
        elif kind == 10:
            self.data += rng.randbytes(rng.randrange(1 << 17))
        else:
            for _ in range(rng.randrange(1, 20)):
                if self.data:
                    at = rng.randrange(min(len(self.data), 1 << 18))
                    self.data[at] = rng.randrange(256)


def seeds(where):
    images = []
    for name in SEEDS:
        for _, folder, top, _ in flavours.make_all(where, name):
            with open(os.path.join(folder, top), 'rb') as file:
                images.append(file.read())
            shutil.rmtree(folder)
    return images


def run(folder, with_check):
    """None: refused; 'same', 'theirs' (only QEMU refuses); Failed."""
    path = os.path.join(folder, 'm.qcow2')
    map_status, _, map_err = chainlift('--json', 'image', 'map', 'm.qcow2',
                                 cwd=folder, ok=None)
    status, _, err = chainlift('image', 'check', 'm.qcow2', cwd=folder,
                               ok=None) if with_check else (0, b'', b'')
    if with_check and map_status != status and \
            not (status == 13 and map_status == 0):
        raise Failed('map ends with %d, check with %d' % (map_status, status))
    if map_status != 0:
        text = map_err.decode()
        if 'm.qcow2: ' not in text:
            raise Failed('refused without a reason: %r' % text)
        return None
    with open(path, 'rb') as file:
        head = file.read(104)
    if struct.unpack('>Q', head[24:32])[0] > OUTPUT_MAX:
        return 'large'
    status, _, err = chainlift('image', 'flatten', 'm.qcow2', 'ours.raw',
                               cwd=folder, ok=None)
    if status != 0:  # what a map does not see: a backing file, damaged data
        text = err.decode()
        if 'm.qcow2: ' not in text:
            raise Failed('refused without a reason: %r' % text)
        return None
    try:
        qemu_img('convert', '-q', '-f', 'qcow2', '-O', 'raw', 'm.qcow2',
                 'theirs.raw', cwd=folder, limited=True)
    except Failed:
        return 'theirs'
    except subprocess.TimeoutExpired:
        raise Failed('accepted, and QEMU does not come to an end')
    with open(os.path.join(folder, 'ours.raw'), 'rb') as ours, \
            open(os.path.join(folder, 'theirs.raw'), 'rb') as theirs:
        at = 0
        while True:
            mine = ours.read(1 << 20)
            if mine != theirs.read(1 << 20):
                raise Failed('accepted, and QEMU reads other bytes in the MiB '
                             'at %d' % at)
            if not mine:
                return 'same'
            at += len(mine)


def main(count, seed, first, keep):
    missing = need()
    if missing:
        print('no', *missing)
        return 77
    where = tempfile.mkdtemp()
    good = bad = 0
    kinds = {None: 0, 'same': 0, 'theirs': 0, 'large': 0}
    try:
        images = seeds(where)
        for case in range(first, first + count):
            rng = random.Random('%d %d' % (seed, case))
            mutant = Mutant(rng, rng.choice(images))
            for _ in range(rng.choice((1, 1, 1, 2, 3))):
                mutant.change()
            for name in os.listdir(where):
                os.remove(os.path.join(where, name))
            with open(os.path.join(where, 'm.qcow2'), 'wb') as out:
                out.write(mutant.data)
            try:
                kinds[run(where, case % 4 == 0)] += 1
                good += 1
            except Failed as error:
                bad += 1
                print('case %d of seed %d: %s' % (case, seed, error),
                      flush=True)
                os.makedirs(keep, exist_ok=True)
                shutil.copy(os.path.join(where, 'm.qcow2'),
                            os.path.join(keep, '%d-%d.qcow2' % (seed, case)))
            if (case - first) % 1000 == 999:
                print('%d ok, %d failed' % (good, bad), flush=True)
    finally:
        shutil.rmtree(where)
    print('refused %d, read as QEMU does %d, refused by QEMU only %d, '
          'larger than what is compared %d' % (
              kinds[None], kinds['same'], kinds['theirs'], kinds['large']))
    print('mutate: %d ok, %d failed, seed %d' % (good, bad, seed))
    return 1 if bad or not good else 0


if __name__ == '__main__':
    sys.exit(main(*[int(a) for a in sys.argv[1:4]], sys.argv[4]))
