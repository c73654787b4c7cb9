#!/usr/bin/env python3
"""What instances of views cost the transactions:  bench/views.py [INSTANCES] (10000)
Server CPU a reducer call that updates one row: without instances; with them and none concerned; with one of them run again. A JSON line each; needs build/lightcone and
build/modules/views.wasm (`make binary modules`)."""
import json, os, struct, sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, 'tests', 'e2e'))
os.environ['OUT'] = os.path.join(TOP, 'build')
from lightcone import Client, Server, module

CALLS, AT_ONCE = 20000, 200


def cpu_us(s):
    fields = open(f'/proc/{s.process.pid}/stat').read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1e6 / os.sysconf('SC_CLK_TCK')

def measure(s, what, player):
    c = Client(s, 'v', protocol='v2.bsatn.spacetimedb') # a new one: pings are only answered while it reads
    before = cpu_us(s)
    for k in range(0, CALLS, AT_ONCE):
        for i in range(AT_ONCE): c.call('raise', struct.pack('<II', player, 100 + k + i))
        for i in range(AT_ONCE): assert c.next()[0] == 6
    c.close()
    print(json.dumps({'load': what, 'server_cpu_us_per_tx': round((cpu_us(s) - before) / CALLS, 2)}), flush=True)

with Server() as s:
    token = s.identity()['token']
    s.publish('v', module('views'), token)
    c = Client(s, 'v', protocol='v2.bsatn.spacetimedb')
    for player in (1, 2):
        c.call('add', struct.pack('<II', player, 1))
        assert c.next()[0] == 6
    measure(s, 'no instances', 2)
    n, before = int(sys.argv[1]) if len(sys.argv) > 1 else 10000, cpu_us(s)
    for i in range(n): s.sql('v', 'SELECT * FROM me', s.identity()['token'])
    print(json.dumps({'load': 'identity, first query and run of a view, by HTTP', 'server_cpu_us': round((cpu_us(s) - before) / n, 1)}))
    measure(s, f'{n} instances, none concerned', 2)
    s.sql('v', 'SELECT * FROM hero', token)
    measure(s, f'{n} instances and one more, concerned', 1)
