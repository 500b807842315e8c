# SPDX-License-Identifier: Apache-2.0
"""Run a command as root in a guest of the lab, by its agent: no login, which a
guest under emulation is slow at.

  inside.py HOST COMMAND...     exit status and output are the command's; its
                                input is ours, when that is a file

Environment: TOP, LAB."""

import os
import stat
import sys

sys.path.insert(0, os.path.join(os.environ['TOP'], 'tests', 'lab'))
from hosts import Host, HostError  # noqa: E402


def main(argv):
    given = ''
    if stat.S_ISREG(os.fstat(0).st_mode):
        given = sys.stdin.read()
    try:
        done = Host.load(os.environ['LAB'], argv[1]).run(
            argv[2:], input=given, check=False, timeout=120)
    except HostError as error:
        sys.exit('inside: %s' % error)
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    return done.returncode


if __name__ == '__main__':
    sys.exit(main(sys.argv))
