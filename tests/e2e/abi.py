"""The module ABI on a server, with modules written by hand: the host calls of tests/conformance/abi.case, and what needs more than calls: starting,
linking, outcomes, subscribers, energy (spec/02 §1-§8, §15, §16 by number; spec/07 §3)."""
import base64, http.client, json, os, re, struct, sys, threading, time
from lightcone import TOP, Server, main
from websocket import V3, call as ws_call, opened, persistent, rows, subscribe, update
sys.path.insert(0, os.path.join(TOP, 'tests', 'modules'))
import wat
from wat import At, At64, Script, small, text, trace, u16, u32, u64

FATAL = (530, 'The instance encountered a fatal error.')
OUT_BYTES = 16


class Player:
    """A fresh database that runs the player."""
    program, count = None, 0
    def __init__(self, s, token):
        Player.program = Player.program or wat.player()
        Player.count += 1
        self.s, self.token, self.name = s, token, f'player-{Player.count}'
        status, answer, _ = s.http('PUT', f'/v1/database/{self.name}', Player.program, token)
        assert status == 200, answer
    def post(self, function, *args):
        return self.s.http('POST', f'/v1/database/{self.name}/call/{function}', json.dumps(args), self.token, {'Content-Type': 'application/json'})[:2]
    def logs(self, n=100): return [json.loads(l) for l in self.s.http('GET', f'/v1/database/{self.name}/logs?num_lines={n}', None, self.token)[1].splitlines()]
    def sql(self, query): return self.s.sql(self.name, query, self.token)
    def play(self, script, end='rollback'):
        """The trace, or (status, text)."""
        if end == 'procedure':
            status, answer = self.post('prun', script.ended(0).hex())
            return trace(json.loads(answer)) if status == 200 else (status, answer)
        if end != 'commit':
            status, answer = self.post('run', script.ended(1).hex())
            return trace(answer) if status == 530 and answer != FATAL[1] else (status, answer)
        status, answer = self.post('run', script.ended(0).hex())
        if status != 200: return status, answer
        return trace([l for l in self.logs(5) if l.get('target') == 'trace'][-1]['message'])


# ---- abi.case

def literal(token):
    """Bytes of a literal; None: it is none."""
    if token == '*': return b'\2'
    if token[0] in '[(': return (b'\0' if token[0] == '[' else b'\1') + literal(token[1:])
    if not re.match(r'(u8|u16|u32|u64|str|raw|hex):', token): return None
    out = b''
    for part in re.split(r'\+(?=(?:u8|u16|u32|u64|str|raw|hex):)', token):
        kind, value = part.split(':', 1)
        if kind == 'str': out += text(value)
        elif kind == 'raw': out += value.encode()
        elif kind == 'hex': out += bytes.fromhex(value)
        else: out += {'u8': wat.u8, 'u16': u16, 'u32': u32, 'u64': u64}[kind](*(int(v, 0) for v in value.split(',')))
    return out


class Play:
    """The lines of one call into the module, made into a script and what its trace must be."""
    def __init__(self, ids): self.script, self.want, self.ids, self.iterator = Script(), [], ids, 0
    def number(self, token): return self.ids[token] if token in self.ids else int(token, 0)
    def expect(self, line, *values): self.want += [(v, line) for v in values]
    def cell(self, value=0xeeee): return self.script.place(u32(value))
    def line(self, line):
        operands, _, wanted = line.partition(' = ')
        verb, *args = operands.split()
        wanted = wanted.split()
        s = self.script
        if wanted == ['trap']: self.traps = True
        code = None if wanted == ['trap'] else int(wanted[0].rstrip('!'))
        result = wanted[1] if len(wanted) > 1 else None
        bytes_wanted = None if result == '_' else b'' if result in (None, '-') else self.value(result)
        if verb in ('insert', 'update'):
            row = literal(args[-1])
            at, length = s.place(row), self.cell(len(row))
            getattr(s, f'datastore_{verb}_bsatn')(*map(self.number, args[:-1]), at, length).out(length, 4).out(at, At(length))
            after = row if code else bytes_wanted
            self.expect(line, code, u32(len(after or b'')), after)
        elif verb in ('scan', 'point', 'range', 'range-btree'):
            self.iterator = self.cell()
            if verb == 'scan': s.datastore_table_scan_bsatn(self.number(args[0]), self.iterator)
            elif verb == 'point': s.datastore_index_scan_point_bsatn(self.number(args[0]), *s.slice(literal(args[1])), self.iterator)
            else: getattr(s, 'datastore_index_scan_range_bsatn' if verb == 'range' else 'datastore_btree_scan_bsatn')(*self.range(args), self.iterator)
            self.expect(line, code)
            if code: # nothing is written
                s.out(self.iterator, 4)
                self.expect(line, u32(0xeeee))
        elif verb == 'advance':
            capacity = int(args[0])
            length = self.cell(capacity)
            s.row_iter_bsatn_advance(At(self.iterator), wat.BUFFER, length).out(length, 4)
            self.expect(line, code)
            if code in (0, -1):
                s.out(wat.BUFFER, At(length))
                self.expect(line, u32(len(bytes_wanted)), bytes_wanted)
            else: self.expect(line, u32(int(result)) if result else u32(capacity))
        elif verb == 'close':
            s.row_iter_bsatn_close(At(self.iterator))
            self.expect(line, code)
        elif verb in ('count', 'clear'):
            at = s.place(u64(0xeeee))
            getattr(s, 'datastore_table_row_count' if verb == 'count' else 'datastore_clear')(self.number(args[0]), at).out(at, 8)
            if verb == 'count' and not wanted[0].endswith('!'): self.expect(line, 0, u64(code))
            else: self.expect(line, code, u64(int(result)) if code == 0 else u64(0xeeee))
        elif verb in ('delete', 'delete-raw', 'delete-point', 'delete-range', 'delete-range-btree'):
            at = self.cell()
            if verb == 'delete': s.datastore_delete_all_by_eq_bsatn(self.number(args[0]), *s.slice(wat.array([literal(a) for a in args[1:]])), at)
            elif verb == 'delete-raw': s.datastore_delete_all_by_eq_bsatn(self.number(args[0]), *s.slice(literal(args[1])), at)
            elif verb == 'delete-point': s.datastore_delete_by_index_scan_point_bsatn(self.number(args[0]), *s.slice(literal(args[1])), at)
            else: getattr(s, 'datastore_delete_by_index_scan_range_bsatn' if verb == 'delete-range' else 'datastore_delete_by_btree_scan_bsatn')(*self.range(args), at)
            s.out(at, 4)
            self.expect(line, code, u32(int(result)) if code == 0 else u32(0xeeee))
        elif verb == 'call':
            values, out = [], None
            for a in args[1:]:
                b = literal(a)
                if a == 'out': values.append(out := s.place(b'\xee' * OUT_BYTES))
                elif b is not None and args[0] == 'get_jwt': values.append(s.place(b))
                elif b is not None: values += s.slice(b)
                else: values.append(self.number(a))
            getattr(s, args[0])(*values)
            self.expect(line, code)
            if out is not None:
                s.out(out, OUT_BYTES)
                self.expect(line, None if result == '_' else bytes_wanted + b'\xee' * (OUT_BYTES - len(bytes_wanted or b'')))
        else: raise Exception(f'unknown verb: {line}')
    traps = False
    def value(self, token):
        kind, _, name = token.partition(':')
        return u32(self.ids[name]) if kind in ('table', 'index') else literal(token) if ':' in token else b''
    def range(self, args): return [self.number(args[0]), *self.script.slice(literal(args[1])), int(args[2]), *self.script.slice(literal(args[3])), *self.script.slice(literal(args[4]))]
    def check(self, got):
        if self.traps:
            assert got == FATAL, got
            return
        assert isinstance(got, list), (got, [l for _, l in self.want][:1])
        for i, (want, line) in enumerate(self.want):
            have = got[i] if i < len(got) else 'nothing'
            if want is not None and have != want: raise Exception(f'{line}\n  expected {want!r}, got {have!r}')
        assert len(got) == len(self.want), (got, self.want)


def run_case(s, token, lines):
    p = Player(s, token)
    ids = {n: i for n, i in p.sql('SELECT table_name, table_id FROM st_table') + p.sql('SELECT index_name, index_id FROM st_index')}
    play, procedure = Play(ids), False
    def end(how):
        nonlocal play
        if play.script.bytes: play.check(p.play(play.script, 'procedure' if procedure else how))
        play = Play(ids)
    for line in lines:
        if line == 'procedure': procedure = True
        elif line in ('commit', 'rollback'): end(line)
        elif line == 'trap':
            play.script.trap()
            assert p.play(play.script) == FATAL, line
            play = Play(ids)
        elif line.startswith('sql '):
            end('rollback')
            query, wanted = line[4:].rsplit(' = ', 1)
            if sorted(p.sql(query)) != json.loads(wanted): raise Exception(f'{line}: got {p.sql(query)}')
        elif line == 'restart':
            end('rollback')
            s.stop()
            s.start()
        else: play.line(line)
    end('rollback')


def calls():
    only = os.environ.get('CASE', '')
    with open(os.path.join(TOP, 'tests/conformance/abi.case')) as f: lines = [l.rstrip() for l in f if l.strip() and l[0] != '#']
    cases = []
    for l in lines:
        if l.startswith('case '): cases.append((l[5:], []))
        else: cases[-1][1].append(l)
    failed = []
    with Server() as s:
        token = s.identity()['token']
        for name, body in cases:
            if only not in name: continue
            try: run_case(s, token, body)
            except Exception as e: failed.append(f'case {name}: {e}')
            s.check_alive()
    print(f'{len(cases)} cases')
    if failed: raise Exception('\n'.join(failed))


# ---- modules: linking, starting, outcomes

def publish(s, token, name, wasm): return s.http('PUT', f'/v1/database/{name}', wasm, token)[:2]
def refused(s, token, wasm, *texts):
    status, answer = publish(s, token, 'refused', wasm)
    assert status >= 400 and all(t in answer for t in texts), (status, answer, texts)
    assert s.http('GET', '/v1/database/refused')[0] == 404 # nothing is left
def accepted(s, token, name, wasm):
    status, answer = publish(s, token, name, wasm)
    assert status == 200, answer
def called(s, token, name, function, *args): return s.call(name, function, *args, token=token)[:2]


def case_1_2_3_linking(s, token):
    d, r = '(func (export "__describe_module__") (param i32))', f'(func (export "__call_reducer__") {wat.FUNCTION} (i32.const 0))'
    sink, memory = wat.BY_NAME['bytes_sink_write'].wat, '(memory (export "memory") 1)'
    def versions(*names): return wat.assemble('(module %s (memory (export "memory") 1))' % ' '.join(f'(import "{n}" "f{i}" (func))' for i, n in enumerate(names)))
    def m(body): return wat.assemble(f'(module {sink} {body})')
    accepted(s, token, 'both', small(imports=('bytes_sink_write', 'console_log', 'datastore_clear', 'env_get'))) # 10.0, 10.5 and 10.6 (spec/07 §3.1)
    accepted(s, token, 'smallest', small(b'\1' + bytes(24))) # §15: the smallest description
    for name in 'spacetime_10.7', 'spacetime_11.0', 'spacetime_9.0': refused(s, token, versions(name), f'abi version {name[10:]} is not supported (host implements 10.6)')
    for names in (), ('env',), ('wasi_snapshot_preview1',), ('spacetime10.0',): refused(s, token, versions(*names), 'unable to determine ABI of module (may be on an spacetime version < 0.8)')
    for names in ('spacetime_9.0', 'spacetime_10.0'), ('spacetime_10.0', 'spacetime_9.0'): refused(s, token, versions(*names), 'module cannot depend on both major version 9 and major version 10')
    for name in 'spacetime_x', 'spacetime_10', 'spacetime_10.0.1', 'spacetime_10.70000', 'spacetime_', 'spacetime_10.', 'spacetime_+10.0': refused(s, token, versions(name), f'import module "{name}" has malformed version string')
    for module, name, what in ('wasi_snapshot_preview1', 'fd_write', '(func)'), ('spacetime_10.0', 'datastore_clear', '(func (param i32 i32) (result i32))'), ('spacetime_10.6', 'nope', '(func)'), ('env', 'g', '(global i32)'), ('env', 't', '(table 1 funcref)'):
        refused(s, token, small(raw=f'(import "{module}" "{name}" {what})'), name)
    for x in wat.IMPORTS: # each links under its own name with its own type only
        names = () if x.name == 'bytes_sink_write' else (x.name,)
        accepted(s, token, 'linked', small(imports=('bytes_sink_write', *names)))
        if not names: continue
        for wrong in (x.wat.replace(f'10.{x.minor}"', f'10.{(x.minor + 1) % 7}"'), x.wat.replace('(func $', '(func (param f32) (result f32)) (func $', 1).split(' (func $')[0] + ')'): refused(s, token, small(imports=('bytes_sink_write',), raw=wrong), x.name)
    refused(s, token, m(''), 'there should be a memory export called "memory" but it does not exist')
    refused(s, token, m(memory + d), 'there should be a function called "__call_reducer__" but it does not exist')
    refused(s, token, m(memory + r), 'there should be a function called "__describe_module__" but it does not exist')
    signature = 'call_reducer signature for "__call_reducer__"; expected (func (param i32 i64 i64 i64 i64 i64 i64 i64 i32 i32) (result i32)) got (func'
    refused(s, token, m(memory + '(func (export "__call_reducer__"))'), 'bad ' + signature)
    refused(s, token, m(memory + r + '(func (export "__describe_module__"))'), 'bad describe_module signature for "__describe_module__"; expected (func (param i32)) got (func)')
    refused(s, token, m(memory + d + '(global (export "__call_reducer__") i32 (i32.const 0))'), '''expected "__call_reducer__" export to be a call_reducer with signature (func (param i32 i64 i64 i64 i64 i64 i64 i64 i32 i32) (result i32)), but it wasn't a function at all''')
    refused(s, token, m(memory + d + r + '(func (export "__setup__"))'), 'bad setup signature for "__setup__"; expected (func (param i32) (result i32)) got (func)')
    refused(s, token, m(memory + d + r + '(func (export "__preinit__10_x") (param i32))'), 'bad preinit signature for "10_x"; expected (func) got (func (param i32))')
    for name in '__call_procedure__', '__call_view__', '__call_view_anon__', '__call_http_handler__': # the reference's process ends there
        for what in f'(func (export "{name}"))', f'(global (export "{name}") i32 (i32.const 0))': refused(s, token, small(extra=what), name)
    refused(s, token, small(extra='(start $z) (func $z)'), 'all fuel consumed by WebAssembly')
    accepted(s, token, 'ignored', small(extra='(func (export "_initialize") (param i32)) (func (export "_start") unreachable)'))
    for program in b'', b'\0asm', b'\0asm\1\0\0\0', b'\0asm\2\0\0\0', bytes(100), small()[:-9]: refused(s, token, program)


def case_4_5_starting(s, token):
    digit = lambda c: f'(i32.store8 (i32.add (i32.const 3000) (global.get $n)) (i32.const {ord(c)})) (global.set $n (i32.add (global.get $n) (i32.const 1)))'
    one = wat.definition(reducers=[('r', [])])
    accepted(s, token, 'order', small(one, '(call $say (local.get $sink) (i32.const 3000) (global.get $n)) (i32.const 1)', describe=digit('5') + wat.DESCRIBE,
                                      extra=f'(global $n (mut i32) (i32.const 0)) (func (export "__setup__") (param i32) (result i32) {digit("4")} i32.const 0) (func (export "__preinit__20_b") {digit("3")}) (func (export "__preinit__10_a") {digit("2")}) (func (export "__preinit__") {digit("0")}) (func (export "_initialize") {digit("1")})'))
    assert called(s, token, 'order', 'r') == (530, '102345')
    setup = lambda code: small(extra=f'{wat.data(3000, b"bad")} (func (export "__setup__") (param $sink i32) (result i32) (call $say (local.get $sink) (i32.const 3000) (i32.const 3)) {code})')
    refused(s, token, setup('i32.const 1'), 'setup function returned an error: bad')
    refused(s, token, setup('i32.const 7'), 'setup function returned the unknown code 7')
    refused(s, token, setup('unreachable'), 'wasm trap while calling "__setup__"')
    accepted(s, token, 'setup', setup('i32.const 0'))
    refused(s, token, small(extra='(func (export "__preinit__1") unreachable)'), 'wasm trap while calling "__preinit__1"')
    refused(s, token, small(describe='unreachable'), 'error getting module description')
    for d in b'', b'\7', one[:1], one[:5], one[:len(one) // 2], one[:-1]: refused(s, token, small(d), 'error decoding module description')
    accepted(s, token, 'more', small(wat.definition() + b'more than the definition'))
    refused(s, token, small(wat.definition(reducers=[('init', [])], lifecycle=[(wat.INIT, 'init')]), '(call $say (local.get $sink) (i32.const 3000) (i32.const 4)) (i32.const 1)', extra=wat.data(3000, b'nope')), 'nope')


def case_105_sequence_options(s, token):
    """A V9 definition with a sequence that starts at 10 and one that counts by 5: refused (spec/07 §4.6), each option with its text."""
    def v9(start, low, high, step):
        opt = lambda v: wat.NONE if v is None else wat.SOME + u64(v, 0)
        product = b'\2' + wat.product([('Id', 'u32'), ('v', 'u32')])
        table = text('MyTable') + u32(0) + wat.array([u16(0)]) + wat.array([wat.NONE + wat.SOME + text('acc') + b'\0' + wat.array([u16(0)])]) + wat.array([wat.NONE + b'\0' + wat.array([u16(0)])]) + wat.array([wat.NONE + u16(0) + opt(start) + opt(low) + opt(high) + u64(step, 0)]) + wat.NONE + b'\1' + b'\0'
        return small(b'\1' + wat.array([product]) + wat.array([table]) + wat.array([text('r') + wat.product([]) + wat.NONE]) + wat.array([wat.array([]) + text('T') + u32(0) + b'\1']) + wat.array([]) + wat.array([]))
    accepted(s, token, 'sequence', v9(None, None, None, 1))
    for option, value, options, should in ('start', 10, (10, None, None, 1), 'None'), ('min_value', 2, (None, 2, None, 1), 'None'), ('max_value', 9, (None, None, 9, 1), 'None'), ('increment', 5, (None, None, None, 5), '1'):
        refused(s, token, v9(*options), f'sequence definition `MyTable_Id_seq` specifies unsupported option `{option}` with value {value}, should be {should}')


def case_6_7_10_outcomes(s, token):
    """New instances are described; globals live until a trap; return codes."""
    needs = small(wat.definition(reducers=[('boom', []), ('ok', [])]), '(if (i32.lt_u (global.get $g) (i32.const 1)) (then unreachable)) (if (i32.eqz (local.get $id)) (then unreachable)) (i32.const 0)',
                  extra='(global $g (mut i32) (i32.const 0))', describe='(global.set $g (i32.add (global.get $g) (i32.const 1)))' + wat.DESCRIBE)
    accepted(s, token, 'needs', needs)
    for _ in range(3): assert (called(s, token, 'needs', 'ok')[0], called(s, token, 'needs', 'boom')) == (200, FATAL)
    p = Player(s, token)
    bump = lambda code: p.post('bump', code)
    assert [bump(1), bump(1), bump(5), bump(1), bump(0)[0], bump(1)] == [(530, '1 '), (530, '2 '), FATAL, (530, '4 '), 200, (530, '6 ')]
    for broken in Script().trap(), Script().table_id_from_name(0, 0, wat.HEAP), Script().recurse(): assert (p.play(broken), bump(1)) == (FATAL, (530, '1 '))
    for code in 5, 2, -1, 256:
        script = Script()
        row = u32(1) + text('x')
        script.datastore_insert_bsatn(At(script_table(p, script, 'plain')), script.place(row), script.place(u32(len(row))))
        assert p.post('run', script.ended(code).hex()) == FATAL, code
    assert p.sql('SELECT * FROM plain') == []
    errors = [l for l in p.logs() if l['level'] == 'Error']
    assert errors and errors[0]['target'] == errors[0]['filename'] == '__spacetimedb__' and errors[0]['function'] == 'bump' and errors[0]['message'] == '1 ' and 'line_number' not in errors[0], errors[:1]
def script_table(p, script, name):
    out = script.place(u32(0))
    script.table_id_from_name(*script.slice(name.encode()), out)
    return out


def case_8_9_bytes(s, token):
    p = Player(s, token)
    status, answer = p.post('arguments')
    assert trace(answer)[0][56:64] == u32(0, 1), answer # no arguments: handle 0; the first sink of a call is 1
    body = '(i32.store (i32.const 3008) (i32.const %d)) (call $put (call $bytes_source_read (local.get $args) (i32.const 3100) (i32.const 3008))) (call $put (i32.load (i32.const 3008)))'
    left = '(call $put (call $bytes_source_remaining_length (local.get $args) (i32.const 3004))) (call $put (i32.load (i32.const 3004)))'
    accepted(s, token, 'reader', small(wat.definition(reducers=[('add', [('name', 'string'), ('age', 'u8')])]), left + body % 3 + left + body % 0 + body % 10 + body % 10 + '(call $say (local.get $sink) (i32.const 3200) (global.get $n)) (i32.const 1)',
                                       imports=('bytes_sink_write', 'bytes_source_read', 'bytes_source_remaining_length'),
                                       extra='(global $n (mut i32) (i32.const 0)) (func $put (param i32) (i32.store8 (i32.add (i32.const 3200) (global.get $n)) (i32.add (i32.const 65) (local.get 0))) (global.set $n (i32.add (global.get $n) (i32.const 1))))'))
    assert [ord(c) - 65 for c in called(s, token, 'reader', 'add', 'bob', 33)[1]] == [0, 8, 0, 3, 0, 5, 0, 0, -1, 5, 8, 10]
    script = Script()
    word = script.place(b'abc')
    script.bytes_sink_write(At(wat.SINK), word, script.place(u32(2))).bytes_sink_write(At(wat.SINK), word + 2, script.place(u32(1)))
    assert p.post('run', script.ended(1).hex()) == (530, 'abc0 0 ')
    script = Script()
    script.bytes_sink_write(At(wat.SINK), script.place(b'\xff\xfeok'), script.place(u32(4)))
    assert p.post('run', script.ended(1).hex()) == (530, '\ufffd\ufffdok0 ')


def case_16_many_rows(s, token):
    p = Player(s, token)
    script = Script()
    table, row, length, count, out = script_table(p, script, 'twenty'), script.place(bytes(20)), script.place(u32(20)), script.place(u32(5000)), script.place(u32(0))
    again = script.here()
    script.put(length, u32(20)).datastore_insert_bsatn(At(table), row, length).add(row, 1).again(count, again).datastore_table_scan_bsatn(At(table), out)
    sizes = script.place(u32(65536))
    for _ in range(6): script.put(sizes, u32(65536)).row_iter_bsatn_advance(At(out), wat.BUFFER, sizes).out(sizes, 4)
    got = p.play(script)
    assert got[:5002] == [0] * 5002, got[:3]
    results = list(zip(got[5002::2], (int.from_bytes(x, 'little') for x in got[5003::2])))
    ends = [r for r, _ in results].index(-1)
    assert ends and all(r == 0 and n and n % 20 == 0 for r, n in results[:ends]) and sum(n for _, n in results[:ends + 1]) == 100000 and all(r == 6 for r, _ in results[ends + 1:]), results


def case_22_24_30_subscribers(s, token):
    """What is net nothing is told to nobody; an event table's rows are told once."""
    p = Player(s, token)
    insert = lambda script, table, row: script.datastore_insert_bsatn(At(script_table(p, script, table)), script.place(row), script.place(u32(len(row))))
    run = lambda script: p.play(script, 'commit')
    script = Script()
    insert(script, 'uniq', u32(1, 1, 1))
    run(script)
    c = opened(s, p.name, V3, token=token)
    c.send(subscribe(1, 1, 'SELECT * FROM uniq', 'SELECT * FROM ev'))
    c.next()
    def told(build):
        """The updates that this transaction and a marker behind it bring: the first must be the marker's when the transaction is net nothing."""
        script = Script()
        build(script)
        run(script)
        return c.next()
    def delete(script, row): script.datastore_delete_all_by_eq_bsatn(At(script_table(p, script, 'uniq')), *script.slice(wat.array([row])), script.place(u32(0)))
    def nothing(script): # case 22
        delete(script, u32(1, 1, 1))
        insert(script, 'uniq', u32(1, 1, 1))
    def same(script): # case 24
        table, index = script_table(p, script, 'uniq'), script.place(u32(0))
        script.index_id_from_name(*script.slice(b'uniq_k_idx_btree'), index).datastore_update_bsatn(At(table), At(index), script.place(u32(1, 1, 1)), script.place(u32(12)))
    for build in nothing, same:
        script = Script()
        build(script)
        run(script)
    got = told(lambda x: insert(x, 'uniq', u32(9, 9, 9)))
    assert got == update((1, [('uniq', [persistent([u32(9, 9, 9)])])])), got
    def change(script):
        delete(script, u32(9, 9, 9))
        insert(script, 'uniq', u32(9, 9, 8))
    assert told(change) == update((1, [('uniq', [persistent([u32(9, 9, 8)], [u32(9, 9, 9)])])]))
    def events(script):
        insert(script, 'ev', u32(1, 1))
        insert(script, 'ev', u32(2, 2))
    assert told(events) == update((1, [('ev', [b'\1' + rows(u32(1, 1), u32(2, 2))])]))
    assert told(lambda x: insert(x, 'uniq', u32(7, 7, 7))) == update((1, [('uniq', [persistent([u32(7, 7, 7)])])])) # no delete of an event came between
    script = Script() # case 35: a procedure's commit is broadcast
    script.procedure_start_mut_tx(script.place(u64(0)))
    insert(script, 'uniq', u32(6, 6, 6))
    script.procedure_commit_mut_tx()
    p.play(script, 'procedure')
    assert c.next() == update((1, [('uniq', [persistent([u32(6, 6, 6)])])]))


def case_32_33_35_log(s, token):
    p = Player(s, token)
    script = Script()
    (m, n), (t, tn), (f, fn) = script.slice(b'hello'), script.slice(b'tg'), script.slice(b'f.rs')
    for level in 0, 1, 2, 3, 4, 101, 200, 257, 5: script.console_log(level, t, tn, f, fn, 12, m, n)
    script.console_log(2, 0, 0, 0, 0, -1, m, n).console_log(2, t, tn, f, fn, -1, 0, 0).console_log(2, t, tn, f, fn, -1, 0, 5).console_log(2, t, tn, f, fn, -1, 0xfffffff0, 500).console_log(2, t, tn, f, fn, 0, *script.slice(b'\xffz'))
    script.console_log(2, 0xfffffff0, 99, 0, 0, 1, m, n).console_log(2, t, 0, 0xfffffff0, 99, 1, m, n).console_log(2, t, 0, 0, 0, 1, t, 0).console_timer_start(*script.slice(b'x"y\n\0\x01' + 'é'.encode() + b'z' * 2000)).console_timer_end(1)
    assert p.play(script, 'commit') == [1, 0]
    k = [l for l in p.logs() if l.get('function') == 'run' and l.get('target') != 'trace']
    assert [l['level'] for l in k[:9]] == ['Error', 'Warn', 'Info', 'Debug', 'Trace', 'Panic', 'Debug', 'Warn', 'Debug'], k
    assert ['trace' in l for l in k] == [i == 5 for i in range(len(k))] and k[5]['trace'] and all(set(x) == {'func_name'} for x in k[5]['trace'])
    assert list(k[0]) == ['level', 'ts', 'target', 'filename', 'line_number', 'function', 'message'] and (k[0]['target'], k[0]['filename'], k[0]['line_number'], k[0]['message']) == ('tg', 'f.rs', 12, 'hello')
    assert set(k[9]) == {'level', 'ts', 'function', 'message'} and [(l['message'], l.get('line_number')) for l in k[10:12]] == [('\ufffdz', 0), ('', 1)], k[9:]
    assert k[12]['level'] == 'Info' and re.fullmatch(r'Timing span "x\\"y\\n\\0\\u\{1\}éz{2000}": [0-9.]+(ns|µs|ms|s)', k[12]['message']) and len(k) == 13, k[12:]
    script = Script()
    script.procedure_start_mut_tx(script.place(u64(0)))
    p.play(script, 'procedure')
    assert [(l['level'], l['message']) for l in p.logs() if 'dangling' in l['message']] == [('Error', 'aborting dangling anonymous transaction in procedure prun')]
    assert p.post('prun', Script().ended(5).hex()) == (500, 'The module instance encountered a fatal error: __call_procedure__ returned unexpected code 5. Procedures should return code 0 or trap.')
    status, answer = p.post('prun', Script().trap().ended(0).hex())
    assert status == 500 and answer.startswith('The module instance encountered a fatal error: error while executing at wasm backtrace:') and answer.endswith(': wasm trap: wasm `unreachable` instruction executed'), answer
    script = Script()
    script.fill(wat.HEAP + 0x10000, 65, 2 << 20).console_log(2, 0, 0, 0, 0, -1, wat.HEAP + 0x10000, 2 << 20) # a record has a limit
    p.play(script)
    assert len([l for l in p.logs(3) if l['message'].startswith('A')][-1]['message']) == 1 << 20


def case_36_38_104_who(s, token):
    """Who calls, in words and bytes (§15): identities and connection ids; sleep."""
    p = Player(s, token)
    own = bytes.fromhex(s.http('GET', f'/v1/database/{p.name}/identity')[1])
    script = Script()
    out = script.place(bytes(32))
    assert p.play(script.identity(out).out(out, 32)) == [own[::-1]]
    claims = json.loads(base64.urlsafe_b64decode(token.split('.')[1] + '=='))
    owner = bytes.fromhex(claims['hex_identity'])
    c = opened(s, p.name, V3, token=token, query='connection_id=000102030405060708090a0b0c0d0e0f')
    c.send(ws_call(1, 'arguments'))
    answer = c.next()
    words = struct.unpack('<7q', trace(re.search(rb'x[0-9a-f]{128} ', answer).group().decode())[0][:56])
    assert [w & (1 << 64) - 1 for w in words[:6]] == list(struct.unpack('>4Q', owner))[::-1] + [0x08090a0b0c0d0e0f, 0x0001020304050607] and abs(words[6] / 1e6 - time.time()) < 60, words
    init = [trace(l['message'])[0] for l in p.logs() if l.get('function') == 'init']
    assert len(init) == 1 and init[0][:48] == owner[::-1] + bytes(16), init # init: the owner, no connection
    script = Script()
    script.volatile_nonatomic_schedule_immediate(*script.slice(b'tick'), *script.slice(u64(1) + b'\0' + u64(5))).volatile_nonatomic_schedule_immediate(*script.slice(b'nosuch'), 16, 0).volatile_nonatomic_schedule_immediate(*script.slice(b'bump'), *script.slice(b'\1'))
    assert p.play(script) == [] # rolled back, and it runs all the same
    for _ in range(100):
        tick = [trace(l['message'])[0] for l in p.logs() if l.get('function') == 'tick']
        if tick: break
        time.sleep(0.02)
    assert len(tick) == 1 and tick[0][:48] == own[::-1] + bytes(16), tick # scheduled: the database itself, no connection
    assert p.post('bump', 1) == (530, '1 ') # arguments that do not decode do not reach the module
    script = Script()
    out, length = script.place(u32(0)), script.place(u32(4000))
    got = p.play(script.get_jwt(wat.ARGUMENTS + 32, out).bytes_source_read(At(out), wat.BUFFER, length).out(wat.BUFFER, At(length)))
    assert got[:2] == [0, -1] and json.loads(got[2])['hex_identity'] == claims['hex_identity']
    script = Script()
    past, soon = script.place(u64(0)), script.place(u64(int((time.time() + 0.3) * 1e6)))
    got = p.play(script.procedure_sleep_until(At64(past)).procedure_sleep_until(At64(soon)), 'procedure')
    assert got[0] > 1.6e15 and 0 <= got[1] - got[0] < 60e6, got


def case_201_handlers(s, token):
    p = Player(s, token)
    status, answer, headers = s.http('POST', f'/v1/database/{p.name}/route/hand', b'xyz')
    assert (status, headers['content-type'], answer) == (201, 'text/plain', '1 2 '), (status, answer)
    assert s.http('POST', f'/v1/database/{p.name}/route/hand', b'')[1] == '1 0 ' # no body: handle 0
    d = wat.definition([wat.Table('x', 'a u32')], reducers=[('r', [])], procedures=[('p', [], 'string')], handlers=['h'])
    accepted(s, token, 'missing', small(d)) # what is missing shows when it is called
    assert called(s, token, 'missing', 'p') == (500, 'The module instance encountered a fatal error: Module defines procedure p but does not export `__call_procedure__`')
    assert s.http('POST', '/v1/database/missing/route/h', b'')[:2] == (500, 'Module defines http handler h but does not export `__call_http_handler__`')
    accepted(s, token, 'codes', small(d, extra='(func (export "__call_http_handler__") (param i32 i64 i32 i32 i32 i32) (result i32) i32.const 3)'))
    assert s.http('POST', '/v1/database/codes/route/h', b'')[:2] == (500, '__call_http_handler__ returned unexpected code 3. HTTP handlers should return code 0 or trap.')
    accepted(s, token, 'codes', small(d, extra='(func (export "__call_http_handler__") (param i32 i64 i32 i32 i32 i32) (result i32) i32.const 0)'))
    status, answer, _ = s.http('POST', '/v1/database/codes/route/h', b'')
    assert status == 500 and 'cannot be decoded' in answer, (status, answer)
    assert called(s, token, 'missing', 'r')[0] == 200
    # the newer signature: an identity for each request, and its claims (spec/07 §3.3, §19 case 2)
    response = u32(0) + b'\2' + u16(200)
    keep = ''.join(f'(i64.store (i32.const {3000 + 8 * i}) (local.get ${x}))' for i, x in enumerate(('s0', 's1', 's2', 's3')))
    accepted(s, token, 'sender', small(d, imports=('bytes_sink_write', 'console_log', 'bytes_source_read'), extra=wat.data(3800, response) + '(func (export "__call_http_handler__") (param $id i32) (param $s0 i64) (param $s1 i64) (param $s2 i64) (param $s3 i64) (param $jwt i32) (param $ts i64) (param $req i32) (param $body i32) (param $rs i32) (param $rbs i32) (result i32)'
                                       + keep + f'(i32.store (i32.const 2000) (i32.const 1000)) (if (i32.ne (call $bytes_source_read (local.get $jwt) (i32.const 3032) (i32.const 2000)) (i32.const -1)) (then unreachable)) (call $say (local.get $rbs) (i32.const 3000) (i32.add (i32.const 32) (i32.load (i32.const 2000)))) (call $say (local.get $rs) (i32.const 3800) (i32.const {len(response)})) (i32.const 0))'))
    seen = set()
    for _ in range(3):
        c = http.client.HTTPConnection('127.0.0.1', s.port)
        c.request('POST', '/v1/database/sender/route/h', b'', {'Authorization': 'Bearer ' + token}) # which is not who asks
        body = c.getresponse().read()
        assert json.loads(body[32:])['hex_identity'] == body[:32][::-1].hex() != json.loads(base64.urlsafe_b64decode(token.split('.')[1] + '=='))['hex_identity'], body
        seen.add(body[:32])
    assert len(seen) == 3 and bytes(32) not in seen


def replaced_while_running(s, token):
    """A procedure that sleeps across a publish goes on with its old program, and the environment is not its own any more (spec/07 §19 case 8)."""
    p, got = Player(s, token), []
    script = Script()
    key = script.slice(b'KEY')
    script.procedure_sleep_until(At64(script.place(u64(int((time.time() + 0.6) * 1e6))))).count_calls()
    going_on = script.ended(0)
    script.env_get(*key, wat.HEAP + 0x8000)
    threads = [threading.Thread(target=lambda b=b: got.append(p.post('prun', b.hex()))) for b in (going_on, script.ended(0))]
    for t in threads: t.start()
    time.sleep(0.2)
    status, answer = publish(s, token, p.name, Player.program + b'\0\2\1x')
    assert status == 200, answer
    for t in threads: t.join()
    assert sorted(status for status, _ in got) == [200, 500] and 'module was replaced while this function was running' in s.server_log(), got


def answer(script, code, b, watched=None):
    """What the views give from now on, in this instance; they read the table first."""
    return script.put(wat.HEAP + 0x80000, b).put(wat.VIEW, u32(code, wat.HEAP + 0x80000, len(b), 0)).add(wat.VIEW + 12, 0 if watched is None else watched)


def case_37_views(s, token):
    """Both forms of an answer, queries, failures, and that a failing view undoes the reducer that made it stale."""
    row, n = u32(1) + u32(7, 8), [0]
    def fresh(code, b, watched=None):
        p = Player(s, token)
        script = Script()
        for r in (1, 1), (1, 2), (2, 1): script.datastore_insert_bsatn(At(script_table(p, script, 'ab')), script.place(u32(*r)), script.place(u32(8)))
        p.play(answer(script, code, b, watched and At(script_table(p, script, watched))), 'commit')
        return p
    def rows_of(p, view='v_anon'):
        status, text_, _ = s.http('POST', f'/v1/database/{p.name}/sql', f'SELECT * FROM {view}', token)
        return sorted(json.loads(text_)[0]['rows']) if status == 200 else 'error'
    for code, b, want in (0, row, [[7, 8]]), (2, b'\0' + row, [[7, 8]]), (2, b'\1' + text('SELECT * FROM ab WHERE a = 1'), [[1, 1], [1, 2]]), (2, b'\1' + text('  '), []), (0, u32(3) + u32(1, 1) * 3, [[1, 1]]):
        for view in 'v_anon', 'v_sender': assert rows_of(fresh(code, b), view) == want, (view, code, b)
    for code, b in (1, b'no'), (5, row), (99, row), (0, u32(1) + b'\7'), (0, u32(0xffffffff) + row), (0, b''), (2, b'\7'), (2, b'\1' + text('SELECT * FROM plain')), (2, b'\1' + text('SELECT * FROM v_sender')), (2, b'\1' + text('SELEC')):
        p = fresh(code, b)
        assert rows_of(p) in ([], 'error') and p.post('bump', 1)[0] == 530, (code, b)
    p = fresh(0, row, 'plain')
    assert rows_of(p) == [[7, 8]]
    insert = lambda script, key: script.datastore_insert_bsatn(At(script_table(p, script, 'plain')), script.place(u32(key) + text('x')), script.place(u32(9)))
    def change(code, b, key): # and what the views read changes, in one reducer
        script = Script()
        return p.play(insert(answer(script, code, b, At(script_table(p, script, 'plain'))), key), 'commit')
    change(0, u32(2) + u32(7, 8, 9, 9), 1)
    assert rows_of(p) == [[7, 8], [9, 9]]
    for code in 1, 99: assert change(code, b'no', 2) == FATAL
    assert rows_of(p) == [[7, 8], [9, 9]] and p.sql('SELECT a FROM plain') == [[1]]


def views_read_only(s, token):
    """A view reads; what would write is errno 19, and a view's rows are nobody else's to write (the reference lets a SELECT change tables)."""
    p = Player(s, token)
    ids = {n: i for n, i in p.sql('SELECT table_name, table_id FROM st_table') + p.sql('SELECT index_name, index_id FROM st_index')}
    script, inner = Script(), Script()
    row, length, out = wat.HEAP + 0x40000, wat.HEAP + 0x40100, wat.HEAP + 0x40200
    script.put(row, u32(5, 5)).put(length, u32(8))
    inner.datastore_insert_bsatn(ids['ab'], row, length).datastore_delete_all_by_eq_bsatn(ids['ab'], row, 4, out).datastore_clear(ids['ab'], out).datastore_delete_by_index_scan_point_bsatn(ids['ab_a_idx_btree'], row, 4, out).datastore_update_bsatn(ids['uniq'], ids['uniq_k_idx_btree'], row, length)
    inner.datastore_table_row_count(ids['ab'], out).procedure_start_mut_tx(out).procedure_commit_mut_tx().end(0)
    p.play(answer(script, 0, u32(0)).put(wat.VIEW + 24, u32(1)).put(wat.VIEW_SCRIPT, inner.bytes), 'commit')
    assert p.sql('SELECT * FROM v_anon') == []
    assert p.play(Script().out(wat.VIEW_TRACE, At(wat.VIEW + 24))) == [b'19 19 19 19 19 0 17 18 '] and p.sql('SELECT * FROM ab') == []
    for call in 'datastore_clear', 'datastore_insert_bsatn': assert p.play(getattr(Script(), call)(ids['v_anon'], *[out] * (len(wat.BY_NAME[call].params) - 1))) == FATAL
    assert 'modules cannot change the rows of views' in s.server_log()


def case_103_proposals(s, token):
    one = wat.definition(reducers=[('r', [])])
    for body, extra in ('(return_call $q)', '(func $q (result i32) i32.const 0)'), ('(drop (i32x4.splat (i32.const 1))) (i32.const 0)', ''), ('(drop (i32.trunc_sat_f32_s (f32.const 1))) (i32.const 0)', ''), ('(table.set 0 (i32.const 0) (ref.null func)) (i32.const 0)', '(table 4 funcref)'), ('(memory.fill (i32.const 16) (i32.const 0) (i32.const 16)) (i32.const 0)', ''):
        accepted(s, token, 'proposal', small(one, body, extra=extra))
        assert called(s, token, 'proposal', 'r') == (200, '')
    refused(s, token, small(one, '(atomic.fence) (i32.const 0)'))
    refused(s, token, small(one, '(throw $t)', extra='(tag $t)'))
    refused(s, token, small(one, memory='(memory (export "memory") 2 4 shared)'))


def environment(s, token):
    """env_get (spec/07 §3.2, §19 cases 3 to 7)."""
    p = Player(s, token)
    def get(key, n=1, end='rollback', before=lambda x: None):
        script = Script()
        before(script)
        out = script.place(u32(0xeeee))
        for _ in range(n): script.env_get(*(key if isinstance(key, tuple) else script.slice(key)), out).out(out, 4)
        got = p.play(script, end)
        return got
    assert get(b'KEY') == [0, u32(0)] and get(b'KEY', end='procedure') == [0, u32(0)] # declared, optional, absent
    for bad in b'1BAD', b'A' * 257, b'A-B', 'ü'.encode(): assert get(bad) == [1, u32(0xeeee)], bad
    assert get((16, 0)) == [1, u32(0xeeee)] # an empty name
    assert get(b'OTHER') == FATAL and get(b'\xff') == FATAL # undeclared; no text
    assert 'environment key is not declared' in s.server_log()


def together():
    """The cases above on one server: they disturb each other as little as databases do."""
    with Server() as s:
        token = s.identity()['token']
        failed = []
        for f in case_1_2_3_linking, case_4_5_starting, case_6_7_10_outcomes, case_8_9_bytes, case_16_many_rows, case_22_24_30_subscribers, case_32_33_35_log, case_36_38_104_who, case_37_views, views_read_only, case_103_proposals, case_105_sequence_options, case_201_handlers, environment, replaced_while_running:
            start = time.time()
            try:
                f(s, token)
                print(f'   {f.__name__} ({time.time() - start:.1f} s)')
            except Exception as e:
                import traceback
                traceback.print_exc()
                failed.append(f.__name__)
            s.check_alive()
        assert not failed, failed


def case_11_energy():
    """Energy as the reference counts it: 120e9 units a call, the same for all of start-up; the answer says what was used."""
    with Server(options=['--count-instructions']) as s:
        token = s.identity()['token']
        burn = lambda n: f'(local $n i32) (local.set $n (i32.const {n})) (loop $f {"i32.const 0 drop " * 995} (br_if $f (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))'
        d = wat.definition(reducers=[('some', []), ('all', []), ('count', [])])
        reducer = f'(if (i32.eqz (local.get $id)) (then (call $some))) (if (i32.eq (local.get $id) (i32.const 1)) (then (call $all))) (global.set $g (i32.add (global.get $g) (i32.const 1))) (i32.store8 (i32.const 3000) (i32.add (i32.const 48) (global.get $g))) (call $say (local.get $sink) (i32.const 3000) (i32.const 1)) (i32.const 1)'
        accepted(s, token, 'energy', small(d, reducer, extra=f'(global $g (mut i32) (i32.const 0)) (func $some {burn(1000)}) (func $all {burn(120_000_100)})'))
        def call(name):
            status, answer, headers = s.call('energy', name, token=token)
            return status, answer, int(headers['spacetime-energy-used'])
        some, all_, count = call('some'), call('all'), call('count')
        assert some[:2] == (530, '1') and 995_000 <= some[2] <= 1_010_000, some
        assert all_ == (402, 'Module energy budget exhausted.', 120_000_000_000), all_
        assert count[:2] == (530, '1') and count[2] < 1000, count # another instance
        c = opened(s, 'energy', V3, token=token)
        c.send(ws_call(1, 'all'))
        assert b'reducer ran out of energy' in c.next()


if __name__ == '__main__': main([globals()[x] for x in sys.argv[1:]] or [calls, together, case_11_energy])
