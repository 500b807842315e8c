# SPDX-License-Identifier: Apache-2.0
"""VMs: show, create (Blank or OVF), change, run, remove (2.5, 6.4)."""

import re

from . import ovf, xmlout
from .clusters import tag_xml
from .disks import creation_status, holders, require_usable
from .errors import NotFound, bad, conflict, incomplete
from .search import select
from .server import Reply
from .state import BLANK, new_id
from .xmlout import actions, item, leaf, leaves, links, node, ref

NAME = re.compile(r'[\w.+-]+\Z')
NAME_MAX = 255
VERBS = ('start', 'stop', 'shutdown', 'freezefilesystems', 'thawfilesystems')


def vm_xml(engine, row, all_content=False):
    state = engine.state
    path = 'vms/' + row['id']
    content = ovf.configuration(ovf.of_vm(state, row)) if all_content \
        else None
    return item(
        'vm', 'vms', row['id'], actions(path, *VERBS),
        *leaves(name=row['name'], description=row['description'],
                comment=row['comment']),
        node('bios', *leaves(type=row['bios_type']), node(
            'boot_menu', leaf('enabled', False))),
        node('cpu', leaf('architecture', 'x86_64'), node(
            'topology', *leaves(cores=row['cores'], sockets=1, threads=1))),
        leaf('creation_time', row['created']), content,
        leaf('memory', row['memory']), leaf('origin', 'ovirt'),
        node('os', node('boot', node('devices', leaf('device', 'hd'))),
             leaf('type', row['os'])),
        *leaves(delete_protected=row['delete_protected'], type='server',
                has_illegal_images=row['has_illegal_images'],
                next_run_configuration_exists=False, run_once=False,
                stateless=False, status=row['status']),
        node('high_availability', leaf('enabled', False),
             leaf('priority', 1)),
        ref('cluster', 'clusters', row['cluster']),
        ref('host', 'hosts', row['host']),
        ref('original_template', 'templates', row['template']),
        ref('template', 'templates', row['template']),
        *links(path, 'diskattachments', 'nics', 'snapshots', 'tags'))


def fields(state):
    def center(row):
        ident = state.clusters[row['cluster']]['datacenter']
        return state.datacenters[ident]['name']

    return {'name': lambda r: r['name'], 'id': lambda r: r['id'],
            'status': lambda r: r['status'],
            'host': lambda r: state.hosts[r['host']]['name']
            if r['host'] else None,
            'cluster': lambda r: state.clusters[r['cluster']]['name'],
            'datacenter': center,
            'tag': lambda r: [state.tags[t]['name'] for t in r['tags']],
            'next_run_config_exists': lambda r: 'false',
            'has_illegal_images': lambda r:
            str(r['has_illegal_images']).lower()}


def vms(engine, request):
    state = engine.state
    with state.lock:
        rows = select(list(state.vms.values()), request, fields(state))
        full = request.all_content()
        return node('vms', *[vm_xml(engine, row, full) for row in rows])


def find(engine, vm):
    if vm not in engine.state.vms:
        raise NotFound()
    return engine.state.vms[vm]


def vm(engine, request, vm):
    with engine.state.lock:
        return vm_xml(engine, find(engine, vm), request.all_content())


def nic_xml(vm, nic):
    return item('nic', 'vms/%s/nics' % vm, nic['id'],
                *leaves(name=nic['name'], interface=nic['interface'],
                        linked=nic['linked'], plugged=nic['plugged']),
                node('mac', leaf('address', nic['mac'])),
                ref('vm', 'vms', vm),
                ref('vnic_profile', 'vnicprofiles', nic['vnicprofile']))


def nics(engine, request, vm):
    with engine.state.lock:
        return node('nics', *[nic_xml(vm, nic) for nic in
                              find(engine, vm)['nics']])


def find_nic(engine, vm, nic):
    for row in find(engine, vm)['nics']:
        if row['id'] == nic:
            return row
    raise NotFound()


def nic(engine, request, vm, nic):
    with engine.state.lock:
        return nic_xml(vm, find_nic(engine, vm, nic))


def update_nic(engine, request, vm, nic):
    doc = request.doc('nic')
    state = engine.state
    with state.lock:
        row = find_nic(engine, vm, nic)
        profile = xmlout.get_id(doc, 'vnic_profile')
        if profile is not None:
            if profile not in state.vnicprofiles:
                raise bad('Cannot edit Interface. The vNIC profile does not '
                          'exist.')
            row['vnicprofile'] = profile
        mac = xmlout.get(doc, 'mac/address')
        if mac and mac != row['mac']:
            refuse_mac(state, mac)
            row['mac'] = mac
        for name in ('linked', 'plugged'):
            row[name] = xmlout.get_bool(doc, name, row[name])
        return nic_xml(vm, row)


def vm_tags(engine, request, vm):
    state = engine.state
    with state.lock:
        return node('tags', *[tag_xml(state.tags[t], vm) for t in
                              find(engine, vm)['tags']])


# -- create ---------------------------------------------------------------

def wanted_cluster(state, doc):
    ident = xmlout.get_id(doc, 'cluster')
    name = xmlout.get(doc, 'cluster/name')
    if ident is None and name is None:
        raise incomplete('Vm', 'cluster.id|name')
    for row in state.clusters.values():
        if row['id'] == ident or (ident is None and row['name'] == name):
            return row
    raise bad('Cannot add VM. Cluster does not exist.')


def refuse_name(state, name, cluster, what):
    if not NAME.match(name) or len(name) > NAME_MAX:
        raise bad('Cannot %s. The given name contains special characters or '
                  'is too long. Only letters, numbers, \'_\', \'-\', \'+\' '
                  'and \'.\' are allowed.' % what)
    center = cluster['datacenter']
    for row in state.vms.values():
        if row['name'] == name and state.clusters[row['cluster']][
                'datacenter'] == center:
            raise conflict('Cannot %s. The VM name is already in use, '
                           'please choose a unique name and try again.'
                           % what)


def refuse_mac(state, mac):
    for row in state.vms.values():
        if any(nic['mac'] == mac for nic in row['nics']):
            raise conflict('Cannot import VM. MAC address %s is already in '
                           'use.' % mac)


def add(engine, request):
    doc = request.doc('vm')
    if doc.find('initialization/configuration') is not None:
        return import_vm(engine, request, doc)
    state = engine.state
    with state.lock:
        name = xmlout.get(doc, 'name')
        if not name:
            raise incomplete('Vm', 'name')
        cluster = wanted_cluster(state, doc)
        template = doc.find('template')
        if template is None:
            raise incomplete('Vm', 'template.id|name')
        if BLANK != template.get('id') and \
                xmlout.get(template, 'name') != 'Blank':
            raise conflict('Cannot add VM. The lab makes VMs from the Blank '
                           'template only.')
        refuse_name(state, name, cluster, 'add VM')
        row = state.add_vm(
            name, cluster, description=xmlout.get(doc, 'description', ''),
            comment=xmlout.get(doc, 'comment', ''),
            memory=xmlout.get_int(doc, 'memory', 1 << 30))
    engine.event(request, 34, 'VM %s was created by %s.'
                 % (name, request.user), vm=row['id'])
    with state.lock:
        return Reply(201, vm_xml(engine, row))


def import_vm(engine, request, doc):
    """POST of an OVF; the disks that it names are attached by id, after
    the call has succeeded for the caller."""
    state = engine.state
    kind = xmlout.get(doc, 'initialization/configuration/type')
    text = xmlout.get(doc, 'initialization/configuration/data')
    missing = [name for name, value in
               (('initialization.configuration.type', kind),
                ('initialization.configuration.data', text)) if not value]
    if missing:
        raise incomplete('Vm', ', '.join(missing))
    if kind not in ('ovf', 'ova'):
        raise bad('Invalid value %s for ConfigurationType' % kind)
    regenerate = xmlout.get_bool(doc, 'initialization/regenerate_ids',
                                 False)
    with state.lock:
        cluster = wanted_cluster(state, doc)
        found = ovf.read(text)
        name = xmlout.get_raw(doc, 'name') or found['name']
        refuse_name(state, name, cluster, 'import VM')
        ident = new_id() if regenerate else found['id']
        if ident in state.vms:
            raise conflict('Cannot import VM. VM with the same identifier '
                           'already exists.')
        if not regenerate:
            for nic in found['nics']:
                refuse_mac(state, nic['mac'])
        row = state.add_vm(
            name, cluster, id=ident, os=found['os'], tpm=found['tpm'],
            nvram=found['nvram'], cores=found['cores'],
            description=xmlout.get_raw(doc, 'description',
                                       found['description']),
            comment=xmlout.get_raw(doc, 'comment', found['comment']),
            memory=xmlout.get_int(doc, 'memory', found['memory']),
            nics=[import_nic(state, nic, regenerate) for nic in
                  found['nics']])
        row['bios_type'] = found['bios_type']
        attached = attach_named(state, row, found, regenerate)
    engine.event(request, 174 if attached else 175,
                 'VM %s has been successfully imported from the given '
                 'configuration%s.' % (name, '' if attached else
                                       ', but its disks were not attached'),
                 'normal' if attached else 'warning', vm=ident)
    with state.lock:
        return Reply(201, vm_xml(engine, row))


def import_nic(state, nic, regenerate):
    profile = None
    for row in state.vnicprofiles.values():
        if row['name'] == nic['profile'] and row['network'] == nic['network']:
            profile = row['id']
    return {'name': nic['name'], 'interface': nic['interface'],
            'mac': None if regenerate else nic['mac'],
            'vnicprofile': profile, 'plugged': nic['plugged'],
            'linked': nic['linked']}


def attach_named(state, row, found, regenerate):
    """True when every disk of the OVF was attached.  The trap: the disk
    elements still carry the id of the ORIGINAL VM."""
    target = state.vms.get(found['id']) if regenerate else row
    done = True
    seen = set()
    for want in found['disks']:
        img = want['disk']
        if img in seen:
            continue
        seen.add(img)
        disk = state.disks.get(img)
        if target is None or disk is None or disk['template'] or \
                state.disk_vms(disk) or state.disk_status(disk) != 'ok' or \
                img in target['attachments']:
            done = False
            continue
        state.attach(target, disk, bootable=want['bootable'],
                     interface=want['interface'], active=want['active'],
                     read_only=want['read_only'])
    return done


# -- change ---------------------------------------------------------------

def refuse_busy(engine, row, what):
    if row['status'] == 'image_locked' or engine.locks.busy(
            ('vm', row['id'])):
        raise conflict('Cannot %s. VM is locked. Please try again later.'
                       % what)


def update(engine, request, vm):
    doc = request.doc('vm')
    state = engine.state
    with state.lock:
        row = find(engine, vm)
        refuse_busy(engine, row, 'edit VM')
        name = xmlout.get_raw(doc, 'name')
        if name and name != row['name']:
            refuse_name(state, name, state.clusters[row['cluster']],
                        'edit VM')
            row['name'] = name
        for key in ('description', 'comment'):
            if doc.find(key) is not None:
                row[key] = xmlout.get_raw(doc, key, '')
        row['delete_protected'] = xmlout.get_bool(
            doc, 'delete_protected', row['delete_protected'])
        row['memory'] = xmlout.get_int(doc, 'memory', row['memory'])
        row['generation'] += 1
    engine.event(request, 35, 'VM %s configuration was updated by %s.'
                 % (row['name'], request.user), vm=vm)
    with state.lock:
        return vm_xml(engine, row)


def delete(engine, request, vm):
    state = engine.state
    keep = request.flag('detach_only', False)
    what = 'remove VM'
    with state.lock:
        row = find(engine, vm)
        if row['status'] != 'down':
            raise conflict('Cannot %s. VM is running.' % what)
        if row['delete_protected']:
            raise conflict('Cannot %s. Delete protection is enabled. In '
                           'order to delete, disable Delete protection '
                           'first.' % what)
        refuse_busy(engine, row, what)
        disks = [state.disks[img] for img, att in row['attachments'].items()
                 if not att['snapshot']]
        require_usable(engine, what, disks, illegal=False)
        for disk in disks:
            if holders(state, disk):
                raise conflict('Cannot %s. Snapshots of its disks are '
                               'attached to the VMs: %s'
                               % (what, holders(state, disk)))
            if keep and len(state.disk_volumes(disk)) > 1:
                raise conflict('Cannot %s with detached disks. The disk %s '
                               'has snapshots.' % (what, disk['alias']))
        held = engine.locks.take(what, [('vm', vm)] + [
            ('disk', disk['id']) for disk in disks])
        row['status'] = 'image_locked'
        if not keep:
            for disk in disks:
                state.set_status(disk, 'locked')
    job = start_delete(engine, request, row, disks, keep, held)
    return node('action', ref('job', 'jobs', job['id']),
                leaf('status', 'complete'))


def start_delete(engine, request, row, disks, keep, held):
    state = engine.state

    def work():
        for disk in [] if keep else disks:
            if disk['storage_type'] == 'lun':
                continue
            engine.storage.delete_image(disk['domain'], disk['id'])
            with state.lock:
                state.drop_disk(disk)
        with state.lock:
            drop_vm(state, row['id'])
        engine.event(request, 113, 'VM %s was successfully removed.'
                     % row['name'], vm=row['id'])

    def undo(reason):
        with state.lock:
            row['status'] = 'down'
            for disk in disks:
                if disk['id'] in state.disks:
                    state.set_status(disk, 'ok' if keep else 'illegal')
        engine.event(request, 172, 'Failed to remove VM %s: %s'
                     % (row['name'], reason), 'error', vm=row['id'])

    return engine.tasks.start('vm-delete', 'Removing VM ' + row['name'],
                              request.correlation, held, work, undo)


def drop_vm(state, vm):
    """Forget the VM with its snapshots; its disks float."""
    row = state.vms.pop(vm, None)
    for sid in [s['id'] for s in state.snapshots.values() if s['vm'] == vm]:
        del state.snapshots[sid]
    for img, att in (row['attachments'] if row else {}).items():
        if not att['snapshot'] and img in state.disks:
            for volume in state.disk_volumes(img):
                volume['snapshot'] = None
    return row


ROUTES = [
    ('GET', '/vms', vms),
    ('POST', '/vms', add),
    ('GET', '/vms/{vm}', vm),
    ('PUT', '/vms/{vm}', update),
    ('DELETE', '/vms/{vm}', delete),
    ('GET', '/vms/{vm}/nics', nics),
    ('GET', '/vms/{vm}/nics/{nic}', nic),
    ('PUT', '/vms/{vm}/nics/{nic}', update_nic),
    ('GET', '/vms/{vm}/tags', vm_tags),
    ('GET', '/vms/{ident}/creation_status/{task}', creation_status),
]
