"""`lightcone dev` (spec/04 §8.4): a project from a template; each change of the module is published, bindings follow, the log is shown, the client runs."""
import json, os, signal, subprocess, time
from cli import Home
from lightcone import BINARY, TOP, Server, main


class Dev:
    def __init__(self, home, project, *options):
        self.path = os.path.join(home.dir, 'dev.log')
        env = dict(os.environ, HOME=home.dir, XDG_CONFIG_HOME=home.dir + '/.config', ASAN_OPTIONS='detect_leaks=0')
        self.process = subprocess.Popen([BINARY, 'dev', *options], cwd=project, env=env, stdin=subprocess.DEVNULL, stdout=open(self.path, 'w'), stderr=subprocess.STDOUT)
    def text(self): return open(self.path).read()
    def wait_for(self, text, times=1, seconds=60):
        until = time.time() + seconds
        while self.text().count(text) < times:
            if self.process.poll() is not None or time.time() > until: raise Exception(f'{text!r} did not come {times} times:\n{self.text()[-4000:]}')
            time.sleep(0.05)
    def end(self):
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(20) == 0, self.text()


def change(path, old, new):
    text = open(path).read()
    assert old in text
    with open(path, 'w') as f: f.write(text.replace(old, new))


def the_loop():
    with Server() as s, Home(s) as h:
        h.run('init', '--template', 'basic-ts', '--non-interactive', 'game').expect(0)
        project = os.path.join(h.dir, 'game')
        packages = os.path.realpath(os.path.join(TOP, 'build', 'clients', 'npm-generated', 'node_modules'))
        for at in '', 'spacetimedb': os.symlink(packages, os.path.join(project, at, 'node_modules'))
        config = json.load(open(os.path.join(project, 'spacetime.json'))) | {'dev': {'run': 'echo "client of $SPACETIMEDB_DB_NAME at $SPACETIMEDB_HOST"; echo $$ >client.pid; exec sleep 1000'}}
        json.dump(config, open(os.path.join(project, 'spacetime.json'), 'w'))
        name = json.load(open(os.path.join(project, 'spacetime.local.json')))['database']
        source = os.path.join(project, 'spacetimedb', 'src', 'index.ts')
        dev = Dev(h, project)
        dev.wait_for('Ready. Watching ')
        dev.wait_for(f'client of {name} at {s.url}')
        dev.wait_for('The database is ready') # its log
        assert 'reducers.add' not in open(os.path.join(project, 'src', 'module_bindings', 'index.ts')).read() and os.path.exists(os.path.join(project, 'src', 'module_bindings', 'add_reducer.ts'))
        h.run('call', 'add', 'Ada', cwd=project).expect(0)
        change(source, 'export const sayHello', 'export const shout = spacetimedb.reducer(ctx => { console.info(`THERE ARE ${ctx.db.person.count()}`); });\n\nexport const sayHello')
        dev.wait_for('Ready. Watching ', 2)
        assert os.path.exists(os.path.join(project, 'src', 'module_bindings', 'shout_reducer.ts'))
        h.run('call', 'shout', cwd=project).expect(0)
        dev.wait_for('THERE ARE 1') # the row is still there
        change(source, 'ctx.db.person.count()', 'ctx.db.nobody.count()')
        dev.wait_for('That failed. Watching ')
        h.run('call', 'shout', cwd=project).expect(0) # what was published last goes on
        change(source, 'ctx.db.nobody.count()', 'ctx.db.person.count()')
        dev.wait_for('Ready. Watching ', 3)
        time.sleep(1)
        assert dev.text().count('Watching ') == 4, dev.text() # building is no change
        client = int(open(os.path.join(project, 'client.pid')).read())
        dev.end()
        assert not os.path.exists(f'/proc/{client}') or 'zombie' in open(f'/proc/{client}/status').read()
        s.check_alive()


def usage():
    with Home() as h:
        h.run('dev').expect(1, '', 'Error: tell the name of the database, or write it into spacetime.local.json\n')
        h.run('dev', 'x', '--module-path', 'nowhere').expect(1, '', 'Error: there is no module in nowhere: `lightcone init` makes a project\n')
        h.write('spacetime.json', '{"database": "x", "dev": {"runs": "true"}}')
        r = h.run('dev').expect(1)
        assert 'Failed to load spacetime.json' in r.err and 'unknown field `runs`' in r.err, r.err


if __name__ == '__main__': main([usage, the_loop])
