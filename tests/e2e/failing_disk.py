"""A disk that takes no more, fails, or is slow. The database whose log cannot be written stops, tells everybody why and acknowledges nothing; others go on; a restart finds all that was confirmed.
One whose log is slow makes only those wait who want to be certain, and its callers when too much waits."""
import errno, glob, json, os, resource, select, struct, sys, threading, time
from lightcone import BINARY, TOP, Client, Disk, Server, bstr, main, module
from websocket import V3, opened, procedure
sys.path.insert(0, os.path.join(TOP, 'tests', 'modules'))
from wat import At, Script, text, u32, u64
from abi import Player, script_table

TEXT = 'commit log failed'


def log_bytes(s, replica): return sum(map(os.path.getsize, glob.glob(f'{s.data}/replicas/{replica}/clog/*.log')))
def append(seq, n=100): return struct.pack('<Q', seq) + bstr('x' * n)
def results(client, n):
    """So many results; their request ids."""
    got = []
    while len(got) < n:
        for rid, error in Client.results(*client.next()):
            assert error is None, error
            got.append(rid)
    return got


def until_closed(client):
    """Results until the connection ends, and the close frame's code and reason."""
    got = []
    try:
        while True:
            op, payload = client._frame()
            if op == 8: return got, struct.unpack('>H', payload[:2])[0], payload[2:].decode()
            if op == 2: got += [rid for rid, error in Client.results(payload[1], payload[2:]) if error is None]
    except (OSError, ConnectionError): return got, None, ''


def publish_two(s):
    """Databases `bad` and `good`; the replica of the first."""
    token = s.identity()['token']
    s.publish('bad', module('e2e-2.14'), token)
    s.publish('good', module('e2e-2.14'), token)
    return token, os.path.basename(min(glob.glob(s.data + '/replicas/*'), key=lambda p: int(os.path.basename(p))))


def expect_stopped(s, token, cause):
    """Every way to the database says that it has stopped, and why; its log of the module can be read; the other one works."""
    s.check_alive()
    for method, path, body in (('POST', 'call/append_log', '[500,"x"]'), ('POST', 'sql', 'SELECT * FROM log_entry'), ('GET', 'schema?version=9', None)):
        status, text, _ = s.http(method, '/v1/database/bad/' + path, body, token, {'Content-Type': 'application/json'} if body else {})
        assert status == 503 and TEXT in text and cause in text, (path, status, text)
    with open(module('e2e-2.14'), 'rb') as f: status, text, _ = s.http('PUT', '/v1/database/bad', f.read(), token)
    assert status == 503 and TEXT in text, (status, text)
    try: Client(s, 'bad', token)
    except Exception as e: assert '503' in str(e), e
    else: raise Exception('a stopped database takes clients')
    assert s.http('GET', '/v1/database/bad/logs', None, token)[0] == 200
    assert TEXT in s.server_log() and cause in s.server_log()


def stops_one_database():
    with Server() as s:
        token, bad = publish_two(s)
        c, other = Client(s, 'bad', token), Client(s, 'good', token)
        for i in range(100): c.call('append_log', append(i, 4000))
        assert len(set(results(c, 100))) == 100
        resource.prlimit(s.process.pid, resource.RLIMIT_FSIZE, (log_bytes(s, bad) + 700, resource.RLIM_INFINITY))
        for i in range(100, 150): c.call('append_log', append(i))
        got, code, reason = until_closed(c)
        acknowledged = 100 + len(got)
        assert code == 1011 and TEXT in reason, (code, reason)
        expect_stopped(s, token, 'File too large')
        for i in range(5): other.call('append_log', append(i))
        results(other, 5)
        assert len(s.sql('good', 'SELECT * FROM log_entry', token)) == 5
        s.stop()
        s.start()
        rows = sorted(r[0] for r in s.sql('bad', 'SELECT seq FROM log_entry', token))
        assert rows == list(range(len(rows))) and len(rows) >= acknowledged, (acknowledged, rows[-3:])
        assert s.call('bad', 'append_log', 1000, 'again', token=token)[0] == 200
        assert len(s.sql('good', 'SELECT * FROM log_entry', token)) == 5


def every_way_to_fail():
    """No space for bytes, for a new segment, half a write, a failed sync: the same for all, whether the server is stopped or killed then, and whether the disk heals meanwhile."""
    ways = ('write', errno.ENOSPC), ('short', errno.EIO), ('sync', errno.EIO), ('sync', errno.ENOSPC), ('create', errno.ENOSPC), ('write', errno.EROFS)
    with Disk() as disk, Server(options=['--max-segment-size', '20000'], env=disk.env) as s:
        token, bad = publish_two(s)
        seq, there = 0, 0
        for round_, (mode, code) in enumerate(ways):
            clients = [Client(s, 'bad', token), Client(s, 'bad', token, confirmed=False)]
            other = Client(s, 'good', token)
            for c in clients:
                for _ in range(10):
                    c.call('append_log', append(seq, 500))
                    seq += 1
                results(c, 10)
            acknowledged = set(range(seq - 20, seq - 10)) # those of the confirmed one
            base, first = seq, clients[0].request_id + 1
            disk.does(f'/replicas/{bad}/clog', mode, code)
            for _ in range(60):
                clients[0].call('append_log', append(seq, 500))
                seq += 1
            got, close_code, reason = until_closed(clients[0])
            acknowledged |= {base + rid - first for rid in got}
            assert close_code == 1011 and TEXT in reason, (mode, close_code, reason)
            assert until_closed(clients[1])[1] == 1011
            if mode != 'create': assert not got, f'{mode}: acknowledged though nothing was written'
            if round_ % 2: disk.is_well() # too late: nothing is tried again
            expect_stopped(s, token, os.strerror(code))
            other.call('append_log', append(10 ** 6 + round_))
            results(other, 1)
            disk.is_well()
            s.kill() if round_ % 3 == 2 else s.stop()
            s.start()
            rows = {r[0] for r in s.sql('bad', 'SELECT seq FROM log_entry', token)}
            assert acknowledged <= rows and len(rows) >= there, (mode, sorted(acknowledged - rows)[:5])
            new = sorted(r for r in rows if base <= r < seq)
            assert new == list(range(base, base + len(new))), new # a prefix
            there = len(rows)
            assert s.call('bad', 'append_log', 10 ** 7 + round_, 'again', token=token)[0] == 200
            there += 1
            assert len(s.sql('good', 'SELECT * FROM log_entry', token)) == round_ + 1


def snapshots_that_fail():
    """No snapshot can be written: calls go on, the log keeps what it needs, and when the disk is well the next one is made and the log is short again."""
    with Disk() as disk, Server(options=['--max-segment-size', '5000', '--snapshot-interval-transactions', '20'], env=disk.env) as s:
        token = s.identity()['token']
        s.publish('d', module('e2e-2.14'), token)
        [folder] = glob.glob(s.data + '/replicas/*')
        def segments(): return sorted(glob.glob(folder + '/clog/*.log'))
        def work(first, n):
            for i in range(first, first + n): assert s.call('d', 'append_log', i, 'x' * 200, token=token)[0] == 200
        n = 0
        for mode in ('create', errno.ENOSPC), ('write', errno.ENOSPC), ('sync', errno.EIO):
            disk.does('/snapshots', *mode)
            kept = segments()[0]
            work(n, 60)
            n += 60
            time.sleep(0.3)
            assert os.path.exists(kept) or n == 60, 'a segment is gone that no snapshot replaces'
            assert 'no snapshot of database' in s.server_log() and os.strerror(mode[1]) in s.server_log()
            assert not glob.glob(folder + '/snapshots/*.tmp'), 'an unfinished snapshot is left'
            s.kill()
            s.start()
            assert len(s.sql('d', 'SELECT seq FROM log_entry', token)) == n
        disk.is_well()
        work(n, 60)
        end = time.time() + 20
        while int(os.path.basename(segments()[0]).split('.')[0]) < n: # behind all that was written before
            assert time.time() < end, segments()
            time.sleep(0.05)
        s.kill()
        s.start()
        assert len(s.sql('d', 'SELECT seq FROM log_entry', token)) == n + 60


def publishing_on_a_full_disk():
    """A first publish that finds no space says so, leaves nothing, and can be done when there is some; an update that finds none stops its database only."""
    with Disk() as disk, Server(env=disk.env) as s:
        token = s.identity()['token']
        s.publish('there', module('e2e-2.14'), token)
        wasm = open(module('e2e-2.14'), 'rb').read()
        end = time.time() + 20
        while not glob.glob(s.data + '/replicas/*/snapshots/*.snapshot') and time.time() < end: time.sleep(0.02)
        before = sorted(glob.glob(s.data + '/replicas/*/**', recursive=True))
        for mode in ('create', errno.ENOSPC), ('write', errno.ENOSPC), ('sync', errno.EIO):
            disk.does('/clog', *mode)
            status, text, _ = s.http('PUT', '/v1/database/new', wasm, token)
            assert status == 500 and ('No space left on device' in text or 'Input/output error' in text or 'could not be written' in text), (mode, status, text)
            assert s.http('GET', '/v1/database/new', None, token)[0] == 404
            assert sorted(glob.glob(s.data + '/replicas/*/**', recursive=True)) == before, sorted(glob.glob(s.data + '/replicas/*/**', recursive=True))
            disk.is_well()
        s.kill()
        s.start()
        s.publish('new', module('e2e-2.14'), token)
        assert s.call('there', 'append_log', 1, 'x', token=token)[0] == 200
        disk.does('/clog', 'write', errno.ENOSPC)
        status, text, _ = s.http('PUT', '/v1/database/new', wasm + b'\0\4\3new', token)
        assert status in (500, 503) and TEXT in text, (status, text)
        disk.is_well()
        assert s.call('there', 'append_log', 2, 'x', token=token)[0] == 200 # it had nothing to write meanwhile
        s.stop()
        s.start()
        assert s.call('new', 'append_log', 1, 'x', token=token)[0] == 200


def slow_disk():
    """spec/06 §21 case 22: with a sync that takes a second, who wants confirmed answers waits for it and others do not; a kill in between takes nothing that somebody confirmed has seen."""
    with Disk() as disk, Server(env=disk.env) as s:
        token = s.identity()['token']
        s.publish('d', module('e2e-2.14'), token)
        confirmed, unconfirmed = Client(s, 'd', token), Client(s, 'd', token, confirmed=False)
        disk.does('/clog/', 'delay', 1000)
        start = time.time()
        unconfirmed.call('append_log', append(1))
        results(unconfirmed, 1)
        assert time.time() - start < 0.5, time.time() - start
        assert [r[0] for r in json.loads(s.http('POST', '/v1/database/d/sql?confirmed=false', 'SELECT seq FROM log_entry', token)[1])[0]['rows']] == [1]
        assert time.time() - start < 0.9, time.time() - start
        start = time.time()
        confirmed.call('append_log', append(2))
        results(confirmed, 1)
        assert time.time() - start >= 0.95, time.time() - start
        start = time.time()
        unconfirmed.call('append_log', append(3))
        results(unconfirmed, 1)
        assert time.time() - start < 0.5
        s.sql('d', 'SELECT seq FROM log_entry', token) # confirmed by default
        assert time.time() - start >= 0.95, time.time() - start
        seen = set()
        for round_ in range(3):
            confirmed = Client(s, 'd', token)
            base = 10 + 100 * round_
            disk.does('/clog/', 'delay', 300)
            for i in range(base, base + 30): confirmed.call('append_log', append(i))
            end = time.time() + 0.2 + 0.25 * round_
            while time.time() < end:
                if select.select([confirmed.s], [], [], 0.02)[0]: seen |= {base + rid - 1 for rid, _ in Client.results(*confirmed.next())}
            s.kill()
            disk.is_well()
            s.start()
            rows = {r[0] for r in s.sql('d', 'SELECT seq FROM log_entry', token)}
            assert seen <= rows, seen - rows
        assert seen, 'nothing was confirmed in any round'


def procedures_wait():
    """spec/07 §19 case 9: what a procedure commits is durable before it goes on, if its caller reads confirmed; after 5 s it is told that nobody knows, and the data is there."""
    with Disk() as disk, Server(env=disk.env) as s:
        token = s.identity()['token']
        p = Player(s, token)
        rows = []
        def script(n):
            """n transactions, a new row each."""
            x = Script()
            at = x.place(u64(0))
            for _ in range(n):
                x.procedure_start_mut_tx(at)
                rows.append(len(rows))
                x.datastore_insert_bsatn(At(script_table(p, x, 'plain')), x.place(u32(rows[-1]) + text('x')), x.place(u32(9)))
                x.procedure_commit_mut_tx()
            return x
        def timed(n, query=''):
            start = time.time()
            status, answer, _ = s.http('POST', f'/v1/database/{p.name}/call/prun{query}', json.dumps([script(n).ended(0).hex()]), token, {'Content-Type': 'application/json'})
            return status, answer, time.time() - start
        disk.does('/clog/', 'delay', 1000)
        status, answer, took = timed(2)
        assert status == 200 and took >= 2, (status, answer, took)
        status, answer, took = timed(2, '?confirmed=false')
        assert status == 200 and took < 0.9, (status, answer, took)
        for confirmed in True, False: # over WebSocket it is the connection that says so
            c = opened(s, p.name, V3, token=token, query='compression=None&confirmed=' + ('true' if confirmed else 'false'))
            code = script(1).ended(0)
            start = time.time()
            c.send(procedure(1, 'prun', u32(len(code)) + code))
            assert c.next()[:2] == b'\7\0'
            assert (time.time() - start >= 1) == confirmed, (confirmed, time.time() - start)
            c.close()
        disk.is_well()
        disk.does('/clog/', 'delay', 6000) # the answer to HTTP waits for the log in any case
        status, answer, took = timed(1)
        assert status == 500 and 'durability confirmation timed out; outcome unknown, do not retry without deduplication' in answer and 5 <= took, (status, answer, took)
        assert json.loads(s.http('POST', f'/v1/database/{p.name}/sql?confirmed=false', f'SELECT a FROM plain WHERE a = {rows[-1]}', token)[1])[0]['rows'][-1:] == [[rows[-1]]]


def back_pressure():
    """What waits for a slow disk is bounded: callers wait then, and the memory of the server does not grow with what they offer. Afterwards all of it is done."""
    limit_mib = 64 * 5 + (600 if 'tsan' in BINARY else 0) # ThreadSanitizer keeps several bytes for each
    with Disk() as disk, Server(env=disk.env) as s:
        token = s.identity()['token']
        s.publish('slow', module('e2e-2.14'), token)
        s.publish('fast', module('e2e-2.14'), token)
        slow = min(glob.glob(s.data + '/replicas/*'), key=lambda p: int(os.path.basename(p)))
        for i in range(4): assert s.call('slow', 'add_person', f'person {i}', 30, token=token)[0] == 200
        clients = [Client(s, 'slow', token, confirmed=False) for _ in range(4)]
        def frame(i, n):
            """The same row again and again, so that only the log grows: old and new row and the arguments are in each record."""
            payload = b'\x03' + struct.pack('<IB', n + 1, 0) + bstr('rename_person') + bstr(struct.pack('<I', i + 1) + bstr(f'{i}.{n} ' + 'x' * 100_000))
            return b'\x82\xff' + struct.pack('>Q', len(payload)) + b'\0\0\0\0' + payload # masked by nothing
        frames = [[frame(i, 0), frame(i, 1)] for i in range(4)]
        for c, f in zip(clients, frames): c.s.sendall(f[0])
        for c in clients: results(c, 1)
        before, peak, offered, had_to_wait = s.rss_kib(), 0, [0] * 4, [False] * 4
        disk.does(os.path.basename(slow) + '/clog/', 'delay', 2000)
        stop = time.time() + 5
        def offer(i):
            c = clients[i]
            c.s.settimeout(0.2)
            while time.time() < stop:
                try: c.s.sendall(frames[i][1 - offered[i] % 2])
                except TimeoutError: # in the middle of a message: this connection is done
                    had_to_wait[i] = True
                    return
                offered[i] += 1
        def take(i):
            """Its answers, so that it is not for those that the server waits."""
            r = clients[i]
            while time.time() < stop:
                if not select.select([r.s], [], [], 0.1)[0]: continue
                try: r.s.recv(1 << 16)
                except (OSError, TimeoutError): pass
        threads = [threading.Thread(target=f, args=(i,)) for i in range(4) for f in (offer, take)]
        for t in threads: t.start()
        while time.time() < stop:
            peak = max(peak, s.rss_kib())
            time.sleep(0.05)
        start = time.time()
        assert s.call('fast', 'append_log', 1, 'x', token=token)[0] == 200 # it has a disk of its own, so to speak
        assert time.time() - start < 1.5, time.time() - start
        for t in threads: t.join()
        grown = (peak - before) / 1024
        print(f'back_pressure: {sum(offered)} calls of 100 kB, {sum(offered) * 0.3:.0f} MB of log, offered to a disk that syncs every 2 s; the server grew by {grown:.0f} MiB at most')
        assert grown < limit_mib and all(had_to_wait), (grown, had_to_wait)
        disk.is_well()
        for c in clients: c.close()
        names = dict(s.sql('slow', 'SELECT id, name FROM person', token))
        assert len(names) == 4
        s.kill()
        s.start()
        assert dict(s.sql('slow', 'SELECT id, name FROM person', token)).keys() == names.keys()


if __name__ == '__main__': main([stops_one_database, every_way_to_fail, snapshots_that_fail, publishing_on_a_full_disk, slow_disk, procedures_wait, back_pressure])
