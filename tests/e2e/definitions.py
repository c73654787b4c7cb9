"""What definitions mean on a server: names of submodules in SQL and calls, names of arguments, outboxes and their migration (spec/07 §3.2, §4, §10, §14.3), with
modules written by hand. What is accepted and how it is named is in tests/conformance/definitions.case."""
import json, os, sys
from lightcone import TOP, Server, main
sys.path.insert(0, os.path.join(TOP, 'tests', 'modules'))
import wat
from wat import BTREE, IDENTITY, SCHEDULE_AT, Table, definition, small, u32


def put(s, name, program, token): return s.http('PUT', f'/v1/database/{name}', program, token)[:2]
def published(s, name, program, token):
    answer = put(s, name, program, token)
    assert answer[0] == 200, answer
def call(s, name, function, body, token): return s.http('POST', f'/v1/database/{name}/call/{function}', body if isinstance(body, str) else json.dumps(body), token, {'Content-Type': 'application/json'})[:2]


def submodules():
    """A mount `myLib` is `my_lib` unless it has a name of its own (spec/07 §4.4, §19 case 19); the environment is the root module's alone (case 6)."""
    library = definition([Table('Users', 'id u32', pk=0, indexes=[(BTREE, 0)])], reducers=[('readIt', [])])
    env_get = '(i32.store (i32.const 3000) (i32.add (i32.const 48) (call $env_get (i32.const 3100) (i32.const 3) (i32.const 3200)))) (call $say (local.get $sink) (i32.const 3000) (i32.const 1)) (i32.const 1)'
    def program(**more): return small(definition(reducers=[('readIt', [])], modules=[('myLib', library)], env=['KEY'], **more), env_get, extra=wat.data(3100, b'KEY'), imports=('bytes_sink_write', 'console_log', 'env_get'))
    with Server() as s:
        token = s.identity()['token']
        for name, more, namespace, other in ('a', {}, 'my_lib', 'myLib'), ('b', {'names': [(wat.NAMESPACE_NAME, 'myLib', 'myLib')]}, 'myLib', 'my_lib'):
            published(s, name, program(**more), token)
            for table in f'{namespace}.users', f'"{namespace}.users"':
                if '"' not in table: assert s.http('POST', f'/v1/database/{name}/sql', f'INSERT INTO {table} (id) VALUES (7)', token)[0] == 200
                assert s.sql(name, f'SELECT * FROM {table}', token) == [[7]], table
            assert s.sql(name, f'SELECT u.* FROM {namespace}.users u WHERE u.id = 8', token) == []
            assert s.sql(name, 'SELECT * FROM myLib.Users', token) == [[7]] # as the source has it
            for table in f'{other}.users', 'users', 'my_lib.Users':
                status, text, _ = s.http('POST', f'/v1/database/{name}/sql', f'SELECT * FROM {table}', token)
                assert status == 400 and f'no such table: `{table}`' in text, (table, status, text)
            assert [namespace + '.users'] in s.sql(name, 'SELECT table_name FROM st_table', token)
            assert call(s, name, 'read_it', [], token) == (530, '0')
            status, text = call(s, name, f'{namespace}.read_it', [], token)
            assert status == 530 and 'fatal error' in text and 'environment access requires a host-dispatched root module function' in s.server_log(), (status, text)
            assert call(s, name, f'{other}.read_it', [], token)[0] == 404
        s.check_alive()


def names_of_arguments():
    """JSON arguments by their source names and by their canonical ones, for reducers and procedures (spec/07 §4.5, §19 case 20)."""
    say = '(i32.store (i32.const 3300) (i32.const 4)) (drop (call $bytes_source_read (local.get $args) (i32.const 3000) (i32.const 3300)))'
    d = definition(reducers=[('sendIt', [('messageBody', 'u32')])], procedures=[('askIt', [('messageBody', 'u32')], 'u32')])
    program = small(d, say + '(call $say (local.get $sink) (i32.const 3000) (i32.const 4)) (i32.const 1)', imports=('bytes_sink_write', 'console_log', 'bytes_source_read'),
                    extra=f'(func (export "__call_procedure__") {wat.FUNCTION} {say} (call $say (local.get $sink) (i32.const 3000) (i32.const 4)) (i32.const 0))')
    with Server() as s:
        token = s.identity()['token']
        published(s, 'n', program, token)
        for body in {'messageBody': 0x41424344}, {'message_body': 0x41424344}, [0x41424344]:
            assert call(s, 'n', 'send_it', body, token) == (530, 'DCBA'), body
            assert call(s, 'n', 'ask_it', body, token) == (200, str(0x41424344)), body
        for body in {'messageBody': 1, 'message_body': 1}, {'message_body': 1, 'messageBody': 1}, {'MessageBody': 1}, {}, {'messageBody': 1, 'more': 1}:
            for function in 'send_it', 'ask_it':
                status, text = call(s, 'n', function, body, token)
                assert status == 400 and 'argument' in text, (function, body, status, text)
        s.check_alive()


def outboxes():
    """No statement writes an outbox or a scheduled table, whether a row matches or not (spec/07 §14.3, §19 case 48); what of an outbox may change under a running database (§10, case 49)."""
    letter = Table('letter', [('id', 'u64'), ('target', IDENTITY), ('body', 'string'), ('more', 'string')], pk=0, indexes=[(BTREE, 0)])
    timer = Table('timer', [('id', 'u64'), ('at', SCHEDULE_AT)], pk=0, indexes=[(BTREE, 0)])
    def program(*boxes): return small(definition([letter, timer], reducers=[('tick', [('row', 1)])], schedules=[('timer', 1, 'tick')], outboxes=[('letter', *b) for b in boxes]))
    first = program(('ping', 1, [2]))
    with Server() as s:
        token = s.identity()['token']
        published(s, 'o', first, token)
        for table, row, what in ('letter', "(id, target, body, more) VALUES (1, 0x" + 'aa' * 32 + ", 'x', 'y')", 'outbox'), ('timer', '(id, at) VALUES (1, 2)', 'scheduled'):
            for statement in f'INSERT INTO {table} {row}', f'UPDATE {table} SET id = 2 WHERE id = 1', f'DELETE FROM {table} WHERE id = 1', f'DELETE FROM {table}':
                assert s.http('POST', '/v1/database/o/sql', statement, token)[:2] == (400, f'SQL writes to {what} tables are not supported'), statement
            assert s.sql('o', f'SELECT * FROM {table}', token) == []
        def box(name='o'): return [(r[1], r[2], r[3]) for r in s.sql(name, 'SELECT * FROM st_outbox', token)]
        assert box() == [('ping', 1, [2])]
        published(s, 'o', program(('pong', 1, [2, 3])), token) # another remote reducer and other arguments
        assert box() == [('pong', 1, [2, 3])]
        status, text = put(s, 'o', program(), token)
        assert status >= 400 and 'Removing outbox metadata from table letter requires a manual migration' in text, (status, text)
        assert box() == [('pong', 1, [2, 3])]
        published(s, 'none', program(), token)
        status, text = put(s, 'none', first, token)
        assert status >= 400 and 'Adding outbox metadata to table letter requires a manual migration' in text and box('none') == [], (status, text)
        s.check_alive()


def rules_on_views():
    """Row-level security of a view with parameters is refused (spec/07 §5.1, §19 case 24)."""
    d = lambda rule: definition([Table('t', 'a u32')], views=[('v', 0, True, [0])], rls=[rule])
    views = lambda params: b'\5' + wat.array([wat.text('v') + u32(0) + b'\1\1' + wat.product(params) + wat.type_([0])])
    extra = '(func (export "__call_view_anon__") (param i32 i32 i32) (result i32) (i32.const 0))'
    with Server() as s:
        token = s.identity()['token']
        for name, params, rule, fits in ('a', [], 'SELECT * FROM t', True), ('b', [('p', 'u32')], 'SELECT * FROM t', True), ('c', [('p', 'u32')], 'SELECT * FROM v(1)', False):
            status, text = put(s, name, small(d(rule).replace(views([]), views(params)), extra=extra), token)
            assert (status == 200) == fits, (params, rule, status, text)
        assert 'Row-level security is not supported on parameterized views: SELECT * FROM v(1)' in text, text


if __name__ == '__main__': main([globals()[x] for x in sys.argv[1:]] or [submodules, names_of_arguments, outboxes, rules_on_views])
