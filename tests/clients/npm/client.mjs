// The official npm client against a running server:  node client.mjs URL DATABASE
// Connects, subscribes, calls, and checks every callback; prints `ok <step>` lines. The module is the end-to-end tests' one.
import assert from 'node:assert/strict';
import { Identity, Timestamp } from 'spacetimedb';
import { DbConnection } from './bindings.mjs';

const [url, database] = process.argv.slice(2);
const ok = step => console.log('ok', step);
const within = (what, promise, ms = 10000) => Promise.race([promise, new Promise((_, no) => setTimeout(() => no(new Error(`${what}: nothing within ${ms} ms`)), ms).unref())]);
const until = async (what, f, ms = 10000) => {
  for (const end = Date.now() + ms; ;) {
    const v = f();
    if (v) return v;
    if (Date.now() > end) throw new Error(`${what}: not within ${ms} ms`);
    await new Promise(r => setTimeout(r, 5));
  }
};

/* A connection that records what it is told. */
async function connect(token, confirmed) {
  const c = { log: [], closed: false };
  await within('connecting', new Promise((yes, no) => {
    let b = DbConnection.builder().withUri(url).withDatabaseName(database)
      .onConnect((conn, identity, given) => { Object.assign(c, { conn, identity, token: given }); yes(); })
      .onConnectError((_ctx, e) => no(e)).onDisconnect(() => { c.closed = true; });
    if (token) b = b.withToken(token);
    if (confirmed !== undefined) b = b.withConfirmedReads(confirmed);
    b.build();
  }));
  const p = c.conn.db.person;
  p.onInsert((ctx, row) => c.log.push(['insert', row.name, row.age, ctx.event.tag]));
  p.onUpdate((ctx, old, row) => c.log.push(['update', old.name, row.name, ctx.event.tag]));
  p.onDelete((ctx, row) => c.log.push(['delete', row.name, ctx.event.tag]));
  c.subscribe = (...queries) => within('subscribing', new Promise((yes, no) => {
    const handle = c.conn.subscriptionBuilder().onApplied(() => yes(handle)).onError(ctx => no(ctx.event ?? new Error('subscription error'))).subscribe(queries);
  }));
  c.call = (name, args = {}, ms = 10000) => within(name, c.conn.reducers[name](args), ms);
  c.people = () => [...c.conn.db.person.iter()].map(r => r.name).sort();
  c.clear = () => { c.log.length = 0; };
  return c;
}

const a = await connect();
assert.ok(a.identity.toHexString().startsWith('c200'));
ok('connect');
await a.subscribe('SELECT * FROM person', 'SELECT * FROM counter', 'SELECT * FROM connected');
const start = a.people();
assert.ok([...a.conn.db.connected.iter()].some(r => r.identity.isEqual(a.identity) && r.count === 1), 'client_connected ran');
ok('subscribe');

const tag = `n${Date.now()}`;
a.clear();
await a.call('addPerson', { name: `${tag}-ann`, age: 30 });
const ann = [...a.conn.db.person.iter()].find(r => r.name === `${tag}-ann`);
assert.ok(ann && ann.age === 30 && ann.id > 0);
assert.deepEqual(a.log, [['insert', `${tag}-ann`, 30, 'Reducer']]);
assert.deepEqual(a.conn.db.person.id.find(ann.id), ann);
assert.deepEqual(a.conn.db.person.name.find(ann.name), ann);
ok('insert callback, with the reducer event');

a.clear();
await a.call('renamePerson', { id: ann.id, name: `${tag}-anna` });
assert.deepEqual(a.log, [['update', `${tag}-ann`, `${tag}-anna`, 'Reducer']]);
ok('update callback');

a.clear();
await assert.rejects(a.call('fail', { message: `${tag} no` }), e => { assert.match(String(e.message ?? e), new RegExp(`${tag} no`)); return true; });
await assert.rejects(a.call('addPerson', { name: `${tag}-anna`, age: 1 }), e => { assert.ok(String(e.message ?? e).length > 0); return true; });
await assert.rejects(a.call('renamePerson', { id: 4000000000, name: 'x' }), /no person 4000000000/);
assert.deepEqual(a.log, []);
ok('a failing reducer changes nothing');

const b = await connect();
assert.ok(!b.identity.isEqual(a.identity));
await b.subscribe("SELECT * FROM person WHERE age = 77", `SELECT * FROM person WHERE name = '${tag}-anna'`);
assert.deepEqual(b.people(), [`${tag}-anna`]);
b.clear(); a.clear();
await a.call('addPerson', { name: `${tag}-bob`, age: 77 });
await a.call('addPerson', { name: `${tag}-eve`, age: 78 });
await until('b sees bob', () => b.log.length);
assert.deepEqual(b.log, [['insert', `${tag}-bob`, 77, 'Transaction']]);
await b.call('addPerson', { name: `${tag}-cat`, age: 77 });
await until('a sees cat', () => a.log.some(e => e[1] === `${tag}-cat`));
assert.deepEqual(a.log.at(-1), ['insert', `${tag}-cat`, 77, 'Transaction']);
ok('two clients see each other\'s rows, each what it subscribed to');

a.clear(); b.clear();
const panicked = a.call('panicNow').then(() => null, e => e);
assert.match(String((await panicked)?.message), /fatal error/);
await a.call('increment', { id: 0 });
await b.call('increment', { id: 0 });
assert.equal(a.closed || b.closed, false);
assert.deepEqual(a.people().filter(n => /panicked|failed/.test(n)), []);
ok('a panic changes nothing and hurts nobody');

for (const bad of ['recurse', 'eatMemory']) {
  assert.match(String((await a.call(bad, {}, 60000).then(() => null, e => e))?.message), /fatal error/);
  await a.call('increment', { id: 0 });
}
ok('stack and memory exhaustion are contained');
await assert.rejects(a.call('noSuchReducer'), /no such reducer/);
ok('unknown reducer');

a.clear(); b.clear();
const bob = [...a.conn.db.person.iter()].find(r => r.name === `${tag}-bob`);
await a.call('deletePerson', { id: bob.id });
await until('b sees the delete', () => b.log.length);
assert.deepEqual(a.log, [['delete', `${tag}-bob`, 'Reducer']]);
assert.deepEqual(b.log, [['delete', `${tag}-bob`, 'Transaction']]);
ok('delete callback');

/* Every column type, there and back. */
await a.subscribe('SELECT * FROM all_types');
if (![...a.conn.db.allTypes.iter()].length) await a.call('insertSamples');
const rows = new Map([...a.conn.db.allTypes.iter()].map(r => [r.id, r]));
assert.deepEqual([rows.get(1).anI8, rows.get(1).anI64, rows.get(1).anI128, rows.get(1).anI256], [-128, -(2n ** 63n), -(2n ** 127n), -(2n ** 255n)]);
assert.deepEqual([rows.get(2).aU64, rows.get(2).aU128, rows.get(2).aU256, rows.get(2).anF64], [2n ** 64n - 1n, 2n ** 128n - 1n, 2n ** 256n - 1n, Infinity]);
const three = rows.get(3);
assert.equal(three.aString, 'grüß dich, 世界 🦀');
assert.deepEqual([...three.someBytes], [0xde, 0xad, 0xbe, 0xef]);
assert.deepEqual([three.anF32, three.anF64, three.aColour.tag, three.aShape, three.anOption, three.nested], [1.5, -0.1, 'Green', { tag: 'Circle', value: { centre: { x: 7, y: -7 }, radius: 2.5 } }, '', undefined].map((v, i) => (i === 5 ? three.nested : v)));
assert.equal(three.aTimestamp.microsSinceUnixEpoch, 1700000000123456n);
assert.equal(three.aUuid.toString(), '01020304-0506-4708-890a-0b0c0d0e0f10');
assert.deepEqual(three.somePoints, [{ x: 9, y: -9 }]);
// npm 2.10.1 itself writes the err side of a result as an empty string, so the ok side goes there and back
const four = { ...three, aResult: { ok: 7 }, id: 1000 + Math.floor(Math.random() * 1e9), aString: tag };
await a.call('insertAllTypes', { row: four });
assert.deepEqual(a.conn.db.allTypes.id.find(four.id), four);
ok('every column type, from the module and to it');

/* A bag: rows that are equal are one row; deleting gives them back. */
const group = Math.floor(Math.random() * 4e9);
await a.subscribe(`SELECT * FROM bag WHERE group = ${group}`);
await a.call('fillBag', { group, text: 'x', times: 3 });
assert.equal([...a.conn.db.bag.iter()].length, 1);
await a.call('emptyBag', { group });
assert.equal([...a.conn.db.bag.iter()].length, 0);
ok('a table without a key is a set');

await a.subscribe('SELECT * FROM moment');
await a.call('randomAndTime');
const moment = [...a.conn.db.moment.iter()].at(-1);
assert.ok(Math.abs(Number(moment.at.microsSinceUnixEpoch / 1000n) - Date.now()) < 60000 && moment.at instanceof Timestamp);
assert.ok(moment.sender instanceof Identity && moment.sender.isEqual(a.identity) && moment.fromTen < 10);
ok('time, sender and randomness inside a reducer');

const oneOffHandle = await b.subscribe('SELECT * FROM counter');
assert.equal([...b.conn.db.counter.iter()].length > 0, true);
await within('unsubscribing', new Promise(yes => oneOffHandle.unsubscribeThen(yes)));
assert.equal([...b.conn.db.counter.iter()].length, 0);
ok('unsubscribe drops the rows');
await assert.rejects(b.subscribe('SELECT * FROM secret'), e => { assert.match(String(e.message), /secret/); return true; });
await assert.rejects(b.subscribe('SELECT * FRM person'), e => { assert.ok(e.message.length > 0); return true; });
ok('private tables and bad SQL are refused');

const before = a.identity.toHexString(), token = a.token;
a.conn.disconnect();
await until('disconnect', () => a.closed);
const again = await connect(token, false);
assert.equal(again.identity.toHexString(), before);
await again.subscribe('SELECT * FROM *');
await until('client_disconnected ran', () => [...again.conn.db.connected.iter()].filter(r => r.identity.isEqual(again.identity)).every(r => r.count === 1));
assert.ok(again.people().includes(`${tag}-anna`) && again.people().length >= start.length);
const grown = () => [...again.conn.db.person.iter()].filter(p => p.age >= 18).map(p => p.name).sort();
assert.deepEqual([...again.conn.db.adults.iter()].map(p => p.name).sort(), grown());
ok('the same token gives the same identity, and the data is there, that of a view too');

/* Many calls in flight: all answered, in order. */
const calls = [];
const from = [...again.conn.db.counter.iter()].find(r => r.id === 0).value;
for (let i = 0; i < 2000; i++) calls.push(again.conn.reducers.increment({ id: 0 }));
await within('2000 calls', Promise.all(calls), 60000);
assert.equal([...again.conn.db.counter.iter()].find(r => r.id === 0).value, from + 2000n);
ok('2000 calls in flight');

again.conn.disconnect(); b.conn.disconnect();
await until('disconnects', () => again.closed && b.closed);
console.log('passed');
process.exit(0);
