# SPDX-License-Identifier: Apache-2.0
"""What a handler raises when it refuses."""


class Fault(Exception):
    """Becomes <fault> (or <action><fault>) with an HTTP status."""

    def __init__(self, status, detail, reason='Operation Failed'):
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.detail = detail


class NotFound(Exception):
    """404: no fault body, as the real engine answers an unknown id."""


class Drop(Exception):
    """Close the connection without an answer."""


def conflict(text):
    return Fault(409, '[%s]' % text)


def bad(text):
    return Fault(400, '[%s]' % text)


def incomplete(noun, fields, verb='add'):
    return Fault(400, '%s [%s] required for %s' % (noun, fields, verb),
                 'Incomplete parameters')
