"""Updates of published databases (spec/04 §3.1-§3.2, spec/06 §16): the plan before, policies and migration tokens, programs exchanged under load with connections and
subscriptions that stay, clients sent away by a change that breaks them, updates that fail.
"""
import json, os, sys, threading
from lightcone import Server, main, module
from websocket import V3, call, counter, opened, persistent, subscribe, u32, update
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'modules'))
import wat
from wat import BTREE, Table, small

RULE = '━' * 60 + '\n'
HEADER = RULE + 'Database Migration Plan\n' + RULE + '\n'
KEPT = Table('kept', 'id u32, v u32', pk=0, indexes=[(BTREE, 0)])
GONE = Table('gone', 'id u32', pk=0, indexes=[(BTREE, 0)])
FRESH = Table('fresh', 'id u32', pk=0, indexes=[(BTREE, 0)])


def program(*tables, note=b''): return small(wat.definition(tables)) + section(note)
def section(note): return b'\0' + bytes([len(note) + 2, 1]) + b'n' + note if note else b'' # a custom section: other bytes, the same module
def put(s, name, body, token, query=''):
    status, text, _ = s.http('PUT', f'/v1/database/{name}{query}', body, token)
    return status, text
def plan(s, name, body, token, query='?style=NoColor'):
    status, text, _ = s.http('POST', f'/v1/database/{name}/pre_publish{query}', body, token)
    assert status == 200, (status, text)
    return json.loads(text)


def policies():
    with Server() as s:
        token = s.identity()['token']
        old, new, other, manual = program(KEPT, GONE), program(KEPT), program(KEPT, note=b'x'), program(Table('kept', 'id u32', pk=0, indexes=[(BTREE, 0)]))
        id = json.loads(put(s, 'd', old, token)[1])['Success']['database_identity']
        # the plan, which changes nothing
        p = plan(s, 'd', new, token)['AutoMigrate']
        assert list(p) == ['migrate_plan', 'break_clients', 'token', 'major_version_upgrade'] and p['break_clients'] is True and p['major_version_upgrade'] is False, p
        assert p['migrate_plan'].startswith(HEADER + '▸ Removed table: gone\n') and p['migrate_plan'].endswith('!!! Warning: All clients will be disconnected due to breaking schema changes\n'), p['migrate_plan']
        assert plan(s, 'd', old, token)['AutoMigrate']['migrate_plan'] == HEADER
        assert '\x1b[' in plan(s, 'd', new, token, '')['AutoMigrate']['migrate_plan'] and '\x1b[' not in plan(s, 'd', new, token, '?pretty_print_style=NoColor')['AutoMigrate']['migrate_plan']
        p_manual = plan(s, 'd', manual, token)['ManualMigrate']
        assert list(p_manual) == ['reason', 'major_version_upgrade'] and p_manual['reason'].startswith('Errors occurred:\n') and p_manual['reason'].endswith('\n\n'), p_manual
        assert s.sql('d', 'SELECT * FROM gone', token) == []
        # refusals, after each of which the old program runs
        stranger = s.identity()
        assert s.http('POST', '/v1/database/d/pre_publish', new, stranger['token'])[:2] == (403, f"{stranger['identity']} is not authorized to perform action on database {id}: update database")
        assert s.http('POST', '/v1/database/nowhere/pre_publish', new, token)[0] == 404
        assert s.http('POST', '/v1/database/d/pre_publish', b'junk', token)[0] == 500
        assert s.http('POST', '/v1/database/d/pre_publish?style=Blue', new, token)[0] == 400
        compatible = 'Failed to create or update the database: Migration plan contains a client-breaking change which is disallowed under current policy'
        wrong = 'Failed to create or update the database: Token provided is invalid or does not match expected hash'
        for query, want in (('', compatible), ('?policy=Compatible', compatible), (f"?token={p['token']}", compatible), ('?policy=BreakClients&token=0x123', wrong),
                            (f"?policy=BreakClients&token={plan(s, 'd', other, token)['AutoMigrate']['token']}", wrong), ('?policy=BreakClients', 'Migration policy is set to `BreakClients`, but no migration token was provided.')):
            assert put(s, 'd', new, token, query) == (400, want), (query, put(s, 'd', new, token, query))
        for bad in ('1f', '0x', '0xg', '0x' + '1' * 65): assert put(s, 'd', new, token, f'?policy=BreakClients&token={bad}')[0] == 400
        status, text = put(s, 'd', manual, token)
        assert status == 400 and text == 'Database update rejected: ' + p_manual['reason'], text
        assert s.sql('d', 'SELECT * FROM gone', token) == []
        # agreed to
        assert put(s, 'd', new, token, f"?policy=BreakClients&token={p['token']}")[0] == 200
        assert s.http('POST', '/v1/database/d/sql', 'SELECT * FROM gone', token)[0] == 400 and s.sql('d', 'SELECT * FROM kept', token) == []
        assert put(s, 'd', new, token, '?policy=BreakClients&token=0x1')[0] == 200 # the same program: nothing to agree to
        s.kill()
        s.start()
        assert s.http('POST', '/v1/database/d/sql', 'SELECT * FROM gone', token)[0] == 400 and s.sql('d', 'SELECT * FROM kept', token) == []


def hot_swap():
    """Calls without a pause, a subscriber, and four updates: no call fails, no delta is missing, nobody is disconnected."""
    with Server() as s:
        token = s.identity()['token']
        body = open(module('e2e-2.14'), 'rb').read()
        s.publish('d', module('e2e-2.14'), token)
        assert s.call('d', 'increment', 0, token=token)[0] == 200
        watcher, caller, done, problem = opened(s, 'd', V3), opened(s, 'd', V3), threading.Event(), []
        watcher.send(subscribe(1, 1, 'SELECT * FROM counter WHERE id = 0'))
        watcher.next()
        calls = 0
        def load():
            nonlocal calls
            try:
                while not done.is_set():
                    caller.send(call(calls, 'increment', u32(0)))
                    answer = caller.next()
                    assert answer[:5] == b'\6' + u32(calls) and answer[13:14] in b'\0\1', answer
                    calls += 1
            except Exception as e: problem.append(e)
        t = threading.Thread(target=load)
        t.start()
        for i in range(4):
            assert put(s, 'd', body + section(b'version %d' % i), token)[0] == 200
            assert put(s, 'd', body + b'junk', token)[0] == 500
        done.set()
        t.join()
        assert not problem and calls > 4, (problem, calls)
        for n in range(1, calls + 1): assert watcher.next() == update((1, [('counter', [persistent([counter(0, n + 1)], [counter(0, n)])])])), n # no delta is missing, none comes twice
        watcher.quiet(0.1)
        s.check_alive()


def new_tables():
    """A client that stays connected gets the rows of a table that an update has added."""
    with Server() as s:
        token = s.identity()['token']
        assert put(s, 'd', program(KEPT), token)[0] == 200
        c = opened(s, 'd', token=token)
        c.send(subscribe(1, 1, 'SELECT * FROM kept'))
        c.next()
        assert put(s, 'd', program(KEPT, FRESH), token)[0] == 200
        c.send(subscribe(2, 2, 'SELECT * FROM fresh'))
        c.next()
        for statement, want in (('INSERT INTO kept (id, v) VALUES (1, 2)', update((1, [('kept', [persistent([u32(1, 2)])])]))), ('INSERT INTO fresh (id) VALUES (7)', update((2, [('fresh', [persistent([u32(7)])])])))):
            s.sql('d', statement, token)
            assert c.next() == want


def breaking():
    with Server() as s:
        token = s.identity()['token']
        old, new = program(KEPT, GONE), program(KEPT)
        assert put(s, 'd', old, token)[0] == 200
        clients = [opened(s, 'd', protocol, token=token, query=query) for protocol in ('v2.bsatn.spacetimedb', V3) for query in ('confirmed=true', 'confirmed=false')]
        for c in clients:
            c.send(subscribe(1, 1, 'SELECT * FROM gone', 'SELECT * FROM kept'))
            c.next()
        agreed = plan(s, 'd', new, token)['AutoMigrate']['token']
        assert put(s, 'd', new, token, f'?policy=BreakClients&token={agreed}')[0] == 200
        assert len(s.sql('d', 'SELECT * FROM st_client', token)) == 1 # the query's own
        for c in clients: c.ends('close 1001 module exited')
        c = opened(s, 'd', token=token)
        c.send(subscribe(1, 1, 'SELECT * FROM kept'))
        c.next()
        s.check_alive()


if __name__ == '__main__': main([policies, hot_swap, new_tables, breaking])
