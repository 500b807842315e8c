# SPDX-License-Identifier: Apache-2.0
"""Jobs, events, the engine's in-memory locks, and the work behind a 202.

A task keeps the order in which the real engine is unpleasant: the object is
locked for a while, becomes `ok`, the job ends later, and the lock that makes
the next call a 409 goes last of all.  Tasks run in threads of their own: the
states go on whether anybody polls or not."""

import threading
import time
import traceback

from .errors import conflict
from .state import new_id, now

BUSY = ('Cannot %s. Related operation is currently in progress. '
        'Please try again later.')


class Locks:
    """Exclusive and shared locks by ('vm', ID) or ('disk', ID)."""

    def __init__(self, state):
        self.lock = state.lock
        self.held = {}

    def take(self, what, exclusive=(), shared=()):
        """All or nothing; Fault 409 when one is held."""
        with self.lock:
            for key in exclusive:
                if self.held.get(key):
                    raise conflict(BUSY % what)
            for key in shared:
                if self.held.get(key, 0) < 0:
                    raise conflict(BUSY % what)
            for key in set(exclusive):
                self.held[key] = -1
            for key in set(shared) - set(exclusive):
                self.held[key] = self.held.get(key, 0) + 1
        return Held(self, set(exclusive), set(shared) - set(exclusive))

    def busy(self, key):
        with self.lock:
            return bool(self.held.get(key))


class Held:
    def __init__(self, locks, exclusive, shared):
        self.locks = locks
        self.exclusive = exclusive
        self.shared = shared

    def release(self):
        with self.locks.lock:
            for key in self.exclusive:
                self.locks.held.pop(key, None)
            for key in self.shared:
                count = self.locks.held.get(key, 0) - 1
                if count > 0:
                    self.locks.held[key] = count
                else:
                    self.locks.held.pop(key, None)
            self.exclusive = self.shared = ()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.release()


class Tasks:
    def __init__(self, state, delays):
        self.state = state
        self.delays = delays
        self.fail_next = {}
        self.running = 0
        self.idle = threading.Condition(state.lock)
        self.stopping = threading.Event()

    # -- events -----------------------------------------------------------

    def event(self, code, description, severity='normal', correlation=None,
              **about):
        """about: vm, host, cluster, datacenter, template, disk = ids."""
        with self.state.lock:
            self.state.event_next += 1
            row = {'id': str(self.state.event_next), 'code': code,
                   'description': description, 'severity': severity,
                   'correlation_id': correlation, 'time': now(),
                   'origin': 'oVirt', 'custom_id': -1, 'about': about}
            self.state.events.append(row)
        return row

    # -- jobs -------------------------------------------------------------

    def job(self, description, correlation, external=False):
        with self.state.lock:
            row = {'id': new_id(), 'description': description,
                   'correlation_id': correlation, 'status': 'started',
                   'start_time': now(), 'last_updated': now(),
                   'end_time': None, 'external': external,
                   'auto_cleared': True}
            self.state.jobs[row['id']] = row
        return row

    def end_job(self, job, status):
        with self.state.lock:
            job['status'] = status
            job['end_time'] = job['last_updated'] = now()

    def wait(self, name):
        """Sleep for one of the delays; ends early when the lab ends."""
        self.stopping.wait(self.delays[name])

    def purge(self):
        """Jobs that ended long ago are gone."""
        with self.state.lock:
            for job in list(self.state.jobs.values()):
                if job['end_time'] is None:
                    continue
                keep = self.delays['job-keep' if job['status'] == 'finished'
                                   else 'job-keep-failed']
                if (now() - job['end_time']).total_seconds() > keep:
                    del self.state.jobs[job['id']]

    def must_fail(self, kind):
        """The control endpoint asked that the next task of a kind fails."""
        with self.state.lock:
            count = self.fail_next.get(kind, 0)
            if count:
                self.fail_next[kind] = count - 1
            return bool(count)

    def start(self, kind, description, correlation, held, work, undo,
              finish=None):
        """Run work () behind a job.  undo (reason) after an exception; the
        object must be in its last state when work or undo returns, then the
        job ends, then the locks go.  finish () runs when the job is about to
        end.  Returns the job."""
        job = self.job(description, correlation)
        with self.state.lock:
            self.running += 1
        thread = threading.Thread(
            target=self._run, name=kind, daemon=True,
            args=(kind, job, held, work, undo, finish))
        thread.start()
        return job

    def _run(self, kind, job, held, work, undo, finish):
        status = 'finished'
        try:
            try:
                self.wait('locked')
                if self.must_fail(kind):
                    raise RuntimeError('failure asked for')
                work()
            except Exception as err:
                status = 'failed'
                if not isinstance(err, RuntimeError):
                    traceback.print_exc()
                undo(str(err))
            self.wait('tail')
            if finish:
                finish()
        except Exception:
            status = 'failed'
            traceback.print_exc()
        finally:
            self.end_job(job, status)
            self.wait('grace')
            held.release()
            with self.idle:
                self.running -= 1
                self.idle.notify_all()

    def drain(self, timeout=30.0):
        """Wait until no task runs; False after the time."""
        end = time.monotonic() + timeout
        with self.idle:
            while self.running:
                left = end - time.monotonic()
                if left <= 0:
                    return False
                self.idle.wait(left)
        return True
