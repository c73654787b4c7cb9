"""kill -9 under load: what was confirmed is there after a restart, byte for byte; what failed or was never sent is not; of what was only answered, not confirmed, a
prefix. Once as a server is by default, once with snapshots every few transactions and tiny log segments, so that kills meet snapshots being written, published and
cleaned up after, segments being begun, compressed and removed, and programs being exchanged.

ROUNDS (default 40) kills each, or as many as fit into CRASH_SECONDS; SEED repeats a run. `make crash-campaign` is the long one.
"""
import glob, os, random, select, struct, subprocess, threading, time
from lightcone import BINARY, Client, Server, bstr, main, module

ROUNDS = int(os.environ.get('ROUNDS', '40'))
SECONDS = float(os.environ.get('CRASH_SECONDS', '0'))
SEED = int(os.environ.get('SEED', str(int(time.time()))))


class Load:
    """Calls of some clients, what they were told, and what must therefore be true after a kill."""
    def __init__(self, rng):
        self.rng, self.seq = rng, 0
        self.sent, self.confirmed = {}, {}
        self.told = []       # seqs of unconfirmed clients' calls, in the order in which they were answered
        self.must_have = 0   # so many of them are covered by a confirmed call that was sent after their answers
    def round(self, s, token, round_):
        self.fail_text = f'round {round_}'
        self.clients = [Client(s, 'crash', token, confirmed=i != 2) for i in range(4)]
        self.waiting = [{} for _ in self.clients]
        self.orders = [[] for _ in self.clients]
    def send(self):
        for c, waits, order in zip(self.clients, self.waiting, self.orders):
            while len(waits) < 20:
                self.seq += 1
                if self.rng.random() < 0.1: # fails after an insert: must never appear
                    waits[c.call('fail', bstr(self.fail_text))] = None
                    continue
                n = self.rng.randrange(200) if self.rng.random() < 0.97 else self.rng.randrange(9000)
                text = f'{self.seq}:' + 'x' * n + 'é'
                self.sent[self.seq] = text
                order.append(self.seq)
                waits[c.call('append_log', struct.pack('<Q', self.seq) + bstr(text))] = (self.seq, len(self.told))
    def receive(self, c):
        i = self.clients.index(c)
        for rid, error in Client.results(*c.next()):
            call = self.waiting[i].pop(rid)
            if call is None:
                assert error == self.fail_text, error
                continue
            assert error is None, error
            seq, told = call
            if i == 2: self.told.append(seq)
            else:
                self.confirmed[seq] = self.sent[seq]
                self.must_have = max(self.must_have, told)
    def run(self, until):
        while time.time() < until:
            self.send()
            by_socket = {c.s: c for c in self.clients}
            for ready in select.select(list(by_socket), [], [], 0.01)[0]: self.receive(by_socket[ready])
    def drain(self):
        """What had arrived before the kill counts too."""
        for c in self.clients:
            c.s.settimeout(0.5)
            try:
                while True: self.receive(c)
            except (OSError, ConnectionError): pass
            c.close()
    def check(self, rows):
        missing = [k for k in self.confirmed if rows.get(k) != self.confirmed[k]]
        if missing: raise Exception(f'{len(missing)} confirmed rows are lost or changed, first {missing[:3]}')
        lost = [k for k in self.told[:self.must_have] if rows.get(k) != self.sent[k]]
        if lost: raise Exception(f'{len(lost)} answered rows are lost though later ones were confirmed, first {lost[:3]}')
        unknown = [k for k in rows if self.sent.get(k) != rows[k]]
        if unknown: raise Exception(f'rows nobody wrote: {unknown[:3]}')
        for i, order in enumerate(self.orders): # what survives of a client's calls is a prefix of them
            there = [k in rows for k in order]
            if True in there and not all(there[:len(there) - there[::-1].index(True)]): raise Exception(f'client {i}: a call is there without one before it: {list(zip(order, there))[:40]}')
        told = [k in rows for k in self.told]
        if False in told and any(told[told.index(False):]): raise Exception('an answered call is there without one that was answered before it')
        self.told = [k for k in self.told if k in rows] # what is there now, stays
        for k in self.told: self.confirmed[k] = self.sent[k]
        self.told, self.must_have = [], 0


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


def exchange(s, token, note, told):
    """Publishes the same module with another custom section, which is another program."""
    wasm = open(module('e2e-2.14'), 'rb').read() + b'\0' + bytes([len(note) + 2, 1]) + b'n' + note
    try: told.append(s.http('PUT', '/v1/database/crash', wasm, token)[0])
    except Exception: pass # killed


def kill_rounds(tiny=False):
    name = 'kill_rounds_with_snapshots' if tiny else 'kill_rounds'
    print(f'{name}, seed {SEED}: SEED={SEED} ROUNDS={ROUNDS} CRASH_SECONDS={SECONDS:g} python3 tests/e2e/crash.py', flush=True)
    rng = random.Random(SEED)
    def options():
        return ['--snapshot-interval-transactions', str(rng.choice((10, 40, 40, 300))), '--max-segment-size', str(rng.choice((2000, 20000, 20000, 100000)))] if tiny else []
    seen, damaged, exchanges, checks, end, round_ = set(), 0, 0, 0, time.time() + SECONDS, 0
    with Server(options=options()) as s:
        token = s.identity()['token']
        s.publish('crash', module('e2e-2.14'), token)
        load = Load(rng)
        while round_ < ROUNDS if not SECONDS else time.time() < end:
            where = f'{name}, seed {SEED}, round {round_}'
            load.round(s, token, round_)
            until, exchanged = time.time() + rng.uniform(0.01, 0.25), []
            update = threading.Thread(target=exchange, args=(s, token, str(round_).encode(), exchanged)) if tiny and rng.random() < 0.15 else None
            if update: update.start()
            load.run(until)
            s.kill()
            if update:
                update.join()
                exchanges += 1
            load.drain()
            seen |= set(glob.glob(s.data + '/replicas/*/snapshots/*'))
            if rng.random() < 0.1: # a crash is no damage
                checks += 1
                p = subprocess.run([BINARY, 'check', s.data], capture_output=True, text=True, timeout=120, env=dict(os.environ, ASAN_OPTIONS='detect_leaks=0'))
                if p.returncode: raise Exception(f'{where}: check says {p.stdout}{p.stderr}')
            path = damage_newest_snapshot(s, rng) if tiny and rng.random() < 0.2 and len(glob.glob(s.data + '/replicas/*/snapshots/*.snapshot')) > 1 else None
            s.options = options()
            s.start()
            if path:
                damaged += 1
                if not os.path.exists(path + '.damaged'): raise Exception(f'{where}: nobody noticed the damage in {path}')
                os.remove(path + '.damaged')
            try: load.check(dict(map(tuple, s.sql('crash', 'SELECT * FROM log_entry', token))))
            except Exception as e: raise Exception(f'{where}: {e}')
            if s.sql('crash', 'SELECT * FROM person', token): raise Exception(f'{where}: rows of failed calls are there')
            left = s.sql('crash', 'SELECT * FROM connected', token) # a query is a short connection itself
            if [row[2] for row in left] != [1]: raise Exception(f'{where}: clients of before the crash are still connected: {left}')
            round_ += 1
        if len(load.confirmed) < round_: raise Exception(f'only {len(load.confirmed)} confirmed transactions in {round_} rounds')
        if tiny:
            snapshots = [p for p in seen if p.endswith('.snapshot')]
            segments = glob.glob(s.data + '/replicas/*/clog/*.stdb.log')
            if len(snapshots) < round_ // 2: raise Exception(f'only {len(snapshots)} snapshots were seen')
            if any(p.endswith('/00000000000000000000.stdb.log') for p in segments): raise Exception('the log is not bounded')
            print(f'{len(snapshots)} finished and {len([p for p in seen if p.endswith(".tmp")])} unfinished snapshots seen at kills, {damaged} damaged and replaced by the older one; '
                  f'{exchanges} exchanges of the program; {len(segments)} segments at the end')
        print(f'{round_} rounds, {len(load.confirmed)} confirmed transactions, {len(load.sent)} sent, {checks} folders checked in between, all accounted for', flush=True)


def kill_rounds_with_snapshots(): kill_rounds(tiny=True)


if __name__ == '__main__': main([kill_rounds, kill_rounds_with_snapshots])
