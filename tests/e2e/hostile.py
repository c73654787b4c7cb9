"""Modules that mean harm: whatever one does, it gets the documented result, the server lives, and the other databases do not notice (a bystander
is called all the while). The pointers are made from the ABI table: every pointer of every import, wrong in every way."""
import json, os, sys, threading, time
from lightcone import TOP, Server, main
from websocket import End, V3, call as ws_call, opened, procedure, subscribe
sys.path.insert(0, os.path.join(TOP, 'tests', 'modules'))
import wat
from wat import At, At64, Script, small, text, u16, u32, u64
from abi import FATAL, Player, accepted, answer as answer_of_views, refused, script_table

ENERGY = (402, 'Module energy budget exhausted.')
FATAL_PREFIX = 'The module instance encountered a fatal error: '
BUDGET_MS = 300
LOOP, DEEP, NOWHERE = '(loop $f (br $f))', '(call $deep)', '(i32.store (i32.const -8) (i32.const 0))'
HELP = '(func $deep (call $deep) (call $deep))'


class Bystander:
    """Another database, called all the while; every answer must be right and come in time."""
    def __init__(self, s, token): self.s, self.p, self.stop, self.slowest, self.n, self.wrong = s, Player(s, token), threading.Event(), 0.0, 0, []
    def __enter__(self):
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self
    def run(self):
        while not self.stop.is_set():
            start = time.monotonic()
            try: answer = self.p.post('bump', 1)
            except Exception as e: answer = (0, repr(e))
            self.slowest = max(self.slowest, time.monotonic() - start)
            self.n += 1
            if answer != (530, f'{self.n} '): self.wrong.append(answer) # and its instance was never replaced
            time.sleep(0.002)
    def __exit__(self, kind, value, trace):
        self.stop.set()
        self.thread.join()
        print(f'   bystander: {self.n} calls, the slowest {self.slowest * 1000:.0f} ms')
        if not kind: assert not self.wrong and self.n and self.slowest < 5, (self.wrong[:3], self.slowest) # the reference stands still for minutes


def good_arguments(p, x, s):
    """Valid ones for import x; what they need is done by the script first."""
    name = s.slice(b'plain')
    out = s.place(bytes(16))
    table = lambda n: At(script_table(p, s, n))
    def index(n):
        at = s.place(u32(0))
        s.index_id_from_name(*s.slice(n), at)
        return At(at)
    def source(): s.get_jwt(wat.ARGUMENTS + 32, out)
    if x.name == 'table_id_from_name': return [*name, out]
    if x.name == 'index_id_from_name': return [*s.slice(b'ab_a_idx_btree'), out]
    if x.name in ('datastore_table_row_count', 'datastore_table_scan_bsatn', 'datastore_clear'): return [table('plain'), out]
    if 'range' in x.name or 'btree' in x.name: return [index(b'ab_a_b_idx_btree'), *s.slice(u32(1)), 1, *s.slice(b'\0' + u32(1)), *s.slice(b'\0' + u32(2)), out]
    if 'point' in x.name: return [index(b'ab_a_idx_btree'), *s.slice(u32(1)), out]
    if x.name == 'datastore_delete_all_by_eq_bsatn': return [table('plain'), *s.slice(u32(0)), out]
    if x.name.startswith('row_iter'):
        s.datastore_table_scan_bsatn(table('plain'), out)
        return [At(out), s.place(bytes(100)), s.place(u32(100))][:len(x.params)]
    if x.name == 'datastore_insert_bsatn': return [table('ten'), s.place(u64(1) + u16(1)), s.place(u32(10))]
    if x.name == 'datastore_update_bsatn': return [table('uniq'), index(b'uniq_k_idx_btree'), s.place(u32(1, 1, 2)), s.place(u32(12))]
    if x.name == 'bytes_source_read':
        source()
        return [At(out), s.place(bytes(100)), s.place(u32(100))]
    if x.name == 'bytes_source_remaining_length':
        source()
        return [At(out), out + 4]
    return {'bytes_sink_write': lambda: [At(wat.SINK), s.place(b'7 '), s.place(u32(2))], 'console_log': lambda: [2, *name, *name, 1, *name], 'console_timer_start': lambda: [*name], 'console_timer_end': lambda: [0], 'identity': lambda: [s.place(bytes(32))],
            'get_jwt': lambda: [wat.ARGUMENTS + 32, out], 'volatile_nonatomic_schedule_immediate': lambda: [*s.slice(b'nobody'), *s.slice(b'x')], 'procedure_start_mut_tx': lambda: [out], 'procedure_http_request': lambda: [*s.slice(b'\0' + u32(0) + b'\1' + text('http://10.0.0.1/') + b'\2'), *s.slice(b'x'), out],
            'env_get': lambda: [*s.slice(b'KEY'), out]}[x.name]()


def pointers():
    """NULL, beyond the end, across the end, lengths that wrap: each traps, except in console_log, which says nothing (spec/02 §4, §5.7)."""
    with Server() as s:
        token = s.identity()['token']
        p, n = Player(s, token), 0
        s1 = Script()
        for table, row in (('plain', u32(1) + text('x')), ('uniq', u32(1, 1, 1)), ('ab', u32(1, 1))): s1.datastore_insert_bsatn(At(script_table(p, s1, table)), s1.place(row), s1.place(u32(len(row))))
        p.play(s1, 'commit')
        with Bystander(s, token):
            for x in wat.IMPORTS:
                only_procedure = x.name in ('procedure_start_mut_tx', 'procedure_http_request')
                def go(change, cell=None):
                    script = Script()
                    args = good_arguments(p, x, script)
                    for i, v in change.items(): args[i] = v
                    if cell: script.put(int(args[cell[0]]), u32(cell[1]))
                    getattr(script, x.name)(*args)
                    got = p.play(script, 'procedure' if only_procedure else 'rollback')
                    return 'trap' if got == FATAL or (only_procedure and isinstance(got, tuple) and got[0] == 500 and got[1].startswith(FATAL_PREFIX)) else got
                if list(x.pointers()): assert isinstance(go({}), list), x.name
                for at, length, in_memory in x.pointers():
                    cases = [({at: v}, None) for v in (0, 0xffffffff, 0xfffffff0, wat.MEMORY_BYTES + 8)]
                    if length is None: cases.append(({at: wat.MEMORY_BYTES - 1}, None))
                    elif in_memory: cases += [({}, (length, v)) for v in (0xffffffff, 0x7fffffff)] + [({at: wat.MEMORY_BYTES - 1}, (length, 2)), ({at: 0}, (length, 0))]
                    else: cases += [({at: wat.MEMORY_BYTES - 1, length: 2}, None), ({at: 0, length: 0}, None), ({length: 0xffffffff}, None), ({length: 0x7fffffff}, None), ({at: 0xffffffff, length: 0xffffffff}, None), ({at: wat.MEMORY_BYTES + 1, length: 0}, None)]
                    for change, cell in cases:
                        got, n = go(change, cell), n + 1
                        want = isinstance(got, list) if x.name == 'console_log' else got == 'trap'
                        if not want: raise Exception(f'{x.name} {x.about} {change} {cell}: {got}')
                    if length is not None and not in_memory and x.name != 'console_log': assert go({at: 16, length: 0}) != 'trap', (x.name, at) # an empty range somewhere inside
            s.check_alive()
        print(f'   {n} bad pointers')


def lengths():
    """Counts and lengths inside of values that lie."""
    with Server() as s:
        token = s.identity()['token']
        p = Player(s, token)
        with Bystander(s, token):
            def delete(table, rows):
                script = Script()
                out = script.place(u32(0xeeee))
                got = p.play(script.datastore_delete_all_by_eq_bsatn(At(script_table(p, script, table)), *script.slice(rows), out).out(out, 4))
                return got[1:]
            refused_ = [3, u32(0xeeee)]
            assert delete('ab', u32(0xffffffff) + bytes(8)) == refused_ and delete('plain', u32(1) + u32(1, 0xfffffff0) + b'x') == refused_
            start = time.monotonic()
            assert delete('empty', u32(0xffffffff)) == [0, u32(0)] and time.monotonic() - start < 20 # four thousand million rows of no bytes
            empty = small(wat.definition([wat.Table('e', [])], reducers=[('r', [])], views=[('v', 0, True, [0])]), extra=wat.data(3000, u32(0xffffffff)) + '(func (export "__call_view_anon__") (param i32 i32 i32) (result i32) (call $say (local.get 2) (i32.const 3000) (i32.const 4)) (i32.const 0))')
            accepted(s, token, 'empty', empty)
            start = time.monotonic()
            assert s.sql('empty', 'SELECT * FROM v', token) == [[]] and time.monotonic() - start < 20 # they are one row
            script = Script() # a row of a mebibyte
            table, out = script_table(p, script, 'plain'), script.place(u32(0))
            script.put(wat.BUFFER, u32(5, 1 << 20)).fill(wat.BUFFER + 8, 65, 1 << 20)
            length = script.place(u32(8 + (1 << 20)))
            script.datastore_insert_bsatn(At(table), wat.BUFFER, length).datastore_table_scan_bsatn(At(table), out)
            small_buffer = script.place(u32(65536))
            script.row_iter_bsatn_advance(At(out), wat.BUFFER, small_buffer).out(small_buffer, 4).row_iter_bsatn_advance(At(out), wat.BUFFER, small_buffer)
            assert p.play(script)[1:] == [0, 0, 11, u32(8 + (1 << 20)), -1]
        s.check_alive()


def handles():
    """Closed, never opened, of another kind, of another call, and as many as there can be."""
    with Server() as s:
        token = s.identity()['token']
        p = Player(s, token)
        with Bystander(s, token):
            def many(build, n=70000):
                script = Script()
                table, out, count = script_table(p, script, 'plain'), script.place(bytes(16)), script.place(u32(n))
                again = script.here()
                build(script, table, out)
                return p.post('run', script.again(count, again).ended(1).hex())
            assert many(lambda x, table, out: x.datastore_table_scan_bsatn(At(table), out)) == FATAL # iterators are limited
            assert 'too many open row iterators' in s.server_log()
            assert many(lambda x, table, out: x.console_timer_start(*x.slice(b'x'))) == FATAL
            assert many(lambda x, table, out: x.get_jwt(wat.ARGUMENTS + 32, out)) == FATAL
            assert 'too many open bytes sources' in s.server_log()
            script = Script()
            table, out = script_table(p, script, 'plain'), script.place(bytes(16))
            n = script.place(u32(4))
            script.datastore_table_scan_bsatn(At(table), out).bytes_sink_write(78, out, n).bytes_source_read(5, out, n).bytes_source_read(At(wat.SINK), out, n).bytes_sink_write(77, out, n).row_iter_bsatn_close(At(out)).row_iter_bsatn_close(At(out)).row_iter_bsatn_advance(At(out), out, n).console_timer_end(At(out))
            got = p.play(script)
            assert got == [0, 0, 8, 8, 8, 8, 0, 6, 6, 7], got # the arguments' source was read to its end
            script = Script() # what another call or instance left is nothing here
            assert p.play(script.row_iter_bsatn_close(1).bytes_source_read(2, 16, 16).console_timer_end(1)) == [6, 8, 7]
            script = Script() # tables change under an open iterator
            table, out, row, length, count = script_table(p, script, 'twenty'), script.place(u32(0)), script.place(bytes(20)), script.place(u32(20)), script.place(u32(3000))
            again = script.here()
            script.put(length, u32(20)).datastore_insert_bsatn(At(table), row, length).add(row, 1).again(count, again).datastore_table_scan_bsatn(At(table), out).datastore_clear(At(table), wat.HEAP + 0x8000)
            script.put(length, u32(20)).datastore_insert_bsatn(At(table), row, length)
            sizes = script.place(u32(0))
            for _ in range(2): script.put(sizes, u32(1 << 20)).row_iter_bsatn_advance(At(out), wat.BUFFER, sizes).out(sizes, 4)
            assert p.play(script)[-4:] in ([-1, u32(60000), 6, u32(1 << 20)], [0, u32(60000), -1, u32(0)])
        s.check_alive()


def memory():
    """memory.grow to the limit of an instance (1 GiB unless told otherwise) and not beyond."""
    for options, mib in ([], 1024), (['--module-memory-mib', '64'], 64):
        with Server(options=options) as s:
            token = s.identity()['token']
            p, pages = Player(s, token), mib * 16
            with Bystander(s, token):
                assert p.play(Script().grow(1).grow(65536).grow(0xffffffff).grow(pages).grow(pages - 65).grow(1).grow(0)) == [64, -1, -1, -1, 65, -1, pages]
                script = Script() # pointers up to the new end; the instance kept its memory
                out = pages * 65536 - 32
                assert p.play(script.identity(out).fill(out, 7, 32).grow(0)) == [pages]
                assert p.play(Script().identity(out + 1)) == FATAL
                assert p.play(Script().grow(0)) == [64] # another instance
                refused(s, token, small(memory=f'(memory (export "memory") {pages + 1})'))
                refused(s, token, small(extra='(table 10000001 funcref)'))
                accepted(s, token, 'tables', small(wat.definition(reducers=[('r', [])]), '(if (i32.ne (table.grow $t (ref.null func) (i32.const 10000000)) (i32.const -1)) (then unreachable)) (i32.const 0)', extra='(table $t 1 funcref)'))
                assert s.call('tables', 'r', token=token)[0] == 200
            s.check_alive()


def reentry():
    """A module that calls its own exports in the middle of a call."""
    with Server() as s:
        token = s.identity()['token']
        p = Player(s, token)
        with Bystander(s, token):
            status, answer = p.post('run', Script().call_again().call_again().ended(1).hex())
            assert status == 530 and answer.count('x') == 2 and answer.endswith('1 1 '), (status, answer)
            script = Script().describe_again().count_calls()
            status, answer = p.post('run', script.ended(1).hex())
            assert status == 530 and answer.endswith('1 '), (status, answer[-40:])
            assert p.play(Script().count_calls()) == [2]
            script = Script()
            script.procedure_start_mut_tx(script.place(u64(0))).call_again().procedure_commit_mut_tx()
            status, answer = p.post('prun', script.ended(0).hex()) # its value is spoilt by what the inner call wrote
            assert status == 500 and answer.startswith(FATAL_PREFIX), (status, answer)
        s.check_alive()


EXPORTS = {  # export: its type, what it returns
    '_initialize': ('', ''), '__preinit__50_x': ('', ''), '__setup__': ('(param i32) (result i32)', '(i32.const 0)'),
}


def every_export():
    """An endless loop, a stack without end, a store nowhere and `unreachable`, in everything a module exports."""
    with Server(options=['--time-budget-ms', str(BUDGET_MS)]) as s:
        token = s.identity()['token']
        reducers = [('init', []), ('up', []), ('down', []), ('r', []), ('tick', [('row', 0)])]
        sched = wat.Table('sched', [('id', 'u64'), ('at', wat.SCHEDULE_AT)], pk=0, indexes=[(wat.BTREE, 0)], auto=[0])
        d = wat.definition([sched], reducers, procedures=[('p', [], 'string')], lifecycle=[(wat.INIT, 'init'), (wat.CONNECT, 'up'), (wat.DISCONNECT, 'down')], schedules=[('sched', 1, 'tick')], handlers=['h'])
        only = lambda id, body: f'(if (i32.eq (local.get $id) (i32.const {id})) (then {body})) (i32.const 0)'
        fine = small(d)
        with Bystander(s, token):
            for what, body in ('loop', LOOP), ('stack', DEEP), ('nowhere', NOWHERE), ('unreachable', 'unreachable'):
                loops = what == 'loop'
                refused(s, token, small(d, describe=body, extra=HELP), 'error getting module description')
                refused(s, token, small(d, only(0, body), extra=HELP), 'reducer ran out of energy' if loops else FATAL[1])
                for export, (type_, result) in EXPORTS.items(): refused(s, token, small(d, extra=HELP + f'(func (export "{export}") {type_} {body} {result})'), f'wasm trap while calling "{export}"')
                refused(s, token, small(d, extra=HELP + f'(func $s {body}) (start $s)'), 'all fuel consumed by WebAssembly')
                name = 'e-' + what
                accepted(s, token, name, fine)
                call = lambda function: s.call(name, function, token=token)[:2]
                update = lambda wasm: s.http('PUT', f'/v1/database/{name}', wasm, token)[:2]
                # an update that cannot start leaves the old program running
                for bad in small(d, extra=HELP + f'(func (export "__preinit__1") {body})'), small(d, describe=body, extra=HELP):
                    status, answer = update(bad)
                    assert status >= 400 and call('r') == (200, ''), (what, status, answer)
                accepted(s, token, name, small(d, only(3, body), extra=HELP))
                for _ in range(2): assert call('r') == (ENERGY if loops else FATAL), what
                c = opened(s, name, V3, token=token)
                c.send(ws_call(1, 'r'))
                assert (b'reducer ran out of energy' if loops else FATAL[1].encode()) in c.next()
                c.close()
                accepted(s, token, name, small(d, only(1, body), extra=HELP)) # client_connected: nobody gets in
                status, answer = call('r')
                assert (status, answer) == (503, 'Insufficient energy balance to run `client_connected` reducer') if loops else status >= 400, (what, status, answer)
                try:
                    c = opened(s, name, V3, token=token)
                    raise Exception(f'{what}: connected')
                except (End, AssertionError): pass
                accepted(s, token, name, small(d, only(2, body), extra=HELP)) # client_disconnected: its client goes all the same
                assert call('r') == (200, ''), what
                for _ in range(100):
                    if s.sql(name, 'SELECT * FROM st_client', token).__len__() <= 1: break
                    time.sleep(0.05)
                assert len(s.sql(name, 'SELECT * FROM st_client', token)) <= 1
                run = f'{body} (i32.const 0)'
                accepted(s, token, name, small(d, extra=HELP + f'(func (export "__call_procedure__") {wat.FUNCTION} {run}) (func (export "__call_http_handler__") (param i32 i64 i32 i32 i32 i32) (result i32) {run})'))
                status, answer = call('p')
                assert status == 500 and answer.startswith(FATAL_PREFIX) and 'wasm backtrace' in answer, (what, status, answer)
                status, answer, _ = s.http('POST', f'/v1/database/{name}/route/h', b'')
                assert status == 500 and 'wasm backtrace' in answer and not answer.startswith('The module'), (what, status, answer)
                assert call('r') == (200, ''), what
                # views: asked for by a query, by a subscription, and run again for a reducer that changes what they read (unless they never ran)
                v = wat.definition([sched], reducers, views=[('anon', 0, True, [0]), ('own', 0, False, [0])], lifecycle=[(wat.INIT, 'init'), (wat.CONNECT, 'up'), (wat.DISCONNECT, 'down')])
                both = lambda body: f'(func (export "__call_view_anon__") (param i32 i32 i32) (result i32) {body} (i32.const 0)) (func (export "__call_view__") (param i32 i64 i64 i64 i64 i32 i32) (result i32) {body} (i32.const 0))'
                accepted(s, token, name + '-view', small(v, extra=HELP + both(body)))
                for view in 'anon', 'own':
                    status, answer, _ = s.http('POST', f'/v1/database/{name}-view/sql', f'SELECT * FROM {view}', token)
                    assert status >= 400 or json.loads(answer)[0]['rows'] == [], (what, status, answer)
                    c = opened(s, name + '-view', V3, token=token)
                    c.send(subscribe(1, 1, f'SELECT * FROM {view}'))
                    c.next()
                    c.close()
                    assert s.call(name + '-view', 'r', token=token)[:2] == (200, ''), what
                p = Player(s, token)
                script = Script()
                assert p.play(answer_of_views(script, 0, u32(0), At(script_table(p, script, 'plain'))), 'commit') == [0] and p.sql('SELECT * FROM v_anon') == []
                if what in ('loop', 'unreachable'):
                    script = Script()
                    table = script_table(p, script, 'plain')
                    answer_of_views(script, 98 if loops else 99, u32(0), At(table)).datastore_insert_bsatn(At(table), script.place(u32(1) + text('x')), script.place(u32(9)))
                    got = p.play(script, 'commit')
                    assert got == (ENERGY if loops else FATAL) and p.sql('SELECT * FROM plain') == [], (what, got)
                # a scheduled reducer
                insert = small(d, f'(if (i32.eq (local.get $id) (i32.const 3)) (then (drop (call $table_id_from_name (i32.const 3000) (i32.const 5) (i32.const 3100))) (drop (call $datastore_insert_bsatn (i32.load (i32.const 3100)) (i32.const 3200) (i32.const 3104)))))' + only(4, body),
                               imports=('bytes_sink_write', 'table_id_from_name', 'datastore_insert_bsatn'), extra=HELP + wat.data(3000, b'sched') + wat.data(3104, u32(17)) + wat.data(3200, u64(0) + b'\1' + u64(0)))
                accepted(s, token, name, insert)
                assert call('r') == (200, ''), what
                time.sleep(0.1)
                assert call('r') == (200, '') and s.sql(name, 'SELECT COUNT(*) AS n FROM st_module', token) == [[1]], what
                s.check_alive()


def limits():
    """Time and memory of a server and of single databases, by name and by identity, from the first publish on and after a restart."""
    with Server(options=['--time-budget-ms', '1500', '--module-memory-mib', '32', '--database-limits', 'player-quick=150/64,late=0/16']) as s:
        token = s.identity()['token']
        def player(name):
            p = Player.__new__(Player)
            p.s, p.token, p.name = s, token, name
            accepted(s, token, name, Player.program or wat.player())
            return p
        quick, slow, late = player('player-quick'), player('player-slow'), player('late')
        for again in range(2):
            for p, least, most, mib in (quick, 0.15, 1.2, 64), (slow, 1.5, 8, 32), (late, 1.5, 8, 16):
                start = time.monotonic()
                assert p.post('run', Script().forever().ended(0).hex()) == ENERGY
                took = time.monotonic() - start
                assert least * 0.9 <= took <= most, (p.name, took)
                assert p.play(Script().grow(mib * 16 - 64).grow(1)) == [64, -1], p.name
                assert p.play(Script().trap()) == FATAL
            # a procedure's clock stands still while it sleeps; its own loop ends in time
            script = Script()
            got = quick.play(script.procedure_sleep_until(At64(script.place(u64(int((time.time() + 0.5) * 1e6))))).count_calls(), 'procedure')
            assert got[1:] == [1], got
            start = time.monotonic()
            assert quick.post('prun', Script().forever().ended(0).hex())[0] == 500 and 0.1 < time.monotonic() - start < 1.5
            if not again:
                s.stop()
                s.start()
        # by identity: the same, for exactly that database, and also when it is named in both ways (the later one holds)
        identity = {p.name: s.http('GET', f'/v1/database/{p.name}/identity')[1] for p in (quick, slow)}
        assert all(len(i) == 64 for i in identity.values()), identity
        s.stop()
        s.options[-1] = f'{identity[slow.name]}=150/64,player-quick=0/48,{identity[quick.name]}=400/0'
        s.start()
        for p, least, most, mib in (slow, 0.15, 1.2, 64), (quick, 0.4, 1.4, 48), (late, 1.5, 8, 32):
            start = time.monotonic()
            assert p.post('run', Script().forever().ended(0).hex()) == ENERGY
            took = time.monotonic() - start
            assert least * 0.9 <= took <= most, (p.name, took)
            assert p.play(Script().grow(mib * 16 - 64).grow(1)) == [64, -1], p.name


def defaults():
    """What holds without any option: 1 GiB of memory, 512 KiB of stack; 60 s of time (LONG=1: it takes that long)."""
    with Server() as s:
        token = s.identity()['token']
        p = Player(s, token)
        pages = (1 << 30) // 65536
        assert p.play(Script().grow(pages - 64).grow(1)) == [64, -1] # it has 64 from the beginning
        # a frame that keeps some 64 values of 8 bytes over the call: 512 KiB hold about 1,050 of them
        values = ''.join(f'(local $v{i} i64)' for i in range(64))
        give = ''.join(f'(local.set $v{i} (i64.mul (local.get $x) (i64.const {i * 2 + 3})))' for i in range(64))
        take = ''.join(f'(i64.add (local.get $v{i})' for i in range(64)) + '(local.get $r)' + ')' * 64
        deep = f'(func $deep (param $n i32) (param $x i64) (result i64) (local $r i64) {values} {give} (if (local.get $n) (then (local.set $r (call $deep (i32.sub (local.get $n) (i32.const 1)) (i64.add (local.get $x) (i64.const 1)))))) {take})'
        depths = {'few': 100, 'most': 980, 'more': 1100, 'many': 100000}
        run = ''.join(f'(if (i32.eq (local.get $id) (i32.const {i})) (then (drop (call $deep (i32.const {n}) (i64.extend_i32_u (local.get $id))))))' for i, n in enumerate(depths.values()))
        accepted(s, token, 'deep', small(wat.definition(reducers=[(name, []) for name in depths]), run + '(i32.const 0)', extra=deep))
        for _ in range(2): assert [s.call('deep', name, token=token)[0] for name in depths] == [200, 200, 530, 530]
        if not os.environ.get('LONG'): return
        start = time.monotonic()
        assert p.post('run', Script().forever().ended(0).hex()) == ENERGY
        assert 60 <= time.monotonic() - start < 75


def instances():
    """Procedures have a pool of instances: one that trapped or ran out of time is replaced, the others are used again."""
    with Server(options=['--time-budget-ms', '200']) as s:
        token = s.identity()['token']
        p = Player(s, token)
        count = lambda: p.play(Script().count_calls(), 'procedure')
        assert [count() for _ in range(3)] == [[1], [2], [3]] # used again
        assert p.post('prun', Script().trap().ended(0).hex())[0] == 500 and count() == [1]
        assert p.post('prun', Script().forever().ended(0).hex())[0] == 500 and count() == [1]
        assert p.play(Script().count_calls()) == [1] # reducers have one of their own
        def sleeper(out):
            script = Script()
            out.append(p.play(script.procedure_sleep_until(At64(script.place(u64(int((time.time() + 0.6) * 1e6))))).count_calls(), 'procedure')[1:])
        answers = []
        threads = [threading.Thread(target=sleeper, args=(answers,)) for _ in range(4)] # at once: four instances
        for t in threads: t.start()
        for t in threads: t.join()
        assert sorted(answers) == [[1], [1], [1], [2]], answers
        accepted(s, token, p.name, wat.player()) # the same program: instances live on; another: new ones
        assert p.play(Script().count_calls(), 'procedure')[0] > 1
        status, answer = s.http('PUT', f'/v1/database/{p.name}', wat.player() + b'\0\2\1x', token)[:2] # a custom section makes it another program
        assert status == 200, answer
        assert p.play(Script().count_calls(), 'procedure') == [1] and p.play(Script().count_calls()) == [1]


def system_tables():
    """A module cannot break its own database: what describes it is not written by modules. And after all of this it starts again."""
    with Server() as s:
        token = s.identity()['token']
        p = Player(s, token)
        before = {t: p.sql(f'SELECT * FROM {t}') for t in ('st_table', 'st_column', 'st_index', 'st_sequence', 'st_module')}
        with Bystander(s, token):
            for id in range(1, 27):
                out = wat.HEAP + 0x1000
                if id == 21: assert p.play(Script().datastore_clear(id, out)) == [4] # the environment is no table here
                else:
                    assert p.play(Script().datastore_clear(id, out)) == FATAL, id
                    assert p.play(Script().datastore_insert_bsatn(id, out, out)) == FATAL and p.play(Script().datastore_update_bsatn(id, 1, out, out)) == FATAL
                    script = Script()
                    assert p.play(script.datastore_delete_all_by_eq_bsatn(id, *script.slice(u32(0)), out)) == FATAL
        assert before == {t: p.sql(f'SELECT * FROM {t}') for t in before}
        s.stop()
        s.start()
        assert before == {t: p.sql(f'SELECT * FROM {t}') for t in before} and p.play(Script().count_calls()) == [1]


def floods():
    """A module that logs, schedules and panics as fast as it can."""
    with Server(options=['--time-budget-ms', '8000']) as s:
        token = s.identity()['token']
        p = Player(s, token)
        with Bystander(s, token):
            def flood(n, build):
                script = Script()
                count = script.place(u32(n))
                message = script.slice(b'a' * 1000)
                again = script.here()
                build(script, message)
                return p.post('run', script.again(count, again).ended(0).hex())
            assert flood(20000, lambda x, m: x.console_log(2, *m, *m, 1, *m))[0] in (200, 402)
            assert flood(20000, lambda x, m: x.console_log(101, *m, *m, 1, *m))[0] in (200, 402) # with a backtrace each
            assert flood(20000, lambda x, m: x.volatile_nonatomic_schedule_immediate(*x.slice(b'nobody'), *m))[0] in (200, 402)
            assert p.play(Script().grow(0)) == [64]
            before = s.rss_kib()
            script = Script() # an error without end: the sink is full at 256 MiB, and the caller gets a mebibyte
            length, count = script.place(u32(1 << 20)), script.place(u32(400))
            script.fill(wat.HEAP + 0x10000, 0xff, 1 << 20)
            again = script.here()
            script.bytes_sink_write(At(wat.SINK), wat.HEAP + 0x10000, length).again(count, again)
            status, answer = p.post('run', script.ended(1).hex())
            assert status == 530 and answer == '\ufffd' * (1 << 20), (status, len(answer))
            assert p.play(Script().count_calls()) == [1] and s.rss_kib() < before + (1 << 20)
        s.check_alive()


def sleepers():
    """Procedures of five databases sleep, as many as may run at once: those of others run all the same."""
    with Server() as s:
        token = s.identity()['token']
        players, other = [Player(s, token) for _ in range(5)], Player(s, token)
        with Bystander(s, token):
            clients = [opened(s, p.name, V3, token=token) for p in players]
            script = Script()
            script.procedure_sleep_until(At64(script.place(u64(int((time.time() + 3) * 1e6)))))
            asleep = text(script.ended(0))
            for c in clients:
                for i in range(64): c.send(procedure(i, 'prun', asleep))
            time.sleep(0.5)
            start = time.monotonic()
            assert other.play(Script().count_calls(), 'procedure') == [1] and time.monotonic() - start < 2
            for p in players: assert p.post('bump', 1) == (530, '1 ') # and their reducers
            for p in players: assert p.play(Script().count_calls(), 'procedure') == [1] # waits for its turn
        s.check_alive()


if __name__ == '__main__': main([globals()[x] for x in sys.argv[1:]] or [pointers, lengths, handles, memory, reentry, every_export, limits, defaults, instances, system_tables, floods, sleepers])
