# SPDX-License-Identifier: Apache-2.0
"""A CA and the server's certificate, made anew for every lab."""

import os
import subprocess

SERVER_EXT = ('subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1\n'
              'basicConstraints=CA:FALSE\n'
              'keyUsage=digitalSignature,keyEncipherment\n'
              'extendedKeyUsage=serverAuth\n')
KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']


def _openssl(*argv):
    subprocess.run(('openssl',) + argv, check=True, timeout=30,
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   stderr=subprocess.PIPE)


def make(folder):
    """Returns (ca, certificate, key): PEM files below folder."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    path = {name: os.path.join(folder, name) for name in
            ('ca.pem', 'ca.key', 'server.pem', 'server.key', 'server.csr',
             'server.ext')}
    _openssl('req', '-x509', *KEY, '-keyout', path['ca.key'], '-out',
             path['ca.pem'], '-days', '30', '-subj',
             '/C=US/O=lab/CN=lab engine CA')
    _openssl('req', *KEY, '-keyout', path['server.key'], '-out',
             path['server.csr'], '-subj', '/C=US/O=lab/CN=localhost')
    with open(path['server.ext'], 'w') as out:
        out.write(SERVER_EXT)
    _openssl('x509', '-req', '-in', path['server.csr'], '-CA',
             path['ca.pem'], '-CAkey', path['ca.key'], '-CAcreateserial',
             '-days', '30', '-out', path['server.pem'], '-extfile',
             path['server.ext'])
    return path['ca.pem'], path['server.pem'], path['server.key']
