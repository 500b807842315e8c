# SPDX-License-Identifier: Apache-2.0
"""guests.py SCRIPT: run a shell script as root in each guest of the lab LAB,
in all at the same time and by the lab's agent: no network, no ssh, nothing of
chainlift is in between.

What a guest says comes out with its name before each line.  Exit 1 with the
reason when a guest is down or the script fails there."""

import concurrent.futures
import os
import sys

sys.path.insert(0, os.path.join(os.environ['TOP'], 'tests', 'lab'))
import blockguest  # noqa: E402
from hosts import Host, HostError  # noqa: E402


def main():
    guests = [host for host in Host.load_all(os.environ['LAB'])
              if isinstance(host, blockguest.Guest)]

    def run(host):
        return host.run(['sh', '-euc', sys.argv[1]]).stdout

    with concurrent.futures.ThreadPoolExecutor(len(guests)) as pool:
        for host, text in zip(guests, pool.map(run, guests)):
            for line in text.splitlines():
                print(host.name, line)


if __name__ == '__main__':
    try:
        main()
    except HostError as error:
        sys.exit('guests.py: %s' % error)
