# SPDX-License-Identifier: Apache-2.0
"""Hold a lease as a process does that is between its lock and its text.

  holder.py LEASE TEXT     lock the file LEASE, wait until another process has
                           it open (30 s at most), let a moment go by, write
                           what is in the file TEXT, hold it for 3 s more

Exit 1 when nobody came."""

import fcntl
import glob
import os
import struct
import sys
import time


def others(path):
    for link in glob.glob('/proc/[0-9]*/fd/*'):
        if not link.startswith('/proc/%d/' % os.getpid()):
            try:
                if os.readlink(link) == path:
                    return True
            except OSError:
                pass
    return False


def main(argv):
    path = os.path.realpath(argv[1])
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    # struct flock: F_WRLCK from SEEK_SET, the whole file; 37 is F_OFD_SETLK
    fcntl.fcntl(fd, 37, struct.pack('hhlli4x', fcntl.F_WRLCK, 0, 0, 0, 0))
    print('locked', flush=True)
    end = time.monotonic() + 30
    while not others(path):
        if time.monotonic() > end:
            sys.exit(1)
        time.sleep(0.005)
    time.sleep(0.3)
    with open(argv[2], 'rb') as text:
        os.pwrite(fd, text.read(), 0)
    time.sleep(3)


main(sys.argv)
