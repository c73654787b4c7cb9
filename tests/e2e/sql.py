#!/usr/bin/env python3
"""SQL over HTTP while transactions go on: answers with many rows are of one moment, and are computed beside the writer."""
import concurrent.futures, glob, json, random, threading, time
from lightcone import Server, module, main

ACCOUNTS = 20000


def one_moment():
    """Transfers never change the sum of all balances: each answer, of one row or of all, must have the same sum, whatever went on meanwhile."""
    with Server() as s:
        token = s.identity()['token']
        s.publish('bank', module('transfer'), token)
        assert s.call('bank', 'seed', ACCOUNTS, 100, token=token)[0] == 200
        stop = threading.Event()
        def transfers(seed):
            r = random.Random(seed)
            n = 0
            while not stop.is_set():
                a, b = r.sample(range(ACCOUNTS), 2)
                status, text, _ = s.http('POST', '/v1/database/bank/call/transfer', json.dumps([a, b, r.randrange(1, 5)]).encode(), token, {'content-type': 'application/json'})
                assert status in (200, 530), (status, text)
                n += status == 200
            return n
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            workers = [pool.submit(transfers, i) for i in range(3)]
            try:
                end, answers = time.time() + 4, 0
                while time.time() < end or answers < 5:
                    rows = s.sql('bank', 'SELECT * FROM accounts', token)
                    assert len(rows) == ACCOUNTS and sum(r['balance'] if isinstance(r, dict) else r[1] for r in rows) == ACCOUNTS * 100
                    assert s.sql('bank', 'SELECT COUNT(*) AS n FROM accounts WHERE balance >= 0 OR balance < 0', token) in ([[ACCOUNTS]], [{'n': ACCOUNTS}])
                    answers += 1
            finally: stop.set()
            done = sum(w.result() for w in workers)
        print(f'{answers} answers of {ACCOUNTS} rows beside {done} transfers')
        assert done > 50
        status, text, _ = s.http('POST', '/v1/database/bank/sql', b"SELECT * FROM accounts WHERE balance = 'x'", token)
        assert status == 400 and text, (status, text)


def no_trace_of_reading():
    """A program that has no reducer for connections: reading, and calling, over HTTP leaves no transactions of coming and going in the log; the tables of connections show who asks, if asked."""
    with Server() as s:
        who = s.identity()
        s.publish('bank', module('transfer'), who['token'])
        assert s.call('bank', 'seed', 10, 100, token=who['token'])[0] == 200
        for _ in range(5): assert len(s.sql('bank', 'SELECT * FROM accounts WHERE id = 3', who['token'])) == 1
        rows = s.sql('bank', 'SELECT * FROM st_client', who['token'])
        assert len(rows) == 1 and who['identity'] in json.dumps(rows), rows
        s.kill()
        [folder] = glob.glob(s.data + '/replicas/*')
        log = s.cli('log', 'dump', folder)
        assert log.count('call_identity_connected') == 1 and log.count('__identity_disconnected__') == 1, log


def closing_meanwhile():
    """A database that is deleted, or a server that stops, while rows are being read: the answer is whole or an error, and nothing hangs."""
    with Server() as s:
        token = s.identity()['token']
        for round_ in range(3):
            s.publish('bank', module('transfer'), token)
            assert s.call('bank', 'seed', 200000, 1, token=token)[0] == 200
            with concurrent.futures.ThreadPoolExecutor(3) as pool:
                asked = [pool.submit(s.http, 'POST', '/v1/database/bank/sql', b'SELECT * FROM accounts', token) for _ in range(3)]
                time.sleep(0.02 * (round_ + 1))
                assert s.http('DELETE', '/v1/database/bank', None, token)[0] == 200
                for a in asked:
                    status, text, _ = a.result()
                    assert status in (400, 404, 500, 503) or (status == 200 and len(json.loads(text)[0]['rows']) == 200000), (status, text[:200])


if __name__ == '__main__': main([one_moment, no_trace_of_reading, closing_meanwhile])
