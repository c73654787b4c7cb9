"""Differential oracle of live queries over all four protocols at once: random schemas (row-level security, event tables, views of rows and of queries), random
queries of the subscription language and random transactions. Calls, subscriptions and their ends are sent without waiting for each other; then what each client
has built from the messages must equal the same queries evaluated afresh.

STEPS (transactions, 1,500) and SEED say how much; `STEPS=200000 SEED=7 OUT=build/asan python3 tests/e2e/oracle.py` is a campaign. A mismatch names the seed.
"""
import json, os, random, re, struct, sys
from collections import Counter
from lightcone import Server, bstr, main
from websocket import Ws, u32, u64, strings
sys.path.insert(0, os.path.join(os.path.dirname(__file__), '..', 'modules'))
import wat

IDENT = b'\2' + wat.array([wat.SOME + wat.text('__identity__') + b'\x11'])
KINDS = {'u8': ('u8', '<B'), 'i32': ('i32', '<i'), 'u32': ('u32', '<I'), 'u64': ('u64', '<Q'), 'i64': ('i64', '<q'), 'f64': ('f64', '<d'), 'bool': ('bool', '<B'), 'string': ('string', None), 'ident': (IDENT, None)}
WIDTH = {'u8': 1, 'i32': 4, 'u32': 4, 'u64': 8, 'i64': 8, 'f64': 8, 'bool': 1, 'ident': 32}
SMALL = [0, 1, 2, 3, 4, 5]
VALUES = {'u8': SMALL, 'i32': [-3, -2, -1, 0, 1, 2], 'u32': SMALL, 'u64': SMALL + [1 << 40], 'i64': [-(1 << 40), -1, 0, 1, 2, 1 << 40], 'f64': [-1.5, 0.0, 2.25, 1e10], 'bool': [False, True], 'string': ['', 'x', 'y', "o'b", 'é', 'x' * 40]}


def encode(kind, v): return bstr(v) if kind == 'string' else bytes.fromhex(v)[::-1] if kind == 'ident' else struct.pack(KINDS[kind][1], v)


class Schema:
    """Tables t0, t1, … with a column k (u32) and o (identity) each, ev (an event table), views."""
    def __init__(self, r):
        self.r = r
        self.tables, self.columns = [], {}
        for i in range(r.randint(3, 4)):
            # the views of rows need rows of one size: the first table has no strings
            columns = [('k', 'u32'), ('o', 'ident')] + [(f'c{n}', r.choice([x for x in KINDS if (i or x != 'string') and x != 'ident'])) for n in range(r.randint(1, 4))]
            r.shuffle(columns)
            at = lambda name: [n for n, _ in columns].index(name)
            indexes = [(wat.BTREE, at('k')), (wat.BTREE, at('o'))]
            pk, unique = (at('k'), []) if r.random() < .5 else (None, [])
            for n, (name, kind) in enumerate(columns):
                if name in 'ko' or kind == 'f64': continue
                if r.random() < .3: indexes.append((wat.HASH if r.random() < .2 else wat.BTREE, n))
            if r.random() < .3: indexes.append((wat.BTREE, at('k'), r.choice([n for n in range(len(columns)) if n != at('k') and columns[n][1] != 'f64'])))
            self.add(f't{i}', columns, pk, indexes)
        self.add('ev', [('k', 'u32'), ('n', 'i32'), ('s', 'string')], None, [(wat.BTREE, 0)], event=True)
        self.rules = []
        for t in self.names():
            if r.random() < .25: self.rules.append(f'SELECT * FROM {t} WHERE {t}.o = :sender')
            elif r.random() < .15:
                other = r.choice([x for x in self.names() if x != t])
                self.rules.append(f'SELECT {t}.* FROM {t} JOIN {other} ON {t}.k = {other}.k WHERE {other}.o = :sender')
                if r.random() < .5: self.rules.append(f'SELECT * FROM {t} WHERE {t}.k = {r.choice(SMALL)}')
        self.views = {'v_all': 't0', 'v_mine': 't0', 'v_query': r.choice(self.names())}
        self.query_of_view = f'SELECT * FROM {self.views["v_query"]} WHERE {self.condition([("", self.views["v_query"])])}'.replace(':sender', '0x' + '00' * 32)
        self.size = sum(WIDTH[kind] for _, kind in self.columns['t0'])
    def names(self): return [t for t in self.columns if t[0] == 't']
    def add(self, name, columns, pk, indexes, event=False):
        self.columns[name] = columns
        self.tables.append(wat.Table(name, [(n, KINDS[k][0]) for n, k in columns], pk=pk, indexes=list(dict.fromkeys(indexes)), event=event))

    def module(self):
        number = {t.name: i for i, t in enumerate(self.tables)}
        d = wat.definition(self.tables, reducers=[('apply', [('ops', ['u8'])])], views=[('v_all', 0, True, [number['t0']]), ('v_query', 1, True, [number[self.views['v_query']]]), ('v_mine', 0, False, [number['t0']])])
        if self.rules: d = b'\2' + u32(struct.unpack('<I', d[1:5])[0] + 1) + d[5:] + b'\x08' + wat.array([wat.text(x) for x in self.rules])
        raw = b'\1' + bstr(self.query_of_view)
        index = bstr([x for x in (self.tables[0].index_name(i) for i in self.tables[0].indexes) if x.startswith('t0_o_idx')][0])[4:]
        names = ['bytes_sink_write', 'console_log', 'bytes_source_read', 'table_id_from_name', 'index_id_from_name', 'datastore_insert_bsatn', 'datastore_delete_all_by_eq_bsatn', 'datastore_table_scan_bsatn', 'datastore_index_scan_range_bsatn', 'row_iter_bsatn_advance', 'row_iter_bsatn_close']
        # rows of iterator at 1020 to 0x80005, how many before them; then the header of a view's answer
        rows = f'''(func $rows (param $sink i32) (local $p i32) (local $e i32) (local.set $p (i32.const 0x80005))
  (loop $l (i32.store (i32.const 1024) (i32.sub (i32.const 0x180000) (local.get $p))) (local.set $e (call $row_iter_bsatn_advance (i32.load (i32.const 1020)) (local.get $p) (i32.const 1024)))
    (local.set $p (i32.add (local.get $p) (i32.load (i32.const 1024)))) (br_if $l (i32.eqz (local.get $e))))
  (i32.store8 (i32.const 0x80000) (i32.const 0)) (i32.store (i32.const 0x80001) (i32.div_u (i32.sub (local.get $p) (i32.const 0x80005)) (i32.const {self.size})))
  (call $say (local.get $sink) (i32.const 0x80000) (i32.sub (local.get $p) (i32.const 0x80000))))'''
        extra = f'''{rows} {wat.data(5000 + len(d), raw)} {wat.data(3000, b"t0")} {wat.data(3010, index)}
(func $apply (param $args i32) (result i32) (local $p i32) (local $end i32) (local $n i32)
  (local.set $p (i32.const 0x10000))
  (loop $l (i32.store (i32.const 1000) (i32.const 0x10000)) (local.set $n (call $bytes_source_read (local.get $args) (local.get $p) (i32.const 1000))) (local.set $p (i32.add (local.get $p) (i32.load (i32.const 1000)))) (br_if $l (i32.eqz (local.get $n))))
  (local.set $end (i32.add (i32.const 0x10004) (i32.load (i32.const 0x10000)))) (local.set $p (i32.const 0x10004))
  (block $done (loop $next (br_if $done (i32.ge_u (local.get $p) (local.get $end)))
    (if (i32.eq (i32.load8_u (local.get $p)) (i32.const 2)) (then (return (i32.const 1))))
    (drop (call $table_id_from_name (i32.add (local.get $p) (i32.const 2)) (i32.load8_u (i32.add (local.get $p) (i32.const 1))) (i32.const 1004)))
    (i32.store (i32.const 1012) (i32.load8_u (local.get $p)))
    (local.set $p (i32.add (i32.add (local.get $p) (i32.const 2)) (i32.load8_u (i32.add (local.get $p) (i32.const 1)))))
    (local.set $n (i32.load (local.get $p))) (local.set $p (i32.add (local.get $p) (i32.const 4)))
    (if (i32.load (i32.const 1012))
      (then (drop (call $datastore_delete_all_by_eq_bsatn (i32.load (i32.const 1004)) (local.get $p) (local.get $n) (i32.const 1008))))
      (else (memory.copy (i32.const 0x40000) (local.get $p) (local.get $n)) (i32.store (i32.const 1008) (local.get $n)) (drop (call $datastore_insert_bsatn (i32.load (i32.const 1004)) (i32.const 0x40000) (i32.const 1008)))))
    (local.set $p (i32.add (local.get $p) (local.get $n))) (br $next))) (i32.const 0))
(func (export "__call_view_anon__") (param $id i32) (param $args i32) (param $sink i32) (result i32)
  (if (local.get $id) (then (call $say (local.get $sink) (i32.const {5000 + len(d)}) (i32.const {len(raw)})) (return (i32.const 2))))
  (drop (call $table_id_from_name (i32.const 3000) (i32.const 2) (i32.const 1004))) (drop (call $datastore_table_scan_bsatn (i32.load (i32.const 1004)) (i32.const 1020))) (call $rows (local.get $sink)) (i32.const 2))
(func (export "__call_view__") (param $id i32) (param $s0 i64) (param $s1 i64) (param $s2 i64) (param $s3 i64) (param $args i32) (param $sink i32) (result i32)
  (i32.store8 (i32.const 1100) (i32.const 0)) (i64.store (i32.const 1101) (local.get $s0)) (i64.store (i32.const 1109) (local.get $s1)) (i64.store (i32.const 1117) (local.get $s2)) (i64.store (i32.const 1125) (local.get $s3))
  (drop (call $index_id_from_name (i32.const 3010) (i32.const {len(index)}) (i32.const 1004)))
  (drop (call $datastore_index_scan_range_bsatn (i32.load (i32.const 1004)) (i32.const 1100) (i32.const 0) (i32.const 0) (i32.const 1100) (i32.const 33) (i32.const 1100) (i32.const 33) (i32.const 1020))) (call $rows (local.get $sink)) (i32.const 2))'''
        return wat.small(d, reducer='(call $apply (local.get $args))', extra=extra, imports=names, memory='(memory (export "memory") 32)')

    # ---- queries
    def value(self, kind, idents): return self.r.choice(idents) if kind == 'ident' else self.r.choice(VALUES[kind])
    def row(self, t, idents): return b''.join(encode(k, self.value(k, idents)) for _, k in self.columns[t])
    def columns_of(self, t): return self.columns[self.views.get(t, t)]
    def literal(self, kind):
        if kind == 'ident': return ':sender'
        v = self.r.choice(VALUES[kind])
        return "'" + v.replace("'", "''") + "'" if kind == 'string' else str(v).lower() if kind == 'bool' else repr(v)
    def comparison(self, scope):
        alias, t = self.r.choice(scope)
        c, kind = self.r.choice(self.columns_of(t))
        name = f'{alias}.{c}' if alias else c
        if self.r.random() < .1:
            same = [(f'{a}.{x}' if a else x) for a, t2 in scope for x, y in self.columns_of(t2) if y == kind]
            return f'{name} {self.r.choice(["=", "<>", "<"])} {self.r.choice(same)}'
        return f'{name} {self.r.choice(["=", "=", "=", "<>", "<", "<=", ">", ">="])} {self.literal(kind)}'
    def condition(self, scope, depth=0):
        if depth > 2 or self.r.random() < .45: return self.comparison(scope)
        return f'({self.condition(scope, depth + 1)} {self.r.choice(["AND", "AND", "OR"])} {self.condition(scope, depth + 1)})'
    def query(self):
        r, sources = self.r, self.names() * 3 + list(self.views)
        t = r.choice(sources)
        if r.random() < .6: return f'SELECT * FROM {t}' + (f' WHERE {self.condition([("", t)])}' if r.random() < .85 else '')
        u = r.choice(sources)
        keys = [(a, b) for a, k in self.columns_of(t) for b, l in self.columns_of(u) if k == l and k in ('u32', 'u8', 'ident', 'string') and self.indexed(t, a) and self.indexed(u, b)]
        if not keys: return f'SELECT * FROM {t}'
        a, b = r.choice(keys)
        return f'SELECT {r.choice("lr")}.* FROM {t} AS l JOIN {u} AS r ON l.{a} = r.{b}' + (f' WHERE {self.condition([("l", t), ("r", u)])}' if r.random() < .6 else '')
    def indexed(self, t, c): return t not in self.views and c in 'ko'
    def event_query(self):
        """And what Python thinks of it."""
        n = self.r.choice(VALUES['i32'])
        return self.r.choice([('SELECT * FROM ev', lambda k, v: True), (f'SELECT * FROM ev WHERE n < {n}', lambda k, v: v < n), (f'SELECT * FROM ev WHERE k = {abs(n)}', lambda k, v: k == abs(n))])


# ---- the protocols: each says what was received as tuples

class Reader:
    def __init__(self, b): self.b, self.at = b, 0
    def take(self, n):
        self.at += n
        assert self.at <= len(self.b), 'message ends early'
        return self.b[self.at - n:self.at]
    def u8(self): return self.take(1)[0]
    def u16(self): return struct.unpack('<H', self.take(2))[0]
    def u32(self): return struct.unpack('<I', self.take(4))[0]
    def u64(self): return struct.unpack('<Q', self.take(8))[0]
    def bytes(self): return self.take(self.u32())
    def text(self): return self.bytes().decode()
    def array(self, f): return [f() for _ in range(self.u32())]
    def left(self): return self.at < len(self.b)
    def rows(self):
        if self.u8() == 0:
            size, data = self.u16(), self.bytes()
            assert size and len(data) % size == 0
            return [data[i:i + size] for i in range(0, len(data), size)]
        offsets, data = self.array(self.u64), self.bytes()
        return [data[a:b] for a, b in zip(offsets, offsets[1:] + [len(data)])]


class Client:
    """A connection, the query sets it has and the bags of rows built from its messages."""
    def __init__(self, server, database, token):
        self.c = Ws(server, database, self.protocol, token=token)
        self.sets, self.bags, self.replies, self.events, self.request = {}, {}, {}, Counter(), 0
        self.first()
    def first(self): self.c.message()
    def next_request(self):
        self.request += 1
        return self.request
    def send(self, p): self.c.send(p)
    def change(self, key, table, inserts, deletes):
        bag = self.bags.setdefault(key, Counter())
        bag.update((table, x) for x in inserts)
        bag.subtract((table, x) for x in deletes)
        assert all(n >= 0 for n in bag.values()), f'a negative number of rows of {table}: set {key}'
    def wait(self, request):
        while request not in self.replies: self.receive()
        return self.replies.pop(request)
    def expected_sets(self): return {i: list(dict.fromkeys(q)) for i, q in self.sets.items()}


class V2(Client):
    protocol = 'v2.bsatn.spacetimedb'
    def call(self, ops):
        n = self.next_request()
        self.send(b'\3' + u32(n) + b'\0' + bstr('apply') + bstr(bstr(ops)))
        return n
    def subscribe(self, i, queries):
        n = self.next_request()
        self.send(b'\0' + u32(n, i) + strings(*queries))
        self.sets[i] = queries
        return n
    def unsubscribe(self, i):
        n = self.next_request()
        self.send(b'\1' + u32(n, i) + bytes([self.request & 1]))
        return n
    def one_off(self, q):
        n = self.next_request()
        self.send(b'\2' + u32(n) + bstr(q))
        return n
    def tables(self, r): return r.array(lambda: (r.text(), r.rows()))
    def updates(self, r):
        def one():
            if r.u8() == 0: return 'p', r.rows(), r.rows()
            return 'e', r.rows(), []
        for i, tables in r.array(lambda: (r.u32(), r.array(lambda: (r.text(), r.array(one))))):
            assert i in self.bags, f'an update for set {i}, which is not there'
            assert tables, 'a set without updates'
            for table, updates in tables:
                for kind, inserts, deletes in updates:
                    assert inserts or deletes, 'an empty update'
                    assert (kind == 'e') == (table == 'ev'), (kind, table)
                    if kind == 'e': self.events.update((i, x) for x in inserts)
                    else: self.change(i, table, inserts, deletes)
    def receive(self):
        p = self.c.message()
        assert p[0] == 0
        r = Reader(p)
        r.u8()
        while True:
            self.one(r)
            if not r.left(): return
    def one(self, r):
        tag = r.u8()
        if tag == 1:
            n, i = r.u32(), r.u32()
            self.bags[i] = Counter()
            for t, rows in self.tables(r): self.change(i, t, rows, [])
            self.replies[n] = None
        elif tag == 2:
            n, i = r.u32(), r.u32()
            if r.u8() == 0:
                got = Counter((t, x) for t, rows in self.tables(r) for x in rows)
                assert got == +self.bags[i], f'dropped rows of set {i} are not those it had'
            del self.bags[i]
            self.replies[n] = None
        elif tag == 3:
            n = r.u32() if r.u8() == 0 else None
            i = r.u32()
            self.replies[n] = r.text()
            self.sets.pop(i, None)
        elif tag == 4: self.updates(r)
        elif tag == 5:
            n = r.u32()
            self.replies[n] = Counter((t, x) for t, rows in self.tables(r) for x in rows) if r.u8() == 0 else r.text()
        elif tag == 6:
            n, _, kind = r.u32(), r.u64(), r.u8()
            if kind == 0: r.bytes(); self.updates(r); self.replies[n] = None
            elif kind == 1: self.replies[n] = None
            else: self.replies[n] = r.bytes()
        else: raise Exception(f'tag {tag}')
class V3(V2): protocol = 'v3.bsatn.spacetimedb'


class V1(Client):
    """One bag for all sets: each distinct query counts once."""
    protocol = 'v1.bsatn.spacetimedb'
    def __init__(self, *a):
        super().__init__(*a)
        self.bags[0] = Counter()
    def expected_sets(self): return {0: list(dict.fromkeys(q for queries in self.sets.values() for q in queries))}
    def call(self, ops):
        n = self.next_request()
        self.send(b'\0' + bstr('apply') + bstr(bstr(ops)) + u32(n) + b'\0')
        return n
    def subscribe(self, i, queries):
        n = self.next_request()
        self.send(b'\4' + strings(*queries) + u32(n, i))
        self.sets[i] = queries
        return n
    def unsubscribe(self, i):
        n = self.next_request()
        self.send(b'\6' + u32(n, i))
        return n
    def one_off(self, q):
        n = self.next_request()
        self.send(b'\2' + bstr(u32(n)) + bstr(q))
        return n
    def database_update(self, r):
        def one():
            assert r.u8() == 0
            return r.rows(), r.rows()
        for _ in range(r.u32()):
            _, name, n, updates = r.u32(), r.text(), r.u64(), r.array(one)
            assert n == sum(len(d) + len(i) for d, i in updates)
            for deletes, inserts in updates: self.change(0, name, inserts, deletes)
    def receive(self):
        p = self.c.message()
        assert p[0] == 0
        r = Reader(p)
        r.u8()
        tag = r.u8()
        if tag == 1:
            status = r.u8()
            if status == 0: self.database_update(r)
            elif status == 1: r.text()
            r.take(8 + 32 + 16)
            _, _, _, n = r.text(), r.u32(), r.bytes(), r.u32()
            self.replies[n] = None
        elif tag == 2: r.u32(); self.database_update(r)
        elif tag == 4:
            n = struct.unpack('<I', r.bytes())[0]
            error = r.text() if r.u8() == 0 else None
            tables = r.array(lambda: (r.text(), r.rows()))
            self.replies[n] = error if error is not None else Counter((t, x) for t, rows in tables for x in rows)
        elif tag == 7:
            r.u64()
            n = r.u32() if r.u8() == 0 else None
            i = r.u32() if r.u8() == 0 else None
            if r.u8() == 0: r.u32()
            self.replies[n] = r.text()
            self.sets.pop(i, None)
        elif tag in (8, 9):
            n, _, i = r.u32(), r.u64(), r.u32()
            self.database_update(r)
            self.replies[n] = None
        else: raise Exception(f'tag {tag}')


def plain(v): return [plain(x) for x in (v.values() if isinstance(v, dict) else v)] if isinstance(v, (dict, list)) else v
class Json(V1):
    """Rows have two shapes (spec/03 §8): both are brought to values in the order of columns."""
    protocol = 'v1.json.spacetimedb'
    def first(self): self.text()
    def text(self):
        while True:
            fin, op, p = self.c.frame()
            if op == 9: self.c.send(p, 10)
            else:
                while not fin:
                    fin, _, more = self.c.frame()
                    p += more
                return json.loads(p)
    def send(self, what): self.c.send(json.dumps(what).encode(), 1)
    def call(self, ops):
        n = self.next_request()
        self.send({'CallReducer': {'reducer': 'apply', 'args': json.dumps([ops.hex()]), 'request_id': n, 'flags': 0}})
        return n
    def subscribe(self, i, queries):
        n = self.next_request()
        self.send({'SubscribeMulti': {'query_strings': queries, 'request_id': n, 'query_id': {'id': i}}})
        self.sets[i] = queries
        return n
    def unsubscribe(self, i):
        n = self.next_request()
        self.send({'UnsubscribeMulti': {'request_id': n, 'query_id': {'id': i}}})
        return n
    def one_off(self, q):
        n = self.next_request()
        self.send({'OneOffQuery': {'message_id': u32(n).hex(), 'query_string': q}})
        return n
    @staticmethod
    def row(x): return json.dumps(plain(json.loads(x)))
    def database_update(self, u):
        for t in u['tables']:
            assert t['num_rows'] == sum(len(x['deletes']) + len(x['inserts']) for x in t['updates'])
            for x in t['updates']: self.change(0, t['table_name'], map(self.row, x['inserts']), map(self.row, x['deletes']))
    def receive(self):
        (kind, m), = self.text().items()
        if kind == 'TransactionUpdate':
            if 'Committed' in m['status']: self.database_update(m['status']['Committed'])
            self.replies[m['reducer_call']['request_id']] = None
        elif kind == 'TransactionUpdateLight': self.database_update(m['update'])
        elif kind == 'OneOffQueryResponse':
            n = struct.unpack('<I', bytes.fromhex(m['message_id']))[0]
            self.replies[n] = m['error']['some'] if 'some' in m['error'] else Counter((t['table_name'], self.row(x)) for t in m['tables'] for x in t['rows'])
        elif kind == 'SubscriptionError':
            self.replies[m['request_id']['some']] = m['error']
            self.sets.pop(m['query_id']['some'], None)
        elif kind in ('SubscribeMultiApplied', 'UnsubscribeMultiApplied'):
            self.database_update(m['update'])
            self.replies[m['request_id']] = None
        else: raise Exception(kind)


# ---- the run

ALLOWED = re.compile(r'Invalid number of tables|Subscribing to event tables requires|Cannot |cannot |is not |Unsupported|not supported|requires')
class World:
    def __init__(self, s, seed):
        self.s, self.r = s, random.Random(seed)
        self.schema, name = Schema(self.r), f'world{seed}'
        self.sql = f'/v1/database/{name}/sql'
        s.owner = s.identity()['token']
        status, text, _ = s.http('PUT', f'/v1/database/{name}', self.schema.module(), s.owner)
        assert status == 200, (status, text)
        people = [s.identity() for _ in range(4)]
        self.idents = [p['identity'] for p in people]
        kinds = [Json, V1, V2, V3, V2, Json]
        self.clients = [k(s, name, people[i % 4]['token']) for i, k in enumerate(kinds)]
        self.truth = V2(s, name, s.owner) # the owner sees all rows of all tables
        self.wait_all([(self.truth, self.truth.subscribe(i, [f'SELECT * FROM {t}'])) for i, t in enumerate(self.schema.names())])
        self.next_set, self.pool, self.n = 1, [], Counter()
        self.event_queries = {}
    def wait_all(self, sent):
        out = []
        for c, n in sent: out.append(c.wait(n))
        return out

    def transaction(self):
        """Operations for the reducer; the rows of the event table that it inserts."""
        r, s = self.r, self.schema
        ops, events = b'', []
        for _ in range(r.choice([1, 1, 2, 3, 8])):
            t = r.choice(s.names())
            rows = [x for (name, x), n in self.truth.bags[s.names().index(t)].items() if n > 0]
            kind = r.random()
            op = lambda code, name, b: bytes([code, len(name)]) + name.encode() + u32(len(b)) + b
            if kind < .1:
                k, n, text = r.choice(SMALL), r.choice(VALUES['i32']), r.choice(VALUES['string'])
                row = encode('u32', k) + encode('i32', n) + encode('string', text)
                events.append((k, n, row))
                ops += op(0, 'ev', row)
            elif kind < .45 or not rows: ops += op(0, t, s.row(t, self.idents))
            elif kind < .65: ops += op(1, t, u32(1) + r.choice(rows))
            elif kind < .67: ops += op(1, t, u32(len(rows)) + b''.join(rows))
            else: # an update: out, and in again with other values
                ops += op(1, t, u32(1) + (old := r.choice(rows))) + op(0, t, self.altered(t, old))
        if r.random() < .05: return ops + bytes([2]), []
        return ops, list(dict.fromkeys(events)) # the same row twice in one transaction is one
    def altered(self, t, row):
        out, at, some = b'', 0, Reader(row)
        for name, kind in self.schema.columns[t]:
            old = bstr(some.bytes()) if kind == 'string' else some.take(WIDTH[kind])
            out += old if name == 'k' or self.r.random() < .6 else encode(kind, self.schema.value(kind, self.idents))
        return out

    def step(self):
        """A burst: calls, subscriptions and their ends from several clients, without waiting."""
        r, waiting, events = self.r, [], []
        for _ in range(r.choice([1, 2, 4])):
            c = r.choice(self.clients)
            kind = r.random()
            if kind < .25 and len(c.sets) < 6:
                queries = [r.choice(self.pool) if self.pool and r.random() < .3 else self.schema.query() for _ in range(r.choice([1, 1, 1, 2, 3]))]
                waiting.append((c, c.subscribe(self.next_set, queries), 'subscribe', queries))
                self.next_set += 1
            elif kind < .35 and c.sets:
                settled = [i for i in c.sets if not any(w[0] is c and w[2] == 'subscribe' and c.sets[i] is w[3] for w in waiting)]
                if not settled: continue
                i = r.choice(settled)
                waiting.append((c, c.unsubscribe(i), 'unsubscribe', i))
                del c.sets[i]
                self.event_queries.pop((c, i), None)
            elif kind < .38:
                t = r.choice(self.schema.names())
                status, text, _ = self.s.http('POST', self.sql, f'DELETE FROM {t} WHERE {self.schema.condition([("", t)])}'.encode(), self.s.owner)
                assert status == 200, text
            else:
                ops, rows = self.transaction()
                waiting.append((c, c.call(ops), 'call', rows))
                self.n['transactions'] += 1
        for c, n, kind, what in waiting:
            answer = c.wait(n)
            if kind == 'subscribe':
                if answer is None: self.pool = (self.pool + what)[-40:]
                else: assert ALLOWED.search(answer), (what, answer)
                self.n['refused' if answer else 'subscribed'] += 1
            elif kind == 'unsubscribe': assert answer is None, answer
            elif kind == 'call': events += what
        if events:
            # the last messages of everybody have come when each has answered a query; then the events are counted
            self.check()
            for c, i in list(self.event_queries):
                want = Counter((i, row) for k, n, row in events if self.event_queries[c, i](k, n))
                got = Counter({x: n for x, n in c.events.items() if x[0] == i})
                assert got == want, f'events of set {i}: {got} instead of {want}'
                self.n['events'] += sum(want.values())
        for c in self.clients: c.events.clear()

    def event_subscriptions(self):
        for c in self.clients:
            if not isinstance(c, V2): continue
            query, predicate = self.schema.event_query()
            i = self.next_set
            self.next_set += 1
            answer = c.wait(c.subscribe(i, [query]))
            assert answer is None, answer
            del c.sets[i] # not compared with rows: there are none
            self.event_queries[c, i] = predicate

    def check(self):
        asked = []
        for c in self.clients:
            for key, queries in c.expected_sets().items(): asked.append((c, key, queries, [c.one_off(q) for q in queries]))
        sync = [(c, c.one_off('SELECT * FROM ' + self.schema.names()[0])) for c in self.clients + [self.truth]]
        for c, key, queries, requests in asked:
            want = Counter()
            for q, n in zip(queries, requests):
                rows = c.wait(n)
                assert not isinstance(rows, str), (q, rows)
                want += rows
            have = +c.bags.get(key, Counter())
            assert have == want, f'{c.protocol} {queries}: {sum((want - have).values())} rows missing, {sum((have - want).values())} too many; rules {self.schema.rules}, view {self.schema.query_of_view}'
            self.n['comparisons'] += 1
            self.n['rows'] += sum(want.values())
        self.wait_all(sync)

    def run(self, steps):
        self.event_subscriptions()
        while self.n['transactions'] < steps:
            self.step()
            if self.r.random() < .5: self.check()
        self.check()
        for c in self.clients + [self.truth]: c.c.close()


def oracle():
    steps, seed, each = int(os.environ.get('STEPS', 1500)), int(os.environ.get('SEED', 1)), 500
    total = Counter()
    with Server() as s:
        while total['transactions'] < steps:
            try:
                w = World(s, seed)
                w.run(min(each, steps - total['transactions']))
            except Exception:
                print(f'     seed {seed}: STEPS={each} SEED={seed} python3 tests/e2e/oracle.py')
                raise
            total += w.n
            s.check_alive()
            seed += 1
    assert total['subscribed'] > steps / 20 and total['comparisons'] > steps / 2 and total['events'] > steps / 50 and total['rows'] > steps, total
    print(f'     {dict(total)}')


if __name__ == '__main__': main([oracle])
