"""Folders without a server: import of a replica folder, check, log dump."""
import errno, glob, json, os, shutil, struct, subprocess, tempfile
from lightcone import BINARY, Disk, Server, main, module


def run(*args, code=0, env={}):
    p = subprocess.run([BINARY, *args], capture_output=True, text=True, timeout=120, env=dict(os.environ) | env | {'ASAN_OPTIONS': 'detect_leaks=0:' + env.get('ASAN_OPTIONS', '')})
    assert p.returncode == code, (args, p.returncode, p.stdout[-2000:], p.stderr[-2000:])
    return p.stdout + p.stderr


def fill(s, token, name, n=60):
    s.publish(name, module('e2e-2.14'), token)
    for i in range(n): assert s.call(name, 'append_log', i, f'entry {i} ' + 'x' * 200, token=token)[0] == 200


def replica(s): return sorted(glob.glob(s.data + '/replicas/*'), key=lambda p: int(os.path.basename(p)))[0]


def imports():
    """The log of another installation becomes a database here: same identity, owner, program, rows; it goes on from there and survives a restart."""
    with Server(options=['--max-segment-size', '8000', '--snapshot-interval-transactions', '30', '--retain', 'all']) as s, tempfile.TemporaryDirectory() as temp:
        who = s.identity()
        fill(s, who['token'], 'old')
        identity = json.loads(s.http('GET', '/v1/database/old')[1])['database_identity']
        rows = sorted(s.sql('old', 'SELECT * FROM log_entry', who['token']))
        s.stop()
        old = temp + '/22000001'
        shutil.copytree(replica(s), old)
        segments = sorted(glob.glob(old + '/clog/*.stdb.log'))
        packed = [p for p in segments if open(p, 'rb').read(4) == b'\x28\xb5\x2f\xfd']
        assert len(segments) > 3 and packed and segments[-1] not in packed, (len(segments), len(packed))
        shutil.rmtree(old + '/snapshots')
        os.makedirs(old + '/snapshots/00000000000000000030.snapshot_dir/objects') # theirs: not read
        for p in glob.glob(old + '/clog/*.ofs'): os.remove(p)
        new = temp + '/data'
        before = {p: open(p, 'rb').read() for p in segments}
        text = run('import', old, '--name', 'moved', '--data-dir', new)
        assert str(identity.get('__identity__', identity) if isinstance(identity, dict) else identity).removeprefix('0x') in text, (identity, text)
        assert before == {p: open(p, 'rb').read() for p in segments}
        assert 'already' in run('import', old, '--name', 'again', '--data-dir', new, code=1)
        assert 'required' in run('import', old, code=2)
        for key in ('id_ecdsa', 'id_ecdsa.pub'): shutil.copy(s.data + '/' + key, new) # tokens of the old installation
        with Server(data=new) as moved:
            for _ in range(2):
                n = len(rows)
                assert sorted(moved.sql('moved', 'SELECT * FROM log_entry', who['token'])) == rows
                assert moved.call('moved', 'append_log', 1000 + n, 'new', token=who['token'])[0] == 200
                rows = sorted(rows + [[1000 + n, 'new']])
                assert 'in use' in run('check', new, code=1) or 'lock' in run('check', new, code=1)
                moved.stop()
                assert 'all is well' in run('check', new)
                moved.start()
        s.start()


def refuses_damage():
    """An import of a damaged or cut log, of no log at all, or under a name in use changes nothing."""
    with Server() as s, tempfile.TemporaryDirectory() as temp:
        token = s.identity()['token']
        fill(s, token, 'here', 5)
        s.stop()
        bad = temp + '/bad'
        shutil.copytree(replica(s) + '/clog', bad + '/clog')
        path = glob.glob(bad + '/clog/*.log')[0]
        data = bytearray(open(path, 'rb').read())
        data[len(data) // 2] ^= 1
        open(path, 'wb').write(data)
        text = run('import', bad, '--name', 'bad', '--data-dir', temp + '/data', code=1)
        assert path in text and 'checksum mismatch: expected' in text and 'byte position' in text, text
        assert not glob.glob(temp + '/data/replicas/*')
        os.makedirs(temp + '/empty/clog')
        assert 'no log segment' in run('import', temp + '/empty', '--name', 'x', '--data-dir', temp + '/data', code=1)
        assert 'already' in run('import', replica(s), '--name', 'other', '--data-dir', s.data, code=1)
        shutil.copytree(replica(s), temp + '/copy')
        run('import', temp + '/copy', '--name', 'taken', '--data-dir', temp + '/data')
        s.start()
        assert 'lock' in run('import', temp + '/copy', '--name', 'y', '--data-dir', s.data, code=1)


def refuses_for_a_reason():
    """Each thing an import can find wrong is said, and leaves both folders as they were; put right, it works."""
    with Disk() as disk, Server(options=['--max-segment-size', '8000', '--retain', 'all']) as s, tempfile.TemporaryDirectory() as temp:
        token = s.identity()['token']
        fill(s, token, 'here', 40)
        def files(folder): return {p: open(p, 'rb').read() for p in sorted(glob.glob(folder + '/**', recursive=True)) if os.path.isfile(p)}
        data = temp + '/data'
        def refused(source, *texts, name='x', env={}, idle=True):
            before = files(source) if idle else None
            text = run('import', source, '--name', name, '--data-dir', data, code=1, env=env)
            assert all(t in text for t in texts), text
            assert not glob.glob(data + '/replicas/*') and (not idle or files(source) == before), glob.glob(data + '/replicas/*')
        refused(replica(s), '/db.lock: failed to lock: another process has it; stop its server first', idle=False) # the server runs
        s.stop()
        source = temp + '/source'
        def fresh():
            shutil.rmtree(source, ignore_errors=True)
            shutil.copytree(replica(s), source)
            shutil.rmtree(source + '/snapshots', ignore_errors=True)
            return sorted(glob.glob(source + '/clog/*.log'))
        def change(path, at, byte):
            b = bytearray(open(path, 'rb').read())
            b[at] = byte
            open(path, 'wb').write(b)
        refused(temp + '/nowhere', temp + '/nowhere/clog', 'No such file or directory')
        os.makedirs(temp + '/bare')
        refused(temp + '/bare', temp + '/bare/clog', 'No such file or directory')
        segments = fresh()
        assert len(segments) > 3
        change(segments[-1], 6, 9)
        refused(source, segments[-1], 'expected the segment header 28647329 5e32 with version 0 or 1, found 28647329 5e32 09')
        segments = fresh()
        change(segments[-1], 7, 1)
        refused(source, segments[-1], 'expected the segment header')
        segments = fresh()
        os.remove(segments[1])
        refused(source, segments[2], 'expected a segment that begins with offset')
        segments = fresh()
        os.remove(segments[0])
        refused(source, 'commitlog starts at')
        segments = fresh()
        b = open(segments[0], 'rb').read()
        if b[:4] == b'\x28\xb5\x2f\xfd': b = subprocess.run(['zstd', '-dcq'], input=b, capture_output=True, check=True).stdout
        n, = struct.unpack('<I', b[28:32])
        for p in segments[1:]: os.remove(p)
        with open(segments[0], 'wb') as f: f.write(b[:10 + 26 + n]) # the first transaction only: the system's tables
        refused(source, 'module')
        fresh()
        for mode in ('create', errno.ENOSPC), ('write', errno.ENOSPC), ('sync', errno.EIO):
            disk.does(data + '/replicas/', *mode)
            refused(source, 'cannot copy' if mode[0] != 'sync' else 'cannot', os.strerror(mode[1]), env=disk.env)
        disk.is_well()
        assert 'invalid database name' in run('import', source, '--name', 'Not A Name', '--data-dir', data, code=1)
        run('import', source, '--name', 'mine', '--data-dir', data, env=disk.env)
        with Server() as other: # another database under that name
            fill(other, other.identity()['token'], 'there', 3)
            other.stop()
            n = len(glob.glob(data + '/replicas/*'))
            assert 'the name mine is in use in ' + data in run('import', replica(other), '--name', 'mine', '--data-dir', data, code=1)
            assert len(glob.glob(data + '/replicas/*')) == n
            other.start()
        assert run('check', data).count('all is well') == 1
        s.start()


def checks():
    """Every kind of damage in a data folder is named with file and place; what is well is said to be."""
    with Server(options=['--max-segment-size', '8000', '--snapshot-interval-transactions', '20', '--retain', 'all']) as s:
        token = s.identity()['token']
        fill(s, token, 'one')
        fill(s, token, 'two', 3)
        s.stop()
        folder = replica(s)
        text = run('check', s.data)
        assert text.count('all is well') == 2 and 'BAD' not in text, text
        assert 'all is well' in run('check', folder)
        os.makedirs(s.data + '/replicas/999/clog')
        assert 'replicas/999: no database of the control database' in run('check', s.data)
        segments, snapshots = sorted(glob.glob(folder + '/clog/*.log')), sorted(glob.glob(folder + '/snapshots/*.snapshot'))
        assert len(segments) > 2 and snapshots
        for path in (segments[0], segments[len(segments) // 2], snapshots[-1]):
            good = open(path, 'rb').read()
            for at in (2, len(good) // 2, len(good) - 2):
                bad = bytearray(good)
                bad[at] ^= 0x20
                open(path, 'wb').write(bad)
                text = run('check', s.data, code=1)
                assert 'BAD ' + path in text or 'BAD' in text and path in text, (path, at, text)
                assert text.count('all is well') == 1, text
            open(path, 'wb').write(good)
        hidden = segments[1] + '.hidden'
        os.rename(segments[1], hidden)
        assert 'BAD' in run('check', s.data, code=1)
        os.rename(hidden, segments[1])
        os.rename(folder, folder + '.away')
        text = run('check', s.data, code=1)
        assert f'{folder}/clog' in text, text
        shutil.copytree(s.data + f'/replicas/{int(os.path.basename(folder)) + 1}', folder) # the other database's
        assert 'mismatched database identity: expected' in run('check', s.data, code=1)
        shutil.rmtree(folder)
        os.rename(folder + '.away', folder)
        assert 'all is well' in run('check', s.data)
        with open(segments[-1], 'ab') as f: f.write(b'\1\2\3')
        assert 'torn tail at byte position' in run('check', s.data) # not damage: a crash leaves such
        assert 'nor a replica folder' in run('check', s.temp, code=1)
        s.start()


def dumps():
    with Server(options=['--max-segment-size', '8000', '--snapshot-interval-transactions', '20']) as s:
        token = s.identity()['token']
        fill(s, token, 'one')
        s.stop()
        folder = replica(s)
        text = run('log', 'dump', folder)
        assert 'transaction 180: append_log, caller ' in text, text[-3000:]
        assert 'insert log_entry [59,"entry 59 ' in text, text[-3000:]
        newest = sorted(glob.glob(folder + '/clog/*.log'))[-1]
        assert 'epoch 0, 1 transaction, ' in run('log', 'dump', newest)
        assert 'cannot open' in run('log', 'dump', folder + '/00000000000000000000.stdb.log', code=1)
        run('log', 'show', folder, code=2)
        s.start()
    with Server() as s: # from the beginning: system tables too
        token = s.identity()['token']
        fill(s, token, 'one', 2)
        s.stop()
        for path in (replica(s), glob.glob(replica(s) + '/clog/*.log')[0]):
            text = run('log', 'dump', path)
            assert 'insert st_table ' in text and 'insert log_entry ' in text and 'commit 0, epoch 0' in text, text[:2000]
        s.start()


if __name__ == '__main__': main([imports, refuses_damage, refuses_for_a_reason, checks, dumps])
