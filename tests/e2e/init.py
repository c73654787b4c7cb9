"""`lightcone init` (spec/04 §8.3): the README of each new project is followed word for word against a live server, up to the client that sees what others do."""
import os, re, shlex, shutil, subprocess, time
from cli import Home, like
from lightcone import BINARY, TOP, Server, main

CACHE = (os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')) + '/lightcone'


class Background:
    """A client that stays, with what it prints."""
    def __init__(self, command, cwd, env):
        self.path = os.path.join(cwd, 'client.log')
        self.process = subprocess.Popen(command, cwd=cwd, env=env, stdout=open(self.path, 'w'), stderr=subprocess.STDOUT, start_new_session=True)
    def wait_for(self, text, seconds=240):
        until = time.time() + seconds
        while text not in open(self.path).read():
            if self.process.poll() is not None or time.time() > until: raise Exception(f'the client did not print {text!r}:\n{open(self.path).read()[-4000:]}')
            time.sleep(0.05)
    def end(self):
        os.killpg(self.process.pid, 15)
        self.process.wait(20)


def follow(template, prepare):
    with Server() as s, Home(s) as h:
        h.run('init', '--template', template, '--non-interactive', 'My game').expect(0, like('Project `My game` is in My game, .*'))
        project = os.path.join(h.dir, 'My game')
        readme = open(os.path.join(project, 'README.md')).read()
        assert readme.startswith('# My game\n') and '@' not in readme.replace('README', ''), readme
        os.makedirs(h.dir + '/bin')
        os.symlink(BINARY, h.dir + '/bin/lightcone')
        env = dict(os.environ, HOME=h.dir, XDG_CONFIG_HOME=h.dir + '/.config', PATH=f'{h.dir}/bin:/usr/bin:{os.environ["PATH"]}', SPACETIMEDB_HOST=s.url, ASAN_OPTIONS='detect_leaks=0')
        prepare(project, env)
        client, printed = None, ''
        for line in re.search(r'```sh\n(.*?)```', readme, re.S).group(1).splitlines():
            command = shlex.split(line, comments=True)
            if command == ['lightcone', 'start'] or command[:2] == ['npm', 'install']: continue # it runs; they are here
            if command[-2:] == ['--', 'Ada']:
                if command[0] == 'cargo': command.insert(2, '--release') # with the profile that the other clients are built with, so that the library is built already
                client = Background(command, project, client_env(env))
                client.wait_for('Person: Ada')
                continue
            p = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, timeout=300)
            assert p.returncode == 0, (command, p.stdout[-2000:], p.stderr[-4000:])
            printed += p.stdout
            if command[:4] == ['lightcone', 'call', 'add', 'Grace']: client.wait_for('Person: Grace')
        assert 'Hello, Ada!' in printed and 'Hello, World!' in printed and '"Grace"' in printed, printed
        refused = h.run('call', 'add', '', cwd=project)
        assert refused.code == 1 and 'a name must not be empty' in refused.err, refused.err
        client.end()
        s.check_alive()


def client_env(env): return dict(env, CARGO_TARGET_DIR=CACHE + '/work/clients/target', CARGO_PROFILE_RELEASE_OPT_LEVEL='1', CARGO_PROFILE_RELEASE_DEBUG='1')


def rust():
    def prepare(project, env):
        sysroot = subprocess.run([os.path.join(TOP, 'scripts', 'rust-wasm-dir.sh')], capture_output=True, text=True, check=True).stdout.strip()
        env |= {'CARGO_TARGET_DIR': CACHE + '/work/modules/target', 'CARGO_HOME': os.environ.get('CARGO_HOME') or os.path.expanduser('~/.cargo'), 'CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER': 'wasm-ld-22',
                'CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS': f'--sysroot {sysroot}'}
        for name in 'RUSTFLAGS', 'CARGO_ENCODED_RUSTFLAGS', 'CARGO_BUILD_TARGET', 'CARGO_BUILD_RUSTFLAGS', 'RUSTC', 'RUSTC_WRAPPER': env.pop(name, None)
        for lock, to in ('tests/modules/e2e-2.10', 'spacetimedb'), ('tests/clients/rust-more-2.10', '.'): # the versions that the other tests have built
            shutil.copy(os.path.join(TOP, lock, 'Cargo.lock'), os.path.join(project, to, 'Cargo.lock'))
    follow('basic-rs', prepare)


def typescript():
    def prepare(project, env):
        packages = os.path.realpath(os.path.join(TOP, 'build', 'clients', 'npm-generated', 'node_modules'))
        os.symlink(packages, os.path.join(project, 'node_modules'))
        os.symlink(packages, os.path.join(project, 'spacetimedb', 'node_modules'))
    follow('basic-ts', prepare)


def usage():
    with Home() as h:
        h.run('init', '--non-interactive', '--lang', 'rust').expect(2)
        h.run('init', 'x', '--non-interactive').expect(2)
        h.run('init', 'x', '--lang', 'cobol').expect(2, '', like(".*invalid value 'cobol'.*"))
        h.run('init', 'x', '--template', 'none').expect(2, '', like(".*there is no template 'none'; there are: basic-rs, basic-ts\n.*"))
        h.run('init', 'a/b', '--lang', 'rust').expect(1, '', 'Error: `a/b` cannot be the name of a project\n')
        h.write('full/file', '')
        h.run('init', 'full', '--lang', 'rust').expect(1, '', 'Error: the folder full is not empty\n')
        h.run('init', 'x', '--lang', 'typescript', '--server-only', '--project-path', 'deep').expect(0)
        assert sorted(os.listdir(h.dir + '/deep')) == ['.env.local', '.gitignore', 'README.md', 'spacetime.json', 'spacetime.local.json', 'spacetimedb'], os.listdir(h.dir + '/deep')
        assert re.fullmatch(r'\{\n  "database": "x-[a-z0-9]{5}"\n\}\n', h.read('deep/spacetime.local.json'))
        assert 'generate' not in h.read('deep/spacetime.json')


if __name__ == '__main__': main([usage, rust, typescript])
