# SPDX-License-Identifier: Apache-2.0
"""api.py METHOD PATH [BODY]: one call to the lab's engine, as an administrator
with a browser would make it.  Prints the answer; exit 1 for a refusal."""

import json
import os
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request


def main(method, path, body=None):
    base = os.environ['LAB_URL']
    trust = ssl.create_default_context(cafile=os.environ['LAB_CA'])
    with open(os.environ['LAB_PASSWORD_FILE'], encoding='utf-8') as secret:
        form = urllib.parse.urlencode({
            'grant_type': 'password', 'scope': 'ovirt-app-api',
            'username': os.environ['LAB_USER'],
            'password': secret.readline().rstrip('\n')})
    ask = urllib.request.Request(base + '/sso/oauth/token', form.encode(),
                                 {'Accept': 'application/json'})
    with urllib.request.urlopen(ask, context=trust, timeout=60) as answer:
        token = json.load(answer)['access_token']
    ask = urllib.request.Request(
        base + '/api' + path, body.encode() if body else None,
        {'Authorization': 'Bearer ' + token, 'Version': '4',
         'Accept': 'application/xml', 'Content-Type': 'application/xml'},
        method=method)
    try:
        with urllib.request.urlopen(ask, context=trust, timeout=60) as answer:
            print(answer.read().decode())
    except urllib.error.HTTPError as err:
        print(err.code, err.read().decode(), file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
