# SPDX-License-Identifier: Apache-2.0
"""Jobs, steps, events."""

from . import xmlout
from .errors import NotFound, bad, conflict, incomplete
from .search import select
from .server import Reply
from .state import BLANK, now
from .xmlout import actions, item, leaf, leaves, link, node, ref


def job_xml(row):
    path = 'jobs/' + row['id']
    return item('job', 'jobs', row['id'], actions(path, 'clear', 'end'),
                *leaves(description=row['description'],
                        auto_cleared=row['auto_cleared'],
                        external=row['external'],
                        start_time=row['start_time'],
                        last_updated=row['last_updated'],
                        end_time=row['end_time'], status=row['status']),
                link(path + '/steps', 'steps'), ref('owner', 'users', BLANK))


# Nothing else can be searched for: any other field is a syntax error.
JOB_FIELDS = {'correlation_id': lambda r: r['correlation_id']}


def jobs(engine, request):
    state = engine.state
    engine.tasks.purge()
    with state.lock:
        rows = select(list(state.jobs.values()), request, JOB_FIELDS)
        return node('jobs', *map(job_xml, rows))


def find(engine, ident):
    engine.tasks.purge()
    if ident not in engine.state.jobs:
        raise NotFound()
    return engine.state.jobs[ident]


def job(engine, request, ident):
    with engine.state.lock:
        return job_xml(find(engine, ident))


def steps(engine, request, ident):
    with engine.state.lock:
        row = find(engine, ident)
        base = 'jobs/%s/steps' % ident
        done = row['status'] if row['status'] != 'started' else 'started'
        return node('steps', *[
            item('step', base, '%s%d' % (ident[:-1], number),
                 *leaves(description=text, external=False, number=number,
                         start_time=row['start_time'], status=status,
                         type=kind), ref('job', 'jobs', ident))
            for number, (text, kind, status) in enumerate(
                [('Validating', 'validating', 'finished'),
                 ('Executing', 'executing', done)])])


def add_job(engine, request):
    doc = request.doc('job')
    description = xmlout.get(doc, 'description')
    if description is None:
        raise incomplete('Job', 'description')
    row = engine.tasks.job(description, request.correlation, external=True)
    row['auto_cleared'] = xmlout.get_bool(doc, 'auto_cleared', True)
    with engine.state.lock:
        return Reply(201, job_xml(row))


def end_job(engine, request, ident):
    doc = request.doc('action')
    with engine.state.lock:
        row = find(engine, ident)
        if not row['external']:
            raise conflict('Cannot end Job. The job is not external.')
        good = xmlout.get_bool(doc, 'succeeded', True)
        engine.tasks.end_job(row, 'finished' if good else 'failed')
    return node('action', leaf('status', 'complete'))


def event_xml(row):
    about = row['about']
    return item(
        'event', 'events', row['id'],
        *leaves(description=row['description'], code=row['code'],
                correlation_id=row['correlation_id'],
                custom_id=row['custom_id'], flood_rate=30, index=row['id'],
                origin=row['origin'], severity=row['severity'],
                time=row['time']),
        ref('cluster', 'clusters', about.get('cluster')),
        ref('data_center', 'datacenters', about.get('datacenter')),
        ref('host', 'hosts', about.get('host')),
        ref('template', 'templates', about.get('template')),
        ref('vm', 'vms', about.get('vm')))


def event_fields(state):
    def vm_name(row):
        vm = state.vms.get(row['about'].get('vm'))
        return vm['name'] if vm else row['about'].get('vm_name')

    return {'type': lambda r: r['code'], 'severity': lambda r: r['severity'],
            'time': lambda r: r['time'].isoformat(),
            'event_vm': vm_name, 'event_vm_id': lambda r: r['about'].get('vm'),
            'correlation_id': lambda r: r['correlation_id'],
            'origin': lambda r: r['origin'],
            'custom_event_id': lambda r: r['custom_id']}


def events(engine, request):
    state = engine.state
    first = request.number('from')
    with state.lock:
        rows = [row for row in state.events
                if first is None or int(row['id']) > first]
        rows = select(rows, request, event_fields(state),
                      default_sort=lambda r: int(r['id']), descending=True)
        return node('events', *map(event_xml, rows))


def event(engine, request, ident):
    with engine.state.lock:
        for row in engine.state.events:
            if row['id'] == ident:
                return event_xml(row)
    raise NotFound()


def add_event(engine, request):
    doc = request.doc('event')
    missing = [name for name in ('description', 'severity', 'origin',
                                 'custom_id')
               if xmlout.get(doc, name) is None]
    if missing:
        raise incomplete('Event', ', '.join(missing))
    if xmlout.get(doc, 'severity') not in ('normal', 'warning', 'error',
                                           'alert'):
        raise bad('Invalid severity')
    vm = xmlout.get_id(doc, 'vm')
    origin = xmlout.get(doc, 'origin')
    custom = xmlout.get_int(doc, 'custom_id')
    with engine.state.lock:
        if vm is not None and vm not in engine.state.vms:
            raise bad('Cannot add external event. Invalid VM id.')
        if any(row['origin'] == origin and row['custom_id'] == custom
               for row in engine.state.events):
            raise conflict('Cannot add external event. The custom id exists '
                           'already for this origin.')
        row = engine.event(request, 9801, xmlout.get(doc, 'description'),
                           xmlout.get(doc, 'severity'), vm=vm)
        row.update(origin=origin, custom_id=custom, time=now())
        return Reply(201, event_xml(row))


ROUTES = [
    ('GET', '/jobs', jobs),
    ('POST', '/jobs', add_job),
    ('GET', '/jobs/{ident}', job),
    ('GET', '/jobs/{ident}/steps', steps),
    ('POST', '/jobs/{ident}/end', end_job),
    ('GET', '/events', events),
    ('POST', '/events', add_event),
    ('GET', '/events/{ident:any}', event),
]
