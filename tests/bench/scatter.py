#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A qcow2 image of which only the tables are real, for the cost of a map.

scatter.py FILE SIZE CLUSTERS [BACKING]: SIZE virtual bytes, CLUSTERS of
64 KiB allocated, never two adjacent ones, in a random order of the file.  The
data are a hole.  With BACKING it is a layer over that file.
"""
import array
import random
import struct
import sys

CLUSTER = 65536
ENTRIES = CLUSTER // 8
COPIED = 1 << 63


def header(size, l1_entries, l1, reftable, backing):
    raw = bytearray(CLUSTER)
    struct.pack_into('>4sI', raw, 0, b'QFI\xfb', 3)
    struct.pack_into('>IQ', raw, 20, 16, size)
    struct.pack_into('>IQQI', raw, 36, l1_entries, l1, reftable, 1)
    struct.pack_into('>II', raw, 96, 4, 112)
    if backing:
        name = backing.encode()
        struct.pack_into('>II5s', raw, 112, 0xe2792aca, 5, b'qcow2')
        struct.pack_into('>QI', raw, 8, 136, len(name))
        raw[136:136 + len(name)] = name
    return raw


def big_endian(values):
    table = array.array('Q', values)
    table.byteswap()
    return table.tobytes()


def main(path, size, count, backing=None):
    rng = random.Random(7)
    clusters = size // CLUSTER
    tables = -(-clusters // ENTRIES)
    l1_clusters = -(-tables * 8 // CLUSTER)
    l1 = 2 * CLUSTER
    l2 = l1 + l1_clusters * CLUSTER
    data = l2 + tables * CLUSTER
    step = clusters // count
    hosts = list(range(count))
    rng.shuffle(hosts)
    with open(path, 'wb') as out:
        out.write(header(size, tables, l1, CLUSTER, backing))
        out.seek(l1)
        out.write(big_endian(l2 + i * CLUSTER | COPIED
                             for i in range(tables)))
        at = 0
        for i in range(tables):
            table = array.array('Q', bytes(CLUSTER))
            for cluster in range(-(-i * ENTRIES // step) * step,
                                 (i + 1) * ENTRIES, step):
                if at == count:
                    break
                table[cluster % ENTRIES] = (data + hosts[at] * CLUSTER
                                            | COPIED)
                at += 1
            table.byteswap()
            out.seek(l2 + i * CLUSTER)
            out.write(table.tobytes())
        out.truncate(data + count * CLUSTER)


if __name__ == '__main__':
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:5])
