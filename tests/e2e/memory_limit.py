"""The limit of a database's data memory: the call that exceeds it fails and says so, nothing of it stays, the others of the server go on, and room can be made again."""
import time
from lightcone import Client, Server, bstr, main, module


def full_and_emptied():
    with Server() as s:
        token = s.identity()['token']
        s.publish('full', module('chat'), token)
        s.publish('other', module('chat'), token)
        s.stop()
        s.options = ['--database-limits', 'full=0/0/16']
        s.start()
        text = 'x' * 4000
        def fill(database, most):
            """Messages until one fails: how many, and the failure."""
            c = Client(s, database, token)
            for sent in range(0, most, 500):
                for i in range(500): c.call('send_message', bstr(text))
                got = []
                while len(got) < 500: got += c.results(*c.next())
                bad = [e for _, e in got if e]
                if bad: return sent + sum(e is None for _, e in got), bad
            c.close()
            return most, []
        n, bad = fill('full', 20000)
        want = 'The database has reached its limit of data memory; nothing of the call has happened.'
        assert 1000 < n < 5000 and set(bad) == {want}, (n, set(bad))
        assert s.sql('full', 'SELECT COUNT(*) AS n FROM message', token) == [[n]]
        status, answer, _ = s.call('full', 'send_message', text, token=token)
        assert (status, answer) == (530, want), (status, answer)
        assert want in s.http('GET', '/v1/database/full/logs?num_lines=20', None, token)[1]
        assert fill('other', 6000) == (6000, []) # nobody else is concerned
        s.check_alive()
        s.http('POST', '/v1/database/full/sql', 'DELETE FROM message', token)
        assert s.sql('full', 'SELECT COUNT(*) AS n FROM message', token) == [[0]]
        assert s.call('full', 'send_message', text, token=token)[0] == 200
        s.kill() # what was refused is in no log
        s.start()
        assert s.sql('full', 'SELECT COUNT(*) AS n FROM message', token) == [[1]]


if __name__ == '__main__': main([full_and_emptied])
