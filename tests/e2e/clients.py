"""The official clients against modules built with both versions of the official Rust library, and with the TypeScript one: npm `spacetimedb`, and crate
`spacetimedb-sdk` 2.14.0 and 2.10.1."""
import os, subprocess
from lightcone import TOP, Server, main, module

CLIENTS = os.path.join(TOP, 'build', 'clients')


def drive(command):
    with Server() as s:
        token = s.identity()['token']
        for program in ('e2e-2.14.wasm', 'e2e-2.10.wasm', 'e2e-ts.js'):
            name = program.rsplit('.', 1)[0].replace('.', '-')
            s.publish(name, module(program), token)
            p = subprocess.run(command + [s.url, name], capture_output=True, text=True, timeout=300)
            if p.returncode or 'passed' not in p.stdout.splitlines(): raise Exception(f'{command} on {name}: exit {p.returncode}\n{p.stdout[-3000:]}\n{p.stderr[-3000:]}')
            s.check_alive()


def npm_2_10_1(): drive(['node', os.path.join(CLIENTS, 'npm', 'client.mjs')])
def rust_2_14(): drive([os.path.join(CLIENTS, 'rust-2.14')])
def rust_2_10(): drive([os.path.join(CLIENTS, 'rust-2.10')])
def rust_more_2_14(): drive([os.path.join(CLIENTS, 'rust-more-2.14')])
def rust_more_2_10(): drive([os.path.join(CLIENTS, 'rust-more-2.10')])


if __name__ == '__main__': main([npm_2_10_1, rust_2_14, rust_2_10, rust_more_2_14, rust_more_2_10])
