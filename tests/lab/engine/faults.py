# SPDX-License-Identifier: Apache-2.0
"""Rules that spoil calls on request: fail, stall, drop, drop-after."""

import re
import threading

from .xmlout import PREFIX

MODES = ('fail', 'stall', 'drop', 'drop-after')


class Faults:
    """A rule is a dict: mode, method, regex, count, after (that many matching
    calls pass first), and status, text or seconds.  The first that matches
    a call is used up by one."""

    def __init__(self):
        self.lock = threading.Lock()
        self.rules = []

    def add(self, mode, call, count, after=0, **more):
        if mode not in MODES:
            raise ValueError('mode %s is none of %s' % (mode, MODES))
        method, _, path = call.partition(' ')
        if not path:
            raise ValueError('CALL is "METHOD /path-regex", not %r' % call)
        rule = {'mode': mode, 'method': method.upper(), 'regex': path,
                'count': int(count), 'after': int(after), 'used': 0}
        rule.update(more)
        re.compile(path)
        with self.lock:
            self.rules.append(rule)
        return rule

    def clear(self):
        with self.lock:
            count = len(self.rules)
            self.rules = []
        return count

    def list(self):
        with self.lock:
            return [dict(rule) for rule in self.rules]

    def match(self, request):
        """The rule for this call, or None.  The regex is searched in the
        path below /ovirt-engine/api (elsewhere: the whole path); one with a
        `\\?` sees the query, too."""
        path = request.path
        if path.startswith(PREFIX):
            path = path[len(PREFIX):] or '/'
        full = path + '?' + '&'.join('%s=%s' % pair for pair in
                                     request.query.items())
        with self.lock:
            for rule in self.rules:
                if rule['method'] not in ('*', request.method) or \
                        rule['count'] <= 0:
                    continue
                subject = full if '\\?' in rule['regex'] else path
                if not re.search(rule['regex'], subject):
                    continue
                if rule['after'] > 0:
                    rule['after'] -= 1
                    continue
                rule['count'] -= 1
                rule['used'] += 1
                return dict(rule)
        return None
