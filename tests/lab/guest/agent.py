# SPDX-License-Identifier: Apache-2.0
"""The lab's hand inside a guest: it needs no network, so that it works through faults of that.

Each virtio port /dev/virtio-ports/lab.N has a process of its own.  A request is one line of JSON:
{"id", "argv", "input", "env", "user": [uid, gid, groups] or null, "timeout"} is answered by a line
{"id", "status", "out", "err"}, data in base64 and status null when time ran out;
{"id", "connect": path} by {"id", "status": 0 or errno}, and from then on the bytes of that unix
socket go through, see bridge.
"""

import base64
import fcntl
import glob
import json
import os
import select
import signal
import socket
import subprocess
import sys

LINE_MAX = 64 << 20


def await_host():
    """Until the host side of a port comes, of which a signal tells: a port without one is always
    ready and gives nothing, so that looking again and again would cost a slow machine much."""
    signal.sigtimedwait({signal.SIGIO}, 5)


def read_line(port, kept):
    """-> (line, what came after it).  That the host side is not there may be old news when the
    first part of a request is: bytes can be faster than the word that it came.  So nothing is
    thrown away; a request begins with a newline, which ends what somebody left half."""
    while b'\n' not in kept:
        try:
            part = os.read(port, 1 << 16)
        except BlockingIOError:
            part = None
        if part == b'':
            await_host()
        elif part is None:
            select.select([port], [], [], 1)
        else:
            kept += part
        if len(kept) > LINE_MAX:
            kept = b''
    line, _, kept = kept.partition(b'\n')
    return line, kept


def write_all(port, data):
    while data:
        try:
            data = data[os.write(port, data[:1 << 16]):]
        except BlockingIOError:
            select.select([], [port], [], 1)
        except OSError:
            return


def execute(asked):
    user = asked.get('user')
    more = {'user': user[0], 'group': user[1], 'extra_groups': user[2]} if user else {}
    try:
        done = subprocess.run(
            asked['argv'],
            input=base64.b64decode(asked.get('input') or ''),
            capture_output=True,
            timeout=asked.get('timeout') or 60,
            cwd='/',
            env=asked.get('env') or {},
            **more
        )
        status, out, err = done.returncode, done.stdout, done.stderr
    except subprocess.TimeoutExpired as late:
        status, out, err = None, late.stdout or b'', late.stderr or b''
    except OSError as error:
        status, out, err = 127, b'', str(error).encode()
    return {
        'status': status,
        'out': base64.b64encode(out).decode(),
        'err': base64.b64encode(err).decode(),
    }


def bridge(port, peer, kept):
    """Lines of base64 both ways.  Either side ends with a line `.`; a request ends it as well,
    when somebody was killed in between.  -> (a line that is a request, or b'', what came after)"""
    ended = False
    poll = select.poll()
    poll.register(port, select.POLLIN)
    poll.register(peer, select.POLLIN)
    while True:
        while b'\n' in kept:
            line, _, kept = kept.partition(b'\n')
            if line[:1] == b'{':
                return line, kept
            if line == b'.':
                if not ended:
                    write_all(port, b'.\n')
                return b'', kept
            try:
                peer.sendall(base64.b64decode(line))
            except (OSError, ValueError):
                pass  # it ended, which poll tells; or somebody was killed within a line
        for fd, _ in poll.poll():
            if fd == port:
                try:
                    part = os.read(port, 1 << 16)
                except BlockingIOError:
                    continue
                kept += part
                if not part:
                    await_host()
            else:
                try:
                    part = peer.recv(1 << 16)
                except OSError:
                    part = b''
                write_all(port, (base64.b64encode(part) if part else b'.') + b'\n')
                if not part:
                    ended = True
                    poll.unregister(peer)


def serve(path):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGIO})
    port = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    fcntl.fcntl(port, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(port, fcntl.F_SETFL, os.O_RDWR | os.O_NONBLOCK | os.O_ASYNC)
    line = kept = b''
    while True:
        if not line:
            line, kept = read_line(port, kept)
        asked, line = line, b''
        try:
            asked = json.loads(asked)
            ident = asked['id']
        except (ValueError, LookupError, TypeError):
            continue
        if 'connect' not in asked:
            reply = execute(asked)
            write_all(port, json.dumps(dict(reply, id=ident)).encode() + b'\n')
            continue
        with socket.socket(socket.AF_UNIX) as peer:
            try:
                peer.connect(asked['connect'])
            except OSError as error:
                write_all(port, json.dumps({'id': ident, 'status': error.errno}).encode() + b'\n')
                continue
            write_all(port, json.dumps({'id': ident, 'status': 0}).encode() + b'\n')
            line, kept = bridge(port, peer, kept)


def main():
    for path in sorted(glob.glob('/dev/virtio-ports/lab.*')):
        if os.fork() == 0:
            try:
                serve(path)
            finally:
                os._exit(1)
    print('LAB-READY', flush=True)
    while True:
        os.wait()


if __name__ == '__main__':
    sys.exit(main())
