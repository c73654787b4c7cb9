#!/usr/bin/env python3
"""The Model Context Protocol (spec/04 §3.12): of a database and of the server, tools, errors."""
import json
from lightcone import Server, main, module


def mcp():
    with Server() as s:
        me = s.identity()
        token = me['token']
        database = s.publish('e2e', module('e2e-2.14'), token)
        def post(path, body, status=200, kind='application/json'):
            got, text, headers = s.http('POST', path, body if isinstance(body, (str, bytes)) else json.dumps(body), token, {'Content-Type': kind} if kind else {})
            assert got == status, (path, body, got, text)
            return json.loads(text) if status == 200 else text
        def rpc(method, params=None, path='/v1/database/e2e/mcp', id=7):
            r = post(path, {'jsonrpc': '2.0', 'id': id, 'method': method, **({} if params is None else {'params': params})})
            assert r['jsonrpc'] == '2.0' and r['id'] == id
            return r
        def tool(name, path='/v1/database/e2e/mcp', **arguments):
            r = rpc('tools/call', {'name': name, 'arguments': arguments}, path)
            if 'error' in r: return r['error']['code']
            [content] = r['result']['content']
            assert content['type'] == 'text'
            return content['text'], r['result']['isError']

        for path, extra in ('/v1/database/e2e/mcp', []), ('/v1/mcp', ['list_databases']):
            r = rpc('initialize', {'protocolVersion': '2025-06-18'}, path, id='a')['result']
            assert r['protocolVersion'] == '2025-06-18' and r['serverInfo']['name'] == 'spacetimedb' and 'tools' in r['capabilities']
            tools = {t['name']: t for t in rpc('tools/list', path=path)['result']['tools']}
            assert sorted(tools) == sorted(['ping', 'get_schema', 'sql', 'call'] + extra)
            assert all(('database' in t['inputSchema']['required']) == (bool(extra) and n in ('get_schema', 'sql', 'call')) for n, t in tools.items()), tools
            assert all(set(t['inputSchema']['required']) <= set(t['inputSchema']['properties']) for t in tools.values())
            assert rpc('ping', path=path)['result'] == {} and rpc('zzz', path=path)['error']['code'] == -32601
            assert post(path, {'jsonrpc': '2.0', 'method': 'notifications/initialized'}, 202) == '' and rpc('ping', path=path, id=None)['result'] == {}
            assert tool('ping', path) == ('pong', False) and tool('ping', path, message='h"i') == ('pong: h"i', False)
            post(path, '{', 400), post(path, '', 400), post(path, '{}', 415, None), post(path, '{}', 415, 'text/plain')
            for bad in {}, [], 3, {'jsonrpc': '2.0', 'id': 1}, {'jsonrpc': '1.0', 'id': 1, 'method': 'ping'}, {'jsonrpc': '2.0', 'id': [], 'method': 'ping'}, {'id': 1, 'method': 'ping'}: assert post(path, bad)['error']['code'] == -32600, bad
            assert rpc('tools/call', {'name': 'zzz'}, path)['error']['code'] == rpc('tools/call', {}, path)['error']['code'] == rpc('tools/call', None, path)['error']['code'] == -32602
            where = {'database': 'e2e'} if extra else {}
            assert tool('sql', path, **where) == tool('call', path, **where) == tool('call', path, reducer='append_log', args={}, **where) == -32602
            assert tool('call', path, reducer='append_log', args=[len(extra), 'x"y'], **where) == ("reducer 'append_log' committed", False)
            assert tool('call', path, reducer='zzz', **where) == ('no such reducer', True)
            text, wrong = tool('call', path, reducer='append_log', args=[1], **where)
            assert wrong and text.startswith("reducer 'append_log' failed: invalid arguments"), text
            text, wrong = tool('sql', path, sql='SELECT seq FROM log_entry', confirmed=False, **where)
            assert not wrong and sorted(r[0] for r in json.loads(text)[0]['rows']) == list(range(len(extra) + 1))
            text, wrong = tool('sql', path, sql='SELEC', **where)
            assert wrong and text
            text, wrong = tool('get_schema', path, **where)
            assert not wrong and json.loads(text) == json.loads(s.http('GET', '/v1/database/e2e/schema?version=9')[1])
        assert json.loads(tool('list_databases', '/v1/mcp')[0]) == [{'identity': database, 'names': ['e2e']}]
        assert tool('sql', '/v1/mcp', sql='SELECT * FROM person') == tool('sql', '/v1/mcp', sql='SELECT * FROM person', database='nobody') == -32602
        text, wrong = tool('sql', '/v1/mcp', sql='SELECT * FROM person', database=database)
        assert not wrong
        assert s.http('POST', '/v1/database/nobody/mcp', '{}', token, {'Content-Type': 'application/json'})[0] == 404
        s.check_alive()


if __name__ == '__main__': main([mcp])
