"""`make install`: the installed program runs from its own folder alone, JavaScript modules too; the Debian package says what it needs and holds the same."""
import os, subprocess, tempfile, shutil
import lightcone
from lightcone import BINARY, TOP, Server, main, module


def installed():
    with tempfile.TemporaryDirectory() as root:
        run = lambda *a: subprocess.run(a, cwd=TOP, capture_output=True, text=True, check=True).stdout
        run('scripts/install.sh', BINARY, '/opt/lightcone', root)
        at = root + '/opt/lightcone'
        for path in 'bin/lightcone', 'lib/lightcone/lightcone-v8.so', 'share/man/man1/lightcone.1.gz', 'lib/systemd/system/lightcone.service', 'share/doc/lightcone/README.md', 'share/doc/lightcone/reference/cli.md':
            assert os.path.isfile(f'{at}/{path}'), path
        unit = open(at + '/lib/systemd/system/lightcone.service').read()
        assert 'ExecStart=/opt/lightcone/bin/lightcone start ' in unit and '@' not in unit.replace('network-online.target', '')
        assert 'lightcone \\- database server' in run('zcat', at + '/share/man/man1/lightcone.1.gz')
        lightcone.BINARY = at + '/bin/lightcone'
        try:
            with Server() as s:
                token = s.identity()['token']
                for name in 'e2e-2.14.wasm', 'e2e-ts.js':
                    db = name.split('.')[0]
                    s.publish(db, module(name), token)
                    assert s.call(db, 'add_person', 'Ann', 30, token=token)[0] == 200
                maps = open(f'/proc/{s.process.pid}/maps').read()
                assert f'{at}/lib/lightcone/lightcone-v8.so' in maps and f'{at}/lib/lightcone/libnode.so' in maps, 'V8 comes from elsewhere'
        finally:
            lightcone.BINARY = BINARY


def package():
    if not shutil.which('dpkg-deb'): raise Exception('dpkg-deb is missing')
    with tempfile.TemporaryDirectory() as root:
        subprocess.run([TOP + '/scripts/deb.sh', BINARY, root + '/x.deb'], check=True, capture_output=True)
        field = lambda name: subprocess.run(['dpkg-deb', '--field', root + '/x.deb', name], check=True, capture_output=True, text=True).stdout.strip()
        assert field('Package') == 'lightcone' and field('Version') == open(TOP + '/VERSION').read().strip()
        needs = field('Depends').split(', ')
        for name in 'libc6', 'libuv1', 'libicu72' if os.path.exists('/usr/lib/x86_64-linux-gnu/libicuuc.so.72') else 'libc6': assert name in needs, needs
        names = subprocess.run(['dpkg-deb', '--contents', root + '/x.deb'], check=True, capture_output=True, text=True).stdout
        for path in './usr/bin/lightcone\n', './usr/lib/lightcone/lightcone-v8.so\n', './usr/share/man/man1/lightcone.1.gz\n', './usr/lib/systemd/system/lightcone.service\n': assert path in names, path


if __name__ == '__main__': main([installed, package])
