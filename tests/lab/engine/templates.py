# SPDX-License-Identifier: Apache-2.0
"""Templates."""

from .errors import NotFound, conflict
from .search import select
from .state import BLANK
from .xmlout import item, leaf, leaves, links, node, ref


def template_xml(row):
    path = 'templates/' + row['id']
    return item(
        'template', 'templates', row['id'],
        *leaves(name=row['name'], description=row['description'],
                status=row['status'], type='server'),
        node('version', leaf('version_name', 'base version'),
             leaf('version_number', 1),
             ref('base_template', 'templates', row['id'])),
        ref('cluster', 'clusters', row['cluster']),
        *links(path, 'diskattachments', 'nics', 'tags'))


FIELDS = {'name': lambda r: r['name'], 'id': lambda r: r['id'],
          'status': lambda r: r['status']}


def templates(engine, request):
    state = engine.state
    with state.lock:
        rows = select(list(state.templates.values()), request, FIELDS)
        return node('templates', *map(template_xml, rows))


def find(engine, ident):
    if ident not in engine.state.templates:
        raise NotFound()
    return engine.state.templates[ident]


def template(engine, request, ident):
    with engine.state.lock:
        return template_xml(find(engine, ident))


def attachment_xml(row, template_id):
    base = 'templates/%s/diskattachments' % template_id
    return item('disk_attachment', base, row['disk'],
                *leaves(active=row['active'], bootable=row['bootable'],
                        interface=row['interface'], pass_discard=False,
                        read_only=row['read_only'],
                        uses_scsi_reservation=False),
                ref('disk', 'disks', row['disk']),
                ref('template', 'templates', template_id))


def attachments(engine, request, ident):
    with engine.state.lock:
        row = find(engine, ident)
        return node('disk_attachments', *[
            attachment_xml(att, ident) for att in
            row.get('attachments', {}).values()])


def attachment(engine, request, ident, disk):
    with engine.state.lock:
        row = find(engine, ident)
        if disk not in row.get('attachments', {}):
            raise NotFound()
        return attachment_xml(row['attachments'][disk], ident)


def empty_tags(engine, request, ident):
    with engine.state.lock:
        find(engine, ident)
        return node('tags')


def delete(engine, request, ident):
    with engine.state.lock:
        row = find(engine, ident)
        if ident == BLANK or any(vm['template'] == ident for vm in
                                 engine.state.vms.values()):
            raise conflict('Cannot remove Template. The following VMs were '
                           'created from it and depend on it.')
        raise conflict('Cannot remove Template %s.' % row['name'])


ROUTES = [
    ('GET', '/templates', templates),
    ('GET', '/templates/{ident}', template),
    ('DELETE', '/templates/{ident}', delete),
    ('GET', '/templates/{ident}/diskattachments', attachments),
    ('GET', '/templates/{ident}/diskattachments/{disk}', attachment),
    ('GET', '/templates/{ident}/tags', empty_tags),
]
