"""What the end-to-end tests share: a server process of the build under test, its command line, and a small client of protocols v2 and v3.

Environment: OUT is the build folder (set by tests/run); binaries come from there, modules from build/modules.
"""
import base64, http.client, json, os, re, shutil, signal, socket, struct, subprocess, sys, tempfile, time

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), '..', '..'))
OUT = os.environ.get('OUT', os.path.join(TOP, 'build', 'asan'))
BINARY = os.path.join(OUT, 'lightcone')
if not os.path.exists(BINARY): BINARY = os.path.join(TOP, 'build', 'lightcone')

PATIENCE_S = int(os.environ.get('PATIENCE_S', '120')) # for an answer over HTTP


def module(name): return os.path.join(TOP, 'build', 'modules', name if name.endswith(('.js', '.wasm')) else name + '.wasm') # NAME.js: a bundle of tests/modules/typescript


class Server:
    """A server on a free port with a data folder of its own; `restart` keeps the data."""

    def __init__(self, data=None, options=(), env={}):
        self.options, self.env = list(options), env
        self.temp = tempfile.mkdtemp(prefix='lightcone-e2e-')
        self.data = data or os.path.join(self.temp, 'data')
        self.config = os.path.join(self.temp, 'cli.toml')
        self.log = open(os.path.join(self.temp, 'server.log'), 'ab')
        self.process = None
        self.port = 0
        self.start()

    def start(self):
        env = dict(os.environ, HOME=self.temp, XDG_CONFIG_HOME=os.path.join(self.temp, 'config')) | self.env
        env['ASAN_OPTIONS'] = 'allocator_may_return_null=1:detect_leaks=0:' + env.get('ASAN_OPTIONS', '')
        self.process = subprocess.Popen([BINARY, 'start', '--listen-addr', f'127.0.0.1:{self.port}', '--data-dir', self.data] + self.options, stdout=subprocess.PIPE, stderr=self.log, env=env)
        for line in self.process.stdout:
            m = re.search(rb'listening on 127\.0\.0\.1:(\d+)', line)
            if m:
                self.port = int(m.group(1))
                return
        raise Exception(f'the server did not start: exit {self.process.wait()}\n{self.server_log()}')

    @property
    def url(self): return f'http://127.0.0.1:{self.port}'

    def server_log(self): return open(self.log.name, errors='replace').read()[-6000:]
    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()
    def stop(self):
        """SIGTERM; the exit must be clean."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self.process.stdout.close()
        if code != 0: raise Exception(f'the server ended with {code}\n{self.server_log()}')
    def check_alive(self):
        if self.process.poll() is not None: raise Exception(f'the server is gone: exit {self.process.returncode}\n{self.server_log()}')
        if self.http('GET', '/v1/ping')[0] != 200: raise Exception('ping fails')
    def close(self):
        if self.process.poll() is None: self.stop()
        shutil.rmtree(self.temp, ignore_errors=True)
    def __enter__(self): return self
    def __exit__(self, kind, value, trace):
        if kind:
            print(self.server_log())
            self.process.kill()
        else: self.close()

    def rss_kib(self): return int(re.search(r'VmRSS:\s+(\d+)', open(f'/proc/{self.process.pid}/status').read()).group(1))

    def cli(self, *args, ok=True, stdin=None):
        """Runs the command line against this server with a configuration of its own; returns stdout (and stderr and code when ok is False)."""
        p = subprocess.run([BINARY, f'--config-path={self.config}', *args], capture_output=True, text=True, input=stdin, timeout=120, env=dict(os.environ, HOME=self.temp, XDG_CONFIG_HOME=self.temp))
        if not ok: return p
        if p.returncode: raise Exception(f'lightcone {" ".join(args)}: exit {p.returncode}\n{p.stdout}{p.stderr}')
        return p.stdout

    tls = None # an ssl.SSLContext: requests go by https
    def http(self, method, path, body=None, token=None, headers={}):
        c = http.client.HTTPSConnection('localhost', self.port, timeout=PATIENCE_S, context=self.tls) if self.tls else http.client.HTTPConnection('127.0.0.1', self.port, timeout=PATIENCE_S)
        h = dict(headers)
        if token: h['Authorization'] = 'Bearer ' + token
        c.request(method, path, body, h)
        r = c.getresponse()
        data = r.read()
        c.close()
        return r.status, data.decode('utf8', 'replace'), r.headers
    def identity(self): return json.loads(self.http('POST', '/v1/identity')[1])
    def publish(self, name, wasm, token):
        with open(wasm, 'rb') as f: status, text, _ = self.http('PUT', f'/v1/database/{name}' + ('?host_type=Js' if wasm.endswith('.js') else ''), f.read(), token)
        if status != 200: raise Exception(f'publish {name}: {status} {text}')
        return json.loads(text)['Success']['database_identity']
    def sql(self, name, query, token):
        status, text, _ = self.http('POST', f'/v1/database/{name}/sql', query, token)
        if status != 200: raise Exception(f'{query}: {status} {text}')
        return json.loads(text)[0]['rows']
    def call(self, name, reducer, *args, token=None):
        return self.http('POST', f'/v1/database/{name}/call/{reducer}', json.dumps(args), token, {'Content-Type': 'application/json'})


class Disk:
    """A disk that fails or is slow (disk_shim.c): with Disk() as disk: Server(env=disk.env) …; disk.does('/replicas/2/', 'sync', errno.EIO); disk.is_well()"""
    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix='lightcone-disk-')
        library, self.control = self.folder.name + '/shim.so', self.folder.name + '/control'
        subprocess.run(['gcc', '-shared', '-fPIC', '-O1', '-o', library, os.path.join(TOP, 'tests', 'e2e', 'disk_shim.c'), '-ldl'], check=True)
        self.is_well()
        self.env = {'LD_PRELOAD': library, 'DISK_SHIM': self.control, 'ASAN_OPTIONS': 'verify_asan_link_order=0:quarantine_size_mb=1'}
        return self
    def __exit__(self, *_): self.folder.cleanup()
    def does(self, pattern, mode, value):
        with open(self.control + '.new', 'w') as f: f.write(f'{pattern} {mode} {value}')
        os.rename(self.control + '.new', self.control)
    def is_well(self): self.does('-', 'nothing', 0)


def bstr(s):
    b = s.encode() if isinstance(s, str) else s
    return struct.pack('<I', len(b)) + b


class Client:
    """A WebSocket client of protocol v3 (or v2). Messages are returned as (tag, payload reader)."""

    def __init__(self, server, database, token=None, confirmed=True, protocol='v3.bsatn.spacetimedb', tls=None):
        self.s = socket.create_connection(('127.0.0.1', server.port), timeout=60)
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls: self.s = tls.wrap_socket(self.s, server_hostname='localhost')
        auth = f'Authorization: Bearer {token}\r\n' if token else ''
        self.s.sendall((f'GET /v1/database/{database}/subscribe?confirmed={"true" if confirmed else "false"}&compression=None HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n'
                        f'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\nSec-WebSocket-Protocol: {protocol}\r\n{auth}\r\n').encode())
        self.buf, self.fragments = b'', []
        while b'\r\n\r\n' not in self.buf: self._more()
        head, self.buf = self.buf.split(b'\r\n\r\n', 1)
        if b' 101 ' not in head.split(b'\r\n')[0]: raise Exception(head.decode())
        self.request_id = 0
        self.queue = []
        tag, r = self.next()
        assert tag == 0, tag
        self.identity = r[:32][::-1].hex()
        self.token = r[52:].decode()

    def _more(self):
        b = self.s.recv(1 << 20)
        if not b: raise ConnectionError('closed')
        self.buf += b
    def _frame(self):
        while True:
            b = self.buf
            if len(b) >= 2:
                n, at = b[1] & 127, 2
                if n == 126 and len(b) >= 4: n, at = struct.unpack('>H', b[2:4])[0], 4
                elif n == 127 and len(b) >= 10: n, at = struct.unpack('>Q', b[2:10])[0], 10
                elif n >= 126: n = None
                if n is not None and len(b) >= at + n:
                    self.buf = b[at + n:]
                    op, payload = b[0] & 15, b[at:at + n]
                    if op >= 8: return op, payload
                    if op: self.opcode = op
                    self.fragments.append(payload)
                    if not b[0] & 0x80: continue
                    payload, self.fragments = b''.join(self.fragments), []
                    return self.opcode, payload
            self._more()
    def raw(self, opcode, payload, mask=b'\1\2\3\4'):
        n = len(payload)
        head = bytes([0x80 | opcode]) + (bytes([0x80 | n]) if n < 126 else b'\xfe' + struct.pack('>H', n) if n < 65536 else b'\xff' + struct.pack('>Q', n)) + mask
        self.s.sendall(head + bytes(b ^ mask[i & 3] for i, b in enumerate(payload)))
    def send(self, payload): self.raw(2, payload)
    def next(self):
        """Next message of the server: (tag, rest of its frame). With v3 only the first of a batch is split off when it has a known length; the
        tests that batch parse themselves."""
        while True:
            op, p = self._frame()
            if op == 9: self.raw(10, p)
            elif op == 8: raise ConnectionError(f'closed by the server: {struct.unpack(">H", p[:2])[0] if len(p) > 1 else None} {p[2:].decode()}')
            elif op == 2:
                assert p[0] == 0, 'compressed though None was asked'
                return p[1], p[2:]
    def call(self, reducer, args=b''):
        """Sends a call, returns its request id."""
        self.request_id += 1
        self.send(b'\x03' + struct.pack('<IB', self.request_id, 0) + bstr(reducer) + bstr(args))
        return self.request_id
    @staticmethod
    def results(tag, rest):
        """Reducer results of one frame of a client without subscriptions: (request id, None or error text) each."""
        p, out = bytes([tag]) + rest, []
        while p:
            assert p[0] == 6, p[0]
            rid, _, kind = struct.unpack('<IqB', p[1:14])
            if kind == 0:
                ret, sets = struct.unpack('<II', p[14:22])
                assert ret == 0 and sets == 0
                out.append((rid, None))
                p = p[22:]
            else:
                n = struct.unpack('<I', p[14:18])[0]
                text = p[18:18 + n]
                out.append((rid, (text[4:] if kind == 2 else text).decode()))
                p = p[18 + n:]
        return out
    def close(self): self.s.close()


def main(tests):
    """Runs the functions, prints a line each; exit status 1 when one raised."""
    import traceback
    failed = 0
    for t in tests:
        start = time.time()
        try:
            t()
            print(f'ok {t.__name__} ({time.time() - start:.1f} s)', flush=True)
        except BaseException:
            traceback.print_exc()
            print(f'FAIL {t.__name__}', flush=True)
            failed = 1
    sys.exit(failed)
