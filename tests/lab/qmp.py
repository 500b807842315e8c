# SPDX-License-Identifier: Apache-2.0
"""QMP, QEMU's control protocol, over a unix socket; every wait has a limit."""

import json
import socket
import time


class QmpError(Exception):
    """A command was refused or QEMU is gone."""


class Qmp:
    """One connection, to a path or over a socket that is given (its own from then on).  QEMU serves
    one at a time: close it soon (it is a context manager)."""

    def __init__(self, path, timeout=30, sock=None):
        self.timeout = timeout
        self.events = []
        self.pending = b''
        self.sock = sock or self._connect(path, timeout)
        self._message(time.monotonic() + timeout)
        self.command('qmp_capabilities')

    @staticmethod
    def _connect(path, timeout):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(timeout)
        try:
            sock.connect(path)
        except OSError as error:
            sock.close()
            raise QmpError('connect %s: %s' % (path, error))
        return sock

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.sock.close()

    def command(self, name, /, **arguments):
        """Send a command and return its result; `_` in argument names stands for `-`."""
        arguments = {key.replace('_', '-'): value for key, value in arguments.items()}
        try:
            self.sock.sendall(
                json.dumps({'execute': name, 'arguments': arguments}).encode() + b'\n'
            )
        except OSError as error:
            raise QmpError('%s: %s' % (name, error))
        deadline = time.monotonic() + self.timeout
        while True:
            message = self._message(deadline)
            if 'event' in message:
                self.events.append(message)
            elif 'error' in message:
                raise QmpError('%s: %s' % (name, message['error']['desc']))
            else:
                return message['return']

    def wait(self, names, test, timeout=60):
        """The data of the first event named in names that passes test (data); with its name: (name,
        data)."""
        deadline = time.monotonic() + timeout
        while True:
            for index, event in enumerate(self.events):
                if event['event'] in names and test(event.get('data', {})):
                    del self.events[index]
                    return event['event'], event.get('data', {})
            message = self._message(deadline)
            if 'event' in message:
                self.events.append(message)

    def _message(self, deadline):
        while b'\n' not in self.pending:
            left = deadline - time.monotonic()
            if left <= 0:
                raise QmpError('no answer from QEMU in time')
            self.sock.settimeout(left)
            try:
                part = self.sock.recv(65536)
            except socket.timeout:
                raise QmpError('no answer from QEMU in time')
            except OSError as error:
                raise QmpError('receive: %s' % error)
            if not part:
                raise QmpError('QEMU closed the connection')
            self.pending += part
        line, _, self.pending = self.pending.partition(b'\n')
        return json.loads(line)
