#!/usr/bin/env python3
"""What an idle WebSocket connection costs the server: bench/idle.py [CONNECTIONS] [QUERY] (10000). A JSON line: resident memory of the process without and with them, and a connection.

Each has received its initial message and asked for nothing, or for the rows of QUERY, {k} in it being another number for each. Needs build/lightcone and build/modules/transfer.wasm (`make bench`), and as many file handles as connections.
"""
import json, os, resource, struct, sys, time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, 'tests', 'e2e'))
os.environ['OUT'] = os.path.join(TOP, 'build')
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
from lightcone import Server, bstr, module
from websocket import V3, opened

n = int(sys.argv[1]) if len(sys.argv) > 1 else 10000
query = sys.argv[2] if len(sys.argv) > 2 else None
with Server() as s:
    token = s.identity()['token']
    s.publish('bench', module('transfer'), token)
    if query: s.call('bench', 'seed', 100000, 100, token=token)
    warm = [opened(s, 'bench', V3, query='compression=None', token=token) for _ in range(200)] # what is made once is not counted
    time.sleep(0.5)
    before = s.rss_kib()
    start = time.time()
    clients = [opened(s, 'bench', V3, query='compression=None') for _ in range(n)] # each an identity and a token of its own
    took = time.time() - start
    for k, c in enumerate(clients):
        if not query: break
        c.send(b'\0' + struct.pack('<III', 0, 1, 1) + bstr(query.replace('{k}', str(k))))
        assert c.next()[0] == 1
    time.sleep(1)
    after = s.rss_kib()
    print(json.dumps({'connections': n, 'query': query, 'rss_mib_before': round(before / 1024, 1), 'rss_mib_after': round(after / 1024, 1), 'kib_each': round((after - before) / n, 2), 'connects_per_s': round(n / took)}), flush=True)
    s.kill()
    os._exit(0)
