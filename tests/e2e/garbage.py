"""Bad input from outside: the documented error, the server up, its memory stable."""
import os, random, socket, struct, time
from lightcone import Client, Server, bstr, main, module

RNG = random.Random(11)


def random_bytes_to_the_port():
    with Server() as s:
        base = None
        for i in range(1500):
            k = socket.create_connection(('127.0.0.1', s.port))
            data = RNG.randbytes(RNG.randrange(1, 4000))
            if i % 3 == 0: data = b'POST /v1/database HTTP/1.1\r\n' + data
            if i % 7 == 0: data = b'GET /v1/ping HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n'
            try:
                k.sendall(data)
                k.shutdown(socket.SHUT_WR)
                k.settimeout(5)
                while k.recv(65536): pass
            except OSError: pass
            k.close()
            if i == 500: base = s.rss_kib()
        s.check_alive()
        grown = s.rss_kib() - base
        if grown > 20000: raise Exception(f'resident memory grew by {grown} KiB')


def garbage_in_websocket_frames():
    with Server() as s:
        token = s.identity()['token']
        s.publish('g', module('e2e-2.14'), token)
        watcher = Client(s, 'g', token)
        base = None
        for i in range(600):
            c = Client(s, 'g', protocol=('v3' if i % 2 else 'v2') + '.bsatn.spacetimedb')
            try:
                if i % 4 == 0: c.s.sendall(RNG.randbytes(RNG.randrange(1, 2000)))
                else: c.send(bytes([RNG.randrange(0, 6)]) + RNG.randbytes(RNG.randrange(0, 300)))
                c.s.settimeout(0.05)
                while True: c.next()
            except (OSError, ConnectionError): pass
            c.close()
            if i == 200: base = s.rss_kib()
        watcher.call('increment', struct.pack('<I', 0))
        assert Client.results(*watcher.next())[0][1] is None
        grown = s.rss_kib() - base
        if grown > 40000: raise Exception(f'resident memory grew by {grown} KiB')
        for protocol, payload, reason in (
                ('v2', b'\x09', 'unknown tag 0x9 for sum type ClientMessage'), ('v2', b'', 'data too short for u8: Expected 1, given 0'),
                ('v3', b'', 'v3 websocket binary payload must contain at least one v2 client message'),
                ('v2', b'\x03' + struct.pack('<IB', 1, 1) + bstr('increment') + bstr(b''), 'invalid call reducer flag 1'),
                ('v2', b'\x03' + struct.pack('<IB', 1, 0) + bstr(b'\xff\xfe') + bstr(b''), 'invalid utf8'),
                ('v3', b'\x03' + struct.pack('<IB', 1, 0) + struct.pack('<I', 0xffffffff), 'data too short for [u8]: Expected 4294967295, given 0')):
            c = Client(s, 'g', protocol=protocol + '.bsatn.spacetimedb')
            c.send(payload)
            try: raise Exception(f'no close for {payload!r}: {c.next()}')
            except ConnectionError as e: assert str(e) == f'closed by the server: 1011 {reason}', (str(e), reason)
            c.close()
        c = Client(s, 'g', protocol='v2.bsatn.spacetimedb')
        c.raw(1, b'hello')
        try: raise Exception(f'no close for text: {c.next()}')
        except ConnectionError as e: assert str(e) == 'closed by the server: 1011 v2 websocket does not support text messages', e
        watcher.call('increment', struct.pack('<I', 99))
        assert Client.results(*watcher.next())[0][1] == 'no counter 99'
        watcher.call('add_person', bstr('x'))
        assert Client.results(*watcher.next())[0][1] == 'invalid arguments for reducer add_person: data too short for u8: Expected 1, given 0'
        watcher.call('init')
        assert Client.results(*watcher.next())[0][1] == "can't directly call special Init lifecycle reducer"


def bad_programs():
    with Server() as s:
        token = s.identity()['token']
        whole = open(module('e2e-2.14'), 'rb').read()
        wrong = bytes.fromhex('0061736d01000000' '0104016000017f' '03020100' '0716' '01' '12' + b'__describe_module'.hex() + '00' '0000')
        for what, program in (('empty', b''), ('text', b'hello'), ('head only', whole[:8]), ('truncated', whole[:len(whole) // 2]), ('last byte missing', whole[:-1]), ('random', RNG.randbytes(5000)),
                              ('ELF', open('/bin/true', 'rb').read()), ('wrong signature', wrong)):
            status, text, _ = s.http('PUT', f'/v1/database/{what.replace(" ", "-").lower()}', program, token)
            if status != 500 or len(text) < 10: raise Exception(f'{what}: {status} {text}')
            status, text, _ = s.http('GET', f'/v1/database/{what.replace(" ", "-").lower()}')
            if (status, text) != (404, 'No such database.'): raise Exception(f'{what} left something: {status} {text}')
            s.check_alive()
        s.publish('truncated', module('e2e-2.14'), token) # the name can be used again
        base = s.rss_kib()
        for _ in range(20): s.http('PUT', '/v1/database/random', whole[:RNG.randrange(len(whole))], token)
        if s.rss_kib() - base > 150000: raise Exception(f'resident memory grew by {s.rss_kib() - base} KiB')
        status, text, _ = s.http('PUT', '/v1/database/truncated', b'not a module', token) # a bad update leaves the old one running
        assert status == 500, (status, text)
        assert s.call('truncated', 'increment', 0, token=token)[0] == 200


def endless_loops():
    """The time budget ends a call with the documented status and text; others go on meanwhile, and nothing of the call remains."""
    with Server(options=['--time-budget-ms', '1500']) as s:
        token = s.identity()['token']
        s.publish('loops', module('e2e-2.14'), token)
        s.publish('other', module('e2e-2.10'), token)
        c = Client(s, 'loops', token)
        c.call('spin')
        start, slowest = time.time(), 0
        while time.time() - start < 1.2:
            before = time.time()
            assert s.call('other', 'increment', 0, token=token)[0] == 200
            slowest = max(slowest, time.time() - before)
        if slowest > 0.5: raise Exception(f'while one database looped another took {slowest:.2f} s to answer')
        assert Client.results(*c.next())[0][1] == 'reducer ran out of energy'
        status, text, headers = s.call('loops', 'spin', token=token)
        assert (status, text) == (402, 'Module energy budget exhausted.'), (status, text)
        c.call('increment', struct.pack('<I', 0))
        assert Client.results(*c.next())[0][1] is None
        assert s.sql('loops', 'SELECT value FROM counter', token) == [[1]]


if __name__ == '__main__': main([random_bytes_to_the_port, garbage_in_websocket_frames, bad_programs, endless_loops])
