# SPDX-License-Identifier: Apache-2.0
"""Documents out and in: elements by name, the engine's spelling of values."""

import datetime
import xml.etree.ElementTree as ET

from .errors import Fault

PREFIX = '/ovirt-engine/api'
BODY_MAX = 16 << 20


def text(value):
    if value is True:
        return 'true'
    if value is False:
        return 'false'
    if isinstance(value, datetime.datetime):
        return value.isoformat(timespec='milliseconds')
    return str(value)


def node(name, *children, value=None, **attrs):
    """An element; children that are None are left out."""
    elem = ET.Element(name, {key: text(val) for key, val in attrs.items()
                             if val is not None})
    if value is not None:
        elem.text = text(value)
    elem.extend(child for child in children if child is not None)
    return elem


def leaf(name, value):
    """An element with a text, or None (= absent) without a value."""
    return None if value is None else node(name, value=value)


def leaves(**values):
    return [leaf(name, value) for name, value in values.items()
            if value is not None]


def ref(name, path, ident):
    """<name id= href=/> of an object elsewhere; None without an id."""
    if ident is None:
        return None
    return node(name, href='%s/%s/%s' % (PREFIX, path, ident), id=ident)


def item(name, path, ident, *children):
    """An object at PREFIX/path/ident."""
    return node(name, *children, href='%s/%s/%s' % (PREFIX, path, ident),
                id=ident)


def link(path, rel):
    return node('link', href='%s/%s' % (PREFIX, path), rel=rel)


def links(path, *rels):
    return [link('%s/%s' % (path, rel), rel) for rel in rels]


def actions(path, *names):
    return node('actions', *links(path, *names))


def version(pair):
    return node('version', leaf('major', pair[0]), leaf('minor', pair[1]))


def render(elem):
    return (b'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n' +
            ET.tostring(elem, encoding='utf-8'))


def fault(err):
    return node('fault', leaf('detail', err.detail),
                leaf('reason', err.reason))


def parse(body, root=None):
    """The document of a request; a fault of the caller is a 400."""
    if not body.strip():
        raise Fault(400, 'No content to map to Object due to end of input',
                    'Request syntactically incorrect.')
    if b'<!DOCTYPE' in body or b'<!ENTITY' in body:
        raise Fault(400, 'DOCTYPE is not allowed',
                    'Request syntactically incorrect.')
    try:
        doc = ET.fromstring(body)
    except ET.ParseError as err:
        raise Fault(400, 'For correct usage, see: /ovirt-engine/api/model '
                    '(%s)' % err, 'Request syntactically incorrect.')
    if root and doc.tag != root:
        raise Fault(400, 'unexpected element <%s>, expected <%s>'
                    % (doc.tag, root), 'Request syntactically incorrect.')
    return doc


def get(doc, path, default=None):
    found = doc.find(path)
    if found is None or found.text is None:
        return default
    return found.text.strip()


def get_raw(doc, path, default=None):
    """As get, with the white space of the text kept."""
    found = doc.find(path)
    return default if found is None or found.text is None else found.text


def get_bool(doc, path, default=None):
    value = get(doc, path)
    if value is None:
        return default
    if value in ('true', '1'):
        return True
    if value in ('false', '0'):
        return False
    raise Fault(400, 'Invalid value "%s" for %s' % (value, path),
                'Request syntactically incorrect.')


def get_int(doc, path, default=None):
    value = get(doc, path)
    if value is None:
        return default
    try:
        return int(value)
    except ValueError:
        raise Fault(400, 'Invalid value "%s" for %s' % (value, path),
                    'Request syntactically incorrect.')


def get_id(doc, path):
    found = doc.find(path)
    return None if found is None else found.get('id')
