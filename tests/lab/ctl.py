# SPDX-License-Identifier: Apache-2.0
"""ctl.py DIR VERB ARGS...: the client of the lab's control endpoint.

A text is printed as it is, a list of texts one a line, the rest as JSON."""

import json
import os
import socket
import sys


def ask(lab_dir, verb, *args, timeout=150.0):
    """The result of a verb; RuntimeError with the lab's words."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(timeout)
        # A relative name: the path of a socket may have 107 bytes only.
        here = os.open('.', os.O_RDONLY)
        try:
            os.chdir(lab_dir)
            sock.connect('ctl.sock')
        finally:
            os.fchdir(here)
            os.close(here)
        with sock.makefile('rwb') as stream:
            stream.write(json.dumps({'verb': verb,
                                     'args': args}).encode() + b'\n')
            stream.flush()
            line = stream.readline()
    if not line:
        raise RuntimeError('the lab closed the connection')
    reply = json.loads(line)
    if not reply['ok']:
        raise RuntimeError(reply['error'])
    return reply['result']


def main(argv):
    if len(argv) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        result = ask(argv[1], *argv[2:])
    except (OSError, RuntimeError) as err:
        print('ctl: %s' % err, file=sys.stderr)
        return 1
    if isinstance(result, str):
        print(result)
    elif isinstance(result, list) and all(isinstance(one, str)
                                          for one in result):
        for line in result:
            print(line)
    elif result is not None:
        print(json.dumps(result, indent=1))
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv))
