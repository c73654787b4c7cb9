#!/usr/bin/env python3
"""TLS: HTTP and WebSocket with a certificate of a CA of our own; what is refused at the start; hostile and broken peers; renewal."""
import json, os, random, socket, ssl, struct, subprocess, tempfile, time
from lightcone import BINARY, Client, Server, TOP, bstr, main, module


def make(*args): subprocess.run(['openssl', *args], check=True, capture_output=True)


class Certificates:
    """A CA (ca.pem), and certificates signed by it: with Certificates() as c: c.sign('name') gives the paths of a certificate for localhost and its key."""
    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.ca = self.folder.name + '/ca.pem'
        make('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=test CA', '-keyout', self.folder.name + '/ca.key', '-out', self.ca)
        return self
    def __exit__(self, *_): self.folder.cleanup()
    def sign(self, name):
        path = self.folder.name + '/' + name
        make('req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-subj', '/CN=' + name, '-keyout', path + '.key', '-out', path + '.csr')
        with open(path + '.ext', 'w') as f: f.write('subjectAltName=DNS:localhost,IP:127.0.0.1\n')
        make('x509', '-req', '-in', path + '.csr', '-CA', self.ca, '-CAkey', self.folder.name + '/ca.key', '-CAcreateserial', '-days', '2', '-extfile', path + '.ext', '-out', path + '.pem')
        return path + '.pem', path + '.key'
    def context(self): return ssl.create_default_context(cafile=self.ca)


def served(c, name='a'):
    cert, key = c.sign(name)
    s = Server(options=['--tls-cert', cert, '--tls-key', key])
    s.tls = c.context()
    return s


def https_and_wss():
    with Certificates() as c, served(c) as s:
        token = s.identity()['token']
        s.publish('d', module('transfer'), token)
        assert s.call('d', 'seed', 50000, 100, token=token)[0] == 200
        rows = s.sql('d', 'SELECT * FROM accounts', token) # megabytes
        assert len(rows) == 50000
        w = Client(s, 'd', token, tls=c.context())
        w.send(b'\0' + struct.pack('<III', 0, 1, 1) + bstr('SELECT * FROM accounts'))
        tag, rest = w.next()
        assert tag == 1 and len(rest) > 50000 * 12, (tag, len(rest))
        for i in range(200): w.call('transfer', struct.pack('<IIq', i, i + 1, 1))
        seen = 0
        while seen < 200:
            tag, rest = w.next()
            assert tag == 6
            seen += (b'\6' + rest).count(bstr('accounts')) # an answer brings the rows that changed
        one = [r for r in s.sql('d', 'SELECT * FROM accounts WHERE id = 200', token)]
        assert len(one) == 1
        out = subprocess.run(['curl', '-sS', '--cacert', c.ca, f'https://localhost:{s.port}/v1/ping', '-w', '%{http_code}'], capture_output=True, text=True)
        assert out.stdout == '200', out
        # many requests on one connection, one after the other and at once
        k = c.context().wrap_socket(socket.create_connection(('127.0.0.1', s.port)), server_hostname='localhost')
        assert k.selected_alpn_protocol() is None and k.version() == 'TLSv1.3'
        k.sendall(b'GET /v1/ping HTTP/1.1\r\nHost: x\r\n\r\n' * 50)
        got = b''
        while got.count(b'HTTP/1.1 200') < 50: got += k.recv(65536)
        k.sendall(b'GET /v1/ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
        got = b''
        while (b := k.recv(65536)): got += b # ends with close_notify, or recv would raise
        assert got.startswith(b'HTTP/1.1 200')
        old = c.context()
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2
        k = old.wrap_socket(socket.create_connection(('127.0.0.1', s.port)), server_hostname='localhost')
        assert k.version() == 'TLSv1.2'
        k.close()
        s.check_alive()


def official_client():
    """The whole test of the npm client, over https and wss."""
    with Certificates() as c, served(c) as s:
        s.publish('e2e', module('e2e-2.14'), s.identity()['token'])
        p = subprocess.run(['node', os.path.join(TOP, 'build', 'clients', 'npm', 'client.mjs'), f'https://localhost:{s.port}', 'e2e'], capture_output=True, text=True, timeout=120, env=dict(os.environ, NODE_EXTRA_CA_CERTS=c.ca))
        assert p.returncode == 0 and 'passed' in p.stdout.splitlines(), p
        s.check_alive()


def refused_at_the_start():
    with Certificates() as c:
        cert, key = c.sign('a')
        _, other = c.sign('b')
        def start(*options): return subprocess.run([BINARY, 'start', '--listen-addr', '127.0.0.1:0', '--data-dir', c.folder.name + '/data', *options], capture_output=True, text=True, timeout=60)
        for options, text in ((['--tls-cert', cert], '--tls-key'), (['--tls-key', key], '--tls-cert'), (['--tls-cert', cert, '--tls-key', other], 'private key'),
                              (['--tls-cert', c.folder.name + '/none', '--tls-key', key], 'cannot use the certificate'), (['--tls-cert', c.ca + '.x', '--tls-key', key], 'cannot use the certificate')):
            p = start(*options)
            assert p.returncode != 0 and text in p.stdout + p.stderr, (options, p)


def broken_peers():
    """Plain HTTP, garbage, handshakes cut everywhere or sent byte by byte, floods of connections: each ends by itself, others go on."""
    with Certificates() as c, served(c) as s:
        token = s.identity()['token']
        s.publish('d', module('transfer'), token)
        def raw(data, wait=True):
            k = socket.create_connection(('127.0.0.1', s.port), timeout=10)
            k.sendall(data)
            got = b''
            try:
                while wait and (b := k.recv(4096)): got += b
            except (ConnectionResetError, socket.timeout): pass
            k.close()
            return got
        assert b'HTTP' not in raw(b'GET /v1/ping HTTP/1.1\r\nHost: x\r\n\r\n')
        r = random.Random(1)
        for _ in range(50): raw(bytes([0x16, 3, 1]) + r.randbytes(r.randrange(3, 2000)), wait=False)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = c.context().wrap_bio(incoming, outgoing, server_hostname='localhost')
        try: client.do_handshake()
        except ssl.SSLWantReadError: pass
        hello = outgoing.read()
        for cut in range(1, len(hello), 7): raw(hello[:cut], wait=False)
        k = socket.create_connection(('127.0.0.1', s.port), timeout=10)
        for b in hello: k.sendall(bytes([b]))
        assert k.recv(3)[0] == 0x16
        k.close()
        idle = [socket.create_connection(('127.0.0.1', s.port)) for _ in range(300)]
        # records that are cut or changed after the handshake
        for _ in range(20):
            k = c.context().wrap_socket(socket.create_connection(('127.0.0.1', s.port), timeout=10), server_hostname='localhost')
            raw_socket = socket.socket(fileno=os.dup(k.fileno()))
            raw_socket.sendall(bytes([0x17, 3, 3, 0, 40]) + r.randbytes(40))
            try: assert k.recv(100) == b''
            except (ssl.SSLError, ConnectionError): pass
            raw_socket.close()
            k.close()
        assert s.call('d', 'seed', 10, 1, token=token)[0] == 200
        for k in idle: k.close()
        s.check_alive()


def slow_reader():
    """A client that takes a large answer slowly gets all of it, byte for byte."""
    with Certificates() as c, served(c) as s:
        token = s.identity()['token']
        s.publish('d', module('transfer'), token)
        assert s.call('d', 'seed', 200000, 7, token=token)[0] == 200
        k = c.context().wrap_socket(socket.create_connection(('127.0.0.1', s.port)), server_hostname='localhost')
        body = b'SELECT * FROM accounts'
        k.sendall(b'POST /v1/database/d/sql HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ' + token.encode() + b'\r\nConnection: close\r\nContent-Length: ' + str(len(body)).encode() + b'\r\n\r\n' + body)
        got = bytearray()
        while (b := k.recv(16384)):
            got += b
            if len(got) % 7 == 0: time.sleep(0.001)
        rows = json.loads(bytes(got).split(b'\r\n\r\n', 1)[1])[0]['rows']
        assert len(rows) == 200000 and all(row[1] == 7 for row in rows)


def renewal():
    """New files are used for new connections; broken ones are not, and are complained about; connections that are there stay."""
    with Certificates() as c, served(c, 'first') as s:
        def subject():
            k = c.context().wrap_socket(socket.create_connection(('127.0.0.1', s.port)), server_hostname='localhost')
            name = dict(x[0] for x in k.getpeercert()['subject'])['commonName']
            k.close()
            return name
        def until(want):
            end = time.time() + 20
            while (got := subject()) != want:
                assert time.time() < end, got
                time.sleep(0.2)
        assert subject() == 'first'
        kept = c.context().wrap_socket(socket.create_connection(('127.0.0.1', s.port)), server_hostname='localhost')
        cert, key = c.sign('second')
        os.replace(key, c.folder.name + '/first.key')
        os.replace(cert, c.folder.name + '/first.pem')
        until('second')
        with open(c.folder.name + '/first.pem', 'w') as f: f.write('nonsense')
        end = time.time() + 20
        while 'is still used' not in s.server_log():
            assert subject() == 'second' and time.time() < end
            time.sleep(0.2)
        kept.sendall(b'GET /v1/ping HTTP/1.1\r\nHost: x\r\n\r\n')
        assert kept.recv(100).startswith(b'HTTP/1.1 200')


if __name__ == '__main__': main([https_and_wss, official_client, refused_at_the_start, broken_peers, slow_reader, renewal])
