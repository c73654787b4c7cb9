"""Logs: those of modules in files by day, what is kept of them, reading through several files and following (spec/04 §3.8); the server's own log in files."""
import http.client, json, os, re, threading, time
from lightcone import Client, Server, bstr, main, module

LINE = 'x' * 3000


def folder(s): return os.path.join(s.data, 'replicas', os.listdir(s.data + '/replicas')[0], 'module_logs')
def today(): return time.strftime('%Y-%m-%d', time.gmtime())
def lines(s, query, token):
    status, text, headers = s.http('GET', '/v1/database/chat/logs' + query, None, token)
    assert status == 200 and headers['content-type'] == 'application/x-ndjson', (status, text)
    return [json.loads(l) for l in text.splitlines()]
def numbers(ls): return [int(m.group(1)) for l in ls if (m := re.search(r': (\d+) ', l['message']))]


def say(s, token, numbers_):
    c = Client(s, 'chat', token)
    got = []
    for n in numbers_: c.call('send_message', bstr(f'{n} {LINE}'))
    while len(got) < len(numbers_): got += c.results(*c.next())
    c.close()


def rotation_and_reading():
    with Server(options=['--log-size', '1MiB', '--log-days', '10']) as s:
        token = s.identity()['token']
        s.publish('chat', module('chat'), token)
        say(s, token, range(100))
        dir_ = folder(s)
        names = sorted(os.listdir(dir_))
        assert len(names) >= 2 and f'{today()}.log' in names and all(re.fullmatch(re.escape(today()) + r'(\.\d{4})?\.log', n) for n in names), names
        assert numbers(lines(s, '?num_lines=90', token)) == list(range(100))[-90:]
        for n in 1, 2, 40, 41, 42, 43, 80: assert len(lines(s, f'?num_lines={n}', token)) == n
        whole = numbers(lines(s, '', token)) # the newest file
        assert 0 < len(whole) < 90 and whole == list(range(100))[-len(whole):]
        # more than is kept: the oldest go, what there is has no gap; also while somebody reads all the time
        stop, wrong = threading.Event(), []
        def reads():
            while not stop.is_set():
                got = numbers(lines(s, '?num_lines=100000', token))
                if got != list(range(got[0], got[-1] + 1)): wrong.append(got)
        t = threading.Thread(target=reads)
        t.start()
        say(s, token, range(100, 900))
        stop.set()
        t.join()
        assert not wrong, wrong[0]
        say(s, token, range(900, 1000))
        sizes = [os.path.getsize(os.path.join(dir_, f)) for f in os.listdir(dir_)]
        assert sum(sizes) <= (1 << 20) * 1.3 and len(sizes) < 14, sizes
        got = numbers(lines(s, '?num_lines=100000', token))
        assert len(got) > 200 and got == list(range(got[0], 1000))
        # days: old ones go at the start, others stay, and so does what is no log
        s.stop()
        day = lambda n: time.strftime('%Y-%m-%d', time.gmtime(time.time() - n * 86400))
        for name in (f'{day(12)}.log', f'{day(11)}.0003.log', f'{day(2)}.log', 'notes.log'):
            with open(os.path.join(dir_, name), 'w') as f: f.write('{"level":"Info","ts":1,"message":"old"}\n')
        s.options = ['--log-days', '10']
        s.start()
        left = os.listdir(dir_)
        assert f'{day(2)}.log' in left and 'notes.log' in left and f'{day(12)}.log' not in left and f'{day(11)}.0003.log' not in left, left
        assert lines(s, '?num_lines=100000', token)[0]['message'] == 'old'


def following():
    """Old lines, then new ones as they come, from several followers; one that goes is no trouble."""
    with Server() as s:
        token = s.identity()['token']
        s.publish('chat', module('chat'), token)
        say(s, token, range(5))
        def follow(n):
            c = http.client.HTTPConnection('127.0.0.1', s.port, timeout=20)
            c.request('GET', f'/v1/database/chat/logs?follow=true{n}', headers={'Authorization': 'Bearer ' + token})
            r = c.getresponse()
            assert r.status == 200
            return c, r
        followers = [follow(n) for n in ('&num_lines=2', '', '&num_lines=0', '&num_lines=3')]
        gone = followers.pop()
        gone[0].close()
        say(s, token, range(5, 8))
        for (c, r), want in zip(followers, ([3, 4, 5, 6, 7], [5, 6, 7], [5, 6, 7])):
            got = []
            while len(got) < len(want): got += numbers([json.loads(r.readline())])
            assert got == want, (got, want)
            c.close()


def no_files():
    """SPACETIMEDB_DISABLE_DISK_LOGGING: lines are there, files are not."""
    with Server(env={'SPACETIMEDB_DISABLE_DISK_LOGGING': '1'}) as s:
        token = s.identity()['token']
        s.publish('chat', module('chat'), token)
        say(s, token, range(3))
        assert numbers(lines(s, '?num_lines=2', token)) == [1, 2] and not os.path.exists(folder(s))
        s.stop()
        s.start()
        assert numbers(lines(s, '', token)) == [] and not os.path.exists(folder(s))


def the_servers_log():
    with Server() as s:
        dir_ = os.path.join(s.temp, 'a', 'b')
        default = os.path.join(s.data, 'logs', f'lightcone.{today()}.log')
        assert ' INFO starting\n' in open(default).read()
        s.stop()
        said = open(default).read()
        s.options = ['--log-dir', '']
        s.start()
        s.stop()
        assert open(default).read() == said
        s.options = ['--log-dir', dir_]
        s.start()
        s.publish('chat', module('chat'), s.identity()['token'])
        s.stop()
        [name] = os.listdir(dir_)
        text = open(os.path.join(dir_, name)).read()
        assert name == f'lightcone.{today()}.log' and ' INFO starting\n' in text and ' INFO stopping: ' in text, text
        assert all(re.match(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (ERROR|WARN|INFO|DEBUG) ', l) for l in text.splitlines())
        assert text.splitlines()[-1] in s.server_log()
        s.start()


if __name__ == '__main__': main([rotation_and_reading, following, no_files, the_servers_log])
