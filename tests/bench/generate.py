# SPDX-License-Identifier: Apache-2.0
"""generate.py OUT.qcow2 [GIB]: a disk as a bench wants it, the same bytes each
time: GIB (6) of virtual size, about 40 % allocated in runs of 64 KiB to 4 MiB;
of the data 55 % text that compresses, 37 % noise, 8 % pages of zeros in
between."""

import os
import random
import subprocess
import sys

MIB = 1 << 20


def pools(source):
    words = ['w%05x' % source.randrange(1 << 20) for _ in range(4096)]
    text = ' '.join(source.choice(words) for _ in range(700000)).encode()
    return text[:4 * MIB], source.randbytes(16 * MIB)


def piece(source, text, noise, length):
    kind = source.random()
    if kind < 0.55:
        start = source.randrange(len(text) - MIB)
        data = (text[start:] + text)[:length]
        return data + text[:length - len(data)]
    if kind < 0.92:
        start = source.randrange(len(noise) - 5 * MIB)
        return noise[start:start + length]
    start = source.randrange(len(noise) - 5 * MIB)
    return (noise[start:start + 4096] + bytes(12288)) * (length // 16384)


def main(out, gib='6'):
    source = random.Random(20261120)
    size = int(gib) << 30
    text, noise = pools(source)
    raw = out + '.raw'
    with open(raw, 'wb', buffering=0) as image:
        image.truncate(size)
        offset = 0
        while offset < size:
            length = min(source.choice((1, 2, 4, 8, 16, 32, 64)) * 65536,
                         size - offset)
            if source.random() < 0.4:
                image.seek(offset)
                image.write(piece(source, text, noise, length))
            offset += length
    subprocess.run(['qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', '-m',
                    '4', '-W', raw, out], check=True)
    os.unlink(raw)


if __name__ == '__main__':
    main(*sys.argv[1:])
