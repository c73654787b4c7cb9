"""HTTP routes that a module of the official library serves (spec/04 §3.11)."""
import http.client
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
        assert status == 500 and 'wasm backtrace' in text, (status, text)
        assert get('/')[:2] == (200, 'root') # another instance
        assert s.http('GET', '/v1/database/nobody/route/')[0] == 404
        c = http.client.HTTPConnection('127.0.0.1', s.port) # keep-alive goes on
        for i in range(20):
            c.request('POST', '/v1/database/h/route/echo', b'z' * i)
            r = c.getresponse()
            assert r.read().endswith(b'\n%d bytes' % i) and r.status == 201
        s.check_alive()


if __name__ == '__main__': main([routes])
