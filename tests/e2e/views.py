"""Materialised views of a module of the official library: first need, refresh in the transaction, sharing, failures, updates (spec/05 §21)."""
import json, struct
from lightcone import Client, Server, bstr, main, module


class Reader:
    def __init__(self, b): self.b, self.at = b, 0
    def take(self, n):
        self.at += n
        assert self.at <= len(self.b)
        return self.b[self.at - n:self.at]
    def u32(self): return struct.unpack('<I', self.take(4))[0]
    def text(self): return self.take(self.u32()).decode()
    def row_list(self):
        if self.take(1) == b'\0':
            size = struct.unpack('<H', self.take(2))[0]
            data = self.take(self.u32())
            return [data[i:i + size] for i in range(0, len(data), size)]
        offsets = [struct.unpack('<Q', self.take(8))[0] for _ in range(self.u32())]
        data = self.take(self.u32())
        return [data[a:b] for a, b in zip(offsets, offsets[1:] + [len(data)])]
    def tables(self): return [(self.text(), self.row_list()) for _ in range(self.u32())]
    def sets(self):
        out = []
        for _ in range(self.u32()):
            set_id = self.u32()
            for _ in range(self.u32()):
                name = self.text()
                for _ in range(self.u32()):
                    assert self.take(1) == b'\0'
                    inserts = self.row_list()
                    out.append((set_id, name, sorted(self.row_list()), sorted(inserts)))
        return out


class Subscriber(Client):
    def subscribe(self, set_id, *queries):
        self.send(b'\0' + struct.pack('<III', 0, set_id, len(queries)) + b''.join(map(bstr, queries)))
        tag, rest = self.next()
        assert tag == 1, (tag, rest)
        return Reader(rest[8:]).tables()
    def unsubscribe(self, set_id):
        self.send(b'\1' + struct.pack('<IIB', 0, set_id, 1))
        assert self.next()[0] == 2
    def update(self):
        tag, rest = self.next()
        assert tag == 4, (tag, rest)
        return Reader(rest).sets()
    def do(self, reducer, args=b''):
        """Calls; gives the own update, or the error's text."""
        self.call(reducer, args)
        tag, rest = self.next()
        assert tag == 6, (tag, rest)
        r = Reader(rest)
        r.take(12)
        kind = r.take(1)[0]
        if kind == 2: r.u32() # a string in bytes
        if kind: return r.text()
        assert r.u32() == 0
        return r.sets()

def u32s(*n): return struct.pack('<%dI' % len(n), *n)
def level(row): return struct.unpack('<I', row[-4:])[0]
def runs(s, token, name): return sum(f'{name} runs' in line for line in s.http('GET', '/v1/database/v/logs?num_lines=1000', token=token)[1].split('\n'))


def views():
    with Server() as s:
        token = s.identity()['token']
        s.publish('v', module('views'), token)
        a, b = Subscriber(s, 'v', protocol='v2.bsatn.spacetimedb'), Subscriber(s, 'v', protocol='v2.bsatn.spacetimedb')
        assert a.do('join', u32s(1, 5)) == [] and b.do('join', u32s(2, 6)) == []

        # one instance for each caller; only his own row
        assert [(n, [level(r) for r in rows]) for n, rows in a.subscribe(1, 'SELECT * FROM me')] == [('me', [5])]
        assert [(n, [level(r) for r in rows]) for n, rows in b.subscribe(1, 'SELECT * FROM me')] == [('me', [6])]
        assert runs(s, token, 'me') == 2
        second = Subscriber(s, 'v', a.token, protocol='v2.bsatn.spacetimedb')
        assert len(second.subscribe(7, 'SELECT * FROM me')[0][1]) == 1 and runs(s, token, 'me') == 2 # shared by the connections of an identity
        [(set_id, name, gone, come)] = a.do('raise', u32s(1, 7))
        assert (set_id, name, [level(r) for r in gone], [level(r) for r in come]) == (1, 'me', [5], [7])
        assert [(x[0], x[1]) for x in second.update()] == [(7, 'me')]
        assert runs(s, token, 'me') == 3 # b's has read another key
        assert a.do('raise', u32s(2, 8)) == [] and [level(r) for r in b.update()[0][3]] == [8]
        assert runs(s, token, 'me') == 4
        second.close()
        assert [x[1] for x in a.do('raise', u32s(1, 9))] == ['me'] # held by the other connection

        # a private table, through a view only
        assert a.subscribe(2, 'SELECT * FROM my_items') == []
        assert [x[1] for x in a.do('give', u32s(1, 1) + bstr('sword'))] == ['my_items']
        assert a.do('give', u32s(2, 2) + bstr('shield')) == []
        assert s.http('POST', '/v1/database/v/sql', 'SELECT * FROM item')[0] == 400
        assert s.sql('v', 'SELECT * FROM my_items', a.token)[0] and len(s.sql('v', 'SELECT * FROM my_items', b.token)) == 1 and s.sql('v', 'SELECT * FROM my_items', token) == []

        # points: runs when that key changes, and not else
        assert len(s.sql('v', 'SELECT * FROM hero', token)) == 1 and runs(s, token, 'hero') == 1
        a.do('raise', u32s(1, 10))
        assert runs(s, token, 'hero') == 2 and len(s.sql('v', 'SELECT * FROM hero WHERE level = 10', token)) == 1
        a.do('raise', u32s(2, 11)), b.update()
        assert runs(s, token, 'hero') == 2

        # whole tables: runs with every change, says something when the result differs; one for all
        assert a.subscribe(3, 'SELECT * FROM total', 'SELECT * FROM veterans')[0][0] == 'total'
        assert [x[1:] for x in b.subscribe(3, 'SELECT * FROM total')] == [([struct.pack('<Q', 2)],)]
        before = runs(s, token, 'total')
        got = a.do('add', u32s(3, 12))
        assert [(x[1], len(x[2]), len(x[3])) for x in got] == [('total', 1, 1), ('veterans', 0, 1)], got
        assert b.update()[0][3] == [struct.pack('<Q', 3)] and runs(s, token, 'total') == before + 1
        got = a.do('raise', u32s(3, 13))
        assert [(x[1], len(x[2]), len(x[3])) for x in got] == [('veterans', 1, 1)] and runs(s, token, 'total') == before + 2
        assert [x[1] for x in a.do('raise', u32s(3, 1))] == ['veterans']
        before = runs(s, token, 'veterans')
        assert a.do('raise', u32s(3, 2)) == [] and runs(s, token, 'veterans') == before # neither the old row nor the new one is what the query asks for
        assert [x[1] for x in a.do('raise', u32s(3, 30))] == ['veterans'] and runs(s, token, 'veterans') == before + 1
        a.do('raise', u32s(3, 2))

        # joined to a table
        got = a.subscribe(4, 'SELECT player.* FROM hero JOIN player ON hero.id = player.id')
        assert [(n, len(rows)) for n, rows in got] == [('player', 1)], got

        # a refresh that fails takes the transaction with it
        a.subscribe(5, 'SELECT * FROM fragile')
        a.do('add', u32s(9, 5)), b.update()
        assert a.do('raise', u32s(9, 666)) == 'The instance encountered a fatal error.'
        assert [r[2] for r in s.sql('v', 'SELECT * FROM player WHERE id = 9', token)] == [5]
        status, text, _ = s.http('POST', '/v1/database/v/sql', 'UPDATE player SET level = 666 WHERE id = 9', token=token)
        assert status == 400 and 'The module instance encountered a fatal error' in text, (status, text)
        assert [x[1] for x in a.do('raise', u32s(9, 6))] == ['fragile']
        s.http('POST', '/v1/database/v/sql', 'DELETE FROM player WHERE id = 9', token=token) # DML refreshes too
        assert {x[1] for x in a.update()} == {'total', 'fragile'} and b.update()[0][1] == 'total'

        # views are read only, and their arg_hash is nobody's business
        assert 'DML on views is not supported' in s.http('POST', '/v1/database/v/sql', 'DELETE FROM hero', token=token)[1]
        assert '`arg_hash` is not in scope' in s.http('POST', '/v1/database/v/sql', 'SELECT arg_hash FROM hero', token=token)[1]
        assert s.sql('v', 'SELECT COUNT(*) AS n FROM total', token) == [[1]]
        b.unsubscribe(3)
        a.do('leave', u32s(3))
        s.kill()
        s.start() # after a restart nothing is materialised until somebody asks
        assert s.sql('v', 'SELECT * FROM total', token) == [[2]]
        c = Subscriber(s, 'v', a.token, protocol='v2.bsatn.spacetimedb')
        everything = {n: len(r) for n, r in c.subscribe(1, 'SELECT * FROM *')}
        assert everything == {'player': 2, 'hero': 1, 'me': 1, 'my_items': 1, 'total': 1, 'veterans': 2}, everything
        assert [x[1] for x in c.do('raise', u32s(1, 20))] and c.do('raise', u32s(77, 1)) == 'no such player'
        s.check_alive()


def arguments():
    """spec/07 §5, cases 23 to 27: instances by argument and by caller, the texts of what is refused, subscribe-to-all."""
    with Server() as s:
        token = s.identity()['token']
        s.publish('v', module('views'), token)
        a, b = (Subscriber(s, 'v', protocol='v2.bsatn.spacetimedb') for _ in range(2))
        a.do('join', u32s(1, 5)), b.do('join', u32s(2, 6))
        for n, owner, name in (1, 1, 'sword'), (2, 2, 'shield'), (3, 1, "O'Neil"): a.do('give', u32s(n, owner) + bstr(name))
        ids = lambda query, who=token: sorted(r[0] for r in s.sql('v', query, who))

        # 23: every way to write it
        assert ids('SELECT * FROM items_of(1)') == ids('select x.* from items_of(1) as x') == ids('SELECT * FROM "items_of"(+1)') == [1, 3] and ids('SELECT * FROM items_of(2)') == [2]
        assert runs(s, token, 'items_of') == 2 # an instance for each value, however it is written
        assert ids("SELECT * FROM my_named('O''Neil', -5)", a.token) == [3] and ids("SELECT * FROM my_named('O''Neil', 4)", a.token) == [] and ids("SELECT * FROM my_named('O''Neil', -5)", b.token) == []
        assert runs(s, token, 'my_named') == 3
        assert ids('SELECT * FROM hero()') == ids('SELECT * FROM hero') == [1] and ids('SELECT * FROM player()') == [1, 2]

        # 24: what is refused, by HTTP and by subscription
        whole = 'View `items_of` takes arguments, so it can only be queried as `SELECT * FROM items_of(...)`'
        few = 'View `items_of` takes 1 argument(s), but 0 were given'
        for query, text in (
                ('SELECT * FROM items_of(owner)', 'Unsupported view argument: owner. View arguments must be literals'),
                ('SELECT * FROM items_of(:sender)', 'Unsupported view argument: :sender. View arguments must be literals'),
                ('SELECT * FROM items_of(1 + 1)', 'Unsupported view argument: 1 + 1. View arguments must be literals'),
                ('SELECT * FROM items_of(owner => 1)', 'Unsupported view argument: owner => 1. View arguments must be positional literals'),
                ('SELECT * FROM items_of(*)', 'Unsupported view argument: *. View arguments must be positional literals'),
                ('SELECT player.* FROM player JOIN items_of(1) ON player.id = items_of.owner', 'Unsupported view call in a JOIN: `items_of`. A view that takes arguments can only be queried by itself'),
                ('SELECT player.* FROM player JOIN items_of ON player.id = items_of.owner', few),
                ('SELECT * FROM player(1)', '`player` is a table, not a view; it does not take arguments'),
                ('SELECT * FROM items_of', few), ('SELECT * FROM items_of()', few), ('SELECT * FROM hero(1)', 'View `hero` takes 0 argument(s), but 1 were given'),
                ('SELECT * FROM items_of(1, 2)', 'View `items_of` takes 1 argument(s), but 2 were given'),
                ('SELECT * FROM items_of(1) WHERE id = 1', whole)):
            status, got, _ = s.http('POST', '/v1/database/v/sql', query, token)
            assert status == 400 and text in got, (query, status, got)
            c = Client(s, 'v', protocol='v2.bsatn.spacetimedb')
            c.send(b'\0' + struct.pack('<III', 0, 9, 1) + bstr(query))
            tag, rest = c.next()
            assert text in rest.decode('utf8', 'replace'), (query, tag, rest)
            c.close()
        for query in 'SELECT id FROM items_of(1)', 'SELECT * FROM items_of(1) LIMIT 1', 'SELECT COUNT(*) AS n FROM items_of(1)':
            status, got, _ = s.http('POST', '/v1/database/v/sql', query, token)
            assert status == 400 and whole in got, (query, status, got)
        for wrong in "SELECT * FROM items_of('x')", 'SELECT * FROM items_of(-1)', 'SELECT * FROM items_of(4294967296)', 'SELECT * FROM items_of(true)':
            assert s.http('POST', '/v1/database/v/sql', wrong, token)[0] == 400, wrong

        # 25: a change that concerns one instance reaches that one only; ending one leaves the other
        assert [(n, len(r)) for n, r in a.subscribe(1, 'SELECT * FROM items_of(1)', 'SELECT * FROM items_of(1)')] == [('items_of', 2)]
        assert [(n, len(r)) for n, r in a.subscribe(2, 'SELECT * FROM items_of(2)')] == [('items_of', 1)]
        before = runs(s, token, 'items_of')
        [(set_id, name, gone, come)] = a.do('give', u32s(4, 1) + bstr('bow'))
        assert (set_id, name, len(gone), len(come)) == (1, 'items_of', 0, 1) and runs(s, token, 'items_of') == before + 1
        assert [x[0] for x in a.do('give', u32s(5, 2) + bstr('axe'))] == [2] and a.do('give', u32s(6, 3) + bstr('pan')) == []
        a.unsubscribe(1)
        assert a.do('give', u32s(7, 1) + bstr('net')) == [] and [x[0] for x in a.do('give', u32s(8, 2) + bstr('rod'))] == [2]

        # 26: the same arguments, two callers
        query = "SELECT * FROM my_named('rope', 0)"
        assert a.subscribe(3, query) in ([], [('my_named', [])]) and b.subscribe(3, query) in ([], [('my_named', [])])
        assert [x[0] for x in a.do('give', u32s(9, 1) + bstr('rope'))] == [3]
        assert [x[0] for x in a.do('give', u32s(10, 2) + bstr('rope')) if x[0] == 3] == [] and [x[0] for x in b.update()] == [3]

        # 27: not among all tables; parameters are in the catalog
        everything = {n for n, _ in Subscriber(s, 'v', protocol='v2.bsatn.spacetimedb').subscribe(1, 'SELECT * FROM *')}
        assert not everything & {'items_of', 'my_named'} and 'player' in everything, everything
        assert sorted(r[1:3] for r in s.sql('v', 'SELECT * FROM st_view_param', token)) == [[0, 'name'], [0, 'owner'], [1, 'at_least']]
        s.publish('v', module('views'), token) # live instances run again with their arguments
        assert [x[0] for x in a.do('give', u32s(11, 2) + bstr('cup'))] == [2]
        s.check_alive()


if __name__ == '__main__': main([views, arguments])
