"""The control database when it fails or is left half-way: what it says of a database is what was answered, also after a restart, and no acknowledged transaction goes with it."""
import errno, glob, os, sqlite3, threading, time
from lightcone import Disk, Server, main, module


def rows(s, token, name='d'): return sorted(s.sql(name, 'SELECT seq FROM log_entry', token))
def append(s, token, seq): assert s.call('d', 'append_log', seq, 'x', token=token)[0] == 200
def restarted(s, end):
    end()
    s.start()


def an_interrupted_publish_in_memory():
    """A server that keeps databases in memory ends after it has noted a program and before the database is there. What is published later under that identity, in files, stays."""
    with Server(options=['--in-memory']) as s:
        token = s.identity()['token']
        s.publish('d', module('e2e-2.14'), token)
        s.kill()
        db = sqlite3.connect(s.data + '/control-db/control.sqlite3')
        db.execute('DELETE FROM database') # as it would be had the server ended between the two
        db.commit()
        db.close()
        s.options = []
        s.start()
        s.publish('d', module('e2e-2.14'), token)
        append(s, token, 7)
        for end in s.kill, s.stop:
            restarted(s, end)
            assert rows(s, token) == [[7]], rows(s, token)


def begin_reset(s, disk, token, mode):
    """A reset whose change of the control database fails as `mode` says; its answer."""
    known, answer = set(glob.glob(s.data + '/replicas/*')), []
    wasm = open(module('e2e-2.14'), 'rb').read()
    disk.does('/clog', 'delay', 1500)
    thread = threading.Thread(target=lambda: answer.append(s.http('PUT', '/v1/database/d?clear=true', wasm, token)))
    thread.start()
    until = time.time() + 60
    while not any(glob.glob(r + '/clog/*') for r in set(glob.glob(s.data + '/replicas/*')) - known) and time.time() < until: time.sleep(0.005)
    disk.does('/control-db', mode, errno.EIO) # the new replica is being made; next is the control database
    thread.join()
    return answer[0][:2]
def begin_deletion(s, disk, token, mode):
    disk.does('/control-db', mode, errno.EIO)
    return s.http('DELETE', '/v1/database/d', None, token)[:2]


def refused_changes_stay_refused():
    """The sync of a reset, or of a deletion, fails. It is answered with an error, the database goes on, and neither a kill nor a stop makes the change happen after all."""
    with Disk() as disk, Server(env=disk.env) as s:
        token = s.identity()['token']
        s.publish('d', module('e2e-2.14'), token)
        seq = 0
        for end in s.kill, s.stop:
            for change in begin_reset, begin_deletion:
                append(s, token, seq := seq + 1)
                status, text = change(s, disk, token, 'once')
                assert status == 500 and 'control database' in text, (status, text)
                append(s, token, seq := seq + 1)
                disk.is_well()
                restarted(s, end)
                assert rows(s, token) == [[i] for i in range(1, seq + 1)], (end.__name__, change.__name__, rows(s, token))
        assert s.http('PUT', '/v1/database/d?clear=true', open(module('e2e-2.14'), 'rb').read(), token)[0] == 200 and rows(s, token) == []
        restarted(s, s.kill)
        assert rows(s, token) == []


def unsure_changes_stop_the_database():
    """The control database's disk goes on failing, so that nobody can know whether the change will be there after a crash: the database acknowledges nothing more until a restart, which
    finds it as it was or changed. Others go on, and other changes wait for the disk."""
    for change in begin_reset, begin_deletion:
        with Disk() as disk, Server(env=disk.env) as s:
            token = s.identity()['token']
            s.publish('d', module('e2e-2.14'), token)
            s.publish('other', module('e2e-2.14'), token)
            append(s, token, 1)
            status, text = change(s, disk, token, 'sync')
            assert status == 500 and 'control database' in text, (status, text)
            status, text = s.http('POST', '/v1/database/d/call/append_log', '[2,"x"]', token, {'Content-Type': 'application/json'})[:2]
            assert status == 500 and 'control database failed while this database was to be reset or deleted' in text, (status, text)
            assert s.call('other', 'append_log', 1, 'x', token=token)[0] == 200
            status, text = s.http('PUT', '/v1/database/new', open(module('e2e-2.14'), 'rb').read(), token)[:2]
            assert status == 500 and 'it changes nothing until that is well' in text, (status, text)
            disk.is_well()
            s.publish('new', module('e2e-2.14'), token)
            restarted(s, s.kill)
            assert rows(s, token) == [[1]] # what was published since has taken the place of the change
            assert len(rows(s, token, 'other')) == 1 and rows(s, token, 'new') == []


def missing_folders():
    """A database whose folder, or log, is not where it was is not started, and nothing is made in its place: when it is back, everything is."""
    with Server() as s:
        token = s.identity()['token']
        s.publish('d', module('e2e-2.14'), token)
        append(s, token, 1)
        s.stop()
        replica, = glob.glob(s.data + '/replicas/*')
        for part in '', '/clog':
            os.rename(replica + part, s.temp + '/elsewhere')
            s.start()
            status, text, _ = s.http('POST', '/v1/database/d/sql', 'SELECT * FROM log_entry', token)
            assert status == 500 and replica + '/clog' in text and 'No such file' in text, (status, text)
            s.stop()
            assert not os.path.exists(replica + part)
            os.mkdir(replica + part) # a mount point
            s.start()
            assert s.http('POST', '/v1/database/d/sql', 'SELECT * FROM log_entry', token)[0] == 500
            s.stop()
            assert not os.listdir(replica + part), os.listdir(replica + part)
            os.rmdir(replica + part)
            os.rename(s.temp + '/elsewhere', replica + part)
        s.start()
        assert rows(s, token) == [[1]]


if __name__ == '__main__': main([an_interrupted_publish_in_memory, refused_changes_stay_refused, unsure_changes_stop_the_database, missing_folders])
