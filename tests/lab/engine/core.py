# SPDX-License-Identifier: Apache-2.0
"""The engine as one object: state, tasks, login, faults, server."""

import json
import os
import sys
import threading
import time

from . import (auth, clusters, disks, diskattachments, diskchains, domains,
               faults, hosts, jobs, pki, server, snapshots, tasks, templates,
               transfers, vmrun, vms, watch)
from .server import Reply, Router
from .state import State

# Seconds.  A real engine is slower; the order of what happens is the same.
DELAYS = {
    'locked': 0.3,              # an object stays locked before the work
    'tail': 0.3,                # `ok` already, the job still runs
    'grace': 0.1,               # the job has ended, calls are still refused
    'transfer': 0.2,            # each phase of an image transfer
    'start': 0.2,               # a VM in wait_for_launch, powering_up
    'job-keep': 600.0,          # then a finished job is purged
    'job-keep-failed': 3600.0,
    'transfer-keep': 900.0,     # then a finished transfer is purged
}
MODULES = (clusters, hosts, domains, templates, vms, diskattachments, disks,
           diskchains, snapshots, jobs, transfers, vmrun)
LOG_BODY_MAX = 65536
READ_ONLY = ('GET', 'HEAD', 'OPTIONS')


class Engine:
    """storage: as storage.py; its .vms as vms.py.  lab_dir: where keys and
    the log go.  users: {'name@profile': password}."""

    def __init__(self, lab_dir, storage, users, state=None):
        self.lab_dir = lab_dir
        self.storage = storage
        self.state = state or State()
        self.delays = dict(DELAYS)
        self.tasks = tasks.Tasks(self.state, self.delays)
        self.locks = tasks.Locks(self.state)
        self.auth = auth.Auth(users)
        self.faults = faults.Faults()
        self.router = Router(MODULES)
        self.false_success = 0
        self.false_success_told = True
        self.keep_alive_s = 120.0
        self.back_at = 0.0
        self.log_lock = threading.Lock()
        self.watching = threading.RLock()
        self.calls = []
        self.log_file = None
        self.server = None
        self.ca = None
        self.initial = None

    # -- serving ----------------------------------------------------------

    def serve(self, port=0, address='127.0.0.1'):
        """Make the certificates and serve from a thread; returns the port."""
        self.ca, certificate, key = pki.make(
            os.path.join(self.lab_dir, 'pki'))
        self.log_file = open(os.path.join(self.lab_dir, 'engine-calls.log'),
                             'a', buffering=1)
        self.server = server.Server(self, (address, port), certificate, key)
        threading.Thread(target=self.server.serve_forever, name='https',
                         kwargs={'poll_interval': 0.1}, daemon=True).start()
        return self.server.server_port

    def restarting(self):
        return time.monotonic() < self.back_at

    def restart(self, seconds):
        """503 for a while; sessions are lost, commands go on."""
        self.back_at = time.monotonic() + seconds
        self.auth.expire_all()

    def start_watching(self, interval=1.0):
        """Keep sizes and the states of hosts and VMs about right, as the
        engine's monitoring does; the first round is over on return."""
        def forever():
            while not self.tasks.stopping.wait(interval):
                watch.everything(self)

        watch.everything(self)
        threading.Thread(target=forever, name='watch', daemon=True).start()

    def url(self):
        return 'https://localhost:%d/ovirt-engine' % self.server.server_port

    def close(self):
        self.tasks.stopping.set()
        if self.server:
            self.server.shutdown()
            self.server.server_close()
        if self.log_file:
            self.log_file.close()
            self.log_file = None

    def pki_resource(self, request):
        if request.query.get('resource') != 'ca-certificate' or \
                request.query.get('format', 'X509-PEM-CA') not in (
                    'X509-PEM', 'X509-PEM-CA'):
            return server.html(400, 'Bad Request', 'Unknown resource')
        with open(self.ca, 'rb') as source:
            return Reply(200, body=source.read(),
                         content_type='application/x-x509-ca-cert')

    # -- the log: every call; with its body where it changes something ----

    def log_call(self, request):
        entry = {'time': round(time.time(), 3), 'method': request.method,
                 'path': request.path, 'status': None,
                 'correlation_id': request.correlation}
        if request.query:
            entry['query'] = dict(request.query)
        if request.method not in READ_ONLY and \
                request.path not in auth.TOKEN_PATHS + auth.LOGOUT_PATHS:
            entry['body'] = request.body[:LOG_BODY_MAX].decode(
                'utf-8', 'replace')
        with self.log_lock:
            self.calls.append(entry)
        return entry

    def log_done(self, entry):
        with self.log_lock:
            if self.log_file:
                self.log_file.write(json.dumps(entry) + '\n')

    def note(self, text):
        """A line of engine.log: nothing that a client can see."""
        print('engine: ' + text, file=sys.stderr, flush=True)

    # -- helpers for the nouns --------------------------------------------

    def event(self, request, code, description, severity='normal', **about):
        return self.tasks.event(code, description, severity,
                                request.correlation if request else None,
                                **about)
