#!/usr/bin/env python3
"""How little databases notice of each other.

  bench/isolation.py loop [SECONDS]      latency of one database while others' reducers loop for ever, and for comparison while a foreign process burns a processor
  bench/isolation.py databases [N]       memory, threads and file handles of an idle database, N of them (1000); time to publish one and to come back
A JSON line each; needs build/lightcone, build/loadgen and build/modules/transfer.wasm (`make bench`).
"""
import glob, json, os, re, subprocess, sys, threading, time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(TOP, 'tests', 'e2e'), os.path.join(TOP, 'tests', 'modules')]
os.environ['OUT'] = os.path.join(TOP, 'build')
import wat
from lightcone import Server, module


def loads(s, label, seconds):
    for name, options in ('1x1-unconfirmed', ['--connections', '1', '--in-flight', '1', '--confirmed', 'false']), ('16x1-unconfirmed', ['--connections', '16', '--in-flight', '1', '--confirmed', 'false']), ('16x1-confirmed', ['--connections', '16', '--in-flight', '1']):
        out = subprocess.run([os.path.join(TOP, 'build/loadgen'), '--url', s.url, '--db', 'bench', '--seconds', str(seconds), '--warmup', '0.5', '--accounts', '10000', *options], capture_output=True, text=True, check=True).stdout
        r = json.loads(out)
        print(json.dumps({'while': label, 'load': name, 'tps': r['tps'], 'p50_ms': r['p50_ms'], 'p99_ms': r['p99_ms'], 'p999_ms': r['p999_ms']}), flush=True)


def ignore(s, name, token):
    try: s.call(name, 'r', token=token)
    except Exception: pass # the server is killed at the end


def loop(seconds=3):
    with Server() as s:
        token = s.identity()['token']
        s.publish('bench', module('transfer'), token)
        subprocess.run([os.path.join(TOP, 'build/loadgen'), '--url', s.url, '--db', 'bench', '--seed-accounts', '10000'], check=True, capture_output=True)
        endless = wat.small(wat.definition(reducers=[('r', [])]), '(loop $l (br $l)) (i32.const 0)')
        loads(s, 'nothing else', seconds)
        with subprocess.Popen([sys.executable, '-c', 'while True: pass']) as burner:
            loads(s, 'a foreign process burns a processor', seconds)
            burner.kill()
        for n in 1, 4:
            for i in range(n): assert s.http('PUT', f'/v1/database/endless-{i}', endless, token)[0] == 200
            threads = [threading.Thread(target=ignore, args=(s, f'endless-{i}', token), daemon=True) for i in range(n)]
            for t in threads: t.start()
            time.sleep(0.5)
            loads(s, f'{n} database{"s loop" if n > 1 else " loops"}', seconds)
            for i in range(n): s.http('DELETE', f'/v1/database/endless-{i}', None, token)
        s.kill() # what loops has a minute left


def usage(s):
    status = open(f'/proc/{s.process.pid}/status').read()
    return {'rss_kib': s.rss_kib(), 'threads': int(re.search(r'Threads:\s+(\d+)', status).group(1)), 'files': len(glob.glob(f'/proc/{s.process.pid}/fd/*')), 'mappings': sum(1 for _ in open(f'/proc/{s.process.pid}/maps'))}


def databases(n=1000):
    with Server() as s:
        token = s.identity()['token']
        program = wat.small(wat.definition([wat.Table('t', 'id u32, v u64', pk=0, indexes=[(wat.BTREE, 0)])], reducers=[('r', [])]))
        for i in range(3): assert s.http('PUT', f'/v1/database/warm-{i}', program, token)[0] == 200
        before, start = usage(s), time.monotonic()
        for i in range(n): assert s.http('PUT', f'/v1/database/db-{i}', program, token)[0] == 200
        took = time.monotonic() - start
        time.sleep(2)
        def report(what, **more):
            now = usage(s)
            print(json.dumps({'what': what, 'databases': n, **more, 'kib_each': round((now['rss_kib'] - before['rss_kib']) / n, 1), **{k: now[k] for k in ('rss_kib', 'threads', 'files', 'mappings')}}), flush=True)
        report('published', ms_each=round(took / n * 1000, 2))
        start = time.monotonic()
        for i in range(n): assert s.call(f'db-{i}', 'r', token=token)[0] == 200
        report('each called once', ms_each=round((time.monotonic() - start) / n * 1000, 2))
        cpu = lambda: sum(map(int, open(f'/proc/{s.process.pid}/stat').read().rsplit(')', 1)[1].split()[11:13])) / os.sysconf('SC_CLK_TCK')
        at = cpu()
        time.sleep(5)
        report('idle', cpu_percent=round((cpu() - at) / 5 * 100, 2))
        s.stop()
        start = time.monotonic()
        s.start()
        report('started again', s=round(time.monotonic() - start, 2))


if __name__ == '__main__':
    {'loop': loop, 'databases': databases}[sys.argv[1]](*map(int, sys.argv[2:]))
