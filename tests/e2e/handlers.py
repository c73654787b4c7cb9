"""HTTP routes that a module of the official library serves (spec/04 §3.11)."""
import http.client, re, subprocess
from lightcone import Server, main, module


def routes():
    with Server() as s:
        token = s.identity()['token']
        s.publish('h', module('server'), token)
        def get(path, method='GET', body=None, headers={}):
            status, text, h = s.http(method, '/v1/database/h/route' + path, body, headers=headers)
            return status, text, h
        assert get('')[:2] == (200, 'root') and get('/')[:2] == (200, 'root')
        for path in '/nowhere', '/echo/', '//', '/ROOT':
            assert get(path)[:2] == (404, 'Database has not registered a handler for this route'), path
        assert get('', 'POST')[:2] == (404, 'Database has not registered a handler for this route')
        status, text, h = get('/echo?a=1&b=%20', 'POST', b'12345', {'X-Thing': 'y', 'authorization': 'Bearer nonsense', 'X-Forwarded-Proto': 'https, http', 'X-Forwarded-Host': 'example.org'})
        assert status == 201 and h.get_all('x-one') == ['1', '2'] and h['content-type'] == 'text/x-echo' and h['access-control-allow-origin'] == '*', (status, h.items())
        lines = text.split('\n')
        assert lines[0] == 'POST https://example.org/v1/database/h/route/echo?a=1&b=%20' and lines[-1] == '5 bytes', text
        assert 'x-thing: y' in lines and 'authorization: Bearer nonsense' in lines, text # nobody is authenticated
        for method in 'PUT', 'DELETE', 'PATCH', 'PROPFIND': assert get('/echo', method)[1].startswith(method + ' '), method
        status, text, h = get('/echo', 'OPTIONS') # answered by the CORS layer
        assert status == 200 and text == '' and h['access-control-allow-methods'] == '*', (status, text)
        assert get('/echo', 'HEAD')[:2] == (201, '')
        big = b'x' * (5 << 20) # no body limit here
        assert get('/echo', 'POST', big)[1].endswith(f'\n{len(big)} bytes')
        assert get('/record', 'POST', b'from outside')[:2] == (200, 'recorded')
        assert len(s.sql('h', "SELECT * FROM done WHERE label = 'from outside'", token)) == 1
        status, text, _ = get('/bang')
        assert status == 500 and ('wasm backtrace' in text or '\n\tat bang (' in text), (status, text)
        assert get('/')[:2] == (200, 'root') # another instance
        assert s.http('GET', '/v1/database/nobody/route/')[0] == 404
        c = http.client.HTTPConnection('127.0.0.1', s.port) # keep-alive goes on
        for i in range(20):
            c.request('POST', '/v1/database/h/route/echo', b'z' * i)
            r = c.getresponse()
            assert r.read().endswith(b'\n%d bytes' % i) and r.status == 201
        s.check_alive()


def case_1_no_handler():
    """A module built with `unstable` has the newer `__call_http_handler__` even if no handler is in it (spec/07 §3.3, §19 case 1): it is published and works."""
    shown = subprocess.run(['wasm-objdump', '-x', module('views')], capture_output=True, text=True, check=True).stdout
    signature = re.search(r'- func\[\d+\] sig=(\d+) <__call_http_handler__>', shown).group(1)
    assert f' - type[{signature}] (i32, i64, i64, i64, i64, i32, i64, i32, i32, i32, i32) -> i32\n' in shown, signature
    with Server() as s:
        token = s.identity()['token']
        s.publish('v', module('views'), token)
        assert s.call('v', 'join', 1, 5, token=token)[0] == 200 and s.call('v', 'raise', 1, 6, token=token)[0] == 200
        assert [r[2] for r in s.sql('v', 'SELECT * FROM player', token)] == [6]
        assert s.http('GET', '/v1/database/v/route/')[:2] == (404, 'Database has not registered a handler for this route')


def case_2_senders():
    """Each request has a sender of its own, in the handler and in its transactions (spec/07 §3.3, §19 case 2); the library before 2.14 cannot show it, and works on the same server."""
    with Server() as s:
        token = s.identity()['token']
        s.publish('h', module('server'), token)
        own = s.identity()
        seen = set()
        for _ in range(4):
            status, text, _ = s.http('GET', '/v1/database/h/route/who', token=own['token'])
            outside, inside = text.split()
            assert status == 200 and outside == inside and len(inside) == 64 and int(inside, 16), text
            seen.add(inside)
        assert len(seen) == 4 and own['identity'] not in seen, seen
        s.publish('old', module('handlers-2.8'), token)
        assert [s.http('POST', '/v1/database/old/route/visit', f'body {i}')[:2] for i in range(3)] == [(200, f'visit {i + 1}') for i in range(3)]
        rows = sorted(s.sql('old', 'SELECT * FROM visit', token))
        assert [r[:2] for r in rows] == [[i + 1, f'body {i}'] for i in range(3)], rows
        s.check_alive()


if __name__ == '__main__': main([routes, case_1_no_handler, case_2_senders])
