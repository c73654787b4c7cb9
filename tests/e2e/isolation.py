"""Databases beside each other on one server: each has its own state, instance and failures; many small ones cost little (figures: bench/isolation.py)."""
import os, sys, threading, time
from lightcone import TOP, Server, main
from websocket import V3, opened, subscribe, persistent, update
sys.path.insert(0, os.path.join(TOP, 'tests', 'modules'))
import wat
from wat import At, Script, small, u32, u64
from abi import FATAL, Player, accepted, script_table


def insert(p, script, table, row): return script.datastore_insert_bsatn(At(script_table(p, script, table)), script.place(row), script.place(u32(len(row))))


def two_at_once():
    """Two databases of one program under load from both sides; one of them traps in every other call. Neither sees anything of the other."""
    with Server() as s:
        token = s.identity()['token']
        a, b = Player(s, token), Player(s, token)
        clients = [opened(s, p.name, V3, token=token) for p in (a, b)]
        for c in clients:
            c.send(subscribe(1, 1, 'SELECT * FROM uniq'))
            c.next()
        wrong = []
        def work(p, thread, traps):
            for i in range(60):
                k = thread * 1000 + i
                script = Script()
                insert(p, script, 'uniq', u32(k, k, p is a))
                status = p.post('run', script.ended(0).hex())[0]
                if status != 200: wrong.append((p.name, status))
                if traps:
                    script = Script()
                    insert(p, script, 'uniq', u32(k + 500, k + 500, 9))
                    if p.post('run', script.trap().ended(0).hex()) != FATAL: wrong.append((p.name, 'no trap'))
        threads = [threading.Thread(target=work, args=(p, t, p is b)) for p in (a, b) for t in range(1, 4)]
        for t in threads: t.start()
        for t in threads: t.join()
        assert not wrong, wrong[:5]
        for p, c, mark in (a, clients[0], 1), (b, clients[1], 0):
            keys = sorted(t * 1000 + i for t in range(1, 4) for i in range(60))
            assert sorted(p.sql('SELECT * FROM uniq')) == [[k, k, mark] for k in keys]
            want = sorted(update((1, [('uniq', [persistent([u32(k, k, mark)])])])) for k in keys)
            got, size = b'', len(want[0])
            while len(got) < size * len(want): got += c.next() # several in a frame
            assert sorted(got[i:i + size] for i in range(0, len(got), size)) == want
        assert a.post('bump', 1)[1] == '1 ' and len([l for l in a.logs() if l['level'] == 'Error']) == 1 # of that very call: none of the traps
        s.stop()
        s.start()
        assert len(a.sql('SELECT k FROM uniq')) == len(b.sql('SELECT k FROM uniq')) == 180


def many_databases():
    """A hundred small ones: what each costs, that each is its own, and that all come back."""
    n = int(os.environ.get('DATABASES', '100'))
    with Server() as s:
        token = s.identity()['token']
        program = small(wat.definition([wat.Table('t', 'id u32, v u64', pk=0, indexes=[(wat.BTREE, 0)])], reducers=[('r', [('id', 'u32')])]),
                        '(i32.store (i32.const 3000) (i32.const 4)) (drop (call $bytes_source_read (local.get $args) (i32.const 3100) (i32.const 3000))) (i32.store (i32.const 3000) (i32.const 12)) (drop (call $table_id_from_name (i32.const 3200) (i32.const 1) (i32.const 3004))) (call $datastore_insert_bsatn (i32.load (i32.const 3004)) (i32.const 3100) (i32.const 3000))',
                        imports=('bytes_sink_write', 'bytes_source_read', 'table_id_from_name', 'datastore_insert_bsatn'), extra=wat.data(3200, b't'))
        for i in range(3): accepted(s, token, f'warm-{i}', program)
        before, threads = s.rss_kib(), len(os.listdir(f'/proc/{s.process.pid}/task'))
        for i in range(n): accepted(s, token, f'db-{i}', program)
        each = (s.rss_kib() - before) / n
        print(f'   {each:.0f} KiB each')
        if os.path.basename(os.environ.get('OUT', 'asan')) not in ('asan', 'tsan'): assert each < 1024, each
        assert len(os.listdir(f'/proc/{s.process.pid}/task')) < threads + 40 # no threads of their own
        for i in range(n): assert s.call(f'db-{i}', 'r', i, token=token)[0] == 200
        cpu = lambda: sum(map(int, open(f'/proc/{s.process.pid}/stat').read().rsplit(')', 1)[1].split()[11:13])) / os.sysconf('SC_CLK_TCK')
        at = cpu()
        time.sleep(1)
        assert cpu() - at < 0.3, 'idle databases use the processor'
        s.stop()
        s.start()
        for i in range(n): assert s.sql(f'db-{i}', 'SELECT * FROM t', token) == [[i, 0]]


if __name__ == '__main__': main([two_at_once, many_databases])
