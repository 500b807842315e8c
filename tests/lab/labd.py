# SPDX-License-Identifier: Apache-2.0
"""labd.py DIR: the one process of a lab: engine, storage actions, control.

    labd.py DIR [--vms SET] [--block SET]

Hosts that are down are started.  DIR/labd.ready is written, complete, when
everything answers: JSON with url, ca_file, user, password_file, pid.
SIGTERM ends it; what runs on the hosts is taken down by lab.sh."""

import argparse
import json
import os
import secrets
import signal
import sys
import threading

from blockstorage import AllStorage
from engine.control import Control, baseline
from engine.core import Engine
from hosts import Host

USER = 'backup@internal'


def publish(path, obj):
    with open(path + '.new', 'w') as out:
        json.dump(obj, out, indent=1)
        out.write('\n')
    os.rename(path + '.new', path)


def new_password(path):
    password = secrets.token_urlsafe(12) + ' &<%+'
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
              'w') as out:
        out.write(password + '\n')
    return password


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('dir')
    parser.add_argument('--vms', default='all')
    parser.add_argument('--block', default='none')
    options = parser.parse_args()
    lab_dir = os.path.abspath(options.dir)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    import inventory
    password_file = os.path.join(lab_dir, 'password')
    password = new_password(password_file)
    hosts = Host.load_all(lab_dir)
    storage = AllStorage(lab_dir, hosts)
    engine = Engine(lab_dir, storage, {USER: password,
                                       'admin@internal': 'lab-admin'})
    engine.serve()
    inventory.build(engine.state, storage, hosts, options.vms, options.block)
    engine.start_watching()
    baseline(engine)
    control = Control(engine, os.path.join(lab_dir, 'ctl.sock'))
    publish(os.path.join(lab_dir, 'labd.ready'),
            {'url': engine.url(), 'ca_file': engine.ca, 'user': USER,
             'password_file': password_file, 'pid': os.getpid()})
    ended.wait()
    control.close()
    engine.close()
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that still serve or merge are daemons of a lab that ends.
    os._exit(0)


if __name__ == '__main__':
    main()
