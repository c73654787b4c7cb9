"""What is kept of logs and snapshots: by default what the two newest snapshots need, with `retain = all` everything, for all databases or for one; and `--in-memory`, which keeps nothing."""
import glob, os, shutil, subprocess, time
from lightcone import BINARY, Client, Server, bstr, main, module

TINY = ['--max-segment-size', '6000', '--snapshot-interval-transactions', '25']


def files(folder, pattern): return sorted(glob.glob(f'{folder}/{pattern}'))
def segments(folder): return files(folder, 'clog/*.stdb.log')
def snapshots(folder): return files(folder, 'snapshots/*.snapshot')
def number(path): return int(os.path.basename(path).split('.')[0])
def replica(s, n): return sorted(glob.glob(s.data + '/replicas/*'), key=number)[n]
def work(s, token, name, first, n):
    for i in range(first, first + n): assert s.call(name, 'append_log', i, f'{i} ' + 'x' * 300, token=token)[0] == 200
def rows(s, token, name): return sorted(s.sql(name, 'SELECT * FROM log_entry', token))
def settled(folder, fn, seconds=20):
    """Until what is kept is as fn says: older files go after a new snapshot has its name."""
    end = time.time() + seconds
    while not fn():
        assert time.time() < end, (segments(folder), snapshots(folder))
        time.sleep(0.05)


def bounded_unless_told_otherwise():
    """One database by default and one that keeps all, on one server: the first stays small however much is written, the second keeps all of it; both are the same after a restart."""
    with Server(options=TINY + ['--retain', 'needed,kept=all']) as s:
        token = s.identity()['token']
        for name in 'plain', 'kept': s.publish(name, module('e2e-2.14'), token)
        plain, kept = replica(s, 0), replica(s, 1)
        most = 0
        for k in range(6):
            for name in 'plain', 'kept': work(s, token, name, k * 60, 60)
            def is_bounded():
                old = snapshots(plain)
                # of the segments only those that hold something behind the older snapshot
                return len(old) == 2 and len(segments(plain)) > 1 and number(segments(plain)[1]) > number(old[0])
            if k: settled(plain, is_bounded)
            most = max(most, sum(map(os.path.getsize, segments(plain))))
        assert number(segments(plain)[0]) > 0 and len(snapshots(plain)) == 2
        total = sum(map(os.path.getsize, segments(kept)))
        assert number(segments(kept)[0]) == 0 and len(snapshots(kept)) > 5, (segments(kept)[:3], snapshots(kept))
        assert most < 80_000, f'{most} bytes of log are kept'
        packed = [p for p in segments(kept) if open(p, 'rb').read(4) == b'\x28\xb5\x2f\xfd']
        assert len(packed) > len(segments(kept)) // 2, 'older segments are not compressed'
        assert not [p for p in files(plain, 'clog/*.ofs') if not os.path.exists(p[:-3] + 'log')], 'an index without its segment'
        print(f'{most} bytes of log at most where it is bounded, {total} bytes compressed where all is kept, of {6 * 60} rows of 300 bytes and as many connections')
        before = {name: rows(s, token, name) for name in ('plain', 'kept')}
        s.kill()
        s.start()
        for name in before: assert rows(s, token, name) == before[name] and len(before[name]) == 360, name
        s.stop()
        shutil.rmtree(kept + '/snapshots') # the whole log alone gives the same
        s.start()
        assert rows(s, token, 'kept') == before['kept']
        s.stop()
        s.options = TINY + ['--retain', 'all'] # for all from now on: nothing more goes
        s.start()
        first = segments(plain)[0]
        for k in range(6, 8): work(s, token, 'plain', k * 60, 60)
        settled(plain, lambda: len(snapshots(plain)) > 4)
        assert segments(plain)[0] == first
        s.stop()
        s.options = TINY # and back: what is not needed goes with the next snapshot
        s.start()
        for name in 'plain', 'kept': work(s, token, name, 8 * 60, 60)
        for folder in plain, kept: settled(folder, lambda: len(snapshots(folder)) == 2 and number(segments(folder)[1]) > number(snapshots(folder)[0]))
        assert number(segments(kept)[0]) > 0
        s.kill()
        s.start()
        assert rows(s, token, 'kept')[:360] == before['kept'] and len(rows(s, token, 'plain')) == 540
    for value in 'some', 'kept=', '=all', 'all,', 'kept=all=all', '':
        p = subprocess.run([BINARY, 'start', '--retain', value], capture_output=True, text=True, timeout=60)
        assert p.returncode == 2 and f"invalid value '{value}' for '--retain <VALUE>': needed or all, or NAME=needed|all,... is expected" in p.stderr, (value, p.returncode, p.stderr)


def in_memory():
    """No file of a database, no waiting, everything works; a restart begins with the program and init (spec/06 §14, §21 case 42; spec/04 §6.1)."""
    with Server(options=['--in-memory', *TINY]) as s:
        who = s.identity()
        token = who['token']
        identity = s.publish('m', module('e2e-2.14'), token)
        def files_there():
            found = {os.path.relpath(os.path.join(d, f), s.data) for d, _, names in os.walk(s.data) for f in names}
            return {f for f in found if not f.startswith(('control-db/', 'compiled/', 'id_ecdsa', 'spacetime.pid', 'metadata.toml', 'config.toml', 'logs/'))}
        work(s, token, 'm', 0, 100)
        start = time.time()
        c = Client(s, 'm', token, confirmed=True)
        for i in range(1000, 1200): c.call('append_log', i.to_bytes(8, 'little') + bstr('x'))
        got = []
        while len(got) < 200: got += Client.results(*c.next())
        assert all(e is None for _, e in got) and time.time() - start < 10
        c.call('fail', bstr('as asked'))
        assert Client.results(*c.next())[0][1] == 'as asked'
        assert len(rows(s, token, 'm')) == 300 and s.sql('m', 'SELECT * FROM counter', token) == [[0, 0]]
        assert s.http('POST', '/v1/database/m/sql', "INSERT INTO log_entry (seq, payload) VALUES (5000, 'sql')", token)[0] == 200
        assert s.http('GET', '/v1/database/m/logs?num_lines=10', None, token)[0] == 200
        assert not os.path.exists(s.data + '/replicas') and not files_there(), files_there()
        changed = open(module('e2e-2.14'), 'rb').read() + b'\0\4\3new' # another program: exchanged with everything in place
        status, text, _ = s.http('PUT', '/v1/database/m', changed, token)
        assert status == 200 and len(rows(s, token, 'm')) == 301, (status, text)
        program = s.http('GET', '/v1/database/m', None, token)[1]
        for end in s.kill, s.stop:
            end()
            s.start()
            assert rows(s, token, 'm') == [] and s.sql('m', 'SELECT * FROM counter', token) == [[0, 0]] # init has run
            assert s.http('GET', '/v1/database/m', None, token)[1] == program
            assert [r[0] for r in s.sql('m', 'SELECT program_hash FROM st_module', token)]
            work(s, token, 'm', 0, 30)
            assert not os.path.exists(s.data + '/replicas') and not files_there(), files_there()
        assert s.http('PUT', '/v1/database/m?clear=true', changed, token)[0] == 200 and rows(s, token, 'm') == []
        s.publish('gone', module('e2e-2.14'), token)
        assert s.http('DELETE', '/v1/database/gone', None, token)[0] == 200
        s.stop()
        s.options = list(TINY) # with files from now on: it begins with its program once more, and stays
        s.start()
        assert rows(s, token, 'm') == []
        work(s, token, 'm', 0, 30)
        s.kill()
        s.start()
        before = rows(s, token, 'm')
        assert len(before) == 30 and s.http('GET', '/v1/database/gone', None, token)[0] == 404
        assert identity in s.http('GET', '/v1/database/m', None, token)[1]
        s.stop()
        s.options = ['--in-memory'] # its data is in files: not touched, not hidden behind an empty one
        s.start()
        status, text, _ = s.http('POST', '/v1/database/m/sql', 'SELECT * FROM log_entry', token)
        assert status == 500 and 'this server keeps databases in memory: start it without --in-memory' in text, (status, text)
        s.stop()
        s.options = []
        s.start()
        assert rows(s, token, 'm') == before


if __name__ == '__main__': main([bounded_unless_told_otherwise, in_memory])
