"""The command line against a running server: names, options, texts and exit codes of spec/04 §7 and spec/07 §15, and what README.md tells people to type."""
import hashlib, http.server, json, os, re, shlex, shutil, signal, socket, subprocess, tempfile, threading, time
from lightcone import BINARY, TOP, Server, main, module

UNSTABLE = 'WARNING: This command is UNSTABLE and subject to breaking changes.\n\n'
COMMANDS = 'publish delete logs call describe sql list rename lock unlock env mcp login logout server build init dev generate start import check log version help'.split()


class Run:
    """One run of the program in a home of its own. `code`, `out`, `err`; the line about a new cli.toml and the warning of unstable commands are taken off `err` and noted in `saved` and `unstable`."""
    def __init__(self, home, *args, stdin='', cwd=None, env={}, program=BINARY):
        p = subprocess.run([program, *args], capture_output=True, text=True, input=stdin, timeout=120, cwd=cwd or home, env=dict(os.environ, HOME=home, XDG_CONFIG_HOME=home + '/.config', XDG_DATA_HOME=home + '/.local', **env))
        self.code, self.out, self.err, self.args = p.returncode, p.stdout, p.stderr, args
        new = f'Saving config to {home}/.config/spacetime/cli.toml.\n'
        self.saved = self.err.startswith(new)
        if self.saved: self.err = self.err[len(new):]
        self.unstable = self.err.startswith(UNSTABLE)
        if self.unstable: self.err = self.err[len(UNSTABLE):]
    def expect(self, code, out=None, err=None):
        """`out` and `err`: the whole text, or a compiled pattern for all of it."""
        for what, got, want in (('exit code', self.code, code), ('stdout', self.out, out), ('stderr', self.err, err)):
            if want is None: continue
            if not (want.fullmatch(got) if isinstance(want, re.Pattern) else got == want): raise Exception(f'{shlex.join(self.args)}: {what} is\n{got}\nnot\n{want}\nstdout: {self.out}\nstderr: {self.err}')
        return self


class Home:
    """A user's home with a default server; `run` runs the program there."""
    def __init__(self, server=None):
        self.dir = tempfile.mkdtemp(prefix='lightcone-cli-')
        if server: self.write('.config/spacetime/cli.toml', f'default_server = "local"\n\n[[server_configs]]\nnickname = "local"\nhost = "127.0.0.1:{server.port}"\nprotocol = "http"\n')
    def write(self, path, text):
        path = os.path.join(self.dir, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w') as f: f.write(text)
        return path
    def read(self, path): return open(os.path.join(self.dir, path)).read()
    def run(self, *args, **options): return Run(self.dir, *args, **options)
    def __enter__(self): return self
    def __exit__(self, *_): shutil.rmtree(self.dir, ignore_errors=True)


def like(text): return re.compile(text, re.S)


def help_and_usage():
    with Home() as h:
        listing = h.run('help').expect(0, err='').out
        assert re.findall(r'^  (\w+) ', listing, re.M) == COMMANDS, listing
        assert h.run('--help').expect(0, listing, '').out == h.run('-h').out
        h.run().expect(2, '', listing)
        for c in COMMANDS:
            text = h.run(c, '--help').expect(0, err='').out
            assert f' {c} [OPTIONS]' in text, text
            h.run('help', c).expect(0, text)
            h.run(c, '-h').expect(0, text)
        for option in '--listen-addr', '--data-dir', '--jwt-pub-key-path', '--jwt-priv-key-path', '--in-memory': assert option in h.run('start', '--help').out
        for option in '--bin-path', '--js-path', '--module-path', '--delete-data', '--break-clients', '--server', '--yes', '--anonymous', '--no-config': assert option in h.run('publish', '--help').out
        for option in '--num-lines', '--follow', '--format', '--level', '--level-exact': assert option in h.run('logs', '--help').out
        servers = re.findall(r'^  ([\w-]+) ', h.run('server', '--help').out, re.M)
        assert servers == 'list set-default add remove fingerprint ping edit clear'.split(), servers
        for s in servers: assert f'server {s} [OPTIONS]' in h.run('server', s, '--help').expect(0).out
        h.run('-V').expect(0, like(r'spacetime \d+\.\d+\.\d+\n'), '')
        h.run('--version').expect(0, like(r'[^\n]*\n[^\n]*\nspacetimedb tool version (\d+\.\d+\.\d+); spacetimedb-lib version \1;\n'), '')
        h.run('version').expect(0, h.run('--version').out)
        assert not os.path.exists(h.dir + '/.config/spacetime'), 'help needs no files'
        for args, text in ((['frobnicate'], "unrecognized subcommand 'frobnicate'"), (['server', 'frobnicate'], "unrecognized subcommand 'frobnicate'"), (['help', 'frobnicate'], "unrecognized subcommand 'frobnicate'"),
                           (['list', '--frobnicate'], "unexpected argument '--frobnicate' found"), (['list', 'x'], "unexpected argument 'x' found"), (['publish', 'a', 'b'], "unexpected argument 'b' found"),
                           (['logs', 'x', '-n'], "a value is required for '--num-lines <VALUE>' but none was supplied"), (['logs', 'x', '-n', '-1'], "invalid value '-1' for '--num-lines <VALUE>'"),
                           (['logs', 'x', '--follow=1'], "unexpected value '1' for '--follow' found; no more were expected"), (['logs', 'x', '-l', 'loud'], "invalid value 'loud' for '--level <VALUE>'"),
                           (['logs', 'x', '--level-exact'], 'the following required arguments were not provided:\n  --level <VALUE>'), (['logs', 'x', '--format', 'xml'], "invalid value 'xml' for '--format <VALUE>'"),
                           (['sql', 'x', 'y', '--confirmed', 'maybe'], "invalid value 'maybe' for '--confirmed <VALUE>'"), (['call', 'x', 'y', '--confirmed=maybe'], "invalid value 'maybe' for '--confirmed <VALUE>'"),
                           (['env', 'list', 'x', '--confirmed', ''], "invalid value '' for '--confirmed <VALUE>'"), (['call'], 'the following required arguments were not provided'), (['sql', 'x', '--interactive', 'y'], "the argument '--interactive' cannot be used with '<query>'"),
                           (['rename', 'x'], 'the following required arguments were not provided:\n  --to <new name>'), (['publish', 'x', '-b', 'f', '-j', 'g'], "the argument '--bin-path <VALUE>' cannot be used with '--js-path <VALUE>'"),
                           (['publish', 'x', '-b', 'f', '-p', 'g'], "the argument '--bin-path <VALUE>' cannot be used with '--module-path <VALUE>'"), (['publish', 'x', '--delete-data=sometimes'], "invalid value 'sometimes' for '--delete-data[=<VALUE>]'"),
                           (['publish', 'x', '--yes=perhaps'], "invalid value for '--yes[=<VALUE>]'"), (['publish', 'x', '--env-only', '-c'], "the argument '--env-only' cannot be used with a module or '--delete-data'"),
                           (['start', '--jwt-pub-key-path', 'x'], 'the following required arguments were not provided:\n  --jwt-priv-key-path <VALUE>'), (['start', '--network-threads', 'many'], "invalid value 'many' for '--network-threads <VALUE>'"),
                           *[(['start', '--database-limits', bad], f"invalid value '{bad}' for '--database-limits <VALUE>': NAME=MS[/MIB[/MIB]],... is expected") for bad in ('game', '=5', 'game=', 'game=x', 'game=5/', 'game=5/4097', 'game=5,', 'game=5/6/7/8')]):
            r = h.run(*args)
            assert r.code == 2 and r.out == '' and r.err.startswith('error: ' + text) and '\n\nUsage: lightcone ' in r.err and r.err.endswith("\n\nFor more information, try '--help'.\n"), (args, r.code, r.out, r.err)
        other = os.path.join(os.path.dirname(BINARY), 'spacetime')
        assert h.run('help', program=other).expect(0).out.startswith('Usage: spacetime ')
        full = subprocess.run([BINARY, 'help'], stdout=open('/dev/full', 'w'), stderr=subprocess.PIPE, text=True)
        assert full.returncode == 1 and full.stderr == 'Error: could not write the output: No space left on device\n', full


def start_and_stop():
    with Home() as h:
        data = h.dir + '/data'
        def start(*args): return subprocess.Popen([BINARY, 'start', '--listen-addr', '127.0.0.1:0', *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ, HOME=h.dir, XDG_CONFIG_HOME=h.dir + '/.config', XDG_DATA_HOME=h.dir + '/.local'))
        for sig in signal.SIGTERM, signal.SIGINT:
            p = start('--data-dir', data)
            lines = [p.stdout.readline() for _ in range(4)]
            assert re.fullmatch(r'lightcone version: \d+\.\d+\.\d+\n', lines[0]) and lines[1] == f'lightcone path: {BINARY}\n' and lines[2] == f'database running in data directory {data}\n', lines
            port = re.fullmatch(r'Starting SpacetimeDB listening on 127\.0\.0\.1:(\d+)\n', lines[3]).group(1)
            assert open(data + '/spacetime.pid').read() == str(p.pid) and os.path.exists(data + '/id_ecdsa') and os.stat(data + '/id_ecdsa').st_mode & 0o77 == 0
            keys = open(data + '/id_ecdsa.pub').read()
            h.run('start', '--listen-addr', '127.0.0.1:0', '--data-dir', data).expect(1, err=f'Error: cannot take lock on database; spacetime.pid already exists (owned by pid {p.pid})\n')
            h.run('start', '--listen-addr', f'127.0.0.1:{port}', '--data-dir', h.dir + '/other').expect(1, '', f'Error: Port {port} is already in use. Please free up the port or specify a different port with --listen-addr.\n')
            p.send_signal(sig)
            out, err = p.communicate(timeout=60)
            assert p.returncode == 0, (p.returncode, out, err)
            assert not os.path.exists(data + '/spacetime.pid')
        assert open(data + '/id_ecdsa.pub').read() == keys, 'the keys stay'
        h.run('start', '--listen-addr', 'nonsense').expect(1, '', 'Error: invalid listen address `nonsense`: expected HOST:PORT\n')
        h.run('start', '--listen-addr', '127.0.0.1:65536').expect(1, '', 'Error: invalid listen address `127.0.0.1:65536`: expected HOST:PORT\n')
        h.run('start', '--edition', 'cloud').expect(1, '', 'Error: only the standalone edition can be started here, not `cloud`\n')
        r = h.run('start', '--listen-addr', '127.0.0.1:0', '--data-dir', h.dir + '/keys', '--jwt-pub-key-path', h.dir + '/nope.pub', '--jwt-priv-key-path', data + '/id_ecdsa')
        assert r.code == 1 and r.err.startswith('Error: ') and 'nope.pub' in r.err, (r.code, r.err)


def publish_call_sql_logs():
    with Server() as s, Home(s) as h:
        wasm = module('e2e-2.14')
        h.run('publish', 'Bad_Name', '-b', wasm).expect(1, like('.*'), 'Error: invalid characters in database name\n')
        h.run('publish', 'm1', '-b', 'missing.wasm').expect(1, like('.*'), 'Error: failed to open `missing.wasm`: No such file or directory\n')
        r = h.run('publish', 'm1', '--bin-path', wasm).expect(0, like(rf'\(WASM\) Skipping build\. Instead we are publishing {re.escape(wasm)}\nUploading to local => {s.url}\nChecking for breaking changes\.\.\.\nPublishing module\.\.\.\n'
                                                                      r'Created new database with name: m1, identity: [0-9a-f]{64}\n'))
        assert 'We have logged in directly to your target server.\nWARNING: This login will NOT work for any other servers.\n' in r.err and not r.unstable, r.err
        identity = re.search('identity: ([0-9a-f]{64})', r.out).group(1)
        me = re.fullmatch('You are logged in as ([0-9a-f]{64})\n', h.run('login', 'show').expect(0).out).group(1)
        token = re.search('^spacetimedb_token = "(.*)"$', h.read('.config/spacetime/cli.toml'), re.M).group(1)
        assert os.stat(h.dir + '/.config/spacetime/cli.toml').st_mode & 0o777 == 0o600
        h.run('login', 'show', '--token').expect(0, f"You are logged in as {me}\nYour auth token (don't share this!) is {token}\n")
        h.run('publish', 'm1', '-y', '-b', wasm).expect(0, like(rf'.*Updated database with name: m1, identity: {identity}\n'), '')
        unnamed = re.search('identity: ([0-9a-f]{64})', h.run('publish', '-b', wasm).expect(0, like(r'.*Created new database with identity: [0-9a-f]{64}\n'), '').out).group(1)
        r = h.run('list').expect(0, err='')
        assert r.unstable
        head, blank, *rows = r.out.splitlines()
        assert head == f'Associated databases for user {me}:' and blank == '' and rows[:2] == [' Database Name(s) | Identity' + ' ' * 57, '-' * 18 + '+' + '-' * 66], r.out
        assert sorted(rows[2:]) == sorted([f' m1               | {identity} ', f' {" " * 16} | {unnamed} ']), r.out
        h.run('delete', unnamed, '--yes').expect(0, f'Are you sure you want to delete database {unnamed}? This action cannot be undone. [y/N] \nSkipping confirmation due to --yes\n', '')
        # call: JSON arguments, text quoted where the parameter is text, numbers that look like options
        for args in ['Ann', '30'], ['"Bob"', '31'], ['5', '7']: assert h.run('call', 'm1', 'add_person', *args).expect(0, '', '').unstable
        h.run('sql', 'm1', 'SELECT id, name, age FROM person').expect(0, ' id | name  | age \n----+-------+-----\n 1  | "Ann" | 30  \n 2  | "Bob" | 31  \n 3  | "5"   | 7   \n', '')
        h.run('call', identity, 'rename_person', '3', 'a "quoted"\nname').expect(0, '', '')
        h.run('sql', identity, "SELECT name FROM person WHERE id = 3").expect(0, ' name        \n-------------\n "a "quoted" \n name"       \n', '')
        where = f'for database `m1` resolving to identity `{identity}`.'
        h.run('call', 'm1', 'add_persn', 'X', '1').expect(1, '', f'Error: No such reducer OR procedure `add_persn` {where}\n\nA reducer with a similar name exists: `add_person`\n')
        r = h.run('call', 'm1', 'zzzzzzzzz').expect(1, '')
        assert r.err.startswith(f'Error: No such reducer OR procedure `zzzzzzzzz` {where}\n\nHere are some existing reducers:\n- ') and len(re.findall('^- ', r.err, re.M)) == 10 and re.search(r'\n\.\.\. \(\d+ reducers not shown\)\n$', r.err), r.err
        for args in [], ['1', '2', '3'], ['x', 'y'], ['x', '300'], ['x', '-1']:
            h.run('call', 'm1', 'add_person', *args).expect(1, '', like(re.escape(f'Error: Invalid arguments provided for reducer `add_person` {where}\n\nThe reducer has the following signature:\n\tadd_person(name: String, age: u8)\n\nCaused by:\n') + '    [^\n].*'))
        h.run('call', 'm1', 'fail', 'no such luck').expect(1, '', like('Error: Response text: no such luck\n\nCaused by:\n    HTTP status server error \\(530 .*'))
        h.run('call', 'nope', 'add_person').expect(1, '', 'Error: failed to find database `nope`.\n')
        h.run('call', 'm1', 'append_log', '1', 'x', '--anonymous', '--confirmed', 'true').expect(0, '', '')
        # sql
        h.run('sql', 'm1', 'SELEC').expect(1, '', like('Error: sql parser error.*\n\nCaused by:\n    HTTP status client error \\(400 Bad Request\\).*'))
        rows = json.loads(h.run('sql', 'm1', '--format', 'json', '--confirmed=false', 'SELECT age FROM person WHERE id = 1').expect(0, err='').out)
        assert rows[0]['rows'] == [[30]], rows
        r = h.run('sql', 'm1', '--interactive', stdin='SELECT age FROM person WHERE id = 1\nSELEC\n\n.exit\n')
        assert r.code == 0 and re.fullmatch(r'🪐m1>  age \n-----\n 30  \n\(1 row\) \[server: \d+\.\d\dms\]\nRoundtrip time: \d+\.\d\dms\n🪐m1> 🪐m1> 🪐m1> ', r.out) and r.err.startswith('Error: sql parser error'), (r.out, r.err)
        # logs
        h.run('call', 'm1', 'log_something', 'hello log').expect(0, '', '')
        r = h.run('logs', 'm1').expect(0, err='')
        assert not r.unstable
        assert all(re.match(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z (TRACE|DEBUG| INFO| WARN|ERROR|PANIC): ', line) for line in r.out.splitlines() if re.match(r'\d{4}-', line)) and ' INFO: Database initialized\n' in r.out and 'hello log' in r.out, r.out
        last = like(r'[^\n]* TRACE: log_something src/lib\.rs:\d+: hello log\n')
        for n in ['-n', '1'], ['--num-lines=1'], ['-n0']: h.run('logs', 'm1', *n).expect(0, last) # without --follow 0 counts as 1
        levels = [json.loads(line)['level'].lower() for line in h.run('logs', 'm1', '--format=json').expect(0).out.splitlines()]
        assert 'info' in levels and 'error' in levels, levels
        errors = [json.loads(line)['level'].lower() for line in h.run('logs', 'm1', '--format=json', '-l', 'error').expect(0).out.splitlines()]
        assert errors == [x for x in levels if x in ('error', 'panic')], (errors, levels)
        assert h.run('logs', 'm1', '-l', 'info', '--level-exact').expect(0).out.count(' INFO: ') == levels.count('info')
        h.run('logs', 'nope').expect(1, '', 'Error: failed to find database `nope`.\n')
        with Home(s) as stranger: stranger.run('logs', 'm1').expect(1, '', like('.*Error: [0-9a-f]{64} is not authorized to perform action on database [0-9a-f]{64}: view module logs\n.*'))
        follow = subprocess.Popen([BINARY, 'logs', 'm1', '-f', '-n', '1'], stdout=subprocess.PIPE, text=True, env=dict(os.environ, HOME=h.dir, XDG_CONFIG_HOME=h.dir + '/.config'))
        first = follow.stdout.readline()
        h.run('call', 'm1', 'log_something', 'a later line').expect(0)
        while 'a later line' not in follow.stdout.readline(): pass
        assert first and follow.poll() is None
        follow.kill()
        follow.communicate()
        # describe
        assert 'Reducers\n' in h.run('describe', 'm1').expect(0).out
        assert 'sections' in json.loads(h.run('describe', 'm1', '--json').expect(0).out)
        h.run('describe', 'm1', 'reducer', 'nope').expect(1, '', like('Error: no such reducer.*'))
        # names, locks, deletion
        h.run('lock', 'm1').expect(0, f'Database {identity} is now locked. It cannot be deleted until unlocked.\n', '')
        h.run('delete', 'm1', '-y').expect(1, like('.*'), like('Error: Database is locked and cannot be deleted.*'))
        h.run('unlock', 'm1').expect(0, f'Database {identity} is now unlocked.\n', '')
        h.run('rename', '--to', 'm2', identity).expect(0, f'Name set to m2 for identity {identity}.\n', '')
        h.run('sql', 'm1', 'SELECT * FROM person').expect(1, '', 'Error: failed to find database `m1`.\n')
        for answer in '', 'n\n', 'maybe\n': h.run('delete', 'm2', stdin=answer).expect(0, 'Are you sure you want to delete database m2? This action cannot be undone. [y/N] Aborting\n', '')
        # deleting the data: asked, refused, done; a changed table is a conflict
        destroy = 'This will DESTROY the current m2 module, and ALL corresponding data.\nAre you sure you want to proceed? [deleting m2] [y/N] '
        h.run('publish', 'm2', '-b', wasm, '-c', stdin='n\n').expect(0, like(f'.*{re.escape(destroy)}Aborted\\.\n'), '')
        assert h.run('sql', 'm2', 'SELECT id FROM person').out.count('\n') == 5
        chat = module('chat')
        h.run('publish', 'm2', '-b', chat, '-y').expect(1, like('.*'), like('Error: Failed to create or update the database: Cannot remove table `counter`: table contains data[.].*'))
        h.run('publish', 'm2', '-b', chat, '--delete-data', stdin='y\n').expect(0, like(f'.*{re.escape(destroy)}Publishing module\\.\\.\\.\nUpdated database with name: m2, identity: {identity}\n'), '')
        h.run('call', 'm2', 'set_name', 'Ada').expect(0, '', '')
        h.run('publish', 'm2', '-b', chat, '-y', '--clear-database').expect(0)
        assert '"Ada"' not in h.run('sql', 'm2', 'SELECT * FROM user').expect(0).out
        # another user's database
        with Home(s) as stranger: stranger.run('publish', 'm2', '-b', wasm, '-y').expect(1, like('.*'), like('.*Error: .* is not authorized to perform action on database .*'))
        h.run('delete', 'm2', stdin='y\n').expect(0)
        h.run('list').expect(0, f'No databases found for {me}.\n', '')
        garbage = h.write('garbage.wasm', 'this is no module')
        h.run('publish', 'm3', '-b', garbage).expect(1, like('.*Publishing module\\.\\.\\.\n'), like('Error: .*'))
        h.run('list').expect(0, f'No databases found for {me}.\n', '')


def identity_and_servers():
    with Server() as s, Server() as other, Home() as h:
        host = f'127.0.0.1:{s.port}'
        r = h.run('server', 'list').expect(0, ' DEFAULT  HOSTNAME                   PROTOCOL  NICKNAME  \n          maincloud.spacetimedb.com  https     maincloud \n ***      127.0.0.1:3000             http      local     \n')
        assert r.unstable and r.saved and r.err == '', r.err
        key = s.http('GET', '/v1/identity/public-key')[1]
        r = h.run('server', 'add', '--url', s.url, 'mine', '-d').expect(0, f'For server mine, got fingerprint:\n{key}\nHost: {host}\nProtocol: http\n')
        h.run('server', 'add', '--url', s.url, 'mine').expect(1, '', 'Error: Server nickname mine is already in use\n')
        h.run('server', 'add', '--url', 'ftp://x', 'x').expect(1, '', like('Error: Invalid url: ftp://x.*'))
        h.run('server', 'fingerprint', 'mine').expect(0, f'Fingerprint is unchanged for server mine:\n{key}\n')
        h.run('server', 'ping', 'mine').expect(0, f'Server is online: {s.url}\n')
        h.run('server', 'ping', 'http://127.0.0.1:1').expect(0, like(r'Server could not be reached \(.*\): http://127\.0\.0\.1:1\n'))
        h.run('server', 'edit', 'mine', '--new-name', 'ours').expect(0, f'Nickname: ours\nHost: {host}\nProtocol: http\n')
        assert f' ***      {host}' in h.run('server', 'list').out, 'the default follows its new name'
        h.run('list').expect(0, like('No databases found for [0-9a-f]{64}\\.\n'))
        first = h.run('login', 'show').out
        h.run('list', '-s', host).expect(0, err='')
        # a server with other keys does not know the saved identity: a new one, the old one kept
        r = h.run('list', '-s', other.url).expect(0)
        assert r.err.startswith(f'The saved identity was issued by another server; getting one from {other.url}'), r.err
        assert 'previous_spacetimedb_token = ' in h.read('.config/spacetime/cli.toml') and h.run('login', 'show').out != first
        h.run('server', 'set-default', 'nope').expect(1, '', like('Error: No such saved server configuration: nope\n.*'))
        h.run('sql', 'x', 'y', '-s', 'nope').expect(1, '', like('Error: No such saved server configuration: nope\n.*'))
        h.run('sql', 'x', 'y', '-s', 'ftp://x').expect(1, '', 'Error: Invalid protocol in server URL: ftp://x. Use http or https.\n')
        h.run('sql', 'x', 'y', '-s', 'http://127.0.0.1:1').expect(1, '', like(r'Error: error sending request for url \(http://127\.0\.0\.1:1/.*\)\n\nCaused by:\n    .*'))
        h.run('server', 'remove', 'ours').expect(0)
        h.run('list').expect(1, '', like('Error: No default server configuration\\.\n.*'))
        r = h.run('login', '--server-issued-login', s.url).expect(0, like('Logged in with identity [0-9a-f]{64}\n'))
        h.run('logout').expect(0, f'Logged out (identity {r.out.split()[-1]}).\n')
        h.run('logout').expect(0, 'You are not logged in.\n', '')
        h.run('login', 'show').expect(0, 'You are not logged in. Run `spacetime login` to log in.\n', '')
        h.run('login', '--token', 'opaque').expect(0, 'Token saved.\n')
        h.run('login', '--token', 'with blank').expect(1, '', 'Error: a token holds no blanks and no control characters\n')
        h.run('server', 'clear', stdin='y\n').expect(0, 'Local database not found. Nothing has been deleted.\n')
        h.write('.local/spacetime/data/x/y', '')
        h.run('server', 'clear', '-y').expect(0, like(f'.*Deleted database: {h.dir}/.local/spacetime/data\n'))
        assert not os.path.exists(h.dir + '/.local/spacetime/data')
        # --root-dir and --config-path
        h.run('--root-dir', h.dir + '/root', 'server', 'list').expect(0, err=f'Saving config to {h.dir}/root/config/cli.toml.\n{UNSTABLE}')
        h.run('server', 'list', f'--config-path={h.dir}/mine.toml').expect(0, err=f'Saving config to {h.dir}/mine.toml.\n{UNSTABLE}')
        damaged = h.write('damaged.toml', '\x00\xff')
        assert h.run('list', f'--config-path={damaged}').code in (0, 1)


def web_login():
    asked = []
    class Host(http.server.BaseHTTPRequestHandler):
        def answer(self):
            asked.append((self.command, self.path, self.headers.get('authorization')))
            data = {'/api/auth/cli/login/request-token': {'token': 'r&1'}, '/api/spacetimedb-token': {'token': 'opaque-token'}}.get(self.path)
            if self.path.startswith('/api/auth/cli/status'): data = {'approved': len(asked) > 2, 'sessionToken': 'session'}
            body = json.dumps({'success': True, 'data': data}).encode()
            self.send_response(200)
            self.send_header('content-length', str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        do_GET = do_POST = answer
        def log_message(self, *_): pass
    server = http.server.HTTPServer(('127.0.0.1', 0), Host)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f'http://127.0.0.1:{server.server_port}'
    with Home() as h:
        h.run('login', '--auth-host', url, '--no-browser').expect(0, f'Opening {url}/login/cli?token=r%261 in your browser.\nWaiting to hear response from the server...\nToken saved.\n')
        assert asked == [('POST', '/api/auth/cli/login/request-token', None), ('GET', '/api/auth/cli/status?token=r%261', None), ('GET', '/api/auth/cli/status?token=r%261', None), ('POST', '/api/spacetimedb-token', 'Bearer session')], asked
        config = h.read('.config/spacetime/cli.toml')
        assert 'spacetimedb_token = "opaque-token"' in config and 'web_session_token = "session"' in config
    server.shutdown()


def publish_dialogue():
    """The questions of publish (spec/04 §7.3 step 5), asked by a stand-in for the server that gives one answer to pre_publish."""
    answer, asked = {}, []
    class Stub(http.server.BaseHTTPRequestHandler):
        def do(self):
            self.rfile.read(int(self.headers.get('content-length') or 0))
            asked.append((self.command, self.path))
            status, body = 200, ''
            if self.path == '/v1/identity': body = json.dumps({'identity': '00' * 32, 'token': 'a.b.c'})
            elif '/pre_publish' in self.path: status, body = answer['status'], answer['body']
            elif self.command == 'PUT': body = json.dumps({'Success': {'domain': 'd', 'database_identity': 'ab' * 32, 'op': 'updated'}})
            self.send_response(status)
            self.send_header('content-length', str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())
        do_GET = do_POST = do_PUT = do
        def log_message(self, *_): pass
    server = http.server.HTTPServer(('127.0.0.1', 0), Stub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f'http://127.0.0.1:{server.server_port}'
    check, done = 'Checking for breaking changes...\n', f'Publishing module...\nUpdated database with name: d, identity: {"ab" * 32}\n'
    breaks = 'The above changes will BREAK existing clients. Do you want to proceed? [y/N] '
    destroy = 'This will DESTROY the current d module, and ALL corresponding data.\nAre you sure you want to proceed? [deleting d] [y/N] '
    auto = lambda **more: {'AutoMigrate': {'migrate_plan': 'THE PLAN', 'break_clients': False, 'token': 't/1', 'major_version_upgrade': False, **more}}
    manual = {'ManualMigrate': {'reason': 'THE REASON', 'major_version_upgrade': False}}
    token, skip = '&token=t%2F1&policy=BreakClients', '\nSkipping confirmation due to --yes\n'
    refused = 'Error: Aborting because publishing would require manual migration or deletion of data and --delete-data was not specified.\n'
    upgrade = re.compile(r'.*major version upgrade from 1\.0 to 2\.0.*Please type \'upgrade\' to accept this change: .*', re.S)
    cases = [ # answer to pre_publish, options, input, exit code, stdout after the check, stderr, parameters of the PUT (None: none was sent)
        (auto(), [], '', 0, 'THE PLAN\n' + done, '', token),
        (auto(break_clients=True), [], 'y\n', 0, 'THE PLAN\n' + breaks + done, '', token),
        (auto(break_clients=True), [], 'n\n', 1, 'THE PLAN\n' + breaks, 'Error: Publishing aborted by user\n', None),
        (auto(break_clients=True), ['--break-clients'], '', 0, 'THE PLAN\n' + done, '', token),
        (auto(break_clients=True), ['-y'], '', 0, 'THE PLAN\n' + breaks + skip + done, '', token),
        (auto(break_clients=True), ['--yes=remote,break-clients'], '', 0, 'THE PLAN\n' + breaks + skip + done, '', token),
        (auto(break_clients=True), ['--yes=remote'], '', 1, 'THE PLAN\n' + breaks, 'Error: Publishing aborted by user\n', None),
        (auto(major_version_upgrade=True), [], 'upgrade\n', 0, upgrade, '', token),
        (auto(major_version_upgrade=True), [], 'yes\n', 1, upgrade, 'Error: Publishing aborted by user\n', None),
        (manual, ['-y'], '', 1, 'THE REASON\n', refused, None),
        (manual, ['-y', '--delete-data=never'], '', 1, 'THE REASON\n', refused, None),
        (manual, ['--delete-data=on-conflict'], 'y\n', 0, 'THE REASON\n' + destroy + done, '', '&clear=true'),
        (manual, ['--delete-data=on-conflict'], '', 0, 'THE REASON\n' + destroy + 'Aborted.\n', '', None),
        ((404, 'no such database'), [], '', 0, done, '', ''),
        ((400, 'not good'), [], '', 1, '', 'Error: Pre-publish check failed with status 400 Bad Request: not good\n', None),
    ]
    with Home() as h:
        wasm = h.write('m.wasm', 'whatever')
        for reply, options, typed, code, out, err, params in cases:
            answer['status'], answer['body'] = reply if isinstance(reply, tuple) else (200, json.dumps(reply))
            asked.clear()
            r = h.run('publish', 'd', '-s', url, '-b', wasm, *options, stdin=typed)
            start = f'(WASM) Skipping build. Instead we are publishing {wasm}\nUploading to {url} => {url}\n{check}'
            assert r.out.startswith(start), (r.out, r.err)
            r.out = r.out[len(start):]
            r.err = r.err.replace('We have logged in directly to your target server.\nWARNING: This login will NOT work for any other servers.\n', '').replace(f'Saving config to {h.dir}/.config/spacetime/cli.toml.\n', '')
            r.expect(code, out, err)
            assert [path for method, path in asked if method == 'PUT'] == ([] if params is None else ['/v1/database/d?host_type=Wasm' + params]), (options, asked)
        # a server that is not this machine is asked about first
        for typed in 'n\n', '': h.run('publish', 'd', '-s', url.replace('127.0.0.1', '127.0.0.2'), '-b', wasm, stdin=typed).expect(1, like('.*You are about to publish to a non-local server: 127\\.0\\.0\\.2:.*\nAre you sure you want to proceed\\? \\[y/N\\] '), 'Error: Publish aborted by user.\n')
    server.shutdown()


def project_and_build():
    """spacetime.json, and `build` with a stand-in for cargo: the product is the first file of the last artifact."""
    with Server() as s, Home(s) as h:
        os.makedirs(h.dir + '/bin')
        product = h.dir + '/product.wasm'
        shutil.copy(module('chat'), product)
        cargo = h.write('bin/cargo', '#!/bin/sh\necho "$@" >>' + h.dir + '/cargo.log\n[ ! -e fails ] || exit 3\necho \'{"reason":"compiler-artifact","filenames":["/nope"]}\'\necho \'{"reason":"compiler-artifact","filenames":["' + product + '"]}\'\n')
        os.chmod(cargo, 0o755)
        path = {'PATH': h.dir + '/bin:/usr/bin:/bin'}
        h.write('game/spacetimedb/Cargo.toml', '[package]\n')
        h.write('game/spacetime.json', '{ // comment\n "database": "game", "module-path": "spacetimedb", "server": "local",\n}\n')
        game = h.dir + '/game'
        assert 'Build finished successfully.\n' in h.run('build', cwd=game, env=path).expect(0).out
        assert h.read('cargo.log') == 'build --config=net.git-fetch-with-cli=true --target=wasm32-unknown-unknown --message-format=json-render-diagnostics --release\n', h.read('cargo.log')
        r = h.run('publish', cwd=game, env=path).expect(0)
        assert r.out.startswith(f"Using configuration from {game}/spacetime.json\nPublishing module {game}/spacetimedb to database 'game'\n") and 'Created new database with name: game, identity: ' in r.out, r.out
        # the configured database may be left out, and another may be named
        h.run('call', 'set_name', 'Ada', cwd=game).expect(0, '', '')
        assert '"Ada"' in h.run('sql', 'SELECT * FROM user', cwd=game).expect(0).out
        assert h.run('logs', '-n', '1', cwd=game).expect(0).out
        h.run('publish', 'elsewhere', cwd=game, env=path).expect(1, err=like('.*No matching target found in spacetime\\.json for the provided arguments\\. Use --no-config to ignore the config file\\.\n'))
        h.write('game/spacetime.local.json', '{"database": ')
        h.run('publish', cwd=game, env=path).expect(1, err=like('Error: Failed to load spacetime\\.json\n.*'))
        os.remove(game + '/spacetime.local.json')
        h.write('game/spacetimedb/fails', '')
        r = h.run('build', '-p', 'spacetimedb', cwd=game, env=path).expect(1)
        assert r.err.startswith('Error: command ["cargo", "build"') and r.err.endswith('exited with code 3\n'), r.err
        h.run('build', '-p', h.dir + '/nothing').expect(1, err=f'Error: project path {h.dir}/nothing does not exist.\n')
        os.makedirs(h.dir + '/empty')
        h.run('build', '-p', h.dir + '/empty').expect(1, err=f'Error: Could not find a module in {h.dir}/empty: no Cargo.toml, *.csproj, package.json or CMakeLists.txt\n')


def typescript_projects():
    """`build` and `publish` of a project with a package.json: types are checked, newer syntax is lowered, places in the log are the source's."""
    lock = b''.join(open(f'{TOP}/tests/modules/typescript/{name}', 'rb').read() for name in ('package.json', 'package-lock.json'))
    packages = f"{os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')}/lightcone/npm/{hashlib.sha256(lock).hexdigest()[:24]}/node_modules"
    source = """import { schema, table, t, SenderError } from 'spacetimedb/server';
const note = table({ name: 'note', public: true }, { id: t.u32().primaryKey().autoInc(), text: t.string() });
const spacetimedb = schema({ note });
export default spacetimedb;
class Lock { [Symbol.dispose]() { closed++; } }
let closed = 0;
export const add = spacetimedb.reducer({ text: t.string() }, (ctx, { text }) => {
  { using lock = new Lock(); if (!lock) return; }
  if (!closed) throw new SenderError('never closed');
  if (!text) throw new Error('an empty note');
  ctx.db.note.insert({ id: 0, text });
});
"""
    with Server() as s, Home(s) as h:
        h.write('p/package.json', '{"name": "p", "private": true, "type": "module", "dependencies": {"spacetimedb": "2.10.1"}}')
        h.write('p/tsconfig.json', '{"compilerOptions": {"strict": true, "module": "esnext", "moduleResolution": "bundler", "target": "esnext", "lib": ["esnext"], "skipLibCheck": true, "noEmit": true}, "include": ["src"]}')
        h.write('p/src/index.ts', source)
        project, env = h.dir + '/p', {'XDG_CACHE_HOME': h.dir + '/cache'}
        h.run('build', '-p', project, env=env).expect(1, err=f"Error: no TypeScript compiler in {project}/node_modules: install the project's packages (`npm install`)\n")
        os.symlink(packages, project + '/node_modules')
        r = h.run('publish', 'notes', '-p', project, env=env).expect(0)
        assert 'Build finished successfully.\n' in r.out and 'Created new database with name: notes' in r.out and 'wasm-opt' not in r.err, (r.out, r.err)
        assert 'using lock' not in open(project + '/dist/bundle.js').read().split('//# sourceMappingURL')[0]
        h.run('call', 'notes', 'add', 'first').expect(0, '', '')
        assert '"first"' in h.run('sql', 'notes', 'SELECT * FROM note').expect(0).out
        assert h.run('call', 'notes', 'add', '').code == 1
        line = 1 + source.split('\n').index("  if (!text) throw new Error('an empty note');")
        r = h.run('logs', 'notes', '-n', '1').expect(0)
        assert 'Uncaught Error: an empty note' in r.out and f'src/index.ts:{line}' in r.out, r.out
        # wrong types, a project that is no module, an update, the bundler of the user's cache
        h.write('p/src/index.ts', source.replace("id: 0, text }", "id: 'zero', text }"))
        r = h.run('publish', 'notes', '-p', project, env=env).expect(2)
        assert "src/index.ts(11," in r.out and not r.err, (r.out, r.err)
        h.write('p/src/index.ts', 'export const x: number = 1;\n')
        h.run('build', '-p', project, env=env).expect(1, err='Error: the bundle is no module: src/index.ts imports nothing of `spacetimedb/server`\n')
        h.write('p/src/index.ts', source + "export const drop = spacetimedb.reducer(ctx => { for (const n of ctx.db.note.iter()) ctx.db.note.id.delete(n.id); });\n")
        os.remove(project + '/node_modules')
        os.makedirs(project + '/node_modules/.bin')
        for name in os.listdir(packages):
            if 'esbuild' not in name and name != '.bin': os.symlink(f'{packages}/{name}', f'{project}/node_modules/{name}')
        os.symlink(f'{packages}/.bin/tsc', project + '/node_modules/.bin/tsc')
        npm = h.write('bin/npm', f'#!/bin/sh\necho "$@" >>{h.dir}/npm.log\n[ ! -e {h.dir}/offline ] || exit 9\nln -s {packages} "$3/node_modules"\n')
        os.chmod(npm, 0o755)
        env['PATH'] = h.dir + '/bin:' + os.environ['PATH']
        h.write('offline', '')
        h.run('build', '-p', project, env=env).expect(1, err='Error: npm could not install esbuild 0.25.12 (exit code 9); a project with esbuild among its own packages needs none\n')
        os.remove(h.dir + '/offline')
        assert 'Updated database with name: notes' in h.run('publish', 'notes', '-p', project, '-y', env=env).expect(0).out
        h.run('call', 'notes', 'drop').expect(0, '', '')
        assert h.read('npm.log').count('\n') == 2 and h.read('npm.log').endswith('esbuild@0.25.12\n')
        assert 'Installing' not in h.run('build', '-p', project, env=env).expect(0).out and h.read('npm.log').count('\n') == 2


def make_run():
    """scripts/run.sh, that `make run` ends with: publishes into an empty folder once, keeps what is there, leaves another's port alone."""
    def start(h, listen):
        env = dict(os.environ, HOME=h.dir, XDG_CONFIG_HOME=h.dir + '/.config', DATA=h.dir + '/data', LISTEN=listen, BINARY=BINARY)
        return subprocess.Popen(['scripts/run.sh'], cwd=TOP, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)) # also where the tests run in the background
    def until(p, text):
        out = []
        for line in p.stdout:
            out.append(line)
            if text in line: return ''.join(out)
        raise Exception(f'run.sh ended with {p.wait()}: ' + ''.join(out))
    with Home() as h:
        for round_ in 1, 2:
            p = start(h, '127.0.0.1:0')
            out = until(p, 'Ctrl-C stops the server')
            assert ('Created new database with name: chat' in out) == (round_ == 1), out
            typed = [shlex.split(line) for line in out.splitlines() if line.startswith(f'  {BINARY} ')]
            assert [c[1] for c in typed] == ['call', 'call', 'sql', 'logs'], out
            for c in typed: r = h.run(*c[1:]).expect(0)
            assert h.run(*typed[2][1:]).out.count('"Hello, world"') == round_
            p.send_signal(signal.SIGINT)
            rest = p.communicate(timeout=60)[0]
            assert p.returncode == 0 and not os.path.exists(h.dir + '/data/spacetime.pid'), (p.returncode, rest)
    with socket.socket() as taken, Home() as h:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        p = start(h, '127.0.0.1:%d' % taken.getsockname()[1])
        out = p.communicate(timeout=60)[0]
        assert p.returncode == 1 and 'is already in use' in out and 'Publishing' not in out, (p.returncode, out)


def readme():
    """The commands of README.md, word for word but for the port, the folders and the name of the binary under test."""
    text = open(TOP + '/README.md').read()
    blocks = {}
    section = None
    for line in text.splitlines():
        if line.startswith('## '): section = line[3:]
        elif line.startswith('    '): blocks.setdefault(section, []).append(line.strip())
    assert blocks['Try it'][:3] == ['git clone <this repository> lightcone', 'cd lightcone', 'make run'], blocks['Try it']
    with Server() as s, Home(s) as h:
        h.run('publish', 'chat', '--bin-path', 'build/modules/chat.wasm', '--yes', cwd=TOP).expect(0) # what `make run` does, tested above
        def shell(line): # the default server of this home stands for 127.0.0.1:3000
            line = line.replace('127.0.0.1:3000', f'127.0.0.1:{s.port}').replace('build/lightcone', shlex.quote(BINARY)).replace('build/modules/chat.wasm', h.dir + '/chat.wasm')
            p = subprocess.run(['bash', '-c', line], cwd=TOP, capture_output=True, text=True, timeout=600, env=dict(os.environ, HOME=h.dir, XDG_CONFIG_HOME=h.dir + '/.config', XDG_CACHE_HOME=os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')))
            if p.returncode: raise Exception(f'{line}: exit {p.returncode}\n{p.stdout}{p.stderr}')
            return p.stdout
        tried = [shell(line) for line in blocks['Try it'][3:]]
        assert len(tried) == 4 and '"Hello, world"' in tried[2] and ' INFO' in tried[3], tried
        tried = [shell(line) for line in blocks['Publish a module of your own']]
        assert 'Created new database with name: my-chat' in tried[-1], tried
        tried = [shell(line) for line in blocks['Connect a client']]
        assert 'Hello, world' in tried[0], tried
        s.kill()
        s.start()
        assert 'Hello, world' in shell('build/lightcone sql chat "SELECT * FROM message"'), 'kill -9 it: they are still there too'
        command, = blocks['Run a server']
        args = shlex.split(command)
        assert args[:2] == ['build/lightcone', 'start'], args
        args = [a.replace('0.0.0.0:3000', '0.0.0.0:0').replace('/var/lib/lightcone', h.dir + '/var') for a in args[1:]]
        p = subprocess.Popen([BINARY, *args], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert any('listening on' in line for line in p.stdout)
        p.terminate()
        assert p.wait(60) == 0 and os.path.exists(h.dir + '/var/id_ecdsa') and os.path.exists(h.dir + '/var/id_ecdsa.pub')
    for target in set(re.findall(r'`make (\w+)`', text)): assert re.search(rf'^{target}:', open(TOP + '/Makefile').read(), re.M), f'README names `make {target}`'
    for path in set(re.findall(r'\]\(([\w./-]+)\)', text)): assert os.path.exists(os.path.join(TOP, path)), f'README names {path}'


if __name__ == '__main__': main([help_and_usage, start_and_stop, publish_call_sql_logs, identity_and_servers, web_login, publish_dialogue, project_and_build, typescript_projects, make_run, readme])
