"""Protocols v2 and v3 over a raw socket, byte for byte (spec/03 §1-§6, §9-§18), and what a connection can do to the server."""
import base64, gzip, hashlib, os, re, signal, socket, struct, threading, time
from lightcone import Server, bstr, main, module

V2, V3 = 'v2.bsatn.spacetimedb', 'v3.bsatn.spacetimedb'
EMPTY = b'\x01' + bytes(8) # a row list without rows


def u32(*n): return struct.pack(f'<{len(n)}I', *n)
def u64(n): return struct.pack('<Q', n)
def counter(id, value): return u32(id) + u64(value)
def person(id, name, age): return u32(id) + bstr(name) + bytes([age])
def strings(*s): return u32(len(s)) + b''.join(bstr(x) for x in s)
# client messages (spec/03 §6.1)
def subscribe(rid, qs, *queries): return b'\x00' + u32(rid, qs) + strings(*queries)
def unsubscribe(rid, qs, flags=0): return b'\x01' + u32(rid, qs) + bytes([flags])
def one_off(rid, query): return b'\x02' + u32(rid) + bstr(query)
def call(rid, name, args=b'', flags=0): return b'\x03' + u32(rid) + bytes([flags]) + bstr(name) + bstr(args)
def procedure(rid, name, args=b''): return b'\x04' + u32(rid) + b'\0' + bstr(name) + bstr(args)
# parts of server messages (spec/03 §5, §6.2)
def rows(*r):
    data = b''.join(r)
    if not r: return EMPTY
    if len(set(map(len, r))) == 1: return b'\x00' + struct.pack('<H', len(r[0])) + bstr(data)
    at, offsets = 0, b''
    for x in r: offsets, at = offsets + u64(at), at + len(x)
    return b'\x01' + u32(len(r)) + offsets + bstr(data)
def tables(*t): return u32(len(t)) + b''.join(bstr(name) + r for name, r in t)
def persistent(inserts, deletes=()): return b'\0' + rows(*inserts) + rows(*deletes)
def sets(*s): return u32(len(s)) + b''.join(u32(qs, len(t)) + b''.join(bstr(name) + u32(len(r)) + b''.join(r) for name, r in t) for qs, t in s)
def sub_applied(rid, qs, *t): return b'\x01' + u32(rid, qs) + tables(*t)
def unsub_applied(rid, qs, t=None): return b'\x02' + u32(rid, qs) + (b'\x01' if t is None else b'\x00' + tables(*t))
def sub_error(rid, qs, text): return b'\x03\x00' + u32(rid, qs) + bstr(text)
def update(*s): return b'\x04' + sets(*s)
def one_off_ok(rid, name, r): return b'\x05' + u32(rid) + b'\0' + tables((name, r))
def one_off_err(rid, text): return b'\x05' + u32(rid) + b'\1' + bstr(text)
def ok(rid, *s): return b'\x06' + u32(rid) + TIME + b'\0' + u32(0) + sets(*s)
def err(rid, text): return b'\x06' + u32(rid) + TIME + b'\2' + bstr(bstr(text))
def internal(rid, text): return b'\x06' + u32(rid) + TIME + b'\3' + bstr(text)
TIME = b'\xfftimestmp'[:8]


class End(Exception): pass


class Ws:
    """A connection that shows frames as they are."""
    def __init__(self, server, database, protocol=V2, query='confirmed=false&compression=None', token=None, headers='', expect=101):
        self.s = socket.create_connection(('127.0.0.1', server.port), timeout=60)
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.key = base64.b64encode(os.urandom(16)).decode()
        auth = f'Authorization: Bearer {token}\r\n' if token else ''
        offer = f'Sec-WebSocket-Protocol: {protocol}\r\n' if protocol else ''
        self.s.sendall(f'GET /v1/database/{database}/subscribe?{query} HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {self.key}\r\n{offer}{auth}{headers}\r\n'.encode())
        self.buf, self.pings = b'', []
        while b'\r\n\r\n' not in self.buf: self._more()
        head, self.buf = self.buf.split(b'\r\n\r\n', 1)
        lines = head.decode().split('\r\n')
        self.status = int(lines[0].split()[1])
        self.headers = dict(l.split(': ', 1) for l in lines[1:])
        if self.status != 101:
            while len(self.buf) < int(self.headers['content-length']): self._more()
            self.body = self.buf.decode()
        self.protocol, self.asked_for_sets = protocol, False # whether a batch of sets was sent
        if self.status != expect: raise Exception(f'{lines[0]}: {self.buf!r}')
    def _more(self):
        try: b = self.s.recv(1 << 20)
        except ConnectionResetError: b = b''
        if not b: raise End('end of stream')
        self.buf += b
    def frame(self):
        """(fin, opcode, payload) of the next frame."""
        while True:
            b = self.buf
            if len(b) >= 2:
                assert not b[0] & 0x70 and not b[1] & 0x80, b[:2]
                n, at = b[1], 2
                if n == 126 and len(b) >= 4: n, at = struct.unpack('>H', b[2:4])[0], 4
                elif n == 127 and len(b) >= 10: n, at = struct.unpack('>Q', b[2:10])[0], 10
                elif n > 125: n = 1 << 60
                if len(b) >= at + n:
                    self.buf = b[at + n:]
                    return bool(b[0] & 0x80), b[0] & 15, b[at:at + n]
            self._more()
    def message(self, answer_pings=True):
        """The next data message. A close frame is an End with code and reason."""
        parts = []
        while True:
            fin, op, p = self.frame()
            if op == 9:
                self.pings.append((time.time(), p))
                if answer_pings:
                    try: self.send(p, 10)
                    except (BrokenPipeError, ConnectionResetError): pass # what has arrived is still read
            elif op == 8: raise End(f'close {struct.unpack(">H", p[:2])[0] if p else None} {p[2:].decode()}')
            elif op == 10: return ('pong', p)
            else:
                assert op == (0 if parts else 2), op
                parts.append(p)
                if fin:
                    p = b''.join(parts)
                    if self.protocol in (V2, V3) and p[:2] == b'\0\x08' and not self.asked_for_sets: raise Exception(f'an answer to a batch that nobody sent: {p[:60]!r}')
                    return p
    def next(self):
        """The next message without its compression tag, timestamps blanked."""
        p = self.message()
        assert p[0] == 0, p[:20]
        return self.blank(p[1:])
    @staticmethod
    def blank(p): return p[:5] + TIME + p[13:] if p[0] == 6 else p
    def expect(self, *messages):
        for m in messages:
            got = self.next()
            if got != m: raise Exception(f'expected {m!r}\n     got {got!r}')
    def quiet(self, seconds=0.3):
        """Nothing comes."""
        self.s.settimeout(seconds)
        try: raise Exception(f'unexpected {self.next()!r}')
        except TimeoutError: pass
        self.s.settimeout(60)
    def send(self, payload, opcode=2, fin=True, mask=b'\x11\x22\x33\x44', flags=0):
        n = len(payload)
        if opcode == 2 and payload[:1] == b'\5': self.asked_for_sets = True
        head = bytes([(0x80 if fin else 0) | flags | opcode]) + (bytes([0x80 | n]) if n < 126 else b'\xfe' + struct.pack('>H', n) if n < 65536 else b'\xff' + struct.pack('>Q', n)) + mask
        pad = (mask * (n // 4 + 1))[:n]
        self.s.sendall(head + (int.from_bytes(payload, 'big') ^ int.from_bytes(pad, 'big')).to_bytes(n, 'big') if n else head)
    def ends(self, want):
        """Everything up to the end; the end must be `want`."""
        try:
            while True: self.message()
        except End as e: assert str(e) == want, (str(e), want)
    def close(self): self.s.close()


def opened(server, database, protocol=V2, **more):
    """Connected, initial message read."""
    c = Ws(server, database, protocol, **more)
    p = c.message()
    assert p[:2] == b'\0\0', p
    c.identity, c.connection_id = p[2:34][::-1].hex(), p[34:50][::-1].hex()
    n = struct.unpack('<I', p[50:54])[0]
    c.token = p[54:54 + n].decode()
    assert len(p) == 54 + n
    return c


class Fixture:
    """A server with the test module published as `db` by the owner."""
    def __init__(self, options=()): self.server = Server(options=options)
    def __enter__(self):
        s = self.server.__enter__()
        s.owner = s.identity()['token']
        s.publish('db', module('e2e-2.14'), s.owner)
        return s
    def __exit__(self, *x): self.server.__exit__(*x)


# ---- handshake ----

def handshake():
    with Fixture() as s:
        me = s.identity()
        c = Ws(s, 'db', f'v1.bsatn.spacetimedb, {V2},{V3}', headers='Sec-WebSocket-Extensions: permessage-deflate\r\n', token=me['token'])
        h = c.headers
        assert h['sec-websocket-protocol'] == V3 and h['connection'].lower() == 'upgrade' and h['upgrade'] == 'websocket' and 'sec-websocket-extensions' not in h, h
        assert h['sec-websocket-accept'] == base64.b64encode(hashlib.sha1((c.key + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').encode()).digest()).decode()
        assert (h['spacetime-identity'], h['spacetime-identity-token']) == (me['identity'], me['token'])
        p = c.message()
        assert p[:2] == b'\0\0' and p[2:34][::-1].hex() == me['identity'] and p[50:] == bstr(me['token']), p
        c.close()
        c = Ws(s, 'db', V2, headers=f'Sec-WebSocket-Protocol: {V3}\r\n') # two headers are one list
        assert c.headers['sec-websocket-protocol'] == V3
        c = opened(s, 'db') # anonymous: the token that is sent gives the same identity again
        assert (c.identity, c.token) == (c.headers['spacetime-identity'], c.headers['spacetime-identity-token'])
        again = opened(s, 'db', token=c.token)
        assert again.identity == c.identity and again.connection_id != c.connection_id
        assert opened(s, 'db', query='token=' + c.token).identity == c.identity
        assert opened(s, 'db', query='token=' + c.token, token=me['token']).identity == me['identity'] # the header wins
        short = __import__('json').loads(s.http('POST', '/v1/identity/websocket-token', '', me['token'])[1])['token']
        c = opened(s, 'db', query='token=' + short)
        assert (c.identity, c.token) == (me['identity'], short)
        for want in (os.urandom(16).hex().upper(), os.urandom(16).hex()):
            assert opened(s, 'db', query=f'connection_id={want}&unknown=1').connection_id == want.lower()
        db = s.http('GET', '/v1/database/db/identity')[1]
        for name in (db, '0x' + db.upper()): opened(s, name).close()
        for query in ('compression=gzip', 'compression=none', 'light=1', 'confirmed=yes', 'confirmed=True', 'connection_id=' + '1' * 31, 'connection_id=0x' + '1' * 30, 'light=true&light=true', 'compression=None&compression=None',
                      'confirmed=true&confirmed=false', 'connection_id=' + '1' * 32 + '&connection_id=' + '2' * 32, 'token=a&token=b'):
            c = Ws(s, 'db', query=query, expect=400)
            assert c.body.startswith('Failed to deserialize query string'), (query, c.body)
        def refused(status, body, database='db', protocol=V2, query='', token=None, headers=''):
            c = Ws(s, database, protocol, query, token, headers, status)
            assert c.body == body, c.body
        refused(400, 'Invalid connection ID: the all-zeros ConnectionId is reserved.', query='connection_id=' + '0' * 32)
        refused(400, 'no valid protocol selected', protocol='v4.bsatn.spacetimedb')
        refused(400, 'no valid protocol selected', protocol='V2.bsatn.spacetimedb')
        refused(400, 'no valid protocol selected', protocol=None)
        refused(404, '`nope` not found', 'nope')
        refused(404, '`nope` not found', 'nope', protocol=None) # the name is looked at before the protocol
        refused(400, 'Authorization is invalid: malformed token', headers='Authorization: Basic x\r\n')
        refused(401, 'Invalid token: InvalidToken', token='x')
        refused(401, 'Invalid token: InvalidToken', query='token=x&compression=gzip') # the token before the query
        refused(400, 'Invalid URL: invalid characters in database name', 'Bad_Name')
        who = s.identity()
        refused(500, f'Unable to authorize {who["identity"]} for SQL: database {"0" * 64} not found', '0' * 64, token=who['token'])
        for drop, status, body in (('Upgrade: websocket', 426, 'This service requires use of the websocket protocol'), ('Connection: Upgrade', 426, 'This service requires use of the websocket protocol'),
                                   ('Sec-WebSocket-Version: 13', 400, "`Sec-WebSocket-Version` header did not include '13'"), ('Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==', 400, '`Sec-WebSocket-Key` header missing')):
            lines = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==', 'Sec-WebSocket-Protocol: ' + V2]
            k = socket.create_connection(('127.0.0.1', s.port), timeout=10)
            k.sendall(('GET /v1/database/db/subscribe HTTP/1.1\r\nHost: x\r\n' + '\r\n'.join(l for l in lines if l != drop) + '\r\n\r\n').encode())
            got = b''
            while body.encode() not in got:
                b = k.recv(65536)
                assert b, got
                got += b
            assert got.startswith(b'HTTP/1.1 %d ' % status), got
            if status == 426: assert b'connection: upgrade\r\n' in got and b'upgrade: websocket\r\n' in got, got
            k.close()


# ---- messages ----

def subscriptions():
    with Fixture() as s:
        for protocol in (V2, V3):
            c, other = opened(s, 'db', protocol), opened(s, 'db')
            s.call('db', 'delete_ages', 0, 255)
            other.send(call(1, 'empty_bag', u32(1)))
            other.expect(ok(1))
            c.send(unsubscribe(1, 5))
            m = c.next()
            assert m.startswith(b'\x03\x00' + u32(1, 5)) and b'Client not found: ' in m, m
            c.send(subscribe(2, 1, 'SELECT * FROM person'))
            c.expect(sub_applied(2, 1)) # an empty table is left out
            c.send(subscribe(3, 2, 'SELECT * FROM person', ' SELECT * FROM counter WHERE id = 77 ', 'SELECT * FROM bag'))
            c.expect(sub_applied(3, 2, ('counter', EMPTY))) # not empty, but nothing matches
            c.send(call(4, 'add_person', bstr('Ann') + b'\x1e'))
            m = c.next()
            id = struct.unpack('<I', m[m.index(b'\x03\0\0\0Ann') - 4:][:4])[0]
            ann = person(id, 'Ann', 30)
            delta = ('person', [persistent([ann])])
            assert m == ok(4, (1, [delta]), (2, [delta])), m # both sets, ascending; nothing else comes
            c.quiet()
            other.quiet(0.05)
            c.send(subscribe(5, 3, 'SELECT * FROM person', 'SELECT * FROM person', 'select * from person'))
            c.expect(sub_applied(5, 3, ('person', rows(ann)), ('person', rows(ann)))) # the same text once, another text again
            c.send(unsubscribe(6, 3, 1))
            c.expect(unsub_applied(6, 3, [('person', rows(ann)), ('person', rows(ann))]))
            c.send(unsubscribe(7, 2))
            c.expect(unsub_applied(7, 2))
            other.send(call(2, 'add_person', bstr('Bob') + b'\x10'))
            other.expect(ok(2))
            bob = person(id + 1, 'Bob', 16)
            c.expect(update((1, [('person', [persistent([bob])])])))
            other.send(call(3, 'rename_person', u32(id) + bstr('Annabel')))
            other.expect(ok(3))
            annabel = person(id, 'Annabel', 30)
            c.expect(update((1, [('person', [persistent([annabel], [ann])])])))
            other.send(call(4, 'delete_person', u32(id + 1)))
            other.expect(ok(4))
            c.expect(update((1, [('person', [persistent([], [bob])])])))
            # errors register nothing, whatever else is in the message
            missing = 'no such table: `nope`. If the table exists, it may be marked private., executing: `SELECT * FROM nope`'
            c.send(subscribe(8, 2, 'SELECT * FROM counter', 'SELECT * FROM nope'))
            c.expect(sub_error(8, 2, missing))
            c.send(subscribe(9, 2, 'SELECT * FROM secret'))
            c.expect(sub_error(9, 2, missing.replace('nope', 'secret')))
            c.send(subscribe(10, 2, ''))
            c.expect(sub_error(10, 2, 'SubscriptionError: Empty string, executing: ``'))
            c.send(subscribe(11, 1, 'SELECT * FROM counter'))
            m = c.next()
            assert m.startswith(b'\x03\x00' + u32(11, 1)) and b'Subscription with id QuerySetId { id: 1 } already exists for client: ' in m, m
            c.send(unsubscribe(12, 9))
            m = c.next()
            assert m.startswith(b'\x03\x00' + u32(12, 9)) and b'Subscription not found: ' in m, m
            other.send(call(5, 'increment', u32(0)))
            other.expect(ok(5))
            c.quiet(0.1)
            # several tables: ascending by name, one entry a query
            c.send(subscribe(13, 7, "SELECT * FROM counter WHERE id = 0", 'SELECT * FROM bag', 'SELECT * FROM counter', 'SELECT * FROM tick_event'))
            value = s.sql('db', 'SELECT * FROM counter WHERE id = 0', s.owner)[0][1]
            c.expect(sub_applied(13, 7, ('counter', rows(counter(0, value))), ('counter', rows(counter(0, value)))))
            other.send(call(6, 'increment', u32(0)))
            other.expect(ok(6))
            d = persistent([counter(0, value + 1)], [counter(0, value)])
            c.expect(update((7, [('counter', [d, d])])))
            c.send(call(14, 'fill_bag', u32(1) + bstr('x') + u32(1)))
            c.expect(ok(14, (7, [('bag', [persistent([u32(1) + bstr('x')])])])))
            c.send(call(15, 'fill_bag', u32(1) + bstr('x') + u32(1))) # a set: nothing changes
            c.expect(ok(15))
            c.send(subscribe(16, 0xffffffff))
            c.expect(sub_applied(16, 0xffffffff))
            c.send(unsubscribe(17, 0xffffffff, 1))
            c.expect(unsub_applied(17, 0xffffffff, []))
            c.close()
            other.close()
        c = opened(s, 'db')
        c.send(subscribe(2, 1, 'SELECT * FROM *'))
        names = {x[0] for x in parse_tables(c.next()[9:])}
        assert {'counter', 'connected', 'person', 'bag'} <= names and 'secret' not in names and not any(n.startswith('st_') for n in names), names
        owner = opened(s, 'db', token=s.owner)
        owner.send(subscribe(1, 1, 'SELECT * FROM secret'))
        owner.expect(sub_applied(1, 1, ('secret', rows(u32(1) + bstr("nobody's business")))))


def parse_tables(p):
    n, at, out = struct.unpack('<I', p[:4])[0], 4, []
    for _ in range(n):
        k = struct.unpack('<I', p[at:at + 4])[0]
        name, at = p[at + 4:at + 4 + k].decode(), at + 4 + k
        if p[at] == 0: at += 3
        else: at += 5 + 8 * struct.unpack('<I', p[at + 1:at + 5])[0]
        k = struct.unpack('<I', p[at:at + 4])[0]
        out.append((name, p[at + 4:at + 4 + k]))
        at += 4 + k
    assert at == len(p)
    return out


def one_off_queries():
    with Fixture() as s:
        c = opened(s, 'db')
        c.send(one_off(1, 'SELECT * FROM person'))
        c.expect(one_off_ok(1, 'person', EMPTY))
        for name, age in (('a', 1), ('bc', 2), ('d', 3)): s.call('db', 'add_person', name, age)
        people = [person(1, 'a', 1), person(2, 'bc', 2), person(3, 'd', 3)]
        c.send(one_off(2, 'SELECT * FROM person'))
        c.expect(one_off_ok(2, 'person', rows(*people))) # offsets
        c.send(one_off(3, "SELECT * FROM person WHERE age = 1 AND name = 'a'"))
        c.expect(one_off_ok(3, 'person', rows(people[0])))
        c.send(one_off(4, "SELECT * FROM person WHERE name = 'd' AND id = 3"))
        c.expect(one_off_ok(4, 'person', rows(people[2])))
        c.send(one_off(5, 'SELECT * FROM counter'))
        c.expect(one_off_ok(5, 'counter', rows(counter(0, 0)))) # fixed size
        c.send(one_off(6, 'SELECT * FROM nope'))
        c.expect(one_off_err(6, 'no such table: `nope`. If the table exists, it may be marked private.'))
        c.send(one_off(7, 'SELECT * FROM secret'))
        c.expect(one_off_err(7, 'no such table: `secret`. If the table exists, it may be marked private.'))
        c.send(one_off(8, ''))
        c.expect(one_off_err(8, 'Empty SQL query'))
        c.send(one_off(9, 'SELECT * FROM tick_event'))
        c.expect(one_off_ok(9, 'tick_event', EMPTY))


def reducers():
    with Fixture() as s:
        for protocol in (V2, V3):
            c, other = opened(s, 'db', protocol), opened(s, 'db', protocol)
            other.send(subscribe(1, 1, 'SELECT * FROM person'))
            other.expect(sub_applied(1, 1))
            for rid, request, answer in (
                    (1, call(1, 'increment', u32(0)), ok(1)),
                    (2, call(2, 'increment', u32(0) + b'more'), ok(2)), # extra bytes after the arguments
                    (3, call(3, 'increment', u32(9)), err(3, 'no counter 9')),
                    (4, call(4, 'fail', bstr('because')), err(4, 'because')),
                    (5, call(5, 'fail', bstr('')), err(5, '')),
                    (6, call(6, 'panic_now'), internal(6, 'The instance encountered a fatal error.')),
                    (7, call(7, 'recurse'), internal(7, 'The instance encountered a fatal error.')),
                    (8, call(8, 'nope'), internal(8, 'no such reducer')),
                    (9, call(9, ''), internal(9, 'no such reducer')),
                    (10, call(10, 'init'), internal(10, "can't directly call special Init lifecycle reducer")),
                    (11, call(11, 'came'), internal(11, "can't directly call special OnConnect lifecycle reducer")),
                    (12, call(12, 'went'), internal(12, "can't directly call special OnDisconnect lifecycle reducer")),
                    (13, call(13, 'increment', b'\1\2'), internal(13, 'invalid arguments for reducer increment: data too short for u32: Expected 4, given 2')),
                    (14, call(14, 'add_person', u32(100) + b'x'), internal(14, 'invalid arguments for reducer add_person: data too short for [u8]: Expected 100, given 1')),
                    (15, call(15, 'add_person', bstr(b'\xff') + b'\1'), None),
                    (16, call(16, 'tick', u64(1) + b'\0' + u64(5)), None),
                    (0xffffffff, call(0xffffffff, 'increment', u32(0)), ok(0xffffffff))):
                c.send(request)
                got = c.next()
                assert got[0] == 6 and got[1:5] == u32(rid) and (answer is None or got == answer), (request, got, answer)
            other.quiet(0.1) # nothing of all that reached the other client
            before = int(time.time() * 1e6)
            c.send(call(20, 'increment', u32(0)))
            p = c.message()
            assert before - 1000 <= struct.unpack('<q', p[6:14])[0] <= time.time() * 1e6 + 1000
            c.send(procedure(21, 'p'))
            c.expect(b'\x07\x01' + bstr('No such procedure') + bytes(16) + u32(21)) # the vector of spec/03 §6.2
            # pipelined: answers in order
            for i in range(200): c.send(call(i, 'increment', u32(i % 2 * 5)))
            got, want = b'', b''.join(ok(i) if i % 2 == 0 else err(i, 'no counter 5') for i in range(200))
            while len(got) < len(want):
                m = c.message()[1:]
                while m: # v3 may put several into one
                    n = 22 if m[13] == 0 else 18 + struct.unpack('<I', m[14:18])[0]
                    got, m = got + c.blank(m[:n]), m[n:]
            assert got == want
            c.close()
            other.close()
        # a second connection of the same identity is another client
        a = opened(s, 'db')
        b = opened(s, 'db', token=a.token)
        for x in (a, b):
            x.send(subscribe(1, 1, 'SELECT * FROM person'))
            assert x.next()[0] == 1
        a.send(call(2, 'add_person', bstr('Zoe') + b'\1'))
        m = a.next()
        assert m[:14] == ok(2)[:14] and len(m) > 30
        zoe = m[18:]
        assert b.next() == b'\x04' + zoe
        a.quiet(0.1)


def batches():
    with Fixture() as s:
        c = opened(s, 'db', V3, query='confirmed=true&compression=None')
        value = s.sql('db', 'SELECT * FROM counter WHERE id = 0', s.owner)[0][1]
        c.send(subscribe(1, 1, 'SELECT * FROM counter') + call(2, 'increment', u32(0)) + one_off(3, 'SELECT * FROM counter') + unsubscribe(4, 1, 1) + call(5, 'nope'))
        want = [sub_applied(1, 1, ('counter', rows(counter(0, value)))), ok(2, (1, [('counter', [persistent([counter(0, value + 1)], [counter(0, value)])])])), one_off_ok(3, 'counter', rows(counter(0, value + 1))),
                unsub_applied(4, 1, [('counter', rows(counter(0, value + 1)))]), internal(5, 'no such reducer')]
        while want: # order is kept; how many come together is the server's business
            m = c.message()
            assert m[0] == 0
            m = m[1:]
            while m:
                w = want.pop(0)
                assert c.blank(m[:len(w)]) == w, (m, w)
                m = m[len(w):]
        # v2 executes the first message of a payload and ignores what follows
        d = opened(s, 'db', V2)
        d.send(call(1, 'increment', u32(0)) + call(2, 'increment', u32(0)) + b'\xff')
        d.expect(ok(1))
        d.quiet(0.1)
        # what stands before something malformed has run
        value = s.sql('db', 'SELECT * FROM counter WHERE id = 0', s.owner)[0][1]
        c.send(call(6, 'increment', u32(0)) + b'\x09')
        c.ends('close 1011 unknown tag 0x9 for sum type ClientMessage')
        for _ in range(50):
            if s.sql('db', 'SELECT * FROM counter WHERE id = 0', s.owner)[0][1] == value + 1: break
            time.sleep(0.05)
        else: raise Exception('the call before the malformed message did not run')
        # a large batch both ways
        c = opened(s, 'db', V3)
        c.send(b''.join(call(i, 'increment', u32(0)) for i in range(20000)))
        seen = 0
        while seen < 20000:
            m = c.message()[1:]
            assert len(m) % 22 == 0
            for at in range(0, len(m), 22):
                assert c.blank(m[at:at + 22]) == ok(seen), seen
                seen += 1
        # requests before the first message of the server
        c = Ws(s, 'db', V2)
        c.send(subscribe(1, 1, 'SELECT * FROM bag'))
        c.send(call(2, 'increment', u32(0)))
        assert c.next()[0] == 0
        c.expect(sub_applied(1, 1), ok(2))


# ---- several sets at once (spec/07 §6.1) ----

def subscribe_batch(rid, *wanted): return b'\x05' + u32(rid, len(wanted)) + b''.join(u32(qs) + strings(*queries) for qs, *queries in wanted)
def batch_applied(rid, *results): return b'\x08' + u32(rid, len(results)) + b''.join(u32(qs) + (b'\1' + bstr(r) if isinstance(r, str) else b'\0' + tables(*r)) for qs, r in results)
MISSING = 'no such table: `nope`. If the table exists, it may be marked private., executing: `SELECT * FROM nope`'


def batches_of_sets():
    assert subscribe_batch(1, (1, 'SELECT * FROM t'), (2, 'SELECT * FROM nope')).hex() == '0501000000020000000100000001000000' '0f00000053454c454354202a2046524f4d2074' '0200000001000000' '1200000053454c454354202a2046524f4d206e6f7065'
    assert batch_applied(7, (1, [('t', rows(u32(1), u32(2)))]), (2, 'bad')).hex() == '080700000002000000' '0100000000' '0100000001000000740004000800000001000000' '02000000' '020000000103000000626164'
    with Fixture() as s:
        for protocol in (V2, V3):
            c, w = opened(s, 'db', protocol), opened(s, 'db')
            value = s.sql('db', 'SELECT * FROM counter WHERE id = 0', s.owner)[0][1]
            now = [('counter', rows(counter(0, value)))]
            c.send(subscribe_batch(9))
            c.expect(batch_applied(9))
            c.send(subscribe_batch(10, (1, 'SELECT * FROM counter'), (2, 'SELECT * FROM nope'), (1, 'SELECT * FROM bag'), (3, 'SELECT * FROM bag', 'SELECT * FROM counter WHERE id = 0'), (4, 'SELECT * FROM counter', 'SELECT * FROM nope')))
            exists = f'Subscription with id QuerySetId {{ id: 1 }} already exists for client: {c.identity}'
            c.expect(batch_applied(10, (1, now), (2, MISSING), (1, exists), (3, now), (4, MISSING)))
            w.send(call(1, 'increment', u32(0)))
            w.expect(ok(1))
            d = [('counter', [persistent([counter(0, value + 1)], [counter(0, value)])])]
            c.expect(update((1, d), (3, d)))
            # ids of sets that failed are free; a set of a batch is one like others
            c.send(subscribe_batch(11, (2, 'SELECT * FROM bag')))
            c.expect(batch_applied(11, (2, [])))
            c.send(subscribe(12, 4, 'SELECT * FROM bag'))
            c.expect(sub_applied(12, 4))
            c.send(unsubscribe(13, 1, 1))
            c.expect(unsub_applied(13, 1, [('counter', rows(counter(0, value + 1)))]))
            c.send(unsubscribe(14, 3))
            c.expect(unsub_applied(14, 3))
            w.send(call(2, 'increment', u32(0)))
            w.expect(ok(2))
            c.quiet(0.1)
            c.send(b'\x05' + u32(1, 1, 5))
            c.ends('close 1011 data too short for u32: Expected 4, given 0')
            w.close()


def no_batch_no_answer():
    """Who sends no batch is never sent tag 8 (spec/07 §19 case 30): every kind of message and its answer, while somebody else sends batches."""
    with Fixture() as s:
        for protocol in (V2, V3):
            c, other = opened(s, 'db', protocol), opened(s, 'db', protocol)
            asked = [(subscribe(1, 1, 'SELECT * FROM counter', 'SELECT * FROM bag'), 1), (subscribe(2, 1, 'SELECT * FROM bag'), 3), (subscribe(3, 2, 'SELECT * FROM nope'), 3), (subscribe(4, 2), 1), (subscribe(5, 3, 'SELECT * FROM *'), 1), (unsubscribe(6, 3, 1), 2),
                     (unsubscribe(7, 9), 3), (one_off(8, 'SELECT * FROM counter'), 5), (one_off(9, 'SELEC'), 5), (call(10, 'increment', u32(0)), 6), (call(11, 'fail', bstr('x')), 6), (call(12, 'nobody'), 6), (procedure(13, 'nobody'), 7), (unsubscribe(14, 1), 2)]
            for i, (message, tag) in enumerate(asked):
                other.send(subscribe_batch(i, (i, 'SELECT * FROM person'), (i, 'SELECT * FROM nope')))
                assert other.next()[0] == 8
                c.send(message)
                got = c.next()
                assert got[0] == tag and not c.asked_for_sets, (i, tag, got)
            c.close()
            other.close()


def one_moment_of_a_batch():
    """While somebody writes without a pause, the sets of a batch show one offset's rows, and each goes on from there (spec/07 §19 case 29): few rows, and many, which are read beside the writer."""
    N = 20000
    with Fixture() as s:
        s.publish('bank', module('transfer'), s.owner)
        w, few = opened(s, 'bank'), opened(s, 'db')
        w.send(call(1, 'seed', u32(N) + struct.pack('<q', 1000)))
        w.expect(ok(1))
        stop, written, failed = threading.Event(), [0, 0], []
        def transfers():
            try:
                while not stop.is_set():
                    i = written[0]
                    for k in range(10): w.send(call(i + k, 'transfer', u32((i + k) * 7919 % N, ((i + k) * 7919 + 1) % N) + struct.pack('<q', 1)))
                    for k in range(10): w.expect(ok(i + k))
                    written[0] += 10
            except Exception as e: failed.append(e)
        def increments():
            try:
                while not stop.is_set():
                    few.send(call(1, 'increment', u32(0)))
                    few.expect(ok(1))
                    written[1] += 1
            except Exception as e: failed.append(e)
        threads = [threading.Thread(target=t) for t in (transfers, increments)]
        for t in threads: t.start()
        def sets_of(p, table, size):
            """The row lists of an answer's applied sets."""
            assert p[0] == 8, p[:40]
            n, p, out = struct.unpack('<I', p[5:9])[0], p[9:], []
            for i in range(n):
                assert p[:9] == u32(i + 1) + b'\0' + u32(1) and p[9:13 + len(table)] == bstr(table), p[:40]
                r, p = fixed_rows(p[13 + len(table):], size)
                out.append(sorted(r))
            return out, p
        try:
            for protocol in (V2, V3):
                for query in ('confirmed=false&compression=None', 'confirmed=true&compression=None'):
                    seen = set()
                    for _ in range(20):
                        c = opened(s, 'db', protocol, query=query)
                        c.send(subscribe_batch(3, (1, 'SELECT * FROM counter'), (2, 'SELECT * FROM counter WHERE id = 0'), (3, 'SELECT * FROM counter WHERE value > 0 OR value = 0')))
                        (a, b, d), rest = sets_of(c.next(), 'counter', 12)
                        value = struct.unpack('<Q', a[0][4:])[0]
                        assert a == b == d == [counter(0, value)], (a, b, d)
                        changed = [('counter', [persistent([counter(0, value + 1)], [counter(0, value)])])]
                        want = update((1, changed), (2, changed), (3, changed))
                        if not rest: rest = c.next()
                        assert rest[:len(want)] == want, (value, rest[:100])
                        seen.add(value)
                        c.close()
                    assert len(seen) > 10, 'nobody was writing'
                    c = opened(s, 'bank', protocol, query=query)
                    before = written[0]
                    c.send(subscribe_batch(4, (1, 'SELECT * FROM accounts'), (2, 'SELECT * FROM accounts WHERE balance > -1000000'), (3, f'SELECT * FROM accounts WHERE id < {N}')))
                    (a, b, d), rest = sets_of(c.next(), 'accounts', 12)
                    assert len(a) == N and a == b == d, (len(a), len(b), len(d))
                    state = set(a)
                    for _ in range(10): # each set's update takes what it was and gives what it is
                        if not rest: rest = c.next()
                        assert rest[:5] == b'\4' + u32(3), rest[:40]
                        rest, told = rest[5:], []
                        for i in range(3):
                            assert rest[:8] == u32(i + 1, 1) and rest[8:20] == bstr('accounts') and rest[20:25] == u32(1) + b'\0', rest[:40]
                            inserts, rest = fixed_rows(rest[25:], 12)
                            deletes, rest = fixed_rows(rest, 12)
                            told.append((sorted(inserts), sorted(deletes)))
                        assert told[0] == told[1] == told[2] and set(told[0][1]) <= state, told
                        state = state - set(told[0][1]) | set(told[0][0])
                    while written[0] == before: time.sleep(0.01)
                    c.close()
            assert not failed, failed
        finally:
            stop.set()
            for t in threads: t.join()


# ---- many rows: computed beside the writer, in their place in the order of commits ----

def fixed_rows(p, size):
    """Rows of a list of rows of one size, and what follows it."""
    if p[0] == 1:
        assert p[1:9] == bytes(8), p[:20]
        return [], p[9:]
    assert p[0] == 0 and p[1:3] == struct.pack('<H', size), p[:20]
    n = struct.unpack('<I', p[3:7])[0]
    return [p[7 + i:7 + i + size] for i in range(0, n, size)], p[7 + n:]


def many_rows():
    N = 30000
    with Fixture() as s:
        s.publish('bank', module('transfer'), s.owner)
        w = opened(s, 'bank')
        w.send(call(1, 'seed', u32(N) + struct.pack('<q', 1000)))
        w.expect(ok(1))
        stop, moved = threading.Event(), [0]
        def transfers():
            i = 0
            while not stop.is_set():
                for _ in range(20):
                    i += 1
                    w.send(call(i, 'transfer', u32(i * 7919 % N, (i * 7919 + 1) % N) + struct.pack('<q', 1)))
                for _ in range(20): w.expect(ok(i - 19 + _))
                moved[0] = i
        t = threading.Thread(target=transfers)
        t.start()
        try:
            for protocol in (V2, V3):
                for query in ('confirmed=false&compression=None', 'confirmed=true&compression=Gzip'):
                    c = opened(s, 'bank', protocol, query=query)
                    def messages():
                        while True:
                            m = c.message()
                            m = gzip.decompress(m[1:]) if m[0] == 2 else m[1:]
                            while m:
                                if m[0] == 1: # SubscribeApplied
                                    assert m[9:25] == u32(1) + bstr('accounts'), m[:40]
                                    r, rest = fixed_rows(m[25:], 12)
                                    yield 'applied', m[1:9], r, []
                                    m = rest
                                elif m[0] == 4: # TransactionUpdate of one set and table
                                    at = 1 + 4 + 4 + 4 + 12 + 4 + 1
                                    inserts, rest = fixed_rows(m[at:], 12)
                                    deletes, rest = fixed_rows(rest, 12)
                                    yield 'update', m[5:9], inserts, deletes
                                    m = rest
                                elif m[0] == 2: # UnsubscribeApplied with rows
                                    assert m[9:26] == b'\0' + u32(1) + bstr('accounts'), m[:40]
                                    r, m = fixed_rows(m[26:], 12)
                                    yield 'gone', b'', [], r
                                elif m[0] == 5: # one-off result
                                    assert m[5:22] == b'\0' + u32(1) + bstr('accounts'), m[:40]
                                    r, m = fixed_rows(m[22:], 12)
                                    yield 'rows', b'', r, []
                                else: raise Exception(m[:40])
                    c.send(subscribe(1, 1, 'SELECT * FROM accounts'))
                    c.send(one_off(2, 'SELECT * FROM accounts'))
                    state, steps = None, 0
                    before, got = moved[0], messages()
                    for kind, _, inserts, deletes in got:
                        if kind == 'applied':
                            assert state is None and len(inserts) == len(set(inserts)) == N, len(inserts)
                            state = set(inserts)
                        elif kind == 'rows': # in its place: exactly what the updates so far have made of the first rows
                            assert state == set(inserts), len(state ^ set(inserts))
                            steps = 1
                        else:
                            assert kind == 'update' and len(inserts) == len(deletes) == 2, (kind, inserts, deletes)
                            for d in deletes: state.remove(d)
                            for i in inserts: assert i not in state; state.add(i)
                            steps += steps > 0
                            if steps > 100: break
                    c.send(unsubscribe(3, 1, 1))
                    for kind, _, inserts, deletes in got: # dropped rows are what the client has
                        if kind == 'gone':
                            assert state == set(deletes), len(state ^ set(deletes))
                            break
                        for d in deletes: state.remove(d)
                        for i in inserts: state.add(i)
                    c.quiet(0.1)
                    c.close()
            # one who leaves in the middle, and a set that goes before its rows have come
            for _ in range(5):
                c = opened(s, 'bank')
                for i in range(3): c.send(subscribe(i, i, 'SELECT * FROM accounts'))
                c.close()
            c = opened(s, 'bank')
            c.send(subscribe(1, 1, 'SELECT * FROM accounts'))
            c.send(unsubscribe(2, 1))
            assert c.message()[1] == 1
            while True:
                m = c.message()
                if m[1] == 4: continue
                assert m[1:] == unsub_applied(2, 1), m[:40]
                break
            c.quiet(0.1)
        finally:
            stop.set()
            t.join()


# ---- sessions (spec/07 §6.2) ----

def sessions():
    with Fixture() as s:
        token = s.identity()['token']
        def open_(session, token=token): return opened(s, 'db', token=token, query=f'confirmed=false&session_id={session}')
        a = open_('0' * 31 + '1')
        others = [open_('0' * 31 + '2'), open_('0' * 31 + '1', token=s.identity()['token']), opened(s, 'db', token=token)]
        b = Ws(s, 'db', token=token, query='session_id=' + '0' * 31 + '1')
        b.ends('close 4000 another connection holds the session')
        a.ends('end of stream')
        for _ in range(100): # the old one's end may still be under way
            try: a = open_('0' * 31 + '1')
            except End as e:
                assert 'close 4000' in str(e), e
                time.sleep(0.05)
            else: break
        else: raise Exception('the session was never free again')
        for i, c in enumerate([a] + others):
            c.send(call(i, 'increment', u32(0)))
            c.expect(ok(i))
        a.close()
        for session in ('1', 'x' * 32, '0' * 33): Ws(s, 'db', token=token, query='session_id=' + session, expect=400)


def sessions_one_after_the_other():
    """Who takes a session over is let in when the old connection's `client_disconnected` is in the log, never before (spec/07 §19 case 31)."""
    with Fixture() as s:
        me = s.identity()
        token, row = me['token'], lambda c: bytes.fromhex(c.identity)[::-1] + bytes.fromhex(c.connection_id)[::-1] + u32(1)
        session = 'confirmed=false&session_id=' + '7' * 32
        w = opened(s, 'db')
        w.send(subscribe(1, 1, f'SELECT * FROM connected WHERE identity = 0x{me["identity"]}'))
        w.expect(sub_applied(1, 1, ('connected', rows())))
        a = opened(s, 'db', token=token, query=session)
        w.expect(update((1, [('connected', [persistent([row(a)])])])))
        for round_ in range(8):
            b = Ws(s, 'db', token=token, query=session)
            b.ends('close 4000 another connection holds the session')
            for _ in range(200):
                try: new = opened(s, 'db', token=token, query=session)
                except End as e:
                    assert 'close 4000' in str(e), e
                    time.sleep(0.01 * (round_ % 2))
                else: break
            else: raise Exception('the session was never free again')
            # one transaction takes the old one's row, the next brings the new one's: refused connections are in none
            w.expect(update((1, [('connected', [persistent([], [row(a)])])])), update((1, [('connected', [persistent([row(new)])])])))
            a.ends('end of stream')
            a = new
        other, none = opened(s, 'db', token=token, query='confirmed=false&session_id=' + '8' * 32), opened(s, 'db', token=token)
        for c in a, other, none:
            c.send(call(5, 'increment', u32(0)))
            c.expect(ok(5))


# ---- compression (spec/03 §4) ----

def compression():
    long = bstr('y' * 2000)
    with Fixture() as s:
        plain = {q: opened(s, 'db', query=q + 'confirmed=false') for q in ('compression=None&', 'compression=Gzip&', 'compression=Brotli&', '')}
        text = 'y' * 2000
        for q, c in plain.items():
            c.send(call(1, 'fail', long))
            m = c.message()
            want = {'compression=None&': 0, 'compression=Gzip&': 0}.get(q, 1) # gzip: only results of queries, for whoever unpacks them out of order
            assert m[0] == want, (q, m[:20])
            body = m[1:]
            if want != 1: assert text.encode() in body and body[:5] == b'\x06' + u32(1), body[:60]
            if want: assert len(m) < 200, len(m)
            c.send(call(2, 'nope')) # short ones are as they are
            c.expect(internal(2, 'no such reducer'))
        plain[''].send(call(3, 'fill_bag', u32(1) + long + u32(1)))
        assert plain[''].message()[0] == 0
        for q, c in plain.items():
            c.send(b'\x02' + u32(4) + bstr('SELECT * FROM bag'))
            m = c.message()
            want = {'compression=None&': 0, 'compression=Gzip&': 2}.get(q, 1)
            assert m[0] == want and (want == 0 or len(m) < 200), (q, m[:20])
            if want != 1: assert text.encode() in (gzip.decompress(m[1:]) if want else m)


# ---- frames ----

def closing():
    with Fixture() as s:
        for protocol, payload, reason in (
                (V2, b'\x09', 'unknown tag 0x9 for sum type ClientMessage'), (V2, b'', 'data too short for u8: Expected 1, given 0'), (V2, b'\x03\x01', 'data too short for u32: Expected 4, given 1'),
                (V3, b'', 'v3 websocket binary payload must contain at least one v2 client message'), (V3, b'\x05' * 3, None),
                (V2, call(1, 'x', flags=1), 'invalid call reducer flag 1'), (V2, b'\x04' + u32(1) + b'\2' + bstr('p') + bstr(''), 'invalid call procedure flag 2'),
                (V2, b'\x01' + u32(1, 1) + b'\7', 'unknown tag 0x7 for sum type UnsubscribeFlags'), (V2, call(1, b'\xff'), 'invalid utf8'),
                (V2, b'\x00' + u32(1, 1, 0xffffffff), 'data too short for u32: Expected 4, given 0'), (V2, b'\x02' + u32(1, 50) + b'abc', 'data too short for [u8]: Expected 50, given 3')):
            c = opened(s, 'db', protocol)
            c.send(payload)
            try: raise Exception(f'no close: {c.message()!r}')
            except End as e: assert str(e).startswith('close 1011 ') if reason is None else str(e) == 'close 1011 ' + reason, (payload, str(e))
            c.send(call(2, 'increment', u32(0))) # discarded
            c.send(struct.pack('>H', 1011), 8)
            c.ends('end of stream')
        for protocol in (V2, V3):
            c = opened(s, 'db', protocol)
            c.send(b'{"x":1}', 1)
            c.ends(f'close 1011 {protocol[:2]} websocket does not support text messages')
        c = opened(s, 'db')
        start = time.time()
        c.send(b'\x09')
        c.ends('close 1011 unknown tag 0x9 for sum type ClientMessage')
        c.ends('end of stream') # without an answer to the close frame the server waits a quarter of a second
        assert 0.1 < time.time() - start < 3, time.time() - start
        for sent, want in ((struct.pack('>H', 1000) + b'bye', 'close 1000 bye'), (b'', 'close None '), (struct.pack('>H', 4999), 'close 4999 '), (struct.pack('>H', 1005), 'close 1002 Protocol violation'),
                           (struct.pack('>H', 999), 'close 1002 Protocol violation'), (b'\x03', 'close 1002 Protocol violation'), (struct.pack('>H', 1000) + b'\xff', 'close 1002 Protocol violation')):
            c = opened(s, 'db')
            c.send(sent, 8)
            c.ends(want)
            c.ends('end of stream')
        connected(s, 0)


def connected(s, n, seconds=20):
    """Waits until n connections are known to the module, its own for the query not counted."""
    end = time.time() + seconds
    while True:
        got = sum(r[2] for r in s.sql('db', 'SELECT * FROM connected', s.owner)) - 1
        if got == n: return
        if time.time() > end: raise Exception(f'{got} connections instead of {n}')
        time.sleep(0.1)


def frames():
    with Fixture() as s:
        c = opened(s, 'db')
        m = call(1, 'increment', u32(0))
        c.send(m[:3], fin=False) # fragments, a ping in between
        c.send(b'abc', 9)
        assert c.message() == ('pong', b'abc')
        c.send(b'', 0, fin=False)
        c.send(m[3:10], 0, fin=False)
        c.send(m[10:], 0)
        c.expect(ok(1))
        c.send(b'x' * 125, 9)
        assert c.message() == ('pong', b'x' * 125)
        whole = b''.join([b'\x82', bytes([0x80 | len(m)]), bytes(4), m]) # byte by byte, then many in one piece
        for b in whole: c.s.sendall(bytes([b]))
        c.expect(ok(1))
        c.s.sendall(whole * 300)
        c.expect(*[ok(1)] * 300)
        # 10,000 bytes leave as 4096, 4096, 1808
        s.call('db', 'fill_bag', 1, 'x' * (10000 - 33), 1)
        c.send(one_off(5, 'SELECT * FROM bag'))
        seen = []
        while not seen or not seen[-1][0]:
            f = c.frame()
            if f[1] < 8: seen.append((f[0], f[1], len(f[2])))
        assert seen == [(False, 2, 4096), (False, 0, 4096), (True, 0, 1808)], seen
        s.call('db', 'fill_bag', 2, 'y' * 1500000, 1) # more than one buffer's worth
        c.send(one_off(6, 'SELECT * FROM bag WHERE group = 2'))
        p = c.next()
        assert p == one_off_ok(6, 'bag', b'\x01' + u32(1) + u64(0) + bstr(u32(2) + bstr('y' * 1500000))), (len(p), p[:80])
        # the largest message: 32 MiB; its text is too long for SQL, and that is the answer
        limit = 32 << 20
        big = b'\x02' + u32(7) + bstr('x' * (limit - 9))
        assert len(big) == limit
        c.send(big)
        p = c.next()
        assert p.startswith(b'\x05' + u32(7) + b'\x01') and b'SQL query exceeds maximum allowed length' in p, p[:200]
        c.send(big[:limit // 2], fin=False)
        c.send(big[limit // 2:], 0)
        assert c.next().startswith(b'\x05' + u32(7) + b'\x01')
        def dropped(what):
            d = opened(s, 'db')
            try: what(d)
            except (ConnectionResetError, BrokenPipeError): pass
            d.ends('end of stream')
        dropped(lambda d: d.send(big + b'\0'))
        def too_long_in_fragments(d):
            d.send(big[:limit - 10], fin=False)
            d.send(b'x' * 11, 0)
        dropped(too_long_in_fragments)
        dropped(lambda d: d.s.sendall(b'\x82\xff' + struct.pack('>Q', 1 << 63) + bytes(4)))
        dropped(lambda d: d.s.sendall(b'\x82\x01x')) # not masked
        dropped(lambda d: d.send(b'x', flags=0x40))
        dropped(lambda d: d.send(b'x', 3))
        dropped(lambda d: d.send(b'x', 0)) # nothing to continue
        dropped(lambda d: (d.send(b'x', fin=False), d.send(b'x', 2)))
        dropped(lambda d: d.send(b'x' * 126, 9))
        dropped(lambda d: d.send(b'x', 9, fin=False))
        dropped(lambda d: d.send(b'\xff\xfe', 1))
        c.send(call(9, 'increment', u32(0)))
        c.expect(ok(9))
        c.close()
        connected(s, 0)


def keep_alive():
    """Pings at once and every 15 s; who answers nothing goes after 30 s, without a close frame."""
    with Fixture() as s:
        answering, silent = opened(s, 'db'), opened(s, 'db')
        start, ends = time.time(), {}
        def run(c, answer):
            try:
                while True: c.message(answer)
            except (End, OSError) as e: ends[answer] = (time.time() - start, str(e))
        threads = [threading.Thread(target=run, args=(c, a), daemon=True) for c, a in ((answering, True), (silent, False))]
        for t in threads: t.start()
        threads[1].join(50)
        assert 28 < ends[False][0] < 36 and ends[False][1] == 'end of stream', ends
        assert [p for _, p in silent.pings] == [b''] and silent.pings[0][0] - start < 1, silent.pings
        while len(answering.pings) < 3 and time.time() - start < 36: time.sleep(0.05) # its third ping and the other's end are due at the same time
        at = [t - start for t, _ in answering.pings]
        assert len(at) == 3 and at[0] < 1 and 14 < at[1] < 17 and 29 < at[2] < 33 and True not in ends, (at, ends)
        connected(s, 1)
        answering.s.shutdown(socket.SHUT_RDWR)
        connected(s, 0)


# ---- connections ----

def connection_ids():
    with Fixture() as s:
        id = os.urandom(16).hex()
        a = opened(s, 'db', query='connection_id=' + id)
        b = Ws(s, 'db', query='connection_id=' + id) # another identity: accepted, then ended without any frame
        try: raise Exception(f'unexpected {b.frame()}')
        except End: pass
        a.send(call(1, 'increment', u32(0)))
        a.expect(ok(1))
        c = opened(s, 'db', query='connection_id=' + id, token=a.token) # the same identity and token share a row
        c.send(call(1, 'increment', u32(0)))
        c.expect(ok(1))
        a.close()
        time.sleep(0.3)
        c.send(call(2, 'increment', u32(0)))
        c.expect(ok(2))
        c.close()
        time.sleep(0.3)
        opened(s, 'db', query='connection_id=' + id).close() # free again


def end_of_server():
    """1001 when the server stops; a clean end with clients of all sorts connected."""
    f = Fixture()
    with f as s:
        idle = [opened(s, 'db', V3 if i % 2 else V2, query=f'confirmed={"true" if i % 3 else "false"}') for i in range(20)]
        for c in idle[:5]:
            c.send(subscribe(1, 1, 'SELECT * FROM counter'))
            assert c.next()[0] == 1
        stop = threading.Event()
        def load():
            try:
                c = opened(s, 'db', V3, query='confirmed=true')
                while not stop.is_set():
                    c.send(b''.join(call(i, 'increment', u32(0)) for i in range(50)))
                    c.message()
            except (End, OSError): pass
        threads = [threading.Thread(target=load) for _ in range(4)]
        for t in threads: t.start()
        time.sleep(0.5)
        s.process.send_signal(signal.SIGTERM)
        for c in idle:
            try:
                while True: c.message()
            except End as e: assert str(e) == 'close 1001 module exited', e
        assert s.process.wait(30) == 0, s.server_log()
        stop.set()
        for t in threads: t.join()
        s.start() # everyone has left
        connected(s, 0)


def deleted_database():
    with Fixture() as s:
        clients = [opened(s, 'db', V3 if i % 2 else V2) for i in range(10)]
        assert s.http('DELETE', '/v1/database/db', None, s.owner)[:2] == (200, '')
        for c in clients: c.ends('close 1001 module exited')
        Ws(s, 'db', expect=404)
        s.publish('db', module('e2e-2.10'), s.owner)
        c = opened(s, 'db')
        c.send(call(1, 'increment', u32(0)))
        c.expect(ok(1))
        # again and again, with clients that call all the time
        stop = threading.Event()
        def load():
            while not stop.is_set():
                try:
                    c = opened(s, 'db', V3, query='confirmed=true')
                    while not stop.is_set():
                        c.send(b''.join(call(i, 'increment', u32(0)) for i in range(20)))
                        c.message()
                except (End, OSError, Exception): time.sleep(0.01)
        threads = [threading.Thread(target=load) for _ in range(4)]
        for t in threads: t.start()
        for i in range(8):
            time.sleep(0.2)
            if i % 2: assert s.http('PUT', '/v1/database/db?clear=true', open(module('e2e-2.14'), 'rb').read(), s.owner)[0] == 200
            else:
                assert s.http('DELETE', '/v1/database/db', None, s.owner)[0] == 200
                s.publish('db', module('e2e-2.14'), s.owner)
        stop.set()
        for t in threads: t.join()
        s.check_alive()


def coming_and_going():
    """Connections that break off at every moment leave nothing behind."""
    with Fixture() as s:
        watcher = opened(s, 'db', token=s.owner)
        def churn(k):
            for i in range(60):
                try:
                    c = Ws(s, 'db', V3 if i % 2 else V2, query='confirmed=' + ('true' if i % 3 else 'false'))
                    if i % 5: c.send(subscribe(1, 1, 'SELECT * FROM counter', 'SELECT * FROM connected'))
                    if i % 5 > 1: c.send(call(1, 'increment', u32(0)))
                    if i % 5 > 2: c.message()
                    if i % 4 == 0: c.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)) # RST
                    c.close()
                except (End, OSError): pass
        threads = [threading.Thread(target=churn, args=(k,)) for k in range(6)]
        for t in threads: t.start()
        for t in threads: t.join()
        connected(s, 1)
        watcher.send(call(1, 'increment', u32(0)))
        watcher.expect(ok(1))


def many_connections():
    n = 2000
    with Fixture() as s:
        import resource
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < n + 100: resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, n + 1000), hard))
        clients = [opened(s, 'db', V3) for _ in range(n)]
        for c in clients:
            c.send(subscribe(1, 1, 'SELECT * FROM counter'))
        for c in clients: assert c.next()[0] == 1
        clients[0].send(call(2, 'increment', u32(0)))
        assert clients[0].next()[0] == 6
        for c in clients[1:]: assert c.next()[0] == 4
        connected(s, n)
        for c in clients: c.close()
        connected(s, 0, 60)


def client_that_does_not_read():
    with Fixture() as s:
        slow, reader, writer = opened(s, 'db'), opened(s, 'db'), opened(s, 'db')
        slow.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for c in (slow, reader): c.send(subscribe(1, 1, 'SELECT * FROM bag'))
        assert reader.next()[0] == 1
        connected(s, 3)
        text, n = 'z' * 400000, 0
        for n in range(400): # 160 MB; the limit is 64 MiB
            writer.send(call(n, 'fill_bag', u32(n) + bstr(text) + u32(1)))
            assert writer.next()[0] == 6
            assert reader.next()[0] == 4
            writer.send(call(n, 'empty_bag', u32(n)))
            assert writer.next()[0] == 6
            assert reader.next()[0] == 4
            if n > 60 and n % 10 == 0 and sum(r[2] for r in s.sql('db', 'SELECT * FROM connected', s.owner)) - 1 == 2: break
        connected(s, 2)
        assert n < 250, n
        assert 'does not read' in s.server_log()
        # and by number of messages
        slow = opened(s, 'db')
        slow.send(subscribe(1, 1, 'SELECT * FROM counter'))
        other = opened(s, 'db', V3)
        for _ in range(40):
            other.send(b''.join(call(i, 'increment', u32(0)) for i in range(5000)))
            got = 0
            while got < 5000: got += (len(other.message()) - 1) // 22
            if sum(r[2] for r in s.sql('db', 'SELECT * FROM connected', s.owner)) - 1 == 3: break
        connected(s, 3)
        # a client that reads is not dropped however many messages it gets
        reader.send(subscribe(2, 2, 'SELECT * FROM counter'))
        assert reader.next()[0] == 1
        writer.send(call(1, 'increment', u32(0)))
        assert reader.next()[0] == 4 and writer.next()[0] == 6


def too_many_requests():
    """Requests wait behind a reducer that does not end: 16,384 of one client, then 1013; the others are served afterwards."""
    with Fixture(['--time-budget-ms', '6000']) as s:
        spinner, flood, patient = opened(s, 'db'), opened(s, 'db'), opened(s, 'db')
        spinner.send(call(1, 'spin'))
        time.sleep(0.3)
        patient.send(call(1, 'increment', u32(0)))
        one = call(7, 'increment', u32(0))
        frame = b'\x82' + bytes([0x80 | len(one)]) + bytes(4) + one
        flood.s.settimeout(10)
        try:
            for _ in range(20): flood.s.sendall(frame * 1000)
        except OSError: pass
        flood.ends('close 1013 too many requests')
        spinner.expect(internal(1, 'reducer ran out of energy'))
        patient.expect(ok(1))
        # large requests make the socket wait instead
        big = opened(s, 'db', V3)
        spinner.send(call(2, 'spin'))
        time.sleep(0.3)
        def push():
            for i in range(60): big.send(call(i, 'fail', bstr('x' * 1000000)))
        t = threading.Thread(target=push)
        t.start()
        time.sleep(2)
        assert t.is_alive(), '60 MB were taken while the database was busy'
        for i in range(60): assert big.next()[1:5] == u32(i)
        t.join()


if __name__ == '__main__':
    import sys
    tests = [handshake, subscriptions, one_off_queries, reducers, batches, batches_of_sets, no_batch_no_answer, one_moment_of_a_batch, many_rows, sessions, sessions_one_after_the_other, compression, closing, frames, connection_ids, end_of_server, deleted_database, coming_and_going, client_that_does_not_read, too_many_requests, many_connections, keep_alive]
    main([t for t in tests if len(sys.argv) < 2 or t.__name__ in sys.argv[1:]])
