# SPDX-License-Identifier: Apache-2.0
"""Who may call: SSO tokens that expire, Basic, logout."""

import base64
import json
import secrets
import threading
import time
import urllib.parse

TOKEN_PATHS = ('/ovirt-engine/sso/oauth/token',)
LOGOUT_PATHS = ('/ovirt-engine/services/sso-logout',
                '/ovirt-engine/sso/oauth/revoke')
SCOPE = 'ovirt-app-api'


class Auth:
    def __init__(self, users):
        self.users = dict(users)
        self.life_s = 360000.0
        self.idle_s = 1800.0
        self.lock = threading.Lock()
        self.tokens = {}

    def expire_all(self):
        with self.lock:
            count = len(self.tokens)
            self.tokens.clear()
        return count

    def _refused(self, code, detail):
        return 400, {'error_code': code, 'error': detail}

    def token(self, body):
        """(status, JSON object) of a token request."""
        form = urllib.parse.parse_qs(body.decode('utf-8', 'replace'),
                                     keep_blank_values=True)
        field = {key: values[0] for key, values in form.items()}
        if field.get('grant_type') != 'password':
            return self._refused('unsupported_grant_type',
                                 'The grant type is not supported: %s'
                                 % field.get('grant_type'))
        if SCOPE not in field.get('scope', '').split():
            return self._refused('invalid_scope', 'The request is missing a '
                                 "parameter: 'scope'")
        if not field.get('username') or \
                self.users.get(field['username']) != field.get('password'):
            return self._refused(
                'access_denied', 'Cannot authenticate user '
                "'%s': The username or password is incorrect.."
                % field.get('username', ''))
        return 200, self.issue(field['username'])

    def issue(self, user):
        token = secrets.token_urlsafe(64)
        stamp = time.monotonic()
        with self.lock:
            self.tokens[token] = {'user': user, 'born': stamp,
                                  'used': stamp}
        return {'access_token': token, 'scope': SCOPE + ' ovirt-app-portal',
                'exp': str(int((time.time() + self.life_s) * 1000)),
                'token_type': 'bearer'}

    def logout(self, body):
        form = urllib.parse.parse_qs(body.decode('utf-8', 'replace'))
        token = form.get('token', [''])[0]
        with self.lock:
            self.tokens.pop(token, None)
        return 200, {}

    def user_of(self, header):
        """The user of an Authorization header, or None = 401."""
        kind, _, value = (header or '').partition(' ')
        if kind.lower() == 'bearer':
            return self._bearer(value.strip())
        if kind.lower() == 'basic':
            return self._basic(value.strip())
        return None

    def _bearer(self, token):
        stamp = time.monotonic()
        with self.lock:
            row = self.tokens.get(token)
            if row is None:
                return None
            if stamp - row['born'] > self.life_s or \
                    stamp - row['used'] > self.idle_s:
                del self.tokens[token]
                return None
            row['used'] = stamp
            return row['user']

    def _basic(self, value):
        try:
            text = base64.b64decode(value, validate=True).decode()
        except ValueError:
            return None
        user, _, password = text.partition(':')
        known = self.users.get(user)
        return user if known is not None and known == password else None


def to_json(obj):
    return json.dumps(obj).encode()
