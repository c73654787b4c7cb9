#!/usr/bin/env python3
"""What transactions feel of a large first subscription: bench/initial.py [ROWS] [SECONDS] (1000000, 6). JSON lines of bench/loadgen without and with a client beside that
subscribes to all rows again and again (its processor time counts against the machine, too). Needs build/lightcone, build/loadgen and build/modules/transfer.wasm."""
import json, os, struct, subprocess, sys, threading, time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, 'tests', 'e2e'))
os.environ['OUT'] = os.path.join(TOP, 'build')
from lightcone import Client, Server, bstr, module

n, seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 1000000, int(sys.argv[2]) if len(sys.argv) > 2 else 6
with Server() as s:
    token = s.identity()['token']
    s.publish('bench', module('transfer'), token)
    assert s.call('bench', 'seed', n, 100, token=token)[0] == 200
    def load(name):
        p = subprocess.run([TOP + '/build/loadgen', '--url', s.url, '--db', 'bench', '--pid', str(s.process.pid), '--seconds', str(seconds), '--connections', '16', '--in-flight', '1', '--accounts', str(n)], capture_output=True, text=True, check=True)
        r = json.loads(p.stdout)
        print(json.dumps({'beside': name, **{k: r[k] for k in ('tps', 'p50_ms', 'p99_ms', 'p999_ms')}}), flush=True)
    def subscriber():
        while not stop.is_set():
            c = Client(s, 'bench', token)
            c.send(b'\0' + struct.pack('<III', 0, 1, 1) + bstr('SELECT * FROM accounts'))
            assert c.next()[0] == 1
            c.close()
            done.append(1)
            time.sleep(0.5)
    for _ in range(2):
        load('nothing')
        stop, done = threading.Event(), []
        t = threading.Thread(target=subscriber)
        t.start()
        load('subscriptions')
        stop.set()
        t.join()
        print(json.dumps({'subscriptions': len(done), 'rows_each': n}), flush=True)
    s.kill()
    os._exit(0)
