"""The PostgreSQL listener (spec/04 §10, §12 case 29): psql itself, and its protocol byte by byte, with those that mean harm."""
import json, os, socket, struct, subprocess
from lightcone import Server, TOP, main, module
from tls import Certificates


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Pg(Server):
    """A server with the listener and a database `game` of one table."""
    def __init__(self, certificates=None):
        self.pg_port = free_port()
        options = ['--pg-port', str(self.pg_port)]
        if certificates:
            cert, key = certificates.sign('a')
            options += ['--tls-cert', cert, '--tls-key', key]
            self.tls = certificates.context()
        super().__init__(options=options)
        self.owner = self.identity()
        self.publish('game', module(MODULE), self.owner['token'])
    def psql(self, query, token=None, database='game', flags='-At', env={}):
        env = dict(os.environ, PGPASSWORD=token or self.owner['token'], PGCONNECT_TIMEOUT='20') | env
        return subprocess.run(['psql', '-X', '-h', '127.0.0.1', '-p', str(self.pg_port), '-U', 'me', '-d', database, flags, '-v', 'VERBOSITY=verbose', '-c', query], capture_output=True, text=True, timeout=60, env=env)
    def connect(self, token=None, database='game'):
        c = Wire(self.pg_port)
        c.startup(database=database, user='me')
        assert c.next() == (b'R', struct.pack('>I', 3))
        c.send(b'p', (token or self.owner['token']).encode() + b'\0')
        return c


class Wire:
    def __init__(self, port):
        self.s = socket.create_connection(('127.0.0.1', port), timeout=30)
        self.f = self.s.makefile('rb')
    def startup(self, version=0x30000, **parameters):
        body = struct.pack('>I', version) + b''.join(k.encode() + b'\0' + v.encode() + b'\0' for k, v in parameters.items()) + b'\0'
        self.s.sendall(struct.pack('>I', len(body) + 4) + body)
    def send(self, kind, body=b''): self.s.sendall(kind + struct.pack('>I', len(body) + 4) + body)
    def next(self):
        head = self.f.read(5)
        return (head[:1], self.f.read(struct.unpack('>I', head[1:])[0] - 4)) if len(head) == 5 else None
    def until(self, kind):
        out = []
        while not out or (out[-1] and out[-1][0] != kind): out.append(self.next())
        return out
    def query(self, text):
        self.send(b'Q', text.encode() + b'\0')
        return self.until(b'Z')
    def is_over(self):
        try: return self.f.read() == b''
        except ConnectionError: return True


def fields(body): return {f[:1].decode(): f[1:].decode() for f in body.split(b'\0') if f}
def columns(body):
    out, at = [], 2
    for _ in range(struct.unpack('>H', body[:2])[0]):
        end = body.index(b'\0', at)
        out.append((body[at:end].decode(), struct.unpack('>I', body[end + 7:end + 11])[0]))
        end += 19
        at = end
    return out


MODULE = 'chat'

def psql():
    with Pg() as s:
        r = s.psql('SELECT table_name, table_id FROM st_table WHERE table_id = 2;')
        assert (r.returncode, r.stdout) == (0, 'st_column|2\n'), r
        assert s.psql('SELECT COUNT(*) AS n FROM st_table WHERE table_id < 4').stdout == '3\n'
        assert (s.psql(';').returncode, s.psql(';').stdout) == (0, '')
        r = s.psql('SELECT * FROM nowhere')
        assert r.returncode == 1 and r.stderr.startswith('ERROR:  XX000: (Sql) '), r
        r = s.psql("SELECT * FROM st_table WHERE table_id = $1")
        assert r.returncode == 1 and 'Unsupported' in r.stderr, r
        assert 'FATAL:  Invalid token: InvalidToken' in s.psql('SELECT 1', token='bad').stderr
        assert 'FATAL:  database "nope" does not exist' in s.psql('SELECT 1', database='nope').stderr

def wire():
    with Pg() as s:
        a = s.connect()
        hello = a.until(b'Z')
        assert hello[0] == (b'R', bytes(4)) and hello[-1] == (b'Z', b'I') and hello[-2][0] == b'K', hello
        told = dict(m[1].split(b'\0')[:2] for m in hello if m[0] == b'S')
        assert told[b'session_authorization'] == b'me' and told[b'server_encoding'] == b'UTF8', told
        t, row, done, ready = a.query('SELECT table_primary_key, table_id, table_name FROM st_table WHERE table_id = 2')
        assert columns(t[1]) == [('table_primary_key', 114), ('table_id', 20), ('table_name', 1043)], t
        assert row == (b'D', b'\0\3' + struct.pack('>I', 12) + b'{"none": {}}' + b'\0\0\0\1' + b'2' + b'\0\0\0\x09' + b'st_column'), row
        assert done == (b'C', b'SELECT 1\0') and ready == (b'Z', b'I')
        done, ready = a.query('DELETE FROM message')
        assert done[0] == b'C' and done[1].startswith(b'server: '), done
        e, ready = a.query('nonsense')
        assert fields(e[1])['S'] == 'ERROR' and fields(e[1])['C'] == 'XX000' and ready == (b'Z', b'I'), e
        assert a.query('')[0] == (b'I', b'')
        a.s.sendall(b''.join(b'Q' + struct.pack('>I', len(q) + 5) + q + b'\0' for q in [b'SELECT table_id FROM st_table WHERE table_id = 2', b'x', b';'])) # at once: answered in order
        assert [m[0] for _ in range(3) for m in a.until(b'Z')] == [b'T', b'D', b'C', b'Z', b'E', b'Z', b'I', b'Z']
        a.send(b'P', b'\0SELECT 1\0\0\0')
        a.send(b'B', b'\0\0\0\0\0\0\0\0')
        a.send(b'E', b'\0\0\0\0\0')
        a.send(b'S')
        refused = a.until(b'Z')
        assert [m[0] for m in refused] == [b'E', b'Z'] and fields(refused[0][1])['C'] == '0A000', refused
        assert a.query(';')[0] == (b'I', b'')
        a.send(b'X')
        assert a.is_over()

def identities():
    """Each connection has its own (the reference shares the last one), and rights go by it."""
    with Pg() as s:
        other = s.identity()
        a = s.connect()
        b = s.connect(other['token'])
        a.until(b'Z'), b.until(b'Z')
        for c, who in ((a, s.owner), (b, other), (a, s.owner)):
            t, *rows, done, ready = c.query('SELECT identity FROM st_client')
            assert columns(t[1])[0][1] in (17, 1700) and rows, (t, rows)
            assert str(int(who['identity'], 16)).encode() in rows[0][1] or who['identity'].encode() in rows[0][1], rows
        assert a.query('SELECT * FROM st_connection_credentials')[0][0] == b'T'
        assert b.query('SELECT * FROM st_connection_credentials')[0][0] == b'E'

def hostile():
    with Pg() as s:
        good = struct.pack('>I', 0x30000) + b'user\0me\0database\0game\0\0'
        good = struct.pack('>I', len(good) + 4) + good
        token = s.owner['token'].encode() + b'\0'
        good += b'p' + struct.pack('>I', len(token) + 4) + token + b'Q' + struct.pack('>I', 6) + b';\0'
        for n in list(range(0, 45)) + list(range(45, len(good), 23)): # truncated everywhere
            c = Wire(s.pg_port)
            c.s.sendall(good[:n])
            c.s.close()
        c = Wire(s.pg_port)
        for i in range(len(good)): c.s.sendall(good[i:i + 1]) # byte by byte
        assert (b'I', b'') in c.until(b'K') + c.until(b'I')
        for bad in [b'GET / HTTP/1.1\r\n\r\n', b'\x16\x03\x01\x02\0' + bytes(500), b'\xff' * 2000, struct.pack('>II', 8, 2 << 16), struct.pack('>II', 8, 0x30000), struct.pack('>I', 3) + b'xxxxxxx',
                    struct.pack('>II', 16, 0x30000) + b'database', struct.pack('>II', 16, 80877102) + bytes(8)]:
            c = Wire(s.pg_port)
            c.s.sendall(bad)
            try: c.f.read() # it ends
            except ConnectionError: pass
        for question in (80877103, 80877104):
            c = Wire(s.pg_port)
            c.s.sendall(struct.pack('>II', 8, question))
            assert c.f.read(1) == b'N'
            c.startup(user='me', database='game')
            assert c.next()[0] == b'R'
        for kind, body in [(b'Q', b'no end'), (b'Q', b'a\0b\0'), (b'\0', b''), (b'p', b'x\0')]:
            c = s.connect()
            c.until(b'Z')
            c.send(kind, body)
            e = c.next()
            assert e[0] == b'E' and fields(e[1])['S'] == 'FATAL' and c.is_over(), (kind, e)
        c = s.connect()
        c.until(b'Z')
        c.s.sendall(b'Q' + struct.pack('>I', 0x7fffffff))
        assert c.next()[0] == b'E' and c.is_over()
        c = s.connect()
        c.until(b'Z')
        c.send(b'Q', b'\xff\xfe\0')
        assert fields(c.until(b'Z')[0][1])['C'] == '22021'
        assert c.query('x' * 60000)[0][0] == b'E' and c.query(';')[0] == (b'I', b'')
        c.startup(0x30009)
        s.check_alive()

def node_client():
    with Pg() as s:
        r = subprocess.run(['node', os.path.join(TOP, 'build', 'clients', 'npm-pg', 'pg.mjs'), str(s.pg_port), s.owner['token'], s.identity()['token']], capture_output=True, text=True, timeout=60)
        assert r.returncode == 0 and r.stdout.endswith('passed\n'), r

def tls():
    """With a certificate the listener wants TLS, asked for by SSLRequest; what is said before in plain is not taken for secret."""
    with Certificates() as certificates:
        with Pg(certificates) as s:
            env = {'PGSSLMODE': 'verify-full', 'PGSSLROOTCERT': certificates.ca}
            assert s.psql('SELECT table_name FROM st_table WHERE table_id = 2', env=env).stdout == 'st_column\n'
            r = s.psql('SELECT * FROM st_table', env={'PGSSLMODE': 'disable'})
            assert r.returncode == 2 and 'this server wants TLS' in r.stderr, r
            c = Wire(s.pg_port)
            c.s.sendall(struct.pack('>II', 8, 80877103) + struct.pack('>II', 8, 80877103))
            assert c.is_over()
            c = Wire(s.pg_port)
            c.s.sendall(struct.pack('>II', 8, 80877103))
            assert c.f.read(1) == b'S'
            c.s.sendall(b'nonsense' * 10)
            try: c.f.read()
            except ConnectionError: pass
            assert s.psql('SELECT table_name FROM st_table WHERE table_id = 2', env=env).returncode == 0


if __name__ == '__main__': main([psql, wire, identities, hostile, tls, node_client])
