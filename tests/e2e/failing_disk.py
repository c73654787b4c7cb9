"""A disk that takes no more: the database whose log cannot be written stops, tells everybody why and acknowledges nothing; others go on; a restart finds all that was confirmed."""
import glob, os, resource, struct, time
from lightcone import Client, Server, bstr, main, module

TEXT = 'commit log failed'


def log_bytes(s, replica): return sum(map(os.path.getsize, glob.glob(f'{s.data}/replicas/{replica}/clog/*.log')))
def append(seq, n=100): return struct.pack('<Q', seq) + bstr('x' * n)


def until_closed(client):
    """Results until the connection ends, and the close frame's code and reason."""
    results = []
    try:
        while True:
            op, payload = client._frame()
            if op == 8: return results, struct.unpack('>H', payload[:2])[0], payload[2:].decode()
            if op == 2: results.append(payload)
    except (OSError, ConnectionError): return results, None, ''


def stops_one_database():
    with Server() as s:
        token = s.identity()['token']
        s.publish('bad', module('e2e-2.14'), token)
        s.publish('good', module('e2e-2.14'), token)
        replicas = sorted(glob.glob(s.data + '/replicas/*'), key=lambda p: int(os.path.basename(p)))
        bad = os.path.basename(replicas[0])
        c, other = Client(s, 'bad', token), Client(s, 'good', token)
        for i in range(100): c.call('append_log', append(i, 4000))
        confirmed = set()
        while len(confirmed) < 100:
            for rid, error in Client.results(*c.next()):
                assert error is None
                confirmed.add(rid)
        resource.prlimit(s.process.pid, resource.RLIMIT_FSIZE, (log_bytes(s, bad) + 700, resource.RLIM_INFINITY))
        for i in range(100, 150): c.call('append_log', append(i))
        results, code, reason = until_closed(c)
        acknowledged = 100 + len(results)
        assert code == 1011 and TEXT in reason, (code, reason)
        s.check_alive()
        for method, path, body in (('POST', 'call/append_log', '[500,"x"]'), ('POST', 'sql', 'SELECT * FROM log_entry'), ('GET', 'schema?version=9', None)):
            status, text, _ = s.http(method, '/v1/database/bad/' + path, body, token, {'Content-Type': 'application/json'} if body else {})
            assert status == 503 and TEXT in text and 'File too large' in text, (path, status, text)
        with open(module('e2e-2.14'), 'rb') as f: status, text, _ = s.http('PUT', '/v1/database/bad', f.read(), token)
        assert status == 503 and TEXT in text, (status, text)
        try: Client(s, 'bad', token)
        except Exception as e: assert '503' in str(e), e
        else: raise Exception('a stopped database takes clients')
        assert s.http('GET', '/v1/database/bad/logs', None, token)[0] == 200
        assert TEXT in s.server_log()
        for i in range(5): other.call('append_log', append(i))
        n = 0
        while n < 5:
            for rid, error in Client.results(*other.next()):
                assert error is None
                n += 1
        assert len(s.sql('good', 'SELECT * FROM log_entry', token)) == 5
        s.stop()
        s.start()
        rows = sorted(r[0] for r in s.sql('bad', 'SELECT seq FROM log_entry', token))
        assert rows == list(range(len(rows))) and len(rows) >= acknowledged, (acknowledged, rows[-3:])
        assert s.call('bad', 'append_log', 1000, 'again', token=token)[0] == 200
        assert len(s.sql('good', 'SELECT * FROM log_entry', token)) == 5


if __name__ == '__main__': main([stops_one_database])
