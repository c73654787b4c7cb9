"""Scheduled reducers and procedures (spec/06 §9.4 and §21 cases 26-30, spec/07 §13) with a module of the official library."""
import os, time
from lightcone import Server, main, module


class Fixture:
    def __init__(self, server):
        self.s = server
        self.token = server.identity()['token']
        server.publish('s', module('server'), self.token)
    def call(self, *args, status=200):
        got, text, _ = self.s.call('s', *args, token=self.token)
        assert got == status, (args, got, text)
    def done(self, label):
        """(task, µs, row was there) of the calls of that label, in order; every one came from the database itself."""
        rows = sorted(self.s.sql('s', f"SELECT * FROM done WHERE label = '{label}'", self.token))
        assert all(r[5] is True and r[6] is False for r in rows), rows
        return [(r[2], r[3][0], r[4]) for r in rows]
    def tasks(self, label, table='task'): return self.s.sql('s', f"SELECT * FROM {table} WHERE label = '{label}'", self.token)
    def wait(self, label, n, seconds=10):
        end = time.time() + seconds
        while len(self.done(label)) < n:
            if time.time() > end: raise Exception(f'{label}: {self.done(label)}, wanted {n}')
            time.sleep(0.02)
        return self.done(label)
    def gone(self, label, table='task', seconds=10):
        end = time.time() + seconds
        while self.tasks(label, table):
            if time.time() > end: raise Exception(f'{label} is still there: {self.tasks(label, table)}')
            time.sleep(0.02)


def one_shots():
    with Server() as s:
        f = Fixture(s)
        before = time.time() * 1e6
        f.call('at', 100_000, 0, 'once')
        [(task, at, there)] = f.wait('once', 1)
        assert there and at >= before + 100_000 and at < before + 3_000_000, (before, at)
        f.gone('once')
        for what, label in ((1, 'fails'), (2, 'panics')): # nothing of the call stays, the row goes all the same, and it is not tried again
            f.call('at', 1_000, what, label)
            f.gone(label)
        f.call('at', -5_000_000, 0, 'past') # due at once
        f.wait('past', 1, 3)
        f.gone('past')
        f.call('at', 300_000, 0, 'cancelled')
        f.call('cancel', 'cancelled')
        f.call('at_and_fail', 10_000, 'rolled back', status=530)
        f.call('at', 150_000, 0, 'put off')
        f.call('put_off', 'put off', 600_000)
        time.sleep(0.45)
        assert not f.done('cancelled') and not f.done('rolled back') and not f.done('fails') and not f.done('panics'), 'called'
        assert not f.done('put off') and len(f.tasks('put off')) == 1, f.done('put off')
        f.wait('put off', 1, 3)
        f.call('at', 1_000, 3, 'moved') # its own row, changed by the call, is another schedule
        (a, b) = f.wait('moved', 2)
        assert a[0] == b[0] and b[1] - a[1] >= 50_000, (a, b)
        f.gone('moved')
        f.call('at', 1_000, 5, 'deletes itself')
        f.wait('deletes itself', 1)
        f.call('at', 1_000, 6, 'another')
        (a, b) = f.wait('another', 2)
        assert a[0] != b[0], (a, b)
        f.gone('another')
        assert len(f.done('once')) == 1 and len(f.done('past')) == 1 and len(f.done('put off')) == 1
        s.check_alive()


def intervals():
    with Server() as s:
        f = Fixture(s)
        before = time.time() * 1e6
        f.call('every', 100_000, 0, 'tick')
        f.call('every', -200_000, 1, 'always fails') # a negative interval is its amount; a failing one goes on
        ticks = [t for _, t, there in f.wait('tick', 8) if there]
        assert len(ticks) >= 8 and ticks[0] >= before + 100_000, (before, ticks)
        late = [(t - ticks[0]) % 100_000 for t in ticks]
        drift = [min(x, 100_000 - x) for x in late]
        assert sum(d < 40_000 for d in drift) >= len(ticks) - 2, ticks # the phase stays
        assert len(f.tasks('tick')) == 1 and len(f.tasks('always fails')) == 1
        f.call('cancel', 'tick')
        n = len(f.done('tick'))
        time.sleep(0.35)
        assert len(f.done('tick')) == n, 'ticks after it was cancelled'
        f.call('every', 10_000, 4, 'slower than its interval') # ticks are missed, never queued up
        f.wait('slower than its interval', 4, 30)
        f.call('cancel', 'slower than its interval')
        n = len(f.done('slower than its interval'))
        time.sleep(0.4)
        assert len(f.done('slower than its interval')) <= n + 1
        f.call('at', 3 * 366 * 86400 * 1_000_000, 0, 'in three years', status=530) # the library panics at errno 13
        assert not f.tasks('in three years')


def procedures():
    with Server() as s:
        f = Fixture(s)
        f.call('send', 10_000, False, 'once')
        f.call('at', 60_000, 0, 'meanwhile') # a sleeping procedure holds nobody up
        [(_, errand_at, there)] = f.wait('once', 1)
        assert not there # the row goes before the call
        [(_, task_at, _)] = f.done('meanwhile')
        assert task_at < errand_at + 150_000, (task_at, errand_at)
        f.gone('once', 'errand')
        f.call('send', 50_000, True, 'again')
        f.wait('again', 3)
        assert len(f.tasks('again', 'errand')) == 1


def restarts():
    """Every row is armed again; what was due meanwhile runs at once; what ran does not run again, also not after a crash."""
    with Server() as s:
        f = Fixture(s)
        f.call('at', 800_000, 0, 'later')
        f.call('every', 150_000, 0, 'tick')
        s.stop()
        time.sleep(1)
        s.start()
        start = time.time() * 1e6
        [(_, at, _)] = f.wait('later', 1)
        assert abs(at - start) < 3_000_000, (at, start)
        f.wait('tick', 2)
        f.call('cancel', 'tick')
        for round_ in range(int(os.environ.get('ROUNDS', '8'))):
            f.call('many', 300, 30_000, f'crash {round_}')
            time.sleep(0.02 + 0.01 * round_)
            s.kill()
            s.start()
            done = f.wait(f'crash {round_}', 300, 20)
            f.gone(f'crash {round_}')
            tasks = [t for t, _, _ in f.done(f'crash {round_}')]
            assert len(tasks) == len(set(tasks)) == 300, f'{len(tasks)} calls of {len(set(tasks))} tasks'


def many():
    with Server() as s:
        f = Fixture(s)
        n = int(os.environ.get('SCHEDULES', '3000'))
        f.call('many', n, 300_000, 'crowd')
        done = f.wait('crowd', n, 60)
        f.gone('crowd')
        first, last = min(t for _, t, _ in done), max(t for _, t, _ in done)
        print(f'{n} schedules due at one moment ran within {(last - first) / 1e6:.3f} s')
        assert len(f.done('crowd')) == n


def new_program():
    """Schedules go on through an update, and a deleted database schedules nothing any more."""
    with Server() as s:
        f = Fixture(s)
        f.call('every', 50_000, 0, 'tick')
        f.wait('tick', 2)
        changed = open(module('server'), 'rb').read() + b'\0\4\3new' # a custom section: another program
        status, text, _ = s.http('PUT', '/v1/database/s', changed, f.token)
        assert status == 200, text
        n = len(f.done('tick'))
        f.wait('tick', n + 3)
        assert len(f.tasks('tick')) == 1
        assert s.http('DELETE', '/v1/database/s', None, f.token)[0] == 200
        time.sleep(0.2)
        s.check_alive()


def changed_before_it_fires():
    """A row that is changed while it waits, with its time left as it was, is called once, as it is then (spec/07 §13, §19 case 54)."""
    with Server() as s:
        f = Fixture(s)
        f.call('at', 500_000, 0, 'first')
        [task] = f.tasks('first')
        f.call('relabel', 'first', 'second')
        f.call('relabel', 'second', 'third')
        [(called, _, there)] = f.wait('third', 1)
        assert there and called == task[0], (called, task)
        f.gone('third')
        time.sleep(0.3)
        assert not f.done('first') and not f.done('second') and len(f.done('third')) == 1


def who_is_internal():
    """The sender is the database itself in scheduled functions; in init it is the owner, in a call the client (spec/07 §3.6, §19 case 10)."""
    with Server() as s:
        f = Fixture(s)
        f.call('who_calls')
        f.call('at', 1_000, 7, 'who')
        f.wait('who', 1)
        assert sorted(s.sql('s', 'SELECT * FROM caller', f.token)) == [['client', False, True], ['init', False, False], ['schedule', True, False]], s.sql('s', 'SELECT * FROM caller', f.token)


if __name__ == '__main__': main([one_shots, intervals, procedures, restarts, many, new_program, changed_before_it_fires, who_is_internal])
