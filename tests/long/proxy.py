# SPDX-License-Identifier: Apache-2.0
"""Between controller and sshd: a TCP proxy that breaks one connection.

    proxy = Proxy (address, port)     .port is where it listens
    proxy.arm (mode, direction, offset, again)
    proxy.heal ()                     all that hangs is cut; nothing is armed

direction: 'up' (to the host) or 'down'.  offset: bytes of that direction, over
all connections since it was armed.  Modes:

    reset     both sides get a reset
    truncate  the stream ends there, both sides are closed in good order
    drop      neither direction goes on, and nobody is told
    stall     this direction does not go on
    corrupt   one bit is flipped
    lose      some bytes are left out

It happens once, or with `again` after each such count of bytes."""

import socket
import struct
import threading

PIECE = 65536


class Link:
    """One connection and its two directions."""

    def __init__(self, proxy, client, server):
        self.proxy = proxy
        self.ends = {'up': (client, server), 'down': (server, client)}
        self.silent = set()
        for way in self.ends:
            threading.Thread(target=self.carry, args=(way,),
                             daemon=True).start()

    def carry(self, way):
        source, target = self.ends[way]
        try:
            while data := source.recv(PIECE):
                data = self.proxy.meddle(self, way, data)
                if way in self.silent:
                    return          # it is read no more
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            self.cut()

    def cut(self, reset=True):
        for end in self.ends['up']:
            try:
                if reset:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                   struct.pack('ii', 1, 0))
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()


class Proxy:
    def __init__(self, address, port):
        self.target = (address, port)
        self.lock = threading.Lock()
        self.links = []
        self.count = {'up': 0, 'down': 0}
        self.fault = None
        self.fired = 0
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self.target, 10)
                server.settimeout(None)
            except OSError:
                client.close()
                continue
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.links.append(Link(self, client, server))

    def arm(self, mode, way, offset, again=False):
        with self.lock:
            self.count = {'up': 0, 'down': 0}
            self.fired = 0
            self.fault = (mode, way, offset, again)

    def heal(self):
        """-> how often it has happened."""
        with self.lock:
            self.fault = None
            links, self.links = self.links, []
        for link in links:
            link.cut()
        return self.fired

    def close(self):
        self.heal()
        self.listener.close()

    def meddle(self, link, way, data):
        """What is to be sent on of data."""
        with self.lock:
            begin = self.count[way]
            self.count[way] = begin + len(data)
            if self.fault is None or self.fault[1] != way \
                    or not begin <= self.fault[2] < self.count[way]:
                return data
            mode, _, offset, again = self.fault
            at = offset - begin
            self.fired += 1
            if again:
                self.count[way] = 0
            else:
                self.fault = None
        if mode == 'corrupt':
            return data[:at] + bytes([data[at] ^ 1 << offset % 8]) \
                + data[at + 1:]
        if mode == 'lose':
            return data[:at] + data[at + 1 + offset % 1000:]
        link.ends[way][1].sendall(data[:at])
        if mode in ('drop', 'stall'):
            link.silent |= {'up', 'down'} if mode == 'drop' else {way}
        else:
            link.cut(mode == 'reset')
        return b''
