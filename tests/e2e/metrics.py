"""GET /v1/metrics (spec/04 §3.15): every line by the rules of the text format, every metric of docs/reference, exact counts after known calls, a database that is busy, one that
cannot be started."""
import http.client, json, os, re, sys, threading, time
from lightcone import TOP, Client, Server, bstr, main, module
from websocket import V3, opened, subscribe
sys.path.insert(0, os.path.join(TOP, 'tests', 'modules'))
import wat
from wat import Script, small
from abi import FATAL, Player, accepted


LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"'


class Page:
    """A page, parsed strictly: families in one piece, HELP then TYPE before the samples, no sample twice, histograms whole and ascending."""
    def __init__(self, server):
        status, text, headers = server.http('GET', '/v1/metrics')
        assert status == 200 and headers['content-type'] == 'text/plain; version=0.0.4; charset=utf-8', (status, headers)
        assert text.endswith('\n') and '\r' not in text
        self.types, self.help, self.samples, family = {}, {}, {}, None
        for line in text[:-1].split('\n'):
            if m := re.fullmatch(r'# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) (\S.*)', line):
                family = m.group(1)
                assert family not in self.help, f'{family} comes twice'
                self.help[family] = m.group(2)
            elif m := re.fullmatch(r'# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge|histogram|summary)', line):
                assert m.group(1) == family and family not in self.types, line
                self.types[family] = m.group(2)
            else:
                m = re.fullmatch(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(' + LABEL + '(?:,' + LABEL + r')*)\})? ([0-9]+(?:\.[0-9]+)?)', line)
                assert m, line
                name, labels, value = m.group(1), m.group(2) or '', m.group(m.lastindex)
                pairs = re.findall(LABEL, labels)
                assert len({k for k, _ in pairs}) == len(pairs), line
                base = re.sub('_(bucket|sum|count)$', '', name) if self.types[family] in ("histogram", "summary") else name
                assert base == family and family in self.types, f'{line} is not of {family}'
                key = name, tuple(sorted(pairs))
                assert key not in self.samples, f'twice: {line}'
                self.samples[key] = float(value)
        for family, type_ in self.types.items():
            if type_ == 'histogram': self.check_histogram(family)

    def check_histogram(self, family):
        series = {}
        for (name, pairs), v in self.samples.items():
            if name == family + '_bucket': series.setdefault(tuple(p for p in pairs if p[0] != 'le'), []).append((float(dict(pairs)['le']), v))
        for rest, buckets in series.items():
            assert buckets == sorted(buckets) and [v for _, v in buckets] == sorted(v for _, v in buckets) and buckets[-1][0] == float('inf'), (rest, buckets)
            assert self.samples[family + '_count', rest] == buckets[-1][1] and (family + '_sum', rest) in self.samples
        assert {k for k in self.samples if k[0] == family + '_count'} == {(family + '_count', rest) for rest in series}

    def get(self, name, **labels): return self.samples[name, tuple(sorted(labels.items()))]
    def has(self, name, **labels): return (name, tuple(sorted(labels.items()))) in self.samples
    def outcomes(self, db, reducer): return tuple(int(self.get('lightcone_reducer_calls_total', db=db, reducer=reducer, outcome=o)) for o in ('committed', 'failed', 'fatal', 'budget'))


def table_rows(p, db): return {dict(l)['table_name']: int(v) for (n, l), v in p.samples.items() if n == 'spacetime_num_table_rows' and dict(l)['db'] == db}
def net_rows(p, db): return p.get('spacetime_num_rows_inserted_total', db=db) - p.get('spacetime_num_rows_deleted_total', db=db)


def exact_counts():
    with Server() as s:
        token = s.identity()['token']
        db = s.publish('chat', module('chat'), token)
        p = first = Page(s)
        documented = dict(re.findall(r'^\| `(\w+)` \| (\w+) \|', open(os.path.join(TOP, 'docs', 'reference', 'metrics.md')).read(), re.M))
        assert p.types == documented
        committed = p.get('lightcone_transactions_committed_total', db=db)
        assert p.outcomes(db, 'send_message') == (0, 0, 0, 0) and p.get('lightcone_databases') == 1 and p.get('lightcone_database_up', db=db) == 1
        for text in 'abc': assert s.call('chat', 'send_message', text, token=token)[0] == 200
        for _ in range(2): assert s.call('chat', 'send_message', '', token=token)[0] == 530
        assert s.call('chat', 'send_message', 7, token=token)[0] == 400 and s.call('chat', 'nobody', token=token)[0] == 404
        assert len(s.sql('chat', 'SELECT * FROM message', token)) == 3
        p = Page(s)
        assert p.outcomes(db, 'send_message') == (3, 2, 0, 0)
        assert p.outcomes(db, 'arrived') == p.outcomes(db, 'left') == (8, 0, 0, 0), p.outcomes(db, 'arrived')
        assert p.get('lightcone_transactions_committed_total', db=db) == committed + 8 + 3 + 8
        assert p.get('lightcone_transactions_rolled_back_total', db=db) == 2
        assert p.get('lightcone_sql_statements_total', db=db) == 1
        assert p.get('spacetime_reducer_plus_query_duration_sec_count', db=db, reducer='send_message') == 5
        assert 0 < p.get('spacetime_reducer_plus_query_duration_sec_sum', db=db, reducer='send_message') < 5
        assert p.get('reducer_wasmtime_fuel_used', db=db, reducer='send_message') > 0
        assert p.get('spacetime_num_txns_total', db=db) == p.get('lightcone_transactions_committed_total', db=db) + 2
        assert p.get('spacetime_txn_elapsed_time_sec_count', db=db) == 5 + 8 + 8 and 0 < p.get('spacetime_txn_elapsed_time_sec_sum', db=db) < 20
        assert p.get('spacetime_reducer_wait_time_sec_count', db=db) >= 5 and 0 <= p.get('spacetime_reducer_wait_time_sec_sum', db=db) < 20
        said = p.get('spacetime_http_response_size_bytes_total', db=db)
        answer = s.http('GET', '/v1/database/chat/schema?version=9')
        assert len(answer[1]) < Page(s).get('spacetime_http_response_size_bytes_total', db=db) - said < len(answer[1]) + 600
        rows = table_rows(p, db)
        assert rows['message'] == 3 and rows['user'] == 1 and rows['st_client'] == 0 and rows['st_table'] > 20, rows
        assert net_rows(p, db) - net_rows(first, db) == sum(table_rows(p, db).values()) - sum(table_rows(first, db).values()) == 4 # three messages, a user
        # WebSocket: clients, subscriptions, requests; the lag is gone once an answer that waits for the log is here
        assert p.get('spacetime_worker_connected_clients', db=db) == 0
        c, other = opened(s, 'chat', V3, token=token), opened(s, 'chat', V3, token=token)
        for i, q in (1, 'SELECT * FROM message'), (2, 'SELECT * FROM user'), (3, 'SELECT * FROM message'):
            c.send(subscribe(i, i, q))
            c.next()
        other.send(subscribe(1, 1, 'SELECT * FROM message'))
        other.next()
        p = Page(s)
        assert [p.get(n, db=db) for n in ('spacetime_worker_connected_clients', 'spacetime_subscription_connections', 'spacetime_subscription_sets', 'spacetime_active_queries', 'spacetime_websocket_requests_total')] == [2, 2, 4, 2, 4]
        assert p.get('lightcone_log_lag_transactions', db=db) == 0 and p.get('lightcone_durable_transaction_offset', db=db) == p.get('lightcone_next_transaction_offset', db=db)
        assert p.get('spacetime_num_bytes_sent_to_clients_total', db=db) > 200 and p.get('lightcone_connections') >= 2
        c.close()
        other.close()
        end = time.time() + 10
        while (p := Page(s)).get('spacetime_worker_connected_clients', db=db) or p.get('spacetime_subscription_sets', db=db):
            assert time.time() < end
            time.sleep(0.02)
        assert p.get('spacetime_active_queries', db=db) == p.get('spacetime_subscription_connections', db=db) == p.get('lightcone_inbox_operations', db=db) == 0
        # the log's bytes are its files' (no segment was there before)
        clog = os.path.join(s.data, 'replicas', os.listdir(s.data + '/replicas')[0], 'clog')
        assert p.get('spacetime_message_log_size_bytes', db=db) == sum(os.path.getsize(os.path.join(clog, f)) for f in os.listdir(clog))
        assert 0 < p.get('lightcone_log_written_bytes_total', db=db) < p.get('spacetime_message_log_size_bytes', db=db) and p.get('lightcone_log_syncs_total', db=db) > 0
        assert p.get('process_cpu_seconds_total') > 0 and p.get('process_resident_memory_bytes') > 1 << 20 and abs(p.get('process_start_time_seconds') - time.time()) < 120
        assert p.get('lightcone_data_memory_bytes', db=db) >= p.get('lightcone_data_live_bytes', db=db) > 0 and p.get('spacetime_worker_wasm_memory_bytes', db=db) >= 65536
        # an exchange of the program goes on counting, a restart begins again
        s.publish('chat', module('chat') , token)
        assert Page(s).outcomes(db, 'send_message') == (3, 2, 0, 0)
        s.stop()
        s.start()
        p = Page(s)
        assert p.outcomes(db, 'send_message') == (0, 0, 0, 0)
        assert p.get('lightcone_durable_transaction_offset', db=db) == p.get('lightcone_next_transaction_offset', db=db) > 20


def snapshots_and_memory():
    with Server(options=['--snapshot-interval-transactions', '10']) as s:
        token = s.identity()['token']
        db = s.publish('chat', module('chat'), token)
        for i in range(10): s.call('chat', 'send_message', 'x', token=token)
        end = time.time() + 20
        while not (p := Page(s)).has('lightcone_snapshot_transaction_offset', db=db) or p.get('lightcone_snapshot_transaction_offset', db=db) < 9:
            assert time.time() < end
            time.sleep(0.05)
        assert p.get('lightcone_snapshots_total', db=db) >= 1 and p.get('lightcone_snapshot_errors_total', db=db) == 0
        assert 10 <= p.get('lightcone_snapshot_transaction_offset', db=db) + 1 <= p.get('lightcone_next_transaction_offset', db=db)
        assert p.get('lightcone_snapshot_bytes', db=db) > 100 and p.get('lightcone_snapshot_age_seconds', db=db) < 30 and p.get('lightcone_snapshot_duration_seconds', db=db) < 30
    with Server(options=['--in-memory']) as s:
        db = s.publish('chat', module('chat'), s.identity()['token'])
        p = Page(s)
        assert p.get('lightcone_database_up', db=db) == 1 and not any(p.has(n, db=db) for n in ('lightcone_durable_transaction_offset', 'lightcone_log_lag_transactions', 'spacetime_message_log_size_bytes'))


def busy_and_broken():
    """A reducer that loops: the page is there all the same, at once, and tells; then what it ended as. A trap is counted as such."""
    with Server(options=['--time-budget-ms', '2000']) as s:
        token = s.identity()['token']
        player = Player(s, token)
        assert player.post('run', Script().trap().ended(0).hex()) == FATAL
        identity = s.http('GET', f'/v1/database/{player.name}/identity')[1]
        assert Page(s).outcomes(identity, 'run') == (0, 0, 1, 0)
        accepted(s, token, 'loop', small(wat.definition([], reducers=[('r', [])]), '(loop $f (br $f)) (i32.const 0)'))
        answers = []
        t = threading.Thread(target=lambda: answers.append(s.call('loop', 'r', token=token)))
        t.start()
        time.sleep(0.5)
        start = time.time()
        p = Page(s)
        took = time.time() - start
        t.join()
        loop = s.http('GET', '/v1/database/loop/identity')[1]
        assert p.get('lightcone_database_busy', db=loop) == 1 and p.get('lightcone_database_busy', db=identity) == 0 and took < 1.5, took
        assert p.outcomes(identity, 'run') == (0, 0, 1, 0) and answers[0][0] == 402, answers
        p = Page(s)
        assert p.outcomes(loop, 'r') == (0, 0, 0, 1) and p.get('lightcone_database_busy', db=loop) == 0
        assert p.get('spacetime_reducer_plus_query_duration_sec_sum', db=loop, reducer='r') > 1.5 and p.get('lightcone_slow_runs_total') >= 1
        s.stop()
        replicas = os.path.join(s.data, 'replicas')
        for r in os.listdir(replicas): # neither log is one any more
            clog = os.path.join(replicas, r, 'clog')
            with open(os.path.join(clog, sorted(f for f in os.listdir(clog) if f.endswith('.stdb.log'))[0]), 'r+b') as f: f.write(b'\xff' * 10)
        s.start()
        p = Page(s)
        assert p.get('lightcone_database_up', db=loop) == p.get('lightcone_database_up', db=identity) == 0 and p.get('lightcone_databases') == 2
        assert not p.has('lightcone_next_transaction_offset', db=loop)


def many_pages():
    """Scraped from several sides under load: nobody waits for long, and no more are made at once than there should be."""
    with Server() as s:
        token = s.identity()['token']
        db = s.publish('chat', module('chat'), token)
        seen = []
        def scrape():
            for _ in range(10):
                status = s.http('GET', '/v1/metrics')[0]
                seen.append(status)
        threads = [threading.Thread(target=scrape) for _ in range(12)]
        for t in threads: t.start()
        c = Client(s, 'chat', token)
        want, got = 200, []
        for i in range(want): c.call('send_message', bstr('x'))
        while len(got) < want: got += c.results(*c.next())
        for t in threads: t.join()
        assert set(seen) <= {200, 503} and seen.count(200) >= 10, seen
        assert Page(s).outcomes(db, 'send_message') == (want, 0, 0, 0)
        c.close()


if __name__ == '__main__': main([exact_counts, snapshots_and_memory, busy_and_broken, many_pages])
