# SPDX-License-Identifier: Apache-2.0
"""HTTPS, HTTP/1.1 keep-alive; from a request to a handler and back.

The answers that are not XML on purpose (401, 404, 503) are here, and the
faults that the control endpoint asked for are applied here."""

import http.server
import re
import socket
import socketserver
import ssl
import sys
import time
import traceback
import urllib.parse
import uuid

from . import auth, xmlout
from .errors import Drop, Fault, NotFound

CORRELATION = re.compile(r'[^0-9A-Za-z_-]')
HTML = ('<html><head><title>%(title)s</title></head><body><h1>%(title)s</h1>'
        '<p>%(text)s</p></body></html>\n')
UUID = re.compile(r'[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z')
TRUE = ('t', 'true', 'y', 'yes', '1', '')
FALSE = ('f', 'false', 'n', 'no', '0')
DELETE_OK = 200


class Reply:
    def __init__(self, status=200, doc=None, body=None,
                 content_type='application/xml', headers=()):
        self.status = status
        self.doc = doc
        self.body = body
        self.content_type = content_type
        self.headers = list(headers)

    def bytes(self):
        if self.doc is not None:
            return xmlout.render(self.doc)
        return self.body or b''


class Request:
    """One call, as the handlers see it."""

    def __init__(self, engine, method, target, headers=None, body=b'',
                 user=None):
        self.engine = engine
        self.method = method
        self.headers = headers or {}
        self.body = body
        self.user = user
        parts = urllib.parse.urlsplit(target)
        self.path = urllib.parse.unquote(parts.path)
        self.query = {}
        for key, value in urllib.parse.parse_qsl(parts.query,
                                                 keep_blank_values=True):
            self.query.setdefault(key, value)
        self._matrix()
        self.correlation = self._correlation()

    def _matrix(self):
        """;unregistered and ;max=5 of the last segment are parameters."""
        head, _, last = self.path.rpartition('/')
        name, *params = last.split(';')
        self.path = head + '/' + name
        for param in params:
            key, _, value = param.partition('=')
            self.query.setdefault(key, value)

    def _correlation(self):
        value = self.headers.get('Correlation-Id') or \
            self.query.get('correlation_id') or ''
        value = CORRELATION.sub('', value)[:36]
        return value or str(uuid.uuid4())

    def flag(self, name, default, header=None):
        value = self.query.get(name)
        if value is None and header:
            value = self.headers.get(header)
        if value is None:
            return default
        value = value.strip().lower()
        if value in TRUE:
            return True
        if value in FALSE:
            return False
        return default

    def number(self, name):
        try:
            return int(self.query[name])
        except (KeyError, ValueError):
            return None

    def all_content(self):
        return self.flag('all_content', False, 'All-Content')

    def doc(self, root=None):
        return xmlout.parse(self.body, root)


class NoRoute(NotFound):
    """No such resource at all: a page of the application server."""


class Router:
    """Patterns such as /vms/{vm}/snapshots/{snap}; {x} is one UUID (a text
    that is none is a 404, as in the engine), {x:any} is any one segment."""

    def __init__(self, modules):
        self.routes = []
        for module in modules:
            for method, pattern, handler in module.ROUTES:
                self.routes.append((method, self._compile(pattern), handler))

    @staticmethod
    def _compile(pattern):
        regex = re.sub(r'\{(\w+):any\}', r'(?P<\1>[^/]+)', pattern)
        regex = re.sub(r'\{(\w+)\}', r'(?P<\1>[0-9a-fA-F-]{36})', regex)
        return re.compile(regex + r'\Z')

    def find(self, method, path):
        """(handler, ids); NotFound, or Fault 405."""
        allowed = set()
        for verb, regex, handler in self.routes:
            match = regex.match(path)
            if match and verb == method:
                return handler, match.groupdict()
            if match:
                allowed.add(verb)
        if allowed:
            raise Fault(405, 'HTTP 405 Method Not Allowed')
        raise NoRoute()


def dispatch(engine, request):
    """Run the handler of an API call; exceptions pass."""
    path = request.path
    for prefix in (xmlout.PREFIX + '/v4', xmlout.PREFIX):
        if path == prefix or path.startswith(prefix + '/'):
            path = path[len(prefix):] or '/'
            break
    if len(path) > 1 and path.endswith('/'):
        path = path[:-1]
    handler, ids = engine.router.find(request.method, path)
    reply = handler(engine, request, **ids)
    if not isinstance(reply, Reply):
        reply = Reply(200, reply)
    if request.method == 'GET' and request.query.get('follow'):
        for chain in request.query['follow'].split(','):
            follow(engine, request, reply.doc, chain.strip().split('.'))
    return reply


def follow(engine, request, doc, names):
    """Replace links and references by what they point at."""
    if not names or not names[0]:
        return
    plural = all(child.tag + 's' == doc.tag for child in doc) and len(doc)
    for owner in (list(doc) if plural else [doc]):
        _follow_one(engine, request, owner, names)


def _follow_one(engine, request, owner, names):
    name = names[0]
    for index, child in enumerate(list(owner)):
        linked = child.tag == 'link' and \
            child.get('rel') == name.replace('_', '')
        if not linked and (child.tag != name or child.get('href') is None):
            continue
        inner = Request(engine, 'GET', child.get('href'), request.headers,
                        user=request.user)
        inner.headers = {}
        try:
            found = dispatch(engine, inner).doc
        except (NotFound, Fault):
            continue
        follow(engine, request, found, names[1:])
        owner.remove(child)
        owner.insert(index, found)
        return


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    server_version = 'Apache'
    sys_version = ''
    timeout = 120
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, format, *args):
        pass

    def do_GET(self):
        self._serve()

    do_POST = do_PUT = do_DELETE = do_OPTIONS = do_GET

    def _body(self):
        if self.command == 'GET':
            # Some clients announce a body with GET and never send it.
            if self.headers.get('Content-Length', '0') != '0':
                self.close_connection = True
            return b''
        if 'chunked' in self.headers.get('Transfer-Encoding', ''):
            return self._chunks()
        size = int(self.headers.get('Content-Length') or 0)
        if size < 0 or size > xmlout.BODY_MAX:
            self.close_connection = True
            raise Fault(413, 'body too large')
        body = self.rfile.read(size)
        if len(body) != size:
            raise Drop()
        return body

    def _chunks(self):
        body = b''
        while True:
            size = int(self.rfile.readline(32).split(b';')[0], 16)
            if size + len(body) > xmlout.BODY_MAX:
                raise Drop()
            body += self.rfile.read(size)
            self.rfile.readline(8)
            if size == 0:
                return body

    def _serve(self):
        engine = self.server.engine
        # From the second request on: how long a connection may rest.
        self.connection.settimeout(engine.keep_alive_s)
        try:
            body = self._body()
            request = Request(engine, self.command, self.path, self.headers,
                              body)
            entry = engine.log_call(request)
            try:
                reply = self._answer(engine, request, entry)
                entry['status'] = reply.status
            finally:
                engine.log_done(entry)
            self._send(request, reply)
        except (Drop, ValueError):
            self.close_connection = True
            self._abort()
        except (OSError, ssl.SSLError):
            self.close_connection = True

    def _answer(self, engine, request, entry):
        if engine.restarting():
            return html(503, 'Service Unavailable', 'The server is '
                        'temporarily unable to service your request.')
        rule = engine.faults.match(request)
        if rule:
            entry['fault'] = rule['mode']
            early = self._fault(engine, rule)
            if early:
                return early
        reply = self._call(engine, request)
        if rule and rule['mode'] == 'drop-after':
            entry['done'] = reply.status
            raise Drop()
        return reply

    def _fault(self, engine, rule):
        if rule['mode'] == 'stall':
            engine.tasks.stopping.wait(rule['seconds'])
        elif rule['mode'] == 'drop':
            raise Drop()
        elif rule['mode'] == 'fail':
            return failure(rule['status'], rule.get('text'))
        return None

    def _call(self, engine, request):
        path = request.path
        if path in auth.TOKEN_PATHS and request.method == 'POST':
            return json_reply(*engine.auth.token(request.body))
        if path in auth.LOGOUT_PATHS and request.method == 'POST':
            return json_reply(*engine.auth.logout(request.body))
        if path == '/ovirt-engine/services/pki-resource':
            return engine.pki_resource(request)
        if path != xmlout.PREFIX and \
                not path.startswith(xmlout.PREFIX + '/'):
            return html(404, 'Not Found', 'The requested URL was not found.')
        request.user = engine.auth.user_of(
            request.headers.get('Authorization'))
        if request.user is None:
            reply = html(401, 'Unauthorized', 'This server could not verify '
                         'that you are authorized.')
            reply.headers.append(('WWW-Authenticate',
                                  'Basic realm="RESTAPI"'))
            return reply
        pinned = request.headers.get('Version')
        if pinned and pinned.strip() != '4':
            return Reply(400, xmlout.fault(Fault(400, 'Version ' + pinned +
                                                 ' is not supported')))
        return self._api(engine, request)

    def _api(self, engine, request):
        try:
            return dispatch(engine, request)
        except NoRoute:
            return html(404, 'Not Found', 'No resource at this address.')
        except NotFound:
            return Reply(404, body=b'', content_type='text/html')
        except Fault as err:
            if err.status == 405:
                return html(405, 'Method Not Allowed', err.detail)
            return refused(request, err)
        except Drop:
            raise
        except Exception:
            traceback.print_exc()
            return Reply(500, xmlout.fault(Fault(
                500, traceback.format_exc().splitlines()[-1],
                'Internal Server Error')))

    def _send(self, request, reply):
        body = reply.bytes()
        self.send_response(reply.status)
        if body or reply.content_type != 'application/xml':
            self.send_header('Content-Type', reply.content_type +
                             ';charset=UTF-8')
        self.send_header('Content-Length', str(len(body)))
        self.send_header('Correlation-Id', request.correlation)
        for name, value in reply.headers:
            self.send_header(name, value)
        if self.close_connection:
            self.send_header('Connection', 'close')
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def _abort(self):
        """Cut the line hard: RST, no TLS goodbye."""
        try:
            sock = self.connection
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                            b'\x01\x00\x00\x00\x00\x00\x00\x00')
            sock.close()
        except OSError:
            pass


def html(status, title, text):
    return Reply(status, body=(HTML % {'title': title,
                                       'text': text}).encode(),
                 content_type='text/html')


def json_reply(status, obj):
    return Reply(status, body=auth.to_json(obj),
                 content_type='application/json')


def failure(status, text):
    """The answer of a `fail` rule; `html` as the text gives a page."""
    if text == 'html' or (text is None and status in (401, 404, 502, 503)):
        return html(status, 'Error %d' % status, 'The service is '
                    'temporarily unavailable.')
    return Reply(status, xmlout.fault(
        Fault(status, '[%s]' % (text or 'Failure asked for by the test'))))


def refused(request, err):
    """A fault; the actions wrap it in <action>."""
    doc = xmlout.fault(err)
    last = request.path.rsplit('/', 1)[-1]
    if request.method == 'POST' and last in ACTIONS:
        doc = xmlout.node('action', doc, xmlout.leaf('status', 'failed'))
    return Reply(err.status, doc)


ACTIONS = ('start', 'stop', 'shutdown', 'freezefilesystems',
           'thawfilesystems', 'finalize', 'cancel', 'pause', 'resume',
           'extend', 'end', 'activate', 'deactivate', 'migrate', 'move',
           'copy', 'sparsify', 'reduce', 'convert', 'restore', 'commit')


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, engine, address, certificate, key):
        self.engine = engine
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.load_cert_chain(certificate, key)
        super().__init__(address, Handler)

    def server_bind(self):
        # HTTPServer asks the resolver for a name here; the lab has none.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    def process_request_thread(self, request, client_address):
        """The TLS handshake is done by the connection's own thread: a client
        that says nothing holds up nobody else."""
        try:
            request.settimeout(Handler.timeout)
            request = self.context.wrap_socket(request, server_side=True)
        except (OSError, ssl.SSLError, ValueError):
            request.close()
            return
        super().process_request_thread(request, client_address)

    def shutdown_request(self, request):
        """A TLS connection says goodbye, else clients see truncation."""
        try:
            request.settimeout(1.0)
            request.unwrap()
        except (OSError, ssl.SSLError, ValueError, AttributeError):
            pass
        super().shutdown_request(request)

    def handle_error(self, request, client_address):
        kind = sys.exc_info()[0]
        if not issubclass(kind, (OSError, ssl.SSLError)):
            traceback.print_exc()


def stamp():
    return time.strftime('%H:%M:%S')
