"""Environment values (spec/07 §7, §19 cases 32 to 39), with a module of the official library: published by headers and routes, validated whole, read by init, reducers,
procedures and views, changed without disturbing anybody.
"""
import glob, json, os, sys
from lightcone import Server, main, module
from websocket import V3, opened, subscribe


PROGRAM = open(module('environment'), 'rb').read()
OTHER = PROGRAM + b'\0\3\1nx' # a custom section: another program, the same module


def put(s, name, token, env=(), remove=None, program=PROGRAM, query=''):
    """env: header lines."""
    import http.client
    c = http.client.HTTPConnection('127.0.0.1', s.port, timeout=60)
    c.putrequest('PUT', f'/v1/database/{name}{query}')
    c.putheader('Authorization', 'Bearer ' + token)
    for line in ([env] if isinstance(env, str) else env): c.putheader('spacetime-environment', line.encode('latin1'))
    if remove is not None: c.putheader('spacetime-environment-remove', remove)
    c.putheader('Content-Length', str(len(program)))
    c.endheaders(program)
    r = c.getresponse()
    answer = r.status, r.read().decode()
    c.close()
    return answer
def missing(*keys): return 400, json.dumps({'EnvironmentError': {'MissingRequiredEnvironment': {'keys': list(keys)}}}, separators=(',', ':'))
def stored(s, name, token): return dict(s.sql(name, 'SELECT * FROM st_env', token))
def good(answer, op='updated'): assert answer[0] == 200 and json.loads(answer[1])['Success']['op'] == op, answer
def tell(s, name, token): return s.call(name, 'tell', token=token)[1]


def publishing():
    with Server() as s:
        token = s.identity()['token']
        # nothing is published without what is required
        assert put(s, 'a', token) == missing('API_KEY', 'MODE')
        assert put(s, 'a', token, 'MODE=dev') == missing('API_KEY')
        assert s.http('GET', '/v1/database/a', None, token)[0] == 404
        # a value outside its union is refused, and shown nowhere
        status, text = put(s, 'a', token, 'API_KEY=k,MODE=secret_staging')
        assert (status, text) == (400, 'environment key "MODE": value does not satisfy its declared string constraint'), (status, text)
        good(put(s, 'a', token, 'API_KEY=abc123, MODE=dev'), 'created')
        assert s.sql('a', "SELECT value FROM seen WHERE who = 'init'", token) == [['abc123']]
        assert tell(s, 'a', token) == 'abc123 dev None' and json.loads(s.call('a', 'ask', token=token)[1]) == 'abc123'
        assert s.sql('a', 'SELECT * FROM setting', token) == [['dev', [1, []]]]
        # the same program and values: no change. Another program without headers keeps them
        good(put(s, 'a', token))
        good(put(s, 'a', token, program=OTHER))
        assert stored(s, 'a', token) == {'API_KEY': 'abc123', 'MODE': 'dev'} and tell(s, 'a', token) == 'abc123 dev None'
        # removing: the map must stay good
        assert put(s, 'a', token, remove='*') == missing('API_KEY', 'MODE') and put(s, 'a', token, remove='MODE', program=OTHER) == missing('MODE')
        assert put(s, 'a', token, query='?clear=true') == missing('API_KEY', 'MODE') # and the old database is still there
        assert tell(s, 'a', token) == 'abc123 dev None'
        good(put(s, 'a', token, 'REGION=eu, EXTRA=kept'))
        assert stored(s, 'a', token) == {'API_KEY': 'abc123', 'MODE': 'dev', 'REGION': 'eu', 'EXTRA': 'kept'} # undeclared ones are kept
        assert tell(s, 'a', token) == 'abc123 dev Some("eu")' and s.sql('a', 'SELECT * FROM setting', token) == [['dev', [0, 'eu']]]
        good(put(s, 'a', token, 'API_KEY=new', remove='REGION, EXTRA'))
        assert stored(s, 'a', token) == {'API_KEY': 'new', 'MODE': 'dev'}
        assert put(s, 'a', token, 'MODE=prod', remove='MODE')[1] == 'environment key "MODE": conflicting environment update operations'
        assert put(s, 'a', token, 'REGION=us')[1] == 'environment key "REGION": value does not satisfy its declared string constraint'
        good(put(s, 'a', token, 'API_KEY=all, MODE=prod', remove='*'))
        good(put(s, 'a', token, 'API_KEY=fresh, MODE=prod', query='?clear=true'))
        assert stored(s, 'a', token) == {'API_KEY': 'fresh', 'MODE': 'prod'} and s.sql('a', "SELECT value FROM seen WHERE who = 'init'", token) == [['fresh']]
        # limits
        assert put(s, 'a', token, [f'K{i}=1' for i in range(60)] + [','.join(f'L{i}=1' for i in range(200))])[1] == 'too many stored values'
        assert put(s, 'a', token, 'V=' + 'x' * 8193)[0] == 400
        good(put(s, 'a', token, 'V=' + 'x' * 8192))
        # after a restart
        s.stop()
        s.start()
        assert tell(s, 'a', token) == 'fresh prod None'
        # whose they are (case 38)
        other = s.identity()['token']
        assert s.http('POST', '/v1/database/a/sql', 'SELECT * FROM st_env', other)[0] == 400
        status, text, _ = s.http('POST', '/v1/database/a/sql', "UPDATE st_env SET value = 'x'", token)
        assert status == 400 and 'Database environment variables can only be changed by publishing' in text, text
        log = s.server_log() + s.http('GET', '/v1/database/a/logs', None, token)[1]
        assert 'secret_staging' not in log and not any(b'secret_staging' in open(f, 'rb').read() for f in glob.glob(s.data + '/**/*', recursive=True) if os.path.isfile(f))


def headers():
    """Every form of spec/07 §7.2: what is accepted means exactly this, what is refused changes nothing."""
    with Server() as s:
        token = s.identity()['token']
        good(put(s, 'h', token, 'API_KEY=k,MODE=dev'), 'created')
        base = stored(s, 'h', token)
        def means(lines, **want):
            good(put(s, 'h', token, lines))
            got = stored(s, 'h', token)
            assert {k: v for k, v in got.items() if k not in base} == want, (lines, got)
            if want: good(put(s, 'h', token, remove=', '.join(want)))
        means('G="h\\u00e9llo, \\"world\\" \\\\ \\ud83d\\ude00"', G='héllo, "world" \\ 😀')
        means('EMPTY=', EMPTY='')
        means('PEM="line1\\nline2\\u0000\\u007f"', PEM='line1\nline2\0\x7f')
        means('QUOTE="it\'s"', QUOTE="it's")
        means('URL=https://x.io/a?b=1&c=%20', URL='https://x.io/a?b=1&c=%20')
        means('_PADDED="  padded  "', _PADDED='  padded  ')
        means('A=1,B="two words" , C="x,y",D=""', A='1', B='two words', C='x,y', D='')
        means('\tE=5\t', E='5')
        means("F='it, \"is\" \\n literal', G=''", F='it, "is" \\n literal', G='')
        means(', ,H=8,,', H='8')
        means(['A=1', 'B=2'], A='1', B='2')
        means('')
        for bad in ('NO_EQUALS', '1BAD=x', 'BAD-KEY=x', 'A =x', 'A=has space', 'A=has"quote', "A=it's", "A='x'y", 'A="x"y', 'A="x', "A='x", 'A=back\\slash', 'A="\\q"', 'A="a\tb"', 'A=1,A=2', 'A=h\xe9', 'K' * 257 + '=x', '=x'):
            status, text = put(s, 'h', token, bad)
            assert status == 400, (bad, status, text)
        assert put(s, 'h', token, ['A=1', 'A=2'])[0] == 400
        for bad in ('FOO, *', '*, FOO', '*, *', '"FOO"', 'BAD-KEY', 'FOO, FOO'): assert put(s, 'h', token, remove=bad)[0] == 400, bad
        assert stored(s, 'h', token) == base
        r = s.http('OPTIONS', '/v1/database/h')
        assert 'spacetime-environment,spacetime-environment-remove' in r[2]['access-control-allow-headers']


def routes():
    with Server() as s:
        token = s.identity()['token']
        good(put(s, 'r', token, 'API_KEY=k,MODE=dev'), 'created')
        path = '/v1/database/r/environment'
        def get():
            status, text, _ = s.http('GET', path, None, token)
            assert status == 200, text
            return json.loads(text)
        e = get()
        hash = e.pop('module_hash')
        assert e == {'declarations': [{'name': 'API_KEY', 'ty': 'String', 'optional': False}, {'name': 'MODE', 'ty': {'Union': ['dev', 'prod']}, 'optional': False}, {'name': 'REGION', 'ty': {'StringLiteral': 'eu'}, 'optional': True}],
                     'stored_keys': ['API_KEY', 'MODE']}, e
        def send(method, body, h=hash, headers={}): return s.http(method, f'{path}?expected_module_hash={h}', json.dumps(body) if not isinstance(body, str) else body, token, headers)[:2]
        ok = (200, '{"Ok":null}')
        assert send('PUT', {'API_KEY': 'p', 'MODE': 'prod', 'X': 'y'}) == ok and stored(s, 'r', token) == {'API_KEY': 'p', 'MODE': 'prod', 'X': 'y'}
        assert send('PATCH', {'REGION': 'eu'}, headers={'spacetime-environment-remove': 'X'}) == ok and stored(s, 'r', token) == {'API_KEY': 'p', 'MODE': 'prod', 'REGION': 'eu'}
        assert send('PATCH', {}) == ok
        assert send('PUT', {'MODE': 'dev'}) == (400, '{"Err":{"MissingRequiredEnvironment":{"keys":["API_KEY"]}}}')
        assert send('PUT', {'MODE': 'dev', 'API_KEY': 'x'}, '0x12') == (409, '{"Err":"VersionConflict"}') and get()['module_hash'] == hash
        for method, body, h in (('PUT', '[]', hash), ('PUT', '{"A":1}', hash), ('PUT', '{"1A":"x"}', hash), ('PUT', '{"A":"x","A":"y"}', hash), ('PUT', 'junk', hash), ('PUT', {}, 'zz'), ('PATCH', {'V': 'x' * 8193}, hash)): assert send(method, body, h)[0] == 400, body
        assert send('PATCH', {}, headers={'spacetime-environment-remove': '*'})[0] == 400
        assert s.http('PUT', path, '{}', token)[0] == 400
        assert stored(s, 'r', token) == {'API_KEY': 'p', 'MODE': 'prod', 'REGION': 'eu'}
        stranger = s.identity()['token']
        for method in ('GET', 'PUT', 'PATCH'): assert s.http(method, path + f'?expected_module_hash={hash}', '{}', stranger)[0] == 403
        assert s.http('GET', '/v1/database/none/environment', None, token)[0] == 404
        # the command line
        s.cli('login', '--token', token)
        assert 'API_KEY' in s.cli('env', 'list', 'r', '-s', s.url) and s.cli('env', 'get', 'r', 'MODE', '-s', s.url) == 'prod\n'


def only_values():
    """Another value for the running program (case 35): no init, no disconnect; who watches a view that has read it gets the difference, in one transaction."""
    with Server() as s:
        token = s.identity()['token']
        good(put(s, 'e', token, 'API_KEY=k,MODE=dev'), 'created')
        c = opened(s, 'e', V3)
        c.send(subscribe(1, 7, 'SELECT * FROM setting', 'SELECT * FROM seen'))
        c.next()
        good(put(s, 'e', token, 'MODE=prod'))
        got = c.next()
        assert b'dev' in got and b'prod' in got and b'setting' in got and b'init' not in got and b'connected' not in got, got
        def log_bytes(): return sum(map(os.path.getsize, glob.glob(s.data + '/replicas/*/clog/*.log')))
        before = log_bytes()
        good(put(s, 'e', token, 'MODE=prod')) # the same again: nothing, no transaction either
        good(put(s, 'e', token))
        assert log_bytes() == before
        good(put(s, 'e', token, 'API_KEY=other')) # a transaction; the view has read st_env, runs again and is the same
        assert log_bytes() > before
        good(put(s, 'e', token, 'REGION=eu'))
        got = c.next()
        assert b'eu' in got and b'setting' in got, got
        assert s.sql('e', "SELECT value FROM seen WHERE who = 'init'", token) == [['k']]
        assert [v for k, v in s.sql('e', 'SELECT * FROM seen', token) if v == 'disconnected'] == []
        c.close()


if __name__ == '__main__': main([globals()[x] for x in sys.argv[1:]] or [publishing, headers, routes, only_values])
