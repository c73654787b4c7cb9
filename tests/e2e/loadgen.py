"""The load generator of bench/: its counts are exact, its line is JSON with every figure, and what goes wrong ends it with 1."""
import json, os, struct, subprocess, time
from lightcone import OUT, Server, main, module

LOADGEN = os.path.join(OUT, 'loadgen')
FIGURES = 'transactions tps server_cpu_us_per_tx user_errors internal_errors errors deltas deltas_per_s server_cpu_us_per_delta delta_rows p50_ms p99_ms p999_ms rss_mb'.split()


def loadgen(s, *options, ok=True):
    p = subprocess.run([LOADGEN, '--url', s.url, '--db', 'bench', *options], capture_output=True, text=True, timeout=120)
    if ok: assert p.returncode == 0, (options, p.returncode, p.stdout, p.stderr)
    else: return p
    return json.loads(p.stdout)


def counts_are_exact():
    with Server() as s:
        token = s.identity()['token']
        s.publish('bench', module('transfer'), token)
        assert loadgen(s, '--seed-accounts', '100')
        balance = lambda account: s.sql('bench', f'SELECT balance FROM accounts WHERE id = {account}', token)[0][0]
        total = lambda: sum(row[0] for row in s.sql('bench', 'SELECT balance FROM accounts', token))
        before, everything = balance(1), total()
        moves = 'transfer:' + struct.pack('<IIq', 1, 2, 1).hex()
        sent = 0
        for protocol in 'v2', 'v3':
            r = loadgen(s, '--protocol', protocol, '--connections', '3', '--in-flight', '4', '--seconds', '0.5', '--warmup', '0', '--workload', moves, '--pid', str(s.process.pid))
            missing = [f for f in FIGURES if f not in r]
            assert not missing, (missing, r)
            assert r['transactions'] > 0 and r['errors'] == 0 and r['server_cpu_us_per_tx'] > 0 and r['rss_mb'] > 1 and 0 < r['p50_ms'] <= r['p99_ms'] <= r['p999_ms'], r
            time.sleep(0.3) # the calls in flight at the end
            moved = before - balance(1) - sent
            assert r['transactions'] <= moved <= r['transactions'] + 12, (moved, r)
            sent += moved
        # failing calls are counted as such
        r = loadgen(s, '--seconds', '0.3', '--warmup', '0', '--connections', '1', '--in-flight', '2', '--workload', 'transfer:' + struct.pack('<IIq', 1, 1, 1).hex(), ok=False)
        assert r.returncode == 1 and json.loads(r.stdout)['user_errors'] > 0 and json.loads(r.stdout)['transactions'] == 0, r
        # zipf, unconfirmed, subscribers: every commit reaches every subscriber of the table
        r = loadgen(s, '--accounts', '100', '--dist', 'zipf:1.5', '--confirmed', 'false', '--connections', '1', '--in-flight', '4', '--seconds', '0.5', '--warmup', '0.1', '--subscribers', '5')
        assert r['deltas'] > 0 and r['delta_rows'] >= 2 * r['deltas'] and 0.8 < r['deltas'] / (5 * r['transactions']) < 1.25, r # deltas and answers cross the ends of the measured stretch at different times
        r = loadgen(s, '--accounts', '100', '--connections', '1', '--in-flight', '4', '--seconds', '0.5', '--warmup', '0.1', '--subscribers', '7', '--subscribe-query', 'SELECT * FROM accounts WHERE id = {k}')
        assert r['deltas'] > 0, r
        assert total() == everything, 'transfers keep the sum'


def trouble_is_told():
    with Server() as s:
        s.publish('bench', module('transfer'), s.identity()['token'])
        for options, text in (['--frobnicate', '1'], 'unknown option'), (['--seconds'], 'wants a value'), (['--dist', 'normal'], '--dist wants'), (['--connections', '0'], 'must be positive'), (['--protocol', 'v9'], '--protocol'):
            p = loadgen(s, *options, ok=False)
            assert p.returncode == 1 and text in p.stderr, (options, p)
        p = loadgen(s, '--one-call', 'nope', '', ok=False)
        assert p.returncode == 1, p
        load = subprocess.Popen([LOADGEN, '--url', s.url, '--db', 'bench', '--seconds', '30', '--connections', '2', '--in-flight', '2', '--accounts', '10'], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(1)
        s.kill()
        load.communicate(timeout=20)
        assert load.returncode == 1, 'a broken connection ends it'
        s.start()


if __name__ == '__main__': main([counts_are_exact, trouble_is_told])
