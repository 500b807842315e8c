#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Pushed to a host in place of the helper: starts the real one, which keeps
standard input and output for itself, and adds a line to PLACE/read: how many
bytes it has read from files, by the kernel's account of processes that ended."""

import os
import subprocess
import sys

PLACE = '/usr/lib/lab/meter'


def read_bytes():
    with open('/proc/self/io') as source:
        return int(source.readline().split()[1])


def main(argv):
    real = PLACE + '/helper'
    if argv[1:2] != ['--unlink']:
        os.execv(real, ['chainlift-remote'] + argv[1:])
    os.unlink(argv[2])
    os.rmdir(os.path.dirname(argv[2]))
    before = read_bytes()
    status = subprocess.call(['chainlift-remote'], executable=real)
    count = read_bytes() - before
    with open(PLACE + '/read', 'a') as out:
        out.write('%d\n' % count)
    return status if status >= 0 else 128 - status


if __name__ == '__main__':
    sys.exit(main(sys.argv))
