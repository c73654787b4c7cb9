"""Options of the server: config.toml of the data folder (spec/04 §6.2), its errors by line, which source counts, `start --help` and docs/reference/options.md."""
import json, os, re, subprocess, sys, tempfile, time
from lightcone import BINARY, TOP, Server, main
sys.path.insert(0, os.path.join(TOP, 'tests', 'modules'))
import wat
from wat import At, Script, small, text, u32
from abi import Player, accepted

OPTIONS = [tuple(c.strip().replace('`', '') for c in l.split('|')[1:-1]) for l in open(os.path.join(TOP, 'docs', 'reference', 'options.md')) if re.match(r'\| (`--|\| `\[)', l)]

# the keys that spec/04 §6.2 names, with values as the reference's file may have them
REFERENCE = '''
[certificate-authority]
# jwt-priv-key-path = "/x"

[logs]
level = "error"
directives = [
    "spacetimedb=debug", # the engine
    "client_api=debug",
    'spacetimedb_lib=debug', "standalone=debug",
    "commitlog=info",
    "lightcone=info",
]

[module-http]
enabled = true

[wasm]
procedure-instance-pool-size = 4
[v8]
procedure-instance-pool-size = 4

[v8-heap-policy]
heap-check-request-interval = 65_536
heap-check-time-interval = "5s"
heap-gc-trigger-fraction = 0.67
heap-retire-fraction = 0.75
heap-limit-mb = 0

[commitlog]
log-format-version = 1
max-segment-size = 1_073_741_824
offset-interval-bytes = 4096
offset-index-require-fsync = true
preallocate-segments = false
write-buffer-size = 131072
[websocket]
ping-interval = "15s"
idle-timeout = 30
close-handshake-timeout = "250ms"
incoming-queue-length = 16384
'''


def start_fails(config, *options):
    """Exit code and standard error of a start that must not succeed."""
    with tempfile.TemporaryDirectory(prefix='lightcone-options-') as home:
        os.mkdir(home + '/data')
        with open(home + '/data/config.toml', 'wb') as f: f.write(config if isinstance(config, bytes) else config.encode())
        p = subprocess.run([BINARY, 'start', '--listen-addr', '127.0.0.1:0', '--data-dir', home + '/data', *options], capture_output=True, text=True, timeout=30, env=dict(os.environ, HOME=home, XDG_CONFIG_HOME=home, ASAN_OPTIONS='detect_leaks=0'))
        assert p.returncode and 'listening' not in p.stdout, (config, p)
        return p.returncode, re.sub('^Saving config to .*\n', '', p.stderr).replace(home, 'HOME')


def with_config(config, options=()):
    data = tempfile.mkdtemp(prefix='lightcone-options-')
    with open(data + '/config.toml', 'w') as f: f.write(config)
    return Server(data=data, options=options)


def the_default_file():
    with Server() as s:
        path = os.path.join(s.data, 'config.toml')
        content = open(path).read()
        shown = {}
        for l in content.splitlines():
            if m := re.fullmatch(r'\[(.*)\]', l): section = m.group(1)
            if m := re.fullmatch(r'# ([a-z0-9-]+) = (.*)', l): shown[section, m.group(1)] = m.group(2).strip('"[]')
        documented = {re.fullmatch(r'\[(.*)\] (.*)', o[1]).groups(): o[3] for o in OPTIONS if o[1] and not o[4].startswith('Without effect')}
        assert shown == documented, set(shown.items()) ^ set(documented.items())
        s.stop()
        s.start()
        assert open(path).read() == content # left as it is
        s.stop() # every key with its default is accepted, and changes nothing that matters here
        everything = re.sub(r'^# ([a-z0-9-]+ = )', r'\1', content, flags=re.M).replace('"DATA_DIR', f'"{s.data}').replace('0.0.0.0:3000', f'127.0.0.1:{s.port}')
        with open(path, 'w') as f: f.write(everything)
        s.start()
        s.check_alive()
    with with_config(REFERENCE) as s: s.check_alive()


def errors_have_lines():
    file = 'Error: HOME/data/config.toml: '
    for config, want in (('[limits]\n\ntime-budget-ms = "x"\n', 'line 3: [limits] time-budget-ms: a number is expected, not `x`'), ('[limits]\ntime-budgets = 1\n', 'line 2: there is no `time-budgets` in [limits]'),
                         ('[limit]\ntime-budget-ms = 1\n', 'line 2: there is no section [limit]'), ('time-budget-ms = 1\n', 'line 1: `time-budget-ms` is in no section'), ('[limits\n', 'line 1: `[section]` is expected'),
                         ('[limits] x\n', 'line 1: `[section]` is expected'), ('# a\n[limits]\ntime-budget-ms\n', 'line 3: `key = value` is expected'), ('[limits]\ntime-budget-ms = 1 2\n', 'line 2: time-budget-ms: a string, a number, true, false or a list of them is expected'),
                         ('[limits]\ntime-budget-ms = 1\n# b\ntime-budget-ms = 2\n', 'line 4: [limits] time-budget-ms: it is there twice'), ('[server]\nin-memory = "yes"\n', 'line 2: [server] in-memory: true or false is expected, not `yes`'),
                         ('[server]\nlisten-addr = 3000\n', 'line 2: [server] listen-addr: a text is expected, not `3000`'), ('[server]\nlisten-addr = "x\n', 'line 2: listen-addr: a string, a number, true, false or a list of them is expected'),
                         ('[commitlog]\nretain = [\n "needed",\n\n "some",\n]\n[limits]\nx = 1\n', 'line 8: there is no `x` in [limits]'), ('[commitlog]\nmax-segment-size = "1XB"\n', 'line 2: [commitlog] max-segment-size: a number of bytes, or one with KiB, MiB, GiB is expected, not `1XB`'),
                         ('[commitlog]\nmax-segment-size = "99999999999GiB"\n', 'line 2: [commitlog] max-segment-size: a number of bytes, or one with KiB, MiB, GiB is expected, not `99999999999GiB`'),
                         ('[websocket]\nping-interval = "fast"\n', 'line 2: [websocket] ping-interval: seconds, or a time like 250ms, 15s, 2m, 1h is expected, not `fast`'), ('[v8-heap-policy]\nheap-retire-fraction = 2.5\n', 'line 2: [v8-heap-policy] heap-retire-fraction: a fraction is expected, not `2.5`'),
                         ('[logs]\ndirectives = [["a"]]\n', 'line 2: directives: a string, a number, true, false or a list of them is expected')):
        assert start_fails(config) == (1, f'{file}{want}\n'), (config, start_fails(config))
    # what only its use shows to be wrong
    for config, want in (('[commitlog]\nretain = ["some"]\n', 'line 2: [commitlog] retain: needed or all, or NAME=needed|all,... is expected, not `some`'), ('[limits]\ndatabases = "x"\n', 'line 2: [limits] databases: NAME=MS[/MIB[/MIB]],... is expected, not `x`'),
                         ('[server]\n\nnetwork-threads = 300\n', 'line 3: [server] network-threads: a number from 0 to 256 is expected, not `300`'), ('[logs]\nlevel = "loud"\n', 'line 2: [logs] level: error, warn, info, debug or trace is expected, not `loud`'),
                         ('[logs]\ndirectives = ["x"]\n', 'line 2: [logs] directives: target=level is expected, not `x`'), ('[certificate-authority]\njwt-pub-key-path = "/x"\n', 'line 2: [certificate-authority] jwt-pub-key-path: jwt-priv-key-path must be there, too'),
                         ('[websocket]\nidle-timeout = 0\n', 'line 2: [websocket] idle-timeout: a number from 1 to 2147483647 is expected, not `0`')):
        assert start_fails(config) == (1, file.removesuffix(': ') + ': ' + want + '\n'), (config, start_fails(config))
    assert start_fails(b'[limits]\n\0')[1] == 'Error: HOME/data/config.toml is not text\n'
    for options, want in ((['--time-budget-ms', 'x'], "invalid value 'x' for '--time-budget-ms <VALUE>': a number is expected"), (['--network-threads=257'], "invalid value '257' for '--network-threads <VALUE>': a number from 0 to 256 is expected"),
                          (['--retain', 'some'], "invalid value 'some' for '--retain <VALUE>': needed or all, or NAME=needed|all,... is expected")):
        code, err = start_fails('[limits]\ntime-budget-ms = 1\n', *options)
        assert code == 2 and want in err, err


def what_counts():
    """The command line before the file, the file before the default; and values arrive."""
    with with_config('[limits]\ntime-budget-ms = 300\n[module-http]\nenabled = false\n[server]\nin-memory = true\n') as s:
        token = s.identity()['token']
        loop = small(wat.definition([], reducers=[('r', [])]), '(loop $f (br $f)) (i32.const 0)')
        def takes():
            accepted(s, token, 'loop', loop)
            start = time.monotonic()
            assert s.call('loop', 'r', token=token)[0] == 402
            return time.monotonic() - start
        assert 0.25 < takes() < 1.5
        assert not os.path.exists(s.data + '/replicas')
        p = Player(s, token)
        script = Script()
        out, length = script.place(u32(0, 0)), script.place(u32(100))
        request = b'\0' + u32(0) + b'\1' + text('http://127.0.0.1:1/') + b'\2'
        script.procedure_http_request(*script.slice(request), *script.slice(b''), out).bytes_source_read(At(out), wat.BUFFER, length).out(wat.BUFFER, At(length))
        got = p.play(script, 'procedure')
        assert got[0] == 21 and b'disabled' in got[2], got
        s.stop()
        s.options = ['--time-budget-ms', '2000']
        s.start()
        assert 1.9 < takes() < 6


def help_is_complete():
    """Everything that the table offers is in the help, with its default; nothing else is but `--help`."""
    shown = subprocess.run([BINARY, 'start', '--help'], capture_output=True, text=True).stdout
    names = set(re.findall(r'^  (?:-\w,|   ) --([\w-]+)', shown, re.M))
    assert names - {'help'} == {re.match(r'--([\w-]+)', o[0]).group(1) for o in OPTIONS if o[0]}, names
    for o in OPTIONS:
        if o[0] and o[3] and o[2] != 'true or false': assert re.search(rf'--{re.match("--([a-z0-9-]+)", o[0]).group(1)} .*\(default {re.escape(o[3])}\)$', shown, re.M), o


if __name__ == '__main__': main([the_default_file, errors_have_lines, what_counts, help_is_complete])
