# SPDX-License-Identifier: Apache-2.0
"""Hosts."""

from .errors import NotFound
from .search import select
from .xmlout import item, leaf, leaves, links, node, ref


def host_xml(state, row):
    vms = [vm for vm in state.vms.values() if vm['host'] == row['id']]
    path = 'hosts/' + row['id']
    return item(
        'host', 'hosts', row['id'],
        *leaves(name=row['name'], comment='', address=row['address'],
                port=54321, protocol='stomp', status=row['status'],
                external_status='ok', type='rhel',
                update_available=False, auto_numa_status='unknown'),
        node('spm', leaf('priority', 5),
             leaf('status', 'spm' if row['spm'] else 'none')),
        node('ssh', *leaves(fingerprint=row['fingerprint'] or None,
                            port=row['ssh_port'],
                            public_key=row['public_key'] or None),
             node('user', leaf('user_name', row['ssh_user']))),
        ref('cluster', 'clusters', row['cluster']),
        node('hardware_information', *leaves(
            manufacturer='lab', uuid=row['uuid'])),
        node('iscsi', leaf('initiator', 'iqn.1994-05.com.example:'
                           + row['name'])),
        node('version', *leaves(build=0, full_version='vdsm-4.50.5-1.el9',
                                major=4, minor=50, revision=5)),
        node('se_linux', leaf('mode', 'enforcing')),
        node('summary', *leaves(active=len(vms), migrating=0,
                                total=len(vms))),
        *links(path, 'nics', 'storage', 'statistics'))


def fields(state):
    def of_cluster(row):
        return state.clusters[row['cluster']]

    return {'name': lambda r: r['name'], 'id': lambda r: r['id'],
            'status': lambda r: r['status'],
            'address': lambda r: r['address'],
            'cluster': lambda r: of_cluster(r)['name'],
            'datacenter': lambda r:
            state.datacenters[of_cluster(r)['datacenter']]['name'],
            'hw_id': lambda r: r['uuid']}


def hosts(engine, request):
    state = engine.state
    with state.lock:
        rows = select(list(state.hosts.values()), request, fields(state))
        return node('hosts', *[host_xml(state, row) for row in rows])


def host(engine, request, ident):
    with engine.state.lock:
        if ident not in engine.state.hosts:
            raise NotFound()
        return host_xml(engine.state, engine.state.hosts[ident])


ROUTES = [
    ('GET', '/hosts', hosts),
    ('GET', '/hosts/{ident}', host),
]
