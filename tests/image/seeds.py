#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the seeds of fuzz_qcow2, fuzz_chain and fuzz_writer in tests/data/fuzz
again."""
import os
import shutil
import struct
import tempfile

from flavours import create
from qemu import qemu_img, qemu_io

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'data',
                    'fuzz')

ONE = (('v2', ('compat=0.10', 'cluster_size=512')),
       ('v3', ('cluster_size=512',)),
       ('zstd', ('cluster_size=512', 'compression_type=zstd')),
       ('cluster4k', ('cluster_size=4k',)),
       ('bits1', ('cluster_size=512', 'refcount_bits=1')),
       ('bits64', ('cluster_size=512', 'refcount_bits=64')),
       ('extended', ('cluster_size=16k', 'extended_l2=on')))


def save(target, name, data):
    with open(os.path.join(HERE, target, name), 'wb') as out:
        out.write(data)


def load(path):
    with open(path, 'rb') as file:
        return file.read()


def main():
    for target in ('qcow2', 'chain', 'writer'):
        os.makedirs(os.path.join(HERE, target), exist_ok=True)
    where = tempfile.mkdtemp()
    os.chdir(where)
    for name, options in ONE:
        create(name, '100k', *options)
        qemu_io(name, ['write -q -c -P 3 32k 16k', 'write -q -P 1 1k 1k'])
        if name != 'v2':
            qemu_io(name, ['write -q -z 0 16k', 'write -q -P 5 60k 2k'])
        save('qcow2', name, load(name))
    qemu_img('snapshot', '-c', 's', 'v3')
    qemu_io('v3', ['write -q -P 9 1k 2k'])
    save('qcow2', 'snapshot', load('v3'))
    qemu_img('bitmap', '--add', 'cluster4k', 'b')
    qemu_io('cluster4k', ['write -q -P 9 1k 2k'])
    save('qcow2', 'bitmap', load('cluster4k'))
    create('top', '60k', 'cluster_size=1k', backing='v3')
    qemu_io('top', ['write -q -P 11 3k 2k', 'write -q -z 40k 3k'])
    save('qcow2', 'backing', load('top'))
    layers = [load('top'), load('v3')]
    save('chain', 'two', b''.join(struct.pack('>I', len(layer)) + layer
                                  for layer in layers))
    create('raw_top', '9k', 'cluster_size=512', backing='v3')
    layers = [load('raw_top'), bytes(range(256)) * 31]
    save('chain', 'raw', b''.join(struct.pack('>I', len(layer)) + layer
                                  for layer in layers))
    layers = [load('top'), load('raw_top'), load('extended')]
    save('chain', 'three', b''.join(struct.pack('>I', len(layer)) + layer
                                    for layer in layers))
    for n in range(4):
        save('writer', 'program%d' % n,
             struct.pack('>BBI', n * 2, n, 3000 + n * 777)
             + b''.join(struct.pack('>HBB', k * 13, k % 7, k)
                        for k in range(40)))
    shutil.rmtree(where)


if __name__ == '__main__':
    main()
