# SPDX-License-Identifier: Apache-2.0
"""The lab's SAN over iSCSI: tgtd on this machine, on two addresses of the lab's bridge.

Each lab has a tgtd of its own, with its sockets in LAB/san.  Both portals show the same LUN file,
so that multipath of a guest finds two paths to one WWID.  Guests log in after each start, and out
before their state is saved.
"""

import json
import os
import signal
import subprocess
import time

from hosts import INNER_PATH, PART, Host, HostError, run, start_time, tail

TARGET = 'iqn.2026-11.lab:target'
PORT = 3260
# What tgt makes of target 1, LUN 1 -> the WWID as multipath shows it.
LUNS = {'net1': ('360000000000000000e00000000010001', 32 << 30)}
START_TIMEOUT = 20
LOGIN_TIMEOUT = 90

# As vdsm: the records of the nodes are made, not discovered.  Arguments: target, WWIDs, portals.
LOGIN = r"""
set -e
target=$1 wwids=$2
shift 2
pgrep -x iscsid >/dev/null || iscsid
for portal in "$@"; do
  node="iscsiadm -m node -T $target -p $portal"
  $node -o new
  $node -o update -n node.session.timeo.replacement_timeout -v 5
  iscsiadm -m session 2>/dev/null | grep -qF " $portal," || $node -l
done >/run/lvm/login
udevadm settle --timeout=30 || true
paths ()
{
  for wwid in $wwids; do
    [ -e /dev/mapper/$wwid ] || return 1
    name=$(readlink -f /dev/mapper/$wwid)
    [ "$(ls /sys/block/${name##*/}/slaves | wc -l)" -eq $# ] || return 1
  done
}
count=0
until paths "$@"; do
  count=$((count + 1))
  [ $count -lt 600 ] || { echo "no paths to $wwids:"; multipath -ll; exit 1; } >&2
  sleep 0.2
done
"""

LOGOUT = r"""
set -e
for wwid in $2; do
  count=0
  # Somebody who looks at a new device may have it open for a moment.
  until multipath -f $wwid; do
    count=$((count + 1))
    [ $count -lt 50 ]
    sleep 0.2
  done
done
iscsiadm -m node -T $1 -u >/dev/null
iscsiadm -m node -T $1 -o delete
iscsiadm -k 0
while pgrep -x iscsid >/dev/null; do sleep 0.1; done
"""

# Inside the guest: a new one has its paths, and nothing is left on this machine.
CUT = """
add table inet san
delete table inet san
table inet san {
  chain input { type filter hook input priority 0; tcp sport %(port)d drop; }
  chain output { type filter hook output priority 0; tcp dport %(port)d drop; }
}
""" % {'port': PORT}


class San:
    """tgtd of one lab; the truth is in LAB/san/san.json and in /proc."""

    def __init__(self, lab_dir):
        self.lab_dir = lab_dir
        self.dir = os.path.join(lab_dir, 'san')
        try:
            with open(os.path.join(self.dir, 'san.json')) as source:
                self.noted = json.load(source)
        except FileNotFoundError:
            raise HostError('the lab %s has no iSCSI' % lab_dir)

    @classmethod
    def start(cls, lab_dir, bridge, network):
        """network: the three numbers that all addresses of the lab begin with."""
        folder = os.path.join(lab_dir, 'san')
        os.mkdir(folder)
        # Not .1: with the first address of a bridge the others would go.
        addresses = ['%s.%d' % (network, last) for last in (2, 3)]
        for address in addresses:
            run(['ip', 'addr', 'add', address + '/24', 'dev', bridge])
        portals = ','.join('portal=%s:%d' % (address, PORT) for address in addresses)
        with open(os.path.join(folder, 'tgtd.log'), 'w') as log:
            process = subprocess.Popen(
                ['tgtd', '-f', '--control-port', '1', '--iscsi', portals],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder,
                start_new_session=True, env=cls._environ(lab_dir)
            )
        with open(os.path.join(folder, 'san.json'), 'w') as out:
            json.dump({'pid': process.pid, 'start': start_time(process.pid), 'bridge': bridge,
                       'addresses': addresses}, out)
        san = cls(lab_dir)
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                san._tell('new', 'target', '-T', TARGET)
                break
            except HostError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise HostError('tgtd: %s\n%s' % (
                        error, tail(os.path.join(folder, 'tgtd.log'))))
                time.sleep(0.05)
        for number, name in enumerate(sorted(LUNS), 1):
            lun = ['--lun', str(number)]
            san._tell('new', 'logicalunit', *lun, '-b', os.path.join(lab_dir, 'luns', name))
            san._tell('update', 'logicalunit', *lun, '--params',
                      'vendor_id=LABLIO,product_id=VIRTUAL-DISK,scsi_sn=%s,thin_provisioning=1'
                      % name)
        san._tell('bind', 'target', '-I', 'ALL')
        return san

    @staticmethod
    def _environ(lab_dir):
        # A name in the folder: the path of a socket can not be long.
        return {'PATH': INNER_PATH, 'TGT_IPC_SOCKET': 'ipc', PART: lab_dir}

    def _tell(self, verb, mode, *args):
        run(['tgtadm', '-C', '1', '--lld', 'iscsi', '--op', verb, '--mode', mode, '--tid', '1',
             *args], cwd=self.dir, env=self._environ(self.lab_dir))

    @property
    def portals(self):
        return ['%s:%d' % (address, PORT) for address in self.noted['addresses']]

    # -- faults -----------------------------------------------------------

    def freeze(self):
        """Total path loss without a word: nothing answers any more."""
        self._signal(signal.SIGSTOP)

    def thaw(self):
        self._signal(signal.SIGCONT)

    def portal_down(self, number):
        """One path is lost without a word: the address of portal 1 or 2 is gone."""
        self._address('del', number)

    def portal_up(self, number):
        self._address('add', number)

    def cut(self, name):
        """One host loses all its paths without a word; what else it has on the network stays."""
        Host.load(self.lab_dir, name).run(['nft', '-f', '-'], input=CUT)

    def join(self, name):
        Host.load(self.lab_dir, name).run(['nft', 'delete', 'table', 'inet', 'san'], check=False)

    def _address(self, verb, number):
        if not 1 <= number <= len(self.noted['addresses']):
            raise HostError('no portal %d' % number)
        run(['ip', 'addr', verb, self.noted['addresses'][number - 1] + '/24',
             'dev', self.noted['bridge']])

    def _signal(self, number):
        if start_time(self.noted['pid']) != self.noted['start']:
            raise HostError('tgtd is gone')
        os.kill(self.noted['pid'], number)


def login(host):
    """The guest has its paths to the LUNs, or HostError."""
    host.run(['sh', '-c', LOGIN, 'sh', TARGET, wwids(), *San(host.lab_dir).portals],
             timeout=LOGIN_TIMEOUT)


def logout(host):
    """No session, no map, no iscsid; nothing may be active there."""
    host.run(['sh', '-c', LOGOUT, 'sh', TARGET, wwids()], timeout=LOGIN_TIMEOUT)


def wwids():
    return ' '.join(wwid for wwid, _ in LUNS.values())
