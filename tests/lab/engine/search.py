# SPDX-License-Identifier: Apache-2.0
"""?search=, max, page, sortby.

A search that the engine cannot parse is answered with an EMPTY list."""

import fnmatch
import re

TOKEN = re.compile(r'\s*(?:"([^"]*)"|(!=|<=|>=|=|<|>)|([^\s"=<>!]+))')


class Syntax(Exception):
    pass


def tokens(query):
    found = []
    pos = 0
    query = query.strip()
    while pos < len(query):
        match = TOKEN.match(query, pos)
        if not match:
            raise Syntax('at %d of %r' % (pos, query))
        quoted, operator, word = match.groups()
        if quoted is not None:
            found.append(('text', quoted))
        elif operator:
            found.append(('op', operator))
        else:
            found.append(('word', word))
        pos = match.end()
    return found


class Query:
    """conditions: list of (joined by, field, operator, value)."""

    def __init__(self, query, fields):
        self.conditions = []
        self.sort = None
        self.descending = False
        self.page = None
        self.fields = fields
        self._parse(tokens(query))

    def _parse(self, toks):
        pos = self._parse_conditions(toks)
        if self._is(toks, pos, 'sortby'):
            if pos + 2 >= len(toks) or toks[pos + 1][1] not in self.fields:
                raise Syntax('sortby')
            self.sort = toks[pos + 1][1]
            if toks[pos + 2][1].lower() not in ('asc', 'desc'):
                raise Syntax('direction')
            self.descending = toks[pos + 2][1].lower() == 'desc'
            pos += 3
        if self._is(toks, pos, 'page'):
            if pos + 1 >= len(toks) or not toks[pos + 1][1].isdigit():
                raise Syntax('page')
            self.page = int(toks[pos + 1][1])
            pos += 2
        if pos != len(toks):
            raise Syntax('trailing text')

    def _parse_conditions(self, toks):
        pos = 0
        joined = 'and'
        while pos < len(toks) and not self._is(toks, pos, 'sortby') and \
                not self._is(toks, pos, 'page'):
            if pos + 2 >= len(toks):
                raise Syntax('incomplete')
            field, operator, value = toks[pos:pos + 3]
            if field[0] != 'word' or field[1].lower() not in self.fields:
                raise Syntax('field %s' % field[1])
            if operator[0] != 'op' or value[0] == 'op':
                raise Syntax('operator')
            self.conditions.append((joined, field[1].lower(), operator[1],
                                    value[1]))
            pos += 3
            if pos < len(toks) and toks[pos][0] == 'word' and \
                    toks[pos][1].lower() in ('and', 'or'):
                joined = toks[pos][1].lower()
                pos += 1
                if pos == len(toks):
                    raise Syntax('dangling ' + joined)
            elif pos < len(toks) and not self._is(toks, pos, 'sortby') and \
                    not self._is(toks, pos, 'page'):
                raise Syntax('no and/or')
        return pos

    @staticmethod
    def _is(toks, pos, word):
        return pos < len(toks) and toks[pos][0] == 'word' and \
            toks[pos][1].lower() == word

    def matches(self, row, sensitive):
        result = True
        for joined, field, operator, value in self.conditions:
            actual = self.fields[field](row)
            hit = compare(actual, operator, value, sensitive)
            result = (result and hit) if joined == 'and' else (result or hit)
        return result


def compare(actual, operator, value, sensitive):
    if isinstance(actual, (list, tuple, set)):
        hit = any(compare(one, '=', value, sensitive) for one in actual)
        return hit if operator == '=' else not hit
    if actual is None:
        return operator == '!='
    if isinstance(actual, int) and not isinstance(actual, bool):
        try:
            number = int(value)
        except ValueError:
            return False
        return {'=': actual == number, '!=': actual != number,
                '<': actual < number, '>': actual > number,
                '<=': actual <= number, '>=': actual >= number}[operator]
    left, right = str(actual), value
    if not sensitive:
        left, right = left.lower(), right.lower()
    # Only the asterisk is a wildcard: [ and ? are themselves.
    right = re.sub(r'[\[?]', lambda m: '[%s]' % m.group(0), right)
    hit = fnmatch.fnmatchcase(left, right)
    return {'=': hit, '!=': not hit, '<': left < right, '>': left > right,
            '<=': left <= right, '>=': left >= right}[operator]


def select(rows, request, fields, default_sort=None, descending=False,
           pages=True):
    """The rows of a collection that ?search, max ask for."""
    limit = request.number('max')
    page = None
    text = request.query.get('search')
    if text:
        try:
            query = Query(text, fields)
        except Syntax as err:
            request.engine.note('search syntax: %s in %r' % (err, text))
            return []
        sensitive = request.flag('case_sensitive', False)
        rows = [row for row in rows if query.matches(row, sensitive)]
        page = query.page if pages else None
        if query.sort:
            key = fields[query.sort]
            rows = sorted(rows, key=lambda row: (key(row) is None,
                                                 sort_key(key(row))),
                          reverse=query.descending)
            default_sort = None
    if default_sort:
        rows = sorted(rows, key=default_sort, reverse=descending)
    if limit is not None and limit >= 0:
        first = (page - 1) * limit if page and page > 1 else 0
        rows = rows[first:first + limit]
    return rows


def sort_key(value):
    if isinstance(value, (list, tuple, set)):
        return str(sorted(value))
    return value.lower() if isinstance(value, str) else value
