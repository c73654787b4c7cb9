"""Replica folders of the reference, from 1.2 to 2.14, imitated byte by byte (reference_folder.py), are imported and served; what the server then writes is read by the imitation's
reader. Every database is compared row by row, every record with what was done. Folders that are damaged or no folders of the reference are refused, with the place, and leave nothing.
"""
import glob, json, os, re, shutil, struct, subprocess, sys, tempfile, time
import reference_folder as ref
from reference_folder import BYTES, SCHEDULE_AT, VERSIONS, Database, Inputs, Reader, Record, Table, algebraic, commit_bytes, decode, encode, opt, segments, text, write_folder
from lightcone import BINARY, TOP, Server, main
sys.path.insert(0, os.path.join(TOP, 'tests', 'modules'))
import wat

DAY_US = 86400 * 10**6
NOW_US = int(time.time() * 10**6)
THEN_US = NOW_US - 90 * DAY_US
SHAPE = ('sum', [('point', ref.UNIT), ('circle', 'f64'), ('polygon', ('array', ('product', [('x', 'i32'), ('y', 'i32')])))])

TABLES = [
    Table('person', [('id', 'u32'), ('name', 'str')], pk=0, indexes=[(1, 0), (3, 1)], unique=[0], auto=[0]),
    Table('score', [('name', 'str'), ('points', 'i64'), ('at', opt('u64'))], indexes=[(1, 0), (1, 1, 0)], unique=[0]),
    Table('note', [('a', 'u64'), ('b', BYTES)]),
    Table('drawing', [('id', 'i128'), ('shape', SHAPE)], pk=0, indexes=[(1, 0)], unique=[0], auto=[0]),
    Table('timer', [('id', 'u64'), ('at', SCHEDULE_AT)], pk=0, indexes=[(1, 0)], unique=[0], auto=[0], schedule=('tick', 1)),
    Table('ticked', [('id', 'u64'), ('at', SCHEDULE_AT)]),
    Table('left', [('who', 'u256'), ('conn', 'u128')]),
    Table('direct', [('k', 'u32'), ('v', 'bool')], indexes=[(2, 0)], unique=[0]),
    Table('empty', []),
    Table('hidden', [('a', 'i8')], private=True)]
EVENT = Table('happened', [('k', 'u32'), ('s', 'str')], event=True)
CAMEL = Table('camel_name', [('some_col', 'u16')], pk=0, indexes=[(1, 0)], unique=[0], accessor='camelName', column_accessors=['someCol'])
LATER = Table('later', [('id', 'u16'), ('s', 'str')], pk=0, indexes=[(1, 0)], unique=[0], auto=[0])
ANOTHER = Table('another', [('id', 'u64'), ('s', 'str')], pk=0, indexes=[(1, 0)], unique=[0], auto=[0])
OLD, OLD_EVENT = Table('old', [('id', 'u64'), ('x', 'f32')], pk=0, indexes=[(1, 0)], unique=[0], auto=[0]), Table('old_event', [('id', 'u64')], event=True)


def described(tables, reducers, view, v9):
    """The module's definition, by V9 for versions that had no other."""
    vertex, shape = len(tables), len(tables) + 1 # types with names, behind those of the tables
    of_wat = [wat.Table(t.accessor, [(t.column_accessors[i], shape if c == SHAPE else algebraic(c)) for i, (_, c) in enumerate(t.columns)], pk=t.pk, indexes=[({1: 0, 2: 2, 3: 1}[x[0]], *x[1:]) for x in t.indexes],
                        unique=[c for c in t.unique if c != t.pk], auto=t.auto, event=t.event, private=t.private) for t in tables]
    number = {t.name: i for i, t in enumerate(tables)}
    params = {n: wat.product([(c, shape if x == SHAPE else algebraic(x)) for c, x in columns]) if isinstance(columns, list) else wat.array([wat.SOME + text('row') + wat.type_(number[columns])]) for n, columns in reducers}
    lifecycle = {'gone': 2}
    sum_type = b'\1' + wat.array([wat.SOME + text(n if v9 else n.capitalize()) + (wat.type_([vertex]) if n == 'polygon' else algebraic(x)) for n, x in SHAPE[1]])
    typespace = lambda more: wat.array([b'\2' + wat.product(w.columns) for w in of_wat] + ([algebraic(SHAPE[1][2][1][1]), sum_type] if more else []))
    named = lambda more: wat.array([wat.array([]) + text(f'T{i}') + wat.u32(i) + b'\1' for i in range(len(tables) + 2 * more)])
    if not v9:
        out = wat.definition(of_wat, [(n, []) for n, _ in reducers], views=[('v_score', 0, True, [number['score']])] if view else [], lifecycle=[(k, n) for n, k in lifecycle.items()],
                             schedules=[(t.accessor, t.schedule[1], t.schedule[0]) for t in tables if t.schedule])
        empty = b'\3' + wat.array([text(n) + wat.product([]) + b'\1' + wat.UNIT + wat.type_('string') for n, _ in reducers])
        assert out.count(empty) == 1
        assert out.startswith(b'\2' + out[1:5] + b'\0' + typespace(False) + b'\1' + named(False))
        out = out.replace(b'\0' + typespace(False) + b'\1' + named(False), b'\0' + typespace(True) + b'\1' + named(True), 1)
        return out.replace(empty, b'\3' + wat.array([text(n) + params[n] + b'\1' + wat.UNIT + wat.type_('string') for n, _ in reducers]))
    rows = []
    for i, (t, w) in enumerate(zip(tables, of_wat)):
        body = w.encode(i)
        tail = b'\1' + bytes([t.private]) + wat.array([]) + bytes([t.event])
        assert body.endswith(tail) and not t.event
        rows.append(body[:-len(tail)] + (wat.SOME + wat.NONE + text(t.schedule[0]) + wat.u16(t.schedule[1]) if t.schedule else wat.NONE) + b'\1' + bytes([t.private]))
    exports = [b'\2' + text('v_score') + wat.u32(0) + b'\1\1' + wat.product([]) + wat.type_([number['score']])] if view else []
    return (b'\1' + typespace(True) + wat.array(rows) + wat.array([text(n) + params[n] + (wat.SOME + bytes([lifecycle[n]]) if n in lifecycle else wat.NONE) for n, _ in reducers])
            + named(True) + wat.array(exports) + wat.array([]))


NAMES, ROW = 0x20000, 0x28000 # where the module keeps names and rows
def program(tables, view, v9):
    """Reducers add_T(columns of T) for every table, del_note and set_person of the same kind, tick(row of timer): into ticked; gone: a client's end into left."""
    reducers = [('add_' + t.name, t.columns) for t in tables] + [('del_note', TABLES[2].columns), ('set_person', TABLES[0].columns), ('tick', 'timer'), ('gone', [])]
    names, at = b'', {}
    for n in [t.accessor for t in tables] + ['person_id_idx_btree']:
        at[n] = NAMES + len(names), len(n)
        names += n.encode()
    def table(n): return f'(drop (call $table_id_from_name (i32.const {at[n][0]}) (i32.const {at[n][1]}) (i32.const 3000)))'
    def insert(n): return table(n) + f'(i32.store (i32.const 3004) (local.get $n)) (if (call $datastore_insert_bsatn (i32.load (i32.const 3000)) (i32.const {ROW}) (i32.const 3004)) (then unreachable))'
    bodies = [insert(t.accessor) for t in tables]
    bodies.append(table('note') + f'(i32.store (i32.const {ROW - 4}) (i32.const 1)) (if (call $datastore_delete_all_by_eq_bsatn (i32.load (i32.const 3000)) (i32.const {ROW - 4}) (i32.add (local.get $n) (i32.const 4)) (i32.const 3008)) (then unreachable))')
    where, length = at['person_id_idx_btree']
    bodies.append(table('person') + f'(drop (call $index_id_from_name (i32.const {where}) (i32.const {length}) (i32.const 3012))) (i32.store (i32.const 3004) (local.get $n)) (if (call $datastore_update_bsatn (i32.load (i32.const 3000)) (i32.load (i32.const 3012)) (i32.const {ROW}) (i32.const 3004)) (then unreachable))')
    bodies.append(insert('ticked'))
    bodies.append(''.join(f'(i64.store (i32.const {ROW + 8 * i}) (local.get ${x}))' for i, x in enumerate(['s0', 's1', 's2', 's3', 'c0', 'c1'])) + '(local.set $n (i32.const 48))' + insert('left'))
    read = f'(local $n i32) (local $r i32) (if (local.get $args) (then (block $e (loop $l (i32.store (i32.const 3004) (i32.const 4096)) (local.set $r (call $bytes_source_read (local.get $args) (i32.add (i32.const {ROW}) (local.get $n)) (i32.const 3004))) (local.set $n (i32.add (local.get $n) (i32.load (i32.const 3004)))) (br_if $l (i32.eqz (local.get $r)))))))'
    body = read + ''.join(f'(if (i32.eq (local.get $id) (i32.const {i})) (then {b}))' for i, b in enumerate(bodies)) + '(i32.const 0)'
    extra = wat.data(NAMES, names)
    if view: extra += f'{wat.data(3200, bytes(5))} (func (export "__call_view_anon__") (param i32 i32 i32) (result i32) (call $say (local.get 2) (i32.const 3200) (i32.const 5)) (i32.const 2))'
    return wat.small(described(tables, reducers, view, v9), body, extra, imports=('bytes_sink_write', 'bytes_source_read', 'console_log', 'table_id_from_name', 'index_id_from_name', 'datastore_insert_bsatn', 'datastore_delete_all_by_eq_bsatn', 'datastore_update_bsatn'), memory='(memory (export "memory") 4)')


A, B, C, CALLER = (int.from_bytes(bytes([x]) * 30 + b'\x00\xc2', 'little') for x in (0xa1, 0xb2, 0xc3, 0xd4))
programs = {}
def live(history, identity, owner):
    """A database that has lived under these versions: made by the first, updated by the last; two clients are left behind."""
    first, last = VERSIONS[history[0]], VERSIONS[history[-1]]
    v9, view = last.tables < 20, last.tables >= ref.VIEW_ARG
    tables = TABLES + ([] if v9 else [EVENT, CAMEL])
    key = v9, view
    if key not in programs: programs[key] = program(tables + [LATER], view, v9)
    db = Database(first, identity, owner)
    db.tables = tables + [LATER]
    clock = [THEN_US]
    def call(reducer, table, *values, skip=False, caller=A, connection=0x11):
        clock[0] += 1000
        db.insert(table, *values, skip=skip)
        db.commit(Inputs(reducer, caller, connection, clock[0], encode(('product', db.types[db.ids[table]][1]), values)))
    init = [t for t in tables if first.accessors or t not in (EVENT, CAMEL)] + [OLD] + ([OLD_EVENT] if first.tables >= ref.EVENT_TABLE else [])
    for t in sorted(init, key=lambda t: t.name): db.create(t)
    db.set_program(b'\0asm, once')
    db.insert('person', 0, 'of init')
    db.commit()
    for identity_, connection in [(A, 0x11), (B, 0x22), (C, 0x33), (B, 0x44)]: db.connect(identity_, connection, clock[0])
    for i in range(7): call('add_person', 'person', 0, f'person {i}', skip=i == 3)
    for i in range(5): call('add_old', 'old', 0, i / 4)
    call('add_person', 'person', 9_000_000, 'named by number')
    for i in range(4): call('add_score', 'score', f'player {i}', -i * 10**15, None if i % 2 else i)
    for i in range(3): call('add_note', 'note', i, bytes([i]) * (3000 * i)) # the rows make an index entry
    db.disconnect(B, 0x44, clock[0])
    db.clear('note')
    db.commit()
    for version in history[1:]:
        db.restart()
        db.upgrade(VERSIONS[version])
        call('add_person', 'person', 0, f'under {version}')
    # the update
    for t in db.tables:
        if t.name not in db.ids: db.create(t)
    if view: db.create_view('v_score', TABLES[1].columns)
    db.drop('old')
    if 'old_event' in db.ids: db.drop('old_event', leaves_event=True)
    db.set_program(programs[key])
    db.commit()
    for i in range(3): call('add_later', 'later', 0, f'later {i}')
    for i, shape in enumerate([(0, ()), (1, 2.5), (2, [(1, -1), (2, -2)])]): call('add_drawing', 'drawing', 0, shape)
    call('add_direct', 'direct', 7, True)
    call('add_direct', 'direct', 70000, False)
    call('add_empty', 'empty')
    call('add_hidden', 'hidden', -5)
    call('add_note', 'note', 1 << 63, b'\xff\x00')
    call('add_timer', 'timer', 0, (1, (THEN_US,)))
    call('add_timer', 'timer', 0, (1, (NOW_US + 300 * DAY_US,)))
    call('add_timer', 'timer', 0, (0, (300 * DAY_US,)))
    if EVENT in tables: call('add_happened', 'happened', 1, 'seen by nobody')
    if CAMEL in tables: call('add_camel_name', 'camel_name', 513)
    old = next(v for v in db.content('person') if v[1] == 'person 2')
    db.delete('person', *old)
    db.insert('person', old[0], 'renamed')
    db.commit(Inputs('set_person', A, 0x11, clock[0], encode(TABLES[0].type, (old[0], 'renamed'))))
    db.delete('score', 'player 1', -10**15, None)
    db.commit() # SQL
    db.insert('left', A, 0x11)
    db.disconnect(A, 0x11, clock[0], 'gone')
    db.stale = [ref.CREDENTIALS] + ([ref.VIEW_SUB] if view else [])
    db.put(ref.CREDENTIALS, 0x99, '{}') # of no client; the start clears such rows (spec/06 §9.3)
    if view: db.put(ref.VIEW_SUB, 1, 1, A, 1, True, THEN_US)
    db.commit()
    return db


# ---- variants of files

def cuts(db): return [5, 9, 10, 30, len(db.log) - 4]
def extra(db): return Record(Inputs('add_note', A, 0x11, THEN_US, encode(TABLES[2].type, (5, b'lost'))), {db.ids['note']: [encode(TABLES[2].type, (5, b'lost'))]}).encode()
def spoiled(offset, db):
    b = commit_bytes(offset, [extra(db)])
    return b[:-1] + bytes([b[-1] ^ 1])
def torn(length): return lambda db, folder: write_folder(folder, segments(db.log, cuts(db)), tail=commit_bytes(len(db.log), [extra(db)])[:length])
def plain(db, folder): write_folder(folder, segments(db.log))
def several(db, folder): write_folder(folder, segments(db.log, cuts(db)))
def compressed(db, folder): write_folder(folder, segments(db.log, cuts(db)), compressed=range(5))
def all_compressed(db, folder): write_folder(folder, segments(db.log, cuts(db)), compressed=range(6))
def no_index(db, folder): write_folder(folder, segments(db.log, cuts(db)), index='no')
def damaged_index(db, folder): write_folder(folder, segments(db.log, cuts(db)), index='damaged')
def zero_tail(db, folder): write_folder(folder, segments(db.log, cuts(db)), tail=bytes(300000))
def bad_last(db, folder): write_folder(folder, segments(db.log), tail=spoiled(len(db.log), db))
def epochs(db, folder): write_folder(folder, segments(db.log, cuts(db), epochs={3: 1, 12: 2, len(db.log) - 1: 1 << 40}))
def groups(db, folder): write_folder(folder, segments(db.log, cuts(db), groups={0: 3, 10: 15, len(db.log) - 3: 2}))
def version_0(db, folder): write_folder(folder, segments(db.log, cuts(db), version=(0, 1)), compressed=[1])
def version_0_newest(db, folder): write_folder(folder, segments(db.log, cuts(db), version=0)) # which no version continues: a new segment follows
def header_only(db, folder):
    write_folder(folder, segments(db.log, cuts(db)))
    with open(f'{folder}/clog/{ref.segment_name(len(db.log))}', 'wb') as f: f.write(ref.segment_header())
def nothing_in_it(db, folder):
    write_folder(folder, segments(db.log, cuts(db)))
    open(f'{folder}/clog/{ref.segment_name(len(db.log))}', 'wb').close()
def abandoned(db, folder):
    """Ends that were torn, behind which the log went on in a new segment: a commit cut short, one with a bad checksum, and one with a whole commit behind it."""
    parts = segments(db.log, cuts(db))
    lost = commit_bytes(5, [extra(db)])
    parts[0].data += lost[:33]
    parts[1].data += spoiled(9, db)
    parts[3].data += spoiled(30, db) + commit_bytes(31, [extra(db)])
    write_folder(folder, parts)
def leftovers(db, folder):
    """What a killed server leaves: files of a segment being made, of a compression, an index without its segment."""
    write_folder(folder, segments(db.log, cuts(db)))
    for name in [ref.segment_name(len(db.log), 'lock'), ref.segment_name(len(db.log)) + '.tmp', '.tmpAbCdEf', ref.segment_name(len(db.log), 'ofs')]:
        with open(f'{folder}/clog/{name}', 'wb') as f: f.write(ref.HEADER)
def snapshots(db, folder):
    """Snapshots (spec/06 §13), whole by name, in the making, set aside, archived: whatever is in them, the log is what counts."""
    write_folder(folder, segments(db.log, cuts(db)), compressed=[0, 1])
    for offset, name in [(0, 'snapshot_dir'), (5, 'snapshot_dir'), (9, 'invalid_snapshot'), (10, 'archived_snapshot'), (30, 'snapshot_dir')]:
        d = f'{folder}/snapshots/{offset:020}.{name}'
        os.makedirs(d + '/objects/ab')
        with open(f'{d}/objects/ab/{"cd" * 31}', 'wb') as f: f.write(bytes(65536))
        with open(f'{d}/{offset:020}.snapshot_bsatn', 'wb') as f:
            f.write(b'\x5a' * 32 + struct.pack('<I', 4) + b'txyz' + b'\0' + db.identity.to_bytes(32, 'little') + struct.pack('<QIHHQII', 22000001, 2, 7, 0, offset, 0, 0))
    with open(f'{folder}/snapshots/{30:020}.lock', 'w'): pass
def unknown_table(db, folder):
    """A system table that is newer than this server (spec/07 §12)."""
    t = [('a', 'u8'), ('b', 'str')]
    db.log.append(Record(None, {ref.TABLE: [ref.row(ref.TABLE, 27, 'st_newer', 'system', 'private', None)], ref.COLUMN: [ref.row(ref.COLUMN, 27, i, n, algebraic(c)) for i, (n, c) in enumerate(t)],
                                27: [encode(('product', t), (1, 'kept'))]}))
    several(db, folder)

VARIANTS = [plain, several, compressed, all_compressed, no_index, damaged_index, zero_tail, torn(5), torn(21), torn(22), torn(60), bad_last, epochs, groups, version_0, version_0_newest, header_only, nothing_in_it, abandoned, leftovers, snapshots, unknown_table]
HISTORIES = [['1.2'], ['1.12'], ['1.2', '1.12'], ['2.0'], ['1.12', '2.0'], ['1.12', '2.8'], ['2.8'], ['2.10'], ['2.14'], ['2.8', '2.14'], ['1.2', '1.12', '2.0', '2.10', '2.14'], ['2.14', '2.8'], ['2.14', '2.10', '2.14']]


# ---- what is compared

def shown(t, v):
    """A value as SQL over HTTP shows it."""
    if t == 'u256': return f'0x{v:x}'
    if t == BYTES: return v.hex()
    if isinstance(t, str): return v
    if t[0] == 'opt': return [1, []] if v is None else [0, shown(t[1], v)]
    if t[0] == 'array': return [shown(t[1], x) for x in v]
    if t[0] == 'product': return [shown(x, y) for (_, x), y in zip(t[1], v)]
    return [v[0], shown(t[1][v[0]][1], v[1])]
def by_sql(s, name, table, token, but=None): return sorted(json.dumps(r) for r in s.sql(name, f'SELECT * FROM {table}', token) if r[:1] != [but])
CONFIG = tempfile.TemporaryDirectory(prefix='lightcone-cli-')
def run(*args, code=0):
    p = subprocess.run([BINARY, f'--config-path={CONFIG.name}/cli.toml', *args], capture_output=True, text=True, errors='replace', timeout=120, env=dict(os.environ, ASAN_OPTIONS='detect_leaks=0'))
    assert p.returncode == code, (args, p.returncode, p.stdout[-2000:], p.stderr[-2000:])
    return p.stdout + p.stderr


class Imported:
    def __init__(self, name, db, clients): self.name, self.db, self.left, self.id = name, db, clients, f'{db.identity:064x}'
    def expect(self):
        """Tables after the start: the clients are gone, the timer of the past has fired."""
        tables = {t.name: self.db.content(t.name) for t in self.db.tables if not t.event}
        tables['left'] = sorted(tables['left'] + self.left)
        due = [r for r in tables['timer'] if r[1] == (1, (THEN_US,))]
        assert len(due) == 1
        tables['timer'].remove(due[0])
        tables['ticked'] = due
        return tables

def same(what, got, want): assert got == want, f'{what}:\ngot  {str(got)[:3000]}\nwant {str(want)[:3000]}'


def serves_them():
    with Server(options=['--max-segment-size', '3000', '--snapshot-interval-transactions', '25', '--retain', 'all']) as s, tempfile.TemporaryDirectory() as temp:
        who = s.identity()
        token, owner = who['token'], int(who['identity'], 16)
        s.stop()
        chosen = [(h, v) for h in (['2.8'], ['2.14']) for v in VARIANTS] + [(h, VARIANTS[k % len(VARIANTS)]) for i, h in enumerate(HISTORIES) if h not in (['2.8'], ['2.14']) for k in (2, 3 * i + 1, 3 * i + 5)]
        imported = []
        for i, (history, variant) in enumerate(chosen):
            db = live(history, 0xc200 << 240 | i + 1, owner)
            folder, name = f'{temp}/{22000001 + i}', f'd{i}'
            variant(db, folder)
            about = f'{name}: {" ".join(history)}, {variant.__name__}'
            before = {p: open(p, 'rb').read() for p in glob.glob(folder + '/**', recursive=True) if os.path.isfile(p) and not p.endswith('.ofs')}
            try:
                out = run('import', folder, '--name', name, '--data-dir', s.data)
                assert f'Imported database {name} with identity {db.identity:064x}: {len(db.log)} transactions\n' in out, out
                assert before == {p: open(p, 'rb').read() for p in before}
                assert 'all is well' in run('check', folder)
            except AssertionError as e: raise AssertionError(about) from e
            imported.append(Imported(name, db, [(B, 0x22), (C, 0x33)]))
            imported[-1].about = about
            shutil.rmtree(folder)
        s.start()
        for x in imported: go_on(s, x, token, owner)
        s.stop()
        text_ = run('check', s.data)
        same('databases that are well', text_.count('all is well'), len(imported))
        replicas = {}
        for d in glob.glob(s.data + '/replicas/*'):
            r = Reader().folder(d)
            replicas[r.values(ref.MODULE)[0][0]] = d, r
        for x in imported:
            folder, r = replicas[x.db.identity]
            try: compare(x, r, owner)
            except (AssertionError, StopIteration) as e: raise AssertionError(x.about) from e
            dump = run('log', 'dump', folder)
            assert dump.count('  transaction ') == len(r.records) and "insert person" in dump and 'insert st_module' in dump, x.about
        s.start() # now from snapshots
        for x in imported:
            rows_are(s, x, x.final, token, owner)
            republish(s, x, token, owner)
        s.stop()
        text_ = run('check', s.data)
        same('databases that are well', text_.count('all is well'), len(imported))
        for x in imported:
            r = Reader().folder(replicas[x.db.identity][0])
            for n, want in x.final.items(): same(f'{x.about}: {n}', [v for v in r.content(n) if n != 'left' or v[0] != owner], want)
        assert any(open(p, 'rb').read(4) == b'\x28\xb5\x2f\xfd' for p in glob.glob(s.data + '/replicas/*/clog/*.log')) and glob.glob(s.data + '/replicas/*/snapshots/*')
        s.start()
        for x in imported: rows_are(s, x, x.final, token, owner)


def rows_are(s, x, tables, token, owner):
    types = {t.name: t.type for t in x.db.tables}
    for n, rows in tables.items(): same(f'{x.about}: {n}', by_sql(s, x.name, n, token, f'0x{owner:x}'), sorted(json.dumps(shown(types[n], r)) for r in rows)) # but the ends of these requests


def republish(s, x, token, owner):
    """An update of the module, from V9 to V10 where it was V9: more tables, the rows stay; numbers go on."""
    v9 = CAMEL not in x.db.tables
    more = [EVENT, CAMEL] if v9 else []
    status, body, _ = s.http('PUT', f'/v1/database/{x.name}', program(x.db.tables + more + [ANOTHER], 'v_score' in x.db.ids, False), token)
    assert status == 200 and 'Success' in body, (x.about, status, body)
    x.db.tables = x.db.tables + more + [ANOTHER]
    x.final |= {ANOTHER.name: []} | ({CAMEL.name: []} if v9 else {})
    for n, values in [('another', [0, 'first'])] + [('camel_name', [99])]:
        assert s.call(x.name, 'add_' + n, *values, token=token)[0] == 200, (x.about, n)
        x.final[n] = sorted(x.final[n] + [(1, 'first') if n == 'another' else tuple(values)])
    before = x.final['person']
    assert s.call(x.name, 'add_person', 0, 'after the update', token=token)[0] == 200
    new = s.sql(x.name, "SELECT * FROM person WHERE name = 'after the update'", token) # by a hash index of before
    same(x.about, len(new), 1)
    assert new[0][0] not in [i for i, _ in before]
    x.final['person'] = sorted(before + [tuple(new[0])])
    rows_are(s, x, x.final, token, owner)


def go_on(s, x, token, owner):
    """Of a served database: identity, owner, every row; then some calls."""
    facts = json.loads(s.http('GET', f'/v1/database/{x.name}')[1])
    assert x.id in json.dumps(facts['database_identity']) and f'{owner:064x}' in json.dumps(facts['owner_identity']), (x.about, facts)
    tables, types = x.expect(), {t.name: t.type for t in x.db.tables}
    for _ in range(100): # the timer fires by itself
        if s.sql(x.name, 'SELECT COUNT(*) AS n FROM timer', token) == [[2]]: break
        time.sleep(0.1)
    rows_are(s, x, tables, token, owner)
    same(x.about, s.sql(x.name, 'SELECT COUNT(*) AS n FROM st_client', token), [[1]]) # this very call
    same(x.about, s.sql(x.name, "SELECT name FROM person WHERE id = 9000000", token), [['named by number']])
    x.calls = []
    def call(reducer, table, *values):
        status, body, _ = s.call(x.name, reducer, *[shown(t, v) for (_, t), v in zip(types[table][1], values)], token=token)
        assert status == 200, (x.about, reducer, status, body)
        x.calls.append((reducer, table, encode(types[table], values)))
    stored = {(v[2], v[3]): v[-1] for v in x.db.values(ref.SEQUENCE)}
    for n, values in [('person', (0, 'new')), ('later', (0, 'new')), ('drawing', (0, (1, 0.5)))]:
        call('add_' + n, n, *values)
        number = stored[x.db.ids[n], 0]
        tables[n] = sorted(tables[n] + [(number, *values[1:])])
        same(f'{x.about}: {n}', by_sql(s, x.name, n, token), sorted(json.dumps(shown(types[n], r)) for r in tables[n]))
    call('set_person', 'person', 9_000_000, 'named anew')
    tables['person'] = [(i, 'named anew' if i == 9_000_000 else name) for i, name in tables['person']]
    call('del_note', 'note', *tables['note'][0])
    tables['note'] = []
    if EVENT in x.db.tables: call('add_happened', 'happened', 2, 'now')
    if CAMEL in x.db.tables:
        call('add_camel_name', 'camel_name', 7)
        tables['camel_name'] = sorted(tables['camel_name'] + [(7,)])
        same(x.about, s.sql(x.name, 'SELECT someCol FROM camelName WHERE someCol = 7', token), [[7]])
    if 'v_score' in x.db.ids: same(x.about, s.sql(x.name, 'SELECT * FROM v_score', token), [])
    s.sql(x.name, "DELETE FROM score WHERE name = 'player 2'", token)
    tables['score'] = [r for r in tables['score'] if r[0] != 'player 2']
    x.final = tables


def compare(x, r, owner):
    """The log as it is now, record by record."""
    db, ids = x.db, x.db.ids
    n = len(db.log)
    for i in range(n): same(f'transaction {i}', r.records[i].encode().hex(), db.log[i].encode().hex())
    new = r.records[n:]
    def rows(t, ops): return [decode(r.types[t], ref.Cursor(b)) for b in ops.get(t, [])]
    if ref.OUTBOX not in db.rows: # tables that came after that version
        missing = new.pop(0)
        want = Record(None, ref.describing(range(21, 27)))
        assert missing.inputs is None and not missing.deletes and not missing.truncates
        for t, w in want.inserts.items(): assert set(w) <= set(missing.inserts[t]), t
        for t, w in missing.inserts.items(): assert set(w) <= set(r.system[t]), t
    gone = [new.pop(0) for _ in range(2)]
    same('clients', sorted((g.inputs.name, g.inputs.caller, g.inputs.connection, g.inputs.args, rows(ids['left'], g.inserts), list(g.inserts)) for g in gone),
         sorted(('gone', who, conn, b'', [(who, conn)], [ids['left']]) for who, conn in x.left))
    same('clients', [(sorted(g.deletes), g.truncates) for g in gone], [([7, 11], []), ([11], [7])]) # a row of credentials stays,
    clear = new.pop(0)
    same('what a server of before left', (clear.inputs, clear.inserts, clear.deletes, clear.truncates), (None, {}, {}, db.stale)) # and goes here
    assert all(NOW_US <= g.inputs.timestamp <= NOW_US + 3600 * 10**6 for g in gone)
    # each call is three transactions; the timer's may be anywhere between
    due = next(v for v in db.content('timer') if v[1] == (1, (THEN_US,)))
    i = next(i for i, t in enumerate(new) if t.inputs and t.inputs.name == 'tick')
    tick = new.pop(i) # with the row of its own, so that a crash does not run it twice
    same('tick', (tick.inputs.caller, tick.inputs.connection, tick.inputs.args, tick.inserts, tick.deletes, tick.truncates),
         (db.identity, 0, encode(TABLES[4].type, due), {ids['ticked']: [encode(TABLES[4].type, due)]}, {ids['timer']: [encode(TABLES[4].type, due)]}, []))
    calls, sessions, connected, others = list(x.calls), 0, None, []
    for t in new:
        name = t.inputs.name if t.inputs else None
        if name == 'call_identity_connected':
            assert connected is None and set(t.inserts) == {7, 11} and not t.deletes and not t.truncates and t.inputs.args == b''
            connected = rows(7, t.inserts)[0]
            same('connected', ([connected], rows(11, t.inserts)[0][0], connected[0]), ([(t.inputs.caller, t.inputs.connection)], t.inputs.connection, owner))
            assert json.loads(rows(11, t.inserts)[0][1])['iss']
            sessions += 1
        elif name == 'gone':
            same('disconnected', ((t.inputs.caller, t.inputs.connection), t.inserts, t.deletes, t.truncates), (connected, {ids['left']: [encode(TABLES[6].type, connected)]}, {}, [7, 11]))
            connected = None
        elif name:
            reducer, table, args = calls.pop(0)
            same('call', (name, t.inputs.caller, t.inputs.connection, t.inputs.args), (reducer, *connected, args))
            tid = ids[table]
            if reducer == 'del_note': same(reducer, (t.inserts, t.deletes, t.truncates), ({}, {}, [tid]))
            elif reducer == 'set_person': same(reducer, (t.inserts, t.deletes, t.truncates), ({tid: [args]}, {tid: [encode(TABLES[0].type, (9_000_000, 'named by number'))]}, []))
            elif reducer in ('add_person', 'add_later', 'add_drawing'):
                before, after = rows(ref.SEQUENCE, t.deletes), rows(ref.SEQUENCE, t.inserts)
                row = rows(tid, t.inserts)
                same(reducer, (len(row), set(t.inserts), set(t.deletes), t.truncates, before[0][:-1], before[0][-1]), (1, {tid, ref.SEQUENCE}, {ref.SEQUENCE}, [], after[0][:-1], row[0][0]))
                assert after[0][-1] in (before[0][-1] + 1, (before[0][-1] // 4096 + 1) * 4096)
            else: same(reducer, (t.inserts, t.deletes, t.truncates), ({tid: [args]}, {}, []))
        else: others.append(t)
    same('calls that are not in the log', calls, [])
    assert connected is None
    same('SQL and programs', [(t.inserts, sorted(t.deletes), t.truncates) for t in others], [({}, [ids['score']], [])])
    for n, want in x.final.items():
        got = r.content(n)
        if n == 'left': got = [v for v in got if v[0] != owner]
        same(n, got, want)
    for t in (ref.CLIENT, ref.CREDENTIALS, ref.VIEW_SUB): same(f'table {t}', r.values(t), [])


# ---- what is refused

def refuses_them():
    with tempfile.TemporaryDirectory() as temp:
        data, folder = temp + '/data', temp + '/folder'
        good = live(['2.8'], 0xc200 << 240 | 7, 5)
        clog = folder + '/clog/'
        def refused(what, make, *words):
            shutil.rmtree(folder, ignore_errors=True)
            db = live(['2.8'], 0xc200 << 240 | 7, 5)
            make(db)
            before = {p: open(p, 'rb').read() for p in glob.glob(folder + '/clog/*.log')}
            out = run('import', folder, '--name', 'x', '--data-dir', data, code=1)
            assert 'Sanitizer' not in out and all(w in out for w in words), f'{what}: {out}\nexpected {words}'
            assert before == {p: open(p, 'rb').read() for p in before} and not glob.glob(data + '/replicas/*'), what
        def path(offset): return clog + ref.segment_name(offset)
        def parts_of(change, **options):
            def make(db):
                parts = segments(db.log, cuts(db))
                change(db, parts)
                write_folder(folder, parts, **options)
            return make
        def flip(part, commit, at, bits=1): # at: a byte of the commit
            def change(db, parts):
                b = bytearray(parts[part].data)
                b[parts[part].places[commit][1] + at] ^= bits
                parts[part].data = bytes(b)
            return parts_of(change)
        def position(part, commit): return f'byte position {segments(good.log, cuts(good))[part].places[commit][1]}'
        # bytes that changed
        refused('an old segment', flip(3, 4, 30), path(10), position(3, 4), 'checksum')
        refused('the newest segment', flip(5, 1, 30), path(len(good.log) - 4), position(5, 1), 'checksum')
        refused('an offset', flip(3, 4, 1), path(10), position(3, 4))
        refused('a length', flip(3, 4, 20, 0x7f), path(10), position(3, 4))
        refused('a count', flip(3, 4, 17, 0x7f), path(10), position(3, 4))
        refused('a checksum', flip(3, 4, 18 + 4), path(10), position(3, 4))
        # headers
        for at, byte, word in [(0, b'[', 'header'), (5, b'3', 'header'), (6, b'\2', 'header'), (7, b'\1', 'header')]:
            def change(db, parts): parts[2].data = parts[2].data[:at] + byte + parts[2].data[at + 1:]
            refused(f'header byte {at}', parts_of(change), path(9), word)
        # whole commits of the wrong kind, checksums right
        def rewrite(part, fn): # fn(offset, payload) -> bytes of the commit
            def change(db, parts):
                s = ref.Segment(parts[part].first)
                for offset, _ in parts[part].places:
                    s.places.append((offset, len(s.data)))
                    s.data += fn(offset, db.log[offset].encode())
                parts[part] = s
            return parts_of(change)
        refused('an offset too far', rewrite(3, lambda o, p: commit_bytes(o + (o >= 15), [p])), path(10), 'expected', '16')
        refused('an offset again', rewrite(3, lambda o, p: commit_bytes(o - (o >= 15), [p])), path(10))
        refused('an epoch that is smaller', rewrite(3, lambda o, p: commit_bytes(o, [p], 9 if o < 15 else 8)), path(10), 'epoch')
        refused('an epoch that is smaller than that of the segment before', rewrite(3, lambda o, p: commit_bytes(o, [p], 9)), path(30), 'epoch')
        refused('no transactions in a commit', rewrite(3, lambda o, p: commit_bytes(o, [] if o == 15 else [p])), path(10))
        def lost(db, parts): del parts[2]
        refused('a segment that is missing', parts_of(lost), path(10), '9')
        def first_lost(db, parts): del parts[0]
        refused('the beginning is missing', parts_of(first_lost), 'commitlog starts at 5')
        def misnamed(db, parts): parts[3].first = 11
        refused('a segment under another name', parts_of(misnamed), path(11))
        # records that cannot be
        person = good.ids['person']
        def record(r, *words):
            def change(db, parts):
                parts[-1].add(len(db.log), [r], 0)
                parts[-1].add(len(db.log) + 1, [extra(db)], 0)
            what = r.hex()[:80]
            refused(what, parts_of(change), path(len(good.log) - 4), 'byte position', *(words or [f'transaction {len(good.log)}']))
        one = ref.varint(1)
        def ops(tid, n, rows): return one + struct.pack('<I', tid) + ref.varint(n) + rows + b'\0\0'
        record(b'', 'record')
        record(b'\x30\0\0\0', 'flags')
        record(b'\x20' + ops(9999, 1, b'\0'), 'table 9999', 'does not exist')
        record(b'\x20' + ops(person, 1, b'\1\0\0\0\xff\0\0\0x'), f'table {person}')
        record(b'\x20' + ops(person, 1, b'\1\0\0\0\2\0\0\0\xff\xfe'), f'table {person}', 'utf8')
        record(b'\x20' + ops(person, 1 << 62, b'\1\0\0\0\0\0\0\0'))
        record(b'\x20' + ops(good.ids['empty'], 1 << 62, b''))
        record(b'\x20' + ops(good.ids['direct'], 1, b'\1\0\0\0\2'), f'table {good.ids["direct"]}')
        record(b'\x20' + ops(good.ids['drawing'], 1, bytes(16) + b'\3'), f'table {good.ids["drawing"]}')
        record(b'\x20' + ops(person, 1, encode(TABLES[0].type, (3, 'ok'))) + b'left', 'expected records of')
        record(b'\xa0\xff\xff\xff\xff')
        record(b'\x20' + b'\xff' * 11)
        record(b'\x20' + ops(ref.COLUMN, 1, ref.row(ref.COLUMN, person, 2, 'odd', b'\x63')), 'table person', 'column 2')
        def bare(db):
            db.log.append(Record(None, {ref.TABLE: [ref.row(ref.TABLE, 70000, 'bare', 'user', 'public', [3])]}))
            plain(db, folder)
        refused('a table that cannot be', bare, folder, 'table 70000, bare')
        # nothing to import
        def no_module(db):
            db.log = db.log[:1]
            db.log[0].inserts = {t: r for t, r in db.log[0].inserts.items() if t != ref.MODULE}
            plain(db, folder)
        refused('no module', no_module, folder, 'holds no module')
        def two_modules(db):
            db.log.append(Record(None, {ref.MODULE: [ref.row(ref.MODULE, 1, 2, 0, 3, b'', '0.0.1')]}))
            plain(db, folder)
        refused('two modules', two_modules, folder, 'module')
        def nothing(db): os.makedirs(clog)
        refused('no segments', nothing, clog[:-1], 'no log segment')
        def header(db): write_folder(folder, [ref.Segment(0)])
        refused('a header alone', header, folder)
        # compressed ones
        def squeezed(change):
            def make(db):
                write_folder(folder, segments(db.log, cuts(db)), compressed=[0, 1, 2, 3, 4])
                with open(path(10), 'rb') as f: b = f.read()
                with open(path(10), 'wb') as f: f.write(change(b))
            return make
        refused('compressed, cut', squeezed(lambda b: b[:len(b) // 2]), path(10))
        refused('compressed, no seek table', squeezed(lambda b: b[:-9]), path(10))
        refused('compressed, damaged', squeezed(lambda b: b[:40] + bytes([b[40] ^ 0x55]) + b[41:]), path(10))
        refused('compressed, more frames than there are', squeezed(lambda b: b[:-9] + b'\xff\xff\xff\x7f' + b[-5:]), path(10))
        # and it is the damage that was refused
        shutil.rmtree(folder)
        compressed(good, folder)
        run('import', folder, '--name', 'x', '--data-dir', data)


if __name__ == '__main__': main([serves_them, refuses_them])
