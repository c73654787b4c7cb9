#!/usr/bin/env python3
"""Damaged folders of a real server: `check`, `log dump` and opening never crash, and opening either refuses, naming a file, or has lost nothing but the newest transactions' end.
COUNT=2000 SEED=7 tests/e2e/damage.py runs more of them."""
import glob, json, os, random, shutil, subprocess, tempfile
from lightcone import BINARY, Server, main, module

COUNT, SEED = int(os.environ.get('COUNT') or 40), int(os.environ.get('SEED') or 1)
CRASH = ('AddressSanitizer', 'runtime error', 'ThreadSanitizer', 'lightcone panic', 'assertion')


def damage(r, path):
    """Changes a file in one of many ways; says how."""
    size = os.path.getsize(path)
    how = r.choice(('bit', 'byte', 'zeros', 'cut', 'more', 'noise', 'gone', 'empty', 'repeat'))
    with open(path, 'r+b') as f:
        at = r.randrange(size) if size else 0
        if how == 'bit' and size:
            f.seek(at); b = f.read(1)[0]; f.seek(at); f.write(bytes([b ^ 1 << r.randrange(8)]))
        elif how == 'byte' and size: f.seek(at); f.write(r.randbytes(1))
        elif how == 'zeros': f.seek(at); f.write(bytes(min(r.randrange(1, 600), max(size - at, 1))))
        elif how == 'noise': f.seek(at); f.write(r.randbytes(min(r.randrange(1, 600), max(size - at, 1))))
        elif how == 'cut': f.truncate(at)
        elif how == 'more': f.seek(size); f.write(r.choice((bytes, r.randbytes))(r.randrange(1, 3000)))
        elif how == 'empty': f.truncate(0)
        elif how == 'repeat': f.seek(0); data = f.read(); f.seek(size); f.write(data[at:at + 500])
    if how == 'gone': os.unlink(path)
    return f'{how} at {at} of {size}'


def damaged_folders():
    r = random.Random(SEED)
    with tempfile.TemporaryDirectory() as temp:
        with Server(options=['--max-segment-size', '6000', '--snapshot-interval-transactions', '60', '--retain', 'all']) as s:
            token = s.identity()['token']
            s.publish('d', module('e2e-2.14'), token)
            for i in range(150): assert s.call('d', 'append_log', i, 'x' * r.randrange(200), token=token)[0] == 200
            s.stop()
            shutil.copytree(s.data, temp + '/data')
        outcomes = {}
        for n in range(COUNT):
            data = temp + '/copy'
            shutil.rmtree(data, ignore_errors=True)
            shutil.copytree(temp + '/data', data)
            [folder] = glob.glob(data + '/replicas/*')
            files = [f for f in glob.glob(folder + '/**', recursive=True) if os.path.isfile(f) and '/module_logs/' not in f and not f.endswith('db.lock')]
            logs = sorted(f for f in files if f.endswith('.log'))
            path = r.choice((r.choice(files), r.choice(logs[-4:]), logs[-1])) # what is behind the newest snapshot matters most
            what = f'{os.path.relpath(path, folder)}: {damage(r, path)} (SEED={SEED} COUNT={n + 1})'
            for command in (['check', data], ['check', folder], ['log', 'dump', folder]):
                p = subprocess.run([BINARY, *command], capture_output=True, text=True, errors='replace', timeout=60)
                assert p.returncode in (0, 1, 2) and not any(c in p.stderr for c in CRASH), (what, command, p.returncode, p.stderr[-3000:])
            checked = subprocess.run([BINARY, 'check', folder], capture_output=True, text=True, errors='replace').returncode
            with Server(data=data) as s:
                status, text, _ = s.http('POST', '/v1/database/d/sql', 'SELECT seq FROM log_entry', token)
                log = s.server_log()
                assert not any(c in log for c in CRASH), (what, log)
                if status == 200:
                    rows = sorted(x[0] for x in json.loads(text)[0]['rows'])
                    assert rows == list(range(len(rows))), (what, rows)
                    newest = sorted(glob.glob(temp + '/data/replicas/*/clog/*.log'))[-1]
                    lost = 150 - len(rows)
                    assert lost == 0 or os.path.basename(path) == os.path.basename(newest), (what, f'{lost} transactions are lost', log)
                    outcome = 'whole' if not lost else 'end lost'
                else:
                    assert os.path.basename(path).split('.')[0] in log or os.path.basename(folder) in log, (what, status, text, log)
                    assert checked != 0, (what, 'opening refuses what check finds good', log)
                    outcome = 'refused'
                outcomes[outcome] = outcomes.get(outcome, 0) + 1
                s.kill()
        print(f'{COUNT} damaged folders: {outcomes}')
        assert COUNT < 40 or len(outcomes) > 1


if __name__ == '__main__': main([damaged_folders])
