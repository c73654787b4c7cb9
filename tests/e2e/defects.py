"""What the reference gets wrong and we must not (spec/06 §20), a function for each that needs a running server. The others are unit tests: the table is in tests/unit/README.md."""
import glob, json, os, struct, sys, time
from lightcone import TOP, Server, main, module
from schedules import Fixture
sys.path.insert(0, os.path.join(TOP, 'tests', 'modules'))
import wat
from wat import BTREE, SCHEDULE_AT, Table, small


def put(s, name, body, token, query=''): return s.http('PUT', f'/v1/database/{name}{query}', body, token)[:2]


def defect_01_numbers_after_a_rollback_and_a_kill():
    """A transaction that drew numbers is rolled back, others commit, the process is killed: no number is given twice."""
    with Server() as s:
        token = s.identity()['token']
        s.publish('d', module('e2e-2.14'), token)
        n = 0
        for round_ in range(4):
            for _ in range(3):
                assert s.call('d', 'fail', 'not now', token=token)[0] == 530
                assert s.call('d', 'add_person', f'person {n}', 30, token=token)[0] == 200
                n += 1
            before = sorted(r[0] for r in s.sql('d', 'SELECT id FROM person', token)) # a confirmed read: all of it is on disk
            assert len(before) == len(set(before)) == n, before
            s.kill()
            s.start()
            assert s.call('d', 'fail', 'not now', token=token)[0] == 530
            for _ in range(4):
                assert s.call('d', 'add_person', f'person {n}', 30, token=token)[:2] == (200, ''), 'a number was given twice'
                n += 1
            ids = sorted(r[0] for r in s.sql('d', 'SELECT id FROM person', token))
            assert len(set(ids)) == n and ids[:len(before)] == before, (before, ids)


def defect_03_tables_go_and_constraints_come():
    """An empty table may go, a unique constraint may come: as the plan says, so it happens."""
    with Server() as s:
        token = s.identity()['token']
        old = small(wat.definition([Table('kept', 'id u32, v u32', pk=0, indexes=[(BTREE, 0), (BTREE, 1)]), Table('gone', 'id u32', pk=0, indexes=[(BTREE, 0)])]))
        new = small(wat.definition([Table('kept', 'id u32, v u32', pk=0, indexes=[(BTREE, 0), (BTREE, 1)], unique=[1])]))
        assert put(s, 'd', old, token)[0] == 200
        for row in '(1, 5)', '(2, 6)': s.sql('d', f'INSERT INTO kept (id, v) VALUES {row}', token)
        plan = json.loads(s.http('POST', '/v1/database/d/pre_publish?style=NoColor', new, token)[1])['AutoMigrate']
        assert plan['break_clients'] and 'Removed table: gone' in plan['migrate_plan'] and 'Created unique constraint' in plan['migrate_plan'], plan
        assert put(s, 'd', new, token, f"?policy=BreakClients&token={plan['token']}")[0] == 200
        status, text, _ = s.http('POST', '/v1/database/d/sql', 'INSERT INTO kept (id, v) VALUES (3, 5)', token)
        assert status == 400 and 'Unique constraint violation' in text, (status, text)
        s.kill()
        s.start()
        assert sorted(s.sql('d', 'SELECT * FROM kept', token)) == [[1, 5], [2, 6]]
        assert s.http('POST', '/v1/database/d/sql', 'SELECT * FROM gone', token)[0] == 400


def defect_04_schedules_change_as_planned():
    """A schedule that comes to a table, or goes: the plan says it can, and the update does it; rows that are there are armed."""
    columns = [('id', 'u64'), ('at', SCHEDULE_AT)]
    table = Table('timer', columns, pk=0, indexes=[(BTREE, 0)], auto=[0])
    # add: reducer 0 inserts a row due in the past; tick: reducer 1 does nothing; the row goes after its call
    row = struct.pack('<QBq', 0, 1, 1_000_000)
    body = (f'(if (i32.eqz (local.get $id)) (then (drop (call $table_id_from_name (i32.const 512) (i32.const 5) (i32.const 600))) (i32.store (i32.const 604) (i32.const {len(row)}))'
            f' (drop (call $datastore_insert_bsatn (i32.load (i32.const 600)) (i32.const 700) (i32.const 604))))) (i32.const 0)')
    def program(scheduled, note):
        d = wat.definition([table], reducers=[('add', []), ('tick', [('row', 0)])], schedules=[('timer', 1, 'tick')] if scheduled else [])
        return small(d, reducer=body, extra=wat.data(512, b'timer') + wat.data(700, row) + wat.data(3950, note), imports=('bytes_sink_write', 'console_log', 'table_id_from_name', 'datastore_insert_bsatn'))
    with Server() as s:
        token = s.identity()['token']
        def rows(): return s.sql('d', 'SELECT * FROM timer', token)
        assert put(s, 'd', program(False, b'1'), token)[0] == 200
        assert s.call('d', 'add', token=token)[0] == 200
        time.sleep(0.2)
        assert len(rows()) == 1
        for scheduled, note in ((True, b'2'), (False, b'3'), (True, b'4')):
            plan = json.loads(s.http('POST', '/v1/database/d/pre_publish?style=NoColor', program(scheduled, note), token)[1])['AutoMigrate']
            assert ('Created schedule' if scheduled else 'Removed schedule') in plan['migrate_plan'] and not plan['break_clients'], plan
            status, text = put(s, 'd', program(scheduled, note), token)
            assert status == 200, text
            end = time.time() + 5
            while scheduled and rows() and time.time() < end: time.sleep(0.02)
            assert not rows(), 'a row that was there before is not armed'
            if not scheduled:
                assert s.call('d', 'add', token=token)[0] == 200
                time.sleep(0.2)
                assert len(rows()) == 1, 'a row is called though there is no schedule any more'
                s.sql('d', 'DELETE FROM timer', token)


def defect_05_a_rolled_back_change_arms_nothing():
    with Server() as s:
        f = Fixture(s)
        start = time.time() * 1e6
        f.call('at', 700_000, 0, 'later')
        f.call('at', 1_200_000, 0, 'last')
        f.call('put_off_and_fail', 'later', 1_000, status=530)  # to an earlier time, and back
        f.call('put_off_and_fail', 'last', 5_000_000, status=530)  # to a later one, and back
        f.call('at_and_fail', 1_000, 'never', status=530)
        [(_, at, _)] = f.wait('later', 1)
        assert at >= start + 700_000, (at - start, 'called at the time that was rolled back')
        [(_, at, _)] = f.wait('last', 1, 4)
        assert start + 1_200_000 <= at < start + 4_000_000, at - start
        assert not f.done('never') and not f.tasks('later') and not f.tasks('last')


def defect_06_changed_rows_run_again():
    """A one-shot row that its own call changes stays and runs at its new time; a row that would not be armed cannot be written: SQL is refused (spec/07 §14)."""
    with Server() as s:
        f = Fixture(s)
        f.call('at', 1_000, 3, 'moved')
        a, b = f.wait('moved', 2)
        assert a[0] == b[0] and b[1] - a[1] >= 50_000, (a, b)
        f.gone('moved')
        f.call('at', 400_000, 0, 'stays')
        for query in "UPDATE task SET label = 'other' WHERE label = 'stays'", "DELETE FROM task WHERE label = 'stays'":
            assert s.http('POST', '/v1/database/s/sql', query, f.token)[:2] == (400, 'SQL writes to scheduled tables are not supported')
        f.wait('stays', 1, 5)
        f.gone('stays')


def defect_10_a_kill_in_a_snapshot():
    """What a kill leaves of a snapshot, and one that was set aside before under the same name, stand in nobody's way."""
    with Server(options=['--snapshot-interval-transactions', '10', '--retain', 'all']) as s:
        token = s.identity()['token']
        s.publish('d', module('e2e-2.14'), token)
        for i in range(30): assert s.call('d', 'append_log', i, 'x', token=token)[0] == 200
        s.stop()
        [folder] = glob.glob(s.data + '/replicas/*/snapshots')
        newest = sorted(glob.glob(folder + '/*.snapshot'))[-1]
        leftovers = newest + '.tmp', f'{folder}/{10**6:020}.snapshot.tmp'
        for leftover in (*leftovers, newest + '.damaged'):
            with open(leftover, 'wb') as f: f.write(b'left by a crash')
        good = open(newest, 'rb').read()
        with open(newest, 'wb') as f: f.write(good[:len(good) // 2] + bytes([good[len(good) // 2] ^ 1]) + good[len(good) // 2 + 1:])
        s.start()
        assert len(s.sql('d', 'SELECT * FROM log_entry', token)) == 30
        def is_left(path): return os.path.exists(path) and open(path, 'rb').read(20) == b'left by a crash' # the names may be in use again
        assert not any(map(is_left, leftovers)) and os.path.getsize(newest + '.damaged') == len(good)
        offset = int(os.path.basename(newest).split('.')[0])
        for i in range(30, 60): assert s.call('d', 'append_log', i, 'x', token=token)[0] == 200
        end = time.time() + 10
        while not any(int(os.path.basename(p).split('.')[0]) > offset for p in glob.glob(folder + '/*.snapshot')):
            assert time.time() < end, 'no snapshot is made any more'
            time.sleep(0.05)


def defect_13_an_interval_of_zero_does_not_spin():
    with Server() as s:
        f = Fixture(s)
        f.call('every', 0, 0, 'zero')
        f.wait('zero', 3)
        start, n = time.time(), len(f.done('zero'))
        time.sleep(0.5)
        calls, seconds = len(f.done('zero')) - n, time.time() - start
        assert 0 < calls <= seconds * 1100, f'{calls} calls in {seconds:.2f} s'
        assert s.http('GET', '/v1/ping')[0] == 200
        f.call('cancel', 'zero')
        n = len(f.done('zero'))
        time.sleep(0.2)
        assert len(f.done('zero')) == n


if __name__ == '__main__':
    main([defect_01_numbers_after_a_rollback_and_a_kill, defect_03_tables_go_and_constraints_come, defect_04_schedules_change_as_planned, defect_05_a_rolled_back_change_arms_nothing,
          defect_06_changed_rows_run_again, defect_10_a_kill_in_a_snapshot, defect_13_an_interval_of_zero_does_not_spin])
