#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Pushed to a host in place of the helper: starts the real one and spoils what
passes between it and sshd, below the checks of SSH.

PLACE/helper is the real one; PLACE/fault is taken by the first that finds it:
{"mode": , "way": "up" or "down", "offset": , "length": }, with the modes

    flip    one bit                     lose    length bytes are left out
    add     length bytes are put in     end     the stream ends there
    hang    nothing goes on, without an end
    frame-lost, frame-twice             the frame at offset, whole

When it has happened PLACE/fired is made; PLACE/count says how many bytes went
each way."""

import json
import os
import struct
import subprocess
import sys
import threading

PLACE = '/usr/lib/lab/wire'
PIECE = 65536
HEADER = 32


def take_fault():
    try:
        os.rename(PLACE + '/fault', PLACE + '/taken.%d' % os.getpid())
    except FileNotFoundError:
        return {}
    with open(PLACE + '/taken.%d' % os.getpid()) as source:
        fault = json.load(source)
    os.unlink(PLACE + '/taken.%d' % os.getpid())
    return fault


class Way:
    """One direction, from one descriptor to another."""

    def __init__(self, fault, source, target):
        self.fault = fault
        self.source = source
        self.target = target
        self.count = 0
        self.silent = False

    def send(self, data):
        while data and not self.silent:
            data = data[os.write(self.target, data):]

    def fire(self):
        open(PLACE + '/fired', 'w').close()
        fault, self.fault = self.fault, {}
        return fault['mode'], fault['length']

    def reached(self, size):
        """Is the offset within the next bytes?"""
        return self.fault and self.fault['offset'] < self.count + size

    def spoil(self, data):
        at = self.fault['offset'] - self.count
        mode, length = self.fire()
        if mode == 'flip':
            data = data[:at] + bytes([data[at] ^ 1 << length % 8]) \
                + data[at + 1:]
        elif mode == 'lose':
            data = data[:at] + data[at + length:]
        elif mode == 'add':
            data = data[:at] + os.urandom(length) + data[at:]
        else:
            self.send(data[:at])
            self.silent = True
            if mode == 'end':
                os.close(self.target)
                self.target = -1
            data = b''
        return data

    def read(self, size):
        data = b''
        while len(data) < size:
            more = os.read(self.source, size - len(data))
            if not more:
                break
            data += more
        return data

    def frame(self):
        head = self.read(HEADER)
        if len(head) < HEADER:
            return head
        return head + self.read(struct.unpack_from('<I', head, 16)[0])

    def piece(self):
        """The next bytes as they go on; None at the end."""
        if self.fault and self.fault['mode'].startswith('frame'):
            data = self.frame()
            again = data
            if data and self.reached(len(data)):
                again = data * 2 if self.fire()[0] == 'frame-twice' else b''
        else:
            data = again = os.read(self.source, PIECE)
            if data and self.reached(len(data)):
                again = self.spoil(data)
        self.count += len(data)
        return again if data else None

    def run(self):
        try:
            while (data := self.piece()) is not None:
                self.send(data)
        except OSError:
            pass
        if self.target >= 0:
            os.close(self.target)


def main(argv):
    real = PLACE + '/helper'
    if argv[1:2] != ['--unlink']:
        os.execv(real, ['chainlift-remote'] + argv[1:])
    os.unlink(argv[2])
    os.rmdir(os.path.dirname(argv[2]))
    helper = subprocess.Popen(['chainlift-remote'], executable=real,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    fault = take_fault()
    ways = {'up': Way({}, 0, helper.stdin.fileno()),
            'down': Way({}, helper.stdout.fileno(), 1)}
    if fault:
        ways[fault['way']].fault = fault
    threads = {name: threading.Thread(target=way.run, daemon=True)
               for name, way in ways.items()}
    for thread in threads.values():
        thread.start()
    status = helper.wait()
    threads['down'].join(5)  # what it said last is on its way still
    with open(PLACE + '/count', 'w') as out:
        json.dump({name: way.count for name, way in ways.items()}, out)
    os._exit(status if status >= 0 else 128 - status)


if __name__ == '__main__':
    main(sys.argv)
