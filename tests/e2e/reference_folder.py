"""Replica folders as other versions of the reference write them, and a reader of such folders: an imitation from the text of spec/06 §2-§3, §6, §8, §10 and
spec/07 §9, §11-§12 alone. Nothing here comes from src/, so that what src/ misunderstands is found. Used by import_folder.py; run by itself it checks the
vectors of the specification and reads back what it writes.
"""
import os, struct, subprocess

# ---- checksums and hashes

CRC_TABLE = []
for _n in range(256):
    for _ in range(8): _n = _n >> 1 ^ (0x82f63b78 if _n & 1 else 0)
    CRC_TABLE.append(_n)
def crc32c(b):
    c = 0xffffffff
    for x in b: c = CRC_TABLE[(c ^ x) & 255] ^ c >> 8
    return c ^ 0xffffffff


def keccak256(data):
    M, rate = (1 << 64) - 1, 136
    turns = [[0, 36, 3, 41, 18], [1, 44, 10, 45, 2], [62, 6, 43, 15, 61], [28, 55, 25, 21, 56], [27, 20, 39, 8, 14]]
    rounds = [0x1, 0x8082, 0x800000000000808a, 0x8000000080008000, 0x808b, 0x80000001, 0x8000000080008081, 0x8000000000008009, 0x8a, 0x88, 0x80008009, 0x8000000a, 0x8000808b, 0x800000000000008b,
              0x8000000000008089, 0x8000000000008003, 0x8000000000008002, 0x8000000000000080, 0x800a, 0x800000008000000a, 0x8000000080008081, 0x8000000000008080, 0x80000001, 0x8000000080008008]
    rol = lambda v, n: (v << n | v >> 64 - n) & M if n else v
    pad = bytearray(rate - len(data) % rate)
    pad[0] |= 1
    pad[-1] |= 0x80
    data = data + bytes(pad)
    a = [[0] * 5 for _ in range(5)]
    for at in range(0, len(data), rate):
        for i, v in enumerate(struct.unpack('<17Q', data[at:at + rate])): a[i % 5][i // 5] ^= v
        for constant in rounds:
            c = [a[x][0] ^ a[x][1] ^ a[x][2] ^ a[x][3] ^ a[x][4] for x in range(5)]
            d = [c[x - 1] ^ rol(c[(x + 1) % 5], 1) for x in range(5)]
            b = [[0] * 5 for _ in range(5)]
            for x in range(5):
                for y in range(5): b[y][(2 * x + 3 * y) % 5] = rol(a[x][y] ^ d[x], turns[x][y])
            a = [[b[x][y] ^ ~b[(x + 1) % 5][y] & M & b[(x + 2) % 5][y] for y in range(5)] for x in range(5)]
            a[0][0] ^= constant
    return b''.join(struct.pack('<Q', a[i % 5][i // 5]) for i in range(4))


# ---- types and values: a name, ('opt', t), ('array', t), ('sum', [(name, t)]), ('product', [(name, t)])

INTEGERS = {'u8': (1, False), 'i8': (1, True), 'u16': (2, False), 'i16': (2, True), 'u32': (4, False), 'i32': (4, True), 'u64': (8, False), 'i64': (8, True), 'u128': (16, False), 'i128': (16, True),
            'u256': (32, False), 'i256': (32, True)}
TAGS = {'str': 4, 'bool': 5, 'i8': 6, 'u8': 7, 'i16': 8, 'u16': 9, 'i32': 10, 'u32': 11, 'i64': 12, 'u64': 13, 'i128': 14, 'u128': 15, 'i256': 16, 'u256': 17, 'f32': 18, 'f64': 19}
NAMES = {v: k for k, v in TAGS.items()}
BYTES, COLS, UNIT = ('array', 'u8'), ('array', 'u16'), ('product', [])
BY_COLUMNS, BY_COLUMN = ('product', [('columns', COLS)]), ('product', [('column', 'u16')])
ALGORITHM = ('sum', [('Unused', 'u128'), ('BTree', BY_COLUMNS), ('Direct', BY_COLUMN), ('Hash', BY_COLUMNS)])
CONSTRAINT = ('sum', [('Unused', 'u128'), ('Unique', BY_COLUMNS)])
VAR = ('sum', [(n.capitalize(), t) for n, t in [('bool', 'bool'), *((x, x) for x in 'i8 u8 i16 u16 i32 u32 i64 u64 i128 u128 f32 f64'.split()), ('string', 'str')]])
SCHEDULE_AT = ('sum', [('Interval', ('product', [('__time_duration_micros__', 'i64')])), ('Time', ('product', [('__timestamp_micros_since_unix_epoch__', 'i64')]))])
def opt(t): return ('opt', t)
def text(s): return struct.pack('<I', len(s.encode())) + s.encode()


def algebraic(t):
    """BSATN of a type."""
    if isinstance(t, str): return bytes([TAGS[t]])
    kind, of = t
    if kind == 'opt': return algebraic(('sum', [('some', of), ('none', UNIT)]))
    if kind == 'array': return b'\3' + algebraic(of)
    return bytes([1 if kind == 'sum' else 2]) + struct.pack('<I', len(of)) + b''.join(b'\0' + text(n) + algebraic(x) for n, x in of)

def encode(t, v):
    if isinstance(t, str) and t in INTEGERS: return v.to_bytes(INTEGERS[t][0], 'little', signed=INTEGERS[t][1])
    if t == 'str': return text(v)
    if t == 'bool': return bytes([bool(v)])
    if t in ('f32', 'f64'): return struct.pack('<f' if t == 'f32' else '<d', v)
    kind, of = t
    if kind == 'opt': return b'\1' if v is None else b'\0' + encode(of, v)
    if kind == 'array': return struct.pack('<I', len(v)) + (bytes(v) if of == 'u8' else b''.join(encode(of, x) for x in v))
    if kind == 'sum': return bytes([v[0]]) + encode(of[v[0]][1], v[1])
    assert len(of) == len(v), (of, v)
    return b''.join(encode(x, y) for (_, x), y in zip(of, v))


class Bad(Exception): pass
class Cursor:
    def __init__(self, b): self.b, self.at = b, 0
    def take(self, n):
        if n > len(self.b) - self.at: raise Bad(f'{n} bytes wanted at {self.at} of {len(self.b)}')
        self.at += n
        return self.b[self.at - n:self.at]
    def uint(self, n): return int.from_bytes(self.take(n), 'little')
    def varint(self):
        v = shift = 0
        while True:
            x = self.uint(1)
            v |= (x & 127) << shift
            shift += 7
            if x < 128: return v
    def string(self): return self.take(self.uint(4)).decode()
    @property
    def left(self): return len(self.b) - self.at

def decode(t, c):
    if isinstance(t, str) and t in INTEGERS: return int.from_bytes(c.take(INTEGERS[t][0]), 'little', signed=INTEGERS[t][1])
    if t == 'str': return c.string()
    if t == 'bool':
        v = c.uint(1)
        if v > 1: raise Bad(f'bool {v}')
        return bool(v)
    if t in ('f32', 'f64'): return struct.unpack('<f' if t == 'f32' else '<d', c.take(4 if t == 'f32' else 8))[0]
    kind, of = t
    if kind == 'array': return c.take(c.uint(4)) if of == 'u8' else [decode(of, c) for _ in range(c.uint(4))]
    if kind == 'product': return tuple(decode(x, c) for _, x in of)
    tag = c.uint(1)
    if kind == 'opt':
        if tag > 1: raise Bad(f'option tag {tag}')
        return decode(of, c) if tag == 0 else None
    if tag >= len(of): raise Bad(f'tag {tag} of {of}')
    return tag, decode(of[tag][1], c)

def parse_type(c):
    """The type that BSATN states."""
    tag = c.uint(1)
    if tag in NAMES: return NAMES[tag]
    if tag == 3: return 'array', parse_type(c)
    if tag not in (1, 2): raise Bad(f'type tag {tag}')
    fields = []
    for _ in range(c.uint(4)):
        name = c.string() if c.uint(1) == 0 else None
        fields.append((name, parse_type(c)))
    if tag == 1 and [n for n, _ in fields] == ['some', 'none'] and fields[1][1] == UNIT: return opt(fields[0][1])
    return ('sum' if tag == 1 else 'product'), fields


# ---- system tables (spec/06 §2, spec/07 §9)

def _columns(s): return [(n, {'bytes': BYTES, 'cols': COLS, '?cols': opt(COLS), '?u32': opt('u32'), '?str': opt('str'), '?u8': opt('u8'), '?bytes': opt(BYTES), 'algorithm': ALGORITHM, 'constraint': CONSTRAINT, 'var': VAR}.get(t, t)) for n, t in (x.split() for x in s.split(', '))]
(TABLE, COLUMN, SEQUENCE, INDEX, CONSTRAINTS, MODULE, CLIENT, ST_VAR, SCHEDULED, RLS, CREDENTIALS, VIEW, VIEW_PARAM, VIEW_COLUMN, VIEW_SUB, VIEW_ARG, EVENT_TABLE, TABLE_ACCESSOR, INDEX_ACCESSOR, COLUMN_ACCESSOR, ENV, OUT_STREAM, OUT_MSG, IN_STREAM,
 IN_MSG, OUTBOX) = range(1, 27)
SYSTEM = { # id: name, primary key, columns
    TABLE: ('st_table', 0, 'table_id u32, table_name str, table_type str, table_access str, table_primary_key ?cols'),
    COLUMN: ('st_column', None, 'table_id u32, col_pos u16, col_name str, col_type bytes'),
    SEQUENCE: ('st_sequence', 0, 'sequence_id u32, sequence_name str, table_id u32, col_pos u16, increment i128, start i128, min_value i128, max_value i128, allocated i128'),
    INDEX: ('st_index', 0, 'index_id u32, table_id u32, index_name str, index_algorithm algorithm'),
    CONSTRAINTS: ('st_constraint', 0, 'constraint_id u32, constraint_name str, table_id u32, constraint_data constraint'),
    MODULE: ('st_module', None, 'database_identity u256, owner_identity u256, program_kind u8, program_hash u256, program_bytes bytes, module_version str'),
    CLIENT: ('st_client', None, 'identity u256, connection_id u128'),
    ST_VAR: ('st_var', 0, 'name str, value var'),
    SCHEDULED: ('st_scheduled', 0, 'schedule_id u32, table_id u32, reducer_name str, schedule_name str, at_column u16'),
    RLS: ('st_row_level_security', 1, 'table_id u32, sql str'),
    CREDENTIALS: ('st_connection_credentials', 0, 'connection_id u128, jwt_payload str'),
    VIEW: ('st_view', 0, 'view_id u32, view_name str, table_id ?u32, is_public bool, is_anonymous bool'),
    VIEW_PARAM: ('st_view_param', None, 'view_id u32, param_pos u16, param_name str, param_type bytes'),
    VIEW_COLUMN: ('st_view_column', None, 'view_id u32, col_pos u16, col_name str, col_type bytes'),
    VIEW_SUB: ('st_view_sub', None, 'view_id u32, arg_id u64, identity u256, num_subscribers u64, has_subscribers bool, last_called i64'),
    VIEW_ARG: ('st_view_arg', 0, 'id u64, bytes bytes'),
    EVENT_TABLE: ('st_event_table', 0, 'table_id u32'),
    TABLE_ACCESSOR: ('st_table_accessor', None, 'table_name str, accessor_name str'),
    INDEX_ACCESSOR: ('st_index_accessor', None, 'index_name str, accessor_name str'),
    COLUMN_ACCESSOR: ('st_column_accessor', None, 'table_name str, col_name str, accessor_name str'),
    ENV: ('st_env', 0, 'key str, value str'),
    OUT_STREAM: ('st_outbound_stream', 0, 'stream_id u64, outbox_table_id u32, target_identity u256, next_seq u64, ack_prefix u64'),
    OUT_MSG: ('st_outbound_msg', None, 'stream_id u64, msg_id u64, seq u64, retry_count u32, last_transport_error ?str, result_status ?u8, result_payload ?bytes'),
    IN_STREAM: ('st_inbound_stream', None, 'sender_identity u256, stream_id u64, applied_prefix u64'),
    IN_MSG: ('st_inbound_msg', None, 'sender_identity u256, stream_id u64, seq u64, result_status u8, result_payload bytes'),
    OUTBOX: ('st_outbox', 0, 'table_id u32, remote_reducer str, target_column u16, arg_columns cols, on_result_reducer ?str, signature_hash str')}
SYSTEM = {i: (name, pk, _columns(c)) for i, (name, pk, c) in SYSTEM.items()}
SYSTEM_INDEXES = [(1, 1, [0]), (2, 1, [1]), (3, 2, [0, 1]), (4, 3, [0]), (5, 4, [0]), (6, 5, [0]), (7, 7, [0, 1]), (8, 8, [0]), (9, 9, [0]), (10, 9, [1]), (11, 10, [0]), (12, 10, [1]), (13, 11, [0]), (14, 12, [0]), (15, 12, [1]),
                  (16, 13, [0, 1]), (17, 14, [0, 1]), (18, 15, [2]), (19, 15, [4]), (20, 15, [0, 1, 2]), (21, 16, [0]), (22, 16, [1]), (23, 17, [0]), (24, 18, [0]), (25, 18, [1]), (26, 19, [0]), (27, 19, [1]), (28, 20, [0, 1]),
                  (29, 20, [0, 2]), (30, 21, [0]), (31, 22, [0]), (32, 22, [1, 2]), (33, 23, [0, 2]), (34, 24, [0, 1]), (35, 25, [0, 1, 2]), (36, 23, [0, 1]), (37, 26, [0])]
SYSTEM_SEQUENCES = [(1, TABLE), (2, INDEX), (3, CONSTRAINTS), (4, SCHEDULED), (5, SEQUENCE), (6, VIEW), (7, VIEW_ARG), (8, OUT_STREAM)]
MOST = (1 << 127) - 1
def row_type(tid): return ('product', SYSTEM[tid][2])
def row(tid, *values): return encode(row_type(tid), values)
def describing(tables, allocated=4096):
    """{table: [rows]} that describe these system tables."""
    out = {t: [] for t in (TABLE, COLUMN, SEQUENCE, INDEX, CONSTRAINTS)}
    for i in tables:
        name, pk, columns = SYSTEM[i]
        out[TABLE].append(row(TABLE, i, name, 'system', 'private' if i == CREDENTIALS or i >= ENV else 'public', None if pk is None else [pk]))
        for pos, (n, t) in enumerate(columns): out[COLUMN].append(row(COLUMN, i, pos, n, algebraic(t)))
    constraint = 0
    for i, table, columns in SYSTEM_INDEXES:
        unique = i not in (11, 18, 19, 20)
        constraint += unique
        if table not in tables: continue
        base = f'{SYSTEM[table][0]}_{"_".join(SYSTEM[table][2][c][0] for c in columns)}'
        out[INDEX].append(row(INDEX, i, table, base + '_idx_btree', (1, (columns,))))
        if unique: out[CONSTRAINTS].append(row(CONSTRAINTS, constraint, base + '_key', table, (1, (columns,))))
    for i, table in SYSTEM_SEQUENCES:
        if table in tables: out[SEQUENCE].append(row(SEQUENCE, i, f'{SYSTEM[table][0]}_{SYSTEM[table][2][0][0]}_seq', table, 0, 1, 4097, 1, MOST, allocated))
    return out


# ---- records (spec/06 §10.3)

def varint(v):
    out = b''
    while v > 127: out, v = out + bytes([v & 127 | 128]), v >> 7
    return out + bytes([v])

class Inputs:
    def __init__(self, name, caller=0, connection=0, timestamp=0, args=b''): self.name, self.caller, self.connection, self.timestamp, self.args = name, caller, connection, timestamp, args
    def encode(self): return bytes([len(self.name.encode())]) + self.name.encode() + self.caller.to_bytes(32, 'little') + self.connection.to_bytes(16, 'little') + struct.pack('<q', self.timestamp) + self.args
    def __repr__(self): return f'{self.name}({self.args.hex()}) by {self.caller:064x} {self.connection:032x} at {self.timestamp}'

class Record:
    """One transaction: inserts and deletes {table: [row bytes]}, truncates [table]."""
    def __init__(self, inputs=None, inserts={}, deletes={}, truncates=()): self.inputs, self.inserts, self.deletes, self.truncates = inputs, inserts, deletes, list(truncates)
    def encode(self):
        i = self.inputs.encode() if self.inputs else b''
        out = bytes([0x20 | (0x80 if self.inputs else 0)]) + (struct.pack('<I', len(i)) + i if self.inputs else b'')
        for ops in (self.inserts, self.deletes):
            ops = {t: r for t, r in ops.items() if r}
            out += varint(len(ops)) + b''.join(struct.pack('<I', t) + varint(len(ops[t])) + b''.join(ops[t]) for t in sorted(ops))
        return out + varint(len(self.truncates)) + b''.join(struct.pack('<I', t) for t in sorted(self.truncates))


# ---- the imitated server

class Version:
    """tables: its system tables are 1 to that; sequences: 'blocks' of 4096 (spec/06 §6) or 'next' (spec/07 §11); logs_system: offset 0 describes the system tables."""
    def __init__(self, name, tables, sequences='blocks', logs_system=False, first=4096): self.name, self.tables, self.sequences, self.logs_system, self.first = name, tables, sequences, logs_system, first
    @property
    def accessors(self): return self.tables >= COLUMN_ACCESSOR
# spec/06 and 07 do not say which version brought which of the tables 12 to 20: these are the cuts at which anything depends on them.
VERSIONS = {v.name: v for v in [Version('1.2', 11, first=4097), Version('1.12', 16), Version('2.0', 17), Version('2.8', 20), Version('2.10', 20), Version('2.14', 26, 'next', True)]}

class Table:
    """columns: [(name, type)]; indexes: [(1 btree, 2 direct or 3 hash, column, …)]; unique: columns; schedule: (reducer, column); accessor: its name in the module's code, and columns'."""
    def __init__(self, name, columns, pk=None, indexes=(), unique=(), auto=(), event=False, private=False, schedule=None, accessor=None, column_accessors=None):
        self.name, self.columns, self.pk, self.indexes, self.unique, self.auto, self.event, self.private, self.schedule = name, columns, pk, indexes, unique, auto, event, private, schedule
        self.accessor, self.column_accessors = accessor or name, column_accessors or [n for n, _ in columns]
    @property
    def type(self): return ('product', self.columns)
    def index_name(self, x, accessor=False):
        return f'{self.accessor if accessor else self.name}_{"_".join(self.column_accessors[c] if accessor else self.columns[c][0] for c in x[1:])}_idx_{["", "btree", "direct", "hash"][x[0]]}'

class Database:
    """A database as the versions it lives under would log it; `log`: (offset's) Records in order, `rows`: {table: {row}} as they stand."""
    def __init__(self, version, identity, owner):
        self.version, self.identity, self.owner = version, identity, owner
        self.log, self.rows, self.types, self.ids, self.memory, self.ephemeral, self.events = [], {}, {}, {}, {}, set(), set()
        self.begin()
        first = describing(range(1, version.tables + 1), version.first)
        self.know(range(1, version.tables + 1))
        for t, rows in first.items(): self.rows[t] = dict.fromkeys(rows)
        if version.logs_system: self.log.append(Record(None, first))
    def know(self, tables):
        for i in tables:
            self.types[i] = row_type(i)
            self.rows.setdefault(i, {})
    def begin(self): self.ins, self.dels, self.dropped = {}, {}, []

    def values(self, tid): return [decode(self.types[tid], Cursor(r)) for r in self.visible(tid)]
    def visible(self, tid): return [r for r in self.rows[tid] if r not in self.dels.get(tid, {})] + list(self.ins.get(tid, {}))
    def put(self, tid, *values):
        r = encode(self.types[tid], values)
        if r in self.dels.get(tid, {}): del self.dels[tid][r]
        elif r not in self.rows[tid]: self.ins.setdefault(tid, {})[r] = None
        return r
    def take(self, tid, r):
        if r in self.ins.get(tid, {}): del self.ins[tid][r]
        else:
            assert r in self.rows[tid], (tid, r)
            self.dels.setdefault(tid, {})[r] = None
    def take_where(self, tid, fits):
        for r in self.visible(tid):
            if fits(decode(self.types[tid], Cursor(r))): self.take(tid, r)

    def next(self, sequence, skip=False):
        """The next number; skip: what 2.14 does once in 4096 times."""
        r = next(x for x in self.visible(SEQUENCE) if x[:4] == struct.pack('<I', sequence))
        v = decode(self.types[SEQUENCE], Cursor(r))
        def allocate(n):
            self.take(SEQUENCE, r)
            self.put(SEQUENCE, *v[:-1], n)
        if self.version.sequences == 'next':
            allocate((v[-1] // 4096 + 1) * 4096 if skip else v[-1] + 1)
            return v[-1]
        value, allocated = self.memory.get(sequence, (v[-1], v[-1]))
        if value == allocated:
            allocated += 4096
            allocate(allocated)
        self.memory[sequence] = value + 1, allocated
        return value
    def restart(self): self.memory = {}

    def create(self, t, access=None):
        tid = self.ids[t.name] = self.next(1)
        self.types[tid] = t.type
        self.rows[tid] = {}
        self.put(TABLE, tid, t.name, 'user', access or ('private' if t.private else 'public'), None if t.pk is None else [t.pk])
        if self.version.accessors: self.put(TABLE_ACCESSOR, t.name, t.accessor)
        for pos, (n, c) in enumerate(t.columns):
            self.put(COLUMN, tid, pos, n, algebraic(c))
            if self.version.accessors and n != 'arg_hash': self.put(COLUMN_ACCESSOR, t.name, n, t.column_accessors[pos])
        if t.schedule: self.put(SCHEDULED, self.next(4), tid, t.schedule[0], t.name + '_sched', t.schedule[1])
        if t.event:
            self.events.add(tid)
            self.put(EVENT_TABLE, tid)
        for x in t.indexes:
            self.put(INDEX, self.next(2), tid, t.index_name(x), (x[0], (x[1],) if x[0] == 2 else (list(x[1:]),)))
            if self.version.accessors: self.put(INDEX_ACCESSOR, t.index_name(x), t.index_name(x, True))
        for c in t.unique: self.put(CONSTRAINTS, self.next(3), f'{t.name}_{t.columns[c][0]}_key', tid, (1, ([c],)))
        for c in t.auto: self.put(SEQUENCE, self.next(5), f'{t.name}_{t.columns[c][0]}_seq', tid, c, 1, 1, 1, MOST, 1)
    def create_view(self, name, columns, anonymous=True):
        view = self.next(6)
        self.create(Table(name, [('arg_hash', 'u256')] + columns, indexes=[(1, 0)]))
        self.ephemeral.add(self.ids[name])
        self.put(VIEW, view, name, self.ids[name], True, anonymous)
        for pos, (n, c) in enumerate(columns): self.put(VIEW_COLUMN, view, pos, n, algebraic(c))
    def drop(self, name, leaves_event=False):
        """leaves_event: the defect of the past that leaves the row of st_event_table."""
        tid = self.ids.pop(name)
        indexes = [v[2] for v in self.values(INDEX) if v[1] == tid]
        for st, at in [(TABLE, 0), (COLUMN, 0), (SEQUENCE, 2), (INDEX, 1), (CONSTRAINTS, 2), (SCHEDULED, 1)] + ([(EVENT_TABLE, 0)] if self.version.tables >= EVENT_TABLE and not leaves_event else []):
            self.take_where(st, lambda v: v[at] == tid)
        if self.version.accessors:
            for st, names in [(TABLE_ACCESSOR, [name]), (COLUMN_ACCESSOR, [name]), (INDEX_ACCESSOR, indexes)]: self.take_where(st, lambda v: v[0] in names)
        self.dels.pop(tid, None)
        self.ins.pop(tid, None)
        self.rows[tid] = {}
        self.dropped.append(tid)
    def set_program(self, program):
        for r in self.visible(MODULE): self.take(MODULE, r)
        self.put(MODULE, self.identity, self.owner, 0, int.from_bytes(keccak256(program), 'little'), program, '0.0.1')

    def insert(self, table, *values, skip=False):
        tid = self.ids[table]
        values = list(values)
        for s in self.values(SEQUENCE):
            if s[2] == tid and values[s[3]] == 0: values[s[3]] = self.next(s[0], skip)
        self.put(tid, *values)
        return tuple(values)
    def delete(self, table, *values): self.take(self.ids[table], encode(self.types[self.ids[table]], values))
    def clear(self, table):
        for r in self.visible(self.ids[table]): self.take(self.ids[table], r)
    def content(self, table): return sorted(self.values(self.ids[table]))

    def commit(self, inputs=None):
        ins = {t: list(r) for t, r in self.ins.items() if r and t not in self.ephemeral}
        dels = {t: list(r) for t, r in self.dels.items() if r}
        cut = [t for t in dels if t not in ins and len(dels[t]) == len(self.rows[t])]
        for t in dels:
            for r in dels[t]: del self.rows[t][r]
        for t in ins:
            if t not in self.events: self.rows[t].update(dict.fromkeys(ins[t]))
        for t in self.dropped: del self.rows[t], self.types[t]
        self.log.append(Record(inputs, ins, {t: r for t, r in dels.items() if t not in cut}, cut + self.dropped))
        self.begin()
    def connect(self, identity, connection, at, jwt='{"iss":"localhost"}'):
        self.put(CLIENT, identity, connection)
        self.put(CREDENTIALS, connection, jwt)
        self.commit(Inputs('call_identity_connected', identity, connection, at))
    def disconnect(self, identity, connection, at, name='__identity_disconnected__'):
        self.take_where(CLIENT, lambda v: v == (identity, connection))
        self.take_where(CREDENTIALS, lambda v: v[0] == connection)
        self.commit(Inputs(name, identity, connection, at))
    def upgrade(self, version):
        """A server of another version starts: what it misses of system tables comes in a transaction of its own. Before 2.14 the numbers of such tables begin one too high."""
        have, self.version = self.version.tables, version
        new = range(have + 1, version.tables + 1)
        self.restart()
        if not new: return
        self.know(new)
        for t, rows in describing(new, 4096 if version.sequences == 'next' else 4097).items():
            for r in rows: self.ins.setdefault(t, {})[r] = None
        self.commit()


# ---- files (spec/06 §10)

HEADER = b'(ds)^2'
def segment_header(version=1): return HEADER + bytes([version, 0, 0, 0])
def commit_bytes(offset, payloads, epoch=0, version=1):
    body = b''.join(payloads)
    out = struct.pack('<Q', offset) + (struct.pack('<Q', epoch) if version else b'') + struct.pack('<HI', len(payloads), len(body)) + body
    return out + struct.pack('<I', crc32c(out))

def zstd(b, unpack=False): return subprocess.run(['zstd', '-q', '-c'] + (['-d'] if unpack else ['-3', '--no-check']), input=b, capture_output=True, check=True).stdout
def seekable(b):
    out = table = b''
    for at in range(0, len(b), 4096):
        frame = zstd(b[at:at + 4096])
        out += frame
        table += struct.pack('<II', len(frame), len(b[at:at + 4096]))
    return out + struct.pack('<II', 0x184d2a5e, len(table) + 9) + table + struct.pack('<IBI', len(table) // 8, 0, 0x8f92eab1)

def segment_name(offset, ending='log'): return f'{offset:020}.stdb.{ending}'
class Segment:
    def __init__(self, first, version=1): self.first, self.version, self.data, self.places = first, version, segment_header(version), []
    def add(self, offset, payloads, epoch):
        self.places.append((offset, len(self.data)))
        self.data += commit_bytes(offset, payloads, epoch, self.version)
    def index(self, interval=4096):
        """An entry for the first commit behind `interval` bytes since the one before; the file has its full size."""
        out, last = b'', 0
        for offset, at in self.places:
            if offset and at - last >= interval: out, last = out + struct.pack('<QQ', offset, at), at
        return out

def segments(log, cuts=(), epochs={}, groups={}, version=1):
    """The records of a log in segments that begin at the offsets of `cuts`; epochs: from the offset on; groups: {offset: how many transactions its commit has}; version: of the newest
    and, as (older, newest), of those before."""
    older, newest = version if isinstance(version, tuple) else (version, version)
    out, offset, epoch = [], 0, 0
    last = max(cuts, default=0)
    while offset < len(log):
        if not out or offset in cuts: out.append(Segment(offset, newest if offset >= last else older))
        epoch = epochs.get(offset, epoch)
        n = groups.get(offset, 1)
        out[-1].add(offset, [r.encode() for r in log[offset:offset + n]], epoch)
        offset += n
    return out

def write_folder(folder, parts, compressed=(), index='yes', tail=b''):
    """compressed: positions of segments; index: 'yes', 'no', 'damaged'; tail: bytes behind the newest segment."""
    os.makedirs(folder + '/clog')
    os.makedirs(folder + '/module_logs')
    with open(folder + '/db.lock', 'w') as f: f.write('pid=4242;timestamp_utc=2026-01-02T03:04:05.678901+00:00')
    with open(folder + '/module_logs/2026-01-02.log', 'w') as f: f.write('{"level":"Info","ts":1,"message":"of old"}\n')
    for i, s in enumerate(parts):
        data = s.data + (tail if i == len(parts) - 1 else b'')
        with open(f'{folder}/clog/{segment_name(s.first)}', 'wb') as f: f.write(seekable(data) if i in compressed else data)
        if index == 'no': continue
        with open(f'{folder}/clog/{segment_name(s.first, "ofs")}', 'wb') as f:
            f.write(s.index() if index == 'yes' else b''.join(struct.pack('<QQ', n, 77 * n) for n in range(9, 0, -1)))
            f.truncate(4 << 20)


# ---- reading

class Commit:
    def __init__(self, path, position, offset, epoch, n, body): self.path, self.position, self.offset, self.epoch, self.n, self.body = path, position, offset, epoch, n, body
def read_segment(path):
    """Every commit up to the end or to a Bad one."""
    with open(path, 'rb') as f: data = f.read()
    if data[:4] == b'\x28\xb5\x2f\xfd': data = zstd(data, True)
    if data[:6] != HEADER or data[6] > 1 or data[7:10] != bytes(3): raise Bad(f'{path}: header {data[:10].hex()}')
    c = Cursor(data)
    c.take(10)
    while c.left:
        at = c.at
        try:
            offset, epoch = c.uint(8), c.uint(8) if data[6] else 0
            n, size = c.uint(2), c.uint(4)
            body = c.take(size)
            if crc32c(data[at:c.at]) != c.uint(4): raise Bad('checksum')
            if not n: raise Bad('no transactions')
        except Bad as e:
            yield Bad(f'{path} at {at}: {e}')
            return
        yield Commit(path, at, offset, epoch, n, body)

class Reader:
    """Replays a log strictly (what is behind a damaged place counts as abandoned if the next segment begins there, spec/06 §12): what is deleted is there, what is inserted is not (but for the rows that describe system tables), operations ascend, nothing is left over."""
    def __init__(self):
        self.records, self.rows, self.types, self.commits = [], {}, {}, []
        self.system = describing(range(1, 27))
        for i in SYSTEM: self.rows[i], self.types[i] = {}, row_type(i)
        for t, rows in self.system.items(): self.rows[t] = dict.fromkeys(rows)
    def folder(self, folder):
        names = sorted(n for n in os.listdir(folder + '/clog') if n.endswith('.stdb.log'))
        epoch, torn = 0, None
        for name in names:
            if int(name[:20]) != len(self.records): raise torn or Bad(f'{name}: {len(self.records)} transactions are before it')
            torn = None
            for c in read_segment(f'{folder}/clog/{name}'):
                if isinstance(c, Bad):
                    torn = c
                    break
                if c.offset != len(self.records) or c.epoch < epoch: raise Bad(f'{name} at {c.position}: offset {c.offset}, epoch {c.epoch}')
                epoch = c.epoch
                self.commits.append(c)
                body = Cursor(c.body)
                for _ in range(c.n):
                    try: self.records.append(self.record(body))
                    except Exception as e: raise Bad(f'{name} at {c.position}, transaction {c.offset}: {e!r}')
                if body.left: raise Bad(f'{name} at {c.position}: {body.left} bytes left over')
        if torn: raise torn
        return self
    def type(self, tid, inserts):
        """The row type of a user table: st_column as it is, with what this transaction inserts in place of what has the same position."""
        columns = {}
        for r in list(self.rows[COLUMN]) + inserts.get(COLUMN, []):
            table, pos, name, t = decode(row_type(COLUMN), Cursor(r))
            if table == tid: columns[pos] = (name, parse_type(Cursor(t)))
        if sorted(columns) != list(range(len(columns))): raise Bad(f'columns of table {tid}: {sorted(columns)}')
        tables = [r for r in list(self.rows[TABLE]) + inserts.get(TABLE, []) if r[:4] == struct.pack('<I', tid)]
        if not tables: raise Bad(f'table {tid} does not exist')
        return ('product', [columns[i] for i in range(len(columns))])
    def ops(self, c, inserts):
        out, last = {}, 0
        for _ in range(c.varint()):
            tid = c.uint(4)
            if tid <= last: raise Bad(f'table {tid} comes behind {last}')
            last = tid
            t = self.types[tid] if tid in SYSTEM else self.type(tid, out if inserts is None else inserts)
            out[tid] = []
            for _ in range(c.varint()):
                at = c.at
                decode(t, c)
                out[tid].append(c.b[at:c.at])
            if not out[tid]: raise Bad(f'no rows of table {tid}')
            self.types[tid] = t
        return out
    def record(self, c):
        flags, inputs = c.uint(1), None
        if flags & ~0x80 != 0x20: raise Bad(f'flags {flags:02x}')
        if flags & 0x80:
            i = Cursor(c.take(c.uint(4)))
            inputs = Inputs(i.take(i.uint(1)).decode(), i.uint(32), i.uint(16), struct.unpack('<q', i.take(8))[0], i.take(i.left))
        inserts = self.ops(c, None)
        deletes = self.ops(c, inserts)
        truncates = [c.uint(4) for _ in range(c.varint())]
        if truncates != sorted(set(truncates)) or set(truncates) & set(deletes): raise Bad(f'truncates {truncates}, deletes {list(deletes)}')
        events = {struct.unpack('<I', r)[0] for r in list(self.rows[EVENT_TABLE]) + inserts.get(EVENT_TABLE, [])}
        for t, rows in inserts.items():
            have = self.rows.setdefault(t, {})
            for r in rows:
                if r in have and r not in self.system.get(t, []): raise Bad(f'a row of table {t} is there already: {r.hex()}')
                if t == SEQUENCE and int.from_bytes(r[:4], 'little') <= len(SYSTEM_SEQUENCES): # a row for each number, whatever version began it
                    for old in [x for x in have if x[:4] == r[:4]]: del have[old]
                if t not in events: have[r] = None
        for t, rows in deletes.items():
            for r in rows:
                if r in self.rows[t]: del self.rows[t][r]
                elif t != SEQUENCE or int.from_bytes(r[:4], 'little') > len(SYSTEM_SEQUENCES): raise Bad(f'a row of table {t} that is deleted is not there: {r.hex()}')
        for t in truncates:
            dropped = not any(r[:4] == struct.pack('<I', t) for r in self.rows[TABLE])
            if not dropped and (not self.rows.get(t) or t in inserts): raise Bad(f'table {t} is truncated')
            self.rows[t] = {}
        return Record(inputs, inserts, deletes, truncates)
    def table_id(self, name): return next(v[0] for v in self.values(TABLE) if v[1] == name)
    def values(self, tid): return sorted(decode(self.types[tid] if tid in SYSTEM else self.type(tid, {}), Cursor(r)) for r in self.rows.get(tid, {}))
    def content(self, name): return self.values(self.table_id(name))


def vectors():
    """spec/06 §10.1, §10.2; spec/07 §9, §12; spec/01 (Keccak-256 of nothing)."""
    assert crc32c(b'123456789') == 0xe3069283
    assert keccak256(b'').hex() == 'c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470'
    assert commit_bytes(0, [Record().encode()]).hex() == '00000000000000000000000000000000' '0100' '04000000' '20000000' 'd534f8ed'
    r = Record(Inputs('add', 1, 0, 1700000000000000, text('hello')), {4096: [struct.pack('<Q', 1) + text('hello')]})
    assert commit_bytes(7, [r.encode()]).hex() == ('07000000000000000000000000000000' '0100' '63000000' 'a0' '45000000' '03616464' '01' + '00' * 31 + '00' * 16 + '00401e18240a0600' '05000000' '68656c6c6f'
                                                   '01' '00100000' '01' '0100000000000000' '05000000' '68656c6c6f' '00' '00' '59bbdb8d')
    identity, at = bytes.fromhex('1ad49e8797aeebfb48dac7f50417c4df7540633f52681071545178bd18f200c2'), bytes.fromhex('cc38b4cda53c0600')
    r = Record(Inputs('send_message', int.from_bytes(identity, 'little'), int.from_bytes(bytes.fromhex('5045ca3bc37d2f62bedc61278a525756'), 'little'), struct.unpack('<q', at)[0], text('omg')), {4097: [identity + at + text('omg')]})
    b = commit_bytes(3, [r.encode()])
    assert len(b) == 162 and b[-4:].hex() == '151b5921', b.hex()
    assert [len(describing(range(1, 27))[t]) for t in (TABLE, COLUMN, SEQUENCE, INDEX, CONSTRAINTS)] == [26, 102, 8, 37, 33]
    assert row(ENV, 'MODE', 'dev').hex() == '04000000' '4d4f4445' '03000000' '646576'


def reads_what_it_writes():
    import tempfile
    for v in VERSIONS.values():
        with tempfile.TemporaryDirectory() as temp:
            db = Database(v, 5, 6)
            db.create(Table('t', [('id', 'u64'), ('s', 'str')], pk=0, indexes=[(1, 0)], unique=[0], auto=[0]))
            db.set_program(b'not a program')
            db.commit()
            for i in range(300): db.insert('t', 0, 'x' * i), db.commit(Inputs('add', 1, 2, 3))
            db.delete('t', 1, ''), db.commit()
            db.clear('t'), db.commit()
            parts = segments(db.log, cuts=[100, 200], epochs={150: 4}, groups={20: 7})
            write_folder(temp + '/1', parts, compressed=[0])
            r = Reader().folder(temp + '/1')
            assert [x.encode() for x in r.records] == [x.encode() for x in db.log] and r.content('t') == [] and r.records[-1].truncates == [db.ids['t']]
            assert any(s.index() for s in parts)


if __name__ == '__main__':
    from lightcone import main
    main([vectors, reads_what_it_writes])
