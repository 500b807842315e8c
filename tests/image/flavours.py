#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every flavour of image that a hypervisor can hold, made by qemu-img, qemu-io
and by patching bytes.

flavours.py DIR [PATTERN]: make them below DIR, each in a folder of its own,
and print "FOLDER FILE FORMAT" for each.
"""
import fnmatch
import os
import random
import struct
import sys

from qemu import qemu_img, qemu_io

CLUSTER_SIZES = (512, 1024, 4096, 16384, 65536, 262144, 1048576, 2097152)
MIB = 1 << 20
FLAVOURS = []


def flavour(name, fmt='qcow2', top='top.qcow2'):
    """Register a function that makes TOP in the folder it is called in."""
    def register(make):
        FLAVOURS.append((name, top, fmt, make))
        return make
    return register


def each(name, values, **rest):
    """As flavour, once for each of VALUES, which the function gets."""
    def register(make):
        for value in values:
            label = '_'.join(map(str, value)) if isinstance(value, tuple) \
                else str(value)
            FLAVOURS.append(('%s_%s' % (name, label),
                             rest.get('top', 'top.qcow2'),
                             rest.get('fmt', 'qcow2'),
                             lambda value=value: make(value)))
        return make
    return register


def content(path, size=6 * MIB, seed=1):
    """A raw file: random, compressible and zero pieces, and holes."""
    rng = random.Random(seed)
    with open(path, 'wb') as out:
        at = 0
        while at < size:
            n = min(rng.choice((512, 4096, 20000, 65536, 200000)), size - at)
            kind = rng.randrange(5)
            out.seek(at)
            if kind == 0:
                out.write(rng.randbytes(n))
            elif kind == 1:
                out.write((b'%07d of compressible text' % at) * (n // 26 + 1))
                out.truncate(at + n)
            elif kind == 2:
                out.write(bytes(n))
            at += n
        out.truncate(size)


def create(path, size, *options, backing=None, backing_format='qcow2'):
    args = ['create', '-q', '-f', 'qcow2']
    if options:
        args += ['-o', ','.join(options)]
    if backing:
        args += ['-b', backing, '-F', backing_format]
    qemu_img(*args, path, *([size] if size is not None else []))


def scatter(path, size, seed, count=40, zeroes=True, unit=512, extra=()):
    """Random writes, write-zeroes and discards."""
    rng = random.Random(seed)
    commands = []
    for _ in range(count):
        n = min(rng.choice((1, 8, 9, 128, 300)) * unit, size)
        at = rng.randrange(0, (size - n) // unit + 1) * unit
        kind = rng.randrange(6)
        if not zeroes or kind < 4:
            commands.append('write -q -P %d %d %d' % (rng.randrange(1, 256),
                                                      at, n))
        elif kind == 4:
            commands.append('write -q -z %s %d %d' % (
                rng.choice(('', '-u')), at, n))
        else:
            commands.append('discard -q %d %d' % (at, n))
    qemu_io(path, commands + list(extra))


def patch(path, offset, data):
    with open(path, 'r+b') as out:
        out.seek(offset)
        out.write(data)


def peek(path, offset, size):
    with open(path, 'rb') as file:
        file.seek(offset)
        return file.read(size)


# -- one layer --------------------------------------------------------------

@each('plain', [(compat, size) for compat in ('0.10', '1.1')
                for size in CLUSTER_SIZES])
def plain(value):
    compat, size = value
    create('top.qcow2', '24M', 'compat=' + compat, 'cluster_size=%d' % size)
    scatter('top.qcow2', 24 * MIB, size, zeroes=compat == '1.1')


@each('zlib', [(compat, size) for compat in ('0.10', '1.1')
               for size in CLUSTER_SIZES])
def zlib(value):
    compat, size = value
    content('content', seed=size)
    qemu_img('convert', '-q', '-c', '-f', 'raw', '-O', 'qcow2', '-o',
             'compat=%s,cluster_size=%d' % (compat, size), 'content',
             'top.qcow2')
    os.remove('content')


@each('zstd', CLUSTER_SIZES)
def zstd(size):
    content('content', seed=size)
    qemu_img('convert', '-q', '-c', '-f', 'raw', '-O', 'qcow2', '-o',
             'compression_type=zstd,cluster_size=%d' % size, 'content',
             'top.qcow2')
    os.remove('content')


@each('compressed_then_written', ('zlib', 'zstd'))
def compressed_then_written(kind):
    content('content')
    qemu_img('convert', '-q', '-c', '-f', 'raw', '-O', 'qcow2', '-o',
             'compression_type=%s,cluster_size=64k' % kind, 'content',
             'top.qcow2')
    scatter('top.qcow2', 6 * MIB, 5)
    for k in (3, 9, 50, 51):
        qemu_io('top.qcow2', ['discard -q %d 64k' % (k * 65536),
                              'write -q -c -P 77 %d 64k' % (k * 65536)])
    os.remove('content')


@flavour('compressed_partial_end')
def compressed_partial_end():
    content('content', 5 * MIB + 1536)
    qemu_img('convert', '-q', '-c', '-f', 'raw', '-O', 'qcow2', 'content',
             'top.qcow2')
    os.remove('content')


@flavour('zero_clusters')
def zero_clusters():
    create('top.qcow2', '8M')
    qemu_io('top.qcow2', ['write -q -P 1 0 4M', 'write -q -z 1M 1M',
                          'write -q -z -u 2M 512k', 'discard -q 3M 256k',
                          'write -q -z 5M 1M', 'write -q -z 6M 4k'])


@each('extended', [(size, backing) for size in (16384, 65536, 2097152)
                   for backing in ('none', 'raw', 'qcow2')])
def extended(value):
    size, backing = value
    if backing == 'raw':
        content('base', 12 * MIB)
    elif backing == 'qcow2':
        create('base', '12M')
        scatter('base', 12 * MIB, 3)
    create('top.qcow2', '12M', 'extended_l2=on', 'cluster_size=%d' % size,
           backing=None if backing == 'none' else 'base',
           backing_format=backing)
    scatter('top.qcow2', 12 * MIB, size + 1, count=80)


@each('extended_compressed', ('zlib', 'zstd'))
def extended_compressed(kind):
    content('content')
    qemu_img('convert', '-q', '-c', '-f', 'raw', '-O', 'qcow2', '-o',
             'extended_l2=on,compression_type=' + kind, 'content', 'top.qcow2')
    scatter('top.qcow2', 6 * MIB, 8)
    os.remove('content')


@each('preallocated', [(mode, compat) for mode in
                       ('off', 'metadata', 'falloc', 'full')
                       for compat in ('0.10', '1.1')])
def preallocated(value):
    mode, compat = value
    create('top.qcow2', '6M', 'preallocation=' + mode, 'compat=' + compat)
    qemu_io('top.qcow2', ['write -q -P 5 100k 300k', 'write -q -P 6 4M 4k'])


@flavour('preallocated_zeroed')
def preallocated_zeroed():
    create('top.qcow2', '6M', 'preallocation=metadata')
    qemu_io('top.qcow2', ['write -q -P 5 100k 300k', 'write -q -z 1M 1M',
                          'write -q -z 300k 100k', 'discard -q 4M 1M'])


@flavour('preallocated_extended')
def preallocated_extended():
    create('top.qcow2', '6M', 'preallocation=metadata', 'extended_l2=on')
    qemu_io('top.qcow2', ['write -q -P 5 100k 300k', 'write -q -z 1M 1M'])


@each('refcount_bits', (1, 2, 4, 8, 16, 32, 64))
def refcount_bits(bits):
    create('top.qcow2', '12M', 'refcount_bits=%d' % bits)
    scatter('top.qcow2', 12 * MIB, bits)


@flavour('dirty')
def dirty():
    create('top.qcow2', '12M', 'lazy_refcounts=on')
    scatter('top.qcow2', 12 * MIB, 2, extra=())
    qemu_io('top.qcow2', ['write -q -P 9 1M 300k', 'flush', 'abort'], ok=None)
    assert peek('top.qcow2', 79, 1) == b'\1'


@flavour('lazy')
def lazy():
    create('top.qcow2', '12M', 'lazy_refcounts=on')
    scatter('top.qcow2', 12 * MIB, 2)


@flavour('snapshots')
def snapshots():
    create('top.qcow2', '12M')
    scatter('top.qcow2', 12 * MIB, 21)
    for n in range(3):
        qemu_img('snapshot', '-c', 'snap%d' % n, 'top.qcow2')
        scatter('top.qcow2', 12 * MIB, 22 + n)


@flavour('snapshot_reverted')
def snapshot_reverted():
    snapshots()
    qemu_img('snapshot', '-a', 'snap1', 'top.qcow2')
    scatter('top.qcow2', 12 * MIB, 30, count=5)
    qemu_img('snapshot', '-d', 'snap0', 'top.qcow2')


@flavour('bitmaps')
def bitmaps():
    create('top.qcow2', '12M')
    qemu_img('bitmap', '--add', 'top.qcow2', 'b0')
    qemu_img('bitmap', '--add', '-g', '4k', 'top.qcow2', 'b1')
    scatter('top.qcow2', 12 * MIB, 40)
    qemu_img('bitmap', '--disable', 'top.qcow2', 'b1')


@each('tail', ('zero', 'random'))
def tail(kind):
    create('top.qcow2', '6M')
    scatter('top.qcow2', 6 * MIB, 50)
    with open('top.qcow2', 'ab') as out:
        out.write(bytes(12 * MIB + 512) if kind == 'zero'
                  else random.Random(1).randbytes(12 * MIB + 512))


@flavour('cut_last_cluster')
def cut_last_cluster():
    create('top.qcow2', '6M')
    qemu_io('top.qcow2', ['write -q -P 7 128k 192k'])
    os.truncate('top.qcow2', os.path.getsize('top.qcow2') - 60000)


@each('size', (0, 512, 1024, 65024, 65536, 66048, 3 * MIB + 512,
               1073741824 + 512))
def odd_size(size):
    create('top.qcow2', size)
    if size:
        qemu_io('top.qcow2', ['write -q -P 3 %d 512' % (size - 512)])


@flavour('tebibytes')
def tebibytes():
    create('top.qcow2', '8T')
    qemu_io('top.qcow2', ['write -q -P %d %dG 64k' % (k + 1, k * 199)
                          for k in range(41)])


@flavour('unknown_bits')
def unknown_bits():
    create('top.qcow2', '6M')
    scatter('top.qcow2', 6 * MIB, 60)
    patch('top.qcow2', 80, struct.pack('>Q', 1 << 40))
    patch('top.qcow2', 88, struct.pack('>Q', 1 << 41))


@flavour('unknown_extension')
def unknown_extension():
    create('top.qcow2', '6M')
    scatter('top.qcow2', 6 * MIB, 60)
    end = peek('top.qcow2', 112, 2000)
    patch('top.qcow2', 112, struct.pack('>II', 0x12345678, 3) + b'abc\0\0\0\0\0'
          + end)


@flavour('long_header')
def long_header():
    create('top.qcow2', '6M')
    scatter('top.qcow2', 6 * MIB, 61)
    rest = peek('top.qcow2', 112, 2000)
    patch('top.qcow2', 112, bytes(16) + rest)
    patch('top.qcow2', 100, struct.pack('>I', 128))


@flavour('grown')
def grown():
    create('top.qcow2', '5M')
    scatter('top.qcow2', 5 * MIB, 70)
    qemu_img('resize', '-q', 'top.qcow2', '1200M')
    qemu_io('top.qcow2', ['write -q -P 8 1100M 100k'])


@flavour('shrunk')
def shrunk():
    create('top.qcow2', '1200M')
    qemu_io('top.qcow2', ['write -q -P 8 1100M 100k', 'write -q -P 4 4M 1M'])
    qemu_img('resize', '-q', '--shrink', 'top.qcow2', 4 * MIB + 512)


@each('amended', ('0.10', '1.1'))
def amended(compat):
    create('top.qcow2', '12M', 'compat=' + ('1.1' if compat == '0.10'
                                            else '0.10'))
    scatter('top.qcow2', 12 * MIB, 80, zeroes=False)
    qemu_img('amend', '-f', 'qcow2', '-o', 'compat=' + compat, 'top.qcow2')


# -- chains -----------------------------------------------------------------

@each('over_raw', (64512, 5 * MIB + 512, 12 * MIB, 24 * MIB))
def over_raw(size):
    content('base', size)
    create('top.qcow2', '12M', backing='base', backing_format='raw')
    scatter('top.qcow2', 12 * MIB, size)


@flavour('over_raw_of_odd_size')
def over_raw_of_odd_size():
    content('base', 3 * MIB + 777)
    create('top.qcow2', '12M', backing='base', backing_format='raw')
    scatter('top.qcow2', 12 * MIB, 1)


@each('over_qcow2', (64512, 5 * MIB + 512, 12 * MIB, 24 * MIB))
def over_qcow2(size):
    create('base', size)
    scatter('base', size, 4)
    create('top.qcow2', '12M', backing='base')
    scatter('top.qcow2', 12 * MIB, size)


@each('over_clusters', [(top, base) for top in (512, 65536, 2097152)
                        for base in (1024, 65536, 1048576)])
def over_clusters(value):
    top, base = value
    create('base', '12M', 'cluster_size=%d' % base)
    scatter('base', 12 * MIB, 4)
    create('top.qcow2', '12M', 'cluster_size=%d' % top, backing='base')
    scatter('top.qcow2', 12 * MIB, 6)


@flavour('over_compressed')
def over_compressed():
    content('content', 12 * MIB)
    qemu_img('convert', '-q', '-c', '-f', 'raw', '-O', 'qcow2', 'content',
             'base')
    create('top.qcow2', '12M', 'cluster_size=4k', backing='base')
    scatter('top.qcow2', 12 * MIB, 6)
    os.remove('content')


@flavour('short_middle')
def short_middle():
    create('base', '24M')
    qemu_io('base', ['write -q -P 1 0 24M'])
    create('middle', '1M', backing='base')
    qemu_io('middle', ['write -q -P 2 100k 100k'])
    create('top.qcow2', '8M', backing='middle')
    qemu_io('top.qcow2', ['write -q -P 3 4M 100k', 'write -q -z 200k 64k'])


@flavour('vdsm_chain')
def vdsm_chain():
    content('base', 12 * MIB)
    below, form = 'base', 'raw'
    for n in range(5):
        name = 'top.qcow2' if n == 4 else 'layer%d' % n
        create(name, '%dM' % (12 + 3 * n), 'compat=1.1', backing=below,
               backing_format=form)
        scatter(name, (12 + 3 * n) * MIB, 90 + n)
        below, form = name, 'qcow2'


@flavour('thirty_layers')
def thirty_layers():
    create('layer0', '12M')
    scatter('layer0', 12 * MIB, 99)
    for n in range(1, 31):
        name = 'top.qcow2' if n == 30 else 'layer%d' % n
        create(name, '12M', backing='layer%d' % (n - 1))
        scatter(name, 12 * MIB, 100 + n, count=6)


@flavour('rebased_to_nothing')
def rebased_to_nothing():
    over_qcow2(12 * MIB)
    qemu_img('rebase', '-b', '', '-f', 'qcow2', 'top.qcow2')


@flavour('committed')
def committed():
    short_middle()
    qemu_img('commit', '-q', '-f', 'qcow2', '-b', 'middle', '-d', 'top.qcow2')
    os.rename('middle', 'top.qcow2')


@flavour('preallocated_over_raw')
def preallocated_over_raw():
    content('base', 5 * MIB)
    create('top.qcow2', '6M', 'preallocation=metadata')
    qemu_io('top.qcow2', ['write -q -P 5 100k 300k'])
    qemu_img('rebase', '-u', '-b', 'base', '-F', 'raw', '-f', 'qcow2',
             'top.qcow2')


# -- raw --------------------------------------------------------------------

@each('raw', (0, 512, 6 * MIB, 6 * MIB + 333), fmt='raw', top='top.raw')
def raw(size):
    content('top.raw', size)


@flavour('raw_full', 'raw', 'top.raw')
def raw_full():
    with open('top.raw', 'wb') as out:
        out.write(random.Random(1).randbytes(6 * MIB))


@flavour('raw_looks_like_qcow2', 'raw', 'top.raw')
def raw_looks_like_qcow2():
    create('guest', '6M')
    os.rename('guest', 'top.raw')


def make_all(where, pattern='*'):
    """Yields (name, folder, file, format)."""
    for name, top, fmt, make in FLAVOURS:
        if not fnmatch.fnmatch(name, pattern):
            continue
        folder = os.path.join(where, name)
        os.mkdir(folder)
        home = os.getcwd()
        os.chdir(folder)
        try:
            make()
        finally:
            os.chdir(home)
        yield name, folder, top, fmt


if __name__ == '__main__':
    for made in make_all(sys.argv[1], *sys.argv[2:3]):
        print(*made[1:])
