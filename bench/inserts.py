#!/usr/bin/env python3
"""Rows inserted by one reducer, end to end: `fill` of modules/transfer, called over HTTP and confirmed, on a fresh database each time; CPU of the whole
server process (all threads; also until half a second after the answer). One JSON line a run:  bench/inserts.py [ROWS] [RUNS]"""
import json, os, sys, time
os.environ.setdefault('OUT', os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'build'))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'tests', 'e2e'))
from lightcone import Server, module

rows, runs = (int(v) for v in (sys.argv[1:] + ['2000000', '3'][len(sys.argv) - 1:])[:2])


def cpu_ns(s):
    """Of the whole process, the threads that ended included (a long call's does): the clock of clock_getcpuclockid(3)."""
    return time.clock_gettime_ns(~s.process.pid << 3 | 2)


with open(module('transfer'), 'rb') as f: program = f.read()
with Server() as s:
    token = s.identity()['token']
    for i in range(runs):
        name = f'inserts-{i}'
        status, answer = s.http('PUT', f'/v1/database/{name}', program, token)[:2]
        if status != 200: sys.exit(f'publishing: {status} {answer}')
        time.sleep(0.5)
        cpu, start, rss = cpu_ns(s), time.monotonic(), s.rss_kib()
        status, answer = s.call(name, 'fill', rows, 1000, token=token)[:2]
        took, used = time.monotonic() - start, cpu_ns(s) - cpu
        if status != 200: sys.exit(f'fill: {status} {answer}')
        time.sleep(0.5)
        later = cpu_ns(s) - cpu
        if s.sql(name, 'SELECT COUNT(*) AS n FROM accounts', token) != [[rows]]: sys.exit('not all rows are there')
        print(json.dumps({'rows': rows, 'wall_ns_row': round(took * 1e9 / rows), 'server_cpu_ns_row': round(used / rows), 'server_cpu_ns_row_half_a_second_later': round(later / rows), 'rss_bytes_row': round((s.rss_kib() - rss) * 1024 / rows)}))
