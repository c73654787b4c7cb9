#!/usr/bin/env python3
"""Tokens of foreign issuers (spec/04 §4.3, spec/07 §14.1): a real issuer in a process of its own thread, its keys over HTTP; rotation, every way to be broken, requests that wait."""
import base64, concurrent.futures, http.server, json, re, socket, subprocess, tempfile, threading, time
from lightcone import Client, Server, main, module


def b64(b): return base64.urlsafe_b64encode(b).rstrip(b'=').decode()


class Key:
    """A key made by openssl: EC (P-256, or another curve) or RSA."""
    def __init__(self, kid, kind='EC', curve='prime256v1', bits=2048):
        self.kid, self.kind, self.folder = kid, kind, tempfile.mkdtemp(prefix='lightcone-e2e-oidc-')
        self.path = self.folder + '/key.pem'
        run = ['openssl', 'genrsa', '-out', self.path, str(bits)] if kind == 'RSA' else ['openssl', 'ecparam', '-genkey', '-noout', '-name', curve, '-out', self.path]
        subprocess.run(run, check=True, capture_output=True)
        der = subprocess.run(['openssl', 'pkey', '-in', self.path, '-pubout', '-outform', 'DER'], check=True, capture_output=True).stdout
        if kind == 'RSA':
            n = subprocess.run(['openssl', 'rsa', '-in', self.path, '-noout', '-modulus'], check=True, capture_output=True, text=True).stdout.strip().split('=')[1]
            self.jwk = {'kty': 'RSA', 'use': 'sig', 'n': b64(bytes.fromhex(n)), 'e': 'AQAB'}
        else:
            half = {'prime256v1': 32, 'secp384r1': 48}[curve]
            self.jwk = {'kty': 'EC', 'crv': {'prime256v1': 'P-256', 'secp384r1': 'P-384'}[curve], 'x': b64(der[-2 * half:-half]), 'y': b64(der[-half:])}
        self.point = der[-65:]
        if kid is not None: self.jwk['kid'] = kid
    def token(self, issuer, alg=None, kid=True, subject='bob', now=None, **claims):
        head = {'typ': 'JWT', 'alg': alg or ('RS256' if self.kind == 'RSA' else 'ES256')}
        if kid is True and self.kid is not None: head['kid'] = self.kid
        elif isinstance(kid, str): head['kid'] = kid
        body = {'iss': issuer, 'sub': subject, 'iat': int(time.time()), 'email': 'bob@example.org', **claims}
        part = b64(json.dumps(head).encode()) + '.' + b64(json.dumps({k: v for k, v in body.items() if v is not None}).encode())
        signature = subprocess.run(['openssl', 'dgst', '-sha256', '-sign', self.path], input=part.encode(), check=True, capture_output=True).stdout
        if self.kind == 'EC': # DER to the two numbers side by side
            at, out = 4, b''
            size = signature[3]
            for _ in range(2):
                out += signature[at:at + size].lstrip(b'\0').rjust(32, b'\0')
                at += size
                size, at = (signature[at + 1], at + 2) if at + 1 < len(signature) else (0, at)
            signature = out
        return part + '.' + b64(signature)


class Issuer:
    """Answers under /NAME/…: sets[NAME] is a list of keys, or a function that handles the request itself."""
    def __init__(self):
        self.sets, self.hits = {}, []
        issuer = self
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'
            def do_GET(self):
                issuer.hits.append(self.path)
                _, name, rest = self.path.split('/', 2)
                what = issuer.sets.get(name)
                if callable(what): return what(self, rest)
                if what is None: return self.send_error(404)
                if rest == '.well-known/openid-configuration': return self.answer(json.dumps({'issuer': issuer.url(name), 'jwks_uri': issuer.url(name) + '/jwks'}).encode())
                if rest == 'jwks': return self.answer(json.dumps({'keys': what}).encode())
                self.send_error(404)
            def answer(self, body, status=200, headers={}):
                self.send_response(status)
                for k, v in headers.items(): self.send_header(k, v)
                self.send_header('Content-Length', str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            def log_message(self, *_): pass
        self.http = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
    def url(self, name): return f'http://127.0.0.1:{self.http.server_port}/{name}'
    def __enter__(self): return self
    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()


def who(s, token):
    """(status, text, identity) of a request that needs a good token only."""
    status, text, headers = s.http('GET', '/v1/database/nope', None, token)
    return status, text, headers.get('spacetime-identity')


def accepted_and_refused():
    with Issuer() as i, Server() as s:
        ec, second, rsa, nobody, none, weak, other = Key('a'), Key('b'), Key('r', 'RSA'), Key('a'), Key(None), Key('w', 'RSA', bits=1024), Key('o', curve='secp384r1')
        i.sets = {'ec': [ec.jwk, second.jwk], 'all': [{'kty': 'oct', 'kid': 's', 'k': b64(b'secret')}, {'kty': 'OKP', 'crv': 'Ed25519', 'kid': 'd', 'x': b64(bytes(32))}, other.jwk, ec.jwk, rsa.jwk, weak.jwk, {}, 3], 'plain': [none.jwk, second.jwk]}
        url = i.url
        status, _, bob = who(s, ec.token(url('ec')))
        assert status == 404 and bob.startswith('c200') and i.hits == ['/ec/.well-known/openid-configuration', '/ec/jwks'], (status, i.hits)
        assert who(s, second.token(url('ec'))) == (404, *who(s, ec.token(url('ec')))[1:]) and who(s, second.token(url('ec'), kid=None))[0] == 404
        assert who(s, ec.token(url('ec'), subject='eve'))[2] not in (None, bob)
        assert who(s, ec.token(url('ec') + '/'))[2] not in (None, bob) # another name of an issuer gives another identity
        for what, token, text in (
                ('a key that the issuer does not have', nobody.token(url('ec')), 'Invalid token: InvalidSignature'),
                ('of another key', ec.token(url('ec'), kid='b'), 'Invalid token: InvalidSignature'), ('unknown key', ec.token(url('ec'), kid='zzz'), 'Specified key ID not found in JWKs'),
                ('expired', ec.token(url('ec'), exp=int(time.time()) - 120), 'Invalid token: ExpiredSignature'), ('no iat', ec.token(url('ec'), iat=None), 'Invalid token'),
                ('no subject', ec.token(url('ec'), sub=None), 'Invalid token: Missing required claim: sub'), ('long subject', ec.token(url('ec'), subject='x' * 129), 'Subject too long'),
                ('wrong identity', ec.token(url('ec'), hex_identity='c2' + '0' * 62), 'Identity mismatch'),
                ('RS256 with an EC key', rsa.token(url('all'), kid='a'), 'Invalid token: InvalidSignature'), ('ES256 with an RSA key', ec.token(url('all'), kid='r'), 'Invalid token: InvalidSignature'),
                ('a short RSA key', weak.token(url('all')), 'Specified key ID not found in JWKs'), ('a symmetric key', ec.token(url('all'), kid='s'), 'Specified key ID not found in JWKs'),
                ('an unknown issuer', ec.token(url('gone')), 'Error fetching public key for issuer ' + url('gone')), ('no URL', ec.token('example'), 'Error fetching public key for issuer example'),
                ('a file', ec.token('file:///etc'), 'Error fetching public key for issuer file:///etc'), ('ours', ec.token('localhost'), 'Invalid token: InvalidSignature')):
            status, got, _ = who(s, token)
            assert status == 401 and text in got, (what, status, got)
        assert who(s, rsa.token(url('all')))[0] == who(s, rsa.token(url('all'), kid=None))[0] == who(s, ec.token(url('all'), kid=None))[0] == 404
        assert who(s, none.token(url('plain')))[0] == 404 and who(s, none.token(url('plain'), kid='new'))[0] == 404 # a key without a name serves where no other has it
        # the public key is no secret: HMAC with it, and with no algorithm at all
        import hashlib, hmac
        for secret in ec.point, b'secret':
            part = b64(json.dumps({'alg': 'HS256', 'typ': 'JWT', 'kid': 's'}).encode()) + '.' + b64(json.dumps({'iss': url('all'), 'sub': 'bob', 'iat': int(time.time())}).encode())
            assert who(s, part + '.' + b64(hmac.new(secret, part.encode(), hashlib.sha256).digest()))[:2] == (401, 'Invalid token: InvalidAlgorithm')
        part = b64(b'{"alg":"none"}') + '.' + b64(json.dumps({'iss': url('ec'), 'sub': 'bob', 'iat': int(time.time())}).encode())
        assert who(s, part + '.')[0] == 401
        assert i.hits.count('/ec/jwks') == 2 and i.hits.count('/all/jwks') == 1, i.hits # once for each name: keys are kept
        # through WebSocket, and re-signed for it; the module is told the whole payload
        owner = s.identity()['token']
        s.publish('e2e', module('e2e-2.14'), owner)
        c = Client(s, 'e2e', ec.token(url('ec')))
        assert c.identity == bob
        status, text, _ = s.http('POST', '/v1/identity/websocket-token', None, ec.token(url('ec')))
        short = json.loads(text)['token']
        payload = json.loads(base64.urlsafe_b64decode(short.split('.')[1] + '=='))
        assert status == 200 and payload['iss'] == url('ec') and payload['email'] == 'bob@example.org' and Client(s, 'e2e', short).identity == bob
        # what a module sees (get_jwt reads the same row): all of the payload as it came, and nobody but the owner
        token = rsa.token(url('all'), roles=['a', {'deep': [1, None]}], aud='app')
        c2 = Client(s, 'e2e', token)
        presented = base64.urlsafe_b64decode(token.split('.')[1] + '==').decode()
        assert presented in [row[1] for row in s.sql('e2e', 'SELECT * FROM st_connection_credentials', owner)]
        assert s.http('POST', '/v1/database/e2e/sql', 'SELECT * FROM st_connection_credentials', token)[0] == 400
        c.close(), c2.close()
        s.check_alive()


def waiting_requests():
    """The first requests of an issuer, which wait for its keys: with bodies, pipelined, as upgrades; and strangers that never answer keep nobody else from it."""
    with Issuer() as i, Server() as s:
        key, release = Key('a'), threading.Event()
        i.sets = {f'n{n}': [key.jwk] for n in range(9)} | {f'slow{n}': lambda h, rest: (release.wait(30), h.send_error(500)) for n in range(20)}
        owner = s.identity()['token']
        s.publish('e2e', module('e2e-2.14'), owner)
        assert s.http('POST', '/v1/database/e2e/sql', 'SELECT * FROM st_table', key.token(i.url('n0')))[0] == 200
        with open(module('e2e-2.14'), 'rb') as f: status, text, _ = s.http('PUT', '/v1/database/mine', f.read(), key.token(i.url('n1'))) # a large body
        assert status == 200, text
        mine = who(s, key.token(i.url('n1')))[2]
        assert json.loads(s.http('GET', '/v1/database/mine')[1])['owner_identity']['__identity__'] == '0x' + mine
        assert Client(s, 'e2e', key.token(i.url('n2'))).identity == who(s, key.token(i.url('n2')))[2]
        c = socket.create_connection(('127.0.0.1', s.port), timeout=30) # answers in order though the first and the third wait
        for path in '/v1/database/e2e/identity', '/v1/ping', '/v1/database/nope': c.sendall(f'GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key.token(i.url("n3" if path != "/v1/database/nope" else "n4"))}\r\n\r\n'.encode())
        got = b''
        while b'not found' not in got: got += c.recv(65536)
        assert re.findall(rb'HTTP/1.1 (\d+)', got) == [b'200', b'200', b'404'], got
        status, text, _ = s.http('GET', '/v1/database/e2e/identity?token=' + key.token(i.url('n5')))
        assert status == 200, text
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            waiting = [pool.submit(who, s, key.token(i.url(f'slow{n}'))) for n in range(20)]
            time.sleep(0.5)
            start = time.time()
            assert who(s, key.token(i.url('n6')))[0] == 404 and time.time() - start < 5
            release.set()
            for w in waiting: assert w.result()[0] == 401
        s.check_alive()


def addresses_not_asked():
    """Where clouds keep credentials of the machine, and what is no issuer's document at all."""
    with Issuer() as i, Server() as s:
        key = Key('a')
        i.sets = {'link': lambda h, rest: h.answer(b'', 302, {'Location': 'http://169.254.169.254/latest/meta-data'}), 'uri': lambda h, rest: h.answer(b'{"jwks_uri": "http://169.254.169.254/keys"}'),
                  'moved': lambda h, rest: h.answer(b'', 301, {'Location': i.url('real') + '/' + rest}), 'gopher': lambda h, rest: h.answer(b'', 302, {'Location': 'gopher://127.0.0.1/'}), 'real': [key.jwk]}
        start = time.time()
        for issuer in 'http://169.254.169.254', 'http://[fe80::1]', 'http://[::ffff:169.254.169.254]', 'http://0.0.0.0:1', 'http://224.0.0.1', i.url('link'), i.url('uri'), i.url('gopher'):
            assert who(s, key.token(issuer))[:2] == (401, 'Error fetching public key for issuer ' + issuer), issuer
        assert time.time() - start < 5 and s.server_log().count('addresses of that kind are not asked') == 7, s.server_log()
        assert who(s, key.token(i.url('moved')))[0] == 404 # a redirect is followed
        s.check_alive()


def broken_issuers():
    """Slow, huge, redirecting for ever, garbage, closing: the request gets its 401, the server does all else meanwhile, and the issuer is not asked again at once."""
    with Issuer() as i, Server() as s:
        key = Key('a')
        release = threading.Event()
        def documents(body): return lambda h, rest: h.answer(json.dumps({'jwks_uri': i.url('x') + '/jwks'}).encode() if rest.startswith('.well') else body)
        i.sets = {'slow': lambda h, rest: release.wait(30), 'huge': lambda h, rest: h.answer(b' ' * (3 << 20)), 'loop': lambda h, rest: h.answer(b'', 302, {'Location': i.url('loop') + '/again'}),
                  'garbage': lambda h, rest: h.answer(b'\xff\0{'), 'list': lambda h, rest: h.answer(b'[]'), 'no-uri': lambda h, rest: h.answer(b'{"jwks_uri": 3}'), 'file': lambda h, rest: h.answer(b'{"jwks_uri": "file:///etc/passwd"}'),
                  'error': lambda h, rest: h.answer(b'{}', 500), 'close': lambda h, rest: h.connection.shutdown(2), 'no-keys': lambda h, rest: h.answer(json.dumps({'jwks_uri': i.url('list') + '/k'}).encode())}
        for name in i.sets:
            if name == 'slow': continue
            status, text, _ = who(s, key.token(i.url(name)))
            assert (status, text) == (401, 'Error fetching public key for issuer ' + i.url(name)), (name, status, text)
        hits = len(i.hits)
        assert who(s, key.token(i.url('error')))[0] == 401 and len(i.hits) == hits # remembered for a while
        with concurrent.futures.ThreadPoolExecutor(40) as pool:
            start = time.time()
            waiting = [pool.submit(who, s, key.token(i.url('slow'))) for _ in range(30)]
            time.sleep(0.5)
            for _ in range(20): assert s.http('GET', '/v1/ping')[0] == 200
            assert time.time() - start < 5 and not any(w.done() for w in waiting)
            gone = [socket.create_connection(('127.0.0.1', s.port)) for _ in range(10)] # who leaves while it waits
            for g in gone:
                g.sendall(f'GET /v1/database/nope HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key.token(i.url("slow"))}\r\n\r\n'.encode())
                g.close()
            assert all(w.result()[0] == 401 for w in waiting)
            release.set()
        assert i.hits.count('/slow/.well-known/openid-configuration') == 1, 'merged into one'
        assert 'OIDC/JWKS request failed' in s.server_log()
        s.check_alive()


def rotation():
    """A key that is new is looked for, but not at every request; one that has gone is not believed longer than it takes to look."""
    with Issuer() as i, Server() as s:
        first, second = Key('1'), Key('2')
        i.sets = {'r': [first.jwk]}
        assert who(s, first.token(i.url('r')))[0] == 404
        i.sets['r'] = [second.jwk]
        for _ in range(5): assert who(s, second.token(i.url('r')))[:2] == (401, 'Specified key ID not found in JWKs')
        assert i.hits.count('/r/jwks') == 1
        time.sleep(11)
        assert who(s, second.token(i.url('r')))[0] == 404 and i.hits.count('/r/jwks') == 2
        assert who(s, first.token(i.url('r'), subject='new'))[0] == 401


def stopping_while_waiting():
    with Issuer() as i:
        i.sets = {'slow': lambda h, rest: time.sleep(30)}
        with Server() as s:
            key = Key('a')
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                waiting = [pool.submit(who, s, key.token(i.url('slow'))) for _ in range(3)]
                time.sleep(0.5)
                start = time.time()
                s.stop()
                assert time.time() - start < 8
                for w in waiting:
                    try: assert w.result()[0] in (401, 503)
                    except OSError: pass
                    except http.client.HTTPException: pass


if __name__ == '__main__': main([accepted_and_refused, waiting_requests, addresses_not_asked, broken_issuers, rotation, stopping_while_waiting])
