# SPDX-License-Identifier: Apache-2.0
"""forward.py PID PORT: who connects to 127.0.0.1:PORT in the network namespace
of PID is connected to that port here, where the lab's engine listens.  Prints
"ready"; ends when it is killed."""

import ctypes
import os
import socket
import sys
import threading

CLONE_NEWNET = 0x40000000
CHUNK = 1 << 16


def enter(namespace):
    if ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET) < 0:
        raise OSError(ctypes.get_errno(), 'setns')


def listener(pid, port):
    """A socket of that namespace; a socket stays where it was made."""
    here = os.open('/proc/self/ns/net', os.O_RDONLY)
    there = os.open('/proc/%d/ns/net' % pid, os.O_RDONLY)
    enter(there)
    try:
        return socket.create_server(('127.0.0.1', port), backlog=64)
    finally:
        enter(here)


def pump(source, sink):
    try:
        while data := source.recv(CHUNK):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def serve(client, port):
    with client, socket.create_connection(('127.0.0.1', port)) as engine:
        back = threading.Thread(target=pump, args=(engine, client))
        back.start()
        pump(client, engine)
        back.join()


def main(pid, port):
    server = listener(pid, port)
    print('ready', flush=True)
    while True:
        client, _ = server.accept()
        threading.Thread(target=serve, args=(client, port),
                         daemon=True).start()


if __name__ == '__main__':
    main(int(sys.argv[1]), int(sys.argv[2]))
