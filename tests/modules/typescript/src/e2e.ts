// The end-to-end tests' module in TypeScript: the twin of tests/modules/e2e.rs, with the same tables, types, views and reducers. Its scenarios are those of the
// Rust module (tests/e2e/clients.py and others); what only this language has is in hostile.ts.
import { ConnectionId, Identity, TimeDuration, Timestamp, Uuid } from 'spacetimedb';
import { CaseConversionPolicy, Range, ScheduleAt, schema, SenderError, table, t } from 'spacetimedb/server';

const point = t.object('Point', { x: t.i32(), y: t.i32() });
const circle = t.object('Circle', { centre: point, radius: t.f64() });
const shape = t.enum('Shape', { Nothing: t.unit(), Dot: point, Circle: circle, Label: t.string() });
const colour = t.enum('Colour', { Red: t.unit(), Green: t.unit(), Blue: t.unit() });

const person = table({ name: 'person', public: true }, { id: t.u32().primaryKey().autoInc(), name: t.string().unique(), age: t.u8().index('btree') });

// A column of every kind of type.
const all_types_row = t.row('AllTypes', {
  id: t.u32().primaryKey(),
  a_bool: t.bool(),
  an_i8: t.i8(),
  a_u8: t.u8(),
  an_i16: t.i16(),
  a_u16: t.u16(),
  an_i32: t.i32(),
  a_u32: t.u32(),
  an_i64: t.i64(),
  a_u64: t.u64(),
  an_i128: t.i128(),
  a_u128: t.u128(),
  an_i256: t.i256(),
  a_u256: t.u256(),
  an_f32: t.f32(),
  an_f64: t.f64(),
  a_string: t.string(),
  some_bytes: t.array(t.u8()),
  an_identity: t.identity(),
  a_connection: t.connectionId(),
  a_timestamp: t.timestamp(),
  a_duration: t.timeDuration(),
  a_uuid: t.uuid(),
  a_schedule: t.scheduleAt(),
  an_option: t.option(t.string()),
  a_result: t.result(t.u32(), t.string()),
  a_colour: colour,
  a_shape: shape,
  a_circle: circle,
  some_points: t.array(point),
  some_options: t.array(t.option(t.u16())),
  nested: t.option(t.option(t.array(shape))),
});
const all_types = table({ name: 'all_types', public: true }, all_types_row);

// Private: clients neither see it nor may name it.
const secret = table({ name: 'secret' }, { id: t.u32().primaryKey(), text: t.string() });
// An event table: its rows are sent and forgotten.
const tick_event = table({ name: 'tick_event', public: true, event: true }, { at: t.timestamp(), count: t.u64() });
const tick_timer = table({ name: 'tick_timer' }, { id: t.u64().primaryKey().autoInc(), scheduled_at: t.scheduleAt() });
const counter = table({ name: 'counter', public: true }, { id: t.u32().primaryKey(), value: t.u64() });
// Who is connected: one row an identity, with how often at this moment.
const connected = table({ name: 'connected', public: true }, { identity: t.identity().primaryKey(), connection_id: t.connectionId(), count: t.u32() });
// For the crash test: what was acknowledged must be here after a restart.
const log_entry = table({ name: 'log_entry', public: true }, { seq: t.u64().primaryKey(), payload: t.string() });
// What `random_and_time` saw.
const moment = table(
  { name: 'moment', public: true },
  { id: t.u64().primaryKey().autoInc(), at: t.timestamp(), sender: t.identity(), module: t.identity(), number: t.u64(), from_ten: t.u32(), uuid: t.uuid() },
);
// No key and no index: a set of rows.
const bag = table({ name: 'bag', public: true }, { group: t.u32(), text: t.string() });

const spacetimedb = schema({ person, all_types, secret, tick_event, tick_timer, counter, connected, log_entry, moment, bag }, { CASE_CONVERSION_POLICY: CaseConversionPolicy.SnakeCase });
export default spacetimedb;

// The people of age.
export const adults = spacetimedb.anonymousView({ name: 'adults', public: true }, t.array(person.rowType), ctx => [...ctx.db.person.age.filter(new Range({ tag: 'included', value: 18 }))]);

export const init = spacetimedb.init(ctx => {
  ctx.db.counter.insert({ id: 0, value: 0n });
  ctx.db.secret.insert({ id: 1, text: "nobody's business" });
});

export const came = spacetimedb.clientConnected(ctx => {
  if (!ctx.connectionId) throw new Error('a client has a connection');
  const row = ctx.db.connected.identity.find(ctx.sender);
  if (row) ctx.db.connected.identity.update({ ...row, connection_id: ctx.connectionId, count: row.count + 1 });
  else ctx.db.connected.insert({ identity: ctx.sender, connection_id: ctx.connectionId, count: 1 });
});

export const went = spacetimedb.clientDisconnected(ctx => {
  const row = ctx.db.connected.identity.find(ctx.sender);
  if (!row) return;
  if (row.count > 1) ctx.db.connected.identity.update({ ...row, count: row.count - 1 });
  else ctx.db.connected.identity.delete(ctx.sender);
});

// What the database refuses is the caller's fault here, as in the Rust twin's try_insert.
const insert = (f: () => unknown) => {
  try {
    f();
  } catch (e) {
    throw new SenderError(String((e as Error).message ?? e));
  }
};

export const add_person = spacetimedb.reducer({ name: t.string(), age: t.u8() }, (ctx, { name, age }) => insert(() => ctx.db.person.insert({ id: 0, name, age })));

export const rename_person = spacetimedb.reducer({ id: t.u32(), name: t.string() }, (ctx, { id, name }) => {
  const found = ctx.db.person.id.find(id);
  if (!found) throw new SenderError(`no person ${id}`);
  ctx.db.person.id.update({ ...found, name });
});

export const delete_person = spacetimedb.reducer({ id: t.u32() }, (ctx, { id }) => {
  if (!ctx.db.person.id.delete(id)) throw new SenderError(`no person ${id}`);
});

// Deletes everyone whose age is in the range: a range delete by index.
export const delete_ages = spacetimedb.reducer({ low: t.u8(), high: t.u8() }, (ctx, { low, high }) => {
  const gone = ctx.db.person.age.delete(new Range({ tag: 'included', value: low }, { tag: 'included', value: high }));
  console.info(`${gone} people deleted`);
});

// Fails after having inserted: nothing of it may remain.
export const fail = spacetimedb.reducer({ message: t.string() }, (ctx, { message }) => {
  ctx.db.person.insert({ id: 0, name: `failed: ${message}`, age: 1 });
  throw new SenderError(message);
});

// Throws after having inserted: nothing of it may remain.
export const panic_now = spacetimedb.reducer(ctx => {
  ctx.db.person.insert({ id: 0, name: 'panicked', age: 1 });
  throw new Error('asked to panic');
});

// Never ends by itself.
export const spin = spacetimedb.reducer(_ctx => {
  for (let turns = 0; ; turns++) if (turns < 0) return;
});

// Takes memory until there is none.
export const eat_memory = spacetimedb.reducer(_ctx => {
  const eaten: string[][] = [];
  for (let i = 0; ; i++) eaten.push(new Array(1 << 16).fill(`row ${i}`));
});

// Calls itself until the stack ends.
export const recurse = spacetimedb.reducer(_ctx => {
  const deeper = (n: number): number => n + deeper(n + 1) + 1;
  console.info(String(deeper(0)));
});

export const insert_all_types = spacetimedb.reducer({ row: all_types_row }, (ctx, { row }) => {
  ctx.db.all_types.insert(row);
});

const bits = (n: number) => 1n << BigInt(n);

// Inserts three rows made here: 1 with the least of everything, 2 with the greatest, 3 with something in between.
export const insert_samples = spacetimedb.reducer(ctx => {
  ctx.db.all_types.insert({
    id: 1, a_bool: false, an_i8: -128, a_u8: 0, an_i16: -32768, a_u16: 0, an_i32: -(2 ** 31), a_u32: 0, an_i64: -bits(63), a_u64: 0n,
    an_i128: -bits(127), a_u128: 0n, an_i256: -bits(255), a_u256: 0n, an_f32: -Infinity, an_f64: -Number.MAX_VALUE, a_string: '', some_bytes: [],
    an_identity: Identity.zero(), a_connection: new ConnectionId(0n), a_timestamp: new Timestamp(-bits(63)), a_duration: new TimeDuration(-bits(63)),
    a_uuid: new Uuid(0n), a_schedule: ScheduleAt.interval(0n), an_option: undefined, a_result: { err: '' } as never, a_colour: { tag: 'Red' },
    a_shape: { tag: 'Nothing' }, a_circle: { centre: { x: 0, y: 0 }, radius: 0 }, some_points: [], some_options: [], nested: undefined,
  });
  ctx.db.all_types.insert({
    id: 2, a_bool: true, an_i8: 127, a_u8: 255, an_i16: 32767, a_u16: 65535, an_i32: 2 ** 31 - 1, a_u32: 2 ** 32 - 1, an_i64: bits(63) - 1n, a_u64: bits(64) - 1n,
    an_i128: bits(127) - 1n, a_u128: bits(128) - 1n, an_i256: bits(255) - 1n, a_u256: bits(256) - 1n, an_f32: 3.4028234663852886e38, an_f64: Infinity,
    a_string: '\u{10ffff} "quoted" \\ \n', some_bytes: Array.from({ length: 256 }, (_, i) => i),
    an_identity: new Identity(bits(256) - 1n), a_connection: new ConnectionId(bits(128) - 1n), a_timestamp: new Timestamp(bits(63) - 1n),
    a_duration: new TimeDuration(bits(63) - 1n), a_uuid: new Uuid(bits(128) - 1n), a_schedule: ScheduleAt.time(bits(63) - 1n), an_option: 'something',
    a_result: { ok: 2 ** 32 - 1 } as never, a_colour: { tag: 'Blue' }, a_shape: { tag: 'Label', value: 'label' },
    a_circle: { centre: { x: 2 ** 31 - 1, y: -(2 ** 31) }, radius: Number.MAX_VALUE }, some_points: [{ x: 1, y: 2 }, { x: 3, y: 4 }],
    some_options: [undefined, 65535], nested: [{ tag: 'Nothing' }, { tag: 'Dot', value: { x: -1, y: -2 } }],
  });
  ctx.db.all_types.insert({
    id: 3, a_bool: true, an_i8: -1, a_u8: 1, an_i16: -2, a_u16: 2, an_i32: -3, a_u32: 3, an_i64: -4n, a_u64: 4n, an_i128: -5n, a_u128: 5n, an_i256: -6n, a_u256: 6n,
    an_f32: 1.5, an_f64: -0.1, a_string: 'grüß dich, 世界 🦀', some_bytes: [0xde, 0xad, 0xbe, 0xef], an_identity: ctx.sender,
    a_connection: ctx.connectionId ?? new ConnectionId(0n), a_timestamp: new Timestamp(1_700_000_000_123_456n), a_duration: new TimeDuration(-1_500_000n),
    a_uuid: new Uuid(0x01020304_0506_4708_890a_0b0c0d0e0f10n), a_schedule: ScheduleAt.interval(1_000_000n), an_option: '', a_result: { err: 'no' } as never,
    a_colour: { tag: 'Green' }, a_shape: { tag: 'Circle', value: { centre: { x: 7, y: -7 }, radius: 2.5 } }, a_circle: { centre: { x: 8, y: -8 }, radius: -2.5 },
    some_points: [{ x: 9, y: -9 }], some_options: [0], nested: undefined,
  });
});

export const increment = spacetimedb.reducer({ id: t.u32() }, (ctx, { id }) => {
  const row = ctx.db.counter.id.find(id);
  if (!row) throw new SenderError(`no counter ${id}`);
  ctx.db.counter.id.update({ id, value: row.value + 1n });
});

export const append_log = spacetimedb.reducer({ seq: t.u64(), payload: t.string() }, (ctx, { seq, payload }) => insert(() => ctx.db.log_entry.insert({ seq, payload })));

export const fill_bag = spacetimedb.reducer({ group: t.u32(), text: t.string(), times: t.u32() }, (ctx, { group, text, times }) => {
  for (let i = 0; i < times; i++) ctx.db.bag.insert({ group, text });
  console.info(`the bag holds ${ctx.db.bag.count()}`);
});

export const empty_bag = spacetimedb.reducer({ group: t.u32() }, (ctx, { group }) => {
  for (const row of [...ctx.db.bag.iter().filter(r => r.group === group)]) ctx.db.bag.delete(row);
});

export const random_and_time = spacetimedb.reducer(ctx => {
  const number = ctx.random.uint32();
  const from_ten = ctx.random.integerInRange(0, 9);
  console.info(`at ${ctx.timestamp.toISOString()} the number is ${number}`);
  ctx.db.moment.insert({ id: 0n, at: ctx.timestamp, sender: ctx.sender, module: ctx.databaseIdentity, number: BigInt(number), from_ten, uuid: ctx.newUuidV7() });
});

export const log_something = spacetimedb.reducer({ text: t.string() }, (_ctx, { text }) => {
  console.error(text);
  console.warn(text);
  console.info(text);
  console.debug(text);
  console.trace(text);
});

// Asks for `tick` after some milliseconds, once or again and again.
export const start_ticking = spacetimedb.reducer({ millis: t.u64(), repeat: t.bool() }, (ctx, { millis, repeat }) => {
  const us = millis * 1000n;
  ctx.db.tick_timer.insert({ id: 0n, scheduled_at: repeat ? ScheduleAt.interval(us) : ScheduleAt.time(ctx.timestamp.microsSinceUnixEpoch + us) });
});

export const stop_ticking = spacetimedb.reducer(ctx => {
  for (const id of [...ctx.db.tick_timer.iter()].map(timer => timer.id)) ctx.db.tick_timer.id.delete(id);
});

// Counts in counter 1 and tells who listens.
export const tick = spacetimedb.reducer({ onSchedule: tick_timer }, { timer: tick_timer.rowType }, (ctx, _args) => {
  // The library's senderAuth.isInternal is false in scheduled reducers too (2.10.1): the sender tells.
  if (!ctx.sender.isEqual(ctx.identity)) throw new SenderError('only the scheduler ticks');
  const row = ctx.db.counter.id.find(1), count = (row?.value ?? 0n) + 1n;
  if (row) ctx.db.counter.id.update({ id: 1, value: count });
  else ctx.db.counter.insert({ id: 1, value: count });
  ctx.db.tick_event.insert({ at: ctx.timestamp, count });
});
