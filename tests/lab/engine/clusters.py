# SPDX-License-Identifier: Apache-2.0
"""The root document, data centers, clusters, vNIC profiles, tags."""

from .errors import NotFound
from .search import select
from .state import BLANK, now
from .xmlout import item, leaf, leaves, links, node, ref, version

ROOT_LINKS = ('clusters', 'datacenters', 'disks', 'events', 'hosts',
              'imagetransfers', 'jobs', 'storagedomains', 'tags',
              'templates', 'vms', 'vnicprofiles')


def root(engine, request):
    state = engine.state
    with state.lock:
        counts = [('hosts', state.hosts), ('storage_domains',
                                           state.storagedomains),
                  ('vms', state.vms)]
        summary = node('summary', *[
            node(name, leaf('active', len(table)), leaf('total', len(table)))
            for name, table in counts])
    return node(
        'api', *[node('link', href='/ovirt-engine/api/' + name, rel=name)
                 for name in ROOT_LINKS],
        node('product_info', leaf('instance_id', state.instance_id),
             leaf('name', 'oVirt Engine'), leaf('vendor', 'ovirt.org'),
             node('version', *leaves(build=6, full_version='4.5.6-1.el9',
                                     major=4, minor=5, revision=0))),
        node('special_objects', ref('blank_template', 'templates', BLANK)),
        summary, leaf('time', now()),
        ref('authenticated_user', 'users', BLANK),
        ref('effective_user', 'users', BLANK))


def datacenter_xml(row):
    path = 'datacenters/' + row['id']
    return item('data_center', 'datacenters', row['id'],
                *leaves(name=row['name'], description='', local=False,
                        quota_mode='disabled', status=row['status'],
                        storage_format=row['storage_format']),
                version(row['version']),
                *links(path, 'storagedomains', 'clusters'))


def datacenters(engine, request):
    state = engine.state
    fields = {'name': lambda r: r['name'], 'id': lambda r: r['id'],
              'status': lambda r: r['status']}
    with state.lock:
        rows = select(list(state.datacenters.values()), request, fields)
        return node('data_centers', *map(datacenter_xml, rows))


def datacenter(engine, request, dc):
    with engine.state.lock:
        if dc not in engine.state.datacenters:
            raise NotFound()
        return datacenter_xml(engine.state.datacenters[dc])


def cluster_xml(row):
    path = 'clusters/' + row['id']
    return item('cluster', 'clusters', row['id'],
                *leaves(name=row['name'], description='',
                        bios_type='q35_sea_bios'),
                node('cpu', *leaves(architecture='x86_64',
                                    type='Intel Westmere Family')),
                version(row['version']),
                ref('data_center', 'datacenters', row['datacenter']),
                *links(path, 'networks'))


def clusters(engine, request):
    state = engine.state
    fields = {'name': lambda r: r['name'], 'id': lambda r: r['id'],
              'datacenter': lambda r:
              state.datacenters[r['datacenter']]['name']}
    with state.lock:
        rows = select(list(state.clusters.values()), request, fields)
        return node('clusters', *map(cluster_xml, rows))


def cluster(engine, request, cl):
    with engine.state.lock:
        if cl not in engine.state.clusters:
            raise NotFound()
        return cluster_xml(engine.state.clusters[cl])


def dc_clusters(engine, request, dc):
    state = engine.state
    with state.lock:
        if dc not in state.datacenters:
            raise NotFound()
        return node('clusters', *[cluster_xml(row) for row in
                                  state.clusters.values()
                                  if row['datacenter'] == dc])


def profile_xml(row):
    return item('vnic_profile', 'vnicprofiles', row['id'],
                *leaves(name=row['name'], port_mirroring=False),
                ref('network', 'networks', row['network_id']))


def profiles(engine, request):
    with engine.state.lock:
        return node('vnic_profiles', *[
            profile_xml(row) for row in engine.state.vnicprofiles.values()])


def profile(engine, request, ident):
    with engine.state.lock:
        if ident not in engine.state.vnicprofiles:
            raise NotFound()
        return profile_xml(engine.state.vnicprofiles[ident])


def networks(engine, request):
    """One network a profile; the same network may have several."""
    state = engine.state
    seen = {}
    with state.lock:
        for row in state.vnicprofiles.values():
            seen.setdefault(row['network_id'], row)
        return node('networks', *[
            item('network', 'networks', ident,
                 *leaves(name=row['network'], stp=False, mtu=0),
                 ref('data_center', 'datacenters', row['datacenter']))
            for ident, row in seen.items()])


def network(engine, request, ident):
    for child in networks(engine, request):
        if child.get('id') == ident:
            return child
    raise NotFound()


def tag_xml(row, vm=None):
    base = 'tags' if vm is None else 'vms/%s/tags' % vm
    return item('tag', base, row['id'], *leaves(name=row['name'],
                                                description=''),
                None if vm is None else ref('vm', 'vms', vm))


def tags(engine, request):
    with engine.state.lock:
        return node('tags', *map(tag_xml, engine.state.tags.values()))


def tag(engine, request, ident):
    with engine.state.lock:
        if ident not in engine.state.tags:
            raise NotFound()
        return tag_xml(engine.state.tags[ident])


ROUTES = [
    ('GET', '/', root),
    ('GET', '/datacenters', datacenters),
    ('GET', '/datacenters/{dc}', datacenter),
    ('GET', '/datacenters/{dc}/clusters', dc_clusters),
    ('GET', '/clusters', clusters),
    ('GET', '/clusters/{cl}', cluster),
    ('GET', '/vnicprofiles', profiles),
    ('GET', '/vnicprofiles/{ident}', profile),
    ('GET', '/networks', networks),
    ('GET', '/networks/{ident}', network),
    ('GET', '/tags', tags),
    ('GET', '/tags/{ident}', tag),
]
