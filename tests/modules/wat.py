"""Modules written by hand for the end-to-end tests: an encoder of module definitions (V10), small modules in WebAssembly text, and `player`, a
module whose reducer and procedure execute host calls that come as data. The imports are those of src/host/abi_table.h.
"""
import os, re, struct, subprocess, tempfile

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), '..', '..'))


class Import:
    """One line of the ABI table; `about` names each parameter."""
    def __init__(self, minor, name, params, result, about):
        self.minor, self.name, self.params, self.result = int(minor), name, params, result
        self.about = [x.strip() for x in re.sub(r'\([^)]*\)', '', about).split(',')] if about else []
        assert len(self.about) == len(params), (name, params, self.about)
    @property
    def wat(self):
        types = ' '.join({'i': 'i32', 'I': 'i64'}[p] for p in self.params)
        return (f'(import "spacetime_10.{self.minor}" "{self.name}" (func ${self.name}' + (f' (param {types})' if types else '') + (f' (result {"i32" if self.result == "i" else "i64"})' if self.result else '') + '))')
    def pointers(self):
        """(position of a pointer, position of its length or None, whether the length is itself in memory)."""
        for i, a in enumerate(self.about):
            if a in ('len', 'in/out len') or self.params[i] == 'I': continue
            after = self.about[i + 1] if i + 1 < len(self.about) else ''
            if after in ('len', 'in/out len'): yield i, i + 1, after == 'in/out len'
            elif a.startswith('out ') or a == 'connection id': yield i, None, False
        for i, a in enumerate(self.about):
            if a == 'in/out len': yield i, None, False


def abi_table():
    text = open(os.path.join(TOP, 'src/host/abi_table.h')).read()
    found = re.findall(r'ABI_FUNCTION\((\d+), (\w+), "(\w*)", (?:\'(\w)\'|0), \w+, "([^"]*)"\)', text)
    return [Import(minor, name, params, result, about) for minor, name, params, result, about in found]
IMPORTS = abi_table()
BY_NAME = {x.name: x for x in IMPORTS}


# ---- definitions

def u8(*v): return bytes(v)
def u16(*v): return struct.pack('<%dH' % len(v), *v)
def u32(*v): return struct.pack('<%dI' % len(v), *(x & 0xffffffff for x in v))
def u64(*v): return struct.pack('<%dQ' % len(v), *(x & (1 << 64) - 1 for x in v))
def text(s):
    b = s.encode() if isinstance(s, str) else s
    return u32(len(b)) + b
def array(items): return u32(len(items)) + b''.join(items)
SOME, NONE = b'\0', b'\1'
TYPES = {'string': 4, 'bool': 5, 'i8': 6, 'u8': 7, 'i16': 8, 'u16': 9, 'i32': 10, 'u32': 11, 'i64': 12, 'u64': 13, 'f64': 19}
def product(fields): return array([SOME + text(n) + type_(t) for n, t in fields])
def type_(t):
    """A name of TYPES, the number of a type in the typespace, [element type], or encoded bytes."""
    return t if isinstance(t, bytes) else b'\0' + u32(t) if isinstance(t, int) else b'\3' + type_(t[0]) if isinstance(t, list) else bytes([TYPES[t]])
UNIT = b'\2' + u32(0)
IDENTITY = b'\2' + product([('__identity__', bytes([17]))])
SCHEDULE_AT = b'\1' + array([SOME + text('Interval') + b'\2' + product([('__time_duration_micros__', 'i64')]), SOME + text('Time') + b'\2' + product([('__timestamp_micros_since_unix_epoch__', 'i64')])])
BTREE, HASH, DIRECT = 0, 1, 2
INIT, CONNECT, DISCONNECT = 0, 1, 2
TABLE_NAME, FUNCTION_NAME, INDEX_NAME, NAMESPACE_NAME = range(4)


class Table:
    def __init__(self, name, columns, pk=None, indexes=(), unique=(), auto=(), event=False, private=False):
        """columns: 'a u32, b string'; indexes: (kind, column, …) with columns by position; a key needs an index of its own in the list."""
        self.name, self.columns = name, [tuple(c.split()) if isinstance(c, str) else c for c in (columns.split(', ') if isinstance(columns, str) else columns)]
        self.pk, self.indexes, self.unique, self.auto, self.event, self.private = pk, indexes, unique if pk is None else (pk, *unique), auto, event, private
    def index_name(self, index): return f"{self.name}_{'_'.join(self.columns[c][0] for c in index[1:])}_idx_{('btree', 'hash', 'direct')[index[0]]}"
    def encode(self, type_ref):
        indexes = [SOME + text(self.index_name(x)) + NONE + bytes([x[0]]) + (u16(x[1]) if x[0] == DIRECT else array([u16(c) for c in x[1:]])) for x in self.indexes]
        sequences = [NONE + u16(c) + NONE + NONE + NONE + u64(1, 0) for c in self.auto]
        return (text(self.name) + u32(type_ref) + array([] if self.pk is None else [u16(self.pk)]) + array(indexes) + array([NONE + b'\0' + array([u16(c)]) for c in self.unique]) + array(sequences)
                + b'\1' + bytes([self.private]) + array([]) + bytes([self.event]))


def definition(tables=(), reducers=(), procedures=(), views=(), lifecycle=(), schedules=(), handlers=(), env=(), modules=(), names=(), outboxes=(), rls=()):
    """reducers: (name, [(parameter, type)]); procedures: the same with a return type; views: (name, index, is_anonymous, type); lifecycle: (kind, reducer);
    schedules: (table, column, reducer); handlers: names, each served at /name; env: names of required values; modules: (namespace, definition); names: (kind, name, canonical
    name); outboxes: (table, reducer of the receiver, target column, columns of the arguments); rls: queries."""
    out = [b'\0' + array([b'\2' + product(t.columns) for t in tables]), b'\1' + array([array([]) + text(f'T{i}') + u32(i) + b'\1' for i in range(len(tables))]),
           b'\2' + array([t.encode(i) for i, t in enumerate(tables)]), b'\3' + array([text(n) + product(p) + b'\1' + UNIT + type_('string') for n, p in reducers]),
           b'\4' + array([text(n) + product(p) + type_(r) + b'\1' for n, p, r in procedures]),
           b'\5' + array([text(n) + u32(i) + b'\1' + bytes([anonymous]) + product([]) + type_(t) for n, i, anonymous, t in views]),
           b'\6' + array([NONE + text(t) + u16(c) + text(f) for t, c, f in schedules]), b'\7' + array([bytes([k]) + text(f) for k, f in lifecycle]),
           b'\x0b' + array([text(h) for h in handlers]), b'\x0c' + array([text(h) + b'\0' + text('/' + h) for h in handlers])]
    if rls: out.append(b'\x08' + array([text(q) for q in rls]))
    if names: out.append(b'\x0a' + array([bytes([kind]) + text(n) + text(canonical) for kind, n, canonical in names]))
    if modules: out.append(b'\x0e' + array([text(n) + d[1:] for n, d in modules]))
    if outboxes: out.append(b'\x10' + array([text(t) + text(r) + u16(c) + array([u16(a) for a in args]) + NONE + bytes(32) for t, r, c, args in outboxes]))
    if env: out.append(b'\x0f' + array([text(n) + b'\0' + b'\1' for n in env]))
    return b'\2' + array(out)


# ---- WebAssembly text

def data(at, b): return f'(data (i32.const {at}) "{"".join(chr(92) + "%02x" % c for c in b)}")'
def assemble(wat):
    with tempfile.TemporaryDirectory() as d:
        with open(d + '/m.wat', 'w') as f: f.write(wat)
        r = subprocess.run(['wat2wasm', '--enable-all', d + '/m.wat', '-o', d + '/m.wasm'], capture_output=True, text=True)
        if r.returncode: raise Exception('wat2wasm: ' + r.stderr[:800])
        with open(d + '/m.wasm', 'rb') as f: return f.read()
FUNCTION = '(param $id i32) (param $s0 i64) (param $s1 i64) (param $s2 i64) (param $s3 i64) (param $c0 i64) (param $c1 i64) (param $ts i64) (param $args i32) (param $sink i32) (result i32)'
DESCRIBE = '(drop (call $bytes_sink_write (local.get $sink) (i32.const 4096) (i32.const 4000)))'
MEMORY = '(memory (export "memory") 2)'
def small(definition_bytes=None, reducer='(i32.const 0)', extra='', describe=DESCRIBE, imports=('bytes_sink_write', 'console_log'), memory=MEMORY, raw=''):
    """A small module. $say writes to a sink: sink, pointer, length."""
    d = definition() if definition_bytes is None else definition_bytes
    say = '(func $say (param i32 i32 i32) (i32.store (i32.const 3900) (local.get 2)) (drop (call $bytes_sink_write (local.get 0) (local.get 1) (i32.const 3900))))' if 'bytes_sink_write' in imports else ''
    return assemble(f'(module {raw} {" ".join(BY_NAME[n].wat for n in imports)} {memory} {data(4000, u32(len(d)))} {data(4096, d)} {say} (func (export "__describe_module__") (param $sink i32) {describe}) (func (export "__call_reducer__") {FUNCTION} {reducer}) {extra})')


# ---- the player

SCRIPT, VIEW_SCRIPT, VIEW_TRACE, TRACE, HEAP, BUFFER, MEMORY_BYTES = 0x20000, 0x80000, 0x90000, 0xa0000, 0x100000, 0x200000, 64 * 65536
ARGUMENTS, ARGS, SINK, VIEW = 0x800, 0x838, 0x83c, 0x900 # of the running call: sender, connection, time; handles; VIEW: code (98: endless, 99: trap), pointer and
# length of the answer, table to read; at 24: 1: plays the script at VIEW_SCRIPT, afterwards the length of its trace at VIEW_TRACE
OPS = ['end', 'put', 'out', 'trap', 'forever', 'recurse', 'grow', 'fill', 'add', 'again', 'count_calls', 'describe_again', 'call_again'] + [x.name for x in IMPORTS]
OP_PARAMS = {'end': 1, 'put': 2, 'out': 2, 'grow': 1, 'fill': 3, 'add': 2, 'again': 2}
TABLES = [
    Table('auto', 'id u32, v u32', pk=0, indexes=[(BTREE, 0)], auto=[0]), Table('tiny', 'id u8, v u32', indexes=[(BTREE, 0)], unique=[0], auto=[0]), Table('plain', 'a u32, s string'), Table('ten', 'a u64, b u16'),
    Table('twenty', 'a u32, b u64, c u64'), Table('ab', 'a u32, b u32', indexes=[(BTREE, 0, 1), (BTREE, 0), (HASH, 1)]), Table('uniq', 'k u32, u u32, v u32', pk=0, indexes=[(BTREE, 0), (BTREE, 1), (BTREE, 2)], unique=[1]),
    Table('ev', 'k u32, v u32', pk=0, indexes=[(BTREE, 0)], event=True), Table('sched', [('id', 'u64'), ('at', SCHEDULE_AT)], pk=0, indexes=[(BTREE, 0)], auto=[0]), Table('camelName', 'someCol u32', pk=0, indexes=[(BTREE, 0)]),
    Table('direct', 'k u32, v u32', indexes=[(DIRECT, 0)], unique=[0]), Table('hidden', 'a u32', private=True), Table('two_auto', 'a u32, s string, b u64', auto=[0, 2]), Table('strkey', 'k string, v u32', pk=0, indexes=[(BTREE, 0), (BTREE, 1, 0)]),
    Table('empty', [])]
NUMBER = {t.name: i for i, t in enumerate(TABLES)}
PLAYER = definition(TABLES, reducers=[('run', [('script', ['u8'])]), ('arguments', []), ('bump', [('code', 'u32')]), ('tick', [('row', NUMBER['sched'])]), ('init', [])], procedures=[('prun', [('script', ['u8'])], 'string')],
                    views=[('v_anon', 0, True, [NUMBER['ab']]), ('v_sender', 0, False, [NUMBER['ab']])], lifecycle=[(INIT, 'init')], schedules=[('sched', 1, 'tick')], handlers=['hand'], env=['KEY'])


def player():
    a = lambda p: '(call $a64)' if p == 'I' else '(call $a32)'
    body = {'end': '(if (i32.eq (local.get $procedure) (i32.const 2)) (then (return (call $a32)))) (return (call $finish (call $a32) (local.get $sink) (local.get $procedure)))',
            'put': '(local.set $p (call $a32)) (local.set $n (call $a32)) (memory.copy (local.get $p) (global.get $at) (local.get $n)) (global.set $at (i32.add (global.get $at) (local.get $n)))',
            'out': '(call $hex (call $a32) (call $a32))', 'trap': 'unreachable', 'forever': '(loop $f (br $f))', 'recurse': '(call $deep)', 'grow': '(call $number (i64.extend_i32_s (memory.grow (call $a32))))',
            'fill': '(memory.fill (call $a32) (call $a32) (call $a32))', 'add': '(local.set $p (call $a32)) (i32.store (local.get $p) (i32.add (i32.load (local.get $p)) (call $a32)))',
            'again': f'(local.set $p (call $a32)) (local.set $n (call $a32)) (i32.store (local.get $p) (i32.sub (i32.load (local.get $p)) (i32.const 1))) (if (i32.load (local.get $p)) (then (global.set $at (i32.add (i32.const {SCRIPT + 4}) (local.get $n)))))',
            'count_calls': '(global.set $calls (i32.add (global.get $calls) (i32.const 1))) (call $number (i64.extend_i32_u (global.get $calls)))',
            'describe_again': '(call $describe (local.get $sink))', 'call_again': '(local.set $p (global.get $tp)) (local.set $n (call $reducer (i32.const 1) (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0) (i32.const 0) (local.get $sink))) (global.set $tp (local.get $p)) (call $number (i64.extend_i32_s (local.get $n)))'}
    for x in IMPORTS:
        c = f'(call ${x.name} {" ".join(a(p) for p in x.params)})'
        body[x.name] = f'(call $number (i64.extend_i32_s {c}))' if x.result == 'i' else f'(call $number {c})' if x.result == 'I' else c
    dispatch = '(block $bad ' + ''.join(f'(block $o{i} ' for i in reversed(range(len(OPS)))) + f'(br_table {" ".join(f"$o{i}" for i in range(len(OPS)))} $bad (call $word))' + ''.join(f') {body[o]} (br $next)' for o in OPS) + ') unreachable'
    keep = ''.join(f'(i64.store (i32.const {ARGUMENTS + 8 * i}) (local.get ${x}))' for i, x in enumerate(['s0', 's1', 's2', 's3', 'c0', 'c1', 'ts'])) + f'(i32.store (i32.const {ARGS}) (local.get $args)) (i32.store (i32.const {SINK}) (local.get $sink))'
    response = u32(1) + text('content-type') + text('text/plain') + b'\2' + u16(201)
    return assemble(f'''(module {" ".join(x.wat for x in IMPORTS)} (memory (export "memory") 64)
{data(4000, u32(len(PLAYER)))} {data(4096, PLAYER)} {data(3000, b"0123456789abcdef")} {data(3100, b"trace")} {data(3200, response)} {data(3300, u32(len(response)))}
(global $at (mut i32) (i32.const 0)) (global $tp (mut i32) (i32.const {TRACE})) (global $calls (mut i32) (i32.const 0))
(func $word (result i32) (i32.load (global.get $at)) (global.set $at (i32.add (global.get $at) (i32.const 4))))
(func $a64 (result i64) (local $kind i32) (local $v i64) (local.set $kind (call $word)) (local.set $v (i64.load (global.get $at))) (global.set $at (i32.add (global.get $at) (i32.const 8)))
  (if (i32.eq (local.get $kind) (i32.const 1)) (then (local.set $v (i64.load32_u (i32.wrap_i64 (local.get $v)))))) (if (i32.eq (local.get $kind) (i32.const 2)) (then (local.set $v (i64.load (i32.wrap_i64 (local.get $v)))))) (local.get $v))
(func $a32 (result i32) (i32.wrap_i64 (call $a64)))
(func $byte (param i32) (i32.store8 (global.get $tp) (local.get 0)) (global.set $tp (i32.add (global.get $tp) (i32.const 1))))
(func $digits (param $v i64) (if (i64.ge_u (local.get $v) (i64.const 10)) (then (call $digits (i64.div_u (local.get $v) (i64.const 10))))) (call $byte (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $v) (i64.const 10))))))
(func $number (param $v i64) (if (i64.lt_s (local.get $v) (i64.const 0)) (then (call $byte (i32.const 45)) (local.set $v (i64.sub (i64.const 0) (local.get $v))))) (call $digits (local.get $v)) (call $byte (i32.const 32)))
(func $hex (param $p i32) (param $n i32) (call $byte (i32.const 120)) (block $e (loop $l (br_if $e (i32.eqz (local.get $n))) (call $byte (i32.load8_u (i32.add (i32.const 3000) (i32.shr_u (i32.load8_u (local.get $p)) (i32.const 4)))))
  (call $byte (i32.load8_u (i32.add (i32.const 3000) (i32.and (i32.load8_u (local.get $p)) (i32.const 15))))) (local.set $p (i32.add (local.get $p) (i32.const 1))) (local.set $n (i32.sub (local.get $n) (i32.const 1))) (br $l))) (call $byte (i32.const 32)))
(func $deep (call $deep) (call $byte (i32.const 46)))
(func $write (param $sink i32) (param $p i32) (param $n i32) (i32.store (i32.const 3900) (local.get $n)) (drop (call $bytes_sink_write (local.get $sink) (local.get $p) (i32.const 3900))))
(func $finish (param $code i32) (param $sink i32) (param $procedure i32) (result i32) (local $n i32) (local.set $n (i32.sub (global.get $tp) (i32.const {TRACE})))
  (if (local.get $procedure) (then (i32.store (i32.const 2004) (local.get $n)) (call $write (local.get $sink) (i32.const 2004) (i32.const 4)) (call $write (local.get $sink) (i32.const {TRACE}) (local.get $n)))
  (else (if (local.get $code) (then (call $write (local.get $sink) (i32.const {TRACE}) (local.get $n)))
    (else (call $console_log (i32.const 2) (i32.const 3100) (i32.const 5) (i32.const 0) (i32.const 0) (i32.const -1) (i32.const {TRACE}) (local.get $n)))))) (global.set $tp (i32.const {TRACE})) (local.get $code))
(func $read (param $source i32) (local $p i32) (local $r i32) (local.set $p (i32.const {SCRIPT})) (block $e (loop $l (i32.store (i32.const 2000) (i32.const 65536)) (local.set $r (call $bytes_source_read (local.get $source) (local.get $p) (i32.const 2000)))
  (br_if $e (i32.gt_s (local.get $r) (i32.const 0))) (local.set $p (i32.add (local.get $p) (i32.load (i32.const 2000)))) (br_if $l (i32.eqz (local.get $r))))))
(func $play (param $sink i32) (param $procedure i32) (result i32) (local $p i32) (local $n i32) (global.set $at (i32.const {SCRIPT + 4})) (global.set $tp (i32.const {TRACE})) (if (i32.eq (local.get $procedure) (i32.const 2)) (then (global.set $at (i32.const {VIEW_SCRIPT})) (global.set $tp (i32.const {VIEW_TRACE})))) (loop $next {dispatch}) unreachable)
(func $describe (export "__describe_module__") (param $sink i32) {DESCRIBE})
(func $reducer (export "__call_reducer__") {FUNCTION}
  (if (i32.eqz (local.get $id)) (then {keep} (call $read (local.get $args)) (return (call $play (local.get $sink) (i32.const 0)))))
  (if (i32.eq (local.get $id) (i32.const 2)) (then (global.set $calls (i32.add (global.get $calls) (i32.const 1))) (call $number (i64.extend_i32_u (global.get $calls))) (call $read (local.get $args)) (return (call $finish (i32.load (i32.const {SCRIPT})) (local.get $sink) (i32.const 0)))))
  {keep} (call $hex (i32.const {ARGUMENTS}) (i32.const 64)) (call $finish (i32.eq (local.get $id) (i32.const 1)) (local.get $sink) (i32.const 0)))
(func (export "__call_procedure__") {FUNCTION} {keep} (call $read (local.get $args)) (call $play (local.get $sink) (i32.const 1)))
(func $view (param $sink i32) (result i32) (if (i32.load (i32.const {VIEW + 24})) (then (drop (call $play (i32.const 0) (i32.const 2))) (i32.store (i32.const {VIEW + 24}) (i32.sub (global.get $tp) (i32.const {VIEW_TRACE}))) (global.set $tp (i32.const {TRACE}))))
  (if (i32.load (i32.const {VIEW + 12})) (then (drop (call $datastore_table_row_count (i32.load (i32.const {VIEW + 12})) (i32.const {VIEW + 16})))))
  (call $write (local.get $sink) (i32.load (i32.const {VIEW + 4})) (i32.load (i32.const {VIEW + 8}))) (if (i32.eq (i32.load (i32.const {VIEW})) (i32.const 99)) (then unreachable)) (if (i32.eq (i32.load (i32.const {VIEW})) (i32.const 98)) (then (loop $f (br $f)))) (i32.load (i32.const {VIEW})))
(func (export "__call_view_anon__") (param i32 i32 i32) (result i32) (call $view (local.get 2)))
(func (export "__call_view__") (param i32 i64 i64 i64 i64 i32 i32) (result i32) (call $view (local.get 6)))
(func (export "__call_http_handler__") (param $id i32) (param $ts i64) (param $req i32) (param $body i32) (param $rs i32) (param $rbs i32) (result i32) (global.set $tp (i32.const {TRACE}))
  (call $read (local.get $req)) (call $number (i64.extend_i32_u (local.get $req))) (call $number (i64.extend_i32_u (local.get $body))) (drop (call $bytes_sink_write (local.get $rs) (i32.const 3200) (i32.const 3300)))
  (call $write (local.get $rbs) (i32.const {TRACE}) (i32.sub (global.get $tp) (i32.const {TRACE}))) (i32.const 0)))''')


class At(int): """Argument: the u32 at that address."""
class At64(int): """Argument: the u64 at that address."""
class Script:
    """Host calls for the player: Script().put(at, bytes).table_id_from_name(p, n, out); each call's result goes into the trace."""
    def __init__(self): self.bytes, self.top = b'', HEAP
    def __getattr__(self, op):
        if op not in OPS: raise AttributeError(op)
        def emit(*args):
            want = len(BY_NAME[op].params) if op in BY_NAME else OP_PARAMS.get(op, 0)
            assert len(args) == want, (op, args)
            self.bytes += u32(OPS.index(op)) + b''.join(u32(2 if isinstance(x, At64) else 1 if isinstance(x, At) else 0) + u64(x) for x in args)
            return self
        return emit
    def put(self, at, b):
        self.bytes += u32(OPS.index('put')) + u32(0) + u64(at) + u32(0) + u64(len(b)) + b
        return self
    def place(self, b):
        """Bytes on the heap: their address."""
        at = self.top
        self.top += (len(b) + 39) & ~15
        self.put(at, b)
        return at
    def slice(self, b): return self.place(b), len(b)
    def here(self): return len(self.bytes)
    def ended(self, code):
        s = Script()
        s.bytes = self.bytes
        return s.end(code).bytes


def trace(t): return [bytes.fromhex(x[1:]) if x[0] == 'x' else int(x) for x in t.split()]
