"""kill -9 under load: what was confirmed is there after a restart, byte for byte; what failed or was never sent is not. Once as a server is by default, once with
snapshots every few transactions and tiny log segments, so that kills meet snapshots being written, published and cleaned up after, and segments being begun.

ROUNDS (default 50) kills each; SEED repeats a run.
"""
import glob, os, random, select, struct, time
from lightcone import Client, Server, bstr, main, module

ROUNDS = int(os.environ.get('ROUNDS', '50'))
SEED = int(os.environ.get('SEED', str(int(time.time()))))


def payload_of(seq, n): return f'{seq}:' + 'x' * n + 'é'


def damage_newest_snapshot(s, rng):
    """Changes a byte of the newest snapshot; returns its path."""
    path = max(glob.glob(s.data + '/replicas/*/snapshots/*.snapshot'), default=None)
    if path is None: return None
    with open(path, 'r+b') as f:
        at = rng.randrange(os.path.getsize(path))
        f.seek(at)
        b = f.read(1)
        f.seek(at)
        f.write(bytes([b[0] ^ 1 << rng.randrange(8)]))
    return path


def kill_rounds(options=(), tiny=False):
    print(f'seed {SEED}: SEED={SEED} ROUNDS={ROUNDS} python3 tests/e2e/crash.py')
    rng = random.Random(SEED)
    seen, damaged = set(), 0
    with Server(options=options) as s:
        token = s.identity()['token']
        s.publish('crash', module('e2e-2.14'), token)
        confirmed, sent, seq = {}, {}, 0
        for round_ in range(ROUNDS):
            clients = [Client(s, 'crash', token) for _ in range(3)]
            waiting = [{} for _ in clients]
            end = time.time() + rng.uniform(0.01, 0.25)
            while time.time() < end:
                for c, w in zip(clients, waiting):
                    while len(w) < 20:
                        seq += 1
                        if rng.random() < 0.1: # fails after an insert: must never appear
                            w[c.call('fail', bstr(f'round {round_}'))] = None
                            continue
                        text = payload_of(seq, rng.randrange(200))
                        sent[seq] = text
                        w[c.call('append_log', struct.pack('<Q', seq) + bstr(text))] = seq
                for c in select.select([c.s for c in clients], [], [], 0.01)[0]:
                    i = [k.s for k in clients].index(c)
                    for rid, error in Client.results(*clients[i].next()):
                        what = waiting[i].pop(rid)
                        if what is None: assert error == f'round {round_}', error
                        else:
                            assert error is None, error
                            confirmed[what] = sent[what]
            s.kill()
            for c in clients: # what had arrived before the kill counts as confirmed too
                c.s.settimeout(0.5)
                try:
                    while True:
                        for rid, error in Client.results(*c.next()):
                            what = waiting[clients.index(c)].pop(rid)
                            if what is not None and error is None: confirmed[what] = sent[what]
                except (OSError, ConnectionError): pass
                c.close()
            found = glob.glob(s.data + '/replicas/*/snapshots/*')
            seen |= set(found)
            path = damage_newest_snapshot(s, rng) if tiny and rng.random() < 0.2 and len(glob.glob(s.data + '/replicas/*/snapshots/*.snapshot')) > 1 else None
            s.start()
            if path:
                damaged += 1
                if not os.path.exists(path + '.damaged'): raise Exception(f'round {round_}: nobody noticed the damage in {path}')
                os.remove(path + '.damaged')
            rows = dict(map(tuple, s.sql('crash', 'SELECT * FROM log_entry', token)))
            missing = [k for k in confirmed if rows.get(k) != confirmed[k]]
            if missing: raise Exception(f'round {round_}: {len(missing)} confirmed rows are lost or changed, first {missing[:3]}')
            unknown = [k for k in rows if sent.get(k) != rows[k]]
            if unknown: raise Exception(f'round {round_}: rows nobody wrote: {unknown[:3]}')
            if s.sql('crash', 'SELECT * FROM person', token): raise Exception(f'round {round_}: rows of failed calls are there')
            left = s.sql('crash', 'SELECT * FROM connected', token) # a query is a short connection itself
            if [row[2] for row in left] != [1]: raise Exception(f'round {round_}: clients of before the crash are still connected: {left}')
        if len(confirmed) < ROUNDS: raise Exception(f'only {len(confirmed)} confirmed transactions in {ROUNDS} rounds')
        if tiny:
            snapshots = [p for p in seen if p.endswith('.snapshot')]
            segments = glob.glob(s.data + '/replicas/*/clog/*.stdb.log')
            if len(snapshots) < ROUNDS // 2: raise Exception(f'only {len(snapshots)} snapshots were seen')
            if any(p.endswith('/00000000000000000000.stdb.log') for p in segments): raise Exception('the log is not bounded')
            print(f'{len(snapshots)} finished and {len([p for p in seen if p.endswith(".tmp")])} unfinished snapshots seen at kills, {damaged} damaged and replaced by the older one; {len(segments)} segments at the end')
        print(f'{ROUNDS} rounds, {len(confirmed)} confirmed transactions, {len(sent)} sent, all accounted for')


def kill_rounds_with_snapshots(): kill_rounds(['--snapshot-interval-transactions', '40', '--max-segment-size', '20000'], tiny=True)


if __name__ == '__main__': main([kill_rounds, kill_rounds_with_snapshots])
