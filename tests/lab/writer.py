# SPDX-License-Identifier: Apache-2.0
"""The guest of a running VM: writes to its disks over NBD and never stops.

    writer.py SOCKET PIDFILE SEED RATE EXPORT...

About RATE operations a second over all disks: small writes of mixed content, zeroes, discards and
flushes, in a few regions so that a layer does not grow without end.  Every tenth operation a
counter goes to each disk in turn, at TICK bytes, the next disk only after a flush of the one
before: in any consistent point in time the counters of the disks fall by at most one from the first
disk to the last.  Goes to the background when each disk was written once, and ends when the server
does.
"""

import os
import random
import socket
import struct
import sys
import time

NBDMAGIC = 0x4E42444D41474943
IHAVEOPT = 0x49484156454F5054
OPT_GO = 7
REP_MAGIC = 0x3E889045565A9
REP_ACK, REP_INFO = 1, 3
REQUEST_MAGIC = 0x25609513
REPLY_MAGIC = 0x67446698
READ, WRITE, FLUSH, TRIM, WRITE_ZEROES = 0, 1, 3, 4, 6
SECTOR = 512
TICK = 8192
REGIONS = 24
REGION = 256 << 10
LARGEST = 64 << 10
RECONNECT = 3


class Disk:
    """One export; a request at a time."""

    def __init__(self, path, export):
        self.path = path
        self.export = export
        self.connect()

    def connect(self):
        path, export = self.path, self.export
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
        magic, option, _flags = struct.unpack('>QQH', self._read(18))
        if magic != NBDMAGIC or option != IHAVEOPT:
            raise ConnectionError('not a newstyle NBD server')
        self.sock.sendall(struct.pack('>I', 3))
        name = export.encode()
        data = struct.pack('>I', len(name)) + name + struct.pack('>H', 0)
        self.sock.sendall(struct.pack('>QII', IHAVEOPT, OPT_GO, len(data)) + data)
        self.size = 0
        while True:
            magic, _option, kind, length = struct.unpack('>QIII', self._read(20))
            body = self._read(length)
            if magic != REP_MAGIC or kind & 0x80000000:
                raise ConnectionError('export %s: reply %#x %r' % (export, kind, body))
            if kind == REP_INFO and body[:2] == b'\0\0':
                self.size = struct.unpack('>Q', body[2:10])[0]
            if kind == REP_ACK:
                break

    def request(self, command, offset=0, length=0, data=b''):
        self.sock.sendall(
            struct.pack('>IHHQQI', REQUEST_MAGIC, 0, command, 0, offset, length) + data
        )
        magic, error, _handle = struct.unpack('>IIQ', self._read(16))
        if magic != REPLY_MAGIC:
            raise ConnectionError('bad reply')
        if error:
            raise OSError(error, 'request %d at %d, length %d' % (command, offset, length))

    def _read(self, count):
        data = b''
        while len(data) < count:
            part = self.sock.recv(count - len(data))
            if not part:
                raise ConnectionError('server is gone')
            data += part
        return data

    def reconnect(self):
        """An export goes for a moment when its disk grows; false: it was unplugged."""
        self.sock.close()
        deadline = time.monotonic() + RECONNECT
        while time.monotonic() < deadline:
            try:
                self.connect()
                return True
            except OSError:
                time.sleep(0.1)
        return False


class Guest:
    def __init__(self, disks, seed):
        self.disks = disks
        self.random = random.Random(seed)
        self.ticks = 0
        self.regions = []
        for disk in disks:
            offsets = [
                self.random.randrange(0, max(disk.size - REGION, 1)) // SECTOR * SECTOR
                for _ in range(REGIONS)
            ]
            self.regions.append(offsets + [max(disk.size - REGION, 0)])

    def mend(self):
        """Connect again; the disks that are gone are dropped, without any the guest ends."""
        kept = [
            (disk, offsets) for disk, offsets in zip(self.disks, self.regions) if disk.reconnect()
        ]
        if not kept:
            raise ConnectionError('all disks are gone')
        self.disks = [disk for disk, _ in kept]
        self.regions = [offsets for _, offsets in kept]

    def tick(self):
        self.ticks += 1
        block = (b'tick %d\n' % self.ticks).ljust(SECTOR, b'.')
        for disk in self.disks:
            if disk.size >= TICK + SECTOR:
                disk.request(WRITE, TICK, SECTOR, block)
            disk.request(FLUSH)

    def step(self, number):
        if number % 10 == 0:
            self.tick()
            return
        which = self.random.randrange(len(self.disks))
        disk = self.disks[which]
        start = self.random.choice(self.regions[which])
        offset = start + self.random.randrange(0, REGION // SECTOR) * SECTOR
        length = self.random.choice((SECTOR, 4096, 4096, 8192, 16384, LARGEST))
        if number % 3:
            offset = offset // 4096 * 4096
        offset = min(offset, disk.size - SECTOR)
        length = min(length, disk.size - offset) // SECTOR * SECTOR
        kind = self.random.random()
        if kind < 0.70:
            disk.request(WRITE, offset, length, self.content(length, number))
        elif kind < 0.85:
            disk.request(WRITE_ZEROES, offset, length)
        else:
            disk.request(
                TRIM, offset // 65536 * 65536, min(131072, disk.size - offset // 65536 * 65536)
            )

    def content(self, length, number):
        if self.random.random() < 0.5:
            return self.random.randbytes(length)
        line = b'%08d guest log line, %d bytes\n' % (number, length)
        return (line * (length // len(line) + 1))[:length]


def main(argv):
    path, pidfile, seed, rate = argv[1], argv[2], int(argv[3]), float(argv[4])
    guest = Guest([Disk(path, export) for export in argv[5:]], seed)
    guest.tick()
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    with open(pidfile, 'w') as out:
        out.write('%d\n' % os.getpid())
    null = os.open('/dev/null', os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    number = 0
    while True:
        number += 1
        try:
            guest.step(number)
        except ConnectionError:
            guest.mend()
        except OSError:
            # As a VM that is paused for an error of its disk, and goes on when that is well.
            time.sleep(1)
        time.sleep(1 / rate)


if __name__ == '__main__':
    try:
        main(sys.argv)
    except (ConnectionError, OSError) as error:
        sys.exit('writer: %s' % error)
