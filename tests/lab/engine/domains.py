# SPDX-License-Identifier: Apache-2.0
"""Storage domains, by themselves and as a data center sees them (2.4)."""

from .errors import NotFound
from .search import select
from .state import GIGABYTE
from .xmlout import item, leaf, leaves, links, node, ref


def whole_gib(size):
    return size // GIGABYTE * GIGABYTE


def storage_xml(row):
    if 'vg' in row:
        return node('storage', leaf('type', row['storage_type']), node(
            'volume_group', node('logical_units', *[
                node('logical_unit', *leaves(
                    **unit_connection(row), lun_mapping=number,
                    paths=0, product_id='VIRTUAL-DISK', serial=lun['serial'],
                    size=lun['size'], vendor_id='LABLIO'), id=lun['id'])
                for number, lun in enumerate(row['vg']['luns'])]),
            id=row['vg']['id']))
    nfs = row['storage_type'] == 'nfs'
    return node('storage', *leaves(
        type=row['storage_type'], address=row['address'],
        path=row['path'], nfs_version='auto' if nfs else None,
        vfs_type=None if nfs else row.get('vfs_type')))


def unit_connection(row):
    """Where a LUN is; with Fibre Channel there is nothing to say."""
    if row['storage_type'] != 'iscsi':
        return {}
    return {'address': row['address'], 'port': 3260, 'portal': '%s:3260,1'
            % row['address'], 'target': 'iqn.2026-11.lab:target'}


def domain_xml(row, dc=None):
    base = 'storagedomains' if dc is None else \
        'datacenters/%s/storagedomains' % dc
    path = '%s/%s' % (base, row['id'])
    # The status exists only where the domain is seen through its center.
    status = row['status'] if dc else (
        'unattached' if row['datacenter'] is None else None)
    return item(
        'storage_domain', base, row['id'],
        *leaves(name=row['name'], description='', comment='',
                available=whole_gib(row['available']),
                used=whole_gib(row['used']),
                committed=whole_gib(row['committed']), backup=False,
                block_size=row['block_size'],
                critical_space_action_blocker=5, discard_after_delete=False,
                external_status='ok', master=row['master'], status=status),
        storage_xml(row),
        *leaves(storage_format=row['storage_format'], type=row['type'],
                supports_discard=False, supports_discard_zeroes_data=False,
                warning_low_space_indicator=10, wipe_after_delete=False),
        None if row['datacenter'] is None else node(
            'data_centers', ref('data_center', 'datacenters',
                                row['datacenter'])),
        *links(path, 'disks', 'disksnapshots', 'storageconnections'))


FIELDS = {'name': lambda r: r['name'], 'id': lambda r: r['id'],
          'type': lambda r: r['storage_type'],
          'status': lambda r: r['status']}


def domains(engine, request):
    state = engine.state
    with state.lock:
        rows = select(list(state.storagedomains.values()), request, FIELDS)
        return node('storage_domains', *map(domain_xml, rows))


def domain(engine, request, sd):
    with engine.state.lock:
        if sd not in engine.state.storagedomains:
            raise NotFound()
        return domain_xml(engine.state.storagedomains[sd])


def attached(engine, dc):
    state = engine.state
    if dc not in state.datacenters:
        raise NotFound()
    return [row for row in state.storagedomains.values()
            if row['datacenter'] == dc]


def dc_domains(engine, request, dc):
    with engine.state.lock:
        return node('storage_domains', *[domain_xml(row, dc) for row in
                                         attached(engine, dc)])


def dc_domain(engine, request, dc, sd):
    with engine.state.lock:
        for row in attached(engine, dc):
            if row['id'] == sd:
                return domain_xml(row, dc)
    raise NotFound()


def connection_xml(row):
    return item('storage_connection', 'storageconnections', row['id'],
                *leaves(**(unit_connection(row) if 'vg' in row else
                           {'address': row['address'], 'path': row['path']}),
                        type=row['storage_type']))


def connections(engine, request, sd=None):
    with engine.state.lock:
        rows = engine.state.storagedomains
        if sd is not None and sd not in rows:
            raise NotFound()
        return node('storage_connections', *[
            connection_xml(row) for row in rows.values()
            if sd in (None, row['id']) and row['storage_type'] != 'fcp'])


ROUTES = [
    ('GET', '/storagedomains', domains),
    ('GET', '/storagedomains/{sd}', domain),
    ('GET', '/storagedomains/{sd}/storageconnections', connections),
    ('GET', '/storageconnections', connections),
    ('GET', '/datacenters/{dc}/storagedomains', dc_domains),
    ('GET', '/datacenters/{dc}/storagedomains/{sd}', dc_domain),
]
