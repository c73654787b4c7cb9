"""Modules in JavaScript: the interface spacetime:sys@… and the hooks (spec/02 §10-§13, cases 39 to 49 of §16, vectors of §15), TypeScript twins of the Rust modules, scripts
that mean harm, and what an isolate costs."""
import importlib, json, os, re, sys, threading, time
from lightcone import TOP, Server, main, module
sys.path.insert(0, os.path.join(TOP, 'tests', 'modules'))
import js, wat

FATAL = (530, 'The instance encountered a fatal error.')


def publish(s, token, name, program):
    status, text, _ = s.http('PUT', f'/v1/database/{name}?host_type=Js', program, token)
    return status, text
def refused(s, token, program, *parts):
    status, text = publish(s, token, 'refused', program)
    assert status >= 400 and all(p in text for p in parts), (status, text, parts)
def logs(s, token, name, n=50): return [json.loads(line) for line in s.http('GET', f'/v1/database/{name}/logs?num_lines={n}', token=token)[1].splitlines()]


class Player:
    def __init__(self, s, name='player', top='', options=()):
        self.s, self.name = s, name
        self.token = s.identity()['token']
        status, text, _ = s.http('PUT', f'/v1/database/{name}?host_type=Js', js.player(top), self.token)
        assert status == 200, text
    def post(self, function, *args):
        status, text, _ = self.s.call(self.name, function, *args, token=self.token)
        return status, text
    def say(self, code):
        status, text = self.post('say', code)
        assert status == 530, (status, text)
        return text
    def act(self, code):
        status, text = self.post('act', code)
        assert status == 200, (status, text)
    def logs(self, n=50): return logs(self.s, self.token, self.name, n)


def programs_that_are_refused(): # case 39, 45, 48, 46
    with Server() as s:
        token = s.identity()['token']
        d = wat.definition(reducers=[('r', [])])
        refused(s, token, b"import {x} from 'spacetime:sys@2.9';", 'Could not import "spacetime:sys@2.9", likely because this module was built for a newer version of SpacetimeDB.\n'
                'It requires sys module v2.9, but that version is not supported by the database.')
        refused(s, token, b"import fs from 'node:fs';", 'Could not find module "node:fs"')
        refused(s, token, b"import fs from './other.js';", 'Could not find module "./other.js"')
        refused(s, token, b"import {x} from 'spacetime:sys@2';", 'Invalid version in module spec "spacetime:sys@2"')
        refused(s, token, b"import {x} from 'spacetime:sys@70000.1';", 'Invalid version in module spec')
        refused(s, token, b"import {x} from 'spacetime:other@2.0';", 'Could not find module "spacetime:other@2.0"')
        refused(s, token, b"import {no_such_function} from 'spacetime:sys@2.0';", 'no_such_function')
        refused(s, token, b"import {datastore_clear} from 'spacetime:sys@2.0';", 'datastore_clear')
        refused(s, token, b'export const x = 1;', 'must export schema as default export')
        refused(s, token, b'export default 5;', 'default export is not a Schema object')
        refused(s, token, b'export default {};', 'default export is not a Schema object')
        refused(s, token, b'await new Promise(() => {}); export default {};', 'module has top-level await and is pending')
        refused(s, token, b'await Promise.reject(new Error("not today"));', 'Uncaught Error: not today')
        refused(s, token, b'let x = ;', 'SyntaxError')
        refused(s, token, b'\xff\xfe', 'not valid UTF-8')
        refused(s, token, b'throw new RangeError("at start")', 'Uncaught RangeError: at start')
        refused(s, token, js.raw(d, '__call_view__: undefined,'), 'Expected module function hook `__call_view__`, got undefined')
        refused(s, token, js.raw(d, '__call_reducer__: 5,'), 'Expected module function hook `__call_reducer__`, got number')
        refused(s, token, js.raw(d, '__describe_module__() { return "no"; },'), 'Expected `Uint8Array`, got string')
        refused(s, token, js.raw(b'\2\1\2\3'))
        refused(s, token, js.raw(d, '__describe_module__() { throw new SenderError("no description"); },'), 'no description')
        refused(s, token, js.raw(d, top='table_id_from_name("x");'), 'ABI call can only be made while in a transaction')
        refused(s, token, js.raw(d, top='fetch("http://localhost/");'), 'fetch is not defined')
        refused(s, token, js.raw(d, top='await import("spacetime:sys@2.0");'), 'Uncaught')
        # the wrong kind: bytes are never sniffed
        status, text, _ = s.http('PUT', '/v1/database/refused', js.raw(d), token)
        assert status >= 400, text
        refused(s, token, wat.small(d))
        assert s.http('GET', '/v1/database/refused')[0] == 404
        assert publish(s, token, 'fine', js.raw(d))[0] == 200
        s.check_alive()


def the_first_interface(): # case 47
    with Server() as s:
        token = s.identity()['token']
        d = wat.definition([wat.Table('person', 'id u32, age u8', pk=0, auto=[0], indexes=[(wat.BTREE, 0), (wat.BTREE, 1)])], reducers=[('run', [('code', 'string')])], procedures=[('p', [], 'string')], views=[('v', 0, True, [0])])
        program = f'''
import * as v0 from 'spacetime:sys@1.0'; import * as v1 from 'spacetime:sys@1.1'; import * as v2 from 'spacetime:sys@1.2'; import * as v3 from 'spacetime:sys@1.3';
const hex = b => Array.from(b, x => x.toString(16).padStart(2, '0')).join(''), bytes = h => Uint8Array.from(h.match(/../g) ?? [], x => parseInt(x, 16));
let self = 'none';
v0.register_hooks({{ __describe_module__: () => {js.bytes_js(d)}, __call_reducer__(id, sender, conn, ts, args) {{
  self = String(this);
  try {{ const r = new Function('v0', 'v1', 'v2', 'v3', 'hex', 'bytes', 'self', 'args', new TextDecoder().decode(args.subarray(4)))(v0, v1, v2, v3, hex, bytes, self, args); if (r !== undefined) return {{ tag: 'err', value: String(r) }}; }}
  catch (e) {{ if (e instanceof Error) throw e; return {{ tag: 'err', value: JSON.stringify(e) }}; }}
  return {{ tag: 'ok', value: undefined }};
}} }});
v1.register_hooks({{ __call_view__: () => new Uint8Array(4), __call_view_anon__: () => bytes('01000000' + '07000000' + '21') }});
v2.register_hooks({{ __call_procedure__: () => bytes('02000000' + '6f6b') }});
'''.encode()
        assert publish(s, token, 'one', program)[0] == 200
        def run(code): return s.call('one', 'run', code, token=token)[:2]
        assert run('return "foobar"') == (530, 'foobar')
        assert run('return self') == (530, 'undefined')
        assert run('return hex(v0.datastore_insert_bsatn(v0.table_id_from_name("person"), bytes("0000000021")))') == (530, '01000000')
        assert run('v0.datastore_insert_bsatn(v0.table_id_from_name("person"), bytes("0000000021"))') == (200, '')
        by_id, by_age = 'v0.index_id_from_name("person_id_idx_btree")', 'v0.index_id_from_name("person_age_idx_btree")'
        advance = 'const r = v0.row_iter_bsatn_advance(it, 1000); return JSON.stringify([r[0], hex(r[1])])'
        assert run(f'const it = v0.datastore_table_scan_bsatn(v0.table_id_from_name("person")); {advance}') == (530, '[true,"0100000021"]')
        assert run(f'const it = v0.datastore_index_scan_range_bsatn({by_age}, bytes(""), 0, bytes("0001"), bytes("0130")); {advance}') == (530, '[true,"0100000021"]')
        assert run(f'const it = v3.datastore_index_scan_point_bsatn({by_id}, bytes("01000000")); {advance}') == (530, '[true,"0100000021"]')
        assert run('const it = v0.datastore_table_scan_bsatn(v0.table_id_from_name("person")); v0.row_iter_bsatn_advance(it, 2)') == (530, '{"__buffer_too_small__":5}')
        assert run(f'return hex(v0.datastore_update_bsatn(v0.table_id_from_name("person"), {by_id}, bytes("0100000022")))') == (530, '')
        assert run('v0.table_id_from_name("nobody")') == (530, '{"__code_error__":4}')
        assert run('v0.datastore_insert_bsatn(v0.table_id_from_name("person"), bytes("0100000022"))') == (530, '{"__code_error__":12}')
        assert run(f'return v3.datastore_delete_by_index_scan_point_bsatn({by_id}, bytes("01000000"))') == (530, '1')
        assert run(f'return v0.datastore_delete_by_index_scan_range_bsatn({by_age}, bytes(""), 0, bytes("02"), bytes("02"))') == (530, '1')
        assert run('return v0.datastore_delete_all_by_eq_bsatn(v0.table_id_from_name("person"), bytes("01000000" + "0100000021"))') == (530, '1')
        assert run('return typeof v0.identity().__identity__') == (530, 'bigint')
        assert run('return v0.get_jwt_payload(5n).length') == (530, '0')
        assert s.call('one', 'p', token=token)[:2] == (200, '"ok"')
        assert s.sql('one', 'select * from v', token) == [[7, 33]]
        for twice, text in ((b"v1.register_hooks({ __call_view__() {}, __call_view_anon__() {} });", 'cannot call `register_hooks` multiple times'), (b"v0.register_hooks(5);", 'Expected object, got number') ):
            refused(s, token, program.replace(b'v0.register_hooks({', twice + b'v0.register_hooks({', 1) if b'v0' in twice else program + twice, text)


def globals_of_a_module(): # case 45, and what is there and what is not (spec/02 §10)
    with Server() as s:
        p = Player(s)
        say = p.say
        thrown = lambda code: say(f'try {{ {code}; return "nothing" }} catch (e) {{ return e.name + ": " + e.message }}')
        assert thrown('Math.random()') == thrown('Math.random') == 'TypeError: Math.random is not available in SpacetimeDB modules. Use ctx.random instead.'
        assert thrown('new TextDecoder("latin1")') == 'RangeError: The encoding label provided is invalid'
        assert thrown('new TextDecoder("utf-8", {ignoreBOM: true})').startswith('TypeError')
        assert thrown('new TextDecoder().decode(new Uint8Array(1), {stream: true})').startswith('TypeError')
        assert thrown('new TextDecoder("utf-8", {fatal: true}).decode(new Uint8Array([255]))').startswith('TypeError')
        assert say('return new TextDecoder().decode(new Uint8Array([0x61, 255, 0xe2, 0x82, 0xac, 0xed, 0xa0, 0x80]))') == 'a\ufffd€\ufffd\ufffd\ufffd'
        assert say('return hex(new TextEncoder().encode("gr\\u00fc\\u00df \\u{1f980} \\ud800"))') == 'gr\u00fc\u00df \U0001f980 \ufffd'.encode().hex()
        assert say('return new TextEncoder().encoding + new TextDecoder().encoding') == 'utf-8utf-8'
        for absent in ('URL', 'Headers', 'fetch', 'structuredClone', 'queueMicrotask', 'setTimeout', 'setInterval', 'performance', 'crypto', 'process', 'require', 'Buffer', 'XMLHttpRequest', 'Deno', 'Bun'):
            assert say(f'return typeof {absent}') == 'undefined', absent
        for present in ('Date', 'Intl', 'WebAssembly', 'Atomics', 'SharedArrayBuffer', 'BigInt', 'FinalizationRegistry', 'Proxy', 'Map', 'console'): assert say(f'return typeof {present}') in ('function', 'object'), present
        assert abs(int(say('return Date.now()')) - time.time() * 1000) < 60000
        assert say('return new Intl.NumberFormat().resolvedOptions().locale') == 'en-001'
        assert say('return typeof moduleHooks') == 'undefined'
        assert 'TypeError' in thrown('new table_id_from_name("x")')
        assert thrown('Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1e9)').startswith('TypeError')
        # newer built-ins (spec/02 §14)
        assert say('return [3, 1, 2].toSorted() + "|" + [1, 2].toReversed() + "|" + [1, 2].with(0, 9) + "|" + [1, 2, 3].toSpliced(1, 1)') == '1,2,3|2,1|9,2|1,3'
        assert say('return [1, 2, 3, 4].values().filter(x => x % 2).map(x => x * 10).take(5).toArray()') == '10,30'
        assert say('return [1, 2, 3].values().drop(1).flatMap(x => [x, x]).reduce((a, b) => a + b)') == '10'
        assert say('return [[1, 2].values().some(x => x > 1), [1, 2].values().every(x => x > 1), [1, 2].values().find(x => x > 1)]') == 'true,false,2'
        assert say('const log = []; function* g() { try { yield 1; yield 2; } finally { log.push("closed"); } } for (const x of g().map(x => x)) break; return log') == 'closed'
        assert say('const log = []; function* g() { try { yield 1; yield 2; } finally { log.push("closed"); } } g().take(1).toArray(); return log') == 'closed'
        assert say('const a = new Set([1, 2]), b = new Set([2, 3]); return [[...a.union(b)], [...a.intersection(b)], [...a.difference(b)], [...a.symmetricDifference(b)], a.isSubsetOf(b), a.isSupersetOf(new Set([1])), a.isDisjointFrom(new Set([9]))].join("|")') == '1,2,3|2|1|1,3|false|true|true'
        assert say('return JSON.stringify([Object.groupBy([1, 2, 3], x => x % 2 ? "odd" : "even"), [...Map.groupBy([1, 2, 3], x => x % 2)]])') == '[{"odd":[1,3],"even":[2]},[[1,[1,3]],[0,[2]]]]'
        assert say('const { promise, resolve } = Promise.withResolvers(); return typeof resolve + (promise instanceof Promise)') == 'functiontrue'
        assert say('return typeof Symbol.dispose + typeof Symbol.asyncDispose + typeof Array.fromAsync') == 'symbolsymbolfunction'
        assert say('return ["a\\ud800".isWellFormed(), "a".isWellFormed(), "a\\ud800".toWellFormed()]') == 'false,true,a\ufffd'
        assert say('return [RegExp.escape("a.b"), Uint8Array.fromHex("0aff"), new Uint8Array([1, 2, 3, 4]).toBase64(), Uint8Array.fromBase64("AQIDBA=="), new Uint8Array([10, 255]).toHex()].join("|")') == '\\x61\\.b|10,255|AQIDBA==|1,2,3,4|0aff'
        assert say('return new ArrayBuffer(4).transfer(8).byteLength') == '8'


def calls_and_vectors(): # cases 40, 42 to 44, 46, vectors of §15
    with Server() as s:
        p = Player(s)
        say, act = p.say, p.act
        person, by_id, by_age, by_both = 'table_id_from_name("person")', 'index_id_from_name("person_id_idx_btree")', 'index_id_from_name("person_age_idx_btree")', 'index_id_from_name("person_age_name_idx_btree")'
        row = 'const all = buffer("00000000" + "03000000626f62" + "21"); '
        assert say(f'{row} const n = datastore_insert_bsatn({person}, all, 12); return n + hex(new Uint8Array(all, 0, n))') == '401000000'
        act(f'{row} datastore_insert_bsatn({person}, all, 12)')
        act('for (const h of ["00000000" + "0100000061" + "03", "00000000" + "0100000062" + "03", "00000000" + "0100000063" + "09"]) { const b = buffer(h); datastore_insert_bsatn(%s, b, b.byteLength) }' % person)
        read = 'const out = new ArrayBuffer(4096), rows = []; for (;;) { const n = row_iter_bsatn_advance(it, out); rows.push(hex(new Uint8Array(out, 0, Math.abs(n)))); if (n <= 0) break; } return rows.join("")'
        a, b, c, bob = '02000000' '01000000' '61' '03', '03000000' '01000000' '62' '03', '04000000' '01000000' '63' '09', '01000000' '03000000' '626f62' '21'
        assert say(f'const it = datastore_index_scan_range_bsatn({by_age}, buffer("00030109"), 0, 0, 2, 2); {read}') == a + b # [3, 9)
        assert say(f'const it = datastore_index_scan_range_bsatn({by_both}, buffer("03" + "010100000061" + "02"), 1, 1, 6, 1); {read}') == b # 3, names after "a"
        assert say(f'const it = datastore_index_scan_range_bsatn({by_both}, buffer("0003"), 0, 0, 2, 0); {read}') == a + b # rend_len 0: as rstart
        assert say(f'const it = datastore_index_scan_point_bsatn({by_both}, buffer("210300000062" + "6f62"), 8); {read}') == bob
        assert say(f'return datastore_delete_by_index_scan_range_bsatn({by_age}, buffer("0003"), 0, 0, 2, 0)') == '2'
        assert say(f'const up = buffer("010000000100000078" + "01"); return datastore_update_bsatn({person}, {by_id}, up, 10) + "," + datastore_delete_all_by_eq_bsatn({person}, buffer("01000000" + "010000000100000078" + "01"), 14)') == '0,1'
        assert say(f'return typeof datastore_table_row_count({person}) + datastore_table_row_count({person}) + "," + datastore_clear({person}) + typeof datastore_clear({person})') == 'bigint4,4bigint'
        assert say('const it = datastore_table_scan_bsatn(table_id_from_name("blob")); return row_iter_bsatn_advance(it, new ArrayBuffer(8))') == '0'
        assert say('return identity().toString(16).padStart(64, "0")') == json.loads(s.http('GET', '/v1/database/player')[1])['database_identity']['__identity__'][2:].rjust(64, '0')
        assert say('return [typeof sender, typeof conn, typeof ts, args.constructor.name, args.byteOffset, args.buffer.byteLength]') == 'bigint,bigint,bigint,DataView,0,4096'
        assert re.fullmatch('[0-9a-f]{64}', say('return sender.toString(16).padStart(64, "0")')) and say('return sender.toString(16)').startswith('c200')
        assert say('const payload = JSON.parse(new TextDecoder().decode(get_jwt_payload(conn))); return payload.iss') == 'localhost'
        # errors: of the module's own class, and the transaction goes on (case 42)
        assert say(f'const again = buffer("010000000100000078" + "01"); try {{ datastore_insert_bsatn({person}, again, 10) }} catch (e) {{ return [e instanceof HostError, e.number, e.message] }}') == 'true,12,Value with given unique identifier already exists'
        act(f'const again = buffer("010000000100000078" + "01"); try {{ datastore_insert_bsatn({person}, again, 10) }} catch {{ }} const fresh = buffer("000000000100000079" + "05"); datastore_insert_bsatn({person}, fresh, 10)')
        assert ['y', 5] in [r[1:] for r in s.sql('player', 'select * from person', p.token)]
        caught = lambda code: say(f'try {{ {code}; return "nothing" }} catch (e) {{ return e.number ?? e.name + ": " + e.message }}')
        assert caught('table_id_from_name("nobody")') == '4' and caught('index_id_from_name("nobody")') == '5' and caught('datastore_table_scan_bsatn(9999)') == '4'
        assert caught('row_iter_bsatn_close(77)') == '6' and caught('console_timer_end(77)') == '7' and caught('procedure_start_mut_tx()') == '17' and caught('procedure_commit_mut_tx()') == '18'
        assert caught('table_id_from_name(5)').startswith('TypeError') and caught('datastore_table_scan_bsatn("x")') == 'TypeError: Expected number for `u32`, got string'
        assert caught('datastore_table_scan_bsatn(-1)') == caught('datastore_table_scan_bsatn(1.5)') == caught('datastore_table_scan_bsatn(2**32)') == 'TypeError: Value overflowed `u32`'
        assert caught(f'datastore_index_scan_range_bsatn({by_age}, buffer("00030109"), 0, 70000, 2, 2)') == 'TypeError: Value overflowed `u16`'
        assert caught(f'datastore_insert_bsatn({person}, new ArrayBuffer(4), 5)') == 'RangeError: length argument was out of bounds for `ArrayBuffer`'
        assert caught(f'datastore_index_scan_range_bsatn({by_age}, new ArrayBuffer(4), 4294967295, 0, 4294967295, 2)') == 'RangeError: length argument was out of bounds for `ArrayBuffer`'
        assert caught(f'datastore_insert_bsatn({person}, new Uint8Array(4), 4)').startswith('TypeError') and caught(f'datastore_insert_bsatn({person}, buffer("01"), 1)') == '3'
        assert caught('get_jwt_payload(5)').startswith('TypeError') and caught('get_jwt_payload(2n ** 128n)') == 'TypeError: Value overflowed `u128`' and caught('get_jwt_payload(-1n)') == 'TypeError: Value overflowed `u128`'
        assert caught('env_get("no-name")') == '1'
        # iterators left open (case 43)
        for _ in range(300): act(f'for (let i = 0; i < 40; i++) datastore_table_scan_bsatn({person})')
        assert say(f'return datastore_table_scan_bsatn({person})') == '1'
        # a row larger than the buffer (case 44)
        act('const n = 300000, row = new ArrayBuffer(4 + n); new DataView(row).setUint32(0, n, true); new Uint8Array(row, 4).fill(65); datastore_insert_bsatn(table_id_from_name("blob"), row, 4 + n)')
        assert say('const it = datastore_table_scan_bsatn(table_id_from_name("blob")); let needed; try { row_iter_bsatn_advance(it, new ArrayBuffer(65536)) } catch (e) { needed = e.__buffer_too_small__ } return needed + "," + row_iter_bsatn_advance(it, new ArrayBuffer(needed))') == '300004,-300004'
        # arguments of any size (case 46)
        long = 'x' * 5000
        assert say(f'return [args.buffer.byteLength === args.byteLength, text(args).length > 5000]; /* {long} */') == 'true,true'
        assert say('args.buffer.transfer?.(); return 1') == say('return 1') == '1'
        # promises: their jobs run before the call ends, and are part of its transaction (case 49)
        act(f'const late = buffer("00000000" + "010000007a" + "07"); Promise.resolve().then(() => 0).then(() => datastore_insert_bsatn({person}, late, 10))')
        assert ['z', 7] in [r[1:] for r in s.sql('player', 'select * from person', p.token)]
        act('Promise.reject(new Error("nobody cares"))')


def what_a_call_comes_to(): # cases 41, 46
    with Server() as s:
        p = Player(s)
        assert [p.post('count')[1] for _ in range(3)] == ['1', '2', '3']
        assert p.post('say', 'throw new SenderError("nope")') == (530, 'nope')
        assert p.post('act', 'function culprit() { throw new Error("boom") } culprit()') == FATAL
        record = [r for r in p.logs() if r['level'] == 'Panic'][-1]
        assert record['message'] == 'Uncaught Error: boom' and record['trace'][0]['func_name'] == 'culprit' and record['function'] == 'act', record
        assert p.post('act', 'return 5') == FATAL
        assert 'Reducer returned a value other than `undefined`' in [r for r in p.logs() if r['level'] == 'Panic'][-1]['message']
        for code in ('throw null', 'throw undefined', 'throw "text"', 'throw {}', 'throw new Proxy({}, { getPrototypeOf() { throw 1 } })', 'throw Symbol()', 'null.x', 'throw Object.create(SenderError.prototype, { message: { get() { throw 7 } } })'):
            assert p.post('act', code) == FATAL, code
        assert p.post('count')[1] == '4', 'the isolate lives on'
        # a change before the error is undone
        before = s.sql('player', 'select count(*) as n from person', p.token)
        assert p.post('act', 'const b = buffer("00000000" + "0100000061" + "03"); datastore_insert_bsatn(table_id_from_name("person"), b, 10); throw new Error("no")') == FATAL
        assert s.sql('player', 'select count(*) as n from person', p.token) == before
        # host calls that fail without an errno end the script, whatever it catches
        forbidden = 'for (;;) try { const b = buffer("00"); datastore_insert_bsatn(table_id_from_name("st_table"), b, 1) } catch { } finally { try { table_id_from_name("person") } catch { } }'
        assert p.post('act', forbidden) == FATAL
        assert p.post('count')[1] == '1', 'a fresh isolate'
        assert p.post('say', 'return env_get("OTHER")') == FATAL
        # procedures
        assert p.post('ask', 'return "hello " + typeof sender')[:2] == (200, '"hello bigint"')
        status, text = p.post('ask', 'throw new SenderError("not for you")')
        assert status == 500 and text.endswith('not for you'), (status, text)
        status, text = p.post('ask', 'function inner() { throw new Error("boom") } inner()')
        assert status == 500 and 'Uncaught Error: boom\n\tat inner (' in text, text
        insert = 'const b = buffer("00000000" + "0100000071" + "03"); datastore_insert_bsatn(table_id_from_name("person"), b, 10);'
        assert p.post('ask', f'procedure_start_mut_tx(); {insert} procedure_commit_mut_tx(); return "in"') == (200, '"in"')
        assert p.post('ask', f'procedure_start_mut_tx(); {insert} procedure_abort_mut_tx(); return "out"') == (200, '"out"')
        assert p.post('ask', f'procedure_start_mut_tx(); {insert} return "dangling"') == (200, '"dangling"')
        assert any('aborting dangling anonymous transaction in procedure ask' in r['message'] for r in p.logs())
        assert len([r for r in s.sql('player', 'select * from person', p.token) if r[1] == 'q']) == 1
        caught = lambda code: p.post('ask', f'try {{ {code}; return "nothing" }} catch (e) {{ return (e.number ?? e.name) + ": " + e.message }}')[1]
        assert caught('table_id_from_name("person")').startswith('"2: ') and caught('procedure_commit_mut_tx()').startswith('"18: ')
        assert caught('procedure_start_mut_tx(); procedure_start_mut_tx()').startswith('"17: ')
        assert caught('procedure_http_request(new Uint8Array([1]), "x")').startswith('"TypeError: failed to decode http request: ')
        request = '00' + '00000000' + '01' + wat.text('http://10.0.0.1/').hex() + '02'
        assert 'refusing to connect to private or special-purpose addresses' in caught(f'procedure_http_request(new Uint8Array(buffer("{request}")), new Uint8Array(0))')
        # views and handlers
        p.act('view.code = "return { data: new Uint8Array(buffer(\'00\' + \'01000000\' + \'07000000\' + \'0100000061\' + \'09\')) }"')
        assert s.sql('player', 'select * from seen', p.token) == [[7, 'a', 9]]
        response = '00000000' + '02' + 'c900'
        status, text, _ = s.http('POST', '/v1/database/player/route/hand', f'return [new Uint8Array(buffer("{response}")), new TextEncoder().encode("made")]')
        assert (status, text) == (201, 'made'), (status, text)
        assert s.http('POST', '/v1/database/player/route/hand', 'return 5')[0] >= 500
        assert s.http('POST', '/v1/database/player/route/hand', 'throw new Error("no")')[0] >= 500
        # the log
        p.act('console_log(1, "warned"); const t = console_timer_start("span"); console_timer_end(t); (function caller() { (function f() { console_log(101, "panicked") })() })()')
        found = {r['message'].split(':')[0]: r for r in p.logs()}
        assert found['warned']['level'] == 'Warn' and 'Timing span "span"' in found and found['panicked']['trace'][0]['func_name'] == 'f' and found['panicked']['line_number'] > 0, found


class Bystander:
    """A Wasm database on the same server, called all the while."""
    def __init__(self, s, token):
        self.s, self.stop, self.wrong, self.n = s, threading.Event(), [], 0
        s.http('PUT', '/v1/database/bystander', wat.small(wat.definition(reducers=[('r', [])])), token)
    def run(self):
        while not self.stop.is_set():
            try: status = self.s.call('bystander', 'r')[0]
            except Exception as e: status = repr(e)
            self.n += 1
            if status != 200: self.wrong.append(status)
            time.sleep(0.005)
    def __enter__(self):
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self
    def __exit__(self, kind, *_):
        self.stop.set()
        self.thread.join()
        if not kind: assert not self.wrong and self.n > 10, self.wrong[:3]


BUDGET_MS = 400
ENERGY = (402, 'Module energy budget exhausted.')


def scripts_that_mean_harm():
    with Server(options=['--time-budget-ms', str(BUDGET_MS), '--module-memory-mib', '64']) as s:
        p = Player(s)
        with Bystander(s, p.token):
            endless = {'loop': 'for (;;);', 'promises': 'const again = () => Promise.resolve().then(again); again()', 'catching': 'for (;;) try { for (;;); } catch { } finally { for (;;); }',
                       'regex': '/^(a+)+$/.test("a".repeat(40) + "b")', 'getter': 'const o = { get x() { for (;;); } }; o.x', 'calls': 'for (;;) table_id_from_name("person")',
                       'generator': '(function* () { for (;;) yield 1 })().forEach(() => 0)', 'sort': '[3, 2, 1].sort(() => { for (;;); })', 'bigint': 'let x = 3n; for (;;) x = x * x % (1n << 100000n) + 3n',
                       'json': 'JSON.stringify({ toJSON() { for (;;); } })', 'awaits': '(async () => { for (;;) await 0 })()',
                       'index': 'Array.prototype.indexOf.call({ length: 2 ** 53 - 1 }, 0)', 'reverse': 'const a = []; a[1e9] = 1; a.reverse()'} # loops of V8's own, which do not look whether they are to end
            for name, code in endless.items():
                start = time.monotonic()
                answer = p.post('act', code)
                assert answer == ENERGY, (name, answer)
                assert time.monotonic() - start < 10, name
                assert p.post('count')[1] == '1', (name, 'a fresh isolate')
            deep = {'recursion': 'const f = n => f(n + 1) + 1; f(0)', 'mutual': 'const f = () => g() + 1, g = () => f() + 1; f()', 'nested': 'JSON.parse("[".repeat(1e6))', 'stringify': 'let a = []; for (let i = 0; i < 1e6; i++) a = [a]; JSON.stringify(a)'}
            for name, code in deep.items(): assert p.post('act', code) in (FATAL, ENERGY), name
            hungry = {'arrays': 'const a = []; for (;;) a.push(new Array(1000).fill(a.length))', 'strings': 'let s = "x"; const all = []; for (;;) { s += s.length; all.push(s + all.length) }', 'one': 'new Array(1e8).fill(0)',
                      'objects': 'let o = null; for (;;) o = { o }', 'maps': 'const m = new Map(); for (let i = 0; ; i++) m.set(i, {})', 'closures': 'const all = []; for (let i = 0; ; i++) all.push(() => i)',
                      'from': 'Array.from({ length: 1e9 })', 'replace': '"ab".repeat(1e8).replaceAll("a", "bbbb")', 'repeat': 'const all = []; for (;;) all.push("ab".repeat(1 << 20).split(""))'}
            for name, code in hungry.items():
                answer = p.post('act', code)
                assert answer in (FATAL, ENERGY), (name, answer)
                s.check_alive()
            full = [r for r in p.logs(400) if 'Javascript module exceeded memory limit (current limit: ' in r['message']]
            assert full, 'a full heap is in the log'
            assert p.post('act', 'const all = []; for (;;) all.push(new ArrayBuffer(1 << 20))') == FATAL # refused by the allocator: a RangeError
            assert any('Array buffer allocation failed' in r['message'] for r in p.logs())
            assert p.post('act', 'new Array(-1)') == FATAL and p.post('act', 'new ArrayBuffer(1e15)') == FATAL and p.post('act', '"x".repeat(2 ** 30)') == FATAL
            # tampering hurts nobody but the module itself
            p.act('Array.prototype.push = Uint8Array.prototype.set = Map.prototype.get = () => { throw 1 }; Object.prototype.then = 5; globalThis.TextDecoder = globalThis.TextEncoder = Promise = undefined; String = null')
            p.post('say', 'return 1')
            s.check_alive()
            assert p.post('act', 'hooks().__call_reducer__ = 5') in (FATAL, (200, ''))
            for hostile in ('return Object.defineProperty(new Uint8Array(5), "byteLength", { get() { throw 1 } })', 'const v = new Proxy({}, { get() { for (;;); } }); return v'):
                assert p.post("ask", hostile)[0] in (200, 402, 500)
            assert p.post('ask', 'for (;;);')[0] in (402, 500)
            assert s.http('POST', '/v1/database/player/route/hand', 'for (;;);')[0] >= 400
            assert p.post('count')[0] == 530
            # while it starts: the program is refused, in time
            for hook in ('__describe_module__() { for (;;); },', '__describe_module__() { const a = []; for (;;) a.push(new Array(1000).fill(0)); },'): refused(s, p.token, js.raw(js.PLAYER, hook))
            refused(s, p.token, js.raw(js.PLAYER, top='for (;;);'))
            refused(s, p.token, js.raw(js.PLAYER, top='const a = []; for (;;) a.push(new Array(1000).fill(0));'))
        s.check_alive()


def the_twin_has_the_same_schema():
    with Server() as s:
        token = s.identity()['token']
        s.publish('rust', module('e2e-2.10'), token)
        s.publish('typescript', module('e2e-ts.js'), token)
        a, b = (json.loads(s.http('GET', f'/v1/database/{n}/schema?version=9', token=token)[1]) for n in ('rust', 'typescript'))
        def resolved(schema, t, depth=0):
            """A type with references followed: their numbers may differ."""
            assert depth < 60
            if isinstance(t, dict): return resolved(schema, schema['typespace']['types'][t['Ref']], depth + 1) if 'Ref' in t else {k: resolved(schema, v, depth + 1) for k, v in t.items()}
            return [resolved(schema, x, depth + 1) for x in t] if isinstance(t, list) else t
        def tables(schema): return {t['name']: ({k: v for k, v in t.items() if k not in ('product_type_ref', 'name')}, resolved(schema, schema['typespace']['types'][t['product_type_ref']])) for t in schema['tables']}
        ta, tb = tables(a), tables(b)
        assert ta.keys() == tb.keys(), (ta.keys(), tb.keys())
        for name in ta:
            assert ta[name][1] == tb[name][1], (name, ta[name][1], tb[name][1])
            for key in ('primary_key', 'indexes', 'constraints', 'sequences', 'table_type', 'table_access'):
                by = lambda t: sorted(json.dumps(x, sort_keys=True) for x in t[0][key]) if isinstance(t[0][key], list) else t[0][key]
                assert by(ta[name]) == by(tb[name]), (name, key, by(ta[name]), by(tb[name]))
        def reducers(schema): return {r['name']: (resolved(schema, r['params']), r['lifecycle']) for r in schema['reducers']}
        ra, rb = reducers(a), reducers(b)
        assert ra.keys() == rb.keys(), ra.keys() ^ rb.keys()
        for name in ra: assert ra[name] == rb[name], (name, ra[name], rb[name])


def swap(s, token, name, program):
    """Publishes with the token of the plan: the view's primary key, which only the npm package declares, breaks clients."""
    with open(module(program), 'rb') as f: program_bytes = f.read()
    kind = '&host_type=Js' if program.endswith('.js') else ''
    plan = json.loads(s.http('POST', f'/v1/database/{name}/pre_publish?pretty_print_style=NoColor{kind}', program_bytes, token)[1])['AutoMigrate']
    assert plan['break_clients'] and 'Removed anonymous view: adults' in plan['migrate_plan'] and 'able' not in plan['migrate_plan'].replace('Database', ''), plan
    status, text, _ = s.http('PUT', f"/v1/database/{name}?policy=BreakClients&token={plan['token']}{kind}", program_bytes, token)
    assert status == 200, text


def restart_and_update():
    with Server() as s:
        token = s.identity()['token']
        s.publish('e2e', module('e2e-ts.js'), token)
        assert s.call('e2e', 'add_person', 'ann', 30, token=token)[0] == 200
        assert s.call('e2e', 'insert_samples', token=token)[0] == 200
        rows = s.sql('e2e', 'select * from all_types', token)
        assert s.call('e2e', 'start_ticking', 50, True, token=token)[0] == 200
        s.stop()
        s.start()
        assert s.sql('e2e', 'select * from person', token) == [[1, 'ann', 30]] and s.sql('e2e', 'select * from all_types', token) == rows
        assert s.call('e2e', 'add_person', 'bob', 12, token=token)[0] == 200
        end = time.monotonic() + 20
        while not [r for r in s.sql('e2e', 'select * from counter', token) if r[0] == 1 and r[1] >= 3]:
            assert time.monotonic() < end, 'the schedule goes on'
            time.sleep(0.05)
        assert [r[1] for r in s.sql('e2e', 'select * from adults', token)] == ['ann']
        # an update of the program, from TypeScript to Rust and back: rows and schedules stay
        swap(s, token, 'e2e', 'e2e-2.10')
        assert s.call('e2e', 'add_person', 'eve', 40, token=token)[0] == 200
        swap(s, token, 'e2e', 'e2e-ts.js')
        assert s.call('e2e', 'add_person', 'eve', 41, token=token)[0] == 530
        assert [r[1] for r in sorted(s.sql('e2e', 'select * from person', token))] == ['ann', 'bob', 'eve']
        # errors name places in the source
        assert s.call('e2e', 'panic_now', token=token)[:2] == FATAL
        record = [r for r in logs(s, token, 'e2e') if r['level'] == 'Panic'][-1]
        assert record['message'] == 'Uncaught Error: asked to panic' and record['filename'].endswith('e2e.ts') and 'e2e.ts:' in record['trace'][0]['module_name'], record
        line = open(os.path.join(TOP, 'tests/modules/typescript/src/e2e.ts')).read().split('\n').index("  throw new Error('asked to panic');") + 1
        assert record['line_number'] == line, (record, line)
        s.kill()
        s.start()
        assert [r[1] for r in sorted(s.sql('e2e', 'select * from person', token))] == ['ann', 'bob', 'eve']


def twin(name, *tests):
    """Tests of Rust modules with the TypeScript twins."""
    tested = importlib.import_module(name)
    def run():
        tested.module = lambda program: module(program + '-ts.js')
        try:
            for t in tests: getattr(tested, t)()
        finally: tested.module = module
    run.__name__ = f'twins_of_{name}'
    return run


def v8_is_loaded_with_the_first():
    with Server() as s:
        token = s.identity()['token']
        mapped = lambda: 'lightcone-v8' in open(f'/proc/{s.process.pid}/maps').read()
        s.publish('wasm', module('e2e-2.10'), token)
        assert not mapped()
        s.publish('typescript', module('e2e-ts.js'), token)
        assert mapped()


if __name__ == '__main__':
    main([programs_that_are_refused, the_first_interface, globals_of_a_module, calls_and_vectors, what_a_call_comes_to, scripts_that_mean_harm, the_twin_has_the_same_schema, restart_and_update, twin('views', 'views'),
          twin('schedules', 'one_shots', 'intervals', 'procedures', 'restarts', 'many', 'changed_before_it_fires'), twin('handlers', 'routes'), v8_is_loaded_with_the_first])
