"""Databases come, go and come back: names, locks, resets and deletion over HTTP (spec/04 §3.3-§3.4) while clients, calls and log followers
are active; restarts, damaged files, one server per folder, the clean stop; what was confirmed arrives in order."""
import http.client, json, os, random, re, shutil, signal, socket, sqlite3, struct, subprocess, threading, time
from lightcone import BINARY, Client, Server, bstr, main, module
from websocket import End, V3, call, counter, ok, opened, persistent, rows, sub_applied, subscribe, u32, update

NOBODY = '0' * 63 + '1'


def program(name='e2e-2.14'): return open(module(name), 'rb').read()


def names():
    with Server() as s:
        me, other = s.identity(), s.identity()
        a, b = s.publish('a', module('e2e-2.14'), me['token']), s.publish('b', module('e2e-2.10'), other['token'])
        def get(name): return json.loads(s.http('GET', f'/v1/database/{name}/names')[1])['names']
        def put(name, body, token=me['token'], type_='application/json'): return s.http('PUT', f'/v1/database/{name}/names', body if isinstance(body, (str, bytes)) else json.dumps(body), token, {'Content-Type': type_} if type_ else {})[:2]
        def post(name, body, token=me['token']): return s.http('POST', f'/v1/database/{name}/names', body, token)[:2]
        assert get('a') == get(a) == ['a']
        assert post('a', 'a2') == (200, f'{{"Success":{{"domain":"a2","database_identity":"{a}"}}}}')
        assert get('a2') == ['a', 'a2'] and s.http('GET', '/v1/database/a2/identity')[1] == a
        for bad in ('', '-x', 'x-', 'x--y', 'Upper', 'sp ace', 'x' * 65, a, 'ü', b'\xff'): assert post('a', bad.encode() if isinstance(bad, str) else bad)[0] == 400, bad
        assert post('b', 'a2', other['token'])[0] == 500 # taken
        assert put('a', ['x1', 'x2', 'x1']) == (200, '"Success"')
        assert get(a) == ['x1', 'x2'] and s.http('GET', '/v1/database/a/names')[0] == 404
        assert put('x1', ['x1']) == (400, '{"OtherError":"Cannot rename to x1 because it already is in use."}')
        assert post('b', 'a', other['token']) == (401, '{"PermissionDenied":{"domain":"a"}}') # free, but its first owner keeps it
        assert put('b', ['a'], other['token']) == (401, '{"PermissionDenied":{"domain":"a"}}') and get('b') == ['b'] # nothing changed
        assert put('b', ['y']) == (401, f'{{"NotYourDatabase":{{"database":"{b}"}}}}')
        assert put('x1', ['ok', 'Not-Ok'])[0] == 400 and put('x1', '["ok"]', type_=None)[0] == 415 and put('x1', '["ok"]', type_='text/plain')[0] == 415
        assert put('x1', '[1]')[0] == 422 and put('x1', '{')[0] == 400 and put('x1', json.dumps(['n'] * 1025))[0] == 422
        assert get(a) == ['x1', 'x2']
        assert put('x1', []) == (200, '"Success"') and get(a) == []
        assert put(a, ['a']) == (200, '"Success"')
        s.stop()
        s.start()
        assert get('a') == ['a'] and get('b') == ['b']


def energy():
    """Spec/04 §3.14, and what it says of more than 128 bits: balances are kept over a crash, and nobody is charged."""
    with Server() as s:
        me, other = s.identity(), s.identity()
        get = lambda who: s.http('GET', f"/v1/energy/{who['identity']}")[:2]
        add = lambda query, token=me['token'], path=other['identity']: s.http('POST', f'/v1/energy/{path}{query}', token=token)[:2]
        assert get(me) == (200, '{"balance":"0"}')
        assert add('?amount=3') == (200, '{"balance":"3"}') and get(me)[1] == '{"balance":"3"}' and get(other)[1] == '{"balance":"0"}' # the caller's, whatever the path
        for bad in 'x', '', '-1', '1.5', '+', '1 ', str(1 << 128): assert add(f'?amount={bad}'.replace(' ', '%20')) == (400, ''), bad
        assert add('')[0] == 400 and add('?amount=1&amount=2')[0] == 400 and add('?amount=1', path='junk')[0] == 400 and s.http('GET', '/v1/energy/junk')[0] == 400
        assert add('?amount=1', None) == (401, 'Authorization required') and s.http('PUT', f"/v1/energy/{me['identity']}?balance=7", token=me['token'])[0] == 401
        s.kill()
        s.start()
        assert get(me)[1] == '{"balance":"3"}'
        for amount, want in ((1 << 64) - 3, 1 << 64), ((1 << 128) - 1, (1 << 127) - 1), (1, (1 << 127) - 1): assert add(f'?amount={amount}') == (200, '{"balance":"%d"}' % want), amount


def locks_and_deletion():
    with Server() as s:
        me, other = s.identity(), s.identity()
        id = s.publish('d', module('e2e-2.14'), me['token'])
        def do(method, path, token=me['token'], body=None): return s.http(method, '/v1/database/d' + path, body, token)[:2]
        refused = f'{other["identity"]} is not authorized to perform action on database {id}: delete database'
        for method, path in (('POST', '/lock'), ('POST', '/unlock'), ('DELETE', '')): assert do(method, path, other['token']) == (403, refused), path
        assert do('PUT', '/reset', other['token']) == (403, refused.replace('delete', 'reset'))
        assert do('POST', '/lock') == do('POST', '/lock') == (200, '')
        s.stop()
        s.start() # a lock lasts
        assert do('DELETE', '') == (403, 'Database is locked and cannot be deleted. Run `spacetime unlock` first.')
        text = 'Database is locked and cannot be reset with --delete-data. Run `spacetime unlock` first.'
        assert do('PUT', '/reset') == do('PUT', '?clear=true', body=program()) == (403, text)
        s.publish('d', module('e2e-2.14'), me['token']) # an update goes through
        assert do('POST', '/unlock') == do('POST', '/unlock') == (200, '')
        s.call('d', 'increment', 0, token=me['token'])
        assert s.sql('d', 'SELECT value FROM counter', me['token']) == [[1]]
        assert do('PUT', '/reset', body=b'not a module')[0] == 500 and s.sql('d', 'SELECT value FROM counter', me['token']) == [[1]] # the old one goes on
        status, text = do('PUT', '/reset') # with the present program
        assert (status, json.loads(text)) == (200, {'Success': {'domain': 'd', 'database_identity': id, 'op': 'updated'}}), text
        assert s.sql('d', 'SELECT value FROM counter', me['token']) == [[0]]
        s.call('d', 'increment', 0, token=me['token'])
        assert do('PUT', '/reset', body=program('e2e-2.10'))[0] == 200 and s.sql('d', 'SELECT value FROM counter', me['token']) == [[0]]
        s.kill()
        s.start()
        assert s.sql('d', 'SELECT value FROM counter', me['token']) == [[0]]
        assert do('DELETE', '') == do('DELETE', '') == (200, '') # the name is still known
        assert do('GET', '') == (404, 'No such database.') and s.http('DELETE', '/v1/database/unknown', None, me['token'])[0] == 404
        assert s.http('DELETE', '/v1/database/' + NOBODY, None, me['token'])[:2] == (200, '')
        assert json.loads(s.http('GET', f'/v1/identity/{me["identity"]}/databases')[1]) == {'identities': []}
        s.stop()
        s.start()
        assert do('GET', '')[0] == 404
        assert s.publish('d', module('e2e-2.14'), other['token']) == id # the name leads to the same identity, the owner is new
        assert do('DELETE', '')[0] == 403 and do('DELETE', '', other['token'])[0] == 200


def follow(s, token, stop, ended):
    """Follows a log until it ends, again and again; counts the ends."""
    while not stop.is_set():
        try:
            c = http.client.HTTPConnection('127.0.0.1', s.port, timeout=20)
            c.request('GET', '/v1/database/d/logs?follow=true&num_lines=5', None, {'Authorization': 'Bearer ' + token})
            r = c.getresponse()
            while r.status == 200 and r.read1(4096): pass
            if r.status == 200: ended.append(1)
            c.close()
        except (OSError, http.client.HTTPException): pass
        time.sleep(0.01)


def changes_under_load():
    """Publishing, resetting and deleting the same database from several sides while it is used: afterwards memory and disk agree."""
    with Server() as s:
        token = s.identity()['token']
        s.publish('d', module('e2e-2.14'), token)
        stop, ended, statuses, odd = threading.Event(), [], {}, []
        def change(k):
            rng = random.Random(k)
            while not stop.is_set():
                kind = rng.choice(('publish', 'reset', 'reset', 'delete', 'clear', 'program'))
                body = program('e2e-2.14' if rng.random() < 0.8 else 'e2e-2.10') if kind in ('publish', 'clear', 'program') else None
                method, path = {'delete': ('DELETE', ''), 'reset': ('PUT', '/reset'), 'program': ('PUT', '/reset'), 'publish': ('PUT', ''), 'clear': ('PUT', '?clear=true')}[kind]
                status, text, _ = s.http(method, '/v1/database/d' + path, body, token)
                statuses[kind, status] = statuses.get((kind, status), 0) + 1
                if status not in (200, 404) and 'Database update rejected' not in text: odd.append((kind, status, text))
        def use():
            while not stop.is_set():
                try:
                    c = opened(s, 'd', V3, query='confirmed=true&compression=None')
                    c.send(subscribe(1, 1, 'SELECT * FROM counter'))
                    while not stop.is_set():
                        c.send(b''.join(call(i, 'increment', u32(0)) for i in range(10)))
                        c.message()
                except (End, OSError, Exception): time.sleep(0.005)
        def ask():
            while not stop.is_set():
                status = s.call('d', 'increment', 0, token=token)[0]
                if status not in (200, 404): odd.append(('call', status))
        threads = [threading.Thread(target=change, args=(k,)) for k in range(3)] + [threading.Thread(target=use) for _ in range(3)] + [threading.Thread(target=ask) for _ in range(2)] + [threading.Thread(target=follow, args=(s, token, stop, ended))]
        for t in threads: t.start()
        def happened(): return ended and statuses.get(('delete', 200)) and sum(statuses.get((kind, 200), 0) for kind in ('reset', 'clear', 'program')) > 1
        start, least = time.time(), float(os.environ.get('SECONDS_OF_LOAD', '5'))
        while time.time() - start < least or (not happened() and time.time() - start < least + 60): time.sleep(0.1)
        stop.set()
        s.http('DELETE', '/v1/database/d', None, token) # ends the last follower
        for t in threads: t.join()
        if odd: raise Exception(f'unexpected answers: {odd[:5]}')
        assert happened(), (len(ended), statuses)
        def agree(): return json.loads(s.http('GET', f'/v1/identity/{me}/databases')[1])['identities'] != [] if (me := identity_of(s, token)) else None
        for again in range(2): # deleted for good, before and after a restart
            s.http('DELETE', '/v1/database/d', None, token)
            assert s.http('GET', '/v1/database/d')[0] == 404 and not agree()
            s.publish('d', module('e2e-2.14'), token)
            assert s.http('GET', '/v1/database/d')[0] == 200 and agree()
            s.stop()
            if 'references to a database' in s.server_log(): raise Exception(s.server_log())
            s.start()
            assert s.http('GET', '/v1/database/d')[0] == 200 and agree()
def identity_of(s, token): return s.http('POST', '/v1/database/d/sql', '', token)[2]['spacetime-identity']


def deleted_while_reset():
    """A deletion in the middle of a reset: whoever is last, the list in memory and the one on disk are the same."""
    with Server() as s:
        token = s.identity()['token']
        for i in range(10):
            s.publish('d', module('e2e-2.14'), token)
            t = threading.Thread(target=lambda: s.http('PUT', '/v1/database/d/reset', None, token))
            t.start()
            time.sleep(i * 0.03)
            assert s.http('DELETE', '/v1/database/d', None, token)[0] == 200
            t.join()
            assert s.http('GET', '/v1/database/d')[0] == 404, f'a reset brought the deleted database back at delay {i * 30} ms'


def come_back():
    """At start every database is there before the first request; what was connected has left."""
    with Server() as s:
        token = s.identity()['token']
        ids = [s.publish(f'db{i}', module('e2e-2.14' if i % 2 else 'e2e-2.10'), token) for i in range(6)]
        clients = [Client(s, f'db{i}', token) for i in range(6)]
        for i, c in enumerate(clients):
            for _ in range(i): c.call('increment', struct.pack('<I', 0))
            n = 0
            while n < i: n += len(Client.results(*c.next()))
        s.kill()
        at = os.path.getsize(s.log.name)
        s.start() # returns with the line `listening on`
        new = open(s.log.name).read()[at:]
        for id in ids: assert f'database {id} is back' in new, new
        for i in range(6):
            assert s.sql(f'db{i}', 'SELECT value FROM counter', token) == [[i]]
            assert [r[2] for r in s.sql(f'db{i}', 'SELECT * FROM connected', token)] == [1] # the query itself
        # requests that wait for the port meet a server that is whole
        s.stop()
        answers, stop = [], threading.Event()
        def knock():
            while not stop.is_set():
                try: answers.append(s.call('db1', 'increment', 0, token=token)[0])
                except (OSError, http.client.HTTPException): pass
        threads = [threading.Thread(target=knock) for _ in range(4)]
        for t in threads: t.start()
        for _ in range(5):
            s.start()
            time.sleep(0.1)
            s.stop()
        s.start()
        while answers.count(200) < 20: time.sleep(0.01)
        stop.set()
        for t in threads: t.join()
        assert set(answers) <= {200, 503}, set(answers)


def refuses(s, *texts):
    """The server does not start, says why and ends with 1."""
    p = subprocess.run([BINARY, 'start', '--listen-addr', '127.0.0.1:0', '--data-dir', s.data], capture_output=True, text=True, timeout=60, env=dict(os.environ, HOME=s.temp, XDG_CONFIG_HOME=s.temp))
    if p.returncode != 1 or not any(t in p.stderr for t in texts) or 'runtime error' in p.stderr or 'Sanitizer' in p.stderr: raise Exception(f'exit {p.returncode}, wanted {texts}: {p.stdout}{p.stderr}')


def damaged_files():
    with Server() as s:
        token = s.identity()['token']
        bad, good, gone = (s.publish(n, module('e2e-2.14'), token) for n in ('bad', 'good', 'gone'))
        for n in ('bad', 'good', 'gone'):
            for i in range(50): s.call(n, 'increment', 0, token=token)
        refuses(s, 'cannot take lock on database; spacetime.pid already exists (owned by pid ') # it runs
        pid = os.path.join(s.data, 'spacetime.pid')
        assert open(pid).read() == str(s.process.pid)
        s.kill()
        assert os.path.exists(pid)
        s.start() # the lock went with the process
        s.stop()
        assert not os.path.exists(pid)
        def log(n): return os.path.join(s.data, 'replicas', n, 'clog', '0' * 20 + '.stdb.log')
        replicas = sorted(os.listdir(os.path.join(s.data, 'replicas')), key=int)
        data = bytearray(open(log(replicas[0]), 'rb').read())
        data[-1000] ^= 0x55 # behind the snapshot, and whole commits follow: not a torn tail
        open(log(replicas[0]), 'wb').write(data)
        os.remove(log(replicas[2]))
        s.start()
        assert s.sql('good', 'SELECT value FROM counter', token) == [[50]]
        for n in ('bad', 'gone'):
            for method, path, body in (('POST', '/sql', 'SELECT * FROM counter'), ('PUT', '', program()), ('GET', '', None)):
                status, text, _ = s.http(method, f'/v1/database/{n}{path}', body, token)
                assert status == 500 and text.startswith('error starting database: ') and len(text) > 40, (n, path, status, text)
            try: raise Exception(f'connected: {Client(s, n, token)}')
            except Exception as e: assert ' 500 ' in str(e).split('\r\n')[0], e
        assert open(log(replicas[0]), 'rb').read() == bytes(data), 'the damaged log was written to'
        assert s.http('DELETE', '/v1/database/gone', None, token)[0] == 200
        s.publish('gone', module('e2e-2.14'), token)
        assert s.http('PUT', '/v1/database/bad?clear=true', program(), token)[0] == 200 # a fresh start is possible
        assert s.sql('bad', 'SELECT value FROM counter', token) == [[0]]
        s.stop()
        control = [os.path.join(r, f) for r, _, fs in os.walk(s.data) for f in fs if open(os.path.join(r, f), 'rb').read(15) == b'SQLite format 3']
        assert len(control) == 1, control
        whole = open(control[0], 'rb').read()
        for what in (b'garbage ' * 1000, whole[:100], whole[:len(whole) // 2], whole[:4096] + bytes(len(whole) - 4096)):
            open(control[0], 'wb').write(what)
            refuses(s, 'control')
        open(control[0], 'wb').write(whole)
        for f in ('id_ecdsa', 'id_ecdsa.pub'): # keys that are no keys
            path = next((os.path.join(r, f) for r, _, fs in os.walk(s.data) if f in fs), None)
            if not path: continue
            kept = open(path, 'rb').read()
            open(path, 'wb').write(b'nonsense')
            refuses(s, 'key', f)
            open(path, 'wb').write(kept)
        s.start()
        assert s.sql('good', 'SELECT value FROM counter', token) == [[50]]


def clean_stop():
    """SIGTERM and SIGINT under load: exit 0 soon, everything answered is there."""
    with Server() as s:
        token = s.identity()['token']
        s.publish('d', module('e2e-2.14'), token)
        for sig in (signal.SIGTERM, signal.SIGINT):
            before = s.sql('d', 'SELECT value FROM counter', token)[0][0]
            counts, threads = [0] * 4, []
            def load(k):
                try:
                    while True:
                        if s.call('d', 'increment', 0, token=token)[0] == 200: counts[k] += 1
                except (OSError, http.client.HTTPException): pass
            threads = [threading.Thread(target=load, args=(k,)) for k in range(4)]
            for t in threads: t.start()
            follower = threading.Thread(target=follow, args=(s, token, stop := threading.Event(), []))
            follower.start()
            time.sleep(0.5)
            start = time.time()
            s.process.send_signal(sig)
            assert s.process.wait(20) == 0, s.server_log()
            assert time.time() - start < 6, time.time() - start
            stop.set()
            for t in threads + [follower]: t.join()
            s.process.stdout.close()
            s.start()
            after = s.sql('d', 'SELECT value FROM counter', token)[0][0]
            assert before + sum(counts) <= after <= before + sum(counts) + 4, (before, counts, after)


def confirmed_order():
    """Confirmed clients hear of everything in the order in which it happened, whatever the log does meanwhile."""
    with Server() as s:
        s.publish('d', module('e2e-2.14'), s.identity()['token'])
        watcher = opened(s, 'd', V3, query='confirmed=true&compression=None')
        watcher.send(subscribe(1, 1, 'SELECT * FROM counter'))
        watcher.expect(sub_applied(1, 1, ('counter', rows(counter(0, 0)))))
        n, n_clients, burst = int(os.environ.get('STEPS', '20000')), 4, 5
        def load():
            c, sent, got = opened(s, 'd', V3, query='confirmed=true&compression=None'), 0, 0
            while got < n // n_clients:
                while sent < n // n_clients and sent - got < 40:
                    c.send(b''.join(call(sent + i, 'increment', u32(0)) for i in range(burst)))
                    sent += burst
                m = c.message()[1:]
                while m:
                    if c.blank(m[:22]) != ok(got): raise Exception(f'answer {got} is {m[:22]!r}')
                    m, got = m[22:], got + 1
        failed = []
        def run():
            try: load()
            except BaseException as e: failed.append(repr(e))
        threads = [threading.Thread(target=run) for _ in range(n_clients)]
        for t in threads: t.start()
        value = 0
        while value < n // n_clients * n_clients and not failed:
            m = watcher.message()[1:]
            while m:
                want = update((1, [('counter', [persistent([counter(0, value + 1)], [counter(0, value)])])]))
                if m[:len(want)] != want: raise Exception(f'update {value} is {m[:len(want)]!r}')
                m, value = m[len(want):], value + 1
        for t in threads: t.join()
        if failed: raise Exception(failed[0])


def data_folder():
    """What a data folder says of itself, who may open it, and the move of an earlier version's control database, whatever was still in its log."""
    with Server() as s:
        token = s.identity()['token']
        s.publish('d', module('e2e-2.14'), token)
        meta = s.data + '/metadata.toml'
        text = open(meta).read()
        assert text.startswith('#') and '\nversion = "2.14.0"\nedition = "standalone"\n' in text
        assert open(s.data + '/spacetime.pid').read() == str(s.process.pid)
        s.kill() # with a log of the control database that nobody has put into it
        for name in os.listdir(s.data + '/control-db'): os.rename(f'{s.data}/control-db/{name}', f'{s.data}/{name}')
        os.rmdir(s.data + '/control-db')
        assert os.path.getsize(s.data + '/control.sqlite3-wal') > 0
        s.start()
        assert not [n for n in os.listdir(s.data) if n.startswith('control.sqlite3')] and s.call('d', 'append_log', 1, 'x', token=token)[0] == 200
        s.stop()
        def refused(new, part):
            with open(meta, 'w') as f: f.write(new)
            p = subprocess.run([BINARY, 'start', '--listen-addr', '127.0.0.1:0', '--data-dir', s.data], capture_output=True, text=True, timeout=60)
            assert p.returncode != 0 and meta in p.stdout + p.stderr and part in p.stdout + p.stderr, p
        refused(text.replace('standalone', 'cloud'), 'edition `cloud`')
        refused(text.replace('2.14.0', '2.15.0'), 'version 2.15.0')
        refused(text.replace('2.14.0', '99.0.0'), 'version 99.0.0')
        refused(text.replace('2.14.0', 'x'), 'no version')
        refused('', 'are expected')
        for older in '1.12.0', '2.8.3':
            with open(meta, 'w') as f: f.write(text.replace('2.14.0', older))
            s.start()
            assert open(meta).read() == text
            s.stop()
        s.start()


def lost_control_database():
    """The folders of databases that the control database does not know any more are nobody's to take or to remove, whatever is published or fails to be."""
    with Server() as s:
        token = s.identity()['token']
        for i in range(3): s.publish(f'd{i}', module('e2e-2.14'), token)
        assert s.call('d1', 'append_log', 1, 'x', token=token)[0] == 200
        s.stop()
        def files(): return {p: open(p, 'rb').read() for r, _, fs in os.walk(s.data + '/replicas') for p in [os.path.join(r, f) for f in fs] if '/clog/' in p or '/snapshots/' in p}
        before = files()
        assert len(before) >= 3
        shutil.rmtree(s.data + '/control-db')
        s.start()
        status, text, _ = s.http('PUT', '/v1/database/new', b'no module', token)
        assert status >= 400, text
        for i in range(3): s.publish(f'new{i}', module('e2e-2.14'), token)
        assert s.call('new0', 'append_log', 1, 'x', token=token)[0] == 200
        s.stop()
        after = files()
        assert all(after.get(p) == b for p, b in before.items()), set(before) - set(after)


if __name__ == '__main__':
    import sys
    tests = [names, energy, locks_and_deletion, deleted_while_reset, changes_under_load, come_back, damaged_files, clean_stop, confirmed_order, data_folder, lost_control_database]
    main([t for t in tests if len(sys.argv) < 2 or t.__name__ in sys.argv[1:]])
